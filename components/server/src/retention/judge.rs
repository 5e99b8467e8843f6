//! The catalog's rows as the rules of retention want them.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use simsim_catalog::{Deletion, DeletionStage, LastCheck, Life, LifeBooks, MadeFor};
use simsim_model::{SavesetId, StoreId};
use simsim_retention::{Check, ClockReading, Policies, Saveset, Verdict, decide};
use simsim_schedule::{Almanac, Zones};

use super::clock::{Known, instant};
use crate::ServerError;

/// The pool of savesets whose task nobody here knows, because its name is sealed: no rule can count
/// them, so none is let go.
const UNKNOWN: &str = "(unknown)";

/// Everything that is judged, of one moment.
pub(crate) struct Judged<'b> {
    pub lives: Vec<&'b Life>,
    /// In the same order.
    pub savesets: Vec<Saveset>,
    pub policies: Policies,
    pub clock: ClockReading,
    pub almanac: Almanac,
}

impl<'b> Judged<'b> {
    /// What was decided on already is left out.
    pub(crate) fn of(books: &'b LifeBooks, now_unix_ms: i64) -> Result<Self, ServerError> {
        let lives = books.lives.iter().filter(|life| life.deletion.is_none()).collect();
        Self::over(books, lives, now_unix_ms)
    }

    /// As if what no device was told yet were not decided on.
    pub(crate) fn anew(books: &'b LifeBooks, now_unix_ms: i64) -> Result<Self, ServerError> {
        let decided = |life: &&Life| {
            let stage = life.deletion.as_ref().map(Deletion::stage);
            stage.is_none_or(|stage| stage == DeletionStage::Decided)
        };
        Self::over(books, books.lives.iter().filter(decided).collect(), now_unix_ms)
    }

    fn over(
        books: &'b LifeBooks,
        lives: Vec<&'b Life>,
        now_unix_ms: i64,
    ) -> Result<Self, ServerError> {
        let savesets: Vec<Saveset> = lives.iter().map(|life| saveset(life, now_unix_ms)).collect();
        // Stamps of devices say nothing about this clock.
        let own = lives.iter().filter(|life| !life.found).map(|life| life.stamped_unix_ms);
        let known = Known::of(books.clock.as_deref(), now_unix_ms);
        let clock = known.reading(now_unix_ms, own.max());
        Ok(Self { lives, savesets, policies: policies(books)?, clock, almanac: almanac()? })
    }

    /// The verdict on each, in the order of the lives. Nothing is approved here: the last restorable
    /// saveset of a task stays.
    pub(crate) fn verdicts(&self) -> Result<simsim_retention::Decision, ServerError> {
        decide(&self.savesets, &self.policies, &self.clock, None, &self.almanac).map_err(zone_error)
    }

    /// What stays of the verdicts when other reasons stand than now.
    pub(crate) fn verdict_with(
        &self,
        at: usize,
        change: impl FnOnce(&mut Saveset),
    ) -> Result<Option<Verdict>, ServerError> {
        let mut savesets = self.savesets.clone();
        savesets.get_mut(at).map(change);
        let decision = decide(&savesets, &self.policies, &self.clock, None, &self.almanac)
            .map_err(zone_error)?;
        Ok(decision.verdicts.into_iter().nth(at).map(|(_, verdict)| verdict))
    }

    /// Places of a saveset's originals and copies.
    pub(crate) fn places(&self, id: SavesetId) -> Vec<usize> {
        let lives = self.lives.iter().enumerate();
        lives.filter(|(_, life)| life.saveset.saveset == id).map(|(at, _)| at).collect()
    }
}

pub(crate) fn zone_error(error: simsim_schedule::ScheduleError) -> ServerError {
    ServerError::invalid(format!("a policy cannot be applied: {error}"))
}

/// Whose task it is: task names of two clients are two tasks.
pub(crate) fn label(life: &Life) -> String {
    let row = &life.saveset;
    match row.task_name.is_empty() {
        true => format!("{}: (sealed) {}", row.client_name, row.saveset.short()),
        false => format!("{}:{}", row.client_name, row.task_name),
    }
}

fn saveset(life: &Life, now_unix_ms: i64) -> Saveset {
    let row = &life.saveset;
    let stamped = match life.found {
        true => life.stamped_unix_ms.min(now_unix_ms),
        false => life.stamped_unix_ms,
    };
    let second = |at: i64| Timestamp::from_second(at).unwrap_or(Timestamp::MAX);
    let lock = i64::try_from(life.lock_until_unix_s).unwrap_or(i64::MAX);
    Saveset {
        id: id_of(life),
        backup: row.saveset,
        task: label(life),
        pool: match row.task_name.is_empty() {
            true => UNKNOWN.to_owned(),
            false => life.pool.clone(),
        },
        made_for: match life.made_for {
            MadeFor::Server => simsim_retention::MadeFor::Server,
            MadeFor::Owner => simsim_retention::MadeFor::Owner,
        },
        stamped: instant(stamped),
        sequence: life.number,
        client_says: Timestamp::from_nanosecond(i128::from(row.scan_started_unix_ns)).ok(),
        outcome: row.outcome(),
        check: match life.check {
            LastCheck::NotYet => Check::NotYet,
            LastCheck::Whole => Check::Whole,
            LastCheck::Damaged => Check::Damaged,
        },
        eol: life.eol_unix_s.map(second),
        own_life: life.own_life,
        locked_until: (lock > 0).then(|| second(lock)),
        legal_hold: life.hold.as_ref().map(|hold| format!("{} ({})", hold.why, hold.by)),
        bytes: row.bytes_stored,
    }
}

/// The id of an original is its backup's; a copy has one that follows from backup and datastore.
fn id_of(life: &Life) -> SavesetId {
    if life.is_original() {
        return life.saveset.saveset;
    }
    let StoreId(store) = life.store;
    let mut id = life.saveset.saveset.0;
    id.iter_mut().zip(store).for_each(|(byte, other)| *byte ^= other);
    SavesetId(id)
}

/// The policies of all pools, and the EOL of tasks.
pub(crate) fn policies(books: &LifeBooks) -> Result<Policies, ServerError> {
    let mut policies = Policies::default();
    for pool in &books.pools {
        let policy = pool.policy.parse().map_err(|error| {
            ServerError::invalid(format!("the policy of pool '{}': {error}", pool.name))
        })?;
        policies.pools.insert(pool.name.clone(), policy);
    }
    let days: HashMap<String, u32> = books
        .task_eol_days
        .iter()
        .map(|(client, task, days)| (format!("{client}:{task}"), *days))
        .collect();
    policies.task_eol_days.extend(days);
    Ok(policies)
}

/// The zone of this host, and the host's database of zones.
pub(crate) fn almanac() -> Result<Almanac, ServerError> {
    let zones = Zones::of(jiff::tz::db().clone());
    let system = TimeZone::system();
    let name = system.iana_name().unwrap_or("UTC").to_owned();
    Almanac::new(zones.clone(), &name).or_else(|_| Almanac::new(zones, "UTC")).map_err(zone_error)
}
