//! Putting segments that came again back where they are damaged.
//!
//! A segment that was copied from another datastore is byte for byte the one that was written here:
//! a copy travels sealed. So when one that fails its checksum lies whole somewhere else in this
//! datastore, its pack is written anew with it. The pack's own footer says what the bytes have to be,
//! and the pack keeps its name, so nothing else changes, and the next check finds nothing damaged.
//! Memory: one pack.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use simsim_format::{PackSegment, SegmentView};
use simsim_model::{Kind, Name};

use crate::index::{CONTENT_WRONG, UNKNOWN_LOSS, WHOLE_PACK};
use crate::pack_table::{self, pack_key};
use crate::set_aside::set_aside;
use crate::{Datastore, DatastoreError};

/// Places that are looked at for one damaged segment.
const CANDIDATES_MAX: usize = 16;
/// Names of a damaged segment that are looked up.
const NAMES_MAX: usize = 4096;

/// What was put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MendReport {
    pub packs: u64,
    pub segments: u64,
}

impl Datastore {
    /// Puts damaged segments back that lie whole somewhere else in this datastore. What a check has
    /// found is looked at; the check after this takes it back into dedup.
    pub fn mend(&self) -> Result<MendReport, DatastoreError> {
        let inner = &self.inner;
        inner.check_writable()?;
        let Some(_one) = inner.maintenance.try_lock() else {
            return Err(DatastoreError::AtWork { what: "a collection of garbage or a rebuild" });
        };
        let mut damaged: BTreeMap<Name, BTreeSet<u64>> = BTreeMap::new();
        for (pack, offset) in inner.index.distrusted() {
            let is_place = offset != WHOLE_PACK && offset & CONTENT_WRONG == 0;
            if is_place && (pack, offset) != UNKNOWN_LOSS {
                damaged.entry(pack).or_default().insert(offset);
            }
        }
        let sizes: BTreeMap<Name, u64> = inner.index.packs().into_iter().collect();
        let mut report = MendReport::default();
        for (pack, offsets) in damaged {
            let Some(bytes) = sizes.get(&pack) else { continue };
            match self.mend_pack(pack, *bytes, &offsets) {
                Ok(0) => {}
                Ok(segments) => {
                    report.packs += 1;
                    report.segments += segments;
                }
                // Of this one nothing can be read; the check says so.
                Err(error) if error.shows_loss() => {
                    tracing::warn!(%pack, %error, "a damaged pack cannot be mended");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// The number of segments that were put back.
    fn mend_pack(
        &self,
        pack: Name,
        bytes: u64,
        offsets: &BTreeSet<u64>,
    ) -> Result<u64, DatastoreError> {
        let inner = &self.inner;
        // Two at one pack would undo each other.
        let _alone = inner.sealing.write();
        let (storage, key) = (&*inner.storage, pack_key(pack));
        let footer = pack_table::footer(storage, inner.root.store, pack, bytes)?;
        let mut whole: Option<Vec<u8>> = None;
        let mut mended = 0;
        for listed in footer.segments.iter().filter(|one| offsets.contains(&one.offset)) {
            let found = storage.get_range(&key, listed.offset, listed.length as usize)?;
            if SegmentView::parse(found.clone())
                .is_ok_and(|view| view.checksum() == listed.checksum)
            {
                // It is as it was written; something that it names is lost.
                continue;
            }
            let Some(good) = self.same_elsewhere(pack, listed, found)? else { continue };
            let image = match &mut whole {
                Some(image) => image,
                None => whole.insert(Vec::from(storage.get(&key)?)),
            };
            let start = usize::try_from(listed.offset).unwrap_or(usize::MAX);
            let place = image.get_mut(start..start.saturating_add(good.len()));
            let Some(place) = place else { continue };
            set_aside(storage, &key, listed.offset, place)?;
            place.copy_from_slice(&good);
            mended += 1;
        }
        if let Some(image) = whole {
            let replaced = storage.replace(&key, &image);
            replaced.map_err(DatastoreError::from).inspect_err(|error| {
                if error.kind() != Kind::Full {
                    inner.turn_read_only(error);
                }
            })?;
            storage.forget(&key);
            tracing::info!(%pack, segments = mended, "damaged segments were put back");
        }
        Ok(mended)
    }

    /// The same segment at another place.
    fn same_elsewhere(
        &self,
        pack: Name,
        listed: &PackSegment,
        damaged: Bytes,
    ) -> Result<Option<Bytes>, DatastoreError> {
        // The names are believed no further than that something is looked for under them.
        let Ok(view) = SegmentView::parse_table(damaged) else { return Ok(None) };
        let names: Vec<Name> = view.items.iter().map(|item| item.name).take(NAMES_MAX).collect();
        let mut places = BTreeSet::new();
        for place in self.locate(view.domain, &names)?.into_iter().flatten() {
            let is_other = (place.pack, place.offset) != (pack, listed.offset);
            if is_other && place.length == listed.length {
                places.insert(place);
            }
        }
        for place in places.into_iter().take(CANDIDATES_MAX) {
            let Ok(bytes) = self.read_segment(view.domain, place) else { continue };
            let same = SegmentView::parse(bytes.clone())
                .is_ok_and(|good| good.checksum() == listed.checksum && good.kind == listed.kind);
            if same {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}
