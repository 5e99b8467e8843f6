//! The restore verbs over a datastore, for one domain.

use bytes::Bytes;
use simsim_model::limits::{NAMES_PER_REQUEST_MAX, PLACES_PER_REQUEST_MAX};
use simsim_model::{DomainId, Kind, Name, RestoreSession, SavesetId, SegmentPlace, SessionError};
use simsim_storage::StorageError;

use crate::{Datastore, DatastoreError};

/// Reads savesets of one domain.
#[derive(Clone)]
pub struct ReadSession {
    datastore: Datastore,
    domain: DomainId,
}

impl ReadSession {
    pub(crate) fn new(datastore: Datastore, domain: DomainId) -> Self {
        Self { datastore, domain }
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
        let manifest = self.datastore.manifest(saveset)?;
        if manifest.domain != self.domain {
            // To another owner it is as if it were not there.
            tracing::warn!(%saveset, domain = %self.domain, "a saveset of another domain was asked for");
            return Err(DatastoreError::NoSaveset { saveset }.into());
        }
        Ok(Bytes::from(manifest.encode()))
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
