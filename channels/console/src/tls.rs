//! The console's certificate: made once, kept in the server's state folder.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::ConsoleError;

/// Certificate and key of the console port.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<rustls::ServerConfig>,
}

impl TlsIdentity {
    /// Reads `console.crt` and `console.key` from the folder, or makes a self-signed pair for the
    /// given names. An administrator may put a pair of their own there.
    pub fn open(folder: &Path, names: Vec<String>) -> Result<Self, ConsoleError> {
        let fail = |why: String| ConsoleError::Certificate { why };
        let (certificate_file, key_file) = (folder.join("console.crt"), folder.join("console.key"));
        if !certificate_file.exists() || !key_file.exists() {
            let made = rcgen::generate_simple_self_signed(names)
                .map_err(|error| fail(error.to_string()))?;
            write(&key_file, made.signing_key.serialize_pem().as_bytes(), 0o600)?;
            write(&certificate_file, made.cert.pem().as_bytes(), 0o644)?;
        }
        let certificates = CertificateDer::pem_file_iter(&certificate_file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| fail(format!("{}: {error}", certificate_file.display())))?;
        let key = PrivateKeyDer::from_pem_file(&key_file)
            .map_err(|error| fail(format!("{}: {error}", key_file.display())))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| fail(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), ConsoleError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|error| ConsoleError::Certificate { why: format!("{}: {error}", path.display()) })
}
