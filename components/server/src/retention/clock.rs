//! What the server knows of the time: the last instant that it wrote down, and whether a person
//! confirmed a clock that was doubted.
//!
//! It is written down once a minute while the clock is not in doubt. So a clock that jumps leaves the
//! last good instant behind, and everything that would expire stays until the clock is right again or a
//! person has confirmed it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use simsim_catalog::{CLOCK, Catalog, CatalogError};
use simsim_retention::{ClockReading, Doubt};

use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;

/// A server that was off for longer doubts its clock until a person confirms it.
const AHEAD_MAX_S: u32 = 30 * 86_400;

/// What is kept in the catalog's setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub last_unix_ms: i64,
    #[serde(default)]
    pub confirmed: Option<Confirmed>,
}

/// A person looked at the clock and said that it is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confirmed {
    pub by: String,
    pub at_unix_ms: i64,
    /// The newest stamp of that moment: stamps up to it are of a wrong clock, and doubt no longer.
    pub newest_unix_ms: Option<i64>,
}

impl Known {
    /// What was kept; of a catalog that kept nothing yet, this very moment.
    pub(crate) fn of(kept: Option<&[u8]>, now_unix_ms: i64) -> Self {
        let Some(kept) = kept else {
            return Self { last_unix_ms: now_unix_ms, confirmed: None };
        };
        // What cannot be read is in doubt until a person has looked.
        serde_json::from_slice(kept).unwrap_or_else(|_| Self::in_doubt())
    }

    /// In doubt until a person has looked, whatever the clock says.
    pub(crate) fn in_doubt() -> Self {
        Self { last_unix_ms: i64::MAX, confirmed: None }
    }

    /// The clock now. `newest`: the newest stamp that the server gave.
    pub(crate) fn reading(&self, now_unix_ms: i64, newest: Option<i64>) -> ClockReading {
        let since = now_unix_ms.saturating_sub(self.last_unix_ms);
        let goes_on = (0..=i64::from(AHEAD_MAX_S) * 1000).contains(&since);
        let confirmed = self.confirmed.as_ref().filter(|confirmed| {
            goes_on
                && now_unix_ms >= confirmed.at_unix_ms
                && newest.is_none_or(|newest| confirmed.newest_unix_ms >= Some(newest))
        });
        ClockReading {
            now: instant(now_unix_ms),
            last_known: instant(self.last_unix_ms),
            ahead_max_s: AHEAD_MAX_S,
            confirmed_by: confirmed.map(|confirmed| confirmed.by.clone()),
        }
    }

    pub(crate) fn doubt(&self, now_unix_ms: i64, newest: Option<i64>) -> Option<Doubt> {
        self.reading(now_unix_ms, newest).doubt(newest.map(instant))
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, ServerError> {
        serde_json::to_vec(self).map_err(|error| ServerError::Lost(error.to_string()))
    }
}

/// An instant of milliseconds since 1970; of one beyond the calendar its end.
pub(crate) fn instant(unix_ms: i64) -> Timestamp {
    let end = if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(unix_ms).unwrap_or(end)
}

/// Writes this moment down, unless the clock is in doubt. Answers the doubt.
pub(crate) async fn keep_known(house: &House) -> Result<Option<Doubt>, ServerError> {
    let now = now_unix_ms();
    let seen = house
        .books
        .run(move |catalog: &Catalog| -> Result<_, CatalogError> {
            Ok((catalog.setting(CLOCK)?, catalog.newest_stamp()?))
        })
        .await?;
    let (kept, newest) = seen;
    let known = Known::of(kept.as_deref(), now);
    if let Some(doubt) = known.doubt(now, newest) {
        return Ok(Some(doubt));
    }
    let next = Known { last_unix_ms: now, ..known }.encode()?;
    house.books.run(move |catalog| catalog.set_setting(CLOCK, &next)).await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 20_000 * DAY;

    #[test]
    fn gc13_a_clock_that_jumped_is_doubted_until_it_is_right_or_confirmed() {
        let known = Known { last_unix_ms: NOW, confirmed: None };
        assert_eq!(known.doubt(NOW + DAY, Some(NOW - DAY)), None);
        assert_eq!(known.doubt(NOW + 30 * DAY, None), None, "off for a month");
        let behind = known.doubt(NOW - 3650 * DAY, None);
        assert!(matches!(behind, Some(Doubt::Behind { .. })), "{behind:?}");
        let ahead = known.doubt(NOW + 3650 * DAY, None);
        assert!(matches!(ahead, Some(Doubt::Ahead { .. })), "{ahead:?}");
        let stamp = known.doubt(NOW + DAY, Some(NOW + 3650 * DAY));
        assert!(matches!(stamp, Some(Doubt::Behind { .. })), "a saveset of a wrong clock");
        assert_eq!(known.doubt(NOW, None), None, "right again");
        assert_eq!(Known::of(None, NOW).doubt(NOW, None), None, "the first look");
        assert!(Known::of(Some(b"?"), NOW).doubt(NOW, None).is_some(), "damaged");
    }

    #[test]
    fn gc13_what_a_person_confirmed_covers_old_stamps_and_no_new_jump() {
        let newest = Some(NOW + 3650 * DAY);
        let confirmed = Confirmed { by: "ada".to_owned(), at_unix_ms: NOW, newest_unix_ms: newest };
        let known = Known { last_unix_ms: NOW, confirmed: Some(confirmed) };
        assert_eq!(known.doubt(NOW + DAY, newest), None);
        assert!(known.doubt(NOW + 31 * DAY, newest).is_some(), "another jump");
        assert!(known.doubt(NOW - 1, newest).is_some(), "back before it was confirmed");
        assert!(known.doubt(NOW + DAY, newest.map(|at| at + 1)).is_some(), "a newer stamp");
        let later = Known { last_unix_ms: NOW + 29 * DAY, ..known };
        assert_eq!(later.doubt(NOW + 31 * DAY, newest), None, "time went on as it should");
    }
}
