//! The master key: 32 random bytes in three files, each with its own check, so that any one of
//! them is enough (ROT03). A copy that is lost or damaged is written again when the key is read.
//!
//! ```text
//! magic "SIMSIMMK" 8 · key 32 · BLAKE3 of both, 32
//! ```

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use simsim_format::{WrappingKey, random_bytes};
use simsim_model::Secret;
use zeroize::{Zeroize, Zeroizing};

use crate::ServerError;

const MAGIC: [u8; 8] = *b"SIMSIMMK";
const FILE_BYTES: usize = 72;
const NAMES: [&str; 3] = ["master.key", "master.key.2", "master.key.3"];

/// The key that everything else is sealed by. Wiped when dropped.
pub(crate) struct MasterKey {
    secret: Secret,
    wrapping: WrappingKey,
}

impl MasterKey {
    /// Reads the key from `folder`. A new one is made only where `may_make` says that nothing was
    /// sealed yet: a key that is lost must never be replaced in silence.
    pub(crate) fn open(folder: &Path, may_make: bool) -> Result<Self, ServerError> {
        let mut good: Vec<(usize, Secret)> = Vec::new();
        let mut there = 0;
        for (place, name) in NAMES.iter().enumerate() {
            let path = folder.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => {
                    there += 1;
                    let bytes = Zeroizing::new(bytes);
                    if let Some(secret) = decode(&bytes) {
                        good.push((place, secret));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(ServerError::io("read", &path, source)),
            }
        }
        let Some((_, first)) = good.first() else {
            if there == 0 && may_make {
                let key = Self::from_secret(Secret(random_bytes()?));
                for name in NAMES {
                    write(&folder.join(name), &key.secret)?;
                }
                return Ok(key);
            }
            return Err(ServerError::Key(format!(
                "the master key in {} is {}: put a copy of master.key back; without one, the domain keys come back with the recovery kit only",
                folder.display(),
                if there == 0 { "gone" } else { "damaged in every copy" }
            )));
        };
        let secret = first.clone();
        if good.iter().any(|(_, other)| *other != secret) {
            return Err(ServerError::Key(format!(
                "the copies of the master key in {} are whole but differ: somebody mixed two servers; keep the ones that belong to this catalog",
                folder.display()
            )));
        }
        for (place, name) in NAMES.iter().enumerate() {
            if !good.iter().any(|(held, _)| *held == place) {
                let path = folder.join(name);
                tracing::warn!(path = %path.display(), "a copy of the master key was lost or damaged; it is written again");
                write(&path, &secret)?;
            }
        }
        Ok(Self::from_secret(secret))
    }

    /// The key in the bytes of one of its files; `None` where they are damaged.
    pub(crate) fn of_file(bytes: &[u8]) -> Option<Self> {
        decode(bytes).map(Self::from_secret)
    }

    fn from_secret(secret: Secret) -> Self {
        let wrapping = WrappingKey::new(&Secret(blake3::derive_key(
            "simsim 2026 master key wrapping v1",
            &secret.0,
        )));
        Self { secret, wrapping }
    }

    /// Keys the audit chain.
    pub(crate) fn audit_key(&self) -> [u8; 32] {
        blake3::derive_key("simsim 2026 master key audit v1", &self.secret.0)
    }

    /// Seals small secrets, and has a slot at every domain key that the Server holds.
    pub(crate) fn wrapping(&self) -> &WrappingKey {
        &self.wrapping
    }
}

/// Is this file a whole copy of a master key?
pub(crate) fn is_master_key(path: &Path) -> bool {
    std::fs::read(path).map(Zeroizing::new).is_ok_and(|bytes| decode(&bytes).is_some())
}

fn decode(bytes: &[u8]) -> Option<Secret> {
    if bytes.len() != FILE_BYTES {
        return None;
    }
    let (body, check) = bytes.split_last_chunk::<32>()?;
    let (magic, key) = body.split_first_chunk::<8>()?;
    let whole = *magic == MAGIC && blake3::hash(body).as_bytes() == check;
    whole.then(|| <[u8; 32]>::try_from(key).ok().map(Secret)).flatten()
}

/// Writes one copy under a temporary name and gives it its own when it is durable.
fn write(path: &Path, secret: &Secret) -> Result<(), ServerError> {
    let mut body = MAGIC.to_vec();
    body.extend_from_slice(&secret.0);
    let check = blake3::hash(&body);
    body.extend_from_slice(check.as_bytes());
    let fresh: PathBuf = path.with_extension("new");
    let done = (|| {
        let _ = std::fs::remove_file(&fresh);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&body)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    })();
    body.zeroize();
    done.map_err(|source| ServerError::io("write", path, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn made() -> (tempfile::TempDir, [u8; 32]) {
        let folder = tempfile::tempdir().unwrap();
        let key = MasterKey::open(folder.path(), true).unwrap();
        (folder, key.secret.0)
    }

    fn opened(folder: &Path) -> Result<[u8; 32], ServerError> {
        MasterKey::open(folder, false).map(|key| key.secret.0)
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_can_read_it() {
        let (folder, key) = made();
        assert_eq!(opened(folder.path()).unwrap(), key);
        assert_eq!(MasterKey::open(folder.path(), true).unwrap().secret.0, key);
        assert_ne!(made().1, key);
        for name in NAMES {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn rot03_any_two_copies_may_be_lost_or_damaged() {
        for keep in NAMES {
            for damage in [None, Some(b"".to_vec()), Some(vec![0; FILE_BYTES]), Some(vec![1; 9])] {
                let (folder, key) = made();
                for name in NAMES.iter().filter(|name| **name != keep) {
                    let path = folder.path().join(name);
                    match &damage {
                        None => std::fs::remove_file(path).unwrap(),
                        Some(bytes) => std::fs::write(path, bytes).unwrap(),
                    }
                }
                assert_eq!(opened(folder.path()).unwrap(), key, "{keep}");
                // And the lost ones are there again.
                std::fs::remove_file(folder.path().join(keep)).unwrap();
                assert_eq!(opened(folder.path()).unwrap(), key, "{keep} healed");
            }
        }
    }

    #[test]
    fn rot03_every_flipped_bit_of_a_copy_is_noticed() {
        let (folder, key) = made();
        let path = folder.path().join(NAMES[0]);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_none(), "bit {bit}");
        }
        assert_eq!(decode(&whole), Some(Secret(key)));
    }

    #[test]
    fn a_lost_key_is_never_replaced_in_silence() {
        let (folder, _) = made();
        for name in NAMES {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        let error = opened(folder.path()).unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
        for name in NAMES {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        let error = MasterKey::open(folder.path(), true).map(drop).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[test]
    fn copies_of_two_servers_are_not_mixed() {
        let (one, _) = made();
        let (two, _) = made();
        std::fs::copy(two.path().join(NAMES[1]), one.path().join(NAMES[1])).unwrap();
        let error = opened(one.path()).unwrap_err();
        assert!(error.to_string().contains("differ"), "{error}");
    }
}
