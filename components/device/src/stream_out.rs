//! A plain stream on its way out: the one file of a saveset, opened and checked here.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use simsim_format::{Content, DomainKey, Opener, Piece, SegmentView};
use simsim_model::{Direction, Name, RestoreSession, SegmentPlace};
use simsim_mover::MoverError;
use simsim_mover::tree::Tree;

use crate::DeviceError;
use crate::grants::Grant;
use crate::session::Session;

/// Names located at once.
const LOCATE_AHEAD: usize = 4096;
/// Zeros given at once for a hole.
const ZEROS_BYTES: u64 = 256 * 1024;

/// The stream of the ticket's saveset from an offset on.
pub(crate) fn open(grant: &Arc<Grant>, offset: u64) -> Result<StreamOut, DeviceError> {
    let ticket = &grant.ticket;
    if ticket.direction != Direction::Restore {
        return Err(DeviceError::Ticket("the ticket is for a backup: a stream cannot be read"));
    }
    let Some(secret) = &grant.domain_key else {
        return Err(DeviceError::Ticket(
            "the ticket came without a domain key: this device cannot open a plain stream",
        ));
    };
    let key = DomainKey::new(secret);
    let session: Arc<dyn RestoreSession> = Arc::new(Session::new(Arc::clone(grant)));
    let tree = Tree::open(Arc::clone(&session), key.clone(), ticket.saveset)?;
    let mut files = tree.list(b"/")?.into_iter();
    let (Some(file), None) = (files.next(), files.next()) else {
        return Err(DeviceError::Request(
            "this saveset is not one plain stream; restore it by paths",
        ));
    };
    if !file.is_file() {
        return Err(DeviceError::Request(
            "this saveset is not one plain stream; restore it by paths",
        ));
    }
    let (inline, pieces) = match &file.content {
        Content::Inline(bytes) => (Bytes::copy_from_slice(bytes), Vec::new()),
        Content::Missing => {
            return Err(DeviceError::Request("the content of this stream was never stored"));
        }
        _ => (Bytes::new(), tree.pieces(&file)?),
    };
    let mut stream = StreamOut {
        session,
        opener: Opener::new(key),
        pieces: pieces.into_iter().collect::<Vec<_>>().into(),
        places: HashMap::new(),
        opened: None,
        ready: inline,
        zeros: 0,
    };
    stream.skip(offset)?;
    Ok(stream)
}

/// Gives the content piece by piece; at most one opened segment is held.
pub(crate) struct StreamOut {
    session: Arc<dyn RestoreSession>,
    opener: Opener,
    pieces: std::collections::VecDeque<Piece>,
    places: HashMap<Name, SegmentPlace>,
    opened: Option<(SegmentPlace, HashMap<Name, Bytes>)>,
    ready: Bytes,
    zeros: u64,
}

impl StreamOut {
    fn skip(&mut self, offset: u64) -> Result<(), DeviceError> {
        let mut left = offset;
        let inline = (self.ready.len() as u64).min(left);
        self.ready.advance(inline as usize);
        left -= inline;
        while left > 0 {
            let Some(piece) = self.pieces.front() else { return Ok(()) };
            let length = piece.length();
            if left < length {
                self.advance()?;
                let ready = (self.ready.len() as u64).min(left);
                self.ready.advance(ready as usize);
                self.zeros -= (left - ready).min(self.zeros);
                return Ok(());
            }
            left -= length;
            self.pieces.pop_front();
        }
        Ok(())
    }

    /// Makes the next piece ready.
    fn advance(&mut self) -> Result<(), DeviceError> {
        match self.pieces.pop_front() {
            None => {}
            Some(Piece::Hole { length }) => self.zeros = length,
            Some(Piece::Chunk { name, .. }) => self.ready = self.chunk(name)?,
        }
        Ok(())
    }

    fn chunk(&mut self, name: Name) -> Result<Bytes, DeviceError> {
        let missing = || MoverError::Missing { what: "the chunk", name: name.to_string() };
        if !self.places.contains_key(&name) {
            let later = self.pieces.iter().filter_map(|piece| match piece {
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

impl Read for StreamOut {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && self.zeros == 0 && !self.pieces.is_empty() {
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
