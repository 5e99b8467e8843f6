//! The verbs of a chunk session. The mover speaks them; a channel carries them to a device, or
//! the device's datastore answers them in the same process. There is no second path.
//!
//! All calls block and may come from several threads at once; each returns when the other side
//! has answered. An implementation retries a lost connection by itself and returns
//! [`Kind::Unreachable`] once the peer has been silent for `limits::DEAD_PEER_MS`.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::{CutParameters, Kind, Level, Name, SavesetId};

/// A verb that failed: one kind for the caller, one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SessionError {
    pub kind: Kind,
    pub message: String,
}

impl SessionError {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// Where a segment lies in a datastore. The device checks the domain again when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct SegmentPlace {
    #[n(0)]
    pub pack: Name,
    #[n(1)]
    pub offset: u64,
    /// Bytes of the whole segment.
    #[n(2)]
    pub length: u32,
}

/// What a datastore tells whoever begins a backup into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct StoreTerms {
    /// How its data is cut. Every client must cut like this, or nothing is found twice.
    #[n(0)]
    pub cut: CutParameters,
    /// Is nothing known to be lost or damaged that the datastore once held? While false, a base
    /// may name chunks that are not there: unchanged files are asked for too (ROT04).
    #[n(1)]
    pub intact: bool,
}

/// What the mover knows about a finished backup; the device adds sequence number, times and
/// lock date, and writes the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ManifestDraft {
    #[n(0)]
    pub level: Level,
    /// Root node of the tree. Never absent: a saveset without a tree cannot be committed.
    #[n(1)]
    pub root: Name,
    /// The saveset that unchanged files were compared with.
    #[n(2)]
    pub base: Option<SavesetId>,
    /// Start of the scan by the client's clock, nanoseconds since 1970.
    #[n(3)]
    pub scan_started_unix_ns: i64,
    #[n(4)]
    pub files: u64,
    #[n(5)]
    pub dirs: u64,
    /// Logical bytes of all files.
    #[n(6)]
    pub bytes: u64,
    /// Plaintext bytes that were new to the datastore.
    #[n(7)]
    pub bytes_new: u64,
    /// Segment bytes put.
    #[n(8)]
    pub bytes_stored: u64,
    /// Problems that make the outcome *finished with errors*.
    #[n(9)]
    pub problems: u64,
    /// Names and the report, compressed and sealed with the domain key (`format::ManifestDetails`).
    #[n(10)]
    #[cbor(with = "minicbor::bytes")]
    pub sealed_details: Vec<u8>,
    /// Segments put in this session: the device refuses to commit when it has another number.
    #[n(11)]
    pub segments: u64,
}

/// The device's answer to a commit: the saveset is durable.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct CommitReply {
    #[n(0)]
    pub saveset: SavesetId,
    /// Position among all savesets of the datastore; grows with every commit.
    #[n(1)]
    pub sequence: u64,
    /// Stamped by the device, nanoseconds since 1970.
    #[n(2)]
    pub committed_unix_ns: i64,
}

/// Backup verbs.
pub trait BackupSession: Send + Sync {
    /// Asked once, first.
    fn terms(&self) -> Result<StoreTerms, SessionError>;

    /// For each name, in order: does the domain hold it durably, or has this session put it?
    /// At most `limits::NAMES_PER_REQUEST_MAX` names.
    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError>;

    /// Puts one segment. `number` counts from 0 without gaps in a session, in any order of
    /// arrival; a number that was acknowledged before is acknowledged again and not stored twice.
    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError>;

    /// Makes everything durable and the saveset visible. Refused while a node names a chunk that
    /// the domain does not hold.
    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError>;
}

/// Verbs of whoever copies savesets of one domain into a datastore, besides `has` and `put`:
/// any number of savesets one after the other.
pub trait CopySession: BackupSession {
    /// For each saveset, in order: is it here, with everything that it names?
    /// At most `limits::NAMES_PER_REQUEST_MAX` ids.
    fn savesets(&self, savesets: &[SavesetId]) -> Result<Vec<bool>, SessionError>;

    /// Makes what was put durable and the copy of a saveset visible. `manifest` is the original's;
    /// the copy has its own datastore, sequence number and generation. `segments`: put so far in
    /// this session. Refused while anything below the root is not here. A saveset that is here
    /// already is answered as it is.
    fn commit_copy(&self, manifest: Bytes, segments: u64) -> Result<CommitReply, SessionError>;
}

/// Restore verbs; a backup session answers them too, for the nodes of its base saveset.
pub trait RestoreSession: Send + Sync {
    /// The manifest's bytes (`format::Manifest`).
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError>;

    /// For each name, in order: the segment that holds it, or `None`.
    /// At most `limits::NAMES_PER_REQUEST_MAX` names.
    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError>;

    /// Whole segments, in order; `None` where one cannot be read any more.
    /// At most `limits::PLACES_PER_REQUEST_MAX` places.
    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError>;

    /// For each name, in order: where it lies in another copy than the segment that it was not had from; `None`:
    /// there is none that was not tried. A session of one datastore knows no other.
    fn elsewhere(
        &self,
        names: &[Name],
        _not_in: SegmentPlace,
    ) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        Ok(vec![None; names.len()])
    }
}

impl<T: BackupSession + ?Sized> BackupSession for std::sync::Arc<T> {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        (**self).terms()
    }
    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        (**self).has(names)
    }
    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        (**self).put(number, segment)
    }
    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        (**self).commit(draft)
    }
}

impl<T: CopySession + ?Sized> CopySession for std::sync::Arc<T> {
    fn savesets(&self, savesets: &[SavesetId]) -> Result<Vec<bool>, SessionError> {
        (**self).savesets(savesets)
    }
    fn commit_copy(&self, manifest: Bytes, segments: u64) -> Result<CommitReply, SessionError> {
        (**self).commit_copy(manifest, segments)
    }
}

impl<T: RestoreSession + ?Sized> RestoreSession for std::sync::Arc<T> {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        (**self).manifest(saveset)
    }
    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        (**self).locate(names)
    }
    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        (**self).get(places)
    }
    fn elsewhere(
        &self,
        names: &[Name],
        not_in: SegmentPlace,
    ) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        (**self).elsewhere(names, not_in)
    }
}
