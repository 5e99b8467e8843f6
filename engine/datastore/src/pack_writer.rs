//! A pack while a session writes it. Segments go straight to the storage; in memory are only the
//! names and places of this one pack.

use std::collections::HashSet;

use simsim_format::{
    PACK_HEADER_BYTES, PackFooter, PackHeader, PackSegment, SegmentKind, SegmentView, random_bytes,
};
use simsim_model::{Name, StoreId};
use simsim_storage::{ObjectWriter, Storage};

use crate::DatastoreError;
use crate::index::IndexSegment;
use crate::pack_table::pack_key;
use crate::room::Claim;
use crate::tombstones::Bits;

pub(crate) struct PackWriter {
    writer: Box<dyn ObjectWriter>,
    header: PackHeader,
    footer: PackFooter,
    bytes: u64,
    segments: Vec<IndexSegment>,
    pub(crate) names: HashSet<Name>,
    room: Claim,
    crowded: bool,
}

/// A pack that is durable, for the index.
pub(crate) struct SealedPack {
    pub(crate) name: Name,
    pub(crate) bytes: u64,
    pub(crate) segments: Vec<IndexSegment>,
    /// Held until the index has the names.
    _room: Claim,
}

impl PackWriter {
    pub(crate) fn create(
        storage: &dyn Storage,
        store: StoreId,
        room: Claim,
    ) -> Result<Self, DatastoreError> {
        let nonce = random_bytes().map_err(|source| DatastoreError::format("a pack", source))?;
        let header = PackHeader { store, nonce };
        let mut writer = storage.create()?;
        writer.write(&header.encode())?;
        Ok(Self {
            writer,
            header,
            footer: PackFooter::default(),
            bytes: PACK_HEADER_BYTES as u64,
            segments: Vec::new(),
            names: HashSet::new(),
            room,
            crowded: false,
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Is there no room for its names?
    pub(crate) fn is_crowded(&self) -> bool {
        self.crowded
    }

    pub(crate) fn append(&mut self, view: &SegmentView) -> Result<(), DatastoreError> {
        self.append_living(view, &Bits::none(view.items.len())).map(drop)
    }

    /// Appends a segment of which some items are `dead`: these are not told to the index. Where it lies.
    pub(crate) fn append_living(
        &mut self,
        view: &SegmentView,
        dead: &Bits,
    ) -> Result<u64, DatastoreError> {
        let (offset, length) = (self.bytes, view.bytes().len() as u32);
        self.writer.write_bytes(view.bytes().clone())?;
        self.bytes += u64::from(length);
        let (kind, checksum) = (view.kind, view.checksum());
        self.footer.segments.push(PackSegment { offset, length, kind, checksum });
        if kind != SegmentKind::Manifest {
            self.crowded |= !self.room.add_names(view.items.len());
            let living = view.items.iter().enumerate().filter(|(item, _)| !dead.get(*item));
            let names: Vec<Name> = living.map(|(_, item)| item.name).collect();
            self.names.extend(names.iter().copied());
            self.segments.push(IndexSegment { domain: view.domain, offset, length, kind, names });
        }
        Ok(offset)
    }

    /// Footer, flush, rename. After an error nothing may be assumed about the pack.
    pub(crate) fn seal(self) -> Result<SealedPack, DatastoreError> {
        self.seal_after(|_| Ok(()))
    }

    /// As [`Self::seal`]; `before` is called with the pack's name before it exists.
    pub(crate) fn seal_after(
        mut self,
        before: impl FnOnce(Name) -> Result<(), DatastoreError>,
    ) -> Result<SealedPack, DatastoreError> {
        let (footer, name) = self.footer.encode(&self.header);
        before(name)?;
        self.writer.write(&footer)?;
        let bytes = self.bytes + footer.len() as u64;
        simsim_model::failpoint::hit("datastore.pack_written");
        self.writer.finish(&pack_key(name))?;
        simsim_model::failpoint::hit("datastore.pack_renamed");
        Ok(SealedPack { name, bytes, segments: self.segments, _room: self.room })
    }
}
