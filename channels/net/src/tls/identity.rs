//! A host's TLS key and the certificate that it shows.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, crypto::aws_lc_rs::sign::any_supported_type};

use super::digest::sha256;
use super::{Pin, TlsError};

/// A host's TLS key and certificate, kept in its state folder: `tls.key` and `tls.crt`, PEM, the
/// key of mode 0600. Made where they are missing: ECDSA P-256, which every TLS library knows, and a
/// certificate of its own until an authority's arrives. An administrator's pair may stand there
/// instead.
pub struct TlsIdentity {
    certificate_file: PathBuf,
    /// The raw public key where this suite made it.
    own_public: Option<Vec<u8>>,
    key: Arc<dyn rustls::sign::SigningKey>,
    pin: Pin,
    shown: Arc<Shown>,
}

/// First line of a key file that this suite made.
const MADE_HERE: &str = "made by simsim; a pair of your own may stand here and in tls.crt instead";

/// What is shown now. Replaced as a whole; connections under way keep theirs.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn now(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsIdentity({})", self.pin)
    }
}

impl TlsIdentity {
    /// Reads the pair from the folder, or makes it for the given names of this host.
    ///
    /// # Errors
    /// Files that cannot be read or written, or that do not belong together.
    pub fn open(folder: &Path, names: &[String]) -> Result<Self, TlsError> {
        let (key_file, certificate_file) = (folder.join("tls.key"), folder.join("tls.crt"));
        if !key_file.exists() {
            let key = KeyPair::generate().map_err(TlsError::setup)?;
            let text = format!("{MADE_HERE}\n{}", key.serialize_pem());
            write(&key_file, text.as_bytes(), 0o600)?;
        }
        let key_pem = read(&key_file)?;
        let content = |file: &Path, why: String| TlsError::Content { file: file.to_owned(), why };
        // What stands above a PEM block is for people: an administrator's key has no such line.
        let own = KeyPair::from_pem(&String::from_utf8_lossy(&key_pem))
            .ok()
            .filter(|_| key_pem.starts_with(MADE_HERE.as_bytes()));
        if !certificate_file.exists() {
            let Some(own) = &own else {
                let why = "there is a key and no certificate: put the certificate there as tls.crt";
                return Err(content(&key_file, why.to_owned()));
            };
            let made = self_signed(own, names)?;
            write(&certificate_file, made.as_bytes(), 0o644)?;
        }
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|error| content(&key_file, error.to_string()))?;
        let key =
            any_supported_type(&key).map_err(|error| content(&key_file, error.to_string()))?;
        let chain = chain(&read(&certificate_file)?)
            .map_err(|error| content(&certificate_file, error.to_string()))?;
        let (shown, pin) =
            pair(&key, chain).map_err(|error| content(&certificate_file, error.to_string()))?;
        let own_public = own
            .filter(|own| own.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256)
            .map(|own| own.der_bytes().to_vec());
        let shown = Arc::new(Shown(RwLock::new(Arc::new(shown))));
        Ok(Self { certificate_file, own_public, key, pin, shown })
    }

    /// Whether the key in this folder is one that the suite made, and not an administrator's.
    pub fn is_made_here(folder: &Path) -> bool {
        fs::read(folder.join("tls.key")).is_ok_and(|key| key.starts_with(MADE_HERE.as_bytes()))
    }

    /// The fingerprint of this host's key.
    pub fn pin(&self) -> Pin {
        self.pin
    }

    /// The public key for a certificate: an uncompressed P-256 point of 65 bytes. `None` where the
    /// pair is an administrator's, which has a certificate of its own.
    pub fn public_key(&self) -> Option<&[u8]> {
        self.own_public.as_deref()
    }

    /// SHA-256 of the certificate that is shown (its DER), by which one knows whether it is the last one
    /// that was given.
    pub fn certificate_digest(&self) -> [u8; 32] {
        self.shown.now().cert.first().map_or([0; 32], |certificate| sha256(certificate))
    }

    /// The certificates that are shown, this host's first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.shown.now().cert.clone()
    }

    /// Shows another certificate of the same key from now on, and keeps it (PEM, the host's own
    /// first). Connections under way go on.
    ///
    /// # Errors
    /// A certificate of another key, or a file that cannot be written; what was shown before is
    /// shown on.
    pub fn install(&self, chain_pem: &str) -> Result<(), TlsError> {
        if self.own_public.is_none() {
            return Err(TlsError::certificate(
                "the pair is the administrator's and stays as it is",
            ));
        }
        let (shown, _) = pair(&self.key, chain(chain_pem.as_bytes())?)?;
        // Held while the file is written: the last one that is shown is the one that is kept.
        let mut showing = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        write(&self.certificate_file, chain_pem.as_bytes(), 0o644)?;
        *showing = Arc::new(shown);
        Ok(())
    }

    pub(super) fn shown_by_server(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.shown) as Arc<_>
    }

    pub(super) fn shown_by_client(&self) -> Arc<dyn ResolvesClientCert> {
        Arc::clone(&self.shown) as Arc<_>
    }
}

/// A certificate that the host signs itself; nobody trusts it but by its pin.
fn self_signed(key: &KeyPair, names: &[String]) -> Result<String, TlsError> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(TlsError::setup)?;
    params.distinguished_name = DistinguishedName::new();
    let name = names.first().map_or("simsim", String::as_str);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params.self_signed(key).map_err(TlsError::setup)?.pem())
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::certificate)?;
    if chain.is_empty() {
        return Err(TlsError::certificate("there is none"));
    }
    Ok(chain)
}

fn pair(
    key: &Arc<dyn rustls::sign::SigningKey>,
    chain: Vec<CertificateDer<'static>>,
) -> Result<(CertifiedKey, Pin), TlsError> {
    let pin = Pin::of(chain.first().ok_or_else(|| TlsError::certificate("there is none"))?)?;
    let shown = CertifiedKey::new(chain, Arc::clone(key));
    // A kind of key that cannot say whether they belong together passes; the handshake will tell.
    match shown.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok((shown, pin))
        }
        Err(error) => Err(TlsError::certificate(format!("it is not this key's: {error}"))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::File { file: file.to_owned(), source })
}

/// Complete or not at all: a new file takes the old one's place.
fn write(file: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let wrote = (|| -> io::Result<()> {
        // A leftover may have another mode.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = fs::OpenOptions::new();
        let mut opened = options.write(true).create_new(true).mode(mode).open(&new)?;
        opened.write_all(bytes)?;
        opened.sync_all()?;
        fs::rename(&new, file)?;
        fs::File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
    })();
    wrote.map_err(|source| TlsError::File { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Authority, CertificateWish, Peers, TlsConnect, TlsDoor, certificate_digest};

    fn wish<'w>(key: &'w [u8], hosts: &'w [String]) -> CertificateWish<'w> {
        CertificateWish { name: "vault", hosts, public_key: key, now_unix_s: 1_800_000_000 }
    }

    #[test]
    fn a_pair_is_made_once_and_takes_a_certificate_of_its_own_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["vault".to_owned()];
        let first = TlsIdentity::open(folder.path(), &names).unwrap();
        let again = TlsIdentity::open(folder.path(), &names).unwrap();
        assert_eq!(first.pin(), again.pin());
        let other = tempfile::tempdir().unwrap();
        let other = TlsIdentity::open(other.path(), &names).unwrap();
        assert_ne!(first.pin(), other.pin());

        let authority = Authority::create("main", 1_800_000_000).unwrap();
        let hosts = ["vault".to_owned(), "192.0.2.1".to_owned(), "2001:db8::1".to_owned()];
        let chain = authority.sign(&wish(first.public_key().unwrap(), &hosts), None).unwrap();
        let before = first.chain();
        assert!(other.install(&chain).is_err(), "it is another key's");
        assert!(first.install("no certificate").is_err());
        assert_eq!(first.chain(), before);
        first.install(&chain).unwrap();
        assert_eq!(first.chain().len(), 2);
        assert_eq!(first.certificate_digest(), certificate_digest(&chain).unwrap());
        assert_ne!(first.certificate_digest(), other.certificate_digest());
        let again = TlsIdentity::open(folder.path(), &names).unwrap();
        assert_eq!((again.chain(), again.pin()), (first.chain(), first.pin()));
        assert!(authority.sign(&wish(&[4; 64], &hosts), None).is_err());
        assert!(authority.sign(&wish(&[3; 65], &hosts), None).is_err());
    }

    #[tokio::test]
    async fn hosts_of_the_suite_do_not_mind_a_certificate_that_ran_out() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["vault".to_owned()];
        let host = TlsIdentity::open(folder.path(), &names).unwrap();
        // Ninety days from September 2001 on.
        let authority = Authority::create("main", 1_000_000_000).unwrap();
        let key = host.public_key().unwrap();
        let wish = CertificateWish {
            name: "vault",
            hosts: &names,
            public_key: key,
            now_unix_s: 1_000_000_000,
        };
        host.install(&authority.sign(&wish, None).unwrap()).unwrap();
        let door = TlsDoor::new(&host, Peers::Anybody).unwrap();
        let dialler = TlsConnect::new(vec![host.pin()], None).unwrap();
        let (here, there) = tokio::io::duplex(1 << 16);
        let within = std::time::Duration::from_secs(60);
        let (greeted, welcomed) =
            tokio::join!(dialler.greet("vault:1", here), door.welcome(there, within));
        greeted.unwrap();
        welcomed.unwrap();
    }

    #[test]
    fn a_pair_of_the_administrator_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = self_signed(&key, &["vault".to_owned()]).unwrap();
        std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
        let alone = TlsIdentity::open(folder.path(), &[]).unwrap_err().to_string();
        assert!(alone.contains("tls.crt") || alone.contains("tls.key"), "{alone}");
        std::fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        let identity = TlsIdentity::open(folder.path(), &[]).unwrap();
        assert_eq!(identity.public_key(), None, "nobody signs another one for it");
    }
}
