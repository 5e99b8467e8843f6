//! Rebuilding from packs: the index, and manifests that are gone or damaged.

use simsim_format::{Manifest, SegmentView};

use crate::manifests::manifest_key;
use crate::pack_table::{self, PackTable, pack_key};
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

impl Datastore {
    /// Builds the index anew from all packs' own tables. Of a damaged pack every whole segment is
    /// saved (IDX04). Sessions wait with sealing meanwhile.
    pub fn rebuild_index(&self) -> Result<RebuildReport, DatastoreError> {
        let inner = &self.inner;
        inner.check_writable()?;
        let _alone = inner.sealing.write();
        let packs = pack_table::list(&*inner.storage)?;
        // The new index will not tell of packs that are gone.
        if inner.index.packs().iter().any(|(pack, bytes)| packs.get(pack) != Some(bytes)) {
            quarantine::remember_loss(inner)?;
        }
        let mut report = RebuildReport::default();
        let tables = packs.into_iter().filter_map(|(pack, bytes)| {
            report.packs += 1;
            let table = self.table_or_salvage(pack, bytes, &mut report)?;
            report.segments += table.segments.len() as u64;
            report.items += table.segments.iter().map(|s| s.names.len() as u64).sum::<u64>();
            report.damaged_segments += table.damaged.len() as u64;
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

    /// Writes manifests that are gone or damaged anew from the copies in the packs. A copy whose
    /// sequence number another saveset has was never committed, and is left alone.
    pub fn rebuild_manifests_from_packs(&self) -> Result<RebuildReport, DatastoreError> {
        let inner = &self.inner;
        inner.check_writable()?;
        let _commit = inner.commit.lock();
        let mut report = RebuildReport::default();
        for (pack, bytes) in pack_table::list(&*inner.storage)? {
            report.packs += 1;
            let Some(table) = self.table_or_salvage(pack, bytes, &mut report) else { continue };
            for (offset, length) in table.manifests {
                if self.restore_manifest(pack, offset, length as usize)? {
                    report.manifests += 1;
                }
            }
        }
        if report.manifests > 0 {
            let mut savesets = inner.savesets.lock();
            let last = savesets.last_sequence;
            let (storage, misreads) = (&*inner.storage, &inner.index.misreads);
            *savesets = crate::manifests::Savesets::read(storage, inner.root.store, misreads)?;
            savesets.last_sequence = savesets.last_sequence.max(last);
        }
        Ok(report)
    }

    fn restore_manifest(
        &self,
        pack: simsim_model::Name,
        offset: u64,
        length: usize,
    ) -> Result<bool, DatastoreError> {
        let inner = &self.inner;
        let segment = inner.storage.get_range(&pack_key(pack), offset, length)?;
        let Ok(view) = SegmentView::parse(segment) else { return Ok(false) };
        let Some(copy) = view.manifest_copy() else { return Ok(false) };
        let Ok(manifest) = Manifest::decode(&copy) else { return Ok(false) };
        let savesets = inner.savesets.lock();
        if manifest.store != inner.root.store
            || savesets.sequences.contains_key(&manifest.saveset)
            || savesets.by_sequence.contains_key(&manifest.sequence)
        {
            return Ok(false);
        }
        drop(savesets);
        if !self.has(manifest.domain, &[manifest.root])?.contains(&true) {
            return Ok(false);
        }
        inner.storage.replace(&manifest_key(manifest.saveset), &copy)?;
        inner.savesets.lock().add(manifest.sequence, manifest.saveset);
        Ok(true)
    }
}
