//! The dialling end.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Pin, TlsError, TlsIdentity, provider};
use crate::Wire;

/// How to dial a host with TLS 1.3: by the keys that it may show, whatever its certificate says.
#[derive(Clone)]
pub struct TlsConnect {
    connector: TlsConnector,
}

impl TlsConnect {
    /// Takes a host with one of these keys. `own`: what this host shows where it is asked.
    ///
    /// # Errors
    /// When there is no key, or the crypto library refuses.
    pub fn new(pins: Vec<Pin>, own: Option<&TlsIdentity>) -> Result<Self, TlsError> {
        if pins.is_empty() {
            return Err(TlsError::setup("no key of the other side is known"));
        }
        Self::build(Some(pins), own.map(|own| (own, &[][..])), None)
    }

    /// As [`TlsConnect::new`], where the other side knows certain keys of this host: after a change of its
    /// key it shows the one of them that it still has.
    ///
    /// # Errors
    /// As there.
    pub fn known_by(pins: Vec<Pin>, own: &TlsIdentity, known: &[Pin]) -> Result<Self, TlsError> {
        if pins.is_empty() {
            return Err(TlsError::setup("no key of the other side is known"));
        }
        Self::build(Some(pins), Some((own, known)), None)
    }

    /// [`TlsConnect::new`], and both sides speak `protocol` (ALPN).
    ///
    /// # Errors
    /// As there.
    pub fn speaking(
        pins: Vec<Pin>,
        own: Option<&TlsIdentity>,
        protocol: &[u8],
    ) -> Result<Self, TlsError> {
        if pins.is_empty() {
            return Err(TlsError::setup("no key of the other side is known"));
        }
        Self::build(Some(pins), own.map(|own| (own, &[][..])), Some(protocol))
    }

    /// Takes whoever answers, for a connection on which both sides prove themselves afterwards:
    /// TLS is the envelope then and not the proof. `protocol`: what is spoken (ALPN, RFC 7301).
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn envelope(protocol: &[u8]) -> Result<Self, TlsError> {
        Self::build(None, None, Some(protocol))
    }

    fn build(
        pins: Option<Vec<Pin>>,
        own: Option<(&TlsIdentity, &[Pin])>,
        protocol: Option<&[u8]>,
    ) -> Result<Self, TlsError> {
        let expected = pins.iter().flatten().map(Pin::name).collect();
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { pins, expected, algorithms }));
        let mut config = match own {
            Some((own, known)) => builder.with_client_cert_resolver(own.shown_by_client(known)),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocol.map(<[u8]>::to_vec).into_iter().collect();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// The handshake on a connection to `address` (`host:port`).
    ///
    /// # Errors
    /// One sentence; another key than expected says so.
    pub async fn greet<S: Wire>(&self, address: &str, stream: S) -> Result<TlsStream<S>, String> {
        self.connector.connect(name_of(address), stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
            match inner {
                Some(Error::InvalidCertificate(
                    CertificateError::ApplicationVerificationFailure,
                )) => "it shows another key than the server knows of it: it is another host, or \
                     somebody stands between"
                    .to_owned(),
                _ => format!("no TLS there: {error}"),
            }
        })
    }
}

/// The name in the first message, as other tools send it too. What cannot be one is left out.
fn name_of(address: &str) -> ServerName<'static> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned())
        .unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()))
}

#[derive(Debug)]
struct Pinned {
    /// `None` takes any key.
    pins: Option<Vec<Pin>>,
    /// The same, said in the first message: a host whose key was changed still has the one before.
    expected: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pin = Pin::of(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.pins.as_ref().is_none_or(|pins| pins.contains(&pin)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        (!self.expected.is_empty()).then_some(&self.expected)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
