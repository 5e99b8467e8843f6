//! From what both ends did to the keys of a session.
//!
//! Every key is BLAKE3 derive-key of the two shared secrets and a hash of all that was said so
//! far, so that ends that heard different things have different keys. No key is used for two
//! purposes or two directions, and no pair of key and nonce comes twice: the nonce is a number
//! that only grows.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

/// What each end signs begins with one of these: a signature is of no use for the other end, for
/// another protocol (SSH signs texts that begin otherwise), or for another version.
pub(super) const LISTENER_SIGNS: &[u8] = b"simsim ctrl v1: signature of the listener\0";
pub(super) const DIALLER_SIGNS: &[u8] = b"simsim ctrl v1: signature of the dialler\0";

const TRANSCRIPT: &str = "simsim ctrl v1: transcript";
pub(super) const PROOF_OF_LISTENER: &str = "simsim ctrl v1: proofs from listener to dialler";
pub(super) const PROOF_OF_DIALLER: &str = "simsim ctrl v1: proofs from dialler to listener";
pub(super) const TO_LISTENER: &str = "simsim ctrl v1: messages from dialler to listener";
pub(super) const TO_DIALLER: &str = "simsim ctrl v1: messages from listener to dialler";
const NEXT: &str = "simsim ctrl v1: next key";

/// Bytes that sealing adds.
pub(super) const TAG_BYTES: usize = 16;

/// All that was said so far.
#[derive(Clone)]
pub(super) struct Transcript(blake3::Hasher);

impl Transcript {
    pub(super) fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(TRANSCRIPT))
    }

    /// Adds a part with its length.
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

/// The secret of X25519, then that of ML-KEM-768: one of them may be broken one day.
pub(super) struct Shared(Zeroizing<Vec<u8>>);

impl Shared {
    pub(super) fn new(agreed: &[u8], encapsulated: &[u8]) -> Self {
        let mut both = Zeroizing::new(Vec::with_capacity(agreed.len() + encapsulated.len()));
        both.extend_from_slice(agreed);
        both.extend_from_slice(encapsulated);
        Self(both)
    }

    pub(super) fn key(&self, context: &str, transcript: &[u8; 32]) -> Key {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(transcript);
        let key = Key::new(Zeroizing::new(*hasher.finalize().as_bytes()));
        hasher.zeroize();
        key
    }
}

/// A key for one purpose in one direction. Wiped when dropped.
pub(super) struct Key(Zeroizing<[u8; 32]>);

impl Key {
    fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The key after this one; from it there is no way back.
    pub(super) fn next(&self) -> Self {
        Self::new(Zeroizing::new(blake3::derive_key(NEXT, self.0.as_slice())))
    }

    /// Seals `frame` from `from` on, in place; what is before it is authenticated, and `more`.
    pub(super) fn seal(
        &self,
        number: u64,
        more: &[u8],
        frame: &mut Vec<u8>,
        from: usize,
    ) -> Option<()> {
        let (head, body) = frame.split_at_mut_checked(from)?;
        let known = [more, head].concat();
        let tag = self
            .cipher()?
            .seal_in_place_separate_tag(nonce(number), Aad::from(known), body)
            .ok()?;
        frame.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens `sealed` in place; `known` is what was authenticated with it.
    pub(super) fn open<'a>(
        &self,
        number: u64,
        known: &[u8],
        sealed: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let plain = self.cipher()?.open_in_place(nonce(number), Aad::from(known), sealed).ok()?;
        Some(plain)
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&AES_256_GCM, self.0.as_slice()).ok().map(LessSafeKey::new)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().skip(4).zip(number.to_be_bytes()) {
        *to = from;
    }
    Nonce::assume_unique_for_key(bytes)
}
