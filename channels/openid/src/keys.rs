//! The keys with which a provider signs (RFC 7517), and its signatures.
//!
//! Three algorithms are taken, each with its own kind of key: a key of one kind never checks a signature of another, and
//! there is none for `none` and none that is a secret shared with the provider.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// More keys than that nobody has.
const KEYS_MAX: usize = 64;
/// 2,048 to 8,192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// An algorithm that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [&str; 3] = ["RS256", "ES256", "EdDSA"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            // The second name is that of RFC 9864.
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

/// A public key of a provider.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    id: Option<String>,
    kind: Public,
}

#[derive(Debug, Clone)]
enum Public {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed.
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The keys of a document that can be used here. Others are for somebody else.
pub(crate) fn read(document: &Value) -> Result<Vec<Key>, String> {
    let all = document["keys"].as_array().ok_or("it has no list 'keys'")?;
    if all.len() > KEYS_MAX {
        return Err(format!("more than {KEYS_MAX} keys"));
    }
    Ok(all.iter().filter_map(key).collect())
}

fn key(document: &Value) -> Option<Key> {
    let text = |name: &str| document[name].as_str();
    if text("use").is_some_and(|of| of != "sig") {
        return None;
    }
    let bytes = |name: &str| BASE64URL_NOPAD.decode(text(name)?.as_bytes()).ok();
    let (kind, algorithm) = match (text("kty")?, text("crv")) {
        ("RSA", _) => {
            let mut n = bytes("n")?;
            let zeros = n.iter().take_while(|byte| **byte == 0).count();
            n.drain(..zeros);
            if !RSA_BYTES.contains(&n.len()) {
                return None;
            }
            (Public::Rsa { n, e: bytes("e")? }, Algorithm::Rs256)
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            (Public::P256([&[4], x.as_slice(), &y].concat()), Algorithm::Es256)
        }
        ("OKP", Some("Ed25519")) => (Public::Ed25519(bytes("x")?), Algorithm::EdDsa),
        _ => return None,
    };
    // A key that says for what it is, is for nothing else.
    if text("alg").is_some_and(|named| Algorithm::parse(named) != Some(algorithm)) {
        return None;
    }
    Some(Key { id: text("kid").map(str::to_owned), kind })
}

/// What came of looking for the key of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    Good,
    /// There is a key for it, and it is none of that key's.
    Wrong,
    /// There is no such key.
    NoKey,
}

/// Whether a signature is one of these keys, of the one that is named where one is.
pub(crate) fn check(
    keys: &[Key],
    algorithm: Algorithm,
    id: Option<&str>,
    message: &[u8],
    signature: &[u8],
) -> Checked {
    let named = |key: &&Key| id.is_none() || key.id.as_deref() == id;
    let mut fitting =
        keys.iter().filter(named).filter(|key| key.algorithm() == algorithm).peekable();
    if fitting.peek().is_none() {
        return Checked::NoKey;
    }
    match fitting.any(|key| key.signed(message, signature)) {
        true => Checked::Good,
        false => Checked::Wrong,
    }
}

impl Key {
    fn algorithm(&self) -> Algorithm {
        match self.kind {
            Public::Rsa { .. } => Algorithm::Rs256,
            Public::P256(_) => Algorithm::Es256,
            Public::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Public::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Public::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}
