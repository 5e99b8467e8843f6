//! A TLS key with the certificate that is shown for it.

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};

use super::{Pin, TlsError};

/// First line of a key file that this suite made.
const MADE_HERE: &str = "made by simsim; a pair of your own may stand here and in tls.crt instead";

/// Both in memory, belonging together.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    key: Arc<dyn SigningKey>,
    pub pin: Pin,
    /// The raw public key where this suite made it.
    pub own_public: Option<Vec<u8>>,
    pub shown: Arc<CertifiedKey>,
}

impl Pair {
    /// From the texts of the two files.
    ///
    /// # Errors
    /// Texts that nobody can read, or that do not belong together.
    pub fn read(key_pem: &[u8], chain_pem: &[u8]) -> Result<Self, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(TlsError::certificate)?;
        let key = any_supported_type(&key).map_err(TlsError::certificate)?;
        let own_public = own_key(key_pem)
            .filter(|own| own.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(|own| own.der_bytes().to_vec());
        Self::of(key, own_public, chain_pem)
    }

    /// The same key with another certificate.
    ///
    /// # Errors
    /// When it is another key's.
    pub fn with_chain(&self, chain_pem: &[u8]) -> Result<Self, TlsError> {
        Self::of(Arc::clone(&self.key), self.own_public.clone(), chain_pem)
    }

    fn of(
        key: Arc<dyn SigningKey>,
        own_public: Option<Vec<u8>>,
        chain_pem: &[u8],
    ) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(TlsError::certificate)?;
        let pin = Pin::of(chain.first().ok_or_else(|| TlsError::certificate("there is none"))?)?;
        let shown = CertifiedKey::new(chain, Arc::clone(&key));
        // A kind of key that cannot say whether they belong together passes; the handshake will tell.
        match shown.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(Self { key, pin, own_public, shown: Arc::new(shown) })
            }
            Err(error) => Err(TlsError::certificate(format!("it is not this key's: {error}"))),
        }
    }
}

/// The text of a key file that this suite makes: ECDSA P-256, which every TLS library knows.
pub(super) fn new_key() -> Result<String, TlsError> {
    let key = KeyPair::generate().map_err(TlsError::setup)?;
    Ok(format!("{MADE_HERE}\n{}", key.serialize_pem()))
}

/// Whether this suite made the key. What stands above a PEM block is for people: an administrator's key
/// has no such line.
pub(super) fn is_made_here(key_pem: &[u8]) -> bool {
    key_pem.starts_with(MADE_HERE.as_bytes())
}

/// The key, where this suite made it.
pub(super) fn own_key(key_pem: &[u8]) -> Option<KeyPair> {
    let key = KeyPair::from_pem(&String::from_utf8_lossy(key_pem)).ok();
    key.filter(|_| is_made_here(key_pem))
}

/// A certificate that the host signs itself, PEM; nobody trusts it but by its pin.
pub(super) fn self_signed(key: &KeyPair, names: &[String]) -> Result<String, TlsError> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(TlsError::setup)?;
    params.distinguished_name = DistinguishedName::new();
    let name = names.first().map_or("simsim", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params.self_signed(key).map_err(TlsError::setup)?.pem())
}
