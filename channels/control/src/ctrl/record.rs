//! The frames of a session over CTRL: a line that everybody can read, and a sealed body.
//!
//! ```text
//! 17 1:request 3 20:start-backup        number, part, call, verb
//! <sealed body, then the tag>
//! ```
//!
//! Line and body are authenticated together. Numbers count from 0 in each direction, and the one
//! that is due is the only one that is taken: what was left out, repeated, moved or sent back ends
//! the session. Names behind a colon are for people; readers go by the numbers.

use simsim_model::limits::CONTROL_MESSAGE_BYTES_MAX;
use zeroize::Zeroizing;

use super::keys::{Key, TAG_BYTES};
use crate::coding::{Bytes, Coding, Inward, Outward};
use crate::envelope::{Envelope, Part};
use crate::verbs::{Event, Request};

/// Bytes of the line at most, its end included.
const LINE_BYTES_MAX: usize = 128;
/// Bytes of a name in it at most.
const NAME_BYTES_MAX: usize = 32;
/// A frame is at most so much larger than its envelope.
const OVERHEAD_BYTES_MAX: usize = LINE_BYTES_MAX + TAG_BYTES;
/// After so many messages a key makes room for the next: at most 1 GiB under one key, as with SSH,
/// and who steals a key later cannot open what was said before.
pub(super) const MESSAGES_PER_KEY: u64 = 1024;

/// The coding of one side.
pub(super) fn coding(outward: Key, inward: Key) -> Coding {
    Coding {
        outward: Box::new(Sealer(Way::new(outward))),
        inward: Box::new(Opener { way: Way::new(inward), broken: false }),
    }
}

/// One direction.
struct Way {
    key: Key,
    next: u64,
}

impl Way {
    fn new(key: Key) -> Self {
        Self { key, next: 0 }
    }

    /// The number after this one, and its key.
    fn advance(&mut self) -> Option<()> {
        self.next = self.next.checked_add(1)?;
        if self.next.is_multiple_of(MESSAGES_PER_KEY) {
            self.key = self.key.next();
        }
        Some(())
    }
}

struct Sealer(Way);

impl Outward for Sealer {
    fn frame(&mut self, envelope: Envelope) -> Result<Bytes, String> {
        let Way { key, next } = &self.0;
        let line = line(*next, &envelope);
        let length = line.len() + envelope.body.len() + TAG_BYTES;
        let too_large = || format!("a message of {length} bytes is too large");
        let prefix = u32::try_from(length).map_err(|_| too_large())?.to_be_bytes();
        if length > CONTROL_MESSAGE_BYTES_MAX + OVERHEAD_BYTES_MAX {
            return Err(too_large());
        }
        let mut frame = Zeroizing::new(Vec::with_capacity(length));
        frame.extend_from_slice(line.as_bytes());
        frame.extend_from_slice(&envelope.body);
        key.seal(*next, b"", &mut frame, line.len()).ok_or("a message could not be sealed")?;
        let mut framed = Zeroizing::new(Vec::with_capacity(length + prefix.len()));
        framed.extend_from_slice(&prefix);
        framed.extend_from_slice(&frame);
        self.0.advance().ok_or("this session has had all the messages it can have")?;
        Ok(framed)
    }
}

struct Opener {
    way: Way,
    /// After a frame that was refused nothing is read any more.
    broken: bool,
}

impl Inward for Opener {
    fn frame_bytes_max(&self) -> usize {
        CONTROL_MESSAGE_BYTES_MAX + OVERHEAD_BYTES_MAX
    }

    fn envelope(&mut self, frame: Bytes) -> Result<Envelope, String> {
        if self.broken {
            return Err("the session is over".to_owned());
        }
        let read = self.read(frame);
        self.broken = read.is_err();
        read
    }
}

impl Opener {
    fn read(&mut self, mut frame: Bytes) -> Result<Envelope, String> {
        let due = self.way.next;
        let unreadable = || "a message without a first line that can be read".to_owned();
        let end = frame.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        let end = end.ok_or_else(unreadable)?;
        let (line, sealed) = frame.split_at_mut_checked(end + 1).ok_or_else(unreadable)?;
        let head = Head::parse(line).ok_or_else(unreadable)?;
        if head.number != due {
            return Err(format!(
                "message {} came where {due} was due: messages were left out, repeated or moved \
                 on the way",
                head.number
            ));
        }
        let plain = self.way.key.open(due, line, sealed).ok_or_else(|| {
            format!("message {due} was changed on the way, or is of another session")
        })?;
        let body = plain.to_vec();
        self.way.advance().ok_or("this session has had all the messages it can have")?;
        Ok(Envelope::new(head.id, head.part, head.verb, body))
    }
}

/// What the line says.
struct Head {
    number: u64,
    part: Part,
    id: u64,
    verb: u16,
}

impl Head {
    /// Reads the line with its end.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
        let mut fields = line.split(' ').map(number);
        let head = Self {
            number: fields.next()??,
            part: Part::of_number(u8::try_from(fields.next()??).ok()?),
            id: fields.next()??,
            verb: u16::try_from(fields.next()??).ok()?,
        };
        fields.next().is_none().then_some(head)
    }
}

/// The number of a field `number` or `number:name`.
fn number(field: &str) -> Option<u64> {
    let digits = field.split(':').next()?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

fn line(number: u64, envelope: &Envelope) -> String {
    let Envelope { id, part, verb, .. } = envelope;
    let name = match part {
        Part::Request | Part::Reply | Part::Unsupported => Request::name_of(*verb),
        Part::Event => Event::name_of(*verb),
        _ => None,
    };
    let part = named(u64::from(part.number()), Some(part.name()));
    format!("{number} {part} {id} {}\n", named(u64::from(*verb), name))
}

fn named(number: u64, name: Option<&str>) -> String {
    match name {
        None | Some("") => number.to_string(),
        Some(name) => format!("{number}:{}", crate::wire::cut(name, NAME_BYTES_MAX)),
    }
}
