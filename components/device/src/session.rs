//! A transfer at work: the datastore's sessions, behind the ticket's limits.
//!
//! The listener holds a [`Session`] for as long as it likes; each call asks the grant whether the
//! transfer is still on. So a revoked or aborted transfer ends with the call under way, and its
//! datastore is free again, whatever a listener still holds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use parking_lot::Mutex;
use simsim_datastore::{ReadSession, SessionOptions, WriteSession};
use simsim_format::Manifest;
use simsim_model::{
    BackupSession, CommitReply, CopySession, Direction, Kind, ManifestDraft, Name, RestoreSession,
    SavesetId, SegmentPlace, SessionError, StoreTerms, failpoint,
};

use crate::grants::Grant;
use crate::shelf::Lease;

/// The datastore's end of one transfer. Dropped, what was not committed is given up.
pub(crate) struct Open {
    write: Option<WriteSession>,
    read: ReadSession,
    /// Numbers of the segments that were put: a repeated one counts once.
    put: Mutex<Numbers>,
    _lease: Lease,
}

/// Numbers that begin at 0 and are nearly in order: a session may be as long as it likes.
#[derive(Default)]
struct Numbers {
    /// All below were added.
    floor: u64,
    ahead: BTreeSet<u64>,
}

impl Numbers {
    fn has(&self, number: u64) -> bool {
        number < self.floor || self.ahead.contains(&number)
    }

    /// Whether it is new.
    fn add(&mut self, number: u64) -> bool {
        let is_new = number >= self.floor && self.ahead.insert(number);
        while self.ahead.remove(&self.floor) {
            self.floor += 1;
        }
        is_new
    }
}

impl Open {
    pub(crate) fn new(grant: &Grant, lease: Lease) -> Self {
        let ticket = &grant.ticket;
        let write = match ticket.direction {
            Direction::Backup => {
                let options = SessionOptions { lock_until_unix_s: grant.lock_until_unix_s };
                Some(lease.datastore.session(ticket.domain, ticket.saveset, options))
            }
            Direction::CopyIn => Some(lease.datastore.copy_session(ticket.domain)),
            Direction::Restore | Direction::CopyOut => None,
        };
        let read = lease.datastore.read_session(ticket.domain);
        Self { write, read, put: Mutex::default(), _lease: lease }
    }

    fn write(&self) -> Result<&WriteSession, SessionError> {
        let denied = || SessionError::new(Kind::Denied, "the ticket is to read: it cannot write");
        self.write.as_ref().ok_or_else(denied)
    }
}

impl Drop for Open {
    /// What arrived of a copy stays, whether its session ended well or not.
    fn drop(&mut self) {
        let Some(write) = self.write.as_ref().filter(|write| write.saveset().is_zero()) else {
            return;
        };
        if let Err(error) = write.keep() {
            tracing::warn!(%error, "the last segments of a copy are not kept");
        }
    }
}

/// What a listener asks; any number may exist of one transfer.
pub(crate) struct Session {
    grant: Arc<Grant>,
}

impl Session {
    pub(crate) fn new(grant: Arc<Grant>) -> Self {
        Self { grant }
    }

    fn open(&self) -> Result<Arc<Open>, SessionError> {
        Ok(self.grant.at_work()?)
    }
}

impl BackupSession for Session {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        self.open()?.write()?.terms()
    }

    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        self.open()?.write()?.has(names)
    }

    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        let open = self.open()?;
        let bytes = segment.len() as u64;
        let counts = &self.grant.counts;
        let limit = self.grant.ticket.bytes_max;
        let again = open.put.lock().has(number);
        let so_far = counts.bytes_put.load(Relaxed);
        if !again && limit > 0 && so_far.saturating_add(bytes) > limit {
            let text = format!(
                "the ticket allows {limit} bytes and {so_far} were put; raise the limit of the task"
            );
            return Err(SessionError::new(Kind::Denied, text));
        }
        open.write()?.put(number, segment)?;
        failpoint::hit("device.segment_put");
        if open.put.lock().add(number) {
            counts.bytes_put.fetch_add(bytes, Relaxed);
            counts.segments.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        let reply = self.open()?.write()?.commit(draft)?;
        failpoint::hit("device.committed");
        self.grant.counts.committed.store(true, Relaxed);
        tracing::info!(
            job = self.grant.ticket.job, saveset = %reply.saveset, sequence = reply.sequence,
            "saveset committed"
        );
        Ok(reply)
    }
}

impl CopySession for Session {
    fn savesets(&self, savesets: &[SavesetId]) -> Result<Vec<bool>, SessionError> {
        self.open()?.write()?.savesets(savesets)
    }

    fn commit_copy(&self, manifest: Bytes, segments: u64) -> Result<CommitReply, SessionError> {
        let reply = self.open()?.write()?.commit_copy(manifest, segments)?;
        failpoint::hit("device.committed");
        self.grant.counts.committed.store(true, Relaxed);
        tracing::info!(
            job = self.grant.ticket.job, saveset = %reply.saveset, sequence = reply.sequence,
            "copy of a saveset committed"
        );
        Ok(reply)
    }
}

impl RestoreSession for Session {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        let ticket = &self.grant.ticket;
        let denied = || {
            let text = format!("the ticket does not allow to read saveset {saveset}");
            SessionError::new(Kind::Denied, text)
        };
        let may_read = match ticket.direction {
            Direction::Restore => saveset == ticket.saveset,
            // Its own, to prove a stream that is stored, and what it is compared with.
            Direction::Backup => {
                let bases = self.grant.bases.as_ref();
                saveset == ticket.saveset || bases.is_none_or(|bases| bases.contains(&saveset))
            }
            Direction::CopyIn | Direction::CopyOut => true,
        };
        if !may_read {
            return Err(denied());
        }
        let bytes = self.open()?.read.manifest(saveset)?;
        match Manifest::decode(&bytes) {
            Ok(manifest) if manifest.domain == ticket.domain => Ok(bytes),
            Ok(_) => Err(denied()),
            Err(error) => Err(SessionError::new(error.kind(), error.to_string())),
        }
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        self.open()?.read.locate(names)
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        self.open()?.read.get(places)
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers;

    #[test]
    fn numbers_are_new_once_and_take_no_room_when_they_are_in_order() {
        let mut numbers = Numbers::default();
        for number in [1, 0, 3, 3, 2, 0, 4] {
            assert_eq!(numbers.has(number), !numbers.add(number), "{number}");
        }
        assert_eq!((numbers.floor, numbers.ahead.len()), (5, 0));
    }
}
