//! A source as the mover sees it: items in order, and a held place to read each from.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use simsim_model::Problem;

use crate::Stat;

/// Something that can be backed up as a tree.
///
/// The order is depth first; the children of a directory come sorted by the raw bytes of their
/// names, files and subdirectories mixed in that one order.
pub trait Source: Send {
    /// The next item; `None` when the whole tree was given.
    fn next(&mut self) -> Option<Item>;
}

/// One step of a walk.
pub enum Item {
    /// A directory begins. The first one is the root, with an empty name.
    Enter(Found),
    /// The directory entered last and not yet left ends. Follows every `Enter`.
    Leave,
    /// Everything that is not a directory.
    Leaf(Found),
    /// Something for the job's report; the walk goes on.
    Problem(Problem),
}

/// A thing the walk came by.
#[derive(Clone)]
pub struct Found {
    /// Raw bytes, one path component; empty for the root only.
    pub name: Vec<u8>,
    pub stat: Stat,
    /// The directory that it is in (for the root: itself).
    pub place: Arc<dyn Place>,
    /// A directory whose children could not be listed; a problem follows that says why.
    pub unreadable: bool,
}

/// A held directory. Every verb takes the name of a child; the empty name is the place itself.
pub trait Place: Send + Sync {
    /// Opens a regular file for reading: never through a symlink, never waiting for a FIFO's
    /// writer. Errors: as the system gives them; `InvalidInput` if it is no regular file any more.
    fn open(&self, name: &[u8]) -> io::Result<Box<dyn Content>>;

    /// What `stat` does not say. An attribute that cannot be read becomes a text in
    /// [`Details::problems`]; an error means that nothing could be read.
    fn details(&self, name: &[u8], stat: &Stat) -> io::Result<Details>;

    /// The full path, for reports only.
    fn path(&self, name: &[u8]) -> Vec<u8>;
}

/// The metadata that takes system calls of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Sorted by name. ACLs and capabilities are among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Inode flags that a restore can set again; the rest are masked out.
    pub flags: u32,
    /// Raw bytes of a symlink's target, else `None`.
    pub symlink_target: Option<Vec<u8>>,
    /// Sentences about attributes that could not be read and are left out.
    pub problems: Vec<String>,
}

/// An open regular file.
pub trait Content: Send {
    /// The metadata when it was opened.
    fn opened(&self) -> Stat;

    /// The metadata now; compare it with [`Self::opened`] to see a change while reading.
    fn stat(&self) -> io::Result<Stat>;

    /// Fills as much of `buffer` as the file has from `offset`; fewer bytes only at its end.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The next stretch of data at or after `offset`; `None`: only a hole until the end. On file
    /// systems that do not know holes everything up to the size is data.
    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>>;

    /// Reads at most `wanted` bytes from `offset` onto the end of `buffer`; fewer only at the
    /// file's end. Says how many the file has there: `wanted + 1` means that there are more, as far
    /// as that was seen without a call of its own; none of these is in the buffer.
    fn read_onto(&mut self, offset: u64, wanted: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let start = buffer.len();
        buffer.resize(start + wanted, 0);
        let read = self.read_at(offset, buffer.get_mut(start..).unwrap_or_default());
        buffer.truncate(start + read.as_ref().copied().unwrap_or(0));
        read
    }

    /// As [`Place::details`], through the open file.
    fn details(&self) -> Details;
}
