//! Frames: a length of four bytes, big endian, and so many bytes.
//!
//! The length is checked before anything is allocated for it, and memory grows with what has
//! really arrived.

use std::io;
use std::time::Duration;

use simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize, Zeroizing};

/// Memory is claimed in steps of this size while a frame arrives.
const STEP_BYTES: usize = 64 * 1024;

/// Why no frame came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection was cut in the middle of a message")]
    Cut,
    #[error("a message of {bytes} bytes was announced, the limit is {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("silent for {} s", .0.as_secs_f32())]
    Silent(Duration),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Puts the length before an encoded message. `None` when it is longer than a peer accepts.
pub(crate) fn frame(mut message: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let length = match u32::try_from(message.len()) {
        Ok(length) if message.len() <= CONTROL_MESSAGE_BYTES_MAX => length,
        _ => {
            message.zeroize();
            return None;
        }
    };
    let mut framed = Zeroizing::new(Vec::with_capacity(message.len() + 4));
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    message.zeroize();
    Some(framed)
}

/// Reads frames. A call to [`FrameReader::next`] may be dropped and made again: nothing is lost.
#[derive(Debug)]
pub(crate) struct FrameReader {
    /// Bytes of one frame at most, without its length.
    max: usize,
    /// When bytes last arrived.
    heard: Instant,
    head: [u8; 4],
    head_len: usize,
    body: Zeroizing<Vec<u8>>,
    body_len: usize,
}

impl FrameReader {
    /// A reader that takes no frame of more than `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            heard: Instant::now(),
            head: [0; 4],
            head_len: 0,
            body: Zeroizing::default(),
            body_len: 0,
        }
    }

    /// As [`FrameReader::next`], and fails when no byte arrived for `limit`. A large message on a
    /// slow line may take longer.
    pub(crate) async fn next_within<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
        limit: Duration,
    ) -> Result<Zeroizing<Vec<u8>>, FrameError> {
        loop {
            let deadline = self.heard + limit;
            match timeout_at(deadline, self.next(from)).await {
                Ok(frame) => return frame,
                Err(_) if self.heard + limit > deadline => {}
                Err(_) => return Err(FrameError::Silent(limit)),
            }
        }
    }

    /// The next frame's bytes, wiped when dropped.
    pub(crate) async fn next<R: AsyncRead + Unpin>(
        &mut self,
        from: &mut R,
    ) -> Result<Zeroizing<Vec<u8>>, FrameError> {
        while self.head_len < self.head.len() {
            let Some(rest) = self.head.get_mut(self.head_len..) else { break };
            match from.read(rest).await? {
                0 if self.head_len == 0 => return Err(FrameError::Closed),
                0 => return Err(FrameError::Cut),
                read => self.head_len += read,
            }
            self.heard = Instant::now();
        }
        let length = u32::from_be_bytes(self.head) as usize;
        if length > self.max {
            return Err(FrameError::TooLarge { bytes: length, max: self.max });
        }
        while self.body_len < length {
            if self.body.len() == self.body_len {
                let step = STEP_BYTES.min(length - self.body_len);
                self.body.resize(self.body_len + step, 0);
            }
            let Some(rest) = self.body.get_mut(self.body_len..) else { break };
            match from.read(rest).await? {
                0 => return Err(FrameError::Cut),
                read => self.body_len += read,
            }
            self.heard = Instant::now();
        }
        self.head_len = 0;
        self.body_len = 0;
        Ok(std::mem::take(&mut self.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn frames_of_every_edge_size_pass_and_one_byte_more_does_not() {
        for size in [0, 1, 3, STEP_BYTES, STEP_BYTES + 1, CONTROL_MESSAGE_BYTES_MAX] {
            let message: Vec<u8> = (0..size).map(|n| n as u8).collect();
            let framed = frame(message.clone()).unwrap();
            let read = FrameReader::new(CONTROL_MESSAGE_BYTES_MAX)
                .next(&mut framed.as_slice())
                .await
                .unwrap();
            assert!(*read == message, "{size}");
        }
        assert!(frame(vec![0; CONTROL_MESSAGE_BYTES_MAX + 1]).is_none());
        let announced = (CONTROL_MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes();
        let error = FrameReader::new(CONTROL_MESSAGE_BYTES_MAX)
            .next(&mut announced.as_slice())
            .await
            .unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { .. }));
    }

    #[tokio::test]
    async fn net01_a_stream_cut_at_any_byte_is_never_a_shorter_message() {
        let framed = frame(vec![7; 40]).unwrap();
        for end in 0..framed.len() {
            let error = FrameReader::new(CONTROL_MESSAGE_BYTES_MAX)
                .next(&mut &framed[..end])
                .await
                .unwrap_err();
            match error {
                FrameError::Closed => assert_eq!(end, 0),
                other => assert!(matches!(other, FrameError::Cut), "{end}: {other}"),
            }
        }
    }

    #[tokio::test]
    async fn a_read_that_was_dropped_loses_nothing() {
        let (mut near, mut far) = tokio::io::duplex(16);
        let framed = frame((0..200).collect()).unwrap();
        let mut reader = FrameReader::new(CONTROL_MESSAGE_BYTES_MAX);
        for (sent, byte) in framed.iter().enumerate() {
            far.write_all(&[*byte]).await.unwrap();
            let next = reader.next(&mut near);
            let result = tokio::time::timeout(std::time::Duration::ZERO, next).await;
            if sent + 1 == framed.len() {
                assert_eq!(*result.unwrap().unwrap(), (0..200).collect::<Vec<u8>>());
            } else {
                assert!(result.is_err());
            }
        }
    }
}
