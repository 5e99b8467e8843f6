//! Records: one path of one strand, with what became of it in the savesets that a run covers.

use std::sync::Arc;

use simsim_format::FormatError;
use simsim_format::{Cursor, put_bytes, put_varint, put_zigzag};
use simsim_model::limits::{PATH_BYTES_MAX, PATH_COMPONENT_BYTES_MAX};

/// Folders deeper than a backup goes are not indexed, so that no path is longer.
pub(crate) const PARENT_BYTES_MAX: usize = PATH_BYTES_MAX + PATH_COMPONENT_BYTES_MAX + 1;
const EVENTS_MAX: usize = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    File,
    Directory,
    Symlink,
    /// FIFO, socket or device node.
    Special,
}

impl EntryKind {
    pub const ALL: [EntryKind; 4] =
        [EntryKind::File, EntryKind::Directory, EntryKind::Symlink, EntryKind::Special];

    pub const fn as_str(self) -> &'static str {
        match self {
            EntryKind::File => "file",
            EntryKind::Directory => "directory",
            EntryKind::Symlink => "symlink",
            EntryKind::Special => "special",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        EntryKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    fn code(self) -> u8 {
        match self {
            EntryKind::File => 1,
            EntryKind::Directory => 2,
            EntryKind::Symlink => 3,
            EntryKind::Special => 4,
        }
    }
}

/// What is kept of a version of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    pub kind: EntryKind,
    /// Of a file, in bytes.
    pub size: u64,
    /// Last change of the content, seconds since 1970.
    pub mtime_unix_s: i64,
}

/// From the saveset with this ordinal on the path has this version, or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    pub at: u32,
    pub version: Option<Version>,
}

/// A path of a strand, in the order in which records lie: by strand, folder, name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub strand: u32,
    /// The folder, from the root, `/` first and no `/` at its end.
    pub parent: Arc<[u8]>,
    pub name: Vec<u8>,
}

impl Key {
    pub(crate) fn new(strand: u32, parent: &[u8], name: &[u8]) -> Self {
        Self { strand, parent: parent.into(), name: name.to_vec() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.strand.into());
        put_bytes(out, &self.parent);
        put_bytes(out, &self.name);
    }

    pub(crate) fn decode(from: &mut Cursor<'_>) -> Result<Self, FormatError> {
        let strand = from.varint_u32()?;
        let parent = from.prefixed(PARENT_BYTES_MAX)?.into();
        let name = from.prefixed(PATH_COMPONENT_BYTES_MAX)?.to_vec();
        Ok(Self { strand, parent, name })
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub key: Key,
    /// In the order of their ordinals; never empty.
    pub events: Vec<Event>,
}

/// Appends a record to a block; `before` is the one before it there.
pub(crate) fn put_record(out: &mut Vec<u8>, record: &Record, before: Option<&Key>) {
    let key = &record.key;
    let before = before.filter(|one| one.strand == key.strand && one.parent == key.parent);
    let shared = match before {
        Some(before) => {
            out.push(1);
            before.name.iter().zip(&key.name).take_while(|(a, b)| a == b).count()
        }
        None => {
            out.push(0);
            put_varint(out, key.strand.into());
            put_bytes(out, &key.parent);
            0
        }
    };
    put_varint(out, shared as u64);
    put_bytes(out, key.name.get(shared..).unwrap_or_default());
    put_varint(out, record.events.len() as u64);
    let mut last = 0;
    for event in &record.events {
        put_varint(out, u64::from(event.at.wrapping_sub(last)));
        last = event.at;
        match &event.version {
            None => out.push(0),
            Some(version) => {
                out.push(version.kind.code());
                put_varint(out, version.size);
                put_zigzag(out, version.mtime_unix_s);
            }
        }
    }
}

/// The records of a block: the number of its first one, then all.
pub(crate) fn read_records(payload: &[u8]) -> Result<(u32, Vec<Record>), FormatError> {
    let mut from = Cursor::new(payload, "records of the search index");
    let first = from.varint_u32()?;
    let mut records: Vec<Record> = Vec::new();
    while !from.is_empty() {
        let mut name = Vec::new();
        let same = from.u8()?;
        let (strand, parent) = match (same, records.last()) {
            (0, _) => (from.varint_u32()?, Arc::from(from.prefixed(PARENT_BYTES_MAX)?)),
            (1, Some(before)) => {
                name.extend_from_slice(&before.key.name);
                (before.key.strand, Arc::clone(&before.key.parent))
            }
            _ => return Err(from.malformed("a record refers to none before it")),
        };
        let shared = from.count("shared bytes of a name", PATH_COMPONENT_BYTES_MAX)?;
        if shared > name.len() {
            return Err(from.malformed("a name shares more than there is"));
        }
        name.truncate(shared);
        name.extend_from_slice(from.prefixed(PATH_COMPONENT_BYTES_MAX)?);
        let count = from.count("events", EVENTS_MAX)?;
        let mut events = Vec::with_capacity(count.min(from.remaining()));
        let mut at = 0u32;
        for _ in 0..count {
            at = at.wrapping_add(from.varint_u32()?);
            let kind = match from.u8()? {
                0 => None,
                code => Some(
                    EntryKind::ALL
                        .into_iter()
                        .find(|kind| kind.code() == code)
                        .ok_or_else(|| from.malformed("an unknown kind of entry"))?,
                ),
            };
            let version = match kind {
                Some(kind) => {
                    Some(Version { kind, size: from.varint()?, mtime_unix_s: from.zigzag()? })
                }
                None => None,
            };
            events.push(Event { at, version });
        }
        records.push(Record { key: Key { strand, parent, name }, events });
    }
    Ok((first, records))
}
