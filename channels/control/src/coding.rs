//! How the messages of a session become frames on its stream.
//!
//! Over a stream that is sealed itself (SSH, TLS, a pipe in memory) a frame is the envelope's CBOR
//! and nothing more: [`Coding::plain`]. Over a stream that everybody reads, each frame has to be
//! authenticated and its body sealed: `ctrl` makes such a coding. The session core knows neither.

use simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX;
use zeroize::Zeroizing;

use crate::envelope::Envelope;

/// The bytes of one message, wiped when dropped.
pub(crate) type Bytes = Zeroizing<Vec<u8>>;

/// The sending half. Messages are coded in the order in which they are written.
pub(crate) trait Outward: Send {
    /// The whole frame, its length included. An error ends the session.
    fn frame(&mut self, envelope: Envelope) -> Result<Bytes, String>;
}

/// The receiving half. Frames are read in the order in which they come.
pub(crate) trait Inward: Send {
    /// Bytes of one frame at most, without its length.
    fn frame_bytes_max(&self) -> usize;

    /// Reads a frame; total over any bytes. An error ends the session.
    fn envelope(&mut self, frame: Bytes) -> Result<Envelope, String>;
}

/// Both halves of one side of a session.
pub(crate) struct Coding {
    pub(crate) outward: Box<dyn Outward>,
    pub(crate) inward: Box<dyn Inward>,
}

impl Coding {
    /// For streams that are sealed themselves.
    pub(crate) fn plain() -> Self {
        Self { outward: Box::new(Plain), inward: Box::new(Plain) }
    }
}

struct Plain;

impl Outward for Plain {
    fn frame(&mut self, envelope: Envelope) -> Result<Bytes, String> {
        envelope.into_frame().map_err(|bytes| format!("a message of {bytes} bytes is too large"))
    }
}

impl Inward for Plain {
    fn frame_bytes_max(&self) -> usize {
        CONTROL_MESSAGE_BYTES_MAX
    }

    fn envelope(&mut self, frame: Bytes) -> Result<Envelope, String> {
        Envelope::decode(&frame)
    }
}
