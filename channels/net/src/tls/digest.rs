//! The fingerprint of a certificate, as `openssl x509 -fingerprint -sha256` shows it.

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::TlsError;

/// SHA-256 of the first certificate in a PEM text (of its DER).
///
/// # Errors
/// When there is no certificate in it.
pub fn certificate_digest(pem: &str) -> Result<[u8; 32], TlsError> {
    let first = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(TlsError::certificate)?;
    Ok(sha256(&first))
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    hash
}
