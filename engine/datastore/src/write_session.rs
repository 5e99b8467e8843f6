//! The backup verbs over a datastore: one session, one saveset.
//!
//! A node segment is written only when all that it refers to is in the index or earlier in this
//! session's packs; until then it waits in memory, as long as there is room for it. Packs of a session are sealed one
//! after the other, so a durable node never refers to something that is not.

mod commit;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use simsim_format::{SegmentKind, SegmentView};
use simsim_model::limits::NAMES_PER_REQUEST_MAX;
use simsim_model::{
    BackupSession, CommitReply, CopySession, DomainId, ManifestDraft, Name, RestoreSession,
    SavesetId, SegmentPlace, SessionError, StoreTerms,
};

use crate::epochs::Presence;
use crate::open::unix_ns;
use crate::pack_writer::PackWriter;
use crate::read_session::check_count;
use crate::room::{Claim, WAITING_OF_ONE_BYTES_MAX};
use crate::sync::{Condvar, Mutex};
use crate::{Datastore, DatastoreError, ReadSession, quarantine};

/// Segment numbers that may be ahead of the first missing one.
const NUMBERS_AHEAD_MAX: usize = 4096;
/// Beside its bytes, what an item of a node segment that waits takes.
const ITEM_BYTES: usize = 48;
/// And what a name that it lacks takes.
const MISSING_BYTES: usize = 80;

/// What the server decided about the saveset.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionOptions {
    /// Unix seconds until which the saveset must live; 0: no lock.
    pub lock_until_unix_s: u64,
}

/// A backup in progress. Dropped without a commit, it leaves no saveset; whole packs stay, and
/// the next backup finds their chunks.
pub struct WriteSession {
    datastore: Datastore,
    domain: DomainId,
    saveset: SavesetId,
    options: SessionOptions,
    started_unix_ns: i64,
    state: Mutex<State>,
    /// Signalled when a pack has left `State::sealing`.
    sealed: Condvar,
    /// Held by the one who seals: packs become durable in order.
    order: Mutex<()>,
    /// Held during a commit.
    committing: Mutex<Option<CommitReply>>,
    /// Its share of the room for names.
    _room: Claim,
    /// Reads of the saveset that this one is compared with.
    reads: ReadSession,
    presence: Arc<Presence>,
}

#[derive(Default)]
struct State {
    pack: Option<PackWriter>,
    /// Packs that are full and not durable yet, with their names, the oldest first.
    sealing: VecDeque<Sealing>,
    /// Packs that have left `sealing`.
    published: u64,
    next_ticket: u64,
    /// All numbers below were put.
    next_number: u64,
    ahead: BTreeSet<u64>,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    /// Why this session can go no further.
    failed: Option<SessionError>,
    committed: bool,
}

struct Sealing {
    ticket: u64,
    pack: Option<PackWriter>,
    names: Arc<HashSet<Name>>,
}

/// A node segment and what it still lacks.
struct Waiting {
    view: SegmentView,
    missing: HashSet<Name>,
    /// Its share of `State::waiting_bytes`.
    bytes: usize,
    _room: Claim,
}

impl State {
    fn holds(&self, name: &Name) -> bool {
        self.pack.as_ref().is_some_and(|pack| pack.names.contains(name))
            || self.sealing.iter().any(|sealing| sealing.names.contains(name))
    }

    fn count(&self) -> u64 {
        self.next_number + self.ahead.len() as u64
    }

    fn acknowledge(&mut self, number: u64) {
        self.ahead.insert(number);
        while self.ahead.remove(&self.next_number) {
            self.next_number += 1;
        }
    }
}

impl WriteSession {
    pub(crate) fn new(
        datastore: Datastore,
        domain: DomainId,
        saveset: SavesetId,
        options: SessionOptions,
    ) -> Self {
        let presence = datastore.inner.epochs.enter();
        Self {
            _room: datastore.inner.room.session(),
            reads: ReadSession::part_of(datastore.clone(), domain, presence.clone()),
            presence,
            datastore,
            domain,
            saveset,
            options,
            started_unix_ns: unix_ns(),
            state: Mutex::default(),
            sealed: Condvar::new(),
            order: Mutex::new(()),
            committing: Mutex::new(None),
        }
    }

    /// Makes what was put and can stand by itself durable, for whoever comes next to find. What waits
    /// for other segments is given up.
    pub fn keep(&self) -> Result<(), DatastoreError> {
        {
            let mut state = self.state.lock();
            state.waiting.clear();
            state.waiting_bytes = 0;
        }
        self.seal_all()
    }

    pub fn saveset(&self) -> SavesetId {
        self.saveset
    }

    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// What the datastore holds for this session.
    fn known(&self, names: &[Name]) -> Result<Vec<bool>, DatastoreError> {
        self.datastore.has_since(self.domain, names, self.presence.epoch())
    }

    /// Parses what a client sent; nothing of it is believed.
    fn parse(&self, segment: Bytes) -> Result<SegmentView, DatastoreError> {
        let view = SegmentView::parse(segment)
            .map_err(|source| DatastoreError::format("the segment that was sent", source))?;
        if view.kind == SegmentKind::Manifest {
            return Err(DatastoreError::invalid("manifest copies are written by the device only"));
        }
        if view.domain != self.domain {
            return Err(DatastoreError::OtherDomain { what: "the segment that was sent".into() });
        }
        Ok(view)
    }

    /// What `view` refers to outside itself that neither this session's packs nor the index hold,
    /// and how many packs had left the session for the index before anything was looked up.
    fn unknown_references(
        &self,
        view: &SegmentView,
    ) -> Result<(HashSet<Name>, u64), DatastoreError> {
        if view.kind != SegmentKind::Nodes {
            return Ok((HashSet::new(), self.state.lock().published));
        }
        let own: HashSet<Name> = view.items.iter().map(|item| item.name).collect();
        let mut names = HashSet::new();
        for (_, references) in view.node_refs() {
            names.extend(references.nodes().chain(references.chunks()));
        }
        let (names, published): (Vec<Name>, u64) = {
            let state = self.state.lock();
            let unknown = |name: &Name| !own.contains(name) && !state.holds(name);
            (names.into_iter().filter(unknown).collect(), state.published)
        };
        let known = self.known(&names)?;
        let missing =
            names.into_iter().zip(known).filter(|(_, known)| !known).map(|(name, _)| name);
        Ok((missing.collect(), published))
    }

    fn put_parsed(&self, number: u64, view: SegmentView) -> Result<(), DatastoreError> {
        let (mut state, missing) = loop {
            let (mut missing, published) = self.unknown_references(&view)?;
            let state = self.state.lock();
            missing.retain(|name| !state.holds(name));
            // A pack that went from this session to the index between the two looks stands in
            // neither of their answers.
            if missing.is_empty() || state.published == published {
                break (state, missing);
            }
        };
        if let Some(failed) = &state.failed {
            return Err(DatastoreError::SessionFailed {
                kind: failed.kind,
                reason: failed.message.clone(),
            });
        }
        if number < state.next_number || state.ahead.contains(&number) {
            return Ok(());
        }
        if state.committed {
            return Err(DatastoreError::invalid("this saveset is committed already"));
        }
        if number - state.next_number > NUMBERS_AHEAD_MAX as u64 {
            return Err(DatastoreError::invalid("the segment's number is too far ahead"));
        }
        if missing.is_empty() {
            let appended = self.append(&mut state, view);
            if let Err(error) = appended {
                return Err(self.fail(&mut state, error));
            }
        } else {
            let items = view.items.len() * ITEM_BYTES;
            let bytes = view.bytes().len() + items + missing.len() * MISSING_BYTES;
            let inner = &self.datastore.inner;
            let small = state.waiting_bytes + bytes <= WAITING_OF_ONE_BYTES_MAX;
            let Some(room) = small.then(|| inner.room.waiting(bytes)).flatten() else {
                return Err(self.no_room(&state, number, bytes));
            };
            state.waiting_bytes += bytes;
            state.waiting.push(Waiting { view, missing, bytes, _room: room });
        }
        state.acknowledge(number);
        let pack_bytes = self.datastore.inner.pack_bytes;
        let full = state.pack.as_ref().is_some_and(|p| p.bytes() >= pack_bytes || p.is_crowded());
        if full {
            self.queue_seal(&mut state);
        }
        drop(state);
        if full { self.seal_queued() } else { Ok(()) }
    }

    /// Why a node segment cannot wait. Where everything before it has come, what it lacks is not on its
    /// way but lost: the next backup is told.
    fn no_room(&self, state: &State, number: u64, bytes: usize) -> DatastoreError {
        let all_came = number == state.next_number && state.ahead.is_empty();
        if all_came
            && !self.saveset.is_zero()
            && let Err(error) = quarantine::remember_loss(&self.datastore.inner)
        {
            return error;
        }
        let waiting = self.datastore.inner.room.waiting_bytes();
        DatastoreError::NoRoom { waiting, more: bytes }
    }

    /// Appends a segment, then those that waited for it.
    fn append(&self, state: &mut State, view: SegmentView) -> Result<(), DatastoreError> {
        let mut ready = vec![view];
        while let Some(view) = ready.pop() {
            let inner = &self.datastore.inner;
            let pack = match &mut state.pack {
                Some(pack) => pack,
                None => {
                    let room = inner.room.pack();
                    let new = PackWriter::create(&*inner.storage, inner.root.store, room)?;
                    state.pack.insert(new)
                }
            };
            pack.append(&view)?;
            if state.waiting.is_empty() {
                continue;
            }
            for waiting in &mut state.waiting {
                for item in &view.items {
                    waiting.missing.remove(&item.name);
                }
            }
            self.take_ready(state, &mut ready);
        }
        Ok(())
    }

    fn take_ready(&self, state: &mut State, ready: &mut Vec<SegmentView>) {
        for at in (0..state.waiting.len()).rev() {
            if state.waiting.get(at).is_some_and(|waiting| waiting.missing.is_empty()) {
                let waiting = state.waiting.swap_remove(at);
                state.waiting_bytes = state.waiting_bytes.saturating_sub(waiting.bytes);
                ready.push(waiting.view);
            }
        }
    }

    /// Ends the session: its open pack is given up.
    fn fail(&self, state: &mut State, error: DatastoreError) -> DatastoreError {
        state.pack = None;
        state.waiting.clear();
        state.waiting_bytes = 0;
        state.failed.get_or_insert_with(|| {
            SessionError::new(error.kind(), format!("this backup failed: {error}"))
        });
        error
    }

    fn queue_seal(&self, state: &mut State) {
        if let Some(mut pack) = state.pack.take() {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let names = Arc::new(std::mem::take(&mut pack.names));
            state.sealing.push_back(Sealing { ticket, pack: Some(pack), names });
        }
    }

    /// Seals queued packs in order. Other threads go on with the next pack meanwhile.
    fn seal_queued(&self) -> Result<(), DatastoreError> {
        let _order = self.order.lock();
        loop {
            let (ticket, pack) = {
                let mut state = self.state.lock();
                if let Some(failed) = &state.failed {
                    let (kind, reason) = (failed.kind, failed.message.clone());
                    state.sealing.clear();
                    self.sealed.notify_all();
                    return Err(DatastoreError::SessionFailed { kind, reason });
                }
                let Some(sealing) = state.sealing.front_mut() else { return Ok(()) };
                let ticket = sealing.ticket;
                let Some(pack) = sealing.pack.take() else { return Ok(()) };
                (ticket, pack)
            };
            let result = self.seal(pack);
            let mut state = self.state.lock();
            state.sealing.retain(|sealing| sealing.ticket != ticket);
            state.published += 1;
            if let Err(error) = result {
                state.sealing.clear();
                self.sealed.notify_all();
                return Err(self.fail(&mut state, error));
            }
            self.sealed.notify_all();
        }
    }

    /// Makes a pack durable and known.
    fn seal(&self, pack: PackWriter) -> Result<(), DatastoreError> {
        let inner = &self.datastore.inner;
        inner.check_writable()?;
        let _sealing = inner.sealing.read();
        pack.seal()
            .and_then(|pack| inner.index.publish(pack.name, pack.bytes, &pack.segments))
            .inspect(|()| inner.merger.nudge())
            .inspect_err(|error| inner.turn_read_only(error))
    }

    /// Seals everything that was put, and waits for those who seal already.
    fn seal_all(&self) -> Result<(), DatastoreError> {
        self.queue_seal(&mut self.state.lock());
        self.seal_queued()?;
        let mut state = self.state.lock();
        while !state.sealing.is_empty() {
            self.sealed.wait(&mut state);
        }
        match &state.failed {
            Some(failed) => Err(DatastoreError::SessionFailed {
                kind: failed.kind,
                reason: failed.message.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl BackupSession for WriteSession {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        let inner = &self.datastore.inner;
        Ok(StoreTerms { cut: inner.root.cut, intact: inner.index.is_intact() })
    }

    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        check_count(names.len(), NAMES_PER_REQUEST_MAX)?;
        // Own names first: a pack that becomes durable in between is then found in the index.
        let own: Vec<bool> = {
            let state = self.state.lock();
            names.iter().map(|name| state.holds(name)).collect()
        };
        let mut known = self.known(names)?;
        for (known, own) in known.iter_mut().zip(own) {
            *known |= own;
        }
        Ok(known)
    }

    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        self.datastore.inner.check_writable()?;
        let view = self.parse(segment)?;
        Ok(self.put_parsed(number, view)?)
    }

    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        let mut committed = self.committing.lock();
        if let Some(reply) = &*committed {
            return Ok(reply.clone());
        }
        let reply = self.commit_once(draft)?;
        *committed = Some(reply.clone());
        Ok(reply)
    }
}

impl CopySession for WriteSession {
    fn savesets(&self, savesets: &[SavesetId]) -> Result<Vec<bool>, SessionError> {
        check_count(savesets.len(), NAMES_PER_REQUEST_MAX)?;
        // Copies ask for roots first, and do not look below what is here: nothing above damage may be taken for whole.
        self.datastore.distrust_dependents()?;
        savesets.iter().map(|id| Ok(self.datastore.holds_saveset(self.domain, *id)?)).collect()
    }

    fn commit_copy(&self, manifest: Bytes, segments: u64) -> Result<CommitReply, SessionError> {
        let _one = self.committing.lock();
        Ok(self.commit_copy_once(&manifest, segments)?)
    }
}

impl RestoreSession for WriteSession {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        self.reads.manifest(saveset)
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        self.reads.locate(names)
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        self.reads.get(places)
    }
}
