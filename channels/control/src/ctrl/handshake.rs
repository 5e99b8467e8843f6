//! How two hosts that know each other's key come to a session, in four lines.
//!
//! ```text
//! dialler   simsim-ctrl 1 call    <ephemeral keys>
//! listener  simsim-ctrl 1 answer  <ephemeral key and ciphertext> <sealed: key, signature>
//! dialler   simsim-ctrl 1 prove   <sealed: key, signature>
//! listener  simsim-ctrl 1 welcome <sealed: nothing>        or: refused
//! ```
//!
//! The pattern is SIGMA with the identities sealed: both sign a hash of all that was said, under
//! keys that only this exchange has. The dialler compares the listener's key with the enrolled one
//! before it says who it is. Nothing here touches a stream; each step takes a line and gives one.

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::rand::SystemRandom;
use data_encoding::BASE64_NOPAD;

use super::keys::{
    DIALLER_SIGNS, Key, LISTENER_SIGNS, PROOF_OF_DIALLER, PROOF_OF_LISTENER, Shared, TAG_BYTES,
    TO_DIALLER, TO_LISTENER, Transcript,
};
use super::record;
use crate::coding::Coding;
use crate::{Identity, PublicKey};

/// The first word of every line.
pub(super) const MAGIC: &str = "simsim-ctrl";
/// The only version of the handshake and of the frames after it.
pub(super) const VERSION: &str = "1";

const EPHEMERAL_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const PROOF_BYTES: usize = KEY_BYTES + SIGNATURE_BYTES;
/// Bytes of the other side's words that are shown.
const WORDS_BYTES_MAX: usize = 300;

/// Why there is no session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The listener has proved another key.
    OtherKey(PublicKey),
    /// The listener knows the dialler's key, and does not let it in.
    Refused,
    /// What came is not what the protocol says.
    Broken(String),
}

fn broken(reason: impl Into<String>) -> Refusal {
    Refusal::Broken(reason.into())
}

/// A failure of the crypto library on our own data.
fn no_crypto() -> Refusal {
    broken("the crypto library failed")
}

/// A dialler that has called.
pub(super) struct Called {
    agreement: EphemeralPrivateKey,
    encapsulation: DecapsulationKey,
    transcript: Transcript,
}

/// A dialler that has proved itself and waits for the welcome.
pub(super) struct Proved {
    /// The key that the listener proved.
    pub(super) listener_key: PublicKey,
    shared: Shared,
    listener: Key,
    heard: [u8; 32],
}

impl Called {
    /// The first line.
    pub(super) fn new() -> Result<(Self, String), Refusal> {
        let agreement = ephemeral()?;
        let encapsulation = DecapsulationKey::generate(&ML_KEM_768).map_err(|_| no_crypto())?;
        let public = agreement.compute_public_key().map_err(|_| no_crypto())?;
        let kem = encapsulation.encapsulation_key().map_err(|_| no_crypto())?;
        let kem = kem.key_bytes().map_err(|_| no_crypto())?;
        let keys = [public.as_ref(), kem.as_ref()].concat();
        let mut transcript = Transcript::new();
        transcript.add(&keys);
        Ok((Self { agreement, encapsulation, transcript }, line("call", &[&keys])))
    }

    /// Takes the listener's answer, and gives the dialler's proof if `accepts` says that the key
    /// which the listener proved is the right one.
    pub(super) fn answered(
        self,
        answer: &[u8],
        identity: &Identity,
        accepts: impl FnOnce(&PublicKey) -> bool,
    ) -> Result<(Proved, String), Refusal> {
        let [offer, mut proof] = fields(answer, "answer")?;
        let (public, ciphertext) = split(&offer, EPHEMERAL_BYTES)?;
        if ciphertext.len() != ML_KEM_768_CIPHERTEXT_BYTES {
            return Err(broken("its answer has a wrong length"));
        }
        let secret = self
            .encapsulation
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_| no_crypto())?;
        let shared = agree(self.agreement, public, secret.as_ref())?;
        let mut transcript = self.transcript;
        transcript.add(&offer);
        let offered = transcript.hash();
        transcript.add(&proof);
        let proven = transcript.hash();

        let listener = shared.key(PROOF_OF_LISTENER, &offered);
        let plain = listener.open(0, &offered, &mut proof).ok_or_else(|| {
            broken("its proof cannot be opened: something on the way changed what was said")
        })?;
        let (found, signature) = proof_parts(plain)?;
        if !found.has_signed(&[LISTENER_SIGNS, &offered, found.as_bytes()].concat(), signature) {
            return Err(broken("its proof is wrong"));
        }
        if !accepts(&found) {
            return Err(Refusal::OtherKey(found));
        }

        let own = identity.public();
        let said = [DIALLER_SIGNS, &proven, own.as_bytes(), found.as_bytes()].concat();
        let signature = identity.sign(&said).ok_or_else(no_crypto)?;
        let mut proof = [own.as_bytes().as_slice(), &signature].concat();
        let dialler = shared.key(PROOF_OF_DIALLER, &proven);
        dialler.seal(0, &proven, &mut proof, 0).ok_or_else(no_crypto)?;
        transcript.add(&proof);
        let heard = transcript.hash();
        let proved = Proved { listener_key: found, shared, listener, heard };
        Ok((proved, line("prove", &[&proof])))
    }
}

impl Proved {
    /// Takes the listener's last word.
    pub(super) fn welcomed(self, last: &[u8]) -> Result<Coding, Refusal> {
        let (welcome, word) = match fields(last, "welcome") {
            Ok([seal]) => (seal, "welcome"),
            Err(first) => match fields(last, "refused") {
                Ok([seal]) => (seal, "refused"),
                Err(_) => return Err(first),
            },
        };
        let mut seal = welcome;
        let known = [self.heard.as_slice(), word.as_bytes()].concat();
        match self.listener.open(1, &known, &mut seal) {
            Some([]) if word == "welcome" => {}
            Some([]) => return Err(Refusal::Refused),
            _ => return Err(broken("its last word was changed on the way")),
        }
        let outward = self.shared.key(TO_LISTENER, &self.heard);
        let inward = self.shared.key(TO_DIALLER, &self.heard);
        Ok(record::coding(outward, inward))
    }
}

/// A listener that has answered a call.
pub(super) struct Answered {
    shared: Shared,
    listener: Key,
    own: PublicKey,
    transcript: Transcript,
}

/// A listener that knows who calls.
pub(super) struct Proven {
    /// The key that was proved.
    pub(super) key: PublicKey,
    shared: Shared,
    listener: Key,
    said: [u8; 32],
}

impl Answered {
    /// Takes a call, and gives the answer with the listener's proof.
    pub(super) fn new(call: &[u8], identity: &Identity) -> Result<(Self, String), Refusal> {
        let [keys] = fields(call, "call")?;
        let (public, kem) = split(&keys, EPHEMERAL_BYTES)?;
        let kem = EncapsulationKey::new(&ML_KEM_768, kem)
            .map_err(|_| broken("the call has a wrong length"))?;
        let (ciphertext, secret) =
            kem.encapsulate().map_err(|_| broken("the call has an impossible key"))?;
        let agreement = ephemeral()?;
        let own = agreement.compute_public_key().map_err(|_| no_crypto())?;
        let shared = agree(agreement, public, secret.as_ref())?;
        let offer = [own.as_ref(), ciphertext.as_ref()].concat();
        let mut transcript = Transcript::new();
        transcript.add(&keys);
        transcript.add(&offer);
        let offered = transcript.hash();

        let own = identity.public();
        let said = [LISTENER_SIGNS, &offered, own.as_bytes()].concat();
        let signature = identity.sign(&said).ok_or_else(no_crypto)?;
        let mut proof = [own.as_bytes().as_slice(), &signature].concat();
        let listener = shared.key(PROOF_OF_LISTENER, &offered);
        listener.seal(0, &offered, &mut proof, 0).ok_or_else(no_crypto)?;
        transcript.add(&proof);
        let answer = line("answer", &[&offer, &proof]);
        Ok((Self { shared, listener, own, transcript }, answer))
    }

    /// Takes the dialler's proof.
    pub(super) fn proven(self, proof: &[u8]) -> Result<Proven, Refusal> {
        let [mut proof] = fields(proof, "prove")?;
        let mut transcript = self.transcript;
        let answered = transcript.hash();
        transcript.add(&proof);
        let dialler = self.shared.key(PROOF_OF_DIALLER, &answered);
        let plain = dialler.open(0, &answered, &mut proof).ok_or_else(|| {
            broken("the proof cannot be opened: it is of another call, or was changed on the way")
        })?;
        let (key, signature) = proof_parts(plain)?;
        let said = [DIALLER_SIGNS, &answered, key.as_bytes(), self.own.as_bytes()].concat();
        if !key.has_signed(&said, signature) {
            return Err(broken("the proof is wrong"));
        }
        let (shared, listener, said) = (self.shared, self.listener, transcript.hash());
        Ok(Proven { key, shared, listener, said })
    }
}

impl Proven {
    /// Lets the dialler in.
    pub(super) fn welcome(self) -> Result<(String, Coding), Refusal> {
        let word = self.last("welcome")?;
        let outward = self.shared.key(TO_DIALLER, &self.said);
        let inward = self.shared.key(TO_LISTENER, &self.said);
        Ok((word, record::coding(outward, inward)))
    }

    /// Tells the dialler, so that nobody else could have said it, that its key is not enrolled.
    pub(super) fn refuse(self) -> Result<String, Refusal> {
        self.last("refused")
    }

    fn last(&self, word: &str) -> Result<String, Refusal> {
        let mut seal = Vec::with_capacity(TAG_BYTES);
        let known = [self.said.as_slice(), word.as_bytes()].concat();
        self.listener.seal(1, &known, &mut seal, 0).ok_or_else(no_crypto)?;
        Ok(line(word, &[&seal]))
    }
}

/// Bytes of a ciphertext of ML-KEM-768: FIPS 203, table 3.
const ML_KEM_768_CIPHERTEXT_BYTES: usize = 1088;

fn ephemeral() -> Result<EphemeralPrivateKey, Refusal> {
    EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| no_crypto())
}

fn agree(own: EphemeralPrivateKey, theirs: &[u8], kem: &[u8]) -> Result<Shared, Refusal> {
    let theirs = UnparsedPublicKey::new(&X25519, theirs);
    // The library refuses keys of small order.
    let impossible = broken("the other side's key is an impossible one");
    agreement::agree_ephemeral(own, theirs, impossible, |agreed| Ok(Shared::new(agreed, kem)))
}

fn split(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), Refusal> {
    bytes.split_at_checked(at).ok_or_else(|| broken("a line is too short"))
}

fn proof_parts(plain: &[u8]) -> Result<(PublicKey, &[u8]), Refusal> {
    let (key, signature) = split(plain, KEY_BYTES)?;
    match <[u8; KEY_BYTES]>::try_from(key) {
        Ok(key) if plain.len() == PROOF_BYTES => Ok((PublicKey(key), signature)),
        _ => Err(broken("a proof has a wrong length")),
    }
}

fn line(word: &str, parts: &[&[u8]]) -> String {
    let mut line = format!("{MAGIC} {VERSION} {word}");
    for part in parts {
        line.push(' ');
        line.push_str(&BASE64_NOPAD.encode(part));
    }
    line.push('\n');
    line
}

/// What a side says instead of its next line, in words for people.
pub(super) fn error_line(reason: &str) -> String {
    let words: String = reason.chars().filter(|c| !c.is_control()).collect();
    format!("{MAGIC} {VERSION} error {}\n", crate::wire::cut(&words, WORDS_BYTES_MAX))
}

/// The parts of the line that says `word`. Total over any bytes.
fn fields<const COUNT: usize>(line: &[u8], word: &str) -> Result<[Vec<u8>; COUNT], Refusal> {
    let shown = |text: &str| crate::wire::cut(text, WORDS_BYTES_MAX).escape_debug().to_string();
    let text = std::str::from_utf8(line).unwrap_or_default();
    let Some(text) = text.strip_suffix('\n') else { return Err(broken("a line without an end")) };
    let mut words = text.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(broken(match text.starts_with("SSH-") {
            true => "it speaks SSH: this is the port of access mode SMSSH".to_owned(),
            false => format!("it says '{}'", shown(text)),
        }));
    }
    let version = words.next().unwrap_or_default();
    if version != VERSION {
        return Err(broken(format!(
            "version {} of CTRL meets version {VERSION}: bring both hosts to the same version",
            shown(version)
        )));
    }
    match words.next() {
        Some(said) if said == word => {}
        Some("error") => {
            let said: Vec<&str> = words.collect();
            return Err(broken(format!("it says '{}'", shown(&said.join(" ")))));
        }
        said => {
            let said = shown(said.unwrap_or_default());
            return Err(broken(format!("'{said}' came where '{word}' was due")));
        }
    }
    let parts: Result<Vec<Vec<u8>>, _> =
        words.map(|part| BASE64_NOPAD.decode(part.as_bytes())).collect();
    parts
        .ok()
        .and_then(|parts| parts.try_into().ok())
        .ok_or_else(|| broken(format!("'{word}' came with parts that cannot be read")))
}
