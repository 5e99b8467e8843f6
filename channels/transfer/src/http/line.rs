//! The client's connections: a small pool of kept ones, each watched for silence.
//!
//! A connection is driven by the thread that waits for its answer, so that a request costs no
//! hand-over to another thread.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use simsim_model::{SessionError, Ticket, TransferId, limits};
use simsim_net::BoxedWire;
use tokio::sync::Semaphore;

use super::body::OutBody;
use super::route::{Route, Verdict};
use super::transfer::DialOptions;
use super::watch::{Moved, Watched};
use super::{FRAMES, REQUEST_HEADER};
use crate::frame::FrameOpener;
use crate::messages::UnderWay;
use crate::verb::path;
use crate::{TransferError, Verb};

/// Plain text of a refusal, cut to this length.
const PLAIN_BYTES_MAX: usize = 1024;
/// Tries of one request with a peer that lives but never lets it through: two minutes of them.
const TRIES_MAX: u32 = 64;
/// A kept connection that idled longer is not used again: the device is about to close it.
const KEPT_MAX: Duration = Duration::from_millis(limits::HEARTBEAT_INTERVAL_MS);

type Connection = http1::Connection<TokioIo<Watched<BoxedWire>>, OutBody>;

struct Link {
    send: http1::SendRequest<OutBody>,
    connection: Pin<Box<Connection>>,
    moved: Arc<Moved>,
    kept_since: Instant,
    /// Its route's place in the list.
    route: usize,
}

/// What came back.
pub(crate) enum Answer {
    Sealed(Result<Vec<u8>, SessionError>),
    Plain(u16, Vec<u8>),
}

/// Why nothing came back.
pub(crate) struct Cut {
    pub why: String,
    /// When a byte last moved on that connection.
    pub moved: Instant,
    /// The connection was a kept one and the peer had closed it: not a sign of trouble.
    pub stale: bool,
}

pub(crate) struct Line {
    routes: Vec<Route>,
    /// The route that answered last, or that comes next after one that did not: tried first.
    first: AtomicUsize,
    pub transfer: TransferId,
    pub options: DialOptions,
    pool: Mutex<Vec<Link>>,
    permits: Semaphore,
    /// Requests on their way: how many bytes the device has said it received, and the clock to
    /// mark when there are more.
    under_way: Mutex<HashMap<u64, (u64, Arc<Moved>)>>,
    /// When the device last proved that it lives.
    pub heard: Arc<Moved>,
    verdict: Verdict,
}

impl Line {
    pub fn new(routes: Vec<Route>, ticket: &Ticket, options: DialOptions) -> Self {
        let verdict = Verdict::default();
        let of = |route: Route| route.of(ticket, &options.on_wait, &verdict);
        let routes = routes.into_iter().map(of).collect();
        let permits = Semaphore::new(options.connections.clamp(1, 16));
        Self {
            routes,
            first: AtomicUsize::new(0),
            transfer: ticket.transfer,
            options,
            pool: Mutex::default(),
            permits,
            under_way: Mutex::default(),
            heard: Moved::now(),
            verdict,
        }
    }

    pub fn peer(&self) -> String {
        let routes: Vec<String> = self.routes.iter().map(Route::to_string).collect();
        routes.join(" or ")
    }

    /// Sends one request and reads its answer. `opener` reads a sealed one. Given up when no byte
    /// has moved for `stall`.
    pub async fn exchange(
        &self,
        verb: Verb,
        number: Option<u64>,
        body: OutBody,
        opener: Option<FrameOpener>,
        stall: Duration,
    ) -> Result<Answer, Cut> {
        // A ping never waits: it tells a slow line from a dead one while all others are at work.
        let _permit = match verb {
            Verb::Ping => None,
            _ => Some(self.permits.acquire().await),
        };
        let begun = Instant::now();
        let kept = self.take_kept();
        let reused = kept.is_some();
        let mut link = match kept {
            Some(link) => link,
            None => {
                self.dial(stall).await.map_err(|why| Cut { why, moved: begun, stale: false })?
            }
        };
        link.moved.mark();
        let _entry = number.map(|number| Entry::new(self, number, &link.moved));
        let request = self.request(verb, number, body);
        let exchange = request.map_err(|error| error.to_string());
        let answered = match exchange {
            Ok(request) => {
                let work = answer(&mut link.send, request, opener, &self.heard);
                drive(&mut link.connection, &link.moved, stall, work).await
            }
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => {
                if self.first.swap(link.route, Ordering::Relaxed) != link.route
                    && let Some(route) = self.routes.get(link.route)
                {
                    tracing::info!(scheme = route.scheme(), to = %route, "the data goes this way");
                }
                self.keep(link);
                Ok(answer)
            }
            Err(why) => {
                if !reused {
                    // It connected and did not answer: the next try is another way's.
                    let next = (link.route + 1) % self.routes.len().max(1);
                    self.first.store(next, Ordering::Relaxed);
                }
                let moved = link.moved.last();
                Err(Cut { why, moved, stale: reused && moved.elapsed() < Duration::from_secs(1) })
            }
        }
    }

    fn request(
        &self,
        verb: Verb,
        number: Option<u64>,
        body: OutBody,
    ) -> Result<Request<OutBody>, hyper::http::Error> {
        let route = self.routes.get(self.first.load(Ordering::Relaxed));
        let address = route.and_then(|route| route.addresses().first());
        let host = address.map_or("device", String::as_str);
        let mut request = Request::post(path(&self.transfer, verb))
            .header(HOST, host)
            .header(CONTENT_TYPE, FRAMES);
        if let Some(number) = number {
            request = request.header(REQUEST_HEADER, number);
        }
        request.body(body)
    }

    /// What a ping told: bytes that the device has received of requests still on their way, and which
    /// of them it holds back on purpose.
    pub fn received(&self, told: &[UnderWay]) {
        let mut under_way = self.under_way.lock();
        for one in told {
            if let Some((known, moved)) =
                under_way.get_mut(&one.number).filter(|(known, _)| one.held || *known < one.bytes)
            {
                *known = one.bytes;
                moved.mark();
            }
        }
    }

    /// Whether a request on its way has not moved for so long.
    pub fn stands_still(&self, since: Duration) -> bool {
        self.under_way.lock().values().any(|(_, moved)| moved.last().elapsed() >= since)
    }

    fn take_kept(&self) -> Option<Link> {
        let mut pool = self.pool.lock();
        pool.retain(|link| link.kept_since.elapsed() < KEPT_MAX && !link.send.is_closed());
        pool.pop()
    }

    fn keep(&self, mut link: Link) {
        link.kept_since = Instant::now();
        self.pool.lock().push(link);
    }

    /// Closes what is kept.
    pub fn hang_up(&self) {
        self.pool.lock().clear();
        self.routes.iter().for_each(Route::hang_up);
    }

    async fn dial(&self, within: Duration) -> Result<Link, String> {
        let (wire, route) = self.wire(within).await?;
        let moved = Moved::now();
        let io = TokioIo::new(Watched::new(wire, Arc::clone(&moved)));
        let (send, connection) = http1::Builder::new()
            .max_headers(limits::HTTP_FIELDS_MAX)
            .max_header_size(limits::HTTP_HEAD_BYTES_MAX)
            .handshake(io)
            .await
            .map_err(|error| error.to_string())?;
        let kept_since = Instant::now();
        Ok(Link { send, connection: Box::pin(connection), moved, kept_since, route })
    }
}

impl Line {
    /// A wire by the route that comes first now, else by the others in their order. The error says
    /// of each what happened; the next call begins with those that there was no time for.
    async fn wire(&self, within: Duration) -> Result<(BoxedWire, usize), String> {
        let until = Instant::now() + within;
        let (first, count) = (self.first.load(Ordering::Relaxed), self.routes.len());
        let mut told = Vec::new();
        for step in 0..count {
            let index = (first + step) % count;
            let Some(route) = self.routes.get(index) else { continue };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.first.store(index, Ordering::Relaxed);
                break;
            }
            match route.dial(self.options.connect_timeout.min(left)).await {
                Ok(wire) => return Ok((wire, index)),
                Err(why) => told.push(why),
            }
        }
        if told.is_empty() {
            told.push("there is no address of the device to connect to".to_owned());
        }
        Err(told.join("; "))
    }
}

/// A request on its way, in the line's book for as long as it is.
struct Entry<'l> {
    line: &'l Line,
    number: u64,
}

impl<'l> Entry<'l> {
    fn new(line: &'l Line, number: u64, moved: &Arc<Moved>) -> Self {
        line.under_way.lock().insert(number, (0, Arc::clone(moved)));
        Self { line, number }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.line.under_way.lock().remove(&self.number);
    }
}

async fn answer(
    send: &mut http1::SendRequest<OutBody>,
    request: Request<OutBody>,
    opener: Option<FrameOpener>,
    heard: &Moved,
) -> Result<Answer, String> {
    let told = |error: hyper::Error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    send.ready().await.map_err(told)?;
    let reply = send.send_request(request).await.map_err(told)?;
    let status = reply.status().as_u16();
    let frames = reply.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == FRAMES);
    let mut body = reply.into_body();
    let Some(mut opener) = opener.filter(|_| frames) else {
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(told)?;
            let room = PLAIN_BYTES_MAX - text.len();
            text.extend(frame.data_ref().map(Bytes::as_ref).unwrap_or_default().iter().take(room));
        }
        return Ok(Answer::Plain(status, text));
    };
    let mut frames_seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(told)?;
        let bytes = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
        opener.feed(bytes).map_err(|error| format!("damaged reply: {error}"))?;
        if opener.frames() > frames_seen {
            frames_seen = opener.frames();
            heard.mark();
        }
    }
    match opener.finish() {
        Ok(plain) => Ok(Answer::Sealed(Ok(plain))),
        Err(TransferError::Peer(error)) => Ok(Answer::Sealed(Err(error))),
        Err(error) => Err(format!("damaged reply: {error}")),
    }
}

/// Drives a connection until `work` is done or no byte has moved for `stall`.
async fn drive<T>(
    connection: &mut Pin<Box<Connection>>,
    moved: &Moved,
    stall: Duration,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let mut work = pin!(work);
    let mut tick = tokio::time::interval((stall / 8).max(Duration::from_millis(5)));
    let mut open = true;
    poll_fn(|cx| {
        if open && connection.as_mut().poll(cx).is_ready() {
            open = false;
        }
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        while tick.poll_tick(cx).is_ready() {
            let silent = moved.last().elapsed();
            if silent >= stall {
                let text = format!("connected, but no byte moved for {} ms", silent.as_millis());
                return Poll::Ready(Err(text));
            }
        }
        Poll::Pending
    })
    .await
}

/// Patience with a peer: repeats until it has been silent for too long.
pub(crate) struct Patience<'l> {
    line: &'l Line,
    silent_since: Option<Instant>,
    tries: u32,
}

impl<'l> Patience<'l> {
    pub fn new(line: &'l Line) -> Self {
        Self { line, silent_since: None, tries: 0 }
    }

    /// How long the next try may stand still: no longer than what is left of the patience, so that
    /// a dead peer is noticed in time and not one try later.
    pub fn stall(&self) -> Duration {
        let options = &self.line.options;
        let Some(since) = self.silent_since else { return options.stall_timeout };
        let silent = since.max(self.line.heard.last()).elapsed();
        let left = options.dead_peer.saturating_sub(silent);
        options.stall_timeout.min(left.max(options.dead_peer / 30))
    }

    /// The peer answered, only not what was asked for.
    pub fn answered(&mut self) {
        self.silent_since = Some(Instant::now());
    }

    /// Waits before the next try, or gives up.
    pub async fn after(&mut self, cut: Cut) -> Result<(), TransferError> {
        if self.line.options.on_wait.given_up() {
            return Err(TransferError::Ended);
        }
        if let Some(text) = self.line.verdict.get() {
            let peer = self.line.peer();
            return Err(TransferError::Login { peer, text: text.to_owned() });
        }
        let since = *self.silent_since.get_or_insert(cut.moved);
        let silent = since.max(self.line.heard.last()).elapsed();
        let dead = self.line.options.dead_peer;
        if silent >= dead || self.tries >= TRIES_MAX {
            return Err(TransferError::Unreachable {
                peer: self.line.peer(),
                silent_s: silent.as_secs(),
                last: cut.why,
            });
        }
        tracing::debug!(peer = %self.line.peer(), why = %cut.why, "request is repeated");
        if cut.stale && self.tries == 0 {
            self.tries = 1;
            return Ok(());
        }
        // 4, 8, … 2048 ms, with a random half so that many clients do not come at once.
        let most = 4u64 << self.tries.min(9);
        self.tries += 1;
        let mut random = [0; 1];
        let _ = aws_lc_rs::rand::fill(&mut random);
        let pause = most / 2 + most / 2 * u64::from(random[0]) / 255;
        tokio::time::sleep(Duration::from_millis(pause).min(dead - silent)).await;
        Ok(())
    }
}
