//! From a ticket to proofs and keys.
//!
//! Every request and every reply has a key of its own, derived from the session, the direction,
//! the verb and the request number; the frame number is the nonce. The client never uses a
//! request number twice and the device answers a number at most once, so no pair of key and
//! nonce can come back.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use simsim_model::{Secret, TransferId};
use zeroize::{Zeroize, Zeroizing};

use crate::{TransferError, Verb};

/// Bytes of a nonce and of a proof.
pub const NONCE_BYTES: usize = 32;
/// Body of an `open` request and of its reply: nonce, then proof.
pub const OPEN_BYTES: usize = 2 * NONCE_BYTES;

const CLIENT_PROOF: &str = "simsim transfer v1: proof by the client";
const DEVICE_PROOF: &str = "simsim transfer v1: proof by the device";
const DOOR_PROOF: &str = "simsim transfer v1: proof at the FTP door";
const DOOR_ANSWER: &str = "simsim transfer v1: proof by the FTP door";
const CLIENT_KEY: &str = "simsim transfer v1: frames from client to device";
const DEVICE_KEY: &str = "simsim transfer v1: frames from device to client";

/// Fresh random bytes.
pub fn nonce() -> Result<[u8; NONCE_BYTES], TransferError> {
    let mut bytes = [0; NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| TransferError::Cipher)?;
    Ok(bytes)
}

/// Proof by the client that it holds the ticket. Compare with `==`: the comparison of
/// `blake3::Hash` takes the same time for all values.
pub fn client_proof(secret: &Secret, transfer: &TransferId, client: &[u8; 32]) -> blake3::Hash {
    proof(CLIENT_PROOF, secret, &[transfer.as_bytes(), client])
}

/// Proof by the device that it holds the ticket and has seen this client's nonce.
pub fn device_proof(
    secret: &Secret,
    transfer: &TransferId,
    client: &[u8; 32],
    device: &[u8; 32],
) -> blake3::Hash {
    proof(DEVICE_PROOF, secret, &[transfer.as_bytes(), client, device])
}

/// Proof by the client, at the FTP door, that it holds the ticket: of one half (0 up, 1 down) of one
/// pipe, over the challenge of one control connection.
pub fn door_proof(
    secret: &Secret,
    transfer: &TransferId,
    pipe: &[u8; 16],
    half: u8,
    challenge: &[u8; 32],
) -> blake3::Hash {
    proof(DOOR_PROOF, secret, &[transfer.as_bytes(), pipe, &[half], challenge])
}

/// Proof by the device that it holds the ticket of [`door_proof`].
pub fn door_answer(
    secret: &Secret,
    transfer: &TransferId,
    pipe: &[u8; 16],
    half: u8,
    challenge: &[u8; 32],
) -> blake3::Hash {
    proof(DOOR_ANSWER, secret, &[transfer.as_bytes(), pipe, &[half], challenge])
}

fn proof(context: &str, secret: &Secret, parts: &[&[u8]]) -> blake3::Hash {
    let key = Zeroizing::new(blake3::derive_key(context, &secret.0));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for part in parts {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    hasher.zeroize();
    hash
}

/// Which way a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToDevice,
    ToClient,
}

/// The two keys of an opened transfer. Wiped when dropped.
#[derive(zeroize::ZeroizeOnDrop)]
pub struct SessionKeys {
    to_device: [u8; 32],
    to_client: [u8; 32],
}

impl SessionKeys {
    pub fn derive(
        secret: &Secret,
        transfer: &TransferId,
        client: &[u8; 32],
        device: &[u8; 32],
    ) -> Self {
        let derive = |context| {
            let mut hasher = blake3::Hasher::new_derive_key(context);
            hasher.update(&secret.0).update(transfer.as_bytes()).update(client).update(device);
            let key = *hasher.finalize().as_bytes();
            hasher.zeroize();
            key
        };
        Self { to_device: derive(CLIENT_KEY), to_client: derive(DEVICE_KEY) }
    }

    /// The key of one request body or of one reply body.
    pub fn body_key(
        &self,
        way: Way,
        verb: Verb,
        request: u64,
    ) -> Result<LessSafeKey, TransferError> {
        let root = match way {
            Way::ToDevice => &self.to_device,
            Way::ToClient => &self.to_client,
        };
        let mut message = [0; 9];
        message[0] = verb as u8;
        message[1..].copy_from_slice(&request.to_le_bytes());
        let key = Zeroizing::new(*blake3::keyed_hash(root, &message).as_bytes());
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| TransferError::Cipher)?;
        Ok(LessSafeKey::new(key))
    }
}
