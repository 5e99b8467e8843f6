//! A plain stream on its way in: cut, sealed and put by the same pipeline as files.
//!
//! The stream becomes a saveset with one file. Only a stream that came to its end is committed: one
//! that breaks off leaves nothing that could be taken for complete.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use simsim_model::{
    BackupSession, CommitReply, Kind, ManifestDraft, Name, SessionError, StoreTerms, Timestamp,
};
use simsim_source::{Content, Details, Found, Item, Place, Source, Stat, StatKind};

use crate::MoverError;
use crate::backup::{BackupJob, BackupReport, backup};

/// The stream goes from the caller's thread to the pipeline in pieces of this size.
const PIECE_BYTES: usize = 256 * 1024;
const PIECES_AHEAD: usize = 8;
/// Name of the file where the task has none that fits.
const DEFAULT_NAME: &str = "stream";

/// The name of the one file of a stream: its task's, where that can be a file's.
pub fn stream_name(task: &str) -> String {
    let fits = !task.is_empty()
        && task.len() <= 255
        && task != "."
        && task != ".."
        && !task.contains(['/', '\0']);
    if fits { task.to_owned() } else { DEFAULT_NAME.to_owned() }
}

/// Takes a stream to its end and commits it as the one file `name` of the job's saveset; returns the
/// report and the stream's length. The job has no base. Blocks; the caller's thread reads `stream`.
///
/// # Errors
/// `Cancelled` when `stream` fails before its end; then nothing is committed, whatever the session
/// would do. Else as [`backup`].
pub fn backup_stream(
    mut job: BackupJob,
    name: &str,
    stream: &mut dyn Read,
) -> Result<(BackupReport, u64), MoverError> {
    let (give, pieces) = sync_channel(PIECES_AHEAD);
    let shared = Arc::new(Shared { pieces: Mutex::new(Some(pieces)), taken: AtomicU64::new(0) });
    let broken: Arc<Mutex<Option<SessionError>>> = Arc::default();
    job.session = Arc::new(Ending { inner: job.session, broken: Arc::clone(&broken) });
    let now = Timestamp::from_unix_nanos(job.scan_started_unix_ns);
    let mut source = StreamSource::new(name.to_owned(), now, &shared);
    std::thread::scope(|scope| {
        let pipeline = std::thread::Builder::new()
            .name("stream-in".into())
            .spawn_scoped(scope, move || {
                let done = backup(job, &mut source);
                // A pipeline that failed must not leave the feeder waiting.
                source.shared.pieces.lock().take();
                done
            })
            .map_err(|error| {
                let text = format!("no thread for the stream: {error}");
                MoverError::Session(SessionError::new(Kind::Busy, text))
            })?;
        feed(stream, give, &broken);
        let report = pipeline.join().map_err(|_| MoverError::Lost)?;
        if let Some(error) = broken.lock().take() {
            return Err(error.into());
        }
        Ok((report?, shared.taken.load(Relaxed)))
    })
}

/// Passes the stream on. The mark that it broke off is set before its end is seen.
fn feed(stream: &mut dyn Read, give: SyncSender<Bytes>, broken: &Mutex<Option<SessionError>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = stream.take(PIECE_BYTES as u64).read_to_end(&mut piece);
        if let Err(error) = read {
            let text = format!("the stream broke off: {error}; nothing of it is kept");
            *broken.lock() = Some(SessionError::new(Kind::Cancelled, text));
            return;
        }
        if piece.is_empty() || give.send(piece.into()).is_err() {
            return;
        }
    }
}

/// Refuses the commit of a stream that broke off.
struct Ending {
    inner: Arc<dyn BackupSession>,
    broken: Arc<Mutex<Option<SessionError>>>,
}

impl BackupSession for Ending {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        self.inner.terms()
    }

    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        self.inner.has(names)
    }

    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        self.inner.put(number, segment)
    }

    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        if let Some(error) = self.broken.lock().clone() {
            return Err(error);
        }
        if draft.problems > 0 {
            let text = "the stream could not be taken whole; nothing of it is kept";
            return Err(SessionError::new(Kind::Internal, text));
        }
        self.inner.commit(draft)
    }
}

struct Shared {
    /// Taken by the one who opens the file.
    pieces: Mutex<Option<Receiver<Bytes>>>,
    taken: AtomicU64,
}

/// A root folder with one file.
struct StreamSource {
    items: std::vec::IntoIter<Item>,
    shared: Arc<Shared>,
}

impl StreamSource {
    fn new(name: String, now: Timestamp, shared: &Arc<Shared>) -> Self {
        let place: Arc<dyn Place> = Arc::new(StreamPlace { now, shared: Arc::clone(shared) });
        let found = |name: Vec<u8>, stat: Stat| Found {
            name,
            stat,
            place: Arc::clone(&place),
            unreadable: false,
        };
        let items = vec![
            Item::Enter(found(Vec::new(), stat(StatKind::Directory, 0o755, now, 0))),
            Item::Leaf(found(name.into_bytes(), stat(StatKind::File, 0o600, now, OPEN_ENDED))),
            Item::Leave,
        ];
        Self { items: items.into_iter(), shared: Arc::clone(shared) }
    }
}

/// The size of a file that ends where its content ends.
const OPEN_ENDED: u64 = u64::MAX;

fn stat(kind: StatKind, mode: u32, now: Timestamp, size: u64) -> Stat {
    Stat {
        kind,
        mode,
        uid: 0,
        gid: 0,
        size,
        blocks: size,
        mtime: now,
        ctime: now,
        ino: 0,
        dev: 0,
        nlink: 1,
        rdev_major: 0,
        rdev_minor: 0,
    }
}

impl Source for StreamSource {
    fn next(&mut self) -> Option<Item> {
        self.items.next()
    }
}

struct StreamPlace {
    now: Timestamp,
    shared: Arc<Shared>,
}

impl Place for StreamPlace {
    fn open(&self, _name: &[u8]) -> io::Result<Box<dyn Content>> {
        let pieces = self.shared.pieces.lock().take();
        let pieces = pieces.ok_or_else(|| io::Error::other("a stream can be read once"))?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(StreamContent { now: self.now, shared, pieces, piece: Bytes::new() }))
    }

    fn details(&self, _name: &[u8], _stat: &Stat) -> io::Result<Details> {
        Ok(Details::default())
    }

    fn path(&self, name: &[u8]) -> Vec<u8> {
        [b"/", name].concat()
    }
}

struct StreamContent {
    now: Timestamp,
    shared: Arc<Shared>,
    pieces: Receiver<Bytes>,
    piece: Bytes,
}

impl Content for StreamContent {
    fn opened(&self) -> Stat {
        stat(StatKind::File, 0o600, self.now, OPEN_ENDED)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(self.opened())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if offset != self.shared.taken.load(Relaxed) {
            return Err(io::Error::other("a stream is read from its start to its end"));
        }
        if self.piece.is_empty() {
            // An error is the end: the feeder is gone.
            self.piece = self.pieces.recv().unwrap_or_default();
        }
        let now = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(buffer.get_mut(..now).unwrap_or_default());
        self.shared.taken.fetch_add(now as u64, Relaxed);
        Ok(now)
    }

    fn details(&self) -> Details {
        Details::default()
    }

    fn next_data(&mut self, offset: u64) -> io::Result<Option<Range<u64>>> {
        Ok(Some(offset..OPEN_ENDED))
    }
}
