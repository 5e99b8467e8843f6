//! Which streams the other side has ended in order.
//!
//! The library reads the loss of a connection as the end of every stream on it. So the frames are
//! looked at on their way in: a stream is at its end only when the frame that says so has come whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Version, type, flags u16, stream u32, length u32; big-endian.
const HEAD_BYTES: usize = 12;
/// The only type whose length is that of a body.
const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 1;
const FIN: u16 = 4;

/// The open streams, by number: has the other side ended it? Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends(Arc<Mutex<HashMap<u32, bool>>>);

impl Ends {
    fn all(&self) -> MutexGuard<'_, HashMap<u32, bool>> {
        // No holder of the lock leaves the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, stream: u32) {
        self.all().insert(stream, false);
    }

    pub(super) fn forget(&self, stream: u32) {
        self.all().remove(&stream);
    }

    pub(super) fn has_ended(&self, stream: u32) -> bool {
        self.all().get(&stream).copied().unwrap_or(false)
    }

    fn ended(&self, stream: u32) {
        if let Some(ended) = self.all().get_mut(&stream) {
            *ended = true;
        }
    }
}

/// Follows the frames of one direction.
#[derive(Debug)]
pub(super) struct Frames {
    ends: Ends,
    head: [u8; HEAD_BYTES],
    have: usize,
    body_left: usize,
    /// The stream that ends with the body that is coming.
    ending: Option<u32>,
}

impl Frames {
    pub(super) fn new(ends: Ends) -> Self {
        Self { ends, head: [0; HEAD_BYTES], have: 0, body_left: 0, ending: None }
    }

    /// The next bytes, in pieces of any length.
    pub(super) fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let now = match self.body_left {
                0 => (HEAD_BYTES - self.have).min(bytes.len()),
                left => left.min(bytes.len()),
            };
            let (part, rest) = bytes.split_at(now);
            bytes = rest;
            if self.body_left > 0 {
                self.body_left -= now;
            } else {
                if let Some(place) = self.head.get_mut(self.have..self.have + now) {
                    place.copy_from_slice(part);
                }
                self.have += now;
                if self.have < HEAD_BYTES {
                    continue;
                }
                self.have = 0;
                self.read_head();
            }
            if self.body_left == 0
                && let Some(stream) = self.ending.take()
            {
                self.ends.ended(stream);
            }
        }
    }

    fn read_head(&mut self) {
        let [_, kind, f1, f2, s1, s2, s3, s4, l1, l2, l3, l4] = self.head;
        let (flags, stream) = (u16::from_be_bytes([f1, f2]), u32::from_be_bytes([s1, s2, s3, s4]));
        let length = u32::from_be_bytes([l1, l2, l3, l4]);
        // More than memory has is more than the library takes.
        self.body_left =
            if kind == DATA { usize::try_from(length).unwrap_or(usize::MAX) } else { 0 };
        let may_end = matches!(kind, DATA | WINDOW_UPDATE) && flags & FIN != 0;
        self.ending = may_end.then_some(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u16, stream: u32, length: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, kind];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(stream.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_stream_has_ended_when_its_last_frame_has_come_whole_in_any_pieces() {
        let wire = [
            frame(0, 1, 3, 5, b"first"),
            frame(1, 0, 5, 70_000, b""),
            frame(2, 1, 0, 4, b""),
            frame(0, FIN, 3, 4, b"last"),
            frame(1, FIN, 5, 0, b""),
            frame(0, FIN, 9, 0, b""),
        ]
        .concat();
        let of_three = wire.len() - 2 * HEAD_BYTES;
        for piece in [1, 2, 5, 11, 12, 13, 100] {
            let ends = Ends::default();
            ends.open(3);
            ends.open(5);
            let mut frames = Frames::new(ends.clone());
            let mut seen = 0;
            for bytes in wire.chunks(piece) {
                frames.see(bytes);
                seen += bytes.len();
                assert_eq!(ends.has_ended(3), seen >= of_three, "{seen} in pieces of {piece}");
                assert_eq!(ends.has_ended(5), seen >= of_three + HEAD_BYTES, "{seen}");
            }
            assert!(!ends.has_ended(9), "nobody has it");
            ends.forget(3);
            assert!(!ends.has_ended(3));
        }
    }
}
