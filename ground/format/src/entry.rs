//! One entry of a directory: everything about a file but its bytes (`docs/format/node.md`).

use simsim_model::limits::{
    PATH_COMPONENT_BYTES_MAX, SYMLINK_BYTES_MAX, XATTR_VALUE_BYTES_MAX, XATTRS_BYTES_MAX,
};
use simsim_model::{Name, Timestamp};

use crate::FormatError;
use crate::cursor::{Cursor, put_bytes, put_varint, put_zigzag};
use crate::node::LIST_PIECES_MAX;

/// Content up to this many bytes lies in the entry itself, not in a chunk.
pub const INLINE_BYTES_MAX: usize = 256;

/// An entry has at most so many attributes: the kernel lists names in 64 KiB, each with at least one
/// byte and a zero.
pub const XATTRS_MAX: usize = 32 * 1024;

/// One directory entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 255 bytes of any value but `/` and NUL; never `.` or `..`. Empty only for the root.
    pub name: Vec<u8>,
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: 0 ..= 0o7777.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub ino: u64,
    /// Device number of the file system, 0 when `nlink` is 1 or the entry is a directory.
    pub dev: u64,
    pub nlink: u64,
    /// Logical size of a regular file in bytes, else 0.
    pub size: u64,
    /// Inode flags as `FS_IOC_GETFLAGS` gives them.
    pub flags: u32,
    /// Sorted by name. ACLs and capabilities are among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub content: Content,
}

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory(DirTotals),
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
}

/// Sums over everything below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirTotals {
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
}

/// Where the bytes of an entry are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// No content: an empty file, or a kind that has none.
    None,
    /// Up to [`INLINE_BYTES_MAX`] bytes.
    Inline(Vec<u8>),
    /// A regular file as pieces in order; their lengths sum up to the size.
    Pieces(Vec<Piece>),
    /// A regular file of many pieces: the node of its list pages.
    List(Name),
    /// A directory: the node of its first or index page.
    Tree(Name),
    /// A file or directory whose content could not be read; the job's report says why.
    Missing,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Zeros that occupy no blocks.
    Hole {
        length: u64,
    },
    Chunk {
        name: Name,
        length: u32,
    },
}

impl Piece {
    pub fn length(&self) -> u64 {
        match self {
            Piece::Hole { length } => *length,
            Piece::Chunk { length, .. } => u64::from(*length),
        }
    }
}

const HAS_DEV: u64 = 1;
const HAS_FLAGS: u64 = 1 << 1;
const HAS_XATTRS: u64 = 1 << 2;
const KNOWN_FIELDS: u64 = HAS_DEV | HAS_FLAGS | HAS_XATTRS;
/// Fields from this bit on are preceded by their length, so that older readers can skip them.
const SKIPPABLE_FROM_BIT: u32 = 16;

impl Entry {
    pub fn is_dir(&self) -> bool {
        matches!(self.kind, EntryKind::Directory(_))
    }

    pub fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File)
    }

    /// About what the entry takes in a node, in bytes; never less. It depends on the entry alone, so
    /// the same folder becomes the same pages. What it takes in memory is at most some times as much.
    pub fn weight(&self) -> usize {
        let attributes = self.xattrs.iter().map(|(name, value)| name.len() + value.len() + 16);
        let content = match &self.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Pieces(pieces) => pieces.len() * (32 + 16),
            Content::None | Content::List(_) | Content::Tree(_) | Content::Missing => 32,
        };
        let target = match &self.kind {
            EntryKind::Symlink(target) => target.len(),
            _ => 0,
        };
        self.name.len() + target + content + attributes.sum::<usize>() + 256
    }

    /// May this be a component of a path? Names from a datastore are checked before use (FID11).
    pub fn valid_name(name: &[u8]) -> bool {
        !name.is_empty()
            && name.len() <= PATH_COMPONENT_BYTES_MAX
            && name != b"."
            && name != b".."
            && !name.contains(&b'/')
            && !name.contains(&0)
    }

    /// Appends the entry's bytes to `out`, its chunk names to `chunks`, its node names to `nodes`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, nodes: &mut Vec<Name>, chunks: &mut Vec<Name>) {
        let (kind, kind_fields): (u8, [u64; 3]) = match &self.kind {
            EntryKind::File => (0, [0; 3]),
            EntryKind::Directory(totals) => (1, [totals.files, totals.dirs, totals.bytes]),
            EntryKind::Symlink(_) => (2, [0; 3]),
            EntryKind::Fifo => (3, [0; 3]),
            EntryKind::Socket => (4, [0; 3]),
            EntryKind::CharDevice { major, minor } => (5, [(*major).into(), (*minor).into(), 0]),
            EntryKind::BlockDevice { major, minor } => (6, [(*major).into(), (*minor).into(), 0]),
        };
        out.push(kind);
        put_bytes(out, &self.name);
        put_varint(out, self.mode.into());
        put_varint(out, self.uid.into());
        put_varint(out, self.gid.into());
        put_zigzag(out, self.mtime.seconds);
        put_varint(out, self.mtime.nanos.into());
        put_zigzag(out, self.ctime.seconds.wrapping_sub(self.mtime.seconds));
        put_varint(out, self.ctime.nanos.into());
        put_varint(out, self.ino);
        put_varint(out, self.nlink);
        match &self.kind {
            EntryKind::File => put_varint(out, self.size),
            EntryKind::Directory(_) => kind_fields.iter().for_each(|value| put_varint(out, *value)),
            EntryKind::Symlink(target) => put_bytes(out, target),
            EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => {
                kind_fields[..2].iter().for_each(|value| put_varint(out, *value));
            }
            EntryKind::Fifo | EntryKind::Socket => {}
        }
        let mut fields = 0;
        if self.dev != 0 {
            fields |= HAS_DEV;
        }
        if self.flags != 0 {
            fields |= HAS_FLAGS;
        }
        if !self.xattrs.is_empty() {
            fields |= HAS_XATTRS;
        }
        put_varint(out, fields);
        if self.dev != 0 {
            put_varint(out, self.dev);
        }
        if self.flags != 0 {
            put_varint(out, self.flags.into());
        }
        if !self.xattrs.is_empty() {
            put_varint(out, self.xattrs.len() as u64);
            for (name, value) in &self.xattrs {
                put_bytes(out, name);
                put_bytes(out, value);
            }
        }
        match &self.content {
            Content::None => out.push(0),
            Content::Inline(bytes) => {
                out.push(1);
                put_bytes(out, bytes);
            }
            Content::Pieces(pieces) => {
                out.push(2);
                encode_pieces(pieces, out, chunks);
            }
            Content::List(name) => {
                out.push(3);
                nodes.push(*name);
            }
            Content::Tree(name) => {
                out.push(4);
                nodes.push(*name);
            }
            Content::Missing => out.push(5),
        }
    }

    pub(crate) fn decode(
        cursor: &mut Cursor<'_>,
        nodes: &mut impl Iterator<Item = Name>,
        chunks: &mut impl Iterator<Item = Name>,
    ) -> Result<Self, FormatError> {
        let kind = cursor.u8()?;
        let name = cursor.prefixed(PATH_COMPONENT_BYTES_MAX)?.to_vec();
        if !name.is_empty() && !Entry::valid_name(&name) {
            return Err(cursor.malformed("a name is not a path component"));
        }
        let mode = cursor.varint_u32()?;
        if mode > 0o7777 {
            return Err(cursor.malformed("a mode has more than permission bits"));
        }
        let uid = cursor.varint_u32()?;
        let gid = cursor.varint_u32()?;
        let mtime = decode_time(cursor, 0)?;
        let ctime = decode_time(cursor, mtime.seconds)?;
        let ino = cursor.varint()?;
        let nlink = cursor.varint()?;
        let mut size = 0;
        let kind = match kind {
            0 => {
                size = cursor.varint()?;
                EntryKind::File
            }
            1 => EntryKind::Directory(DirTotals {
                files: cursor.varint()?,
                dirs: cursor.varint()?,
                bytes: cursor.varint()?,
            }),
            2 => EntryKind::Symlink(cursor.prefixed(SYMLINK_BYTES_MAX)?.to_vec()),
            3 => EntryKind::Fifo,
            4 => EntryKind::Socket,
            5 => EntryKind::CharDevice { major: cursor.varint_u32()?, minor: cursor.varint_u32()? },
            6 => {
                EntryKind::BlockDevice { major: cursor.varint_u32()?, minor: cursor.varint_u32()? }
            }
            _ => return Err(cursor.malformed("an entry has an unknown kind")),
        };
        let fields = cursor.varint()?;
        if fields & !KNOWN_FIELDS & ((1 << SKIPPABLE_FROM_BIT) - 1) != 0 {
            return Err(cursor.malformed("an entry has a field that this program does not know"));
        }
        let dev = if fields & HAS_DEV != 0 { cursor.varint()? } else { 0 };
        let flags = if fields & HAS_FLAGS != 0 { cursor.varint_u32()? } else { 0 };
        let xattrs = if fields & HAS_XATTRS != 0 { decode_xattrs(cursor)? } else { Vec::new() };
        for _ in 0..(fields >> SKIPPABLE_FROM_BIT).count_ones() {
            cursor.prefixed(usize::MAX)?;
        }
        let missing_ref = || FormatError::Malformed { what: "node", why: "too few references" };
        let content = match cursor.u8()? {
            0 => Content::None,
            1 => Content::Inline(cursor.prefixed(INLINE_BYTES_MAX)?.to_vec()),
            2 => Content::Pieces(decode_pieces(cursor, chunks)?),
            3 => Content::List(nodes.next().ok_or_else(missing_ref)?),
            4 => Content::Tree(nodes.next().ok_or_else(missing_ref)?),
            5 => Content::Missing,
            _ => return Err(cursor.malformed("an entry has an unknown content")),
        };
        let fits = match (&kind, &content) {
            (EntryKind::File, Content::Tree(_)) => false,
            (EntryKind::File, Content::Inline(bytes)) => bytes.len() as u64 == size,
            (EntryKind::File, Content::Pieces(pieces)) => {
                pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.length()))
                    == Some(size)
            }
            (EntryKind::File, Content::None) => size == 0,
            (EntryKind::File, _) => true,
            (EntryKind::Directory(_), Content::Tree(_) | Content::Missing) => true,
            (EntryKind::Directory(_), _) => false,
            (_, content) => matches!(content, Content::None),
        };
        if !fits {
            return Err(cursor.malformed("an entry's content does not fit its kind or size"));
        }
        Ok(Entry {
            name,
            kind,
            mode,
            uid,
            gid,
            mtime,
            ctime,
            ino,
            dev,
            nlink,
            size,
            flags,
            xattrs,
            content,
        })
    }
}

fn decode_time(cursor: &mut Cursor<'_>, base: i64) -> Result<Timestamp, FormatError> {
    let seconds = base.wrapping_add(cursor.zigzag()?);
    let nanos = cursor.varint_u32()?;
    if nanos > Timestamp::NANOS_MAX {
        return Err(cursor.malformed("a time has more than 999,999,999 nanoseconds"));
    }
    Ok(Timestamp { seconds, nanos })
}

type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

fn decode_xattrs(cursor: &mut Cursor<'_>) -> Result<Xattrs, FormatError> {
    let count = cursor.count("attributes of one entry", XATTRS_MAX)?;
    let mut xattrs = Vec::new();
    let mut total = 0usize;
    for _ in 0..count {
        let name = cursor.prefixed(255)?.to_vec();
        let value = cursor.prefixed(XATTR_VALUE_BYTES_MAX)?.to_vec();
        total = total.saturating_add(name.len()).saturating_add(value.len());
        if total > XATTRS_BYTES_MAX {
            return Err(FormatError::TooLarge { what: "xattrs", limit: XATTRS_BYTES_MAX });
        }
        if name.is_empty() || name.contains(&0) {
            return Err(cursor.malformed("an xattr name is empty or has a NUL"));
        }
        xattrs.push((name, value));
    }
    Ok(xattrs)
}

/// Pieces: a count, then per piece `length << 1 | is_hole`; chunk names go to `chunks` in order.
pub(crate) fn encode_pieces(pieces: &[Piece], out: &mut Vec<u8>, chunks: &mut Vec<Name>) {
    put_varint(out, pieces.len() as u64);
    for piece in pieces {
        match piece {
            Piece::Hole { length } => {
                // A hole's length is below 2^63: file offsets are signed.
                put_varint(out, length << 1 | 1);
            }
            Piece::Chunk { name, length } => {
                put_varint(out, u64::from(*length) << 1);
                chunks.push(*name);
            }
        }
    }
}

pub(crate) fn decode_pieces(
    cursor: &mut Cursor<'_>,
    chunks: &mut impl Iterator<Item = Name>,
) -> Result<Vec<Piece>, FormatError> {
    let count = cursor.count("pieces of one file", LIST_PIECES_MAX)?;
    let mut pieces = Vec::new();
    for _ in 0..count {
        let value = cursor.varint()?;
        pieces.push(if value & 1 == 1 {
            Piece::Hole { length: value >> 1 }
        } else {
            let length = u32::try_from(value >> 1)
                .ok()
                .filter(|length| *length as usize <= simsim_model::limits::CHUNK_BYTES_MAX)
                .ok_or_else(|| cursor.malformed("a chunk is larger than its limit"))?;
            let name = chunks
                .next()
                .ok_or(FormatError::Malformed { what: "node", why: "too few references" })?;
            Piece::Chunk { name, length }
        });
    }
    Ok(pieces)
}
