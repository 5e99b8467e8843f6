//! Key slots: a domain key, wrapped once for each key that may open it; and the recovery kit
//! (`docs/format/keys.md`).
//!
//! ```text
//! magic "SIMSIMKS" 8 · version u16 = 1 · slots u16 · domain id 16
//! per slot: id 16 (of the wrapping key) · kind u8 · zero 3 · bytes u32 · sealed domain key
//! BLAKE3 of all before, 32
//! ```

use data_encoding::BASE32_NOPAD;
use simsim_model::{DomainId, Secret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::FormatError;
use crate::cursor::Cursor;
use crate::key::{open_small, random_bytes, seal_small};

const MAGIC: [u8; 8] = *b"SIMSIMKS";
const VERSION: u16 = 1;
const WHAT: &str = "key slots";
const SLOTS_MAX: usize = 64;

/// A key that wraps domain keys: a recovery kit, or a host's own.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct WrappingKey {
    id: [u8; 16],
    key: [u8; 32],
}

impl WrappingKey {
    /// Derived from secret bytes; the id is derived too and tells nothing.
    pub fn new(secret: &Secret) -> Self {
        let long = blake3::derive_key("simsim 2026 wrapping key id v1", &secret.0);
        let mut id = [0; 16];
        id.copy_from_slice(&long[..16]);
        Self { id, key: blake3::derive_key("simsim 2026 wrapping key v1", &secret.0) }
    }

    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Seals any small secret for this key, as for the catalog; `purpose` binds it to its place.
    pub fn seal(&self, purpose: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, FormatError> {
        seal_small(&self.key, purpose, plaintext)
    }

    pub fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Vec<u8>, FormatError> {
        open_small(&self.key, purpose, sealed, "a sealed secret")
    }
}

/// One wrapping of the domain key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Which wrapping key opens it.
    pub id: [u8; 16],
    sealed: Vec<u8>,
}

/// All wrappings of one domain's key. Lies in the datastore; opens nothing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySlots {
    pub domain: DomainId,
    pub slots: Vec<Slot>,
}

impl KeySlots {
    pub fn new(domain: DomainId) -> Self {
        Self { domain, slots: Vec::new() }
    }

    /// Adds a slot for `wrapping`, or replaces the one it has.
    pub fn add(&mut self, wrapping: &WrappingKey, domain_key: &Secret) -> Result<(), FormatError> {
        let sealed = seal_small(&wrapping.key, &self.associated(), &domain_key.0)?;
        self.slots.retain(|slot| slot.id != wrapping.id);
        if self.slots.len() >= SLOTS_MAX {
            return Err(FormatError::TooLarge { what: WHAT, limit: SLOTS_MAX });
        }
        self.slots.push(Slot { id: wrapping.id, sealed });
        Ok(())
    }

    /// The domain key, if `wrapping` has a slot here.
    pub fn open(&self, wrapping: &WrappingKey) -> Result<Secret, FormatError> {
        let slot = self
            .slots
            .iter()
            .find(|slot| slot.id == wrapping.id)
            .ok_or(FormatError::Seal { what: "the domain key" })?;
        let mut plain =
            open_small(&wrapping.key, &self.associated(), &slot.sealed, "the domain key")?;
        let secret = <[u8; 32]>::try_from(plain.as_slice())
            .map(Secret)
            .map_err(|_| FormatError::Malformed { what: WHAT, why: "a key has a wrong length" });
        plain.zeroize();
        secret
    }

    fn associated(&self) -> Vec<u8> {
        [b"simsim key slot v1".as_slice(), &self.domain.0].concat()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.slots.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.domain.0);
        for slot in &self.slots {
            out.extend_from_slice(&slot.id);
            out.extend_from_slice(&[1, 0, 0, 0]);
            out.extend_from_slice(&(slot.sealed.len() as u32).to_le_bytes());
            out.extend_from_slice(&slot.sealed);
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (body, checksum) =
            bytes.split_last_chunk::<32>().ok_or(FormatError::Truncated { what: WHAT })?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut cursor = Cursor::new(body, WHAT);
        if cursor.array::<8>()? != MAGIC {
            return Err(cursor.malformed("these are not key slots"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let count = usize::from(cursor.u16()?);
        if count > SLOTS_MAX {
            return Err(FormatError::TooLarge { what: WHAT, limit: SLOTS_MAX });
        }
        let domain = DomainId(cursor.array()?);
        let mut slots = Vec::new();
        for _ in 0..count {
            let id = cursor.array()?;
            if cursor.array::<4>()? != [1, 0, 0, 0] {
                return Err(cursor.malformed("a slot has an unknown kind"));
            }
            let length = cursor.u32()? as usize;
            slots.push(Slot { id, sealed: cursor.bytes(length)?.to_vec() });
        }
        cursor.finish()?;
        Ok(Self { domain, slots })
    }
}

/// The recovery kit: 32 secret bytes as eleven groups of five letters and digits, each group
/// ending in a check character, so that a typing error is found in its group.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKit {
    secret: [u8; 32],
}

/// Letters of a group without its check character.
const GROUP: usize = 5;

impl RecoveryKit {
    pub fn generate() -> Result<Self, FormatError> {
        Ok(Self { secret: random_bytes()? })
    }

    pub fn wrapping_key(&self) -> WrappingKey {
        WrappingKey::new(&Secret(self.secret))
    }

    /// Eleven groups of six characters: 55 letters for the secret and two check bytes.
    pub fn groups(&self) -> Vec<String> {
        let letters = BASE32_NOPAD.encode(&[&self.secret[..], &kit_check(&self.secret)].concat());
        letters
            .as_bytes()
            .chunks(GROUP)
            .enumerate()
            .map(|(place, group)| {
                let mut text = String::from_utf8_lossy(group).into_owned();
                text.push(check_letter(place, group));
                text
            })
            .collect()
    }

    /// Reads the groups as written by [`Self::groups`], with any separators, in either case.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        const WHAT: &str = "recovery kit";
        let letters: Vec<u8> = text
            .bytes()
            .filter(u8::is_ascii_alphanumeric)
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let mut plain = Vec::new();
        for (place, group) in letters.chunks(GROUP + 1).enumerate() {
            let (check, group) = group.split_last().ok_or(FormatError::Truncated { what: WHAT })?;
            if char::from(*check) != check_letter(place, group) {
                return Err(FormatError::KitGroup { group: place + 1 });
            }
            plain.extend_from_slice(group);
        }
        let bytes = BASE32_NOPAD.decode(&plain).map_err(|_| FormatError::Malformed {
            what: WHAT,
            why: "it holds other characters than A-Z and 2-7, or is incomplete",
        })?;
        let wrong = FormatError::Malformed { what: WHAT, why: "it has not eleven groups" };
        let (secret, check) = bytes.split_first_chunk::<32>().ok_or(wrong.clone())?;
        if check.len() != 2 {
            return Err(wrong);
        }
        if kit_check(secret) != check {
            return Err(FormatError::Malformed {
                what: WHAT,
                why: "its groups do not belong together: compare each with the printed page",
            });
        }
        Ok(Self { secret: *secret })
    }
}

fn kit_check(secret: &[u8; 32]) -> [u8; 2] {
    let [first, second, ..] = blake3::derive_key("simsim 2026 recovery kit check v1", secret);
    [first, second]
}

fn check_letter(place: usize, group: &[u8]) -> char {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[place as u8]);
    hasher.update(group);
    let index = usize::from(hasher.finalize().as_bytes()[0] % 32);
    char::from(LETTERS[index])
}
