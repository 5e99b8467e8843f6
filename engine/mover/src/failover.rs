//! Several copies of one saveset, read as one: what the first cannot give is had from the next.
//!
//! Names are the same in all copies, places are not. Which copy a place is of tells its pack; a segment that cannot be
//! had is asked for again by the names that were wanted of it ([`RestoreSession::elsewhere`]), of the copies behind
//! the one that failed, so that no name is asked for twice of one copy. A copy whose device does not answer is given
//! up for the rest of the job. Nothing that was written is written again: what goes on elsewhere is a piece.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use simsim_model::{Kind, Name, RestoreSession, SavesetId, SegmentPlace, SessionError};

/// Opens a copy, when it is needed.
pub type OpenCopy = Box<dyn FnOnce() -> Result<Arc<dyn RestoreSession>, SessionError> + Send>;

/// The copies of one saveset, in the order in which they are asked.
pub struct Failover {
    saveset: SavesetId,
    copies: Vec<Copy>,
    /// Of which copy a pack is; of the first one where nothing stands.
    packs: Mutex<HashMap<Name, usize>>,
}

struct Copy {
    name: String,
    state: Mutex<State>,
    segments: AtomicU64,
    bytes: AtomicU64,
    /// Segments that it could not give.
    failed: AtomicU64,
}

enum State {
    Closed(OpenCopy),
    /// With the bytes of its manifest: who has read that keeps the saveset from being deleted.
    Open(Arc<dyn RestoreSession>, Bytes),
    GivenUp(SessionError),
}

impl Failover {
    /// Copies by name of their datastore.
    pub fn new(saveset: SavesetId, copies: Vec<(String, OpenCopy)>) -> Self {
        let copies = copies
            .into_iter()
            .map(|(name, open)| Copy {
                name,
                state: Mutex::new(State::Closed(open)),
                segments: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            })
            .collect();
        Self { saveset, copies, packs: Mutex::default() }
    }

    /// Which copy gave what, a sentence each; none where the first one gave everything.
    pub fn report(&self) -> Vec<String> {
        let gave = |copy: &Copy| copy.segments.load(Relaxed);
        let all_of_first = self.copies.first().is_none_or(|first| {
            first.failed.load(Relaxed) == 0 && !matches!(*first.state.lock(), State::GivenUp(_))
        });
        if all_of_first && self.copies.iter().skip(1).all(|copy| gave(copy) == 0) {
            return Vec::new();
        }
        let told = |copy: &Copy| {
            let failed = copy.failed.load(Relaxed);
            let given_up = match &*copy.state.lock() {
                State::GivenUp(error) => Some(error.to_string()),
                _ => None,
            };
            if gave(copy) == 0 && failed == 0 && given_up.is_none() {
                return None;
            }
            let mut text = format!(
                "datastore '{}' gave {} segments, {} bytes",
                copy.name,
                gave(copy),
                copy.bytes.load(Relaxed)
            );
            if failed > 0 {
                text.push_str(&format!(
                    "; {failed} segments could not be had there: verify it, and heal it"
                ));
            }
            if let Some(why) = given_up {
                text.push_str(&format!("; it was given up: {why}"));
            }
            Some(text)
        };
        self.copies.iter().filter_map(told).collect()
    }

    /// Opens a copy where that was not done. Errors: why it is given up, or that the job is cancelled.
    fn opened(&self, at: usize) -> Result<(Arc<dyn RestoreSession>, Bytes), SessionError> {
        let Some(copy) = self.copies.get(at) else { return Err(none_left()) };
        let mut state = copy.state.lock();
        match &*state {
            State::Open(session, manifest) => return Ok((Arc::clone(session), manifest.clone())),
            State::GivenUp(error) => return Err(error.clone()),
            State::Closed(_) => {}
        }
        let State::Closed(open) = std::mem::replace(&mut *state, State::GivenUp(none_left()))
        else {
            return Err(none_left());
        };
        let opened = open().and_then(|session| {
            let manifest = session.manifest(self.saveset)?;
            Ok((session, manifest))
        });
        *state = match &opened {
            Ok((session, manifest)) => State::Open(Arc::clone(session), manifest.clone()),
            Err(error) => {
                tracing::warn!(datastore = %copy.name, %error, "a copy cannot be read from");
                State::GivenUp(error.clone())
            }
        };
        opened
    }

    fn give_up(&self, at: usize, error: &SessionError) {
        if let Some(copy) = self.copies.get(at) {
            tracing::warn!(datastore = %copy.name, %error, "a copy is given up");
            *copy.state.lock() = State::GivenUp(error.clone());
        }
    }

    fn any_is_left(&self) -> bool {
        self.copies.iter().any(|copy| !matches!(*copy.state.lock(), State::GivenUp(_)))
    }

    /// Asks the copies from this one on; each for what those before did not have.
    fn locate_from(
        &self,
        first: usize,
        names: &[Name],
    ) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        let mut places: Vec<Option<SegmentPlace>> = vec![None; names.len()];
        let mut left: Vec<usize> = (0..names.len()).collect();
        for at in first..self.copies.len() {
            if left.is_empty() {
                break;
            }
            let wanted: Vec<Name> =
                left.iter().filter_map(|one| names.get(*one)).copied().collect();
            let found = self.opened(at).and_then(|(session, _)| session.locate(&wanted));
            let found = match found {
                Ok(found) => found,
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                Err(error) => {
                    self.give_up(at, &error);
                    if !self.any_is_left() {
                        return Err(error);
                    }
                    continue;
                }
            };
            let mut packs = self.packs.lock();
            let mut lacking = Vec::new();
            for (one, place) in left.iter().zip(found.into_iter().chain(std::iter::repeat(None))) {
                match (place, places.get_mut(*one)) {
                    (Some(place), Some(slot)) => {
                        packs.insert(place.pack, at);
                        *slot = Some(place);
                    }
                    _ => lacking.push(*one),
                }
            }
            left = lacking;
        }
        Ok(places)
    }

    fn copy_of(&self, place: SegmentPlace) -> usize {
        self.packs.lock().get(&place.pack).copied().unwrap_or(0)
    }
}

impl RestoreSession for Failover {
    fn manifest(&self, _: SavesetId) -> Result<Bytes, SessionError> {
        let mut first = None;
        for at in 0..self.copies.len() {
            match self.opened(at) {
                Ok((_, manifest)) => return Ok(manifest),
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(none_left))
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        self.locate_from(0, names)
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        let mut segments = Vec::with_capacity(places.len());
        for place in places {
            let at = self.copy_of(*place);
            let got = self.opened(at).and_then(|(session, _)| session.get(&[*place]));
            let Some(copy) = self.copies.get(at) else { return Err(none_left()) };
            match got {
                Ok(mut answer) => {
                    let segment = answer.pop().flatten();
                    match &segment {
                        Some(bytes) => {
                            copy.segments.fetch_add(1, Relaxed);
                            copy.bytes.fetch_add(bytes.len() as u64, Relaxed);
                        }
                        None => {
                            copy.failed.fetch_add(1, Relaxed);
                        }
                    }
                    segments.push(segment);
                }
                Err(error) if error.kind == Kind::Cancelled => return Err(error),
                Err(error) => {
                    self.give_up(at, &error);
                    if !self.any_is_left() {
                        return Err(error);
                    }
                    segments.push(None);
                }
            }
        }
        Ok(segments)
    }

    fn elsewhere(
        &self,
        names: &[Name],
        not_in: SegmentPlace,
    ) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        let at = self.copy_of(not_in);
        match at + 1 < self.copies.len() {
            true => self.locate_from(at + 1, names),
            false => Ok(vec![None; names.len()]),
        }
    }
}

fn none_left() -> SessionError {
    SessionError::new(Kind::Unreachable, "no copy of the saveset is left that could be read")
}
