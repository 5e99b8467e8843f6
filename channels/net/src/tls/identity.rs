//! A host's TLS key and the certificate that it shows.
//!
//! The key is changed while everything runs. Whatever began before knows the host by its old pin, and may
//! dial or be dialled again: so the old key stays in memory for as long as a ticket can live, and is
//! shown to those who ask for it and to nobody else. Who dials says which keys it expects
//! (`certificate_authorities`, RFC 8446 section 4.2.4); a job of this host shows the key that it began
//! with. On the disk there is one pair only.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::digest::sha256;
use super::pair::{Pair, is_made_here, new_key, own_key, self_signed};
use super::pair_files::PairFiles;
use super::{Pin, TlsError};

/// A key that was replaced is shown to those who ask for it for so long: the longest ticket lives
/// seven days.
const FORMER_KEPT: Duration = Duration::from_secs(8 * 86_400);
/// Replaced keys that are kept at a time; the oldest goes first.
const FORMER_MAX: usize = 16;

/// A host's TLS key and certificate, kept in its state folder: `tls.key` and `tls.crt`, PEM, the
/// key of mode 0600. Made where they are missing: ECDSA P-256, which every TLS library knows, and a
/// certificate of its own until an authority's arrives. An administrator's pair may stand there
/// instead.
pub struct TlsIdentity {
    files: PairFiles,
    names: Vec<String>,
    /// The text of the key file. Held while something is changed.
    key_pem: Mutex<Vec<u8>>,
    pairs: Arc<Pairs>,
}

/// A key that was made and is not shown yet.
#[derive(Debug, Clone)]
pub struct NextKey {
    pub pin: Pin,
    /// An uncompressed P-256 point of 65 bytes, for a certificate.
    pub public_key: Vec<u8>,
}

/// What is shown. Replaced as a whole; connections under way keep theirs.
#[derive(Debug)]
struct Pairs(RwLock<Held>);

#[derive(Debug)]
struct Held {
    current: Pair,
    /// Oldest first, with the moment from when on nobody sees it any more.
    former: Vec<(Pair, Instant)>,
}

impl Pairs {
    fn current(&self) -> Pair {
        self.0.read().unwrap_or_else(PoisonError::into_inner).current.clone()
    }

    /// The pair for somebody who expects certain keys: the current one if it is among them, or if none is.
    fn expected(&self, expects: impl Fn(&Pin) -> bool) -> Pair {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if !expects(&held.current.pin) {
            let now = Instant::now();
            let mut former = held.former.iter().rev();
            if let Some((pair, _)) = former.find(|(pair, until)| *until > now && expects(&pair.pin))
            {
                return pair.clone();
            }
        }
        held.current.clone()
    }
}

impl ResolvesServerCert for Pairs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let expected = hello.certificate_authorities().unwrap_or_default();
        let pair = self.expected(|pin| {
            let name = pin.name();
            expected.iter().any(|one| one.as_ref() == name.as_ref())
        });
        Some(pair.shown)
    }
}

/// One key, whatever becomes of its host's.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesClientCert for Only {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsIdentity({})", self.pin())
    }
}

impl TlsIdentity {
    /// Reads the pair from the folder, or makes it for the given names of this host. A change of the key
    /// that a death cut off is brought to its end.
    ///
    /// # Errors
    /// Files that cannot be read or written, or that do not belong together.
    pub fn open(folder: &Path, names: &[String]) -> Result<Self, TlsError> {
        let files = PairFiles::new(folder);
        let (current, key_pem) = files.open(names)?;
        Ok(Self {
            files,
            names: names.to_vec(),
            key_pem: Mutex::new(key_pem),
            pairs: Arc::new(Pairs(RwLock::new(Held { current, former: Vec::new() }))),
        })
    }

    /// Whether the key in this folder is one that the suite made, and not an administrator's.
    pub fn is_made_here(folder: &Path) -> bool {
        std::fs::read(folder.join("tls.key")).is_ok_and(|key| is_made_here(&key))
    }

    /// The fingerprint of this host's key.
    pub fn pin(&self) -> Pin {
        self.pairs.current().pin
    }

    /// The public key for a certificate: an uncompressed P-256 point of 65 bytes. `None` where the
    /// pair is an administrator's, which has a certificate of its own.
    pub fn public_key(&self) -> Option<Vec<u8>> {
        self.pairs.current().own_public
    }

    /// SHA-256 of the certificate that is shown (its DER), by which one knows whether it is the last one
    /// that was given.
    pub fn certificate_digest(&self) -> [u8; 32] {
        self.chain().first().map_or([0; 32], |certificate| sha256(certificate))
    }

    /// The certificates that are shown, this host's first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.pairs.current().shown.cert.clone()
    }

    /// Shows another certificate of the same key from now on, and keeps it (PEM, the host's own
    /// first). Connections under way go on.
    ///
    /// # Errors
    /// A certificate of another key, a pair of the administrator, or a file that cannot be written;
    /// what was shown before is shown on.
    pub fn install(&self, chain_pem: &str) -> Result<(), TlsError> {
        let key_pem = self.ours()?;
        self.install_for(&key_pem, chain_pem)
    }

    fn install_for(&self, key_pem: &[u8], chain_pem: &str) -> Result<(), TlsError> {
        let pair = self.pairs.current().with_chain(chain_pem.as_bytes())?;
        self.files.still_holds(key_pem)?;
        self.files.keep_certificate(chain_pem)?;
        self.pairs.0.write().unwrap_or_else(PoisonError::into_inner).current = pair;
        Ok(())
    }

    /// Makes a key that will take the place of this one, and keeps it beside it. An earlier one that was
    /// not taken is forgotten, also when the daemon ends.
    ///
    /// # Errors
    /// A pair of the administrator, or a file that cannot be written.
    pub fn prepare_key(&self) -> Result<NextKey, TlsError> {
        let key_pem = self.ours()?;
        self.files.still_holds(&key_pem)?;
        let next = new_key()?;
        let (pair, _) = self.next_pair(next.as_bytes(), None)?;
        self.files.keep_next_key(&next)?;
        Ok(NextKey { pin: pair.pin, public_key: pair.own_public.unwrap_or_default() })
    }

    /// Shows the key that was prepared from now on, with this certificate of it (PEM, the host's own
    /// first) or one of its own. Connections under way go on, and what was begun with the old key
    /// finds it for some days; with `forget` nobody does. Once more with the key that is shown
    /// already: nothing, but for `forget`. When it returns the old key is not on the disk any more.
    ///
    /// # Errors
    /// No such key was prepared; a certificate of another one; a pair of the administrator; a file that
    /// cannot be written. The old pair is shown on then.
    pub fn switch_key(
        &self,
        pin: Pin,
        chain_pem: Option<&str>,
        forget: bool,
    ) -> Result<(), TlsError> {
        let mut key_pem = self.ours()?;
        if self.pin() != pin {
            self.files.still_holds(&key_pem)?;
            let unknown = || {
                TlsError::certificate(
                    "the key to change to was not prepared here, or another one since",
                )
            };
            let next = self.files.read_next_key()?.ok_or_else(unknown)?;
            let (pair, chain_pem) = self.next_pair(&next, chain_pem)?;
            if pair.pin != pin {
                return Err(unknown());
            }
            self.files.take_next(&chain_pem)?;
            *key_pem = next;
            let mut held = self.pairs.0.write().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let before = std::mem::replace(&mut held.current, pair);
            held.former.retain(|(_, until)| *until > now);
            if held.former.len() >= FORMER_MAX {
                held.former.remove(0);
            }
            held.former.push((before, now + FORMER_KEPT));
        } else if let Some(chain_pem) = chain_pem {
            self.install_for(&key_pem, chain_pem)?;
        }
        if forget {
            self.pairs.0.write().unwrap_or_else(PoisonError::into_inner).former.clear();
        }
        Ok(())
    }

    /// A new key with its certificate, or with one of its own.
    fn next_pair(
        &self,
        key_pem: &[u8],
        chain_pem: Option<&str>,
    ) -> Result<(Pair, String), TlsError> {
        let chain_pem = match chain_pem {
            Some(chain_pem) => chain_pem.to_owned(),
            None => {
                let own = own_key(key_pem);
                let own = own.ok_or_else(|| TlsError::certificate("the new key cannot be read"))?;
                self_signed(&own, &self.names)?
            }
        };
        Ok((Pair::read(key_pem, chain_pem.as_bytes())?, chain_pem))
    }

    /// Changes are made by one at a time, and to a pair of this suite only.
    fn ours(&self) -> Result<MutexGuard<'_, Vec<u8>>, TlsError> {
        let key_pem = self.key_pem.lock().unwrap_or_else(PoisonError::into_inner);
        match self.public_key() {
            Some(_) => Ok(key_pem),
            None => Err(TlsError::certificate(
                "the pair in tls.key and tls.crt is the administrator's and stays as it is: change it there, \
                 and restart",
            )),
        }
    }

    pub(super) fn shown_by_server(&self) -> Arc<dyn ResolvesServerCert> {
        Arc::clone(&self.pairs) as Arc<_>
    }

    /// `known`: keys of this host that the other side knows; empty: the one that is shown now. The key stays
    /// the same for as long as this lives.
    pub(super) fn shown_by_client(&self, known: &[Pin]) -> Arc<dyn ResolvesClientCert> {
        let pair = self.pairs.expected(|pin| known.is_empty() || known.contains(pin));
        Arc::new(Only(pair.shown))
    }
}

#[cfg(test)]
mod tests;
