//! Plain streams at the client's end: one writer or one reader over many requests, resumed by
//! offset.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::{Buf, Bytes};
use simsim_model::SessionError;

use super::transfer::{HttpTransfer, Inner};
use crate::Verb;
use crate::messages::{self, STREAM_PIECE_BYTES_MAX};

/// Sends one plain stream. Only [`StreamWriter::finish`] makes it whole: dropped before, the
/// device sees a stream that broke off.
pub struct StreamWriter {
    inner: Arc<Inner>,
    offset: u64,
    piece: Vec<u8>,
}

/// Reads one plain stream from an offset on.
pub struct StreamReader {
    inner: Arc<Inner>,
    offset: u64,
    piece: Bytes,
    ended: bool,
}

impl HttpTransfer {
    /// Starts the transfer's plain stream. A transfer has one.
    pub fn stream_put(&self) -> StreamWriter {
        StreamWriter { inner: self.inner(), offset: 0, piece: Vec::new() }
    }

    /// Reads the transfer's plain stream from this offset on.
    pub fn stream_get(&self, offset: u64) -> StreamReader {
        StreamReader { inner: self.inner(), offset, piece: Bytes::new(), ended: false }
    }
}

impl StreamWriter {
    fn send(&mut self, last: bool) -> Result<u64, SessionError> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let end = self.offset + piece.len() as u64;
        let head = messages::encode_stream_head(self.offset, last);
        let reply = self.inner.call(Verb::StreamPut, vec![head, piece], 8, 8)?;
        let acknowledged = messages::decode_u64("stream-put", &reply)?;
        self.offset = end;
        Ok(acknowledged)
    }

    /// Ends the stream; returns its length once the device has all of it.
    pub fn finish(mut self) -> Result<u64, SessionError> {
        self.send(true)
    }
}

impl Write for StreamWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= STREAM_PIECE_BYTES_MAX {
            self.send(false).map_err(io::Error::other)?;
        }
        let now = bytes.len().min(STREAM_PIECE_BYTES_MAX - self.piece.len());
        self.piece.extend_from_slice(bytes.get(..now).unwrap_or_default());
        Ok(now)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.send(false).map(drop).map_err(io::Error::other)
    }
}

impl Read for StreamReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !self.ended && !into.is_empty() {
            let mut ask = self.offset.to_le_bytes().to_vec();
            ask.extend_from_slice(&(STREAM_PIECE_BYTES_MAX as u32).to_le_bytes());
            self.piece = self
                .inner
                .call(
                    Verb::StreamGet,
                    vec![ask.into()],
                    STREAM_PIECE_BYTES_MAX,
                    STREAM_PIECE_BYTES_MAX,
                )
                .map_err(io::Error::other)?;
            self.ended = self.piece.len() < STREAM_PIECE_BYTES_MAX;
            self.offset += self.piece.len() as u64;
        }
        let now = self.piece.len().min(into.len());
        self.piece.copy_to_slice(into.get_mut(..now).unwrap_or_default());
        Ok(now)
    }
}
