//! Every failpoint of the code, and the scenario that dies there. A new one without a line here
//! fails.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Who;

/// What happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum During {
    Backup,
    Restore,
    Join,
    /// The first start of a server.
    FirstStart,
    /// An occurrence of an event, and what follows its job: `events`.
    Event,
    /// A backup with commands before and after it: `commands`.
    Commands,
    /// Savesets come into the search index: `search`.
    Search,
    /// A restore drill: `drills`.
    Drill,
    /// What ended is told: `notifications`.
    Notice,
    /// Savesets are deleted: `deletions`.
    Deletion,
    /// A lock is extended: `locks`.
    Lock,
    /// A restore that may go on with another copy: `failover`.
    Failover,
    /// A datastore is healed from a copy: `failover`.
    Healing,
    /// Savesets move to another datastore: `migrations`.
    Migration,
    /// What was checked longest ago is checked: `scrubs`.
    Scrub,
    /// `simsim recover`: `recover::deaths`.
    Recovery,
    /// Another certificate authority, another TLS key: `certificates` and `tls_keys`.
    Rotation,
}

/// Name, who dies there, and how often it is passed before.
pub const POINTS: &[(&str, Who, u32, During)] = &[
    ("mover.segment_put", Who::Client, 1, During::Backup),
    ("mover.before_commit", Who::Client, 0, During::Backup),
    ("mover.committed", Who::Client, 0, During::Backup),
    ("device.segment_put", Who::Device, 1, During::Backup),
    ("datastore.pack_written", Who::Device, 0, During::Backup),
    ("datastore.pack_renamed", Who::Device, 0, During::Backup),
    ("datastore.manifest_copied", Who::Device, 0, During::Backup),
    ("datastore.index_flushed", Who::Device, 0, During::Backup),
    ("datastore.fence_checked", Who::Device, 0, During::Backup),
    ("datastore.manifest_written", Who::Device, 0, During::Backup),
    ("device.committed", Who::Device, 0, During::Backup),
    ("server.job_started", Who::Server, 0, During::Backup),
    ("server.transfer_granted", Who::Server, 0, During::Backup),
    ("server.before_row", Who::Server, 0, During::Backup),
    ("server.after_row", Who::Server, 0, During::Backup),
    ("catalog.before_commit", Who::Server, 6, During::Backup),
    ("catalog.after_commit", Who::Server, 6, During::Backup),
    ("client.post_command_owed", Who::Client, 0, During::Commands),
    ("client.pre_command_done", Who::Client, 0, During::Commands),
    ("client.scratch_made", Who::Client, 0, During::Drill),
    ("client.drill_restored", Who::Client, 0, During::Drill),
    ("server.before_evidence", Who::Server, 0, During::Drill),
    ("server.after_evidence", Who::Server, 0, During::Drill),
    ("mover.restore_chunk", Who::Client, 40, During::Restore),
    ("source.before_naming", Who::Client, 0, During::Restore),
    ("source.before_rename", Who::Client, 0, During::Restore),
    ("server.code_used", Who::Server, 0, During::Join),
    ("client.joined", Who::Joiner, 0, During::Join),
    ("catalog.made", Who::Server, 0, During::FirstStart),
    ("server.deletions_decided", Who::Server, 0, During::Deletion),
    ("server.deletions_told", Who::Server, 0, During::Deletion),
    ("server.deletions_answered", Who::Server, 0, During::Deletion),
    ("datastore.savesets_buried", Who::Device, 0, During::Deletion),
    ("device.savesets_deleted", Who::Device, 0, During::Deletion),
    ("server.lock_set", Who::Server, 0, During::Lock),
    ("server.locks_owed", Who::Server, 0, During::Lock),
    ("device.locks_extended", Who::Device, 0, During::Lock),
    ("server.restore_granted", Who::Server, 0, During::Failover),
    ("server.heal_copied", Who::Server, 0, During::Healing),
    ("server.migration_planned", Who::Server, 0, During::Migration),
    ("server.migration_copied", Who::Server, 0, During::Migration),
    ("server.migration_proven", Who::Server, 0, During::Migration),
    ("server.migration_decided", Who::Server, 0, During::Migration),
    ("datastore.scrubbed", Who::Device, 1, During::Scrub),
    ("device.saveset_proven", Who::Device, 1, During::Migration),
    ("server.authority_kept", Who::Server, 0, During::Rotation),
    ("server.search_read", Who::Server, 0, During::Search),
    ("server.search_committed", Who::Server, 0, During::Search),
    ("server.before_round", Who::Server, 0, During::Event),
    ("server.after_round", Who::Server, 0, During::Event),
    ("server.before_follow", Who::Server, 0, During::Event),
    ("server.after_follow", Who::Server, 0, During::Event),
    ("recovery.catalog_taken", Who::Server, 0, During::Recovery),
    ("recovery.checked", Who::Server, 0, During::Recovery),
    ("recovery.built", Who::Server, 0, During::Recovery),
    ("recovery.files_placed", Who::Server, 0, During::Recovery),
    ("recovery.server_placed", Who::Server, 0, During::Recovery),
    ("notice.kept", Who::Server, 0, During::Notice),
    ("notice.sent", Who::Server, 0, During::Notice),
    ("net.tls_certificate_taken", Who::Device, 0, During::Rotation),
];

#[test]
fn every_failpoint_of_the_code_has_its_scenario() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    for room in ["app/src", "channels", "components", "engine", "ground"] {
        let mut open: Vec<PathBuf> = vec![root.join(room)];
        while let Some(at) = open.pop() {
            for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|ending| ending == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    for part in text.split("failpoint::hit(\"").skip(1) {
                        found.insert(part.split('"').next().unwrap().to_owned());
                    }
                }
            }
        }
    }
    let listed: BTreeSet<String> = POINTS.iter().map(|point| point.0.to_owned()).collect();
    assert_eq!(found, listed, "failpoints of the code, and those with a scenario");
}
