//! Keep rules: which backups they have.
//!
//! Rules look at the backups of one task in one pool, those that the server wanted and those that an
//! owner asked for each by themselves. A backup with several copies in a pool is one, and all its copies
//! there share its fate. The newest comes first, by the server's sequence; of each bucket the first one
//! that is met is kept, until there are as many buckets as the rule has. So a larger number keeps what a
//! smaller one keeps, and more.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use simsim_model::{Outcome, SavesetId};
use simsim_schedule::{Almanac, ScheduleError, Zone};

use crate::decide::Why;
use crate::policy::{Counting, Policies, Policy, Rule};
use crate::saveset::{Check, MadeFor, Saveset};

/// What keep rules say of the savesets of one call, by their places in it.
pub(crate) struct Kept {
    /// The rules that keep each saveset.
    pub why: Vec<Vec<Why>>,
    /// The stamp of the newest backup that counts, of those among which a saveset is counted.
    pub newest: Vec<Option<Timestamp>>,
}

/// One backup in a group.
struct Backup {
    sequence: u64,
    stamped: Timestamp,
    counts: bool,
    /// It would count if it were whole.
    damaged: bool,
    /// Places of its savesets.
    savesets: Vec<usize>,
}

pub(crate) fn keep(
    savesets: &[Saveset],
    policies: &Policies,
    almanac: &Almanac,
) -> Result<Kept, ScheduleError> {
    let mut groups: BTreeMap<(&str, &str, MadeFor), BTreeMap<SavesetId, Backup>> = BTreeMap::new();
    for (at, saveset) in savesets.iter().enumerate() {
        let Some(policy) = policies.pools.get(&saveset.pool) else { continue };
        let group = groups.entry((&saveset.pool, &saveset.task, saveset.made_for)).or_default();
        let backup = group.entry(saveset.backup).or_insert_with(|| Backup {
            sequence: saveset.sequence,
            stamped: saveset.stamped,
            counts: false,
            damaged: false,
            savesets: Vec::new(),
        });
        backup.sequence = backup.sequence.min(saveset.sequence);
        backup.stamped = backup.stamped.min(saveset.stamped);
        backup.counts |= counts(saveset, policy.counting());
        backup.damaged |= saveset.check == Check::Damaged
            && counts(&Saveset { check: Check::Whole, ..saveset.clone() }, policy.counting());
        backup.savesets.push(at);
    }
    let mut kept =
        Kept { why: vec![Vec::new(); savesets.len()], newest: vec![None; savesets.len()] };
    for ((pool, ..), group) in groups {
        let Some(policy) = policies.pools.get(pool) else { continue };
        let zone = almanac.zone(policy.zone())?;
        let mut backups: Vec<(SavesetId, Backup)> = group.into_iter().collect();
        backups
            .sort_by_key(|(id, backup)| std::cmp::Reverse((backup.sequence, backup.stamped, *id)));
        let newest =
            backups.iter().find(|(_, backup)| backup.counts).map(|(_, backup)| backup.stamped);
        for at in backups.iter().flat_map(|(_, backup)| &backup.savesets) {
            kept.newest[*at] = newest;
        }
        for rule in Rule::ALL {
            walk(rule, policy, &zone, &backups, &mut kept.why);
            walk_when_whole(rule, policy, &zone, &backups, &mut kept.why);
        }
    }
    Ok(kept)
}

/// Whether a saveset counts for keep rules.
pub(crate) fn counts(saveset: &Saveset, counting: Counting) -> bool {
    saveset.is_restorable()
        && match counting {
            Counting::Restorable => true,
            Counting::Finished => saveset.outcome == Outcome::Finished,
            Counting::Verified => saveset.check == Check::Whole,
        }
}

fn walk(
    rule: Rule,
    policy: &Policy,
    zone: &Zone,
    backups: &[(SavesetId, Backup)],
    why: &mut [Vec<Why>],
) {
    let number = policy.keeps(rule);
    for (backup, bucket) in chosen(rule, policy, zone, backups, &|backup| backup.counts) {
        for at in &backup.savesets {
            why[*at].push(Why::Rule { rule, number, bucket: bucket.clone() });
        }
    }
}

/// What is damaged takes no place of a good one, and goes no earlier for it: it may be healed.
fn walk_when_whole(
    rule: Rule,
    policy: &Policy,
    zone: &Zone,
    backups: &[(SavesetId, Backup)],
    why: &mut [Vec<Why>],
) {
    let number = policy.keeps(rule);
    let would_count = |backup: &Backup| backup.counts || backup.damaged;
    for (backup, bucket) in chosen(rule, policy, zone, backups, &would_count) {
        for at in backup.savesets.iter().filter(|_| !backup.counts) {
            why[*at].push(Why::WhenWhole { rule, number, bucket: bucket.clone() });
        }
    }
}

/// The backups that a rule has, of those that count, each with its bucket.
fn chosen<'b>(
    rule: Rule,
    policy: &Policy,
    zone: &Zone,
    backups: &'b [(SavesetId, Backup)],
    counts: &dyn Fn(&Backup) -> bool,
) -> Vec<(&'b Backup, String)> {
    let number = policy.keeps(rule) as usize;
    let mut seen: BTreeSet<(i64, i64)> = BTreeSet::new();
    let mut chosen = Vec::new();
    for (place, (_, backup)) in backups.iter().filter(|(_, backup)| counts(backup)).enumerate() {
        if seen.len() >= number {
            break;
        }
        let (key, bucket) = bucket(rule, zone, backup.stamped, place);
        if seen.insert(key) {
            chosen.push((backup, bucket));
        }
    }
    chosen
}

/// The bucket of a stamp: a key of its own, and its name for people.
fn bucket(rule: Rule, zone: &Zone, stamped: Timestamp, place: usize) -> ((i64, i64), String) {
    let local = zone.local(stamped);
    let (year, month) = (i64::from(local.year()), i64::from(local.month()));
    match rule {
        Rule::Last => ((place as i64, 0), (place + 1).to_string()),
        Rule::Hourly => {
            // Where clocks are set back an hour comes twice, and is two.
            let into = i64::from(local.minute()) * 60 + i64::from(local.second());
            let name = format!("{} {:02}:00", local.date(), local.hour());
            ((stamped.as_second() - into, 0), name)
        }
        Rule::Daily => ((year, i64::from(local.date().day_of_year())), local.date().to_string()),
        Rule::Weekly => {
            let week = local.date().iso_week_date();
            let key = (i64::from(week.year()), i64::from(week.week()));
            (key, format!("week {} of {}", week.week(), week.year()))
        }
        Rule::Monthly => ((year, month), format!("{year}-{month:02}")),
        Rule::Yearly => ((year, 0), year.to_string()),
    }
}
