//! The dialling end of the console port: what the command line uses from another host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::Value;
use simsim_net::tls::{Pin, TlsConnect};
use simsim_net::{Wire, dial};
use tokio_rustls::TlsConnector;

use crate::{ConsoleError, SecretText, dialled};

/// For all addresses of the server together.
const DIAL_PATIENCE: Duration = Duration::from_secs(15);

/// How the server proves that it is the one that is meant.
#[derive(Clone)]
pub struct ServerProof(Proof);

#[derive(Clone)]
enum Proof {
    /// It shows this key, whatever its certificate says.
    Pin(TlsConnect),
    /// Its certificate is signed by one of these, for the name that is dialled.
    Authority(TlsConnector),
}

impl ServerProof {
    /// By the SHA-256 of its key, 64 hexadecimal digits; colons may stand between.
    pub fn pin(text: &str) -> Result<Self, ConsoleError> {
        let wrong = || ConsoleError::Certificate {
            why: "a pin has 64 hexadecimal digits, the SHA-256 of the server's TLS key".to_owned(),
        };
        let digits: Vec<u32> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).ok_or_else(wrong))
            .collect::<Result<_, _>>()?;
        let mut pin = [0; 32];
        if digits.len() != 2 * pin.len() {
            return Err(wrong());
        }
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | (*digit as u8));
        }
        let connect = TlsConnect::new(vec![Pin(pin)], None)
            .map_err(|error| ConsoleError::Certificate { why: error.to_string() })?;
        Ok(Self(Proof::Pin(connect)))
    }

    /// By a file of certificates, PEM: of the authority that signed the server's, or that one itself.
    pub fn authority(file: &Path) -> Result<Self, ConsoleError> {
        let fail = |error: &dyn std::fmt::Display| ConsoleError::Certificate {
            why: format!("{}: {error}", file.display()),
        };
        let mut roots = rustls::RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| fail(&error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| fail(&error))?;
            roots.add(certificate).map_err(|error| fail(&error))?;
        }
        if roots.is_empty() {
            return Err(fail(&"there is no certificate in it"));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| fail(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Proof::Authority(TlsConnector::from(Arc::new(config)))))
    }
}

/// The pin of the first certificate in a file, PEM: what [`ServerProof::pin`] takes.
pub fn pin_of_file(file: &Path) -> Result<String, ConsoleError> {
    let fail = |error: &dyn std::fmt::Display| ConsoleError::Certificate {
        why: format!("{}: {error}", file.display()),
    };
    let certificate = CertificateDer::from_pem_file(file).map_err(|error| fail(&error))?;
    Ok(Pin::of(&certificate).map_err(|error| fail(&error))?.to_string())
}

/// A caller of a server on another host.
#[derive(Clone)]
pub struct RemoteClient {
    /// `host:port`.
    address: String,
    proof: ServerProof,
    token: SecretText,
}

impl RemoteClient {
    /// `url`: `https://host:port`; without a port, `port`.
    pub fn new(
        url: &str,
        port: u16,
        proof: ServerProof,
        token: SecretText,
    ) -> Result<Self, ConsoleError> {
        let wrong = || ConsoleError::Refused {
            kind: simsim_model::Kind::Invalid,
            message: format!(
                "'{}' names no server: write https://host or https://host:port",
                url.escape_debug()
            ),
        };
        let rest = url.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        let uri: hyper::Uri = rest.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str() != rest || rest.contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        let port = authority.port_u16().unwrap_or(port);
        Ok(Self { address: format!("{}:{port}", authority.host()), proof, token })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// One verb, one answer.
    pub async fn call(&self, verb: &str, body: &Value) -> Result<Value, ConsoleError> {
        dialled::document(self.send(verb, body).await?).await
    }

    /// One verb, a line of JSON at a time. `each` answers false to stop listening.
    pub async fn lines(
        &self,
        verb: &str,
        body: &Value,
        each: &mut (dyn FnMut(Value) -> bool + Send),
    ) -> Result<(), ConsoleError> {
        dialled::lines(self.send(verb, body).await?, each).await
    }

    async fn send(&self, verb: &str, body: &Value) -> Result<Response<Incoming>, ConsoleError> {
        let server = || self.address.clone();
        let tcp = dial(std::slice::from_ref(&self.address), DIAL_PATIENCE)
            .await
            .map_err(|error| ConsoleError::Away { server: server(), why: error.to_string() })?;
        match &self.proof.0 {
            Proof::Pin(connect) => {
                let stream = connect
                    .greet(&self.address, tcp)
                    .await
                    .map_err(|why| ConsoleError::NotTheServer { server: server(), why })?;
                self.ask(stream, verb, body).await
            }
            Proof::Authority(connector) => {
                let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let refused = |why: String| ConsoleError::NotTheServer { server: server(), why };
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| refused(error.to_string()))?;
                let stream = connector
                    .connect(name, tcp)
                    .await
                    .map_err(|error| refused(error.to_string()))?;
                self.ask(stream, verb, body).await
            }
        }
    }

    async fn ask<S: Wire>(
        &self,
        stream: S,
        verb: &str,
        body: &Value,
    ) -> Result<Response<Incoming>, ConsoleError> {
        dialled::send(stream, &self.address, Some(&self.token), verb, body).await
    }
}
