//! Text forms: what people write, and what is shown to them; both mean the same value.

mod read;
mod words;
mod write;

pub(crate) use read::{parse_calendar, parse_day_set, parse_schedule};
pub(crate) use write::{day_set_text, days_text, range_text, schedule_text, weekday_text};

/// In documents a type is its text form.
macro_rules! as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use as_text;
