//! The device's end of one opened transfer, and the book of all of them.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use simsim_model::{
    BackupSession, CopySession, Kind, RestoreSession, SessionError, Ticket, TransferId,
};

use tokio::sync::Semaphore;

use crate::keys::{OPEN_BYTES, SessionKeys};
use crate::ledger::Ledger;
use crate::messages::UnderWay;
use crate::{TransferError, TransferHandler, Window};

/// A plain stream on its way to the handler.
pub(crate) struct StreamIn {
    next: u64,
    /// `None` marks the end; dropping the sender before is a stream that broke off.
    pieces: Option<SyncSender<Option<Bytes>>>,
    result: Receiver<Result<u64, SessionError>>,
    ended: Option<Result<u64, SessionError>>,
}

/// A plain stream on its way to the client, and where it stands.
pub(crate) struct StreamOut {
    pub offset: u64,
    pub reader: Box<dyn Read + Send>,
}

pub(crate) struct Session {
    pub ticket: Ticket,
    pub keys: SessionKeys,
    pub client_nonce: [u8; 32],
    pub open_reply: [u8; OPEN_BYTES],
    pub window: Mutex<Window>,
    pub ledger: Ledger,
    /// The draft's hash and the reply to it.
    pub committed: Mutex<Option<(blake3::Hash, Bytes)>>,
    pub stream_in: Mutex<Option<StreamIn>>,
    pub stream_out: Mutex<Option<StreamOut>>,
    backup: OnceLock<Arc<dyn BackupSession>>,
    restore: OnceLock<Arc<dyn RestoreSession>>,
    copy: OnceLock<Arc<dyn CopySession>>,
    getting: Mutex<()>,
    last_request: Mutex<Instant>,
    ended: Mutex<Option<&'static str>>,
    under_way: AtomicUsize,
    /// Bodies that are still coming and replies that are held back, by request number.
    pub coming: Mutex<BTreeMap<u64, UnderWay>>,
    /// While a rate limit counts, large bodies come one after the other: they take their memory one
    /// after the other, and what has come whole is not lost with the line.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// In KiB: what bodies of this one transfer may take together; a larger one comes alone.
    pub memory: Arc<Semaphore>,
}

/// Memory for the bodies of one transfer: a third of what all have by default.
pub(crate) const BODIES_KIB_MAX: u32 = 8 << 10;

/// A request at work: the session is not idle.
pub(crate) struct AtWork(Arc<Session>);

impl Drop for AtWork {
    fn drop(&mut self) {
        *self.0.last_request.lock() = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body that is still coming or that is held back, for as long as it is.
pub(crate) struct Coming {
    session: Arc<Session>,
    number: u64,
}

impl Coming {
    pub fn new(session: &Arc<Session>, number: u64) -> Self {
        Self { session: Arc::clone(session), number }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn add(&self, bytes: usize) {
        self.tell(bytes, false);
    }

    /// Adds bytes, and says whether a rate limit holds the rest back.
    pub fn tell(&self, bytes: usize, held: bool) {
        let number = self.number;
        let mut coming = self.session.coming.lock();
        let one = coming.entry(number).or_insert(UnderWay { number, bytes: 0, held });
        one.bytes += bytes as u64;
        one.held = held;
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.session.coming.lock().remove(&self.number);
    }
}

impl Session {
    pub fn new(
        ticket: Ticket,
        keys: SessionKeys,
        client_nonce: [u8; 32],
        open_reply: [u8; OPEN_BYTES],
    ) -> Self {
        Self {
            ticket,
            keys,
            client_nonce,
            open_reply,
            window: Mutex::default(),
            ledger: Ledger::default(),
            committed: Mutex::default(),
            stream_in: Mutex::default(),
            stream_out: Mutex::default(),
            backup: OnceLock::new(),
            restore: OnceLock::new(),
            copy: OnceLock::new(),
            getting: Mutex::new(()),
            last_request: Mutex::new(Instant::now()),
            ended: Mutex::new(None),
            under_way: AtomicUsize::new(0),
            coming: Mutex::default(),
            turn: Arc::default(),
            memory: Arc::new(Semaphore::new(BODIES_KIB_MAX as usize)),
        }
    }

    pub fn begin(self: &Arc<Self>) -> AtWork {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        *self.last_request.lock() = Instant::now();
        AtWork(Arc::clone(self))
    }

    pub fn idle(&self) -> Duration {
        if self.under_way.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        self.last_request.lock().elapsed()
    }

    pub fn is_ended(&self) -> bool {
        self.ended.lock().is_some()
    }

    /// True for the one caller that ends the session.
    pub fn end(&self, how: &'static str) -> bool {
        let mut ended = self.ended.lock();
        let first = ended.is_none();
        ended.get_or_insert(how);
        first
    }

    /// Lets go of streams: a half stream breaks off at the handler.
    pub fn drop_streams(&self) {
        *self.stream_in.lock() = None;
        *self.stream_out.lock() = None;
    }

    pub fn backup(
        &self,
        handler: &dyn TransferHandler,
    ) -> Result<&dyn BackupSession, SessionError> {
        let _one = self.getting.lock();
        if self.backup.get().is_none() {
            let _ = self.backup.set(handler.backup(&self.ticket.transfer)?);
        }
        self.backup.get().map(|session| &**session).ok_or_else(gone)
    }

    pub fn restore(
        &self,
        handler: &dyn TransferHandler,
    ) -> Result<&dyn RestoreSession, SessionError> {
        let _one = self.getting.lock();
        if self.restore.get().is_none() {
            let _ = self.restore.set(handler.restore(&self.ticket.transfer)?);
        }
        self.restore.get().map(|session| &**session).ok_or_else(gone)
    }

    pub fn copy(&self, handler: &dyn TransferHandler) -> Result<&dyn CopySession, SessionError> {
        let _one = self.getting.lock();
        if self.copy.get().is_none() {
            let _ = self.copy.set(handler.copy(&self.ticket.transfer)?);
        }
        self.copy.get().map(|session| &**session).ok_or_else(gone)
    }

    /// Takes one piece of the plain stream and returns the offset up to which all is there.
    pub fn stream_put(
        &self,
        handler: &Arc<dyn TransferHandler>,
        offset: u64,
        last: bool,
        mut piece: Bytes,
    ) -> Result<u64, SessionError> {
        let mut slot = self.stream_in.lock();
        if self.is_ended() {
            return Err(TransferError::Ended.into());
        }
        let stream = match &mut *slot {
            Some(stream) => stream,
            empty => empty.insert(start_stream(Arc::clone(handler), self.ticket.transfer)?),
        };
        if let Some(result) = &stream.ended {
            return result.clone();
        }
        let end = offset.saturating_add(piece.len() as u64);
        if offset > stream.next {
            let next = stream.next;
            return Err(SessionError::new(
                Kind::Invalid,
                format!("the piece at {offset} leaves a gap: byte {next} is due"),
            ));
        }
        let limit = self.ticket.bytes_max;
        if limit > 0 && end > limit {
            return Err(SessionError::new(
                Kind::Denied,
                format!(
                    "the ticket allows {limit} bytes, the stream has {end} or more; raise the limit of the task"
                ),
            ));
        }
        let known = (stream.next - offset).min(piece.len() as u64) as usize;
        piece.advance(known);
        let mut broken = false;
        if let Some(pieces) = &stream.pieces {
            if !piece.is_empty() {
                broken = pieces.send(Some(piece)).is_err();
            }
            stream.next = stream.next.max(end);
            if last && !broken {
                broken = pieces.send(None).is_err();
            }
        }
        if !last && !broken {
            return Ok(stream.next);
        }
        stream.pieces = None;
        let mut result = stream.result.recv().unwrap_or_else(|_| Err(gone()));
        let total = stream.next;
        if let Ok(taken) = result
            && (!last || taken != total)
        {
            result = Err(SessionError::new(
                Kind::Internal,
                format!("the device took {taken} of {total} bytes of the stream"),
            ));
        }
        stream.ended = Some(result.clone());
        result
    }

    /// Reads up to `most` bytes of the plain stream at `offset`; fewer only at its end.
    pub fn stream_get(
        &self,
        handler: &dyn TransferHandler,
        offset: u64,
        most: usize,
    ) -> Result<Vec<u8>, SessionError> {
        let mut slot = self.stream_out.lock();
        let mut stream = match slot.take().filter(|stream| stream.offset == offset) {
            Some(stream) => stream,
            None => {
                StreamOut { offset, reader: handler.stream_get(&self.ticket.transfer, offset)? }
            }
        };
        let mut piece = Vec::new();
        let read =
            stream.reader.by_ref().take(most as u64).read_to_end(&mut piece).map_err(|error| {
                SessionError::new(
                    Kind::of_io(&error),
                    format!("the stream cannot be read at {offset}: {error}"),
                )
            })?;
        stream.offset += read as u64;
        *slot = Some(stream);
        Ok(piece)
    }
}

fn gone() -> SessionError {
    SessionError::new(
        Kind::Internal,
        "the device's work on this transfer ended unexpectedly; its log says why",
    )
}

fn start_stream(
    handler: Arc<dyn TransferHandler>,
    transfer: TransferId,
) -> Result<StreamIn, SessionError> {
    let (pieces, incoming) = sync_channel(1);
    let (tell, result) = sync_channel(1);
    let work = move || {
        let mut reader = PieceReader { incoming, piece: Bytes::new(), ended: false };
        let _ = tell.send(handler.stream_put(&transfer, &mut reader));
    };
    std::thread::Builder::new().name("stream-put".into()).spawn(work).map_err(|error| {
        SessionError::new(Kind::Busy, format!("no thread for the stream: {error}"))
    })?;
    Ok(StreamIn { next: 0, pieces: Some(pieces), result, ended: None })
}

struct PieceReader {
    incoming: Receiver<Option<Bytes>>,
    piece: Bytes,
    ended: bool,
}

impl Read for PieceReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.piece.is_empty() && !self.ended {
            match self.incoming.recv() {
                Ok(Some(piece)) => self.piece = piece,
                Ok(None) => self.ended = true,
                Err(_) => {
                    let text = "the client went away before the end of the stream";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
            }
        }
        let now = self.piece.len().min(into.len());
        self.piece.copy_to_slice(into.get_mut(..now).unwrap_or_default());
        Ok(now)
    }
}

/// All opened transfers. One that ended stays for a while, so that a repeated `close` is answered.
#[derive(Default)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<TransferId, Arc<Session>>>,
}

impl Sessions {
    pub fn get(&self, transfer: &TransferId) -> Option<Arc<Session>> {
        self.all.lock().get(transfer).cloned()
    }

    pub fn insert(&self, session: Session) {
        self.all.lock().insert(session.ticket.transfer, Arc::new(session));
    }

    pub fn all(&self) -> Vec<Arc<Session>> {
        self.all.lock().values().cloned().collect()
    }

    /// Takes out the sessions that have been idle for so long.
    pub fn take_idle(&self, timeout: Duration) -> Vec<Arc<Session>> {
        self.all.lock().extract_if(|_, session| session.idle() >= timeout).map(|(_, s)| s).collect()
    }
}
