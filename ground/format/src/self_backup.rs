//! The backup of a server itself, as a stream (`docs/format/self-backup.md`).
//!
//! ```text
//! magic "SIMSIMSB" 8 · version u16 = 1 · zero 6
//! records: part u8 · zero 3 · bytes u32 · content
//! ```
//! The first record holds key slots: the key of this one backup, wrapped for the recovery kit. It seals
//! what is secret, and the last record holds a hash under it of all that came before. So only who has
//! the kit can read the secrets, or make a backup that such a kit takes for its server's.

use std::io::{self, Read, Write};

use simsim_model::{DomainId, Kind, Secret};

use crate::key::random_bytes;
use crate::{FormatError, KeySlots, WrappingKey};

const MAGIC: [u8; 8] = *b"SIMSIMSB";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 16;
const WHAT: &str = "the backup of a server";
/// Binds what is sealed to its place.
const PURPOSE: &[u8] = b"simsim self-backup secrets v1";
/// Content of one record. A row of a catalog is far smaller.
pub const SELF_BACKUP_RECORD_BYTES_MAX: usize = 64 << 20;
/// Memory is taken as content comes, and not as its length says.
const READ_BYTES: u64 = 1 << 20;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfBackupPart {
    /// What it is a backup of, as JSON, for people who choose among several.
    Head,
    /// Sealed: files with keys and settings, as JSON.
    Secrets,
    /// A table of the catalog follows.
    Table,
    /// Rows of that table.
    Rows,
}

impl SelfBackupPart {
    const fn number(self) -> u8 {
        match self {
            SelfBackupPart::Head => 2,
            SelfBackupPart::Secrets => 3,
            SelfBackupPart::Table => 4,
            SelfBackupPart::Rows => 5,
        }
    }
}

const SLOTS: u8 = 1;
const END: u8 = 9;

/// Why a backup of a server cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SelfBackupError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the backup of a server: {0}")]
    Io(#[from] io::Error),
}

impl SelfBackupError {
    pub fn kind(&self) -> Kind {
        match self {
            SelfBackupError::Format(error) => error.kind(),
            SelfBackupError::Io(error) => Kind::of_io(error),
        }
    }
}

fn malformed(why: &'static str) -> SelfBackupError {
    FormatError::Malformed { what: WHAT, why }.into()
}

fn mac(secret: &Secret) -> blake3::Hasher {
    blake3::Hasher::new_keyed(&blake3::derive_key("simsim 2026 self-backup whole v1", &secret.0))
}

/// Writes one, record by record.
pub struct SelfBackupWriter<W> {
    out: W,
    whole: blake3::Hasher,
    sealing: WrappingKey,
}

impl<W: Write> SelfBackupWriter<W> {
    /// Begins one that `kit` opens.
    pub fn new(out: W, kit: &WrappingKey) -> Result<Self, SelfBackupError> {
        let secret = Secret(random_bytes()?);
        let mut slots = KeySlots::new(DomainId(random_bytes()?));
        slots.add(kit, &secret)?;
        let mut writer = Self { out, whole: mac(&secret), sealing: WrappingKey::new(&secret) };
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.resize(HEAD_BYTES, 0);
        writer.write(&head)?;
        writer.record(SLOTS, &slots.encode())?;
        Ok(writer)
    }

    /// Adds a record; the content of [`SelfBackupPart::Secrets`] is sealed here.
    pub fn put(&mut self, part: SelfBackupPart, content: &[u8]) -> Result<(), SelfBackupError> {
        if part == SelfBackupPart::Secrets {
            let sealed = self.sealing.seal(PURPOSE, content)?;
            return self.record(part.number(), &sealed);
        }
        self.record(part.number(), content)
    }

    /// Ends it; without its end it is no backup.
    pub fn finish(mut self) -> Result<W, SelfBackupError> {
        let whole = self.whole.finalize();
        self.record(END, whole.as_bytes())?;
        Ok(self.out)
    }

    fn record(&mut self, part: u8, content: &[u8]) -> Result<(), SelfBackupError> {
        if content.len() > SELF_BACKUP_RECORD_BYTES_MAX {
            let limit = SELF_BACKUP_RECORD_BYTES_MAX;
            return Err(
                FormatError::TooLarge { what: "a record of a server's backup", limit }.into()
            );
        }
        let [a, b, c, d] = (content.len() as u32).to_le_bytes();
        self.write(&[part, 0, 0, 0, a, b, c, d])?;
        self.write(content)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SelfBackupError> {
        self.whole.update(bytes);
        Ok(self.out.write_all(bytes)?)
    }
}

/// Reads one, record by record. What it gave is proven only when it has given `None`.
pub struct SelfBackupReader<R> {
    from: R,
    whole: blake3::Hasher,
    sealing: WrappingKey,
    ended: bool,
}

impl<R: Read> SelfBackupReader<R> {
    /// # Errors
    /// `Denied` where it is not of the kit's server; `Corrupt` for what is no backup of a server.
    pub fn open(mut from: R, kit: &WrappingKey) -> Result<Self, SelfBackupError> {
        let mut head = [0; HEAD_BYTES];
        read_exact(&mut from, &mut head)?;
        let (magic, rest) = head.split_at(MAGIC.len());
        if *magic != MAGIC {
            return Err(malformed("this is none"));
        }
        let [low, high, zeros @ ..] = rest else { return Err(malformed("its head is short")) };
        let found = u16::from_le_bytes([*low, *high]);
        if found != VERSION {
            let (found, known) = (found.into(), VERSION.into());
            return Err(FormatError::Version { what: WHAT, found, known }.into());
        }
        if zeros.iter().any(|byte| *byte != 0) {
            return Err(malformed("its head has unknown fields"));
        }
        let (frame, part, content) = record(&mut from)?;
        if part != SLOTS {
            return Err(malformed("it does not begin with its key slots"));
        }
        let secret = KeySlots::decode(&content)?.open(kit)?;
        let mut whole = mac(&secret);
        for bytes in [head.as_slice(), &frame, &content] {
            whole.update(bytes);
        }
        Ok(Self { from, whole, sealing: WrappingKey::new(&secret), ended: false })
    }

    /// The next record, opened where it is sealed; `None` at the end, which proves all before.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(SelfBackupPart, Vec<u8>)>, SelfBackupError> {
        if self.ended {
            return Ok(None);
        }
        let (frame, part, content) = record(&mut self.from)?;
        if part == END {
            let whole = <[u8; 32]>::try_from(content.as_slice()).map(blake3::Hash::from_bytes);
            if whole.ok() != Some(self.whole.finalize()) {
                return Err(FormatError::Checksum { what: WHAT }.into());
            }
            if self.from.read(&mut [0])? != 0 {
                return Err(malformed("something follows its end"));
            }
            self.ended = true;
            return Ok(None);
        }
        self.whole.update(&frame);
        self.whole.update(&content);
        let known = [
            SelfBackupPart::Head,
            SelfBackupPart::Secrets,
            SelfBackupPart::Table,
            SelfBackupPart::Rows,
        ];
        match known.into_iter().find(|known| known.number() == part) {
            None => Err(malformed("a record of an unknown part")),
            Some(SelfBackupPart::Secrets) => {
                Ok(Some((SelfBackupPart::Secrets, self.sealing.open(PURPOSE, &content)?)))
            }
            Some(part) => Ok(Some((part, content))),
        }
    }
}

type Record = ([u8; 8], u8, Vec<u8>);

fn record(from: &mut impl Read) -> Result<Record, SelfBackupError> {
    let mut frame = [0; 8];
    read_exact(from, &mut frame)?;
    let [part, zero @ .., a, b, c, d] = frame;
    if zero != [0, 0, 0] {
        return Err(malformed("a record has unknown fields"));
    }
    let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    if bytes > SELF_BACKUP_RECORD_BYTES_MAX {
        let limit = SELF_BACKUP_RECORD_BYTES_MAX;
        return Err(FormatError::TooLarge { what: "a record of a server's backup", limit }.into());
    }
    let mut content = Vec::new();
    while content.len() < bytes {
        let more = ((bytes - content.len()) as u64).min(READ_BYTES);
        if from.take(more).read_to_end(&mut content)? == 0 {
            return Err(FormatError::Truncated { what: WHAT }.into());
        }
    }
    Ok((frame, part, content))
}

fn read_exact(from: &mut impl Read, into: &mut [u8]) -> Result<(), SelfBackupError> {
    from.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FormatError::Truncated { what: WHAT }.into(),
        _ => SelfBackupError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kit(number: u8) -> WrappingKey {
        WrappingKey::new(&Secret([number; 32]))
    }

    fn parts() -> Vec<(SelfBackupPart, Vec<u8>)> {
        vec![
            (SelfBackupPart::Head, b"{}".to_vec()),
            (SelfBackupPart::Secrets, b"a key".to_vec()),
            (SelfBackupPart::Table, b"clients".to_vec()),
            (SelfBackupPart::Rows, vec![7; 3 << 20]),
            (SelfBackupPart::Rows, Vec::new()),
        ]
    }

    fn made() -> Vec<u8> {
        let mut writer = SelfBackupWriter::new(Vec::new(), &kit(1)).unwrap();
        for (part, content) in parts() {
            writer.put(part, &content).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8], kit: &WrappingKey) -> Result<Vec<(SelfBackupPart, Vec<u8>)>, Kind> {
        let mut reader = SelfBackupReader::open(bytes, kit).map_err(|error| error.kind())?;
        let mut all = Vec::new();
        while let Some(one) = reader.next().map_err(|error| error.kind())? {
            all.push(one);
        }
        Ok(all)
    }

    #[test]
    fn what_was_put_is_read_with_the_kit_and_with_no_other() {
        let bytes = made();
        assert_eq!(read(&bytes, &kit(1)).unwrap(), parts());
        assert_eq!(read(&bytes, &kit(2)), Err(Kind::Denied));
        let secret = b"a key".as_slice();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "sealed");
    }

    #[test]
    fn a_backup_that_was_cut_off_lengthened_or_changed_is_never_taken_for_whole() {
        let mut bytes = made();
        let rows = bytes.len() - 3 * (1 << 20);
        for length in (0..bytes.len()).filter(|at| *at < 400 || *at > bytes.len() - 60) {
            assert!(read(&bytes[..length], &kit(1)).is_err(), "cut at {length}");
        }
        let end = bytes.len();
        for at in (0..end).filter(|at| *at < 400 || *at == rows || *at > end - 60) {
            bytes[at] ^= 0x10;
            assert!(read(&bytes, &kit(1)).is_err(), "byte {at}");
            bytes[at] ^= 0x10;
        }
        bytes.push(0);
        assert!(read(&bytes, &kit(1)).is_err(), "lengthened");
    }

    #[test]
    fn records_cannot_be_left_out_or_brought_from_another_backup() {
        let (one, other) = (made(), made());
        // Head, slots: both end where the first record after them begins.
        let start = one.windows(8).position(|w| w == [2, 0, 0, 0, 2, 0, 0, 0]).unwrap();
        let mixed = [&one[..start], &other[start..]].concat();
        assert!(read(&mixed, &kit(1)).is_err());
        let without = [&one[..start], &one[start + 10..]].concat();
        assert!(read(&without, &kit(1)).is_err());
    }
}
