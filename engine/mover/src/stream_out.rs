//! A plain stream on its way out: the one file of a saveset, opened and checked.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use simsim_format::{Content, DomainKey, Entry, Opener, Piece, SegmentView};
use simsim_model::{Name, RestoreSession, SavesetId, SegmentPlace};

use crate::MoverError;
use crate::tree::Tree;

/// Names located at once.
const LOCATE_AHEAD: usize = 4096;
/// Zeros given at once for a hole.
const ZEROS_BYTES: u64 = 256 * 1024;

/// The one file of a saveset that was a stream. Clones share the list of its pieces.
#[derive(Clone)]
pub struct StreamFile {
    session: Arc<dyn RestoreSession>,
    key: DomainKey,
    inline: Bytes,
    pieces: Arc<[Piece]>,
    bytes: u64,
}

impl StreamFile {
    /// Reads the tree of a saveset. Blocks.
    ///
    /// # Errors
    /// `Invalid` where the saveset is not one plain stream; else as the session and the key say.
    pub fn open(
        session: Arc<dyn RestoreSession>,
        key: DomainKey,
        saveset: SavesetId,
    ) -> Result<Self, MoverError> {
        let other = || {
            let text = "this saveset is not one plain stream; restore it by paths";
            MoverError::Target(text.to_owned())
        };
        let tree = Tree::open(Arc::clone(&session), key.clone(), saveset)?;
        let mut files = tree.list(b"/")?.into_iter();
        let (Some(file), None) = (files.next(), files.next()) else { return Err(other()) };
        if !file.is_file() {
            return Err(other());
        }
        Self::of(session, key, &tree, &file)
    }

    /// One file of a tree that is open. Blocks.
    ///
    /// # Errors
    /// `Invalid` where its content was never stored; else as the session and the key say.
    pub fn of(
        session: Arc<dyn RestoreSession>,
        key: DomainKey,
        tree: &Tree,
        file: &Entry,
    ) -> Result<Self, MoverError> {
        let (inline, pieces) = match &file.content {
            Content::Inline(bytes) => (Bytes::copy_from_slice(bytes), Vec::new()),
            Content::Missing => {
                let text = "the content of this was never stored: it could not be read when it was backed up";
                return Err(MoverError::Target(text.to_owned()));
            }
            _ => (Bytes::new(), tree.pieces(file)?),
        };
        let lengths = pieces.iter().map(Piece::length);
        let bytes = inline.len() as u64 + lengths.sum::<u64>();
        Ok(Self { session, key, inline, pieces: pieces.into(), bytes })
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its content from an offset on; nothing from its end on. Blocks while it is read. Every chunk is
    /// checked against its name before a byte of it is given.
    ///
    /// # Errors
    /// As the session says; a chunk that is missing or damaged ends the stream with an error.
    pub fn reader(&self, offset: u64) -> Result<StreamReader, MoverError> {
        let mut stream = StreamReader {
            session: Arc::clone(&self.session),
            opener: Opener::new(self.key.clone()),
            pieces: Arc::clone(&self.pieces),
            next: 0,
            places: HashMap::new(),
            opened: None,
            ready: self.inline.clone(),
            zeros: 0,
        };
        stream.skip(offset)?;
        Ok(stream)
    }
}

/// Gives the content piece by piece; at most one opened segment is held.
pub struct StreamReader {
    session: Arc<dyn RestoreSession>,
    opener: Opener,
    pieces: Arc<[Piece]>,
    /// Position of the piece that comes next.
    next: usize,
    places: HashMap<Name, SegmentPlace>,
    opened: Option<(SegmentPlace, HashMap<Name, Bytes>)>,
    ready: Bytes,
    zeros: u64,
}

impl StreamReader {
    fn skip(&mut self, offset: u64) -> Result<(), MoverError> {
        let mut left = offset;
        let inline = (self.ready.len() as u64).min(left);
        self.ready.advance(inline as usize);
        left -= inline;
        while left > 0 {
            let Some(piece) = self.pieces.get(self.next) else { return Ok(()) };
            let length = piece.length();
            if left < length {
                self.advance()?;
                let ready = (self.ready.len() as u64).min(left);
                self.ready.advance(ready as usize);
                self.zeros -= (left - ready).min(self.zeros);
                return Ok(());
            }
            left -= length;
            self.next += 1;
        }
        Ok(())
    }

    /// Makes the next piece ready.
    fn advance(&mut self) -> Result<(), MoverError> {
        let piece = self.pieces.get(self.next).cloned();
        self.next += 1;
        match piece {
            None => {}
            Some(Piece::Hole { length }) => self.zeros = length,
            Some(Piece::Chunk { name, .. }) => self.ready = self.chunk(name)?,
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        self.next >= self.pieces.len()
    }

    fn chunk(&mut self, name: Name) -> Result<Bytes, MoverError> {
        let missing = || MoverError::Missing { what: "the chunk", name: name.to_string() };
        if !self.places.contains_key(&name) {
            let later = self.pieces.get(self.next..).unwrap_or_default();
            let later = later.iter().filter_map(|piece| match piece {
                Piece::Chunk { name, .. } => Some(*name),
                Piece::Hole { .. } => None,
            });
            let names: Vec<Name> = std::iter::once(name).chain(later).take(LOCATE_AHEAD).collect();
            let located = self.session.locate(&names)?;
            self.places =
                names.into_iter().zip(located).filter_map(|(n, p)| Some((n, p?))).collect();
        }
        let place = *self.places.get(&name).ok_or_else(missing)?;
        if self.opened.as_ref().is_none_or(|(opened, _)| *opened != place) {
            let bytes = self.session.get(&[place])?.into_iter().next().flatten();
            let view = SegmentView::parse(bytes.ok_or_else(missing)?)?;
            let plaintext = Bytes::from(self.opener.open(&view)?);
            let chunks = view.offsets().filter_map(|(start, item)| {
                let end = start.checked_add(item.length as usize)?;
                (end <= plaintext.len()).then(|| (item.name, plaintext.slice(start..end)))
            });
            self.opened = Some((place, chunks.collect()));
        }
        let chunk = self.opened.as_ref().and_then(|(_, chunks)| chunks.get(&name).cloned());
        let chunk = chunk.ok_or_else(missing)?;
        self.opener.check_chunk(&name, &chunk)?;
        Ok(chunk)
    }
}

impl Read for StreamReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && self.zeros == 0 && !self.is_at_end() {
            self.advance().map_err(|error| io::Error::other(error.to_string()))?;
        }
        if self.zeros > 0 {
            let now = self.zeros.min(ZEROS_BYTES).min(into.len() as u64) as usize;
            into.get_mut(..now).unwrap_or_default().fill(0);
            self.zeros -= now as u64;
            return Ok(now);
        }
        let now = self.ready.len().min(into.len());
        self.ready.copy_to_slice(into.get_mut(..now).unwrap_or_default());
        Ok(now)
    }
}
