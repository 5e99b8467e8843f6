//! Domain keys that only this client holds.
//!
//! A key lies in the state folder, readable for its owner only. What leaves the client are slots:
//! the key wrapped for the client's recovery kit. The kit is made with the first key and lies
//! beside the keys until its owner has printed it and takes it away; a kit that was taken away is
//! needed again only to make another key or after the loss of this host.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use simsim_format::{KeySlots, RecoveryKit, WrappingKey, random_bytes};
use simsim_model::{DomainId, Secret, StoreId};
use zeroize::Zeroizing;

use crate::ClientError;

const KIT: &str = "recovery-kit.txt";

/// The folder of held keys.
pub struct HeldKeys {
    folder: PathBuf,
    /// One maker at a time.
    making: Mutex<()>,
}

impl HeldKeys {
    /// Keys are kept in `folder`, which is made with the first key.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), making: Mutex::new(()) }
    }

    /// The recovery kit's file, as long as its owner has left it there.
    pub fn kit_file(&self) -> PathBuf {
        self.folder.join(KIT)
    }

    fn key_file(&self, store: StoreId, domain: DomainId) -> PathBuf {
        self.folder.join(format!("{store}-{domain}.key"))
    }

    /// The key, if this client holds it.
    ///
    /// # Errors
    /// A key file that others may read, or that is damaged.
    pub fn get(&self, store: StoreId, domain: DomainId) -> Result<Option<Secret>, ClientError> {
        let path = self.key_file(store, domain);
        let bytes = match read_secret(&path)? {
            Some(bytes) => bytes,
            None => return Ok(None),
        };
        match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Some(Secret(key))),
            Err(_) => Err(ClientError::Damaged { path, why: "a key has 32 bytes" }),
        }
    }

    /// Makes the key unless it is held already, durably, and returns its slots.
    pub fn create(&self, store: StoreId, domain: DomainId) -> Result<Vec<u8>, ClientError> {
        let _one = self.making.lock();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(ClientError::file("make", &self.folder))?;
        let wrapping = self.kit()?;
        let key = match self.get(store, domain)? {
            Some(key) => key,
            None => {
                let key = Secret(random_bytes()?);
                self.write_new(&self.key_file(store, domain), &key.0)?;
                key
            }
        };
        let mut slots = KeySlots::new(domain);
        slots.add(&wrapping, &key)?;
        Ok(slots.encode())
    }

    /// The kit's wrapping key; the kit is made when this is the first key.
    fn kit(&self) -> Result<WrappingKey, ClientError> {
        let path = self.kit_file();
        if let Some(text) = read_secret(&path)? {
            let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
            let groups = text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>();
            let groups = Zeroizing::new(groups.join(" "));
            return Ok(RecoveryKit::parse(&groups)?.wrapping_key());
        }
        let mut held =
            fs::read_dir(&self.folder).map_err(ClientError::file("list", &self.folder))?;
        let is_key = |entry: io::Result<fs::DirEntry>| {
            entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "key"))
        };
        if held.any(is_key) {
            // A second kit would make the owner's printed page useless for the new key.
            return Err(ClientError::Damaged {
                path,
                why: "the recovery kit was taken away; put it back while a new key is made",
            });
        }
        let kit = RecoveryKit::generate()?;
        let groups = Zeroizing::new(kit.groups().join(" "));
        let text = Zeroizing::new(format!(
            "# Recovery kit of this client's own keys. Print it, keep it in a safe place, and\n\
             # then remove this file. Who has it can read the client's backups; without it they\n\
             # are lost together with this host.\n{}\n",
            groups.as_str()
        ));
        self.write_new(&path, text.as_bytes())?;
        tracing::warn!(path = %path.display(), "recovery kit made: print it and keep it safe");
        Ok(kit.wrapping_key())
    }

    /// Complete and durable, or not there; never over another file.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
        let temporary = path.with_extension("new");
        // Left behind by an interrupted attempt, never in use.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ClientError::file("remove", temporary)(error));
            }
            _ => {}
        }
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::hard_link(&temporary, path)?;
            fs::remove_file(&temporary)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(ClientError::file("write", path))
    }
}

/// A secret file's bytes; `None` when it is not there.
fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, ClientError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ClientError::file("read", path)(error)),
    };
    let damaged = |why| ClientError::Damaged { path: path.to_owned(), why };
    if !metadata.is_file() || metadata.len() > 4096 {
        return Err(damaged("it is no small regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(damaged("others may read it: set its mode to 0600 and consider the key known"));
    }
    fs::read(path).map(Zeroizing::new).map(Some).map_err(ClientError::file("read", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_held_key_is_private_stays_and_opens_with_the_kit() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HeldKeys::new(folder.path().join("keys"));
        let (store, domain) = (StoreId([1; 16]), DomainId([2; 16]));
        assert!(keys.get(store, domain).unwrap().is_none());
        let slots = keys.create(store, domain).unwrap();
        let key = keys.get(store, domain).unwrap().unwrap();
        let mode = fs::metadata(keys.key_file(store, domain)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!slots.windows(32).any(|window| window == key.0));

        let text = fs::read_to_string(keys.kit_file()).unwrap();
        let kit = RecoveryKit::parse(text.lines().last().unwrap()).unwrap();
        let opened = KeySlots::decode(&slots).unwrap().open(&kit.wrapping_key()).unwrap();
        assert!(opened == key);

        let again = keys.create(store, domain).unwrap();
        let opened = KeySlots::decode(&again).unwrap().open(&kit.wrapping_key()).unwrap();
        assert!(opened == key, "a repeated request makes no other key");
        let other = keys.create(store, DomainId([3; 16])).unwrap();
        assert!(KeySlots::decode(&other).unwrap().open(&kit.wrapping_key()).unwrap() != key);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_a_kit_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HeldKeys::new(folder.path());
        let (store, domain) = (StoreId([1; 16]), DomainId([2; 16]));
        keys.create(store, domain).unwrap();
        fs::remove_file(keys.kit_file()).unwrap();
        assert!(keys.create(store, DomainId([3; 16])).is_err());
        assert!(keys.get(store, domain).unwrap().is_some());
        let file = keys.key_file(store, domain);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(keys.get(store, domain).is_err());
    }
}
