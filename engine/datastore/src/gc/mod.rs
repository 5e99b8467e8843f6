//! Collecting garbage while backups, restores and copies run.
//!
//! ```text
//! packs of now ─► manifests ─► mark ─► census ─► shade ─► wait ─► mark again ─► copy what lives
//!                                                                                     │
//!    done ◄─ purge the index ◄─ delete packs ◄─ wait for readers ◄─ tombstones, doomed packs
//! ```
//! Nothing is deleted that anybody could still rely on, by this argument:
//!
//! 1. Only packs that were there at the beginning are looked at. What is written later lives.
//! 2. From the *shade* on, who opens a session gets no dedup hit on what was found dead. Sessions that
//!    opened before do, and are waited for.
//! 3. Then everything that came meanwhile counts as a root: new manifests, and every node in every new
//!    pack, whether its session committed or not. What it needs of the dead lives again.
//! 4. After that nothing can refer to what is dead any more: a node enters a pack only when all that it
//!    refers to is a hit.
//! 5. Packs that go are written down before they are deleted, and deleted only when all who may hold a
//!    place in them have ended. Whoever opens the datastore after a crash finishes it, or finds it as it
//!    was before.
//!
//! `docs/internals/garbage-collection.md` has the memory formula and what a crash leaves at each step.

mod filter;
mod mark;
mod purge;
mod redundant;
mod sweep;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use filter::NameFilter;
use mark::Marker;
use simsim_format::SegmentKind;
use simsim_model::{Name, SavesetId};

use crate::index::{Life, NodeSet, PackCensus, Shade, Verdict};
use crate::manifests::manifest_key;
use crate::sync::RwLock;
use crate::{Datastore, DatastoreError};

/// How garbage is collected.
#[derive(Debug, Clone)]
pub struct CollectOptions {
    /// A pack is copied without its dead segments when these are at least this part of it.
    pub dead_part_min: f64,
    /// More than this part of all bytes is not removed without leave (RET03).
    pub budget_part: f64,
    /// Datastores that are not larger have no such budget.
    pub budget_floor_bytes: u64,
    /// Leave to remove more.
    pub over_budget: bool,
    /// Memory for each of two filters of names: 1.25 bytes a chunk are wanted.
    pub filter_bytes_max: usize,
}

impl Default for CollectOptions {
    fn default() -> Self {
        Self {
            dead_part_min: 0.2,
            budget_part: 0.5,
            budget_floor_bytes: 1 << 30,
            over_budget: false,
            filter_bytes_max: 128 << 20,
        }
    }
}

/// What a collection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CollectStage {
    /// Following what savesets need.
    Marking,
    /// Sessions that opened before have to end.
    WaitingForSessions,
    /// Looking at what came meanwhile.
    MarkingAgain,
    /// Writing what lives in packs that go into new ones.
    Copying,
    /// Those who may read from packs that go have to end.
    WaitingForReaders,
    Deleting,
}

/// How far it is: nodes, sessions or packs, as the stage says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectProgress {
    pub stage: CollectStage,
    pub done: u64,
}

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectReport {
    /// Savesets whose needs were followed.
    pub savesets: u64,
    pub live_nodes: u64,
    pub packs_deleted: u64,
    pub bytes_deleted: u64,
    /// Written for what lived in them.
    pub packs_written: u64,
    pub bytes_written: u64,
    /// Dead, in packs that have too little of it to be written anew.
    pub dead_bytes_left: u64,
    /// Packs that were to be written anew and cannot be read: left as they are.
    pub packs_damaged: u64,
}

pub(crate) type Progress<'a> = &'a (dyn Fn(CollectProgress) -> bool + Sync);

/// What one collection goes by.
struct Round<'a> {
    datastore: &'a Datastore,
    options: &'a CollectOptions,
    progress: Progress<'a>,
    shade: Arc<Shade>,
    census: BTreeMap<Name, PackCensus>,
    /// Packs that are to go, with their sizes.
    chosen: BTreeMap<Name, u64>,
    report: CollectReport,
}

impl Datastore {
    /// Removes what no saveset needs. Runs beside sessions of every kind; one collection at a time.
    /// `progress` is called now and then, at least ten times a second while sessions are waited for;
    /// when it answers `false` the collection ends with nothing lost, and the next one begins anew, or
    /// goes on with deleting where this one had come so far.
    ///
    /// Errors: `Busy` while a rebuild or another collection runs; `Corrupt` when it cannot be told what a
    /// saveset needs; `Denied` over budget. In all these nothing was removed.
    pub fn collect_garbage(
        &self,
        options: &CollectOptions,
        progress: Progress<'_>,
    ) -> Result<CollectReport, DatastoreError> {
        let inner = &self.inner;
        let Some(_alone) = inner.maintenance.try_lock() else {
            return Err(DatastoreError::AtWork { what: "a collection or a rebuild" });
        };
        inner.check_writable()?;
        let mut report = CollectReport::default();
        // What an earlier one did not come to.
        if inner.tombstones().purge_pending {
            self.finish_sweep(None, progress, &mut report)?;
        }
        let mut round = self.found_dead(options, progress, report)?;
        round.choose()?;
        if round.chosen.is_empty() {
            return Ok(round.report);
        }
        let swept = round.sweep();
        // Before packs are doomed nothing has changed, and what was found dead is a hit again.
        if !inner.tombstones().purge_pending {
            inner.index.set_shade(None);
        }
        swept?;
        let mut report = round.report;
        let shade = Arc::clone(&round.shade);
        self.finish_sweep(Some(&shade), progress, &mut report)?;
        inner.ensure_reserve(None);
        Ok(report)
    }

    /// Marks, and counts what is dead in the packs of now.
    fn found_dead<'a>(
        &'a self,
        options: &'a CollectOptions,
        progress: Progress<'a>,
        mut report: CollectReport,
    ) -> Result<Round<'a>, DatastoreError> {
        let inner = &self.inner;
        // Packs first: what is committed between the two looks is found from its manifest.
        inner.index.flush()?;
        let packs: HashSet<Name> = inner.index.packs().into_iter().map(|(pack, _)| pack).collect();
        let (_, _, _, entries) = inner.index.sizes();
        let mut chunks = NameFilter::new(entries, options.filter_bytes_max)?;
        let mut live_nodes = NodeSet::default();
        let mut marker = Marker::new(self);
        report.savesets = self.add_roots(&mut marker)?;
        let tell = |done| progress(CollectProgress { stage: CollectStage::Marking, done });
        let mut found = |domain, name, kind| {
            if kind == SegmentKind::Data {
                chunks.add(domain, name);
            }
            Ok(())
        };
        marker.walk(&mut live_nodes, &mut found, &tell)?;
        let mut met = NameFilter::new(entries, options.filter_bytes_max)?;
        let mut census = inner.index.census(&packs, &mut |domain, name, kind| {
            let lives = match kind {
                SegmentKind::Nodes => live_nodes.contains(&(domain, name)),
                _ => chunks.may_hold(domain, name),
            };
            match lives {
                false => Life::Dead,
                true if met.may_hold(domain, name) => Life::MayBeMetBefore,
                true => {
                    met.add(domain, name);
                    Life::Lives
                }
            }
        })?;
        drop((chunks, met));
        // A pack without any entry holds manifests of savesets, or nothing.
        for pack in &packs {
            census.entry(*pack).or_default();
        }
        report.live_nodes = live_nodes.len() as u64;
        let verdict = Verdict { live_nodes, ..Verdict::default() };
        let shade = Arc::new(Shade {
            epoch: AtomicU64::new(u64::MAX),
            packs,
            verdict: RwLock::new(verdict),
        });
        let chosen = BTreeMap::new();
        Ok(Round { datastore: self, options, progress, shade, census, chosen, report })
    }

    /// Every saveset's root. How many there are.
    fn add_roots(&self, marker: &mut Marker<'_>) -> Result<u64, DatastoreError> {
        let savesets: Vec<SavesetId> = {
            let known = self.inner.savesets.lock();
            if let Some((what, _)) = known.damaged.first() {
                return Err(DatastoreError::ManifestUnknown { what: what.clone() });
            }
            known.by_sequence.values().copied().collect()
        };
        let mut count = 0;
        for saveset in savesets {
            match self.manifest(saveset) {
                Ok(manifest) => marker.add_root(manifest.domain, manifest.root),
                // Deleted since the list was taken.
                Err(DatastoreError::NoSaveset { .. })
                    if !self.inner.savesets.lock().sequences.contains_key(&saveset) =>
                {
                    continue;
                }
                Err(error) if error.shows_loss() => {
                    return Err(DatastoreError::ManifestUnknown { what: manifest_key(saveset) });
                }
                Err(error) => return Err(error),
            }
            count += 1;
        }
        Ok(count)
    }
}
