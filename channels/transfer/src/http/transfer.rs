//! The client's end: a transfer that was opened with a ticket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use simsim_model::{
    BackupSession, CommitReply, CopySession, Kind, ManifestDraft, Name, RestoreSession, SavesetId,
    SegmentPlace, SessionError, StoreTerms, Ticket, limits,
};
use tokio::runtime::Handle;

use super::body::OutBody;
use super::line::{Answer, Cut, Line, Patience};
use super::route::{OnWait, Route};
use crate::frame::{FrameOpener, FrameSealer};
use crate::keys::{self, NONCE_BYTES, SessionKeys, Way};
use crate::{TransferError, Verb, messages};

/// A request that was refused without a sealed reply comes again this often.
const REFUSALS_MAX: u32 = 3;

/// Status of a device that has as many transfers open as it may.
const CROWDED: u16 = 429;
/// How often a transfer that waits for its turn asks for it.
const TURN_INTERVAL: Duration = Duration::from_secs(2);

/// Reply to a ping: 16 bytes for each request under way.
const PING_BYTES_MAX: usize = 16 * 1024;

/// How the client dials.
#[derive(Debug, Clone)]
pub struct DialOptions {
    /// Kept connections, and requests at the same time: 1 to 16.
    pub connections: usize,
    /// A peer that is silent for this long is unreachable.
    pub dead_peer: Duration,
    /// A connection on which no byte moves for this long is given up and dialled anew; shorter
    /// than `dead_peer` so that there is time for another try.
    pub stall_timeout: Duration,
    /// A device that was not heard for this long is pinged.
    pub heartbeat: Duration,
    pub connect_timeout: Duration,
    /// Hears where a way makes the transfer wait for its turn.
    pub on_wait: OnWait,
}

impl Default for DialOptions {
    fn default() -> Self {
        let dead_peer = Duration::from_millis(limits::DEAD_PEER_MS);
        Self {
            connections: 4,
            dead_peer,
            stall_timeout: dead_peer * 2 / 3,
            heartbeat: Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS),
            connect_timeout: dead_peer / 6,
            on_wait: OnWait::default(),
        }
    }
}

/// An opened transfer. All verbs block, may come from many plain threads at once, and must not be
/// called from a thread of the runtime. Dropping it without [`HttpTransfer::close`] leaves the
/// device to notice the silence.
pub struct HttpTransfer {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    handle: Handle,
    line: Line,
    keys: SessionKeys,
    next: AtomicU64,
    ended: AtomicBool,
    /// The device was silent for too long: its end is not waited for once more.
    lost: AtomicBool,
}

impl HttpTransfer {
    /// Opens the ticket's transfer by the first of the routes at whose end the device answers.
    ///
    /// # Errors
    /// [`Kind::Unreachable`] when none answers, [`Kind::Denied`] when the device refuses the
    /// ticket (unknown, used, expired) or cannot prove that it holds the ticket itself.
    pub fn open(
        handle: Handle,
        routes: Vec<Route>,
        ticket: Ticket,
    ) -> Result<HttpTransfer, SessionError> {
        Self::open_with(handle, routes, ticket, DialOptions::default())
    }

    pub fn open_with(
        handle: Handle,
        routes: Vec<Route>,
        ticket: Ticket,
        options: DialOptions,
    ) -> Result<HttpTransfer, SessionError> {
        Ok(Self::try_open(handle, routes, ticket, options)?)
    }

    /// [`HttpTransfer::open_with`] with the channel's own error.
    pub(super) fn try_open(
        handle: Handle,
        routes: Vec<Route>,
        ticket: Ticket,
        options: DialOptions,
    ) -> Result<HttpTransfer, TransferError> {
        let line = Line::new(routes, &ticket, options);
        let keys = handle.block_on(open(&line, &ticket))?;
        let inner = Arc::new(Inner {
            handle: handle.clone(),
            line,
            keys,
            next: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&inner);
        let interval = inner.line.options.heartbeat;
        handle.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(inner) = weak.upgrade() else { return };
                if inner.ended.load(Ordering::Relaxed) {
                    return;
                }
                let line = &inner.line;
                if line.heard.last().elapsed() >= interval / 2 || line.stands_still(interval / 2) {
                    // A lost ping is no news: the next verb finds out by itself.
                    let stall = inner.line.options.stall_timeout;
                    let ping =
                        inner.attempt(Verb::Ping, Vec::new(), PING_BYTES_MAX, 0, stall).await;
                    if let Ok(Ok(Answer::Sealed(Ok(told)))) = ping {
                        inner.line.received(&messages::decode_under_way(&told));
                    }
                }
            }
        });
        Ok(HttpTransfer { inner })
    }

    /// Asks whether the device is there.
    pub fn ping(&self) -> Result<(), SessionError> {
        self.inner.call(Verb::Ping, Vec::new(), PING_BYTES_MAX, 0).map(drop)
    }

    /// Ends the transfer in order. May be repeated.
    pub fn close(&self) -> Result<(), SessionError> {
        self.end(Verb::Close, Vec::new())
    }

    /// Gives the transfer up; the device forgets what was not committed.
    pub fn abort(&self, reason: &str) -> Result<(), SessionError> {
        let mut end = reason.len().min(1024);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        self.end(Verb::Abort, vec![Bytes::copy_from_slice(reason.as_bytes()).split_to(end)])
    }

    fn end(&self, verb: Verb, parts: Vec<Bytes>) -> Result<(), SessionError> {
        if self.inner.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.inner.lost.load(Ordering::Acquire) {
            self.inner.ended.store(true, Ordering::Release);
            self.inner.line.hang_up();
            return Ok(());
        }
        self.inner.call(verb, parts, 0, 0)?;
        self.inner.ended.store(true, Ordering::Release);
        self.inner.line.hang_up();
        Ok(())
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }
}

async fn open(line: &Line, ticket: &Ticket) -> Result<SessionKeys, TransferError> {
    let client = keys::nonce()?;
    let proof = keys::client_proof(&ticket.secret, &ticket.transfer, &client);
    let body = Bytes::from([client, *proof.as_bytes()].concat());
    let mut patience = Patience::new(line);
    let (mut refusals, mut waited) = (0, false);
    loop {
        let stall = patience.stall();
        let open = OutBody::plain(body.clone());
        let cut = match line.exchange(Verb::Open, None, open, None, stall).await {
            Ok(Answer::Plain(200, reply)) => {
                let device = reply.first_chunk::<NONCE_BYTES>().copied().unwrap_or_default();
                let proof = keys::device_proof(&ticket.secret, &ticket.transfer, &client, &device);
                let given =
                    reply.get(NONCE_BYTES..).and_then(|rest| <[u8; 32]>::try_from(rest).ok());
                if given.is_some_and(|given| proof == blake3::Hash::from_bytes(given)) {
                    if waited {
                        line.options.on_wait.tell("");
                    }
                    line.heard.mark();
                    return Ok(SessionKeys::derive(
                        &ticket.secret,
                        &ticket.transfer,
                        &client,
                        &device,
                    ));
                }
                return Err(TransferError::Peer(SessionError::new(
                    Kind::Denied,
                    format!(
                        "{} could not prove that it holds the ticket: it is not the device that the server named, or somebody stands between",
                        line.peer()
                    ),
                )));
            }
            Ok(Answer::Plain(CROWDED, text)) => {
                // The device has no room now: it keeps the ticket, and this host waits its turn.
                let told = format!("{}: {}", line.peer(), shown(&text).trim_end());
                if !line.options.on_wait.tell(&told) {
                    return Err(TransferError::Ended);
                }
                waited = true;
                tokio::time::sleep(TURN_INTERVAL).await;
                patience = Patience::new(line);
                continue;
            }
            Ok(Answer::Plain(status, text)) => {
                refused(line, status, &text, &mut refusals, &mut patience)?
            }
            Ok(Answer::Sealed(_)) => return Err(TransferError::Cipher),
            Err(cut) => cut,
        };
        patience.after(cut).await?;
    }
}

/// A stranger's text, as far as people are shown it.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A reply that is not sealed: final, or worth another try.
fn refused(
    line: &Line,
    status: u16,
    text: &[u8],
    refusals: &mut u32,
    patience: &mut Patience<'_>,
) -> Result<Cut, TransferError> {
    let text = shown(text);
    let busy = matches!(status, 429 | 503);
    let gateway = matches!(status, 502 | 504);
    let advice = match status {
        404 => "is this really the data port of a device?",
        409 => "a ticket can be used once: start a new job",
        410 => {
            "the ticket is too old: start a new job, and compare the clocks of server and device"
        }
        403 => "the ticket is unknown there, or the device was restarted: start a new job",
        _ => "look into the log of the device",
    };
    if !gateway && !busy {
        *refusals += 1;
    }
    let final_word = matches!(status, 404 | 410) || *refusals >= REFUSALS_MAX;
    if final_word {
        return Err(TransferError::Refused { peer: line.peer(), status, text, advice });
    }
    if busy {
        patience.answered();
    }
    let why = format!("HTTP status {status}: {text}");
    Ok(Cut { why, moved: std::time::Instant::now(), stale: false })
}

impl Inner {
    /// One request, repeated under new numbers until it is answered.
    pub fn call(
        &self,
        verb: Verb,
        parts: Vec<Bytes>,
        reply_max: usize,
        expected: usize,
    ) -> Result<Bytes, SessionError> {
        if self.ended.load(Ordering::Acquire) {
            return Err(TransferError::Ended.into());
        }
        let repeated = self.handle.block_on(async {
            let repeated = self.repeat(verb, parts, reply_max, expected);
            // What ends a transfer is seen to its end: whether there is a saveset must be known.
            if matches!(verb, Verb::Commit | Verb::CommitCopy | Verb::Close | Verb::Abort) {
                return repeated.await;
            }
            tokio::select! {
                answer = repeated => answer,
                () = self.line.options.on_wait.unwanted() => Err(TransferError::Unwanted),
            }
        });
        if matches!(repeated, Err(TransferError::Unreachable { .. })) {
            self.lost.store(true, Ordering::Release);
        }
        Ok(Bytes::from(repeated?))
    }

    async fn repeat(
        &self,
        verb: Verb,
        parts: Vec<Bytes>,
        reply_max: usize,
        expected: usize,
    ) -> Result<Vec<u8>, TransferError> {
        let mut patience = Patience::new(&self.line);
        let mut refusals = 0;
        loop {
            let stall = patience.stall();
            let attempt = self.attempt(verb, parts.clone(), reply_max, expected, stall);
            let cut = match attempt.await? {
                Ok(Answer::Sealed(Ok(reply))) => return Ok(reply),
                Ok(Answer::Sealed(Err(error))) => return Err(TransferError::Peer(error)),
                Ok(Answer::Plain(status, text)) => {
                    refused(&self.line, status, &text, &mut refusals, &mut patience)?
                }
                Err(cut) => cut,
            };
            patience.after(cut).await?;
        }
    }

    async fn attempt(
        &self,
        verb: Verb,
        parts: Vec<Bytes>,
        reply_max: usize,
        expected: usize,
        stall: Duration,
    ) -> Result<Result<Answer, Cut>, TransferError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sealer = FrameSealer::new(self.keys.body_key(Way::ToDevice, verb, number)?);
        let key = self.keys.body_key(Way::ToClient, verb, number)?;
        let opener = FrameOpener::new(key, true, reply_max, expected);
        let body = OutBody::sealed(sealer, parts);
        Ok(self.line.exchange(verb, Some(number), body, Some(opener), stall).await)
    }
}

fn few(what: &str, count: usize, max: usize) -> Result<(), SessionError> {
    if count <= max {
        return Ok(());
    }
    Err(SessionError::new(
        Kind::Invalid,
        format!("{count} {what} in one request; {max} are allowed"),
    ))
}

impl BackupSession for HttpTransfer {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        let reply = self.inner.call(Verb::Terms, Vec::new(), 256, 64)?;
        Ok(messages::decode_terms(&reply)?)
    }

    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        few("names", names.len(), limits::NAMES_PER_REQUEST_MAX)?;
        let size = names.len().div_ceil(8);
        let reply = self.inner.call(Verb::Has, vec![messages::encode_names(names)], size, size)?;
        Ok(messages::decode_bits(&reply, names.len())?)
    }

    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        few("bytes of a segment", segment.len(), limits::SEGMENT_BYTES_MAX)?;
        let head = Bytes::copy_from_slice(&number.to_le_bytes());
        self.inner.call(Verb::Put, vec![head, segment], 0, 0).map(drop)
    }

    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        let draft = messages::encode_draft(draft)?;
        few("bytes of a manifest", draft.len(), limits::MANIFEST_BYTES_MAX)?;
        let reply = self.inner.call(Verb::Commit, vec![draft], 1024, 128)?;
        Ok(messages::decode_committed(&reply)?)
    }
}

impl CopySession for HttpTransfer {
    fn savesets(&self, savesets: &[SavesetId]) -> Result<Vec<bool>, SessionError> {
        few("savesets", savesets.len(), limits::NAMES_PER_REQUEST_MAX)?;
        let size = savesets.len().div_ceil(8);
        let ids = vec![messages::encode_ids(savesets)];
        let reply = self.inner.call(Verb::Savesets, ids, size, size)?;
        Ok(messages::decode_bits(&reply, savesets.len())?)
    }

    fn commit_copy(&self, manifest: Bytes, segments: u64) -> Result<CommitReply, SessionError> {
        few("bytes of a manifest", manifest.len(), limits::MANIFEST_BYTES_MAX)?;
        let head = Bytes::copy_from_slice(&segments.to_le_bytes());
        let reply = self.inner.call(Verb::CommitCopy, vec![head, manifest], 1024, 128)?;
        Ok(messages::decode_committed(&reply)?)
    }
}

impl RestoreSession for HttpTransfer {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        let id = Bytes::copy_from_slice(saveset.as_bytes());
        self.inner.call(Verb::Manifest, vec![id], limits::MANIFEST_BYTES_MAX, 4096)
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        few("names", names.len(), limits::NAMES_PER_REQUEST_MAX)?;
        let size = names.len().div_ceil(8) + names.len() * messages::PLACE_BYTES;
        let reply =
            self.inner.call(Verb::Locate, vec![messages::encode_names(names)], size, size)?;
        Ok(messages::decode_located(&reply, names.len())?)
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        few("places", places.len(), limits::PLACES_PER_REQUEST_MAX)?;
        let size = messages::segments_bytes_max(places);
        let reply =
            self.inner.call(Verb::Get, vec![messages::encode_places(places)], size, size)?;
        Ok(messages::decode_segments(reply, places)?)
    }
}
