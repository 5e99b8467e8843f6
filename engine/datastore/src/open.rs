//! Creating, opening and closing a datastore.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use std::collections::HashMap;

use bytes::Bytes;
use simsim_format::{PackSegment, SegmentView, random_bytes};
use simsim_model::limits::SEGMENT_BYTES_MAX;
use simsim_model::{CutParameters, DomainId, Kind, Name, SavesetId, SegmentPlace, StoreId};
use simsim_storage::{Lock, Storage};

use crate::epochs::Epochs;
use crate::index::{Index, Merger, WHOLE_PACK};
use crate::locks::LockBook;
use crate::manifests::Savesets;
use crate::pack_table::pack_key;
use crate::reread::Doubtful;
use crate::room::Room;
use crate::root::{Root, name_fits, read_copies};
use crate::scrub::Dates;
use crate::sync::{Mutex, RwLock};
use crate::tombstones::Tombstones;
use crate::write_session::{SessionOptions, WriteSession};
use crate::{DatastoreError, ReadSession, fence, quarantine};

/// A pack is sealed when it has grown to this size.
const PACK_BYTES: u64 = 32 << 20;
const FILTER_BYTES: u64 = 32 << 20;
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// What a new datastore shall be.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    pub store: StoreId,
    /// For people: 1 to 256 bytes without control characters.
    pub name: String,
    pub cut: CutParameters,
}

impl CreateOptions {
    /// With a random id and default cutting.
    pub fn new(name: impl Into<String>) -> Result<Self, DatastoreError> {
        let store = random_bytes().map_err(|source| DatastoreError::format("an id", source))?;
        Ok(Self { store: StoreId(store), name: name.into(), cut: CutParameters::default() })
    }
}

/// How a datastore is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// A pack is sealed when it has grown to this size.
    pub pack_bytes: u64,
    /// Space kept back for deletion on a full volume; by default one percent of the volume, at
    /// most 1 GiB. 0: none.
    pub reserve_bytes: Option<u64>,
    /// Memory for filters of the index. They want 1.6 bytes a chunk; where that is too much, 0.33
    /// bytes a chunk of the largest runs, and seven unknown names of ten cost no read.
    pub filter_bytes: u64,
    /// Memory of the sessions that write. Datastores of one process share it.
    pub room: Arc<Room>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            pack_bytes: PACK_BYTES,
            reserve_bytes: None,
            filter_bytes: FILTER_BYTES,
            room: Arc::default(),
        }
    }
}

/// An open datastore. Clones share it; it is released when the last clone and session are gone.
#[derive(Clone)]
pub struct Datastore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) root: Root,
    /// 0: there was no room to raise it; nothing is written before that was made up for.
    generation: AtomicU64,
    pub(crate) index: Arc<Index>,
    /// Ends before the lock is given back.
    pub(crate) merger: Merger,
    pub(crate) savesets: Mutex<Savesets>,
    /// Held from the choice of a sequence number to the answer.
    pub(crate) commit: Mutex<()>,
    /// Shared by whoever seals packs; exclusive while the index is rebuilt, or a pack written anew.
    pub(crate) sealing: RwLock<()>,
    pub(crate) slots: Mutex<()>,
    /// Held while the list of what is lost is written.
    pub(crate) quarantine: Mutex<()>,
    /// What was distrusted when the nodes above it were looked for last. Held meanwhile.
    pub(crate) looked_above: Mutex<Vec<(Name, u64)>>,
    /// When each pack was checked last.
    pub(crate) dates: Dates,
    /// Held while the generation is raised late.
    raising: Mutex<()>,
    pub(crate) read_only: Mutex<Option<(Kind, String)>>,
    pub(crate) damaged_packs: Mutex<Vec<(Name, String)>>,
    pub(crate) pack_bytes: u64,
    pub(crate) room: Arc<Room>,
    pub(crate) epochs: Arc<Epochs>,
    /// What was deleted; the index has the same.
    pub(crate) tombstones: Mutex<Arc<Tombstones>>,
    /// Held while garbage is collected, or the index is rebuilt, or packs are mended.
    pub(crate) maintenance: Mutex<()>,
    /// Locks that were extended, and what is known of the time.
    pub(crate) locks: LockBook,
    /// Savesets that are being read, and by how many.
    pub(crate) readers: Mutex<HashMap<SavesetId, usize>>,
    _lock: Box<dyn Lock>,
}

impl Datastore {
    /// Makes a datastore in an empty storage and opens it.
    pub fn create(
        storage: Arc<dyn Storage>,
        options: CreateOptions,
    ) -> Result<Datastore, DatastoreError> {
        if !name_fits(&options.name) {
            return Err(DatastoreError::invalid(
                "a datastore's name has 1 to 256 bytes without control characters",
            ));
        }
        if !options.cut.is_valid() {
            return Err(DatastoreError::invalid("the chunk sizes must rise from min to max"));
        }
        let lock = storage.lock("lock", &holder())?;
        let used = storage.list("")?.flatten().any(|object| object.key.starts_with("store."))
            || storage.list("packs/")?.next().is_some();
        if used {
            return Err(DatastoreError::StoreExists { place: storage.place() });
        }
        let root = Root {
            store: options.store,
            created_unix_s: (unix_ns() / 1_000_000_000) as u64,
            cut: options.cut,
            name: options.name,
        };
        crate::root::write_copies(&*storage, "store", &root.encode())?;
        // There from the beginning, so that deleting needs no further inode on a full volume.
        Tombstones::default().write(&*storage)?;
        // The first opening takes no reserve yet: whoever creates may want another size.
        let options = OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() };
        Self::open_locked(storage, lock, root, options)
    }

    /// Opens a datastore: takes the lock (a second opener is refused, GC11), raises the
    /// generation, loads the index and reads the manifests.
    pub fn open(
        storage: Arc<dyn Storage>,
        options: OpenOptions,
    ) -> Result<Datastore, DatastoreError> {
        // Asked before the lock, so that a folder that holds no store is left as it is.
        let read = |heal| read_copies(&*storage, "store", heal, Root::decode);
        if read(false)?.is_none() {
            return Err(DatastoreError::NoStore { place: storage.place() });
        }
        let lock = storage.lock("lock", &holder())?;
        let root = read(true)?.ok_or_else(|| DatastoreError::NoStore { place: storage.place() })?;
        Self::open_locked(storage, lock, root, options)
    }

    fn open_locked(
        storage: Arc<dyn Storage>,
        lock: Box<dyn Lock>,
        root: Root,
        options: OpenOptions,
    ) -> Result<Datastore, DatastoreError> {
        // On a full volume everything can be read all the same (PWR06).
        let generation = match fence::raise(&*storage, &holder()) {
            Err(error) if error.kind() == Kind::Full => {
                tracing::error!(place = %storage.place(), "no space is left: the datastore is read-only until there is some");
                0
            }
            raised => raised?,
        };
        storage.clear_temporary()?;
        let tombstones = Arc::new(Tombstones::read(&*storage)?);
        let filters = options.filter_bytes;
        let (index, findings) =
            Index::open(storage.clone(), root.store, filters, tombstones.clone())?;
        let mut savesets = Savesets::read(&*storage, root.store, &index.misreads)?;
        let locks = LockBook::open(&*storage);
        // Numbers are given out once, also those of savesets that are deleted.
        let last = tombstones.deleted.values().max().copied().unwrap_or(0);
        savesets.last_sequence = savesets.last_sequence.max(last);
        quarantine::load(&*storage, &index);
        for (pack, why) in &findings.damaged_packs {
            tracing::error!(%pack, %why, "a pack is damaged; rebuild the index to save what is whole");
        }
        let index = Arc::new(index);
        let merger = Merger::new(index.clone());
        let inner = Inner {
            storage,
            root,
            generation: AtomicU64::new(generation),
            index,
            merger,
            savesets: Mutex::new(savesets),
            commit: Mutex::new(()),
            sealing: RwLock::new(()),
            slots: Mutex::new(()),
            quarantine: Mutex::new(()),
            looked_above: Mutex::default(),
            dates: Dates::default(),
            raising: Mutex::new(()),
            read_only: Mutex::new(None),
            damaged_packs: Mutex::new(findings.damaged_packs),
            pack_bytes: options.pack_bytes,
            room: options.room,
            epochs: Arc::default(),
            tombstones: Mutex::new(tombstones),
            maintenance: Mutex::new(()),
            locks,
            readers: Mutex::default(),
            _lock: lock,
        };
        // With what is dead in sight nobody may write.
        if let Err(error) = inner.check_writable().and_then(|()| inner.finish_deletions()) {
            inner.turn_read_only_if_pending(&error);
        }
        inner.ensure_reserve(options.reserve_bytes);
        if inner.check_writable().is_ok() {
            inner.note_the_time();
        }
        quarantine::save_losses(&inner);
        inner.merger.nudge();
        Ok(Datastore { inner: Arc::new(inner) })
    }

    /// Why nothing can be written until the datastore is opened again, if so.
    pub fn read_only(&self) -> Option<DatastoreError> {
        self.inner.check_writable().err()
    }

    /// Flushes the index. What was committed is durable without it; the next opening is faster.
    pub fn close(self) -> Result<(), DatastoreError> {
        self.inner.check_writable()?;
        quarantine::save_losses(&self.inner);
        self.inner.note_the_time();
        self.inner.index.flush()
    }

    pub fn store(&self) -> StoreId {
        self.inner.root.store
    }

    pub fn name(&self) -> &str {
        &self.inner.root.name
    }

    pub fn cut(&self) -> CutParameters {
        self.inner.root.cut
    }

    /// For each name: does the domain hold it durably?
    pub fn has(&self, domain: DomainId, names: &[Name]) -> Result<Vec<bool>, DatastoreError> {
        let known = self.inner.index.has(domain, names);
        quarantine::save_losses(&self.inner);
        known
    }

    /// As [`Self::has`], for a session that opened in `epoch`.
    pub(crate) fn has_since(
        &self,
        domain: DomainId,
        names: &[Name],
        epoch: u64,
    ) -> Result<Vec<bool>, DatastoreError> {
        let known = self.inner.index.has_since(domain, names, epoch);
        quarantine::save_losses(&self.inner);
        known
    }

    /// For each name: the segment that holds it. One in a damaged pack is named only when there
    /// is no other.
    pub fn locate(
        &self,
        domain: DomainId,
        names: &[Name],
    ) -> Result<Vec<Option<SegmentPlace>>, DatastoreError> {
        let places = self.inner.index.locate(domain, names);
        quarantine::save_losses(&self.inner);
        places
    }

    /// One whole segment, held against its checksum. A segment of another domain is
    /// [`Kind::Denied`]. One that turns out damaged is no dedup hit from then on (ROT04).
    pub fn read_segment(
        &self,
        domain: DomainId,
        place: SegmentPlace,
    ) -> Result<Bytes, DatastoreError> {
        if place.length as usize > SEGMENT_BYTES_MAX {
            return Err(DatastoreError::invalid("no segment is that long"));
        }
        let read = || self.read_segment_once(domain, place);
        let error = match read() {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        // Places come from clients: only one that the pack's own footer names is believed, so that
        // nobody can make this device read again, talk sound segments out of dedup, or fill the list.
        let lost = error.is_doubtful() || error.kind() == Kind::NotFound;
        let named = if lost { self.named(place)? } else { None };
        let Some(offset) = named else { return Err(error) };
        let (inner, key) = (&self.inner, pack_key(place.pack));
        let error = match inner.index.misreads.again(&*inner.storage, &key, error, read) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        let lost = error.is_doubtful() || error.kind() == Kind::NotFound;
        // Kept over a restart, so that the next backup knows of it whenever it comes.
        if lost
            && inner.index.distrust(place.pack, offset)
            && let Err(error) = quarantine::write(inner)
        {
            tracing::warn!(%error, "what was found damaged could not be written down");
        }
        Err(error)
    }

    fn read_segment_once(
        &self,
        domain: DomainId,
        place: SegmentPlace,
    ) -> Result<Bytes, DatastoreError> {
        let key = pack_key(place.pack);
        let bytes = self.inner.storage.get_range(&key, place.offset, place.length as usize)?;
        match SegmentView::parse(bytes) {
            Ok(view) if view.domain == domain => Ok(view.bytes().clone()),
            Ok(_) => Err(DatastoreError::OtherDomain { what: format!("a segment of {key}") }),
            Err(source) => {
                let object = format!("{key} at byte {}", place.offset);
                Err(DatastoreError::format(object, source))
            }
        }
    }

    /// What is lost when a segment cannot be read at `place`: its offset; with a footer that cannot
    /// be read either, all of the pack. Nothing where the footer names no such segment.
    pub(crate) fn named(&self, place: SegmentPlace) -> Result<Option<u64>, DatastoreError> {
        let inner = &self.inner;
        let Some(bytes) = inner.index.pack_bytes(place.pack) else { return Ok(None) };
        let (storage, store) = (&*inner.storage, inner.root.store);
        let footer = inner.index.misreads.read(storage, &pack_key(place.pack), || {
            crate::pack_table::footer(storage, store, place.pack, bytes)
        });
        match footer {
            Ok(footer) => {
                let mut segments = footer.segments.iter();
                let listed = |s: &PackSegment| s.offset == place.offset && s.length == place.length;
                Ok(segments.any(listed).then_some(place.offset))
            }
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                Ok(Some(WHOLE_PACK))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a backup into `domain` that will become `saveset`.
    pub fn session(
        &self,
        domain: DomainId,
        saveset: SavesetId,
        options: SessionOptions,
    ) -> WriteSession {
        WriteSession::new(self.clone(), domain, saveset, options)
    }

    /// Starts copying savesets of `domain` into this datastore: `has`, `put` and the verbs of
    /// [`simsim_model::CopySession`].
    pub fn copy_session(&self, domain: DomainId) -> WriteSession {
        WriteSession::new(self.clone(), domain, SavesetId::ZERO, SessionOptions::default())
    }

    /// Starts a restore from `domain`.
    pub fn read_session(&self, domain: DomainId) -> ReadSession {
        ReadSession::new(self.clone(), domain)
    }

    /// Gives back the reserve, so that deletion works on a full volume (PWR06). It is taken again
    /// when the datastore is opened and there is room.
    pub fn release_reserve(&self) -> Result<(), DatastoreError> {
        self.inner.release_reserve()
    }
}

const RESERVE: &str = "reserve";

impl Inner {
    /// Refuses when an earlier flush has failed.
    pub(crate) fn check_writable(&self) -> Result<(), DatastoreError> {
        if let Some((kind, reason)) = &*self.read_only.lock() {
            return Err(DatastoreError::ReadOnly { kind: *kind, reason: reason.clone() });
        }
        if let Some(reason) = self.storage.closed_because() {
            return Err(DatastoreError::ReadOnly { kind: Kind::Unreachable, reason });
        }
        self.generation().map(drop)
    }

    /// The fencing epoch of this opening, raised now if there was no room for it before.
    pub(crate) fn generation(&self) -> Result<u64, DatastoreError> {
        let known = self.generation.load(Ordering::Acquire);
        if known > 0 {
            return Ok(known);
        }
        let _one = self.raising.lock();
        match self.generation.load(Ordering::Acquire) {
            0 => {
                let raised = fence::raise(&*self.storage, &holder())?;
                self.generation.store(raised, Ordering::Release);
                Ok(raised)
            }
            known => Ok(known),
        }
    }

    /// After a failed flush nobody knows what is on the medium: no writes until reopened (PWR05).
    pub(crate) fn turn_read_only(&self, error: &DatastoreError) {
        tracing::error!(%error, "the datastore is read-only until it is opened again");
        self.read_only.lock().get_or_insert((error.kind(), error.to_string()));
    }

    pub(crate) fn release_reserve(&self) -> Result<(), DatastoreError> {
        match self.storage.delete(RESERVE) {
            Err(error) if error.kind() != Kind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn tombstones(&self) -> Arc<Tombstones> {
        self.tombstones.lock().clone()
    }

    /// A collection could not be brought to its end: what it found dead may still look alive.
    fn turn_read_only_if_pending(&self, error: &DatastoreError) {
        if self.tombstones().purge_pending {
            self.turn_read_only(error);
        } else if error.kind() != Kind::Full {
            tracing::warn!(%error, "deleted savesets could not be removed yet");
        }
    }

    /// Keeps back space. Failing is no reason not to open.
    pub(crate) fn ensure_reserve(&self, wanted: Option<u64>) {
        let storage = &*self.storage;
        let default = || storage.total_bytes().map_or(0, |all| (all / 100).min(RESERVE_BYTES_MAX));
        let wanted = wanted.unwrap_or_else(default);
        if wanted == 0 || storage.size(RESERVE).is_ok() {
            return;
        }
        if storage.free_bytes().is_ok_and(|free| free / 4 >= wanted)
            && let Err(error) = storage.allocate(RESERVE, wanted)
        {
            tracing::warn!(%error, "no space could be kept back for deletion on a full volume");
        }
    }
}

fn holder() -> String {
    format!("process {}", std::process::id())
}

/// Seconds since 1970 by this host's clock.
pub(crate) fn unix_s() -> u64 {
    u64::try_from(unix_ns() / 1_000_000_000).unwrap_or(0)
}

/// Nanoseconds since 1970 by this host's clock.
pub(crate) fn unix_ns() -> i64 {
    simsim_model::failpoint::shifted(SystemTime::now())
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
