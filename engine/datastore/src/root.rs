//! The root object: what a datastore is. Three copies, any one of which is enough (ROT03).
//!
//! ```text
//! magic "SIMSIMST" 8 · version u16 = 1 · zero 6 · store id 16 · created, unix s u64
//! cut: min u32 · mean u32 · max u32 · name bytes u32 · name · BLAKE3 of all before, 32
//! ```

use simsim_format::{Cursor, FormatError};
use simsim_model::{CutParameters, StoreId};
use simsim_storage::Storage;

use crate::DatastoreError;
use crate::set_aside::set_aside;

const MAGIC: [u8; 8] = *b"SIMSIMST";
const VERSION: u16 = 1;
const WHAT: &str = "datastore root";
const NAME_BYTES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) store: StoreId,
    pub(crate) created_unix_s: u64,
    pub(crate) cut: CutParameters,
    pub(crate) name: String,
}

impl Root {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.created_unix_s.to_le_bytes());
        for number in [self.cut.min, self.cut.mean, self.cut.max, self.name.len() as u32] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(self.name.as_bytes());
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (body, checksum) =
            bytes.split_last_chunk::<32>().ok_or(FormatError::Truncated { what: WHAT })?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut cursor = Cursor::new(body, WHAT);
        if cursor.array::<8>()? != MAGIC {
            return Err(cursor.malformed("this is not the root of a datastore"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found: version.into(),
                known: VERSION.into(),
            });
        }
        cursor.bytes(6)?;
        let store = StoreId(cursor.array()?);
        let created_unix_s = cursor.u64()?;
        let cut = CutParameters { min: cursor.u32()?, mean: cursor.u32()?, max: cursor.u32()? };
        let length = cursor.u32()? as usize;
        if length > NAME_BYTES_MAX || !cut.is_valid() {
            return Err(cursor.malformed("a field is out of its bounds"));
        }
        let name = String::from_utf8(cursor.bytes(length)?.to_vec())
            .map_err(|_| cursor.malformed("its name is not UTF-8"))?;
        cursor.finish()?;
        Ok(Self { store, created_unix_s, cut, name })
    }
}

pub(crate) fn name_fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Reads three copies: the content that most valid copies have wins, at a tie the lowest number
/// (copies are written in that order, so it is the newest). Copies that are missing, damaged or
/// different are written anew when `heal` is set. `None` when not one copy exists.
pub(crate) fn read_copies<T>(
    storage: &dyn Storage,
    base: &str,
    heal: bool,
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
) -> Result<Option<T>, DatastoreError> {
    let mut valid: Vec<(bytes::Bytes, T)> = Vec::new();
    let mut first_error = None;
    for copy in 1..=3 {
        let key = format!("{base}.{copy}");
        match storage.get(&key) {
            Ok(bytes) => match decode(&bytes) {
                Ok(value) => valid.push((bytes, value)),
                Err(source) => {
                    first_error.get_or_insert(DatastoreError::format(key, source));
                }
            },
            Err(error) if error.kind() == simsim_model::Kind::NotFound => {}
            Err(error) => {
                first_error.get_or_insert(error.into());
            }
        }
    }
    let votes = |bytes: &[u8]| valid.iter().filter(|(other, _)| other == bytes).count();
    let best = valid.iter().map(|(bytes, _)| votes(bytes)).max().unwrap_or(0);
    let Some(at) = valid.iter().position(|(bytes, _)| votes(bytes) == best) else {
        return first_error.map_or(Ok(None), Err);
    };
    let (bytes, value) = valid.swap_remove(at);
    if heal && best < 3 {
        for copy in 1..=3 {
            let key = format!("{base}.{copy}");
            if let Err(error) = write_anew(storage, &key, &bytes) {
                tracing::warn!(%key, %error, "a damaged copy could not be written anew");
            }
        }
    }
    Ok(Some(value))
}

/// Writes a copy anew that is not these bytes; what was in its place is set aside.
pub(crate) fn write_anew(
    storage: &dyn Storage,
    key: &str,
    bytes: &[u8],
) -> Result<(), DatastoreError> {
    match storage.get(key) {
        Ok(there) if there == bytes => return Ok(()),
        Ok(there) => set_aside(storage, key, 0, &there)?,
        Err(_) => {}
    }
    Ok(storage.replace(key, bytes)?)
}

/// Writes the three copies, each durable before the next.
pub(crate) fn write_copies(
    storage: &dyn Storage,
    base: &str,
    bytes: &[u8],
) -> Result<(), DatastoreError> {
    for copy in 1..=3 {
        storage.replace(&format!("{base}.{copy}"), bytes)?;
    }
    Ok(())
}
