//! What a repair takes out of its place is set aside, with a record of where it lay: objects
//! `set-aside/<BLAKE3 of the object>`. Nothing here reads them; a person can put the bytes back.
//!
//! ```text
//! magic "SIMSIMSA" 8 · version u16 = 1 · zero 6
//! offset u64: where in its object the bytes lay · key bytes u32 · zero 4 · bytes u64 · key · bytes
//! ```
//! The name is the checksum, so setting the same aside twice, as after a death, is no second object.

use simsim_model::Kind;
use simsim_storage::Storage;

use crate::DatastoreError;

const FOLDER: &str = "set-aside";
const MAGIC: [u8; 8] = *b"SIMSIMSA";
const VERSION: u16 = 1;

/// Durable before it answers: what is in the place may be written over then.
pub(crate) fn set_aside(
    storage: &dyn Storage,
    key: &str,
    offset: u64,
    bytes: &[u8],
) -> Result<(), DatastoreError> {
    let object = encode(key, offset, bytes);
    let name = format!("{FOLDER}/{}", blake3::hash(&object).to_hex());
    match storage.size(&name) {
        Ok(there) if there == object.len() as u64 => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == Kind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    storage.replace(&name, &object)?;
    tracing::info!(key, offset, bytes = bytes.len(), %name, "set aside before it is written anew");
    Ok(())
}

fn encode(key: &str, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&(key.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_set_aside() {
        let golden = include_bytes!("../../../testdata/format/set-aside-v1/all-fields.bin");
        assert_eq!(encode("packs/3f/3fab", 64, b"damaged bytes"), golden);
    }
}
