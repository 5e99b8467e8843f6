//! The public half of a host's identity.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use russh::keys::ssh_key;
use ssh_key::public::{Ed25519PublicKey, KeyData};

/// An Ed25519 public key. Its text is OpenSSH's (`ssh-ed25519 AAAA…`), its fingerprint what
/// `ssh-keygen -lf` prints.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// A text that is not an Ed25519 public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key in OpenSSH form ('ssh-ed25519 AAAA…')")]
pub struct ParseKeyError;

impl PublicKey {
    /// The 32 bytes of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `SHA256:…`, as OpenSSH shows it.
    pub fn fingerprint(&self) -> String {
        self.to_ssh().fingerprint(ssh_key::HashAlg::Sha256).to_string()
    }

    /// The short fingerprint of join codes: the first 16 bytes of the key's BLAKE3.
    pub fn short_fingerprint(&self) -> [u8; 16] {
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(blake3::hash(&self.0).as_bytes()) {
            *to = *from;
        }
        short
    }

    /// The short fingerprint as text: `BLAKE3:…`.
    pub(crate) fn short_text(&self) -> String {
        short_text(self.short_fingerprint())
    }

    /// Did the owner of this key sign the message?
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    pub(crate) fn to_ssh(self) -> ssh_key::PublicKey {
        KeyData::Ed25519(Ed25519PublicKey(self.0)).into()
    }

    /// `None` for keys of other algorithms.
    pub(crate) fn from_ssh(key: &ssh_key::PublicKey) -> Option<Self> {
        key.key_data().ed25519().map(|key| Self(key.0))
    }
}

/// A short fingerprint as text.
pub(crate) fn short_text(fingerprint: [u8; 16]) -> String {
    format!("BLAKE3:{}", data_encoding::HEXLOWER.encode(&fingerprint))
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_ssh().to_openssh().map_err(|_| fmt::Error)?.trim_end())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint())
    }
}

impl FromStr for PublicKey {
    type Err = ParseKeyError;

    /// A comment behind the key is allowed, and not kept.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        ssh_key::PublicKey::from_openssh(text.trim())
            .ok()
            .and_then(|key| Self::from_ssh(&key))
            .ok_or(ParseKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_other_keys() {
        let key = crate::Identity::generate().public();
        let text = key.to_string();
        assert!(text.starts_with("ssh-ed25519 AAAA"), "{text}");
        assert_eq!(text.parse(), Ok(key));
        assert_eq!(format!(" {text} somebody@host\n").parse(), Ok(key));
        assert!(key.fingerprint().starts_with("SHA256:"));
        for bad in ["", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB"] {
            assert_eq!(bad.parse::<PublicKey>(), Err(ParseKeyError), "{bad}");
        }
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBB\
                     HwaIqpMGqpPLGCuFHo3BVpXu0tSIcWNuLqcCFqBZR0J2ZzVhQ4QGSbzmhHoGvBBn5aYx1xdYmFiYn\
                     Hw6Kmcl5U=";
        assert_eq!(ecdsa.parse::<PublicKey>(), Err(ParseKeyError));
    }
}
