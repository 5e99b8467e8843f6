//! Bodies on their way out: plain text, a sealed body of known size, or a sealed reply that is
//! still being made.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use simsim_model::{Kind, SessionError};
use tokio::sync::mpsc;
use tokio::time::Interval;

use super::answer::Room;
use super::held::Held;
use crate::TransferError;
use crate::frame::FrameSealer;
use crate::throttle::GaveUp;

/// A piece of a reply, as the work on a verb gives it.
pub(crate) enum Piece {
    More(Vec<Bytes>),
    Last(Vec<Bytes>),
    Failed(SessionError),
}

pub(crate) enum OutBody {
    Plain(Option<Bytes>),
    Sealed(Sealed),
    Growing(Box<Growing>),
    Raw(Raw),
    Slow(Box<Slow>),
    Kept(Box<Kept>),
}

/// A body that is all there; frames are sealed as the connection takes them.
pub(crate) struct Sealed {
    sealer: FrameSealer,
    parts: VecDeque<Bytes>,
    wire_left: u64,
    ended: bool,
}

/// Plain bytes of known length, read ahead by somebody else.
pub(crate) struct Raw {
    pieces: mpsc::Receiver<Result<Bytes, TransferError>>,
    left: u64,
}

/// Any of the others, with the memory that it takes until it is sent.
pub(crate) struct Kept {
    inner: OutBody,
    _room: Room,
}

/// Any of the others, piece by piece as the rate limits allow.
pub(crate) struct Slow {
    inner: OutBody,
    /// Of the frame that is on its way.
    rest: Bytes,
    /// With the piece that goes when it is over.
    wait: Option<(Waiting, Bytes)>,
    /// Away while somebody waits with it.
    held: Option<Held>,
}

type Waiting = Pin<Box<dyn Future<Output = (Held, Result<(), GaveUp>)> + Send>>;

/// A reply whose pieces come later. While none comes it says every `wait` that it lives.
pub(crate) struct Growing {
    sealer: FrameSealer,
    parts: VecDeque<Bytes>,
    pieces: mpsc::Receiver<Piece>,
    wait: Interval,
    last: bool,
    ended: bool,
}

impl OutBody {
    pub fn plain(text: impl Into<Bytes>) -> Self {
        OutBody::Plain(Some(text.into()))
    }

    pub fn sealed(sealer: FrameSealer, parts: Vec<Bytes>) -> Self {
        let plain = parts.iter().map(Bytes::len).sum();
        OutBody::Sealed(Sealed {
            sealer,
            parts: parts.into(),
            wire_left: FrameSealer::wire_bytes(plain),
            ended: false,
        })
    }

    /// A body of one error frame.
    pub fn failed(mut sealer: FrameSealer, error: &SessionError) -> Result<Self, TransferError> {
        Ok(OutBody::Plain(Some(sealer.error(error)?)))
    }

    /// Plain bytes; a body that comes out shorter breaks the connection.
    pub fn raw(pieces: mpsc::Receiver<Result<Bytes, TransferError>>, length: u64) -> Self {
        OutBody::Raw(Raw { pieces, left: length })
    }

    /// This body, which gives memory back when it was sent.
    pub fn keeping(self, room: Room) -> Self {
        OutBody::Kept(Box::new(Kept { inner: self, _room: room }))
    }

    /// This body, as fast as the limits let it.
    pub fn held(self, held: Held) -> Self {
        OutBody::Slow(Box::new(Slow {
            inner: self,
            rest: Bytes::new(),
            wait: None,
            held: Some(held),
        }))
    }

    pub fn growing(
        sealer: FrameSealer,
        first: Vec<Bytes>,
        pieces: mpsc::Receiver<Piece>,
        wait: Duration,
    ) -> Self {
        let mut wait = tokio::time::interval(wait);
        wait.reset();
        OutBody::Growing(Box::new(Growing {
            sealer,
            parts: first.into(),
            pieces,
            wait,
            last: false,
            ended: false,
        }))
    }
}

impl Sealed {
    fn next(&mut self) -> Option<Result<Bytes, TransferError>> {
        if self.ended {
            return None;
        }
        let frame = self.sealer.next_of(&mut self.parts, true);
        self.ended = self.parts.is_empty() || frame.is_err();
        if let Ok(frame) = &frame {
            self.wire_left = self.wire_left.saturating_sub(frame.len() as u64);
        }
        Some(frame)
    }
}

impl Raw {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransferError>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(cx));
        let piece = piece.unwrap_or_else(|| Err(TransferError::Raw("its reader ended".into())));
        match &piece {
            Ok(piece) => self.left = self.left.saturating_sub(piece.len() as u64),
            Err(_) => self.left = 0,
        }
        Poll::Ready(Some(piece))
    }
}

impl Slow {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransferError>>> {
        loop {
            if let Some((waiting, _)) = &mut self.wait {
                let (held, waited) = ready!(waiting.as_mut().poll(cx));
                self.held = Some(held);
                let piece = self.wait.take().map(|(_, piece)| piece).unwrap_or_default();
                return Poll::Ready(Some(waited.map(|()| piece).map_err(|_| TransferError::Ended)));
            }
            if self.rest.is_empty() {
                match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                    Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                }
                continue;
            }
            let Some(bytes) = self.held.as_ref().and_then(Held::piece_bytes) else {
                return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
            };
            let Some(mut held) = self.held.take() else { return Poll::Ready(None) };
            let bytes = bytes.min(self.rest.len());
            let piece = self.rest.split_to(bytes);
            let waiting = Box::pin(async move {
                let waited = held.wait(bytes).await;
                (held, waited)
            });
            self.wait = Some((waiting, piece));
        }
    }
}

impl Growing {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, TransferError>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if self.last || !self.parts.is_empty() {
                let frame = self.sealer.next_of(&mut self.parts, self.last);
                self.ended = self.last && self.parts.is_empty() || frame.is_err();
                self.wait.reset();
                return Poll::Ready(Some(frame));
            }
            if self.wait.poll_tick(cx).is_ready() {
                return Poll::Ready(Some(self.sealer.wait()));
            }
            let failed = match ready!(self.pieces.poll_recv(cx)) {
                Some(Piece::More(parts)) => {
                    self.parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
                    continue;
                }
                Some(Piece::Last(parts)) => {
                    self.parts = parts.into();
                    self.last = true;
                    continue;
                }
                Some(Piece::Failed(error)) => error,
                None => work_lost(),
            };
            self.ended = true;
            return Poll::Ready(Some(self.sealer.error(&failed)));
        }
    }
}

/// The work on a verb ended without a word: it panicked.
pub(crate) fn work_lost() -> SessionError {
    SessionError::new(
        Kind::Internal,
        "the device failed while it worked on this request; its log says why",
    )
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = TransferError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransferError>>> {
        let next = match self.get_mut() {
            OutBody::Plain(text) => text.take().map(Ok),
            OutBody::Sealed(sealed) => sealed.next(),
            OutBody::Growing(growing) => ready!(growing.poll_next(cx)),
            OutBody::Raw(raw) => ready!(raw.poll_next(cx)),
            OutBody::Slow(slow) => ready!(slow.poll_next(cx)),
            OutBody::Kept(kept) => return Pin::new(&mut kept.inner).poll_frame(cx),
        };
        Poll::Ready(next.map(|frame| frame.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            OutBody::Plain(text) => text.as_ref().is_none_or(Bytes::is_empty),
            OutBody::Sealed(sealed) => sealed.ended,
            OutBody::Growing(growing) => growing.ended,
            OutBody::Raw(raw) => raw.left == 0,
            OutBody::Slow(slow) => {
                slow.wait.is_none() && slow.rest.is_empty() && slow.inner.is_end_stream()
            }
            OutBody::Kept(kept) => kept.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            OutBody::Plain(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64)
            }
            OutBody::Sealed(sealed) => SizeHint::with_exact(sealed.wire_left),
            OutBody::Growing(_) => SizeHint::default(),
            OutBody::Raw(raw) => SizeHint::with_exact(raw.left),
            OutBody::Slow(slow) => slow.inner.size_hint(),
            OutBody::Kept(kept) => kept.inner.size_hint(),
        }
    }
}
