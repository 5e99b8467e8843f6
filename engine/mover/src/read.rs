//! Reading files: small ones whole and many at a time, large ones block by block.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use simsim_format::{Content, Entry, EntryKind, INLINE_BYTES_MAX, Piece};
use simsim_model::{Name, Problem, ProblemKind, Progress};
use simsim_source::{Details, Found, Stat, StatKind};

use crate::MoverError;
use crate::build::{ListBuilder, PIECES_IN_ENTRY_MAX};
use crate::chunks::ChunkWriter;
use crate::cutter::Cutter;
use crate::report::Report;

/// Files up to this size are read whole, many in one batch.
pub(crate) const SMALL_FILE_BYTES_MAX: u64 = 512 << 10;
/// A batch is closed at so many bytes or files.
pub(crate) const BATCH_BYTES: u64 = 1 << 20;
pub(crate) const BATCH_FILES: usize = 64;
/// A large file is read in blocks of this size.
const BLOCK_BYTES: usize = 1 << 20;
/// Bytes at the end of a file that are read where only a hole should be.
const TAIL_BYTES: usize = 4096;
/// Blocks of one large file on their way through the workers.
const BLOCKS_AHEAD: usize = 6;

/// What a worker does.
pub(crate) enum Work {
    Batch { files: Vec<Found>, reply: Sender<Vec<Option<Entry>>> },
    Block { data: Vec<u8>, cuts: Vec<Range<usize>>, reply: Sender<Vec<(Name, u32)>> },
}

/// A large file for a reader thread.
pub(crate) struct Large {
    pub(crate) file: Found,
    pub(crate) reply: Sender<Option<Entry>>,
}

/// What readers and workers share.
pub(crate) struct Reading {
    pub(crate) writer: Arc<ChunkWriter>,
    pub(crate) cutter: Cutter,
    pub(crate) report: Arc<Report>,
    pub(crate) progress: Arc<Progress>,
}

impl Reading {
    /// The body of a worker thread.
    pub(crate) fn work(&self, queue: &Receiver<Work>) {
        let mut buffer = Vec::with_capacity(2 * BATCH_BYTES as usize);
        for work in queue {
            let done = match work {
                Work::Batch { files, reply } => self.batch(files, &mut buffer).map(|entries| {
                    // The tree may have ended already, after a failure elsewhere.
                    let _ = reply.send(entries);
                }),
                Work::Block { data, cuts, reply } => self.block(&data, cuts).map(|named| {
                    let _ = reply.send(named);
                }),
            };
            if let Err(error) = done {
                self.writer.fail(error);
            }
        }
    }

    fn block(&self, data: &[u8], cuts: Vec<Range<usize>>) -> Result<Vec<(Name, u32)>, MoverError> {
        let chunks: Vec<(Name, Range<usize>)> = cuts
            .into_iter()
            .map(|range| {
                let bytes = data.get(range.clone()).unwrap_or_default();
                (self.writer.key().chunk_name(bytes), range)
            })
            .collect();
        self.writer.store(data, &chunks)?;
        Ok(chunks.into_iter().map(|(name, range)| (name, range.len() as u32)).collect())
    }

    fn batch(
        &self,
        files: Vec<Found>,
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<Option<Entry>>, MoverError> {
        self.writer.check()?;
        buffer.clear();
        let mut chunks = Vec::new();
        let entries = files.iter().map(|file| self.small(file, buffer, &mut chunks)).collect();
        self.writer.store(buffer, &chunks)?;
        Ok(entries)
    }

    /// One file, read by the thread that asks.
    pub(crate) fn alone(&self, file: Found) -> Result<Option<Entry>, MoverError> {
        if file.stat.size > SMALL_FILE_BYTES_MAX {
            return Ok(self.large(&file, None));
        }
        Ok(self.batch(vec![file], &mut Vec::new())?.pop().flatten())
    }

    /// Reads a small file into the buffer; on a change in between, once more.
    fn small(
        &self,
        file: &Found,
        buffer: &mut Vec<u8>,
        chunks: &mut Vec<(Name, Range<usize>)>,
    ) -> Option<Entry> {
        for attempt in 0..2 {
            let (buffer_mark, chunks_mark) = (buffer.len(), chunks.len());
            match self.small_once(file, buffer, chunks) {
                Ok(Some((entry, changed))) if !changed || attempt == 1 => {
                    if changed {
                        self.changed(file);
                    }
                    return Some(entry);
                }
                Ok(Some(_)) => {}
                // It has grown since it was listed, or has more pieces than an entry takes: block by
                // block, for memory's sake.
                Ok(None) => {
                    buffer.truncate(buffer_mark);
                    chunks.truncate(chunks_mark);
                    return self.large(file, None);
                }
                Err(error) => {
                    buffer.truncate(buffer_mark);
                    chunks.truncate(chunks_mark);
                    return self.unreadable(file, &error);
                }
            }
            buffer.truncate(buffer_mark);
            chunks.truncate(chunks_mark);
        }
        None
    }

    /// The entry, and whether the file changed meanwhile; `None` for a file that is not small, or
    /// has so many holes that its pieces want a list of their own.
    fn small_once(
        &self,
        file: &Found,
        buffer: &mut Vec<u8>,
        chunks: &mut Vec<(Name, Range<usize>)>,
    ) -> io::Result<Option<(Entry, bool)>> {
        let mut content = file.place.open(&file.name)?;
        let before = content.opened();
        if before.size > SMALL_FILE_BYTES_MAX {
            return Ok(None);
        }
        let mut pieces = Vec::new();
        let start = buffer.len();
        let mut at = 0;
        let sparse = before.blocks.saturating_mul(512) < before.size;
        // A file that says it is empty may have content all the same.
        let mut untrue = before.size == 0 && content.read_onto(0, 0, buffer)? > 0;
        while at < before.size {
            let data = if sparse {
                next_data(&mut *content, at, before.size, &mut untrue)?
            } else {
                at..before.size
            };
            if data.start > at {
                pieces.push(Piece::Hole { length: data.start - at });
            }
            at = data.start;
            if data.is_empty() {
                break;
            }
            let wanted = (data.end - at) as usize;
            let mark = buffer.len();
            let found = content.read_onto(at, wanted, buffer)?;
            let filled = found.min(wanted);
            untrue |= found > wanted && data.end == before.size;
            let mut next = mark;
            while next < buffer.len() {
                let length = self.cutter.next(&buffer[next..]);
                let range = next..next + length;
                next += length;
                pieces.push(Piece::Chunk { name: Name::ZERO, length: length as u32 });
                chunks.push((Name::ZERO, range));
            }
            at += filled as u64;
            if filled < wanted {
                break;
            }
            if pieces.len() > PIECES_IN_ENTRY_MAX {
                return Ok(None);
            }
        }
        self.progress.add(|p| &p.bytes_read, (buffer.len() - start) as u64);
        let after = content.stat()?;
        let changed = untrue
            || at != before.size
            || (after.size, after.mtime, after.ctime) != (before.size, before.mtime, before.ctime);
        let details = self.details_of(file, content.details());
        let size: u64 = pieces.iter().map(Piece::length).sum();
        let whole = buffer.get(start..).unwrap_or_default();
        let content = if size == 0 {
            Content::None
        } else if size <= INLINE_BYTES_MAX as u64 && whole.len() as u64 == size {
            let inline = whole.to_vec();
            buffer.truncate(start);
            chunks.retain(|(_, range)| range.start < start);
            Content::Inline(inline)
        } else {
            let mut named = chunks.iter_mut().rev();
            for piece in pieces.iter_mut().rev() {
                if let Piece::Chunk { name, .. } = piece
                    && let Some((slot, range)) = named.next()
                {
                    let bytes = buffer.get(range.clone()).unwrap_or_default();
                    *slot = self.writer.key().chunk_name(bytes);
                    *name = *slot;
                }
            }
            Content::Pieces(pieces)
        };
        let entry = entry_of(&file.name, &Stat { size, ..before }, details, content);
        Ok(Some((entry, changed)))
    }

    /// The body of a reader thread.
    pub(crate) fn read_large(&self, files: &Receiver<Large>, work: &Sender<Work>) {
        for Large { file, reply } in files {
            self.progress.set_current(&file.place.path(&file.name));
            let _ = reply.send(self.large(&file, Some(work)));
        }
    }

    /// A file in blocks, which go to `work`, or are done here without it; on a change, once more.
    fn large(&self, file: &Found, work: Option<&Sender<Work>>) -> Option<Entry> {
        let mut last = None;
        for attempt in 0..2 {
            match self.large_once(file, work) {
                Ok(Ok((entry, changed))) => {
                    last = Some(entry);
                    if !changed {
                        break;
                    }
                    if attempt == 1 {
                        self.changed(file);
                    }
                }
                Ok(Err(error)) => return self.unreadable(file, &error),
                Err(error) => {
                    self.writer.fail(error);
                    break;
                }
            }
        }
        last
    }

    #[allow(clippy::type_complexity)]
    fn large_once(
        &self,
        file: &Found,
        work: Option<&Sender<Work>>,
    ) -> Result<io::Result<(Entry, bool)>, MoverError> {
        let mut content = match file.place.open(&file.name) {
            Ok(content) => content,
            Err(error) => return Ok(Err(error)),
        };
        let before = content.opened();
        let mut list = ListBuilder::new(Arc::clone(&self.writer));
        let mut ahead: VecDeque<Step> = VecDeque::new();
        let mut size = 0u64;
        let mut at = 0;
        let mut untrue = false;
        while at < before.size {
            let data = match next_data(&mut *content, at, before.size, &mut untrue) {
                Ok(data) => data,
                Err(error) => return Ok(Err(error)),
            };
            if data.start > at {
                ahead.push_back(Step::Hole(data.start - at));
                size += data.start - at;
            }
            at = data.start;
            let mut carry: Vec<u8> = Vec::new();
            while at < data.end || !carry.is_empty() {
                self.writer.check()?;
                let wanted = BLOCK_BYTES.min((data.end - at) as usize);
                let mut block = Vec::with_capacity(carry.len() + wanted + 1);
                block.append(&mut carry);
                let mut short = false;
                let whole = block.len() + wanted;
                while block.len() < whole && !short {
                    let wanted = whole - block.len();
                    match content.read_onto(at, wanted, &mut block) {
                        Ok(found) => {
                            let got = found.min(wanted);
                            short = got == 0;
                            untrue |= found > wanted && at + got as u64 == before.size;
                            at += got as u64;
                        }
                        Err(error) => return Ok(Err(error)),
                    }
                }
                let end = short || at >= data.end;
                let mut cuts = Vec::new();
                let mut next = 0;
                while next < block.len() && (end || block.len() - next >= self.cutter.max()) {
                    let length = self.cutter.next(&block[next..]);
                    cuts.push(next..next + length);
                    next += length;
                }
                carry = block.split_off(next);
                size += next as u64;
                self.progress.add(|p| &p.bytes_read, next as u64);
                if !cuts.is_empty() {
                    let (reply, named) = crossbeam_channel::bounded(1);
                    match work {
                        Some(work) => work
                            .send(Work::Block { data: block, cuts, reply })
                            .map_err(|_| MoverError::Lost)?,
                        None => {
                            let _ = reply.send(self.block(&block, cuts)?);
                        }
                    }
                    ahead.push_back(Step::Block(named));
                }
                while ahead.len() > BLOCKS_AHEAD {
                    settle(&mut ahead, &mut list)?;
                }
                if short {
                    break;
                }
            }
            if at < data.end {
                break;
            }
        }
        while !ahead.is_empty() {
            settle(&mut ahead, &mut list)?;
        }
        let content_of_file = list.finish()?;
        let finished = content.stat().map(|after| {
            // A stream has no size before it ends (`u64::MAX`).
            let changed = untrue
                || (size != before.size && before.size != u64::MAX)
                || (after.size, after.mtime, after.ctime)
                    != (before.size, before.mtime, before.ctime);
            let details = self.details_of(file, content.details());
            let stat = Stat { size, ..before };
            (entry_of(&file.name, &stat, details, content_of_file), changed)
        });
        Ok(finished)
    }

    fn details(&self, file: &Found, stat: &Stat) -> io::Result<Details> {
        Ok(self.details_of(file, file.place.details(&file.name, stat)?))
    }

    fn details_of(&self, file: &Found, details: Details) -> Details {
        for text in &details.problems {
            let path = file.place.path(&file.name);
            self.report.add(Problem::new(path, ProblemKind::Attribute, text.clone()));
        }
        details
    }

    /// An entry without content: directories, links, devices.
    pub(crate) fn plain(&self, file: &Found) -> Option<Entry> {
        match self.details(file, &file.stat) {
            Ok(details) => Some(entry_of(&file.name, &file.stat, details, Content::None)),
            Err(error) => self.unreadable(file, &error),
        }
    }

    fn changed(&self, file: &Found) {
        self.report.add(Problem::new(
            file.place.path(&file.name),
            ProblemKind::ChangedWhileRead,
            "the file changed while it was read, twice; what was read is stored",
        ));
    }

    /// A vanished file is left out; one that cannot be read stays, without content.
    pub(crate) fn unreadable(&self, file: &Found, error: &io::Error) -> Option<Entry> {
        let path = file.place.path(&file.name);
        if error.kind() == io::ErrorKind::NotFound {
            let text = "was there when the folder was listed and is gone now";
            self.report.add(Problem::new(path, ProblemKind::Vanished, text));
            return None;
        }
        self.report.add(Problem::new(path, ProblemKind::Unreadable, error.to_string()));
        let none =
            Details { xattrs: Vec::new(), flags: 0, symlink_target: None, problems: Vec::new() };
        match file.stat.kind {
            StatKind::File | StatKind::Directory => {
                Some(entry_of(&file.name, &file.stat, none, Content::Missing))
            }
            _ => None,
        }
    }
}

/// The next stretch of data within the size that a file had when it was opened; empty and at its end
/// if only a hole is left. Content that was appended meanwhile may lie past that size.
///
/// That a hole goes on to the end is not believed unseen: `untrue` is set for a file that ends before,
/// and what is not zero at the end is data. (A kernel can err there: of a file of 2^63 - 1 bytes,
/// tmpfs does not find data in the last page.)
fn next_data(
    content: &mut dyn simsim_source::Content,
    at: u64,
    size: u64,
    untrue: &mut bool,
) -> io::Result<Range<u64>> {
    if let Some(data) = content.next_data(at)? {
        let start = data.start.clamp(at, size);
        return Ok(start..data.end.clamp(start, size));
    }
    let mut tail = [0; TAIL_BYTES];
    let start = size.saturating_sub(TAIL_BYTES as u64).max(at);
    let tail = tail.get_mut(..(size - start) as usize).unwrap_or_default();
    let found = content.read_at(start, tail)?;
    *untrue |= found < tail.len();
    let is_hole = tail.iter().all(|byte| *byte == 0);
    Ok(if is_hole { size..size } else { start..size })
}

enum Step {
    Hole(u64),
    Block(Receiver<Vec<(Name, u32)>>),
}

fn settle(ahead: &mut VecDeque<Step>, list: &mut ListBuilder) -> Result<(), MoverError> {
    match ahead.pop_front() {
        None => {}
        Some(Step::Hole(length)) => list.push(Piece::Hole { length })?,
        Some(Step::Block(named)) => {
            for (name, length) in named.recv().map_err(|_| MoverError::Lost)? {
                list.push(Piece::Chunk { name, length })?;
            }
        }
    }
    Ok(())
}

/// An entry from what the file system says.
pub(crate) fn entry_of(name: &[u8], stat: &Stat, details: Details, content: Content) -> Entry {
    let kind = match stat.kind {
        StatKind::File => EntryKind::File,
        StatKind::Directory => EntryKind::Directory(Default::default()),
        StatKind::Symlink => EntryKind::Symlink(details.symlink_target.unwrap_or_default()),
        StatKind::Fifo => EntryKind::Fifo,
        StatKind::Socket => EntryKind::Socket,
        StatKind::CharDevice => {
            EntryKind::CharDevice { major: stat.rdev_major, minor: stat.rdev_minor }
        }
        StatKind::BlockDevice => {
            EntryKind::BlockDevice { major: stat.rdev_major, minor: stat.rdev_minor }
        }
    };
    let file = kind == EntryKind::File;
    let directory = matches!(kind, EntryKind::Directory(_));
    Entry {
        name: name.to_vec(),
        kind,
        mode: stat.mode & 0o7777,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        ino: stat.ino,
        dev: if stat.nlink > 1 && !directory { stat.dev } else { 0 },
        nlink: if directory { 1 } else { stat.nlink },
        size: if file { stat.size } else { 0 },
        flags: details.flags,
        xattrs: details.xattrs,
        content,
    }
}
