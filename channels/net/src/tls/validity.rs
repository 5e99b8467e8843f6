//! From when to when a certificate is good, for people who look after it.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;

/// The times in a certificate, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub not_before_unix_s: i64,
    pub not_after_unix_s: i64,
    /// It vouches for itself: no authority signed it.
    pub self_signed: bool,
}

impl Validity {
    /// That of the first certificate in a PEM text: the host's own.
    ///
    /// # Errors
    /// When there is no certificate in it, or one that cannot be read.
    pub fn of_pem(pem: &[u8]) -> Result<Self, TlsError> {
        let first = CertificateDer::from_pem_slice(pem).map_err(TlsError::certificate)?;
        let (_, certificate) = X509Certificate::from_der(&first).map_err(TlsError::certificate)?;
        let validity = certificate.validity();
        Ok(Self {
            not_before_unix_s: validity.not_before.timestamp(),
            not_after_unix_s: validity.not_after.timestamp(),
            self_signed: certificate.issuer() == certificate.subject(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_certificate_are_read_and_other_bytes_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["vault".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2031, 1, 1);
        let pem = params.self_signed(&key).unwrap().pem();
        let found = Validity::of_pem(pem.as_bytes()).unwrap();
        assert_eq!(found.not_before_unix_s, 1_709_164_800);
        assert_eq!(found.not_after_unix_s, 1_924_992_000);
        assert!(found.self_signed);
        Validity::of_pem(b"").unwrap_err();
        Validity::of_pem(pem.replace("MII", "AAA").as_bytes()).unwrap_err();
    }

    #[test]
    fn fuzz_certificates() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["vault".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        simsim_testkit::fuzz("certificate", &[pem], |bytes| {
            let _ = Validity::of_pem(bytes);
        });
    }
}
