//! The domain key and what is derived from it (`docs/format/names.md`, `docs/format/segment.md`).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use simsim_model::{Name, Secret};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::FormatError;

/// Bytes that a seal adds.
pub(crate) const TAG_BYTES: usize = 16;
/// Random bytes per sealed object: 192 bits, so that independent copies of a store never meet.
pub(crate) const NONCE_BYTES: usize = 24;

/// The key of one dedup domain, with the three keys that derive from it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DomainKey {
    chunk_name: [u8; 32],
    node_name: [u8; 32],
    seal: [u8; 32],
    cut: [u8; 32],
    /// Bytes of a chunk's name that are kept; the rest are zeros.
    #[cfg(feature = "weak-names")]
    name_bytes: usize,
}

impl DomainKey {
    pub fn new(secret: &Secret) -> Self {
        Self {
            chunk_name: blake3::derive_key("simsim 2026 domain chunk name v1", &secret.0),
            node_name: blake3::derive_key("simsim 2026 domain node name v1", &secret.0),
            seal: blake3::derive_key("simsim 2026 domain seal v1", &secret.0),
            cut: blake3::derive_key("simsim 2026 domain cut v1", &secret.0),
            #[cfg(feature = "weak-names")]
            name_bytes: 32,
        }
    }

    /// The same key with chunk names that are unique in so many bytes only: for tests of what happens
    /// if two contents have one name. No built binary has it.
    #[cfg(feature = "weak-names")]
    pub fn with_weak_names(self, bytes: usize) -> Self {
        Self { name_bytes: bytes, ..self.clone() }
    }

    /// The name of a chunk of plaintext.
    pub fn chunk_name(&self, plaintext: &[u8]) -> Name {
        #[allow(unused_mut)]
        let mut name = *blake3::keyed_hash(&self.chunk_name, plaintext).as_bytes();
        #[cfg(feature = "weak-names")]
        name[self.name_bytes..].fill(0);
        Name(name)
    }

    /// The name of a node: its references, then its body.
    pub fn node_name(&self, nodes: &[Name], chunks: &[Name], body: &[u8]) -> Name {
        let mut hasher = blake3::Hasher::new_keyed(&self.node_name);
        hasher.update(&(nodes.len() as u32).to_le_bytes());
        hasher.update(&(chunks.len() as u32).to_le_bytes());
        for name in nodes.iter().chain(chunks) {
            hasher.update(&name.0);
        }
        hasher.update(body);
        Name(*hasher.finalize().as_bytes())
    }

    /// Seed of the cutter's table, so that chunk sizes tell nothing about known files.
    pub fn cut_seed(&self) -> &[u8; 32] {
        &self.cut
    }

    pub(crate) fn seal_key(&self) -> &[u8; 32] {
        &self.seal
    }

    pub(crate) fn aead(
        &self,
        nonce: &[u8; NONCE_BYTES],
    ) -> Result<(LessSafeKey, Nonce), FormatError> {
        aead_for(&self.seal, nonce)
    }
}

/// A fresh AES-256-GCM key for one object: 256 bits derived from key and the 192-bit nonce, whose
/// last 96 bits are also the cipher's nonce.
pub(crate) fn aead_for(
    key: &[u8; 32],
    nonce: &[u8; NONCE_BYTES],
) -> Result<(LessSafeKey, Nonce), FormatError> {
    let mut subkey = *blake3::keyed_hash(key, nonce).as_bytes();
    let unbound = UnboundKey::new(&AES_256_GCM, &subkey)
        .map_err(|_| FormatError::Seal { what: "a subkey" })?;
    subkey.zeroize();
    let mut short = [0; 12];
    short.copy_from_slice(&nonce[NONCE_BYTES - 12..]);
    Ok((LessSafeKey::new(unbound), Nonce::assume_unique_for_key(short)))
}

/// Seals a small object: nonce, then ciphertext with tag.
pub(crate) fn seal_small(
    key: &[u8; 32],
    associated: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let nonce: [u8; NONCE_BYTES] = random_bytes()?;
    let (aead, short) = aead_for(key, &nonce)?;
    let mut sealed = plaintext.to_vec();
    aead.seal_in_place_append_tag(short, Aad::from(associated), &mut sealed)
        .map_err(|_| FormatError::Seal { what: "a small object" })?;
    let mut out = nonce.to_vec();
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// Opens what [`seal_small`] made.
pub(crate) fn open_small(
    key: &[u8; 32],
    associated: &[u8],
    sealed: &[u8],
    what: &'static str,
) -> Result<Vec<u8>, FormatError> {
    let (nonce, sealed) =
        sealed.split_first_chunk::<NONCE_BYTES>().ok_or(FormatError::Truncated { what })?;
    let (aead, short) = aead_for(key, nonce)?;
    let mut plaintext = sealed.to_vec();
    let length = aead
        .open_in_place(short, Aad::from(associated), &mut plaintext)
        .map_err(|_| FormatError::Seal { what })?
        .len();
    plaintext.truncate(length);
    Ok(plaintext)
}

/// Random bytes of the operating system's generator.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], FormatError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| FormatError::Seal { what: "the random generator" })?;
    Ok(bytes)
}
