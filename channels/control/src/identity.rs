//! The identity of a host: one Ed25519 key pair in one file that only its owner can read.
//!
//! The file is OpenSSH's private key format, so that `ssh-keygen` can show its fingerprint. The
//! same key is the host key of the listener and the key with which a server logs in elsewhere.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::Ed25519KeyPair;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::{ControlError, PublicKey};

/// Bytes of an identity file at most; a real one has about 400.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// A key pair. Clones share it; the private half never shows and is wiped with the last clone.
#[derive(Clone)]
pub struct Identity {
    key: Arc<PrivateKey>,
    public: PublicKey,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public.fingerprint())
    }
}

impl Identity {
    /// A new key pair from the system's random source.
    ///
    /// # Panics
    /// When the system has no random source; nothing secure can be done then.
    pub fn generate() -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        assert!(
            SystemRandom::new().fill(seed.as_mut_slice()).is_ok(),
            "the system has no random source"
        );
        let pair = Ed25519Keypair::from_seed(&seed);
        let public = PublicKey(pair.public.0);
        Self { key: Arc::new(PrivateKey::from(pair)), public }
    }

    /// Reads an identity file.
    ///
    /// # Errors
    /// `NotFound`; `Denied` when group or others may read the file; `Corrupt` when it is not an
    /// Ed25519 key without passphrase.
    pub fn load(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::IdentityFile { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(ControlError::IdentityExposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        PrivateKey::from_openssh(text.as_bytes())
            .ok()
            .filter(|key| !key.is_encrypted())
            .and_then(|key| {
                let public = PublicKey::from_ssh(key.public_key())?;
                Some(Self { key: Arc::new(key), public })
            })
            .ok_or_else(|| ControlError::IdentityDamaged { path: path.to_owned() })
    }

    /// Reads the identity file, or makes one where there is none. Durable before it returns; of
    /// two callers at once both get the same identity.
    ///
    /// # Errors
    /// As [`Identity::load`], and those of writing.
    pub fn load_or_create(path: &Path) -> Result<Self, ControlError> {
        match Self::load(path) {
            Err(ControlError::IdentityFile { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                let new = Self::generate();
                match new.write(path) {
                    Ok(()) => Ok(new),
                    // Another process was first.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
                    Err(source) => {
                        Err(ControlError::IdentityFile { path: path.to_owned(), source })
                    }
                }
            }
            result => result,
        }
    }

    /// Writes a new file of mode 0600: complete under its name, or not there. Never replaces one.
    fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = directory.join(name);
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::hard_link(&temporary, path));
        // The name is only in the way from here on, whatever happened.
        let _ = fs::remove_file(&temporary);
        written?;
        File::open(directory)?.sync_all()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// `SHA256:…` of the public half.
    pub fn fingerprint(&self) -> String {
        self.public.fingerprint()
    }

    /// Signs as RFC 8032 says. The message begins with the purpose of the signature. `None` only
    /// for a key that the crypto library does not take.
    pub fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let pair = self.key.key_data().ed25519()?;
        let seed = Zeroizing::new(pair.private.to_bytes());
        let pair =
            Ed25519KeyPair::from_seed_and_public_key(seed.as_slice(), &self.public.0).ok()?;
        pair.sign(message).as_ref().try_into().ok()
    }

    pub(crate) fn private(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simsim_model::Kind;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_made_once_with_mode_0600_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(Identity::load_or_create(&path).unwrap().public(), made.public());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(made.write(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let secret = made.private().key_data().ed25519().unwrap().private.to_bytes();
        let shown = format!("{made:?}").into_bytes();
        assert!(!shown.windows(8).any(|window| window == &secret[..8]));
    }

    #[test]
    fn exposed_damaged_and_missing_files_are_refused_with_a_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        assert_eq!(Identity::load(&path).unwrap_err().kind(), Kind::NotFound);
        Identity::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read(&path).unwrap();
        for damaged in [&text[..text.len() / 2], b"", b"nonsense"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(Identity::load_or_create(&path).unwrap_err().kind(), Kind::Corrupt);
        }
    }
}
