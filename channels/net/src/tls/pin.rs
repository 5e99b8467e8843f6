//! The fingerprint of a TLS key.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

use super::TlsError;
use super::digest::sha256;

/// SHA-256 of a certificate's public key (DER of its SubjectPublicKeyInfo, RFC 7469 section 2.4),
/// 32 bytes. A new certificate for the same key has the same pin.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// The pin of a certificate's key.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let parsed = ParsedCertificate::try_from(certificate).map_err(TlsError::certificate)?;
        Ok(Self::of_key(&parsed.subject_public_key_info()))
    }

    pub(super) fn of_key(key: &[u8]) -> Self {
        Self(sha256(key))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}
