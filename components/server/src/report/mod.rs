//! The report: what ran, failed and did not come in a span of time, and what is not well when it is made.
//!
//! | room | does |
//! |---|---|
//! | `gather` | where it comes from |
//! | `words` | it as text |
//! | `page` | it as HTML, for mail and browsers |
//! | `due` | when a notification tells it |

mod due;
mod gather;
mod page;
mod words;

use jiff::Timestamp;
use jiff::civil::Date;

pub(crate) use self::due::{Due, check, due};
pub(crate) use self::gather::gather;
pub(crate) use self::page::page;
pub(crate) use self::words::words;

use crate::api::{ReportReply, ReportRequest};
use crate::clock::now_unix_ms;
use crate::retention::almanac;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

const DAY_MS: i64 = 86_400_000;

impl Server {
    /// The report of a day, or of the last 24 hours.
    pub async fn report(
        &self,
        who: &Principal,
        request: ReportRequest,
    ) -> Result<ReportReply, ServerError> {
        self.may_see(who, Right::View, "see the report of", Object::Suite).await?;
        let now = now_unix_ms();
        let (from, until) = match &request.day {
            None => (now.saturating_sub(DAY_MS), now),
            Some(day) => span_of(day)?,
        };
        if from > now {
            return Err(ServerError::invalid("that day has not come yet"));
        }
        let report = gather(self, from, until).await?;
        Ok(ReportReply {
            text: words(&report),
            html: request.html.then(|| page(&report, &[])),
            report,
        })
    }
}

/// From midnight to midnight, where the server is.
fn span_of(day: &str) -> Result<(i64, i64), ServerError> {
    let wrong = || {
        let day = day.escape_debug();
        ServerError::invalid(format!("'{day}' is no day: write it as 2026-11-26"))
    };
    // Other forms of dates, and instants, would be read too.
    if day.len() != "2026-11-26".len() {
        return Err(wrong());
    }
    let date: Date = day.parse().map_err(|_| wrong())?;
    let zone = almanac()?.zone(None).map_err(|_| wrong())?;
    let next = date.tomorrow().map_err(|_| wrong())?;
    let begin = |date| zone.begin(date).map(Timestamp::as_millisecond).ok_or_else(wrong);
    Ok((begin(date)?, begin(next)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_of_the_calendar_and_anything_else_is_refused_in_words() {
        let (from, until) = span_of("2026-11-26").unwrap();
        assert!((DAY_MS - 2 * 3_600_000..=DAY_MS + 2 * 3_600_000).contains(&(until - from)));
        for wrong in ["", "today", "2026-13-01", "26.11.2026", "2026-11-26T10:00", "9999-12-31"] {
            let error = span_of(wrong).unwrap_err().to_string();
            assert!(error.contains("is no day"), "{error}");
        }
    }
}
