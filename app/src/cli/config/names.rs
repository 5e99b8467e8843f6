//! Whether what a file adds and changes names only what there is or will be: found out before the first act, and not in
//! the middle.

use std::collections::{BTreeMap, BTreeSet};

use simsim_model::Kind;
use simsim_schedule::EventKind;

use super::differences::{Change, objects};
use super::file::{Configuration, DEFAULT_POOL, Named};
use crate::exit::Failure;

/// Of many only so many are shown.
const SHOWN: usize = 20;
/// Kinds of objects that others name, as [`objects`] has them.
const NAMED: [&str; 12] = [
    "location",
    "drive group",
    "calendar",
    "schedule",
    "pool",
    "task",
    "task group",
    "replication",
    "migration",
    "command",
    "identity provider",
    "event",
];

/// What one object names: a kind, and a name of it. Several kinds: one of them has it.
type Names = Vec<(&'static [&'static str], String)>;

/// What there is when the file is applied, by kind.
struct Known(BTreeMap<&'static str, BTreeSet<String>>);

impl Known {
    fn of(
        there: &Configuration,
        wanted: &Configuration,
        hosts: &[String],
        prune: bool,
    ) -> Result<Self, Failure> {
        let mut known: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
        for noun in NAMED {
            let names = known.entry(noun).or_default();
            names.extend(objects(wanted, noun)?.into_keys());
            if !prune {
                names.extend(objects(there, noun)?.into_keys());
            }
        }
        known.entry("pool").or_default().insert(DEFAULT_POOL.to_owned());
        // An event that says when has a schedule of its own name.
        let own = wanted.events.iter().filter(|event| event.0.at.is_some());
        known.entry("schedule").or_default().extend(own.map(|event| event.0.name.clone()));
        for datastore in there.datastores.iter().chain(&wanted.datastores) {
            known.entry("datastore").or_default().insert(datastore.name.clone());
            let numbers = datastore.drives.iter().map(|drive| drive.number.to_string());
            known.entry("drive").or_default().extend(numbers);
        }
        known.entry("host").or_default().extend(hosts.iter().cloned());
        Ok(Self(known))
    }

    fn has(&self, noun: &str, name: &str) -> bool {
        self.0.get(noun).is_some_and(|names| names.contains(name))
    }
}

/// Refuses a file whose additions and changes name what is neither in it nor on the server. `hosts`: clients of
/// the server, which a file cannot make.
pub fn check(
    there: &Configuration,
    wanted: &Configuration,
    hosts: &[String],
    changes: &[Change],
    prune: bool,
) -> Result<(), Failure> {
    let known = Known::of(there, wanted, hosts, prune)?;
    let made: BTreeSet<(&str, &str)> = changes
        .iter()
        .filter(|one| matches!(one.change, "add" | "change"))
        .map(|one| (one.noun, one.name.as_str()))
        .collect();
    let mut missing = Vec::new();
    for (noun, name, names) in all_names(wanted) {
        if noun != "queue" && !made.contains(&(noun, name.as_str())) {
            continue;
        }
        for (kinds, named) in names {
            if !kinds.iter().any(|kind| known.has(kind, &named)) {
                let kinds = kinds.join(" or ");
                missing.push(format!("{noun} '{name}' names {kinds} '{named}'"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let more = missing.len().saturating_sub(SHOWN);
    let why =
        "the configuration names what is neither in it nor on the server; nothing was changed";
    let mut failure = Failure::new(Kind::Invalid, why);
    for line in missing.into_iter().take(SHOWN) {
        failure = failure.detail(line.into());
    }
    if more > 0 {
        failure = failure.detail(format!("and {more} more").into());
    }
    Err(failure
        .next("add it to the file, or take it out where it is named; hosts join by themselves"))
}

/// What each object of a file names.
fn all_names(of: &Configuration) -> Vec<(&'static str, String, Names)> {
    let mut all: Vec<(&'static str, String, Names)> = Vec::new();
    for Named(one) in &of.locations {
        all.push(("location", one.name.clone(), some(&["location"], one.parent.clone())));
    }
    for Named(one) in &of.placed {
        let mut names = some(&["host"], Some(one.name.clone()));
        names.extend(some(&["location"], one.location.clone()));
        all.push(("place of client", one.name.clone(), names));
    }
    for Named(one) in &of.woken {
        let names = some(&["host"], Some(one.name.clone()));
        all.push(("waking of client", one.name.clone(), names));
    }
    for one in &of.datastores {
        all.push(("datastore", one.name.clone(), some(&["host"], one.node.clone())));
    }
    for Named(one) in of.interfaces.iter().flatten() {
        let names = some(&["host"], Some(one.host.clone()));
        all.push(("interfaces of host", one.host.clone(), names));
    }
    for Named(one) in of.choices.iter().flatten() {
        let names = some(&["host"], Some(one.client.clone()));
        all.push(("ways of client", one.client.clone(), names));
    }
    for Named(one) in &of.drive_groups {
        let drives = one.drives.iter().map(ToString::to_string);
        all.push(("drive group", one.name.clone(), each(&["drive"], drives)));
    }
    for Named(one) in &of.schedules {
        let calendars = one.line.calendars().map(str::to_owned);
        all.push(("schedule", one.name.clone(), each(&["calendar"], calendars)));
    }
    for Named(one) in &of.pools {
        let names = place(one.datastore.as_ref(), one.drive, one.drive_group.as_ref());
        all.push(("pool", one.name.clone(), names));
    }
    for Named(one) in &of.tasks {
        let mut names = place(one.datastore.as_ref(), one.drive, one.drive_group.as_ref());
        names.extend(some(&["host"], Some(one.client.clone())));
        names.extend(some(&["pool"], one.pool.clone()));
        all.push(("task", one.name.clone(), names));
    }
    for Named(one) in &of.task_groups {
        let tasks = one.tasks.iter().cloned();
        all.push(("task group", one.name.clone(), each(&["task"], tasks)));
    }
    for Named(one) in &of.replications {
        let mut names = each(&["datastore"], [one.source.clone(), one.target.clone()].into_iter());
        names.extend(some(&["drive"], one.drive.map(|number| number.to_string())));
        all.push(("replication", one.name.clone(), names));
    }
    for Named(one) in &of.migrations {
        let mut names = some(&["replication"], Some(one.replication.clone()));
        names.extend(some(&["pool"], one.from_pool.clone()));
        names.extend(some(&["pool"], one.pool.clone()));
        all.push(("migration", one.name.clone(), names));
    }
    for Named(one) in &of.commands {
        let names = some(&["host"], Some(one.client.clone()));
        all.push(("command", one.name.clone(), names));
    }
    for Named(one) in of.users.iter().flatten() {
        let names = some(&["identity provider"], one.provider.clone());
        all.push(("user", one.name.clone(), names));
    }
    for Named(one) in &of.events {
        let kinds: &'static [&'static str] = match one.kind {
            EventKind::Backup | EventKind::RestoreDrill => &["task"],
            EventKind::Replication => &["replication"],
            EventKind::Migration => &["migration"],
            EventKind::Verification => &["datastore", "task"],
            EventKind::GarbageCollection => &["datastore"],
            EventKind::Command => &["command"],
            // It has none, and the server says so.
            EventKind::BackupDayChange => &["subject"],
        };
        let mut names = each(kinds, one.subjects.iter().cloned());
        names.extend(each(&["task group"], one.task_groups.iter().cloned()));
        names.extend(each(&["location"], one.locations.iter().cloned()));
        names.extend(each(&["calendar"], one.blocking_dates.calendars().map(str::to_owned)));
        let calendars = one.at.iter().flat_map(|line| line.calendars()).map(str::to_owned);
        names.extend(each(&["calendar"], calendars));
        names.extend(some(&["schedule"], one.schedule.clone()));
        names.extend(some(&["pool"], one.pool.clone()));
        names.extend(some(&["drive group"], one.drive_group.clone()));
        names.extend(some(&["drive"], one.drive.map(|number| number.to_string())));
        if let Some(drill) = &one.drill {
            names.extend(some(&["host"], drill.client.clone()));
            names.extend(some(&["datastore"], drill.copy.clone()));
        }
        let follow_ups = &one.follow_ups;
        let lists = [&follow_ups.success, &follow_ups.warning, &follow_ups.failure];
        names.extend(each(&["event"], lists.into_iter().flatten().cloned()));
        all.push(("event", one.name.clone(), names));
    }
    let limits = &of.queue;
    let mut names = each(&["host"], limits.clients.keys().cloned());
    names.extend(each(&["drive group"], limits.drive_groups.keys().cloned()));
    all.push(("queue", "limits".to_owned(), names));
    all
}

/// A place of data.
fn place(datastore: Option<&String>, drive: Option<u32>, group: Option<&String>) -> Names {
    let mut names = some(&["datastore"], datastore.cloned());
    names.extend(some(&["drive"], drive.map(|number| number.to_string())));
    names.extend(some(&["drive group"], group.cloned()));
    names
}

fn some(kinds: &'static [&'static str], name: Option<String>) -> Names {
    each(kinds, name.into_iter())
}

fn each(kinds: &'static [&'static str], names: impl Iterator<Item = String>) -> Names {
    names.map(|name| (kinds, name)).collect()
}
