//! Reading packs: their names, their own tables, and what can be saved of a damaged one.

use std::collections::HashMap;

use simsim_format::{
    PACK_HEADER_BYTES, PACK_TRAILER_BYTES, PackFooter, PackHeader, SEGMENT_HEADER_BYTES,
    SegmentKind, SegmentView,
};
use simsim_model::{Name, StoreId};
use simsim_storage::Storage;

use crate::DatastoreError;
use crate::error::shows_loss;
use crate::index::IndexSegment;
use crate::reread::{Doubtful, Misreads};
use crate::tombstones::Tombstones;

/// Read at once for a segment's header and table; most tables fit.
const TABLE_READ_BYTES: usize = 8192;

pub(crate) fn pack_key(pack: Name) -> String {
    let hex = pack.to_string();
    format!("packs/{}/{hex}", hex.get(..2).unwrap_or_default())
}

/// All packs with their sizes.
pub(crate) fn list(storage: &dyn Storage) -> Result<HashMap<Name, u64>, DatastoreError> {
    let mut packs = HashMap::new();
    for object in storage.list("packs/")? {
        let object = object?;
        let name = object.key.rsplit('/').next().and_then(|hex| hex.parse::<Name>().ok());
        if let Some(name) = name.filter(|name| pack_key(*name) == object.key) {
            packs.insert(name, object.bytes);
        }
    }
    Ok(packs)
}

/// A pack's table, for the index.
#[derive(Debug)]
pub(crate) struct PackTable {
    pub(crate) segments: Vec<IndexSegment>,
    /// Where manifest copies lie: offset, length.
    pub(crate) manifests: Vec<(u64, u32)>,
    /// Segments that the footer lists but that cannot be read.
    pub(crate) damaged: Vec<(u64, String)>,
}

/// Header and footer, checked against each other and against the pack's name.
pub(crate) fn footer(
    storage: &dyn Storage,
    store: StoreId,
    pack: Name,
    bytes: u64,
) -> Result<PackFooter, DatastoreError> {
    let key = pack_key(pack);
    let wrong = |source| DatastoreError::format(key.clone(), source);
    let header = header(storage, store, pack)?;
    let trailer_at = bytes
        .checked_sub(PACK_TRAILER_BYTES as u64)
        .ok_or_else(|| DatastoreError::damaged(key.clone(), "it is too short for a pack"))?;
    let trailer = storage.get_range(&key, trailer_at, PACK_TRAILER_BYTES)?;
    let (offset, length) = PackFooter::locate(&trailer, bytes).map_err(wrong)?;
    let footer = storage.get_range(&key, offset, length)?;
    let (footer, name) = PackFooter::decode(&header, &footer).map_err(wrong)?;
    if name != pack {
        return Err(DatastoreError::damaged(key, "its content is that of another pack"));
    }
    Ok(footer)
}

fn header(storage: &dyn Storage, store: StoreId, pack: Name) -> Result<PackHeader, DatastoreError> {
    let key = pack_key(pack);
    let header = storage.get_range(&key, 0, PACK_HEADER_BYTES)?;
    let header =
        PackHeader::decode(&header).map_err(|source| DatastoreError::format(&*key, source))?;
    if header.store != store {
        return Err(DatastoreError::damaged(key, "it belongs to another datastore"));
    }
    Ok(header)
}

/// Reads a pack's own table: footer, then header and table of each segment.
pub(crate) fn read(
    storage: &dyn Storage,
    store: StoreId,
    pack: Name,
    bytes: u64,
) -> Result<PackTable, DatastoreError> {
    let key = pack_key(pack);
    let mut table = PackTable { segments: Vec::new(), manifests: Vec::new(), damaged: Vec::new() };
    for segment in footer(storage, store, pack, bytes)?.segments {
        let (offset, length) = (segment.offset, segment.length as usize);
        match read_segment_table(storage, &key, offset, length) {
            Ok(view) if view.checksum() == segment.checksum && view.kind == segment.kind => {
                table.add(&view, offset, segment.length);
            }
            Ok(_) => table.damaged.push((offset, "its header is not as the footer says".into())),
            Err(DatastoreError::Storage(error)) if !shows_loss(&error) => return Err(error.into()),
            Err(error) => table.damaged.push((offset, error.to_string())),
        }
    }
    Ok(table)
}

/// As [`read`], and what cannot be read, all of it or a segment, is read again (ROT06).
pub(crate) fn read_surely(
    storage: &dyn Storage,
    store: StoreId,
    pack: Name,
    bytes: u64,
    misreads: &Misreads,
) -> Result<PackTable, DatastoreError> {
    let key = pack_key(pack);
    let whole = misreads.read(storage, &key, || {
        let table = read(storage, store, pack, bytes)?;
        match table.damaged.first() {
            Some((offset, why)) => {
                Err(DatastoreError::damaged(format!("{key} at byte {offset}"), why.as_str()))
            }
            None => Ok(table),
        }
    });
    match whole {
        Err(error) if error.is_doubtful() => read(storage, store, pack, bytes),
        whole => whole,
    }
}

impl PackTable {
    /// Leaves out what the tombstones say is dead.
    pub(crate) fn bury(&mut self, pack: Name, tombstones: &Tombstones) {
        for segment in &mut self.segments {
            let mut item = 0..;
            let offset = segment.offset;
            segment
                .names
                .retain(|_| item.next().is_none_or(|item| !tombstones.is_dead(pack, offset, item)));
        }
        self.segments.retain(|segment| !segment.names.is_empty());
    }

    pub(crate) fn add(&mut self, view: &SegmentView, offset: u64, length: u32) {
        if view.kind == SegmentKind::Manifest {
            self.manifests.push((offset, length));
            return;
        }
        let names = view.items.iter().map(|item| item.name).collect();
        let (domain, kind) = (view.domain, view.kind);
        self.segments.push(IndexSegment { domain, offset, length, kind, names });
    }
}

pub(crate) fn read_segment_table(
    storage: &dyn Storage,
    key: &str,
    offset: u64,
    length: usize,
) -> Result<SegmentView, DatastoreError> {
    let wrong = |source| DatastoreError::format(key, source);
    let mut bytes = storage.get_range(key, offset, length.min(TABLE_READ_BYTES))?;
    let end = SegmentView::table_end(&bytes).map_err(wrong)?;
    if SegmentView::length(&bytes).map_err(wrong)? != length || end > length {
        return Err(DatastoreError::damaged(key, "a segment has another length than listed"));
    }
    if end > bytes.len() {
        bytes = storage.get_range(key, offset, end)?;
    }
    SegmentView::parse_table(bytes).map_err(wrong)
}

/// What can be saved of a pack whose footer is lost: whole segments from its start, each held
/// against its checksum, until the first that is not whole (IDX04).
pub(crate) fn salvage(
    storage: &dyn Storage,
    store: StoreId,
    pack: Name,
    bytes: u64,
) -> Result<PackTable, DatastoreError> {
    header(storage, store, pack)?;
    let key = pack_key(pack);
    let mut table = PackTable { segments: Vec::new(), manifests: Vec::new(), damaged: Vec::new() };
    let mut offset = PACK_HEADER_BYTES as u64;
    while offset.saturating_add(SEGMENT_HEADER_BYTES as u64) <= bytes {
        let head = storage.get_range(&key, offset, SEGMENT_HEADER_BYTES)?;
        let Ok(length) = SegmentView::length(&head) else { break };
        let end = offset.saturating_add(length as u64);
        if end > bytes {
            break;
        }
        // A damaged segment in the middle does not take those behind it along.
        match SegmentView::parse(storage.get_range(&key, offset, length)?) {
            Ok(view) => table.add(&view, offset, length as u32),
            Err(error) => table.damaged.push((offset, error.to_string())),
        }
        offset = end;
    }
    Ok(table)
}
