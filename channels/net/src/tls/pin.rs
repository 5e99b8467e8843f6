//! The fingerprint of a TLS key.

use std::fmt;

use rustls::DistinguishedName;
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

    /// The pin as a name, by which a host that dials says which keys it expects. It is the name of no
    /// authority: `CN=` and 64 hexadecimal digits, DER (RFC 5280, section 4.1.2.4).
    pub(super) fn name(&self) -> DistinguishedName {
        let text = self.to_string();
        let value = tagged(0x0c, text.as_bytes());
        let common_name = [0x06, 0x03, 0x55, 0x04, 0x03];
        let attribute = tagged(0x30, &[&common_name[..], &value].concat());
        DistinguishedName::in_sequence(&tagged(0x31, &attribute))
    }

    pub(super) fn of_key(key: &[u8]) -> Self {
        Self(sha256(key))
    }
}

/// DER of something short.
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap_or(0);
    [&[tag, length][..], content].concat()
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

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Name};

    use super::*;

    #[test]
    fn the_name_of_a_pin_is_one_that_others_can_read() {
        let pin = Pin([0xa5; 32]);
        let name = pin.name();
        let (rest, read) = X509Name::from_der(name.as_ref()).unwrap();
        assert_eq!(read.to_string(), format!("CN={}", "a5".repeat(32)));
        assert!(rest.is_empty());
        assert_ne!(name.as_ref(), Pin([0xa4; 32]).name().as_ref());
    }
}
