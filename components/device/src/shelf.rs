//! The shelf: every datastore that this device serves, and the list that outlives a restart.
//!
//! A datastore that cannot be opened stays on the list and says why; the others are served. So is
//! one whose storage falls silent later: its calls end in time, and it is opened again when it is
//! attached again. A datastore is lent to transfers and jobs; it is taken down only when nobody has
//! it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use simsim_control::verbs::{AttachDatastoreReply, CreateDatastore, DatastoreStateReply};
use simsim_datastore::{
    CreateOptions, Datastore, DatastoreError, OpenOptions as DatastoreOpenOptions, Room,
};
use simsim_model::{Kind, StoreId};
use simsim_storage::{BoundedStorage, LocalStorage, Storage, StorageError};
use tokio::sync::watch;

use crate::DeviceError;

/// Drives of one datastore.
const DRIVES_MAX: usize = 1000;

/// One line of the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    path: PathBuf,
    store: StoreId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    drives: Vec<u32>,
}

/// The list of datastores, in the device's state folder.
pub(crate) const LIST: &str = "datastores.json";

#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    datastores: Vec<Record>,
}

struct Place {
    record: Record,
    state: Result<Open, (Kind, String)>,
    /// Held by everybody who works with the datastore.
    lent: Arc<()>,
}

#[derive(Clone)]
struct Open {
    datastore: Datastore,
    storage: Arc<dyn Storage>,
}

/// A datastore lent to a transfer or job; it stays attached until this is dropped.
#[derive(Clone)]
pub(crate) struct Lease {
    pub(crate) datastore: Datastore,
    _lent: Arc<()>,
}

pub(crate) struct Shelf {
    file: PathBuf,
    /// How long a storage may take to answer.
    patience: Duration,
    /// Memory of the sessions of all datastores.
    room: Arc<Room>,
    places: Mutex<Vec<Place>>,
    /// One change at a time; opening takes long and must not hold up who only reads.
    changing: Mutex<()>,
    /// The drives of all datastores on the list, in order.
    drives: watch::Sender<Vec<u32>>,
}

impl Shelf {
    /// Reads the list and opens what is on it.
    pub(crate) fn open(file: PathBuf, patience: Duration) -> Result<Self, DeviceError> {
        let list = read_list(&file)?;
        let room = Arc::<Room>::default();
        let places = list.datastores.into_iter().map(|record| {
            let state = open_at(&record.path, patience, &room).and_then(|open| {
                if open.datastore.store() == record.store {
                    return Ok(open);
                }
                Err(DeviceError::Attached { store: open.datastore.store(), path: record.path.clone() })
            });
            if let Err(error) = &state {
                tracing::error!(store = %record.store, path = %record.path.display(), %error, "datastore is not served");
            }
            let state = state.map_err(|error| (error.kind(), error.to_string()));
            Place { record, state, lent: Arc::new(()) }
        });
        let places = Mutex::new(places.collect());
        let drives = watch::Sender::new(Vec::new());
        let changing = Mutex::new(());
        let shelf = Self { places, file, patience, room, changing, drives };
        shelf.tell_drives();
        Ok(shelf)
    }

    /// Lends a datastore.
    pub(crate) fn lend(&self, store: StoreId) -> Result<Lease, DeviceError> {
        let places = self.places.lock();
        let place = places
            .iter()
            .find(|place| place.record.store == store)
            .ok_or(DeviceError::NoStore(store))?;
        match &place.state {
            Ok(open) => {
                Ok(Lease { datastore: open.datastore.clone(), _lent: Arc::clone(&place.lent) })
            }
            Err((kind, why)) => Err(DeviceError::NotOpen {
                store,
                path: place.record.path.clone(),
                kind: *kind,
                why: why.clone(),
            }),
        }
    }

    /// Makes a datastore in an empty or absent folder. Asked again for the same, it answers again.
    pub(crate) fn create(&self, request: &CreateDatastore) -> Result<(), DeviceError> {
        let _one = self.changing.lock();
        let path = plain(&request.path)?;
        if let Some(place) = self.places.lock().iter().find(|p| p.record.store == request.store) {
            if place.record.path == path && place.state.is_ok() {
                return Ok(());
            }
            let path = place.record.path.clone();
            return Err(DeviceError::Attached { store: request.store, path });
        }
        match fs::read_dir(&path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => return Err(DeviceError::NotEmpty(path)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DeviceError::file("look into", path)(error));
            }
            Ok(false) | Err(_) => {}
        }
        let storage = bounded(&path, self.patience, LocalStorage::open)?;
        let options = CreateOptions {
            store: request.store,
            name: request.name.clone(),
            cut: request.cut.unwrap_or_default(),
        };
        Datastore::create(Arc::clone(&storage), options)?;
        let datastore = Datastore::open(Arc::clone(&storage), options_with(&self.room))?;
        let record = Record {
            path,
            store: request.store,
            name: request.name.clone(),
            owner: request.owner.clone(),
            drives: Vec::new(),
        };
        self.put_up(record, Open { datastore, storage })
    }

    /// Serves a datastore that exists. One that is served already answers again; one that takes no
    /// writes any more is opened anew, when nobody works with it.
    pub(crate) fn attach(&self, path: &str) -> Result<AttachDatastoreReply, DeviceError> {
        let _one = self.changing.lock();
        let path = plain(path)?;
        let served = self.places.lock().iter().find_map(|place| match &place.state {
            Ok(open) if place.record.path == path => Some((place.record.clone(), open.clone())),
            _ => None,
        });
        if let Some((record, open)) = served {
            let Some(why) = open.datastore.read_only() else { return Ok(reply_of(&record)) };
            drop(open);
            self.take_down(&record, &why)?;
        }
        let open = open_at(&path, self.patience, &self.room)?;
        let store = open.datastore.store();
        let mut record = Record {
            path,
            store,
            name: open.datastore.name().to_owned(),
            owner: String::new(),
            drives: Vec::new(),
        };
        if let Some(place) = self.places.lock().iter().find(|place| place.record.store == store) {
            if place.state.is_ok() {
                return Err(DeviceError::Attached { store, path: place.record.path.clone() });
            }
            record.owner.clone_from(&place.record.owner);
            record.drives.clone_from(&place.record.drives);
        }
        let reply = reply_of(&record);
        self.put_up(record, open)?;
        Ok(reply)
    }

    /// Closes a datastore that takes no writes any more, but leaves it on the list.
    fn take_down(&self, record: &Record, why: &DatastoreError) -> Result<(), DeviceError> {
        let store = record.store;
        let mut places = self.places.lock();
        let Some(place) = places.iter_mut().find(|place| place.record.store == store) else {
            return Ok(());
        };
        let users = Arc::strong_count(&place.lent) - 1;
        if users > 0 {
            return Err(DeviceError::InUse { store, users });
        }
        let closed = std::mem::replace(&mut place.state, Err((why.kind(), why.to_string())));
        drop(places);
        drop(closed);
        Ok(())
    }

    fn put_up(&self, record: Record, open: Open) -> Result<(), DeviceError> {
        let mut records = self.records();
        records.retain(|old| old.store != record.store && old.path != record.path);
        records.push(record.clone());
        write_list(&self.file, records)?;
        let mut places = self.places.lock();
        places.retain(|old| old.record.store != record.store && old.record.path != record.path);
        places.push(Place { record, state: Ok(open), lent: Arc::new(()) });
        drop(places);
        self.tell_drives();
        Ok(())
    }

    /// The numbers of a datastore's drives, from now on and after a restart.
    pub(crate) fn set_drives(&self, store: StoreId, drives: &[u32]) -> Result<(), DeviceError> {
        let _one = self.changing.lock();
        let mut drives = drives.to_vec();
        drives.sort_unstable();
        drives.dedup();
        if drives.len() > DRIVES_MAX {
            return Err(DeviceError::Request("a datastore has at most 1,000 drives"));
        }
        let mut records = self.records();
        if let Some(other) = records.iter().find(|record| {
            record.store != store && record.drives.iter().any(|n| drives.contains(n))
        }) {
            return Err(DeviceError::DriveTaken { by: other.name.clone() });
        }
        let record = records.iter_mut().find(|record| record.store == store);
        let record = record.ok_or(DeviceError::NoStore(store))?;
        if record.drives == drives {
            return Ok(());
        }
        record.drives.clone_from(&drives);
        write_list(&self.file, records)?;
        if let Some(place) = self.places.lock().iter_mut().find(|one| one.record.store == store) {
            place.record.drives = drives;
        }
        self.tell_drives();
        Ok(())
    }

    /// The drives of all datastores, as they change.
    pub(crate) fn drives(&self) -> watch::Receiver<Vec<u32>> {
        self.drives.subscribe()
    }

    fn tell_drives(&self) {
        let mut all: Vec<u32> =
            self.places.lock().iter().flat_map(|place| place.record.drives.clone()).collect();
        all.sort_unstable();
        self.drives.send_if_modified(|told| {
            let changed = *told != all;
            *told = all;
            changed
        });
    }

    fn records(&self) -> Vec<Record> {
        self.places.lock().iter().map(|place| place.record.clone()).collect()
    }

    /// Takes a datastore down: `Busy` while somebody works with it.
    pub(crate) fn detach(&self, store: StoreId) -> Result<(), DeviceError> {
        let _one = self.changing.lock();
        let place = {
            let mut places = self.places.lock();
            let at = places
                .iter()
                .position(|place| place.record.store == store)
                .ok_or(DeviceError::NoStore(store))?;
            let users = places.get(at).map_or(1, |place| Arc::strong_count(&place.lent)) - 1;
            if users > 0 {
                return Err(DeviceError::InUse { store, users });
            }
            places.remove(at)
        };
        let written = write_list(&self.file, self.records());
        if written.is_err() {
            self.places.lock().push(place);
            return written;
        }
        self.tell_drives();
        // What was committed is durable without it.
        if let Ok(open) = place.state
            && let Err(error) = open.datastore.close()
        {
            tracing::warn!(%store, %error, "datastore did not close well");
        }
        Ok(())
    }

    /// Closes everything, at the end of the process. What is lent stays open until it comes back.
    pub(crate) fn close(&self) {
        let _one = self.changing.lock();
        for place in std::mem::take(&mut *self.places.lock()) {
            if let Ok(open) = place.state
                && let Err(error) = open.datastore.close()
            {
                tracing::error!(store = %place.record.store, %error, "datastore did not close well");
            }
        }
    }

    pub(crate) fn state(&self, store: StoreId) -> Result<DatastoreStateReply, DeviceError> {
        let found = self.snapshot().into_iter().find(|(record, _)| record.store == store);
        let (record, open) = found.ok_or(DeviceError::NoStore(store))?;
        Ok(state_of(&record, open))
    }

    pub(crate) fn states(&self) -> Vec<DatastoreStateReply> {
        self.snapshot().into_iter().map(|(record, open)| state_of(&record, open)).collect()
    }

    fn snapshot(&self) -> Vec<(Record, Result<Open, String>)> {
        let places = self.places.lock();
        let state = |place: &Place| match &place.state {
            Ok(open) => Ok(open.clone()),
            Err((_, why)) => Err(why.clone()),
        };
        places.iter().map(|place| (place.record.clone(), state(place))).collect()
    }
}

fn options_with(room: &Arc<Room>) -> DatastoreOpenOptions {
    DatastoreOpenOptions { room: Arc::clone(room), ..DatastoreOpenOptions::default() }
}

fn open_at(path: &Path, patience: Duration, room: &Arc<Room>) -> Result<Open, DeviceError> {
    // A folder is made for a new datastore only.
    let storage = bounded(path, patience, LocalStorage::open_existing)?;
    let datastore = Datastore::open(Arc::clone(&storage), options_with(room))?;
    Ok(Open { datastore, storage })
}

fn bounded(
    path: &Path,
    patience: Duration,
    open: fn(PathBuf) -> Result<LocalStorage, StorageError>,
) -> Result<Arc<dyn Storage>, DeviceError> {
    let owned = path.to_owned();
    let place = path.display().to_string();
    Ok(Arc::new(BoundedStorage::open(place, patience, move || open(owned))?))
}

fn plain(path: &str) -> Result<PathBuf, DeviceError> {
    let given = Path::new(path);
    if !given.is_absolute() || given.components().any(|part| part == Component::ParentDir) {
        return Err(DeviceError::Path(path.to_owned()));
    }
    // One spelling: no doubled or trailing slashes.
    Ok(given.components().collect())
}

fn reply_of(record: &Record) -> AttachDatastoreReply {
    AttachDatastoreReply {
        store: record.store,
        name: record.name.clone(),
        owner: record.owner.clone(),
    }
}

fn state_of(record: &Record, open: Result<Open, String>) -> DatastoreStateReply {
    let mut reply = DatastoreStateReply {
        store: record.store,
        name: record.name.clone(),
        path: record.path.display().to_string(),
        capacity_bytes: 0,
        free_bytes: 0,
        packs_bytes: 0,
        savesets: 0,
        chunks: 0,
        generation: 0,
        state: String::new(),
        packs: 0,
        packs_never_checked: 0,
        checked_since_unix_s: None,
    };
    match open {
        Err(why) => reply.state = format!("not served: {why}"),
        Ok(open) => {
            let state = open.datastore.state();
            reply.capacity_bytes = open.storage.total_bytes().unwrap_or_default();
            reply.free_bytes = state.free_bytes.unwrap_or_default();
            reply.packs_bytes = state.bytes;
            reply.savesets = state.savesets;
            reply.chunks = state.chunks;
            reply.generation = state.generation;
            let checked = open.datastore.checked_until();
            reply.packs = checked.packs;
            reply.packs_never_checked = checked.never;
            reply.checked_since_unix_s = checked.oldest_unix_s;
            reply.state = match state.read_only {
                Some(why) => format!("read-only: {why}"),
                None => "ready".to_owned(),
            };
        }
    }
    reply
}

/// The drives of the datastores on the list in a device's state folder, in order; for whoever looks at
/// a host while no device runs there.
///
/// # Errors
/// When the list is there and cannot be read.
pub fn listed_drives(state_folder: &Path) -> Result<Vec<u32>, DeviceError> {
    let list = read_list(&state_folder.join(LIST))?;
    let mut drives: Vec<u32> = list.datastores.into_iter().flat_map(|one| one.drives).collect();
    drives.sort_unstable();
    drives.dedup();
    Ok(drives)
}

fn read_list(file: &Path) -> Result<List, DeviceError> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| DeviceError::List { path: file.to_owned(), why: error.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(List::default()),
        Err(error) => Err(DeviceError::file("read", file)(error)),
    }
}

/// Replaces the list, durably: after a power cut it is the old or the new one.
fn write_list(file: &Path, datastores: Vec<Record>) -> Result<(), DeviceError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let temporary = file.with_extension("new");
    let write = || -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let text = serde_json::to_vec_pretty(&List { datastores })?;
        let mut options = OpenOptions::new();
        let mut new =
            options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        new.write_all(&text)?;
        new.sync_all()?;
        fs::rename(&temporary, file)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(DeviceError::file("write", file))
}
