//! How fast data may go: limits for hosts, for networks and for all, by the clock of this host.
//!
//! The catalog has them as lines with days and times. Devices hold them: each is told, for the days to
//! come, how much is allowed from when on, so that what is due at 08:00 comes about whether or not it
//! can be told then. They are told before each transfer, whenever something changes, when a device is
//! reached anew, and each hour.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use simsim_catalog::{Client, RateFor, RateRow};
use simsim_control::verbs::{RateLimit, RateStep, SetRates};
use simsim_model::Rate;
use simsim_transfer::throttle::{Party, Subject};
use tokio::task::JoinSet;

use crate::ServerError;
use crate::api::{LimitedView, RateView};
use crate::house::House;
use crate::nodes::Line;

/// What is told reaches so far; the last step holds on.
const DAYS: i64 = 8;
/// How often all devices are told anew.
const AGAIN: Duration = Duration::from_secs(3600);

/// The device sees addresses itself: names are not worth a long wait.
const LOOK_UP: Duration = Duration::from_secs(1);

/// A limit, read.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    pub number: u64,
    pub subject: Subject,
    pub rates: Vec<Rate>,
    pub created_unix_ms: i64,
}

impl Limit {
    fn read(row: RateRow) -> Result<Self, ServerError> {
        let subject = match row.counts_for {
            RateFor::All => Subject::All,
            RateFor::Host(name) => Subject::Host(name),
            RateFor::Network(network) => Subject::Network(
                network.parse().map_err(|error| ServerError::Lost(format!("{error}")))?,
            ),
        };
        let rates: Result<Vec<Rate>, _> = row.rates.iter().map(|rate| rate.parse()).collect();
        Ok(Self {
            number: row.number,
            subject,
            rates: rates.map_err(|error| ServerError::Lost(error.to_string()))?,
            created_unix_ms: row.created_unix_ms,
        })
    }

    fn told(&self, now: &Zoned) -> RateLimit {
        let begin = now.timestamp();
        let steps = steps(&self.rates, now).into_iter().map(|(at, bytes_per_s)| {
            let ms = at.as_millisecond() - begin.as_millisecond();
            RateStep { after_s: u64::try_from(ms).unwrap_or(0).div_ceil(1000), bytes_per_s }
        });
        RateLimit { number: self.number, subject: self.subject.to_string(), steps: steps.collect() }
    }

    pub(crate) fn view(&self, now: &Zoned) -> RateView {
        RateView {
            number: self.number,
            counts_for: self.subject.to_string(),
            rates: self.rates.iter().map(Rate::to_string).collect(),
            now_bytes_per_s: allowed(&self.rates, now),
            until_unix_ms: steps(&self.rates, now).get(1).map(|(at, _)| at.as_millisecond()),
            created_unix_ms: self.created_unix_ms,
        }
    }
}

/// This host's time, in its own zone.
pub(crate) fn now() -> Zoned {
    Timestamp::now().to_zoned(TimeZone::system())
}

/// All limits, the oldest first.
pub(crate) async fn all(house: &House) -> Result<Vec<Limit>, ServerError> {
    let rows = house.books.run(|catalog| catalog.rates()).await?;
    rows.into_iter().map(Limit::read).collect()
}

fn allowed(rates: &[Rate], at: &Zoned) -> Option<u64> {
    let day = u8::try_from(at.weekday().to_monday_zero_offset()).unwrap_or_default();
    let minute = u16::try_from(at.hour()).unwrap_or_default() * 60
        + u16::try_from(at.minute()).unwrap_or_default();
    Rate::allowed(rates, day, minute)
}

/// What these rates allow from now on, and whenever that changes.
fn steps(rates: &[Rate], now: &Zoned) -> Vec<(Timestamp, Option<u64>)> {
    let (zone, begin) = (now.time_zone(), now.timestamp());
    let end = begin + Duration::from_secs(DAYS.unsigned_abs() * 86_400);
    let mut moments = vec![begin];
    let turns = Rate::turns(rates);
    for day in 0..=DAYS {
        let Ok(date) = now.date().checked_add(day.days()) else { continue };
        for turn in &turns {
            let (hour, minute) = (turn / 60, turn % 60);
            let time = date.at(
                i8::try_from(hour).unwrap_or_default(),
                i8::try_from(minute).unwrap_or_default(),
                0,
                0,
            );
            // A time that comes twice on one day, or not at all, when clocks are changed.
            let either = zone.to_ambiguous_timestamp(time);
            moments.extend(either.earlier());
            moments.extend(either.later());
        }
    }
    let changes = zone.following(begin).map(|change| change.timestamp());
    moments.extend(changes.take_while(|at| *at < end).take(16));
    moments.retain(|at| (begin..end).contains(at));
    moments.sort_unstable();
    let mut steps: Vec<(Timestamp, Option<u64>)> = Vec::new();
    for at in moments {
        let rate = allowed(rates, &at.to_zoned(zone.clone()));
        if steps.last().is_none_or(|(_, before)| *before != rate) {
            steps.push((at, rate));
        }
    }
    steps
}

/// The lowest of the limits that count for a transfer now.
pub(crate) fn lowest(limits: &[Limit], party: &Party, now: &Zoned) -> Option<LimitedView> {
    let counting = limits.iter().filter(|limit| limit.subject.counts_for(party));
    let rates = counting.filter_map(|limit| Some((allowed(&limit.rates, now)?, limit)));
    let (bytes_per_s, limit) = rates.min_by_key(|(rate, limit)| (*rate, limit.number))?;
    Some(LimitedView { bytes_per_s, by: limit.subject.to_string(), number: limit.number })
}

/// Addresses of a client, for limits of networks that there are or that come; what its names stand for
/// is asked for no longer than [`LOOK_UP`].
pub(crate) async fn addresses_of(client: &Client) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let collect = async {
        for host in &client.addresses {
            match tokio::net::lookup_host((host.as_str(), client.listen_port)).await {
                Ok(found) => addresses.extend(found.map(|address| address.ip())),
                Err(error) => tracing::debug!(host, %error, "its address is not known"),
            }
        }
    };
    let _ = tokio::time::timeout(LOOK_UP, collect).await;
    addresses
}

/// Tells one device.
pub(crate) async fn tell(house: &House, line: &Line) -> Result<(), ServerError> {
    let (limits, now) = (all(house).await?, now());
    let told = limits.iter().map(|limit| limit.told(&now)).collect();
    line.call(SetRates { limits: told }).await.map(drop)
}

/// Tells all devices, side by side; answers those that do not hold the limits, and why.
pub(crate) async fn tell_all(house: &Arc<House>) -> Result<Vec<String>, ServerError> {
    let clients = house.books.run(|catalog| catalog.clients()).await?;
    let mut telling = JoinSet::new();
    let mut untold = Vec::new();
    for client in clients.into_iter().filter(|one| one.is_enrolled() && one.has_role("device")) {
        let line = house.nodes.status(client.id).and_then(|status| status.line);
        match line.filter(|line| !line.is_lost()) {
            None => untold.push(format!(
                "'{}' is not reached now: it is told when it comes back, and before each job",
                client.name
            )),
            Some(line) => {
                let house = Arc::clone(house);
                telling.spawn(async move { (client.name, tell(&house, &line).await) });
            }
        }
    }
    while let Some(told) = telling.join_next().await {
        if let Ok((name, Err(error))) = told {
            untold.push(format!("'{name}': {}", error.full_message()));
        }
    }
    untold.sort_unstable();
    Ok(untold)
}

/// Tells all devices from time to time, until the Server stops.
pub(crate) async fn keep_told(house: Weak<House>) {
    loop {
        tokio::time::sleep(AGAIN).await;
        let Some(house) = house.upgrade() else { return };
        match tell_all(&house).await {
            Ok(untold) => {
                for why in untold {
                    tracing::debug!(why, "a device was not told its rate limits");
                }
            }
            Err(error) => tracing::warn!(%error, "devices were not told their rate limits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(texts: &[&str]) -> Vec<Rate> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    fn shown(rates: &[Rate], now: &Zoned) -> Vec<(String, Option<u64>)> {
        let zone = now.time_zone().clone();
        let text = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%a %H:%M %Z").to_string();
        steps(rates, now).into_iter().map(|(at, rate)| (text(at), rate)).collect()
    }

    #[test]
    fn a_week_to_come_is_told_with_every_change_of_it() {
        let rates = rates(&["20MB/s", "mon-fri 08:00-18:00 5MB/s", "sat,sun unlimited"]);
        // A Thursday.
        let told = shown(&rates, &at("2026-11-26T07:15[UTC]"));
        let told: Vec<(&str, Option<u64>)> =
            told.iter().map(|(at, rate)| (at.as_str(), *rate)).collect();
        let (slow, fast) = (Some(5_000_000), Some(20_000_000));
        assert_eq!(
            told[..7],
            [
                ("Thu 07:15 UTC", fast),
                ("Thu 08:00 UTC", slow),
                ("Thu 18:00 UTC", fast),
                ("Fri 08:00 UTC", slow),
                ("Fri 18:00 UTC", fast),
                ("Sat 00:00 UTC", None),
                ("Mon 00:00 UTC", fast),
            ]
        );
        assert_eq!(told.last().unwrap(), &("Thu 18:00 UTC", fast).clone());
        assert!(told.len() <= simsim_control::verbs::RATE_STEPS_MAX);
    }

    #[test]
    fn clocks_that_are_changed_move_the_steps_with_them() {
        let rates = rates(&["02:30-03:30 1MB/s"]);
        // 02:00 becomes 03:00: the span is half an hour long.
        let spring = shown(&rates, &at("2026-03-29T01:00[Europe/Berlin]"));
        assert_eq!(
            spring[..3],
            [
                ("Sun 01:00 CET".to_owned(), None),
                ("Sun 03:00 CEST".to_owned(), Some(1_000_000)),
                ("Sun 03:30 CEST".to_owned(), None)
            ]
        );
        // 03:00 becomes 02:00: half past two comes twice, and what lies between is no part of it.
        let autumn = shown(&rates, &at("2026-10-25T01:00[Europe/Berlin]"));
        assert_eq!(
            autumn[..5],
            [
                ("Sun 01:00 CEST".to_owned(), None),
                ("Sun 02:30 CEST".to_owned(), Some(1_000_000)),
                ("Sun 02:00 CET".to_owned(), None),
                ("Sun 02:30 CET".to_owned(), Some(1_000_000)),
                ("Sun 03:30 CET".to_owned(), None)
            ]
        );
    }

    #[test]
    fn the_largest_limits_fit_into_one_message() {
        let lines: Vec<String> =
            (0..16).map(|n| format!("{:02}:{:02}-{:02}:59 {}KB/s", n, n, n + 1, n + 10)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let limit = Limit {
            number: u64::MAX,
            subject: Subject::Host("h".repeat(255)),
            rates: rates(&lines),
            created_unix_ms: 0,
        };
        let told = limit.told(&at("2026-10-22T00:00:01[Europe/Berlin]"));
        assert!(told.steps.len() <= simsim_control::verbs::RATE_STEPS_MAX, "{}", told.steps.len());
        // A step takes at most 16 bytes: a map of two, a time below 2^32, an amount.
        let most = simsim_control::verbs::RATE_LIMITS_MAX
            * (300 + simsim_control::verbs::RATE_STEPS_MAX * 16);
        assert!(most < simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX, "{most}");
    }

    #[test]
    fn the_lowest_that_counts_now_is_named() {
        let limit = |number, subject: &str, texts: &[&str]| Limit {
            number,
            subject: subject.parse().unwrap(),
            rates: rates(texts),
            created_unix_ms: 0,
        };
        let limits = [
            limit(1, "all", &["9MB/s"]),
            limit(2, "host web", &["mon-fri 08:00-18:00 5MB/s"]),
            limit(3, "network 10.2.0.0/16", &["7MB/s"]),
        ];
        let party = |host: &str, address: &str| Party {
            hosts: vec![host.to_owned()],
            addresses: vec![address.parse().unwrap()],
        };
        let by = |party: &Party, now: &str| lowest(&limits, party, &at(now)).unwrap().by;
        let (day, night) = ("2026-11-26T09:00[UTC]", "2026-11-26T22:00[UTC]");
        assert_eq!(by(&party("web", "10.2.0.1"), day), "host web");
        assert_eq!(by(&party("web", "10.2.0.1"), night), "network 10.2.0.0/16");
        assert_eq!(by(&party("web", "10.3.0.1"), night), "all");
        assert!(lowest(&limits[1..2], &party("web", "::1"), &at(night)).is_none());
    }
}
