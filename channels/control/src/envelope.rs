//! Envelopes: what each frame of a session carries.
//!
//! The body stays bytes until the part and the verb are known, so that a verb of a later version
//! can be answered although its fields are not understood.

use minicbor::{Decode, Encode};
use simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX;
use zeroize::{Zeroize, Zeroizing};

use crate::frame::frame;
use crate::verbs::{decode_body, encode_body};

/// What an envelope is. Unknown parts of later versions are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The first of either side; body: `Hello`.
    Hello,
    /// Body: the fields of verb `verb`.
    Request,
    /// Body: the fields of event `verb`.
    Event,
    /// Body: the fields of the answer to verb `verb`. Ends the call.
    Reply,
    /// Body: `VerbError`. Ends the call.
    Failure,
    /// The listener does not know verb `verb`. Ends the call.
    Unsupported,
    /// The dialler does not wait for this call any more.
    Forget,
    /// Nothing to say, but alive.
    Beat,
    /// The sender closes the session; body: `Goodbye`.
    Goodbye,
    /// Of a later version.
    Unknown(u8),
}

impl Part {
    /// Its number on the wire.
    pub(crate) fn number(self) -> u8 {
        match self {
            Part::Hello => 0,
            Part::Request => 1,
            Part::Event => 2,
            Part::Reply => 3,
            Part::Failure => 4,
            Part::Unsupported => 5,
            Part::Forget => 6,
            Part::Beat => 7,
            Part::Goodbye => 8,
            Part::Unknown(number) => number,
        }
    }

    /// Its name for people; empty for one of a later version.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Hello => "hello",
            Part::Request => "request",
            Part::Event => "event",
            Part::Reply => "reply",
            Part::Failure => "failure",
            Part::Unsupported => "unsupported",
            Part::Forget => "forget",
            Part::Beat => "beat",
            Part::Goodbye => "goodbye",
            Part::Unknown(_) => "",
        }
    }

    pub(crate) fn of_number(number: u8) -> Self {
        match number {
            0 => Part::Hello,
            1 => Part::Request,
            2 => Part::Event,
            3 => Part::Reply,
            4 => Part::Failure,
            5 => Part::Unsupported,
            6 => Part::Forget,
            7 => Part::Beat,
            8 => Part::Goodbye,
            other => Part::Unknown(other),
        }
    }
}

/// The map of one frame.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Fields {
    #[n(0)]
    #[cbor(default)]
    id: u64,
    #[n(1)]
    part: u8,
    #[n(2)]
    #[cbor(default)]
    verb: u16,
    #[n(3)]
    #[cbor(default, with = "minicbor::bytes")]
    body: Vec<u8>,
}

/// One message of a session.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// Chosen by the dialler, unique among its open calls; 0 outside of calls.
    pub(crate) id: u64,
    pub(crate) part: Part,
    pub(crate) verb: u16,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// Why a session is closed.
#[derive(Debug, Clone, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Goodbye {
    #[n(0)]
    #[cbor(default)]
    pub(crate) reason: String,
}

impl Envelope {
    pub(crate) fn new(id: u64, part: Part, verb: u16, body: Vec<u8>) -> Self {
        Self { id, part, verb, body: Zeroizing::new(body) }
    }

    pub(crate) fn beat() -> Self {
        Self::new(0, Part::Beat, 0, Vec::new())
    }

    pub(crate) fn goodbye(reason: &str) -> Self {
        let body = encode_body(&Goodbye { reason: reason.to_owned() });
        Self::new(0, Part::Goodbye, 0, body)
    }

    /// This envelope, or its size when it is larger than a peer accepts. The size is that of its
    /// encoding, whatever the frames of the session are: the same messages pass over all of them.
    pub(crate) fn sized(self) -> Result<Self, usize> {
        let bytes = self.encoded_bytes();
        if bytes > CONTROL_MESSAGE_BYTES_MAX { Err(bytes) } else { Ok(self) }
    }

    /// Bytes of the map: four one-byte keys, three numbers, and the body with its length.
    fn encoded_bytes(&self) -> usize {
        let number = |value: u64| match value {
            0..0x18 => 1,
            0x18..0x100 => 2,
            0x100..0x1_0000 => 3,
            0x1_0000..0x1_0000_0000 => 5,
            _ => 9,
        };
        let (part, verb) = (u64::from(self.part.number()), u64::from(self.verb));
        let body = self.body.len();
        5 + number(self.id) + number(part) + number(verb) + number(body as u64) + body
    }

    /// The frame of this envelope, or its size when it is larger than a peer accepts.
    pub(crate) fn into_frame(mut self) -> Result<Zeroizing<Vec<u8>>, usize> {
        let mut fields = Fields {
            id: self.id,
            part: self.part.number(),
            verb: self.verb,
            body: std::mem::take(&mut self.body),
        };
        let bytes = encode_body(&fields);
        fields.body.zeroize();
        let size = bytes.len();
        frame(bytes).ok_or(size)
    }

    /// Reads a frame; total over any bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let fields: Fields = decode_body("envelope", bytes).map_err(|error| error.to_string())?;
        Ok(Self::new(fields.id, Part::of_number(fields.part), fields.verb, fields.body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_known_before_it_is_encoded() {
        for id in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX] {
            for (part, verb) in [(Part::Hello, 0), (Part::Unknown(24), 24), (Part::Reply, 256)] {
                for body in [0, 23, 24, 255, 256, 65_536] {
                    let envelope = Envelope::new(id, part, verb, vec![7; body]);
                    let bytes = envelope.encoded_bytes();
                    // The frame has four bytes of length in front.
                    assert_eq!(envelope.into_frame().unwrap().len(), bytes + 4);
                }
            }
        }
        let head = Envelope::new(1, Part::Request, 1, Vec::new()).encoded_bytes() + 4;
        let most = CONTROL_MESSAGE_BYTES_MAX - head;
        assert!(Envelope::new(1, Part::Request, 1, vec![0; most]).sized().is_ok());
        let beyond = Envelope::new(1, Part::Request, 1, vec![0; most + 1]);
        assert_eq!(beyond.sized().unwrap_err(), CONTROL_MESSAGE_BYTES_MAX + 1);
    }
}
