//! The suite's own certificate authority, for the tools of others.
//!
//! A server makes one. It signs a certificate for every host's key, so that whoever trusts the one
//! authority (`curl --cacert`, a browser) can talk to every host of the suite.
//!
//! It is replaced by one of the same name with another key. The old one signs the new key, once: this
//! *cross certificate* stands behind a host's own, and leads those who trust only the old authority
//! to the host as well. Those who trust the new one pass it over. Because both have one name it counts
//! as self-issued, which the path lengths of RFC 5280 (section 4.2.1.9) leave out.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SerialNumber, SignatureAlgorithm,
    date_time_ymd,
};
use time::OffsetDateTime;

use super::TlsError;

/// Twenty years: longer than any certificate that it signs.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// Short, because there is no list of certificates that were taken back.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(Authority::CERTIFICATE_DAYS * 86_400);
/// Clocks of others may be slow by this much.
const CLOCKS_DIFFER: Duration = Duration::from_secs(86_400);

/// Bytes of an uncompressed P-256 point.
const POINT_BYTES: usize = 65;

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct CertificateWish<'w> {
    /// The host as it is called in the suite.
    pub name: &'w str,
    /// Host names and IP addresses under which others reach it.
    pub hosts: &'w [String],
    /// [`super::TlsIdentity::public_key`].
    pub public_key: &'w [u8],
    pub now_unix_s: u64,
}

/// A certificate authority: ECDSA P-256, path length 1: its successor may stand between.
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// So long is a certificate good.
    pub const CERTIFICATE_DAYS: u64 = 90;

    /// Makes one, named after the server.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn create(server: &str, now_unix_s: u64) -> Result<Self, TlsError> {
        let key = KeyPair::generate().map_err(TlsError::setup)?;
        let params = authority_params(server, 1, now_unix_s, AUTHORITY_LIFE);
        let certificate_pem = params.self_signed(&key).map_err(TlsError::setup)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { certificate_pem, key_pem, issuer: Issuer::new(params, key) })
    }

    /// Takes up one that was made under this name.
    ///
    /// # Errors
    /// A key that cannot be read.
    pub fn open(server: &str, certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(key_pem).map_err(TlsError::certificate)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            issuer: Issuer::new(authority_params(server, 1, 0, AUTHORITY_LIFE), key),
        })
    }

    /// Signs the key of another authority of the same name: PEM, good for so long. For who trusts this
    /// authority and is shown a certificate of the other one.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn vouch_for(
        &self,
        other: &Self,
        server: &str,
        now_unix_s: u64,
        life: Duration,
    ) -> Result<String, TlsError> {
        let mut params = authority_params(server, 0, now_unix_s, life);
        params.serial_number = Some(serial()?);
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(other.issuer.key(), &self.issuer).map_err(TlsError::setup)?;
        Ok(signed.pem())
    }

    /// What others must trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The secret part; keep it sealed.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Signs a certificate of 90 days: a PEM chain, the host's first and then the authority's, or in its
    /// place the cross certificate that leads to it.
    ///
    /// # Errors
    /// A public key that is no P-256 point, or a host name that cannot stand in a certificate.
    pub fn sign(
        &self,
        wish: &CertificateWish<'_>,
        through: Option<&str>,
    ) -> Result<String, TlsError> {
        let point = wish.public_key;
        if point.len() != POINT_BYTES || point.first() != Some(&4) {
            return Err(TlsError::certificate("the public key is no P-256 point"));
        }
        let mut params =
            CertificateParams::new(wish.hosts.to_vec()).map_err(TlsError::certificate)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, wish.name);
        params.not_before = moment(wish.now_unix_s) - CLOCKS_DIFFER;
        params.not_after = moment(wish.now_unix_s) + CERTIFICATE_LIFE;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.serial_number = Some(serial()?);
        params.use_authority_key_identifier_extension = true;
        let signed =
            params.signed_by(&Point(point), &self.issuer).map_err(TlsError::certificate)?;
        Ok(format!("{}{}", signed.pem(), through.unwrap_or(&self.certificate_pem)))
    }
}

/// A serial number is used once (RFC 5280, section 4.1.2.2), also for the same key.
fn serial() -> Result<SerialNumber, TlsError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| TlsError::setup("no random bytes"))?;
    if let Some(first) = serial.first_mut() {
        *first &= 0x7f;
    }
    Ok(SerialNumber::from_slice(&serial))
}

fn authority_params(
    server: &str,
    path_length: u8,
    now_unix_s: u64,
    life: Duration,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("simsim authority of {server}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = moment(now_unix_s) - CLOCKS_DIFFER;
    params.not_after = moment(now_unix_s) + life;
    params
}

fn moment(unix_s: u64) -> OffsetDateTime {
    date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s)
}

/// A public key whose secret half is elsewhere.
struct Point<'p>(&'p [u8]);

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}
