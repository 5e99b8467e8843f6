//! Holes in files.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::FallocateFlags;

/// Takes the bytes of a stretch out of a file: a hole that reads as zeros; the size stays.
pub fn punch_hole(file: &File, stretch: Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let length = stretch.end.saturating_sub(stretch.start);
    Ok(rustix::fs::fallocate(file, flags, stretch.start, length)?)
}
