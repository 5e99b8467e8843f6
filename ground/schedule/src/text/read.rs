//! Reads schedules, calendars and sets of days. Parts stand in any order, each once.

use jiff::civil::Time;

use super::words::{self, Word, Words};
use crate::calendar::{Calendar, DaySet};
use crate::days::{Days, MONTH_DAYS_MAX, MonthDays, Months, Rule, Weekdays};
use crate::error::ParseError;
use crate::schedule::{Missed, Schedule, Times};

const ORDINALS: [(&str, i8); 10] = [
    ("first", 1),
    ("second", 2),
    ("third", 3),
    ("fourth", 4),
    ("fifth", 5),
    ("last", -1),
    ("second-last", -2),
    ("third-last", -3),
    ("fourth-last", -4),
    ("fifth-last", -5),
];
const KEYWORDS: [&str; 20] = [
    "daily", "weekdays", "weekends", "every", "day", "easter", "first", "second", "third",
    "fourth", "fifth", "last", "zone", "from", "until", "except", "within", "missed", "on", "at",
];
const SHIFT_MAX: u16 = 366;
/// So that looking a day up stays cheap; a line may have many dates.
const CALENDAR_RULES_MAX: usize = 1000;

pub(crate) fn parse_schedule(text: &str) -> Result<Schedule, ParseError> {
    let mut words = Words::of(text, 1)?;
    let mut parts = Parts::default();
    while let Some(word) = words.next() {
        parts.read(&word, &mut words)?;
    }
    if let Some(word) = parts.shift_alone() {
        return Err(word.wrong("a shift belongs to days, such as 'first sun of month + 2 days'"));
    }
    let times = parts.times.ok_or_else(|| words.missing("a time such as 22:00, or 'every 15m'"))?;
    Ok(Schedule {
        days: Days {
            rule: parts.rule.unwrap_or(Rule::Days(1)),
            shift: parts.shift.map_or(0, |shift| shift.1),
        },
        times,
        zone: parts.zone,
        from: parts.from,
        until: parts.until,
        except: parts.except.unwrap_or_default(),
        window_minutes: parts.window_minutes,
        missed: parts.missed.unwrap_or_default(),
    })
}

pub(crate) fn parse_calendar(text: &str) -> Result<Calendar, ParseError> {
    let mut rules: Vec<Days> = Vec::new();
    let mut column = 1;
    for line in text.split('\n') {
        let said = line.split('#').next().unwrap_or_default();
        let mut place = column;
        for piece in said.split(';') {
            if !piece.trim().is_empty() {
                if rules.len() == CALENDAR_RULES_MAX {
                    let why = format!("a calendar has {CALENDAR_RULES_MAX} rules at most");
                    return Err(ParseError { word: piece.trim().to_owned(), column: place, why });
                }
                rules.push(calendar_rule(piece, place)?);
            }
            place += piece.chars().count() + 1;
        }
        column += line.chars().count() + 1;
    }
    Ok(Calendar { rules })
}

fn calendar_rule(text: &str, column: usize) -> Result<Days, ParseError> {
    let mut words = Words::of(text, column)?;
    let mut parts = Parts::default();
    while let Some(word) = words.next() {
        let known = parts.read_days(&word, &mut words)?;
        if !known {
            return Err(word.wrong(
                "a calendar has days: dates, 'day 25 of dec', 'last mon of may', 'easter + 1 day'",
            ));
        }
        if matches!(parts.rule, Some(Rule::Calendar(_))) {
            return Err(word.wrong("a calendar names no other calendar"));
        }
    }
    let shift = parts.shift.as_ref().map_or(0, |shift| shift.1);
    match parts.rule.take() {
        Some(rule) => Ok(Days { rule, shift }),
        None => Err(words.missing("days, such as 'day 25 of dec'")),
    }
}

pub(crate) fn parse_day_set(text: &str) -> Result<DaySet, ParseError> {
    let mut words = Words::of(text, 1)?;
    let Some(word) = words.next() else { return Ok(DaySet::default()) };
    let set = day_set(&word)?;
    match words.next() {
        Some(more) => Err(more.wrong("days of a set are separated by commas")),
        None => Ok(set),
    }
}

fn day_set(word: &Word) -> Result<DaySet, ParseError> {
    let mut set = DaySet::default();
    for part in word.parts() {
        if let Some(name) = words::calendar_name(&part) {
            set.calendars.push(name?);
        } else if words::looks_like_date(&part.text) {
            set.dates.push(words::range(&part)?);
        } else if words::looks_like_weekdays(&part) || part.is("weekdays") || part.is("weekends") {
            set.weekdays = Weekdays(set.weekdays.0 | words::weekdays(&part)?.0);
        } else {
            return Err(part.wrong(
                "days are weekdays, dates, spans such as 2026-12-24..2027-01-06, or 'calendar:NAME'",
            ));
        }
    }
    set.dates.sort_unstable();
    set.dates.dedup();
    set.calendars.sort_unstable();
    set.calendars.dedup();
    Ok(set)
}

/// What was read so far.
#[derive(Default)]
struct Parts {
    rule: Option<Rule>,
    shift: Option<(Word, i16)>,
    times: Option<Times>,
    zone: Option<String>,
    from: Option<jiff::civil::Date>,
    until: Option<jiff::civil::Date>,
    except: Option<DaySet>,
    window_minutes: Option<u32>,
    missed: Option<Missed>,
}

impl Parts {
    fn read(&mut self, word: &Word, words: &mut Words) -> Result<(), ParseError> {
        if self.read_days(word, words)? || self.read_times(word, words)? {
            return Ok(());
        }
        match word.lower().as_str() {
            "zone" => {
                let name = words.need("the name of a time zone")?;
                once(&mut self.zone, zone(&name)?, word, "the zone")
            }
            "from" => {
                let day = words::date(&words.need("the first day, such as 2026-12-24")?)?;
                once(&mut self.from, day, word, "the first day")?;
                self.valid_at_all(word)
            }
            "until" => {
                let day = words::date(&words.need("the last day, such as 2026-12-24")?)?;
                once(&mut self.until, day, word, "the last day")?;
                self.valid_at_all(word)
            }
            "except" => {
                let set = day_set(&words.need("days, such as 'sat,sun' or 'calendar:NAME'")?)?;
                once(&mut self.except, set, word, "the excluded days")
            }
            "within" => {
                let window = words::minutes(&words.need("a length, such as 4h")?, true)?;
                once(&mut self.window_minutes, window, word, "the start window")
            }
            "missed" => {
                let missed = missed(words)?;
                once(&mut self.missed, missed, word, "the missed-run policy")
            }
            lower if lower == "utc" || word.text.contains('/') => {
                once(&mut self.zone, zone(word)?, word, "the zone")
            }
            lower => Err(word.wrong(unknown(lower))),
        }
    }

    fn valid_at_all(&self, word: &Word) -> Result<(), ParseError> {
        match (self.from, self.until) {
            (Some(from), Some(until)) if from > until => {
                Err(word.wrong(format!("it would end on {until}, before it begins on {from}")))
            }
            _ => Ok(()),
        }
    }

    /// The shift, if there are no days that it could belong to.
    fn shift_alone(&self) -> Option<&Word> {
        self.shift.as_ref().filter(|_| self.rule.is_none()).map(|shift| &shift.0)
    }

    fn rule(&mut self, rule: Rule, word: &Word) -> Result<(), ParseError> {
        once(&mut self.rule, rule, word, "the days")
    }

    /// Takes a part that says days. `false`: it is none.
    fn read_days(&mut self, word: &Word, words: &mut Words) -> Result<bool, ParseError> {
        let lower = word.lower();
        match lower.as_str() {
            "daily" => self.rule(Rule::Days(1), word)?,
            "easter" => self.rule(Rule::Easter, word)?,
            "weekdays" | "weekends" => self.rule(Rule::Weeks(1, words::weekdays(word)?), word)?,
            "on" | "once" => {
                let dates = |next: &Word| words::looks_like_date(&next.text);
                let days = |next: &Word| {
                    words::looks_like_weekdays(next)
                        || ["day", "weekdays", "weekends"].iter().any(|keyword| next.is(keyword))
                        || ordinals(next).is_some()
                };
                let next = words.peek().ok_or_else(|| words.missing("days, such as 2026-12-24"))?;
                if !dates(next) && (lower == "once" || !days(next)) {
                    return Err(
                        next.wrong(format!("behind '{lower}' stand days, such as 2026-12-24"))
                    );
                }
            }
            "day" => {
                let numbers = day_numbers(&words.need("days of the month, such as 1,15 or -1")?)?;
                let months = of_months(words)?;
                let rule = numbers_of(numbers, months)?;
                self.rule(rule, word)?;
            }
            "+" | "-" => {
                let many = words.need("a number of days")?;
                self.shift(word, lower == "-", &many, words)?;
            }
            _ if lower.starts_with(['+', '-']) => {
                let many = Word::at(
                    word.text.strip_prefix(['+', '-']).unwrap_or_default(),
                    word.column + 1,
                );
                self.shift(word, lower.starts_with('-'), &many, words)?;
            }
            _ if ordinals(word).is_some() => {
                let nth = ordinals(word).unwrap_or_default();
                let what = words.need("a weekday or 'day', such as 'last sun of month'")?;
                let rule = match what.is("day") {
                    true => Rule::Months(MonthDays::Numbers(nth), of_months(words)?),
                    false => {
                        let on = words::weekdays(&what)?;
                        Rule::Months(MonthDays::Nth(nth, on), of_months(words)?)
                    }
                };
                self.rule(rule, word)?;
            }
            _ if words::looks_like_weekdays(word) => {
                self.rule(Rule::Weeks(1, words::weekdays(word)?), word)?;
            }
            _ if words::looks_like_date(&word.text) => {
                let ranges: Result<Vec<_>, _> = word.parts().iter().map(words::range).collect();
                let mut ranges = ranges?;
                ranges.sort_unstable();
                ranges.dedup();
                self.rule(Rule::Dates(ranges), word)?;
            }
            _ => match words::calendar_name(word) {
                Some(name) => self.rule(Rule::Calendar(name?), word)?,
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    fn shift(
        &mut self,
        word: &Word,
        back: bool,
        many: &Word,
        words: &mut Words,
    ) -> Result<(), ParseError> {
        let short = many.text.strip_suffix(['d', 'D']).map(str::to_owned);
        let text = short.clone().unwrap_or_else(|| many.text.clone());
        let days = words::number(&Word::at(text, many.column), 1, SHIFT_MAX, "a shift by days")?;
        if short.is_none() && !words.take("days") && !words.take("day") {
            let why = "behind the number of a shift stands 'days', such as '+ 2 days'";
            return Err(words
                .peek()
                .map_or_else(|| words.missing("'days'"), |next| next.wrong(why)));
        }
        let days = i16::try_from(days).unwrap_or(0);
        once(&mut self.shift, (word.clone(), if back { -days } else { days }), word, "the shift")
    }

    /// Takes a part that says times, or how often. `false`: it is none.
    fn read_times(&mut self, word: &Word, words: &mut Words) -> Result<bool, ParseError> {
        if word.is("at") {
            let next = words.need("a time such as 22:00")?;
            return match words::looks_like_time(&next.text) {
                true => self.read_times(&next, words),
                false => Err(next.wrong("behind 'at' stands a time, such as 22:00")),
            };
        }
        if word.is("every") {
            self.every(word, words)?;
            return Ok(true);
        }
        if !words::looks_like_time(&word.text) {
            return Ok(false);
        }
        if word.text.contains('-') {
            return match &mut self.times {
                Some(Times::Every { span: span @ None, .. }) => {
                    *span = Some(words::time_span(word)?);
                    Ok(true)
                }
                _ => Err(word.wrong(
                    "a span of time stands behind 'every', such as 'every 15m 08:00-18:00'",
                )),
            };
        }
        let times: Result<Vec<Time>, _> = word.parts().iter().map(words::time).collect();
        let mut times = times?;
        times.sort_unstable();
        times.dedup();
        once(&mut self.times, Times::At(times), word, "the times")?;
        Ok(true)
    }

    fn every(&mut self, word: &Word, words: &mut Words) -> Result<(), ParseError> {
        let next = words.need("how often, such as 15m, 4h, '2 days' or '2 weeks on fri'")?;
        let lower = next.lower();
        if next.is("day") {
            return self.rule(Rule::Days(1), word);
        }
        if words::looks_like_weekdays(&next) {
            return self.rule(Rule::Weeks(1, words::weekdays(&next)?), word);
        }
        let short = lower.strip_suffix(['d', 'w']).filter(|number| number.parse::<u16>().is_ok());
        let (many, unit) = match short {
            Some(number) => {
                let unit = if lower.ends_with('d') { "d" } else { "w" };
                (number.to_owned(), unit.to_owned())
            }
            None if lower.bytes().all(|byte| byte.is_ascii_digit()) => {
                let unit = words.need("minutes, hours, days or weeks")?;
                let short = match unit.lower().trim_end_matches('s') {
                    "minute" => "m",
                    "hour" => "h",
                    "day" => "d",
                    "week" => "w",
                    _ => return Err(unit.wrong("it is minutes, hours, days or weeks")),
                };
                (lower, short.to_owned())
            }
            None => {
                let minutes = words::minutes(&next, false)?;
                return once(
                    &mut self.times,
                    Times::Every { minutes, span: None },
                    word,
                    "the times",
                );
            }
        };
        let many = Word::at(many, next.column);
        match unit.as_str() {
            "d" => {
                let days = words::number(&many, 1, SHIFT_MAX, "a repetition by days")?;
                self.rule(Rule::Days(days), word)
            }
            "w" => {
                let weeks = words::number(&many, 1, 52, "a repetition by weeks")?;
                words.take("on");
                let on = words::weekdays(&words.need("weekdays, such as 'every 2 weeks on fri'")?)?;
                self.rule(Rule::Weeks(weeks, on), word)
            }
            unit => {
                let text = format!("{}{unit}", many.text);
                let minutes = words::minutes(&Word::at(text, many.column), false)?;
                once(&mut self.times, Times::Every { minutes, span: None }, word, "the times")
            }
        }
    }
}

/// Sets what may be said once.
fn once<T>(place: &mut Option<T>, value: T, word: &Word, what: &str) -> Result<(), ParseError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(word.wrong(format!("{what} would be said twice: leave one out"))),
    }
}

fn zone(word: &Word) -> Result<String, ParseError> {
    let good = |letter: char| letter.is_ascii_alphanumeric() || "/_+-".contains(letter);
    match word.text.chars().all(good) && word.text.len() <= 64 {
        true if word.is("utc") => Ok("UTC".to_owned()),
        true => Ok(word.text.clone()),
        false => Err(word.wrong("a time zone is a name such as Europe/Berlin or UTC")),
    }
}

fn missed(words: &mut Words) -> Result<Missed, ParseError> {
    const CHOICE: &str = "it is 'skip', 'once', or 'all' with a number";
    let word = words.need(CHOICE)?;
    match word.lower().as_str() {
        "skip" => Ok(Missed::Skip),
        "once" => Ok(Missed::Once),
        "all" => {
            let most = words.need("how many at most, such as 'missed all 5'")?;
            Ok(Missed::All(words::number(&most, 1, 1000, "how many missed runs at most")?))
        }
        _ => Err(word.wrong(CHOICE)),
    }
}

/// `first,third`.
fn ordinals(word: &Word) -> Option<Vec<i8>> {
    let number = |part: Word| {
        ORDINALS.iter().find(|ordinal| ordinal.0 == part.lower()).map(|ordinal| ordinal.1)
    };
    let numbers: Option<Vec<i8>> = word.parts().into_iter().map(number).collect();
    numbers.map(in_order)
}

/// `1,15,-1`.
fn day_numbers(word: &Word) -> Result<Vec<(Word, i8)>, ParseError> {
    let mut numbers = Vec::new();
    for part in word.parts() {
        match part.text.parse::<i8>() {
            Ok(number)
                if number != 0 && (-31..=31).contains(&number) && !part.text.starts_with('+') =>
            {
                numbers.push((part, number));
            }
            _ => return Err(part.wrong("a day of the month is 1 to 31, or -1 (the last) to -31")),
        }
    }
    Ok(numbers)
}

/// Refuses days that none of the months has.
fn numbers_of(numbers: Vec<(Word, i8)>, months: Months) -> Result<Rule, ParseError> {
    let longest =
        (1..=12).filter(|month| months.has(*month)).map(|month| MONTH_DAYS_MAX[month as usize - 1]);
    let longest = longest.max().unwrap_or(31);
    if let Some((word, _)) =
        numbers.iter().find(|(_, number)| number.unsigned_abs() > longest.unsigned_abs())
    {
        return Err(word.wrong(format!("none of these months has more than {longest} days")));
    }
    let numbers = numbers.into_iter().map(|(_, number)| number).collect();
    Ok(Rule::Months(MonthDays::Numbers(in_order(numbers)), months))
}

/// From the beginning first, then from the end.
fn in_order(mut numbers: Vec<i8>) -> Vec<i8> {
    numbers.sort_unstable_by_key(|number| (*number < 0, number.unsigned_abs()));
    numbers.dedup();
    numbers
}

fn of_months(words: &mut Words) -> Result<Months, ParseError> {
    let of = words.need("'of month', or 'of' and months")?;
    match of.is("of") {
        true => words::months(&words.need("'month', or months such as jan,jul")?),
        false => Err(of.wrong("here stands 'of month', or 'of' and months such as 'of jan,jul'")),
    }
}

fn unknown(lower: &str) -> String {
    let near =
        KEYWORDS.iter().map(|keyword| (strsim::damerau_levenshtein(lower, keyword), keyword));
    match near.min().filter(|(distance, keyword)| *distance <= 2 && *distance < keyword.len() / 2 + 1) {
        Some((_, keyword)) => format!("this word is not known; did you mean '{keyword}'?"),
        None => "this word is not known; a schedule has days (weekdays, mon-fri, 'day 1 of month', \
                 2026-12-24), times (22:00, 'every 15m'), a zone (Europe/Berlin), and 'from', 'until', \
                 'except', 'within', 'missed'"
            .to_owned(),
    }
}
