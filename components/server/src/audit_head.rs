//! The end of the audit chain, kept in a file beside the catalog: a chain whose end was cut off
//! with care no longer goes through it.
//!
//! ```text
//! position u64 little endian 8 · hash 32 · keyed BLAKE3 of both, 32
//! ```
//! The key of the check is the master key's, so the file cannot be made to fit by who has only the
//! catalog.

use std::io::Write;
use std::path::Path;

use simsim_catalog::AuditHead;

use crate::ServerError;
use crate::house::House;

const NAME: &str = "audit.head";
const FILE_BYTES: usize = 72;

/// Keeps the present end. An end before the one that is kept is not written: the chain grows only.
pub(crate) async fn keep(house: &House) -> Result<(), ServerError> {
    let (folder, books) = (house.folder.clone(), house.books.clone());
    blocking(move || {
        let catalog = books.catalog();
        let head = catalog.audit_head()?;
        let key = catalog.audit_check_key();
        let path = folder.join(NAME);
        if read(&path, &key).is_some_and(|kept| kept.position >= head.position) {
            return Ok(());
        }
        write(&path, &key, &head)
    })
    .await
}

/// The end that was kept last; `None` where there is none, or none that is whole.
pub(crate) async fn kept(house: &House) -> Result<Option<AuditHead>, ServerError> {
    let (folder, books) = (house.folder.clone(), house.books.clone());
    blocking(move || Ok(read(&folder.join(NAME), &books.catalog().audit_check_key()))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServerError> + Send + 'static,
) -> Result<T, ServerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Lost(error.to_string()))?
}

fn read(path: &Path, key: &[u8; 32]) -> Option<AuditHead> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() == FILE_BYTES)?;
    let (body, check) = bytes.split_last_chunk::<32>()?;
    if blake3::keyed_hash(key, body) != blake3::Hash::from_bytes(*check) {
        return None;
    }
    let (position, hash) = body.split_first_chunk::<8>()?;
    let hash = <[u8; 32]>::try_from(hash).ok()?;
    Some(AuditHead { position: u64::from_le_bytes(*position), hash })
}

fn write(path: &Path, key: &[u8; 32], head: &AuditHead) -> Result<(), ServerError> {
    let mut body = head.position.to_le_bytes().to_vec();
    body.extend_from_slice(&head.hash);
    let check = blake3::keyed_hash(key, &body);
    body.extend_from_slice(check.as_bytes());
    let fresh = path.with_extension("head.new");
    let written = (|| {
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(&body)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    })();
    written.map_err(|source| ServerError::io("write", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_end_reads_back_and_any_other_bytes_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let head = AuditHead { position: 77, hash: [5; 32] };
        assert_eq!(read(&path, &[1; 32]), None);
        write(&path, &[1; 32], &head).unwrap();
        assert_eq!(read(&path, &[1; 32]), Some(head));
        assert_eq!(read(&path, &[2; 32]), None, "another key");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path, &[1; 32]), None, "byte {at}");
        }
    }
}
