//! How the last days went.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use simsim_model::Outcome;

use crate::api::{DayView, Trends, TrendsRequest};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

const DAYS: u32 = 30;
const DAYS_MAX: u32 = 366;
const DAY_MS: i64 = 86_400_000;

impl Server {
    /// Outcomes and growth by day. A day is one of today's clock: where the clock was put on or back
    /// for summer meanwhile, what ended within that hour of midnight counts for the day beside it.
    pub async fn trends(
        &self,
        who: &Principal,
        request: TrendsRequest,
    ) -> Result<Trends, ServerError> {
        self.may_see(who, Right::View, "trends", Object::Suite).await?;
        let days = if request.days == 0 { DAYS } else { request.days };
        if days > DAYS_MAX {
            return Err(ServerError::invalid(format!("{DAYS_MAX} days at most")));
        }
        let zone = TimeZone::system();
        let now = Timestamp::from_millisecond(now_unix_ms())
            .map_err(|error| ServerError::invalid(error.to_string()))?;
        let offset_ms = i64::from(zone.to_offset(now).seconds()) * 1000;
        let today = (now.as_millisecond() + offset_ms).div_euclid(DAY_MS);
        let first = today - i64::from(days) + 1;
        let since = first * DAY_MS - offset_ms;
        let (outcomes, added, all) = self
            .house
            .books
            .run(move |catalog| {
                let outcomes = catalog.outcomes_by_day(since, offset_ms)?;
                Ok((outcomes, catalog.added_by_day(since, offset_ms)?, catalog.sizes_in_all()?))
            })
            .await?;
        let mut found: Vec<DayView> = (first..=today)
            .map(|day| DayView {
                date: date_of(day),
                begin_unix_ms: day * DAY_MS - offset_ms,
                end_unix_ms: (day + 1) * DAY_MS - offset_ms,
                ..DayView::default()
            })
            .collect();
        let place = |day: i64| usize::try_from(day - first).ok();
        for one in outcomes {
            let Some(day) = place(one.day).and_then(|at| found.get_mut(at)) else { continue };
            let count = match one.outcome {
                Outcome::Finished => &mut day.finished,
                Outcome::FinishedWithErrors => &mut day.finished_with_errors,
                Outcome::Failed => &mut day.failed,
                Outcome::Cancelled => &mut day.cancelled,
                Outcome::Interrupted => &mut day.interrupted,
            };
            *count += one.jobs;
        }
        for one in added {
            let Some(day) = place(one.day).and_then(|at| found.get_mut(at)) else { continue };
            day.savesets = one.savesets;
            day.bytes = one.bytes;
            day.bytes_new = one.bytes_new;
            day.bytes_stored = one.bytes_stored;
        }
        Ok(Trends {
            days: found,
            savesets: all.savesets,
            bytes: all.bytes,
            bytes_new: all.bytes_new,
            bytes_stored: all.bytes_stored,
        })
    }
}

/// A day since 1970 as a date.
fn date_of(day: i64) -> String {
    let epoch = Date::constant(1970, 1, 1);
    epoch.checked_add(day.days()).map(|date| date.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_are_dates() {
        assert_eq!(super::date_of(0), "1970-01-01");
        assert_eq!(super::date_of(20_784), "2026-11-27");
        assert_eq!(super::date_of(-1), "1969-12-31");
    }
}
