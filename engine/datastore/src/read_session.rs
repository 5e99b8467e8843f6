//! The restore verbs over a datastore, for one domain.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use simsim_model::limits::{NAMES_PER_REQUEST_MAX, PLACES_PER_REQUEST_MAX};
use simsim_model::{DomainId, Kind, Name, RestoreSession, SavesetId, SegmentPlace, SessionError};
use simsim_storage::StorageError;

use crate::epochs::Presence;
use crate::sync::Mutex;
use crate::{Datastore, DatastoreError};

/// Reads savesets of one domain. While it is open, none that it has opened can be deleted, and what a
/// place was given for stays there.
#[derive(Clone)]
pub struct ReadSession {
    datastore: Datastore,
    domain: DomainId,
    pins: Arc<Pins>,
}

/// What a session reads, until all of its clones are gone.
struct Pins {
    datastore: Datastore,
    savesets: Mutex<BTreeSet<SavesetId>>,
    _presence: Arc<Presence>,
}

impl Pins {
    fn give_up(&self, saveset: SavesetId) {
        let mut readers = self.datastore.inner.readers.lock();
        if self.savesets.lock().remove(&saveset)
            && let Some(count) = readers.get_mut(&saveset)
        {
            *count -= 1;
            if *count == 0 {
                readers.remove(&saveset);
            }
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let all: Vec<SavesetId> = self.savesets.get_mut().iter().copied().collect();
        all.into_iter().for_each(|saveset| self.give_up(saveset));
    }
}

impl ReadSession {
    pub(crate) fn new(datastore: Datastore, domain: DomainId) -> Self {
        let presence = datastore.inner.epochs.enter();
        Self::part_of(datastore, domain, presence)
    }

    /// Reads as a part of another session.
    pub(crate) fn part_of(datastore: Datastore, domain: DomainId, presence: Arc<Presence>) -> Self {
        let pins =
            Pins { datastore: datastore.clone(), savesets: Mutex::default(), _presence: presence };
        Self { datastore, domain, pins: Arc::new(pins) }
    }

    /// From now on the saveset is not deleted. Whether this session had not pinned it before.
    fn pin(&self, saveset: SavesetId) -> bool {
        let mut readers = self.datastore.inner.readers.lock();
        let fresh = self.pins.savesets.lock().insert(saveset);
        if fresh {
            *readers.entry(saveset).or_default() += 1;
        }
        fresh
    }

    fn manifest_of(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        let manifest = self.datastore.manifest(saveset)?;
        if manifest.domain != self.domain {
            // To another owner it is as if it were not there.
            tracing::warn!(%saveset, domain = %self.domain, "a saveset of another domain was asked for");
            return Err(DatastoreError::NoSaveset { saveset }.into());
        }
        Ok(Bytes::from(manifest.encode()))
    }
}

pub(crate) fn check_count(count: usize, most: usize) -> Result<(), SessionError> {
    if count > most {
        let text = format!("{count} items in one request, at most {most} are allowed");
        return Err(SessionError::new(Kind::Invalid, text));
    }
    Ok(())
}

impl RestoreSession for ReadSession {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        // First, so that it is not deleted between the two.
        let fresh = self.pin(saveset);
        let read = self.manifest_of(saveset);
        if read.is_err() && fresh {
            self.pins.give_up(saveset);
        }
        read
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        check_count(names.len(), NAMES_PER_REQUEST_MAX)?;
        Ok(self.datastore.locate(self.domain, names)?)
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        check_count(places.len(), PLACES_PER_REQUEST_MAX)?;
        let mut segments = Vec::with_capacity(places.len());
        for place in places {
            match self.datastore.read_segment(self.domain, *place) {
                Ok(bytes) => segments.push(Some(bytes)),
                // A storage that has fallen silent gives nothing more: the job is to say so.
                Err(error @ DatastoreError::Storage(StorageError::Silent { .. })) => {
                    return Err(error.into());
                }
                // One lost segment must not end a restore: the rest is still wanted (RET06).
                Err(error)
                    if matches!(
                        error.kind(),
                        Kind::Corrupt | Kind::NotFound | Kind::Internal | Kind::Unreachable
                    ) =>
                {
                    tracing::error!(%error, "a segment cannot be read");
                    segments.push(None);
                }
                // The same answer as to a place that does not exist: nobody learns what others store.
                Err(error) if error.kind() == Kind::Denied => {
                    tracing::warn!(domain = %self.domain, %error, "a segment of another domain was asked for");
                    segments.push(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(segments)
    }
}
