//! The listening end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Pin, TlsError, TlsIdentity, provider};

/// Who may come in.
#[derive(Clone)]
pub enum Peers {
    /// Anybody; who it is comes out above TLS.
    Anybody,
    /// Only hosts that show a key for which this says yes.
    Known(Arc<dyn Fn(&Pin) -> bool + Send + Sync>),
}

/// A door with TLS 1.3.
#[derive(Clone)]
pub struct TlsDoor {
    acceptor: TlsAcceptor,
}

impl TlsDoor {
    /// A door that shows the identity's certificate, as it is when somebody knocks.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn new(identity: &TlsIdentity, peers: Peers) -> Result<Self, TlsError> {
        Self::speaking(identity, peers, &[])
    }

    /// As [`TlsDoor::new`], for a door behind which several protocols are spoken (ALPN, RFC 7301).
    /// Who names none comes in as well; who names others only is turned away.
    ///
    /// # Errors
    /// When the crypto library refuses.
    pub fn speaking(
        identity: &TlsIdentity,
        peers: Peers,
        protocols: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::setup)?;
        let mutual = matches!(peers, Peers::Known(_));
        let builder = match peers {
            Peers::Anybody => builder.with_no_client_auth(),
            Peers::Known(known) => {
                builder.with_client_cert_verifier(Arc::new(KnownKeys { known, algorithms }))
            }
        };
        let mut config = builder.with_cert_resolver(identity.shown_by_server());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        if mutual {
            // A resumed session asks for no certificate: a revoked host would come in.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The same door without tickets for later sessions. Who only sends never reads them, and a
    /// connection that is closed upon bytes that nobody read is reset: what was sent last may be lost.
    #[must_use]
    pub fn without_tickets(&self) -> Self {
        let mut config = rustls::ServerConfig::clone(self.acceptor.config());
        config.send_tls13_tickets = 0;
        Self { acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    /// The handshake of one connection, and the key of the host that came, where it showed one.
    ///
    /// # Errors
    /// One sentence: what the other side did.
    pub async fn welcome<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        within: Duration,
    ) -> Result<(TlsStream<S>, Option<Pin>), String> {
        let stream = tokio::time::timeout(within, self.acceptor.accept(stream))
            .await
            .map_err(|_| format!("no TLS handshake within {} s", within.as_secs()))?
            .map_err(|error| error.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let pin = shown.and_then(|certificate| Pin::of(certificate).ok());
        Ok((stream, pin))
    }
}

/// Takes certificates by their key. The chain and its dates are of no matter.
struct KnownKeys {
    known: Arc<dyn Fn(&Pin) -> bool + Send + Sync>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownKeys")
    }
}

impl ClientCertVerifier for KnownKeys {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let pin = Pin::of(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if (self.known)(&pin) {
            return Ok(ClientCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
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
