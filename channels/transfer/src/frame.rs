//! Bodies as rows of sealed frames.
//!
//! `number u32 | length u32 | type u8 | sealed`, little-endian; `sealed` is AES-256-GCM ciphertext
//! and tag (`length` bytes), the nine bytes before it are authenticated too. The final frame's
//! plaintext ends with the body's size in bytes (u64), so that nothing can be cut off or added.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use bytes::{Buf, Bytes};
use simsim_model::{Kind, SessionError, limits};
use std::collections::VecDeque;

use crate::TransferError;

/// Bytes before the sealed part of a frame.
pub const HEADER_BYTES: usize = 9;
/// Bytes of the tag that ends the sealed part.
pub const TAG_BYTES: usize = 16;
/// Plaintext that one frame carries when there is that much.
pub const PAYLOAD_BYTES: usize = 256 * 1024;
/// Plaintext that the first frame of a body carries: enough to prove that the body is genuine, before
/// anybody makes room for the rest.
pub const FIRST_PAYLOAD_BYTES: usize = 4 * 1024;
/// The sealed part that the first frame of a request may have at most.
pub const FIRST_SEALED_BYTES_MAX: usize = 16 * 1024;
/// The size at the end of a final frame.
const COUNT_BYTES: usize = 8;
/// Text of an error, cut to this length.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// A piece of the body, never empty.
    Data = 1,
    /// The last piece, possibly empty, and the body's size.
    Final = 2,
    /// Only in replies: "still at work".
    Wait = 3,
    /// Only in replies, and last: one byte of `Kind` (its place in `Kind::ALL`), then the text.
    Error = 4,
}

/// Seals one body, front to back.
pub struct FrameSealer {
    key: LessSafeKey,
    number: u32,
    counted: u64,
}

impl FrameSealer {
    pub fn new(key: LessSafeKey) -> Self {
        Self { key, number: 0, counted: 0 }
    }

    /// Bytes on the wire of a body of `plain` bytes sealed by [`Self::next_of`].
    pub fn wire_bytes(plain: usize) -> u64 {
        let frames = 1 + plain.saturating_sub(FIRST_PAYLOAD_BYTES).div_ceil(PAYLOAD_BYTES);
        (plain + frames * (HEADER_BYTES + TAG_BYTES) + COUNT_BYTES) as u64
    }

    /// Seals the next frame of a body whose rest is `parts`: up to [`PAYLOAD_BYTES`] of them, of the
    /// first frame [`FIRST_PAYLOAD_BYTES`]. The frame that takes the last byte is the final one if
    /// `ends`.
    pub fn next_of(
        &mut self,
        parts: &mut VecDeque<Bytes>,
        ends: bool,
    ) -> Result<Bytes, TransferError> {
        let left: usize = parts.iter().map(Bytes::len).sum();
        let take = left.min(if self.number == 0 { FIRST_PAYLOAD_BYTES } else { PAYLOAD_BYTES });
        let last = ends && take == left;
        let mut frame = self.start(take + if last { COUNT_BYTES } else { 0 });
        let mut missing = take;
        while missing > 0 {
            let Some(part) = parts.front_mut() else { break };
            let now = part.len().min(missing);
            frame.extend_from_slice(part.get(..now).unwrap_or_default());
            part.advance(now);
            missing -= now;
            if part.is_empty() {
                parts.pop_front();
            }
        }
        self.counted += take as u64;
        if !last {
            return self.finish(frame, FrameType::Data);
        }
        parts.clear();
        frame.extend_from_slice(&self.counted.to_le_bytes());
        self.finish(frame, FrameType::Final)
    }

    /// A frame that says "still at work".
    pub fn wait(&mut self) -> Result<Bytes, TransferError> {
        let frame = self.start(0);
        self.finish(frame, FrameType::Wait)
    }

    /// The last frame of a reply that failed.
    pub fn error(&mut self, error: &SessionError) -> Result<Bytes, TransferError> {
        let mut end = error.message.len().min(MESSAGE_BYTES_MAX);
        while !error.message.is_char_boundary(end) {
            end -= 1;
        }
        let mut frame = self.start(1 + end);
        let place = Kind::ALL.iter().position(|kind| *kind == error.kind).unwrap_or_default();
        frame.push(place as u8);
        frame.extend_from_slice(error.message.get(..end).unwrap_or_default().as_bytes());
        self.finish(frame, FrameType::Error)
    }

    fn start(&self, plain: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEADER_BYTES + plain + TAG_BYTES);
        frame.resize(HEADER_BYTES, 0);
        frame
    }

    fn finish(&mut self, mut frame: Vec<u8>, kind: FrameType) -> Result<Bytes, TransferError> {
        let length = frame.len() - HEADER_BYTES + TAG_BYTES;
        let header = header(self.number, length as u32, kind as u8);
        let (front, plain) =
            frame.split_at_mut_checked(HEADER_BYTES).ok_or(TransferError::Cipher)?;
        front.copy_from_slice(&header);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(self.number), Aad::from(header), plain)
            .map_err(|_| TransferError::Cipher)?;
        frame.extend_from_slice(tag.as_ref());
        // A body has at most 20 MiB, so this cannot be reached; a nonce must never come twice.
        self.number = self.number.checked_add(1).ok_or(TransferError::Cipher)?;
        Ok(Bytes::from(frame))
    }
}

fn header(number: u32, length: u32, kind: u8) -> [u8; HEADER_BYTES] {
    let mut header = [kind; HEADER_BYTES];
    header[..4].copy_from_slice(&number.to_le_bytes());
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header
}

fn nonce(number: u32) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// How a body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEnd {
    Whole,
    Error(SessionError),
}

/// Opens one body piece by piece as it comes from the network, into one buffer.
pub struct FrameOpener {
    key: LessSafeKey,
    /// Is it a reply, in which wait and error frames may stand?
    reply: bool,
    plain: Vec<u8>,
    plain_max: usize,
    number: u32,
    header: [u8; HEADER_BYTES],
    header_have: usize,
    /// Bytes of the sealed part that are still to come, after a whole header.
    missing: usize,
    end: Option<BodyEnd>,
}

impl FrameOpener {
    /// `plain_max`: bytes that the body may have; `expected`: bytes to make room for at once.
    pub fn new(key: LessSafeKey, reply: bool, plain_max: usize, expected: usize) -> Self {
        let room = expected.min(plain_max) + TAG_BYTES + COUNT_BYTES;
        Self {
            key,
            reply,
            plain: Vec::with_capacity(room),
            plain_max,
            number: 0,
            header: [0; HEADER_BYTES],
            header_have: 0,
            missing: 0,
            end: None,
        }
    }

    /// Makes room for a body of so many bytes, now that its first frame was genuine.
    pub fn expect(&mut self, bytes: usize) {
        let room = bytes.min(self.plain_max) + TAG_BYTES + COUNT_BYTES;
        self.plain.reserve(room.saturating_sub(self.plain.len()));
    }

    /// Frames that were whole and genuine so far.
    pub fn frames(&self) -> u32 {
        self.number
    }

    /// Takes bytes as they come, cut anywhere.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TransferError> {
        while !bytes.is_empty() {
            if self.end.is_some() {
                return Err(TransferError::TrailingBytes);
            }
            if self.header_have < HEADER_BYTES {
                let now = bytes.len().min(HEADER_BYTES - self.header_have);
                let (head, rest) = bytes.split_at(now);
                for (to, from) in self.header.iter_mut().skip(self.header_have).zip(head) {
                    *to = *from;
                }
                self.header_have += now;
                bytes = rest;
                if self.header_have == HEADER_BYTES {
                    self.missing = self.check_header()?;
                    self.plain.reserve(self.missing);
                }
                continue;
            }
            let now = bytes.len().min(self.missing);
            let (sealed, rest) = bytes.split_at(now);
            self.plain.extend_from_slice(sealed);
            self.missing -= now;
            bytes = rest;
            if self.missing == 0 {
                self.open_frame()?;
            }
        }
        Ok(())
    }

    /// The body, once all its bytes were fed.
    pub fn finish(self) -> Result<Vec<u8>, TransferError> {
        match self.end {
            Some(BodyEnd::Whole) => Ok(self.plain),
            Some(BodyEnd::Error(error)) => Err(TransferError::Peer(error)),
            None => Err(TransferError::BodyTruncated { frames: self.number }),
        }
    }

    pub fn is_ended(&self) -> bool {
        self.end.is_some()
    }

    fn fields(&self) -> (u32, u32, u8) {
        let [a, b, c, d, e, f, g, h, kind] = self.header;
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]), kind)
    }

    fn check_header(&self) -> Result<usize, TransferError> {
        let (number, length, kind) = self.fields();
        if number != self.number {
            return Err(TransferError::FrameOrder { expected: self.number, found: number });
        }
        let (least, most) = match kind {
            1 => (1, limits::FRAME_BYTES_MAX),
            2 => (COUNT_BYTES, limits::FRAME_BYTES_MAX),
            3 if self.reply => (0, HEADER_BYTES + TAG_BYTES),
            4 if self.reply => (1, HEADER_BYTES + TAG_BYTES + 1 + MESSAGE_BYTES_MAX),
            found => return Err(TransferError::FrameType { number, found }),
        };
        let max = match (self.reply, self.number) {
            (false, 0) => FIRST_SEALED_BYTES_MAX,
            _ => most - HEADER_BYTES,
        };
        let size = length as usize;
        if size < least + TAG_BYTES || size > max {
            return Err(TransferError::FrameLength { number, length, max: max as u32 });
        }
        let payload = size - TAG_BYTES - if kind == 2 { COUNT_BYTES } else { 0 };
        if kind <= 2 && self.plain.len() + payload > self.plain_max {
            return Err(TransferError::BodyTooLarge { max: self.plain_max });
        }
        Ok(size)
    }

    fn open_frame(&mut self) -> Result<(), TransferError> {
        let (number, length, kind) = self.fields();
        let start = self.plain.len().saturating_sub(length as usize);
        let sealed = self.plain.get_mut(start..).ok_or(TransferError::FrameDamaged { number })?;
        let opened = self
            .key
            .open_in_place(nonce(number), Aad::from(self.header), sealed)
            .map_err(|_| TransferError::FrameDamaged { number })?
            .len();
        self.plain.truncate(start + opened);
        self.number = number.checked_add(1).ok_or(TransferError::FrameDamaged { number })?;
        self.header_have = 0;
        match kind {
            2 => {
                let found = self.plain.len().saturating_sub(COUNT_BYTES);
                let count = self.plain.get(found..).and_then(|tail| tail.try_into().ok());
                let counted = u64::from_le_bytes(count.unwrap_or_default());
                self.plain.truncate(found);
                if counted != found as u64 {
                    return Err(TransferError::BodyCount { counted, found: found as u64 });
                }
                self.end = Some(BodyEnd::Whole);
            }
            4 => {
                let (place, text) =
                    self.plain.get(start..).and_then(<[u8]>::split_first).unwrap_or((&8, &[]));
                let kind = Kind::ALL.get(usize::from(*place)).copied().unwrap_or(Kind::Internal);
                let text = String::from_utf8_lossy(text).into_owned();
                self.end = Some(BodyEnd::Error(SessionError::new(kind, text)));
            }
            _ => {}
        }
        Ok(())
    }
}
