//! Bytes at rest: names, entries, directory pages, segments, packs, manifests and key slots.
//!
//! Pure computation: nothing here opens a file, a socket or a clock. Every format is described
//! byte by byte in `docs/format/`. All integers are little endian; `varint` is LEB128, at most
//! ten bytes. Every decoder accepts any bytes and answers with an error, never with a panic.

mod cursor;
mod entry;
mod error;
mod key;
mod keyslot;
mod kit_page;
mod kit_proof;
mod manifest;
mod node;
mod pack;
mod proof;
mod segment;
mod self_backup;

pub use cursor::{Cursor, put_bytes, put_varint, put_zigzag};
pub use entry::{Content, DirTotals, Entry, EntryKind, INLINE_BYTES_MAX, Piece, XATTRS_MAX};
pub use error::FormatError;
pub use key::{DomainKey, random_bytes};
pub use keyslot::{KeySlots, RecoveryKit, Slot, WrappingKey};
pub use kit_page::{KitOwner, KitPage};
pub use kit_proof::KitProof;
pub use manifest::{MANIFEST_MAGIC, Manifest, ManifestDetails};
pub use node::{
    LIST_PIECES_MAX, ListPage, Node, PAGE_BYTES_MAX, PAGE_ENTRIES_MAX, Page, PageIndex,
};
pub use pack::{PACK_HEADER_BYTES, PACK_TRAILER_BYTES, PackFooter, PackHeader, PackSegment};
pub use segment::{
    NodeRefs, Opener, SEGMENT_HEADER_BYTES, Sealer, SegmentItem, SegmentKind, SegmentView,
};
pub use self_backup::{
    SELF_BACKUP_RECORD_BYTES_MAX, SelfBackupError, SelfBackupPart, SelfBackupReader,
    SelfBackupWriter,
};
