//! How fast something may go, and when: one line for people and for the wire.
//!
//! ```text
//! rate     = [days] [time] amount
//! days     = day or day-day, several with commas      mon-fri · sat,sun
//! time     = HH:MM-HH:MM, over midnight where the first is later     22:00-06:00
//! amount   = a number and B/s, KB/s, MB/s, GB/s (thousands), KiB/s … (1,024), or unlimited
//! ```
//! Of several rates the last one whose days and time are now counts; where none is, nothing is
//! limited.

use std::fmt;
use std::str::FromStr;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0x7f;
const DAY_MINUTES: u16 = 24 * 60;
/// The slowest rate: below it a segment takes longer than a peer waits for a byte.
const BYTES_PER_S_MIN: u64 = 10_000;
const UNITS: [(&str, u64); 7] = [
    ("KiB/s", 1 << 10),
    ("MiB/s", 1 << 20),
    ("GiB/s", 1 << 30),
    ("KB/s", 1_000),
    ("MB/s", 1_000_000),
    ("GB/s", 1_000_000_000),
    ("B/s", 1),
];

/// A rate, and when it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes since midnight. Alike: all day. A span over midnight belongs to the day on which it
    /// begins.
    from: u16,
    until: u16,
    /// `None`: unlimited.
    bytes_per_s: Option<u64>,
}

/// A rate that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no rate: {why}; such as '20MB/s' or 'mon-fri 08:00-18:00 5MB/s'")]
pub struct RateError {
    text: String,
    why: &'static str,
}

impl Rate {
    fn is_now(&self, day: u8, minute: u16) -> bool {
        let on = |day: u8| self.days >> (day % 7) & 1 == 1;
        match self.from.cmp(&self.until) {
            std::cmp::Ordering::Equal => on(day),
            std::cmp::Ordering::Less => on(day) && (self.from..self.until).contains(&minute),
            std::cmp::Ordering::Greater => {
                (on(day) && minute >= self.from) || (on(day + 6) && minute < self.until)
            }
        }
    }

    /// Bytes a second that these rates allow on a day (0 is Monday) at a minute since midnight;
    /// `None`: any number.
    pub fn allowed(rates: &[Rate], day: u8, minute: u16) -> Option<u64> {
        rates.iter().rev().find(|rate| rate.is_now(day, minute))?.bytes_per_s
    }

    /// The minutes since midnight, in order, between which these rates allow the same all day long:
    /// 0 first.
    pub fn turns(rates: &[Rate]) -> Vec<u16> {
        let ends = rates.iter().flat_map(|rate| [rate.from, rate.until % DAY_MINUTES]);
        let mut turns: Vec<u16> = std::iter::once(0).chain(ends).collect();
        turns.sort_unstable();
        turns.dedup();
        turns
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = |why| RateError { text: text.to_owned(), why };
        let mut words: Vec<&str> = text.split_whitespace().collect();
        let amount = words.pop().ok_or_else(|| wrong("it is empty"))?;
        let bytes_per_s = amount_of(amount).map_err(wrong)?;
        let mut rate = Rate { days: EVERY_DAY, from: 0, until: 0, bytes_per_s };
        let mut words = words.into_iter().peekable();
        if let Some(days) =
            words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        {
            rate.days = days_of(days).map_err(wrong)?;
        }
        if let Some(time) = words.next() {
            (rate.from, rate.until) = time_of(time).map_err(wrong)?;
        }
        match words.next() {
            None => Ok(rate),
            Some(_) => Err(wrong("days, a time and an amount are all that it has, in this order")),
        }
    }
}

fn amount_of(word: &str) -> Result<Option<u64>, &'static str> {
    if word == "unlimited" {
        return Ok(None);
    }
    let found = UNITS.iter().find_map(|(unit, size)| Some((word.strip_suffix(unit)?, *size)));
    let (number, size) = found.ok_or("it ends in B/s, KB/s, MB/s, GB/s or 'unlimited'")?;
    let number: u64 = number.parse().map_err(|_| "the amount is a whole number")?;
    match number.checked_mul(size) {
        Some(bytes) if bytes >= BYTES_PER_S_MIN => Ok(Some(bytes)),
        Some(_) => Err("the least is 10KB/s"),
        None => Err("that is more than can be counted"),
    }
}

fn days_of(word: &str) -> Result<u8, &'static str> {
    let day = |name: &str| {
        let at = DAYS.iter().position(|day| *day == name);
        at.ok_or("days are mon, tue, wed, thu, fri, sat, sun")
    };
    let mut days = 0;
    for span in word.split(',') {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            days |= 1 << at;
            if at == last {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Ok(days)
}

fn time_of(word: &str) -> Result<(u16, u16), &'static str> {
    const WRONG: &str = "a time is HH:MM-HH:MM";
    let minute = |text: &str| {
        let (hours, minutes) = text.split_once(':').ok_or(WRONG)?;
        let (hours, minutes): (u16, u16) =
            (hours.parse().map_err(|_| WRONG)?, minutes.parse().map_err(|_| WRONG)?);
        match hours * 60 + minutes {
            all if hours <= 24 && minutes < 60 && all <= DAY_MINUTES => Ok(all),
            _ => Err(WRONG),
        }
    };
    let (from, until) = word.split_once('-').ok_or(WRONG)?;
    let (from, until) = (minute(from)? % DAY_MINUTES, minute(until)?);
    match from == until {
        true => Err("its time begins when it ends"),
        false => Ok((from, until)),
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != EVERY_DAY {
            let days: Vec<&str> = DAYS
                .iter()
                .enumerate()
                .filter(|(at, _)| self.days >> at & 1 == 1)
                .map(|(_, day)| *day)
                .collect();
            write!(f, "{} ", days.join(","))?;
        }
        if self.from != self.until {
            let time = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
            write!(f, "{}-{} ", time(self.from), time(self.until))?;
        }
        let Some(bytes) = self.bytes_per_s else { return f.write_str("unlimited") };
        let whole = |(_, size): &&(&str, u64)| bytes.is_multiple_of(*size);
        // The largest unit that leaves no rest; in thousands rather than in 1,024.
        let fits = UNITS.iter().filter(whole).max_by_key(|(unit, size)| (*size, unit.len() < 5));
        let (unit, size) = fits.unwrap_or(&("B/s", 1));
        write!(f, "{}{unit}", bytes / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(texts: &[&str]) -> Vec<Rate> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_last_rate_that_is_now_counts() {
        let rates = rates(&["20MB/s", "mon-fri 08:00-18:00 5MB/s", "sat,sun unlimited"]);
        let at = |day, hour: u16, minute| Rate::allowed(&rates, day, hour * 60 + minute);
        assert_eq!(at(0, 7, 59), Some(20_000_000));
        assert_eq!(at(0, 8, 0), Some(5_000_000));
        assert_eq!(at(4, 17, 59), Some(5_000_000));
        assert_eq!(at(4, 18, 0), Some(20_000_000));
        assert_eq!(at(5, 12, 0), None);
        assert_eq!(Rate::allowed(&[], 3, 100), None);
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let rates = rates(&["sun 22:00-06:00 1MB/s"]);
        let at = |day, hour: u16| Rate::allowed(&rates, day, hour * 60);
        assert_eq!((at(6, 21), at(6, 22), at(0, 5)), (None, Some(1_000_000), Some(1_000_000)));
        assert_eq!((at(0, 6), at(0, 22), at(6, 5)), (None, None, None));
    }

    #[test]
    fn between_two_turns_nothing_changes() {
        let rates = rates(&["20MB/s", "mon-fri 08:30-18:00 5MB/s", "sun 22:00-06:15 1MB/s"]);
        let turns = Rate::turns(&rates);
        assert_eq!(turns, [0, 375, 510, 1080, 1320]);
        for day in 0..7 {
            for minute in 0..DAY_MINUTES {
                let turn = turns.iter().rev().find(|turn| **turn <= minute).unwrap();
                let (now, then) =
                    (Rate::allowed(&rates, day, minute), Rate::allowed(&rates, day, *turn));
                assert_eq!(now, then, "day {day}, minute {minute}");
            }
        }
        assert_eq!(Rate::turns(&[]), [0]);
    }

    #[test]
    fn what_is_shown_is_read_again_as_it_was() {
        for text in [
            "20MB/s",
            "mon,tue,wed,thu,fri 08:00-18:00 5MB/s",
            "sat,sun unlimited",
            "22:00-06:00 512KiB/s",
            "12:00-24:00 123456B/s",
            "1GB/s",
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), text);
            assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }
        assert_eq!(rates(&["fri-mon 1MB/s"])[0].to_string(), "mon,fri,sat,sun 1MB/s");
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty"),
            ("fast", "ends in"),
            ("5", "ends in"),
            ("-5MB/s", "whole number"),
            ("1B/s", "the least"),
            ("99999999999GB/s", "more than can be counted"),
            ("mo-fr 5MB/s", "days are"),
            ("25:00-26:00 5MB/s", "a time is"),
            ("08:61-09:00 5MB/s", "a time is"),
            ("08:00-08:00 5MB/s", "begins when it ends"),
            ("08:00-09:00 mon 5MB/s", "in this order"),
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
