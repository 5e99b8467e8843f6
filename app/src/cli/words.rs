//! Numbers and instants in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use simsim_catalog::JobState;
use simsim_model::Outcome;

use super::text::{Style, Text};

/// A size with a decimal unit, three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else if value < 10.0 {
        format!("{value:.2} {}", UNITS[unit])
    } else if value < 100.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// Bytes in a time, as a rate.
pub fn rate(bytes: u64, time: Duration) -> String {
    format!("{}/s", size((bytes as f64 / time.as_secs_f64().max(0.001)) as u64))
}

/// Groups of three digits.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A length of time, two units at most.
pub fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A length of time that is a guess: whole seconds, at least one.
pub fn lasting_roughly(time: Duration) -> String {
    match time.as_secs_f64().ceil() as u64 {
        0 => "1 s".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds => lasting(Duration::from_secs(seconds)),
    }
}

/// A length of time from milliseconds; negative ones are none.
pub fn lasting_ms(ms: i64) -> String {
    lasting(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// An instant by this host's clock and time zone, to the minute.
pub fn when(unix_ms: i64) -> String {
    at(unix_ms, "%Y-%m-%d %H:%M")
}

/// To the second.
pub fn when_exactly(unix_ms: i64) -> String {
    at(unix_ms, "%Y-%m-%d %H:%M:%S")
}

/// The time of day.
pub fn clock(unix_ms: i64) -> String {
    at(unix_ms, "%H:%M:%S")
}

fn at(unix_ms: i64, format: &str) -> String {
    match Timestamp::from_millisecond(unix_ms) {
        Ok(instant) => instant.to_zoned(TimeZone::system()).strftime(format).to_string(),
        Err(_) => "an impossible time".to_owned(),
    }
}

/// How long ago, in one unit.
pub fn ago(unix_ms: i64) -> String {
    let seconds = (now_unix_ms() - unix_ms) / 1000;
    match seconds {
        ..0 => when(unix_ms),
        0..60 => "just now".to_owned(),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// Milliseconds since 1970 by this host's clock; 0 before.
pub fn now_unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A job's state with its colour.
pub fn state(state: JobState) -> Text {
    match state {
        JobState::Queued => Text::styled(Style::Dim, "queued"),
        JobState::Running => Text::styled(Style::Busy, "running"),
        JobState::Ended(how) => outcome(how),
    }
}

/// An outcome with its colour.
pub fn outcome(outcome: Outcome) -> Text {
    let style = match outcome {
        Outcome::Finished => Style::Good,
        Outcome::FinishedWithErrors => Style::Warn,
        Outcome::Failed | Outcome::Interrupted => Style::Bad,
        Outcome::Cancelled => Style::Dim,
    };
    Text::styled(style, outcome.to_string())
}

/// Bytes from a text such as `500`, `64k`, `1.5 MB`, `2 GiB`: units of 1000, or of 1024 with an `i`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let bad = || format!("'{text}' is no size: write it as 500, 64k, 1.5 MB or 2 GiB");
    let number: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let (letter, base) = match unit.strip_suffix('i') {
        Some(letter) => (letter, 1024f64),
        None => (unit, 1000f64),
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(bad()),
    };
    let bytes = number * base.powi(power);
    if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(1000, "file"), "1,000 files");
        let seconds = |s| lasting(Duration::from_millis(s));
        assert_eq!(seconds(1_240), "1.2 s");
        assert_eq!(seconds(59_900), "59 s");
        assert_eq!(seconds(192_000), "3 min 12 s");
        assert_eq!(seconds(7_500_000), "2 h 5 min");
        assert_eq!(seconds(100_000_000), "1 d 3 h");
        assert_eq!(when(i64::MAX), "an impossible time");
        assert_eq!(seconds(40), "40 ms");
        assert_eq!(lasting_ms(-5), "0 ms");
    }

    #[test]
    fn sizes_have_three_digits() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_234), "1.23 kB");
        assert_eq!(size(45_600_000), "45.6 MB");
        assert_eq!(size(789_000_000_000), "789 GB");
        assert_eq!(size(999_999), "1.00 MB");
        assert_eq!(rate(3_000_000, Duration::from_secs(2)), "1.50 MB/s");
    }

    #[test]
    fn sizes_are_read() {
        let sizes = [("500", 500), ("64k", 64_000), ("1.5 MB", 1_500_000), ("2GiB", 2 << 30)];
        for (text, bytes) in sizes {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "1 parsec", "-1", "1e400", "99999999999999T"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
