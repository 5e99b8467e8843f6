//! The words of a text, each with its place; and the small things that words stand for.

use std::collections::VecDeque;

use jiff::civil::{Date, Time};

use crate::days::{DAY_NAMES, DateRange, MONTH_NAMES, Months, Weekdays};
use crate::error::ParseError;

/// The longest repetition by minutes and the longest start window: 31 days.
pub(crate) const MINUTES_MAX: u32 = 31 * 24 * 60;
/// A text longer than this is no schedule; so nobody waits for one.
const CHARACTERS_MAX: usize = 16 * 1024;

/// A word and where it begins, in characters from 1.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub text: String,
    pub column: usize,
    /// The place of each character, where spaces beside commas were left out.
    places: Vec<usize>,
}

impl Word {
    pub fn at(text: impl Into<String>, column: usize) -> Self {
        Self { text: text.into(), column, places: Vec::new() }
    }

    pub fn wrong(&self, why: impl Into<String>) -> ParseError {
        ParseError { word: self.text.clone(), column: self.column, why: why.into() }
    }

    /// Keywords are the same in capital letters.
    pub fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    pub fn lower(&self) -> String {
        self.text.to_ascii_lowercase()
    }

    /// The parts between commas.
    pub fn parts(&self) -> Vec<Word> {
        let mut before = 0;
        let part = |text: &str| {
            let column = self.places.get(before).copied().unwrap_or(self.column + before);
            before += text.chars().count() + 1;
            Word::at(text, column)
        };
        self.text.split(',').map(part).collect()
    }
}

/// The words that are not read yet.
pub(super) struct Words {
    words: VecDeque<Word>,
    /// Where something that is missing would stand.
    end: usize,
}

impl Words {
    /// Spaces beside a comma belong to the list, so that `mon, wed` is one word.
    pub fn of(text: &str, first_column: usize) -> Result<Self, ParseError> {
        let mut words: VecDeque<Word> = VecDeque::new();
        let end = first_column + text.trim_end().chars().count();
        if end - first_column > CHARACTERS_MAX {
            let why = format!("the text is longer than {CHARACTERS_MAX} characters");
            return Err(ParseError { word: "end".to_owned(), column: end, why });
        }
        let mut open = false;
        for (at, letter) in text.chars().enumerate() {
            if letter.is_whitespace() {
                open = false;
                continue;
            }
            match words.back_mut() {
                Some(word) if open || letter == ',' || word.text.ends_with(',') => {
                    word.text.push(letter);
                    word.places.push(first_column + at);
                }
                _ => {
                    let mut word = Word::at(letter, first_column + at);
                    word.places.push(first_column + at);
                    words.push_back(word);
                }
            }
            open = true;
        }
        Ok(Self { words, end })
    }

    pub fn next(&mut self) -> Option<Word> {
        self.words.pop_front()
    }

    pub fn peek(&self) -> Option<&Word> {
        self.words.front()
    }

    /// The next word, or what is missing at the end.
    pub fn need(&mut self, what: &str) -> Result<Word, ParseError> {
        let missing = self.missing(what);
        self.next().ok_or(missing)
    }

    pub fn missing(&self, what: &str) -> ParseError {
        let why = format!("something is missing here: {what}");
        ParseError { word: "end".to_owned(), column: self.end, why }
    }

    /// Takes the next word if it is this one.
    pub fn take(&mut self, keyword: &str) -> bool {
        let found = self.peek().is_some_and(|word| word.is(keyword));
        if found {
            self.next();
        }
        found
    }
}

/// Whether a word begins as a list of weekdays does.
pub(super) fn looks_like_weekdays(word: &Word) -> bool {
    let first: String = word.lower().chars().take_while(char::is_ascii_alphabetic).collect();
    DAY_NAMES.contains(&first.as_str())
}

/// `mon-fri,sun`, `weekdays`, `weekends`.
pub(super) fn weekdays(word: &Word) -> Result<Weekdays, ParseError> {
    let mut days = 0;
    for part in word.parts() {
        days |= match part.lower().as_str() {
            "weekdays" => Weekdays::WORKING.0,
            "weekends" => Weekdays::WEEKEND.0,
            span => {
                span_of(&part, span, &DAY_NAMES, "weekdays are mon, tue, wed, thu, fri, sat, sun")?
                    as u8
            }
        };
    }
    Ok(Weekdays(days))
}

/// `month` (each of them), or `jan,jul`, `apr-jun`.
pub(super) fn months(word: &Word) -> Result<Months, ParseError> {
    if word.is("month") {
        return Ok(Months::ALL);
    }
    let mut months = 0;
    for part in word.parts() {
        let span = part.lower();
        let why = "months are jan, feb, mar, apr, may, jun, jul, aug, sep, oct, nov, dec; 'of month' means each";
        months |= span_of(&part, &span, &MONTH_NAMES, why)?;
    }
    Ok(Months(months))
}

/// The bits of `a` or of `a-b`, around the end if b stands before a.
fn span_of(word: &Word, text: &str, names: &[&str], why: &str) -> Result<u16, ParseError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let place = |name: &str| names.iter().position(|known| *known == name);
    let (Some(mut at), Some(last)) = (place(first), place(last)) else {
        return Err(word.wrong(why));
    };
    let mut bits = 1 << at;
    while at != last {
        at = (at + 1) % names.len();
        bits |= 1 << at;
    }
    Ok(bits)
}

pub(super) fn looks_like_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let digits = |part: Option<&str>| {
        part.is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(parts.next()) && digits(parts.next()) && parts.next().is_some()
}

pub(super) fn date(word: &Word) -> Result<Date, ParseError> {
    let why = "a date is year-month-day, such as 2026-12-24";
    let numbers: Vec<&str> = word.text.split('-').collect();
    let [year, month, day] = numbers.as_slice() else { return Err(word.wrong(why)) };
    let shape = year.len() == 4 && month.len() == 2 && day.len() == 2;
    let digits = word.text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let (Ok(year), Ok(month), Ok(day)) = (year.parse(), month.parse(), day.parse()) else {
        return Err(word.wrong(why));
    };
    match Date::new(year, month, day) {
        Ok(date) if shape && digits => Ok(date),
        Err(_) if shape && digits => Err(word.wrong("there is no such day")),
        _ => Err(word.wrong(why)),
    }
}

/// A date, or `FIRST..LAST`.
pub(super) fn range(word: &Word) -> Result<DateRange, ParseError> {
    let Some((first, last)) = word.text.split_once("..") else {
        let day = date(word)?;
        return Ok(DateRange { first: day, last: day });
    };
    let later = Word::at(last, word.column + first.chars().count() + 2);
    let first = date(&Word::at(first, word.column))?;
    let last = date(&later)?;
    match first <= last {
        true => Ok(DateRange { first, last }),
        false => Err(later.wrong("the span ends before it begins")),
    }
}

pub(super) fn looks_like_time(text: &str) -> bool {
    text.contains(':') && text.starts_with(|letter: char| letter.is_ascii_digit())
}

pub(super) fn time(word: &Word) -> Result<Time, ParseError> {
    let why = "a time is 00:00 to 23:59, such as 22:30";
    let (hour, minute) = word.text.split_once(':').ok_or_else(|| word.wrong(why))?;
    let number = |text: &str| match text.len() {
        1 | 2 if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    let (Some(hour), Some(minute)) = (number(hour), number(minute).filter(|_| minute.len() == 2))
    else {
        return Err(word.wrong(why));
    };
    Time::new(hour, minute, 0, 0).map_err(|_| word.wrong(why))
}

/// `08:00-18:00`; over midnight where the first is later.
pub(super) fn time_span(word: &Word) -> Result<(Time, Time), ParseError> {
    let (first, last) = word.text.split_once('-').unwrap_or((&word.text, ""));
    let begin = time(&Word::at(first, word.column))?;
    let end = Word::at(last, word.column + first.chars().count() + 1);
    // The end of a day is a time only where something ends.
    let end = match end.text.as_str() {
        "24:00" => Time::midnight(),
        _ => time(&end)?,
    };
    match begin == end {
        true => Err(word.wrong("the span ends when it begins; leave it out for the whole day")),
        false => Ok((begin, end)),
    }
}

/// `15m`, `4h`, `2d`; days where `days` says so.
pub(super) fn minutes(word: &Word, days: bool) -> Result<u32, ParseError> {
    let why = match days {
        true => "a length is a number with m, h or d, such as 90m, 4h or 2d",
        false => "an interval is a number with m or h, such as 15m or 4h",
    };
    let text = word.lower();
    let units = [("m", 1), ("h", 60), ("d", 24 * 60)];
    let unit = units.iter().take(if days { 3 } else { 2 });
    let found = unit.into_iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)));
    let (number, size) = found.ok_or_else(|| word.wrong(why))?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(word.wrong(why));
    }
    match number.parse::<u32>().ok().and_then(|number| number.checked_mul(size)) {
        Some(minutes) if (1..=MINUTES_MAX).contains(&minutes) => Ok(minutes),
        _ => Err(word.wrong("it is 1 minute to 31 days")),
    }
}

/// A number of the range, or why not.
pub(super) fn number(word: &Word, least: u16, most: u16, what: &str) -> Result<u16, ParseError> {
    let digits = !word.text.is_empty() && word.text.bytes().all(|byte| byte.is_ascii_digit());
    match word.text.parse::<u16>() {
        Ok(number) if digits && (least..=most).contains(&number) => Ok(number),
        _ => Err(word.wrong(format!("{what} is a number from {least} to {most}"))),
    }
}

/// The name behind `calendar:`.
pub(super) fn calendar_name(word: &Word) -> Option<Result<String, ParseError>> {
    let (head, name) = word.text.split_once(':')?;
    if !head.eq_ignore_ascii_case("calendar") {
        return None;
    }
    let good = |letter: char| letter.is_alphanumeric() || "._-".contains(letter);
    Some(match !name.is_empty() && name.chars().all(good) {
        true => Ok(name.to_owned()),
        false => {
            Err(word.wrong("behind 'calendar:' stands a name of letters, digits, '.', '_' and '-'"))
        }
    })
}
