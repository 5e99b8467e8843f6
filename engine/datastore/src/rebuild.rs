//! Rebuilding from packs: the index, and manifests that are gone or damaged.

use std::cmp::Reverse;
use std::collections::HashMap;

use simsim_format::{Manifest, SegmentView};
use simsim_model::Name;

use crate::error::shows_loss;
use crate::index::PackSum;
use crate::manifests::manifest_key;
use crate::pack_table::{self, PackTable, pack_key};
use crate::set_aside::set_aside;
use crate::{Datastore, DatastoreError, quarantine};

/// What a rebuild found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RebuildReport {
    pub packs: u64,
    pub segments: u64,
    pub items: u64,
    /// Packs whose footer is lost, and of which whole segments were saved.
    pub salvaged_packs: u64,
    /// Packs of which nothing can be read.
    pub lost_packs: u64,
    /// Segments that are listed but damaged.
    pub damaged_segments: u64,
    /// Manifests that were written anew from their copies.
    pub manifests: u64,
}

/// Where a copy of a manifest lies.
struct CopyPlace {
    pack: simsim_model::Name,
    offset: u64,
    length: usize,
}

fn copies_in(pack: simsim_model::Name, table: &PackTable) -> impl Iterator<Item = CopyPlace> {
    let place = move |(offset, length): &(u64, u32)| {
        let (offset, length) = (*offset, *length as usize);
        CopyPlace { pack, offset, length }
    };
    table.manifests.iter().map(place)
}

impl Datastore {
    /// Builds the index anew, and manifests that are gone or damaged, in one pass over the packs.
    pub fn rebuild(&self) -> Result<RebuildReport, DatastoreError> {
        let mut copies = Vec::new();
        let mut report = self.index_anew(&mut copies)?;
        report.manifests = self.write_lost(&copies)?;
        Ok(report)
    }

    /// Builds the index anew from all packs' own tables. Of a damaged pack every whole segment is
    /// saved (IDX04). Sessions wait with sealing meanwhile.
    pub fn rebuild_index(&self) -> Result<RebuildReport, DatastoreError> {
        self.index_anew(&mut Vec::new())
    }

    fn index_anew(&self, copies: &mut Vec<CopyPlace>) -> Result<RebuildReport, DatastoreError> {
        let inner = &self.inner;
        inner.check_writable()?;
        let Some(_one) = inner.maintenance.try_lock() else {
            return Err(DatastoreError::AtWork { what: "a collection of garbage or a rebuild" });
        };
        let _alone = inner.sealing.write();
        let mut packs = pack_table::list(&*inner.storage)?;
        let tombstones = inner.tombstones();
        packs.retain(|pack, _| !tombstones.doomed.contains(pack));
        if let Some(report) = self.right_already(&packs, copies)? {
            return Ok(report);
        }
        // The new index will not tell of packs that are gone.
        if inner.index.packs().iter().any(|(pack, bytes)| packs.get(pack) != Some(bytes)) {
            quarantine::remember_loss(inner)?;
        }
        let mut report = RebuildReport::default();
        let tables = packs.into_iter().filter_map(|(pack, bytes)| {
            report.packs += 1;
            let mut table = self.table_or_salvage(pack, bytes, &mut report)?;
            table.bury(pack, &tombstones);
            report.segments += table.segments.len() as u64;
            report.items += table.segments.iter().map(|s| s.names.len() as u64).sum::<u64>();
            report.damaged_segments += table.damaged.len() as u64;
            copies.extend(copies_in(pack, &table));
            Some((pack, bytes, table.segments))
        });
        inner.index.rebuild(tables).inspect_err(|error| inner.turn_read_only(error))?;
        inner.damaged_packs.lock().clear();
        if report.lost_packs + report.salvaged_packs + report.damaged_segments > 0 {
            quarantine::remember_loss(inner)?;
        }
        inner.index.delete_replaced();
        Ok(report)
    }

    /// Is the index what all packs say, and nothing known to be damaged? Then a rebuild changes nothing
    /// (REP01), and this is its report.
    fn right_already(
        &self,
        packs: &HashMap<Name, u64>,
        copies: &mut Vec<CopyPlace>,
    ) -> Result<Option<RebuildReport>, DatastoreError> {
        let inner = &self.inner;
        let tombstones = inner.tombstones();
        let known: HashMap<Name, u64> = inner.index.packs().into_iter().collect();
        let is_known = known == *packs && inner.damaged_packs.lock().is_empty();
        if !is_known || tombstones.purge_pending {
            return Ok(None);
        }
        let Some(mut sums) = inner.index.sums()? else { return Ok(None) };
        let (storage, store) = (&*inner.storage, inner.root.store);
        let mut report = RebuildReport::default();
        let mut found = Vec::new();
        for (pack, bytes) in packs {
            let read =
                pack_table::read_surely(storage, store, *pack, *bytes, &inner.index.misreads);
            let mut table = match read {
                Ok(table) if table.damaged.is_empty() => table,
                Err(error) if !error.shows_loss() => return Err(error),
                _ => return Ok(None),
            };
            table.bury(*pack, &tombstones);
            if sums.remove(pack).unwrap_or_default() != PackSum::of(&table.segments) {
                return Ok(None);
            }
            report.packs += 1;
            report.segments += table.segments.len() as u64;
            report.items += table.segments.iter().map(|s| s.names.len() as u64).sum::<u64>();
            found.extend(copies_in(*pack, &table));
        }
        if !sums.is_empty() {
            return Ok(None);
        }
        copies.extend(found);
        Ok(Some(report))
    }

    fn table_or_salvage(
        &self,
        pack: simsim_model::Name,
        bytes: u64,
        report: &mut RebuildReport,
    ) -> Option<PackTable> {
        let (storage, store) = (&*self.inner.storage, self.inner.root.store);
        let misreads = &self.inner.index.misreads;
        if let Ok(table) = pack_table::read_surely(storage, store, pack, bytes, misreads) {
            return Some(table);
        }
        match pack_table::salvage(storage, store, pack, bytes) {
            Ok(table) => {
                report.salvaged_packs += 1;
                Some(table)
            }
            Err(error) => {
                tracing::error!(%pack, %error, "nothing of a pack can be read");
                report.lost_packs += 1;
                None
            }
        }
    }

    /// Writes manifests that are gone or damaged anew from the copies in the packs.
    ///
    /// A run that died between the copy of its manifest and the manifest itself left a copy of what
    /// was never committed, and the next commit took its sequence number. So of several copies with
    /// one number the one that was committed last stands, and a copy whose number another saveset
    /// has is left alone. One whose number nobody took comes back: all its data is there.
    pub fn rebuild_manifests_from_packs(&self) -> Result<RebuildReport, DatastoreError> {
        self.inner.check_writable()?;
        let mut report = RebuildReport::default();
        let mut copies = Vec::new();
        for (pack, bytes) in pack_table::list(&*self.inner.storage)? {
            report.packs += 1;
            if let Some(table) = self.table_or_salvage(pack, bytes, &mut report) {
                copies.extend(copies_in(pack, &table));
            }
        }
        report.manifests = self.write_lost(&copies)?;
        Ok(report)
    }

    /// Writes the manifests that are not there, and says how many.
    fn write_lost(&self, copies: &[CopyPlace]) -> Result<u64, DatastoreError> {
        let inner = &self.inner;
        let _commit = inner.commit.lock();
        let mut found = Vec::new();
        for copy in copies {
            if let Some(manifest) = self.lost_manifest(copy)? {
                let order = (manifest.sequence, Reverse(manifest.committed_unix_ns));
                found.push((order, manifest.saveset, copy));
            }
        }
        found.sort_unstable_by_key(|(order, saveset, _)| (*order, *saveset));
        let mut written = 0;
        for (_, _, copy) in found {
            let Some(manifest) = self.lost_manifest(copy)? else { continue };
            let key = manifest_key(manifest.saveset);
            match inner.storage.get(&key) {
                Ok(damaged) => set_aside(&*inner.storage, &key, 0, &damaged)?,
                Err(error) if shows_loss(&error) => {}
                Err(error) => return Err(error.into()),
            }
            inner.storage.replace(&key, &manifest.encode())?;
            inner.savesets.lock().add(manifest.sequence, manifest.saveset);
            written += 1;
        }
        if written > 0 {
            let mut savesets = inner.savesets.lock();
            let last = savesets.last_sequence;
            let (storage, misreads) = (&*inner.storage, &inner.index.misreads);
            *savesets = crate::manifests::Savesets::read(storage, inner.root.store, misreads)?;
            savesets.last_sequence = savesets.last_sequence.max(last);
        }
        Ok(written)
    }

    /// The manifest in a copy, where the datastore has none of that saveset and of that number.
    fn lost_manifest(&self, copy: &CopyPlace) -> Result<Option<Manifest>, DatastoreError> {
        let inner = &self.inner;
        let segment = inner.storage.get_range(&pack_key(copy.pack), copy.offset, copy.length)?;
        let Ok(view) = SegmentView::parse(segment) else { return Ok(None) };
        let Some(copy) = view.manifest_copy() else { return Ok(None) };
        let Ok(manifest) = Manifest::decode(&copy) else { return Ok(None) };
        let savesets = inner.savesets.lock();
        if inner.tombstones().deleted.contains_key(&manifest.saveset) {
            return Ok(None);
        }
        if manifest.store != inner.root.store
            || savesets.sequences.contains_key(&manifest.saveset)
            || savesets.by_sequence.contains_key(&manifest.sequence)
        {
            return Ok(None);
        }
        drop(savesets);
        let root_is_there = self.has(manifest.domain, &[manifest.root])?.contains(&true);
        Ok(root_is_there.then_some(manifest))
    }
}
