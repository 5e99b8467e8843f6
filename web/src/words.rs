//! Numbers and instants as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::text::{t, tf};

/// A size with a decimal unit, three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("PB");
    match value {
        _ if unit == 0 => format!("{bytes} B"),
        value if value < 10.0 => format!("{value:.2} {name}"),
        value if value < 100.0 => format!("{value:.1} {name}"),
        value => format!("{value:.0} {name}"),
    }
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

/// A length of time, two units at most.
pub fn lasting(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0 => format!("{} ms", ms.max(0)),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago, roughly.
pub fn ago(ms: i64, now: i64) -> String {
    let seconds = (now - ms) / 1000;
    let far = seconds.unsigned_abs();
    let words = match far {
        0..60 => return t("just now").to_owned(),
        60..3600 => format!("{} min", far / 60),
        3600..172_800 => format!("{} h", far / 3600),
        _ => format!("{} d", far / 86_400),
    };
    if seconds >= 0 { tf("{} ago", &[&words]) } else { tf("in {}", &[&words]) }
}

/// The instant for programs.
fn machine(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}

/// By the clock of the server's zone.
pub fn clock(ms: i64) -> String {
    let Ok(at) = Timestamp::from_millisecond(ms) else { return t("unknown").to_owned() };
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A day by the clock of the server's zone.
pub fn day(ms: i64) -> String {
    let Ok(at) = Timestamp::from_millisecond(ms) else { return t("unknown").to_owned() };
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d").to_string()
}

/// An instant: the server's clock, which scripts make the browser's.
pub fn when(ms: i64) -> Markup {
    html! { time datetime=(machine(ms)) { (clock(ms)) } }
}

/// An instant that may not be.
pub fn when_or(ms: Option<i64>, otherwise: &str) -> Markup {
    match ms {
        Some(ms) => when(ms),
        None => html! { span.quiet { (otherwise) } },
    }
}

/// How long ago, with the instant on closer look.
pub fn since(ms: i64, now: i64) -> Markup {
    html! { time.ago datetime=(machine(ms)) title=(clock(ms)) { (ago(ms, now)) } }
}

/// A value of few words, as the interface for programs has it.
pub fn word(value: &impl serde::Serialize) -> String {
    let shown = serde_json::to_value(value).ok();
    shown.and_then(|shown| shown.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A level, in the letters of the field.
pub fn level(level: simsim_model::Level) -> String {
    word(&level).to_uppercase()
}

/// Milliseconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_000), "1.00 kB");
        assert_eq!(size(123_456_789), "123 MB");
        assert_eq!(size(u64::MAX), "18447 PB");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(lasting(61_000), "1 min 1 s");
        assert_eq!(lasting(-5), "0 ms");
        assert_eq!(ago(0, 7_200_000), "2 h ago");
        assert_eq!(ago(7_200_000, 0), "in 2 h");
    }
}
