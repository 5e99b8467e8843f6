//! ID tokens (OpenID Connect Core 1.0, section 2): signed by the provider, for us, for this sign-in, and now.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use crate::error::one_line;
use crate::keys::{self, Algorithm, Checked, Key};

const TOKEN_BYTES_MAX: usize = 64 * 1024;
/// Clocks of hosts differ by so much.
const LEEWAY_S: i64 = 60;
/// OpenID Connect Core 1.0, section 2.
const SUBJECT_BYTES_MAX: usize = 255;

/// Who somebody is, by the word of a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// What the provider calls that person for good.
    pub subject: String,
    /// All that it says.
    pub claims: Map<String, Value>,
}

/// What must be in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now_unix_s: i64,
}

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is signed by a key that is not known, which may have come meanwhile.
    UnknownKey,
    Wrong(String),
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Wrong(why.into()))
}

/// Reads a token, with everything that must hold.
pub(crate) fn read(text: &str, keys: &[Key], expected: Expected<'_>) -> Result<Identity, Refusal> {
    if text.len() > TOKEN_BYTES_MAX {
        return wrong(format!("the ID token has more than {TOKEN_BYTES_MAX} bytes"));
    }
    let mut parts = text.split('.');
    let (Some(head), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return wrong("the ID token does not have three parts");
    };
    let signed = text.get(..head.len() + 1 + claims.len()).unwrap_or_default();
    let head = object(head, "head")?;
    let named = head.get("alg").and_then(Value::as_str).unwrap_or_default();
    let Some(algorithm) = Algorithm::parse(named) else {
        return wrong(format!(
            "it is signed by '{}', and only {} are taken",
            one_line(named),
            Algorithm::ALL.join(", ")
        ));
    };
    if head.contains_key("crit") {
        return wrong("its head asks for something that is not known here");
    }
    if head
        .get("typ")
        .is_some_and(|kind| !kind.as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("JWT")))
    {
        return wrong("it is a token of another kind");
    }
    let id = match head.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(id.as_str()),
        Some(_) => return wrong("its key is not named by a text"),
    };
    let Ok(signature) = BASE64URL_NOPAD.decode(signature.as_bytes()) else {
        return wrong("its signature is not in Base64");
    };
    match keys::check(keys, algorithm, id, signed.as_bytes(), &signature) {
        Checked::Good => {}
        Checked::Wrong => return wrong("its signature is wrong"),
        Checked::NoKey => return Err(Refusal::UnknownKey),
    }
    check(object(claims, "body")?, expected)
}

fn object(part: &str, what: &str) -> Result<Map<String, Value>, Refusal> {
    let bytes = BASE64URL_NOPAD.decode(part.as_bytes());
    match bytes.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        Some(Value::Object(fields)) => Ok(fields),
        _ => wrong(format!("the {what} of the ID token cannot be read")),
    }
}

fn check(claims: Map<String, Value>, expected: Expected<'_>) -> Result<Identity, Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let seconds = |name: &str| match claims.get(name) {
        None => Ok(None),
        // With a fraction it is a date too.
        Some(value) => match value.as_i64().or_else(|| value.as_f64().map(|at| at as i64)) {
            Some(at) => Ok(Some(at)),
            None => wrong(format!("its '{name}' is no date")),
        },
    };
    if text("iss") != Some(expected.issuer) {
        return wrong("it is of another issuer");
    }
    let audience: Vec<&str> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audience.contains(&expected.client_id) {
        return wrong("it is for somebody else (aud)");
    }
    let by = text("azp");
    if by.is_some_and(|by| by != expected.client_id) || (audience.len() > 1 && by.is_none()) {
        return wrong("it was made for somebody else (azp)");
    }
    let now = expected.now_unix_s;
    match seconds("exp")? {
        Some(end) if end > now.saturating_sub(LEEWAY_S) => {}
        Some(_) => return wrong("it has expired: are the clocks of both hosts right?"),
        None => return wrong("it does not say when it expires"),
    }
    let soon = now.saturating_add(LEEWAY_S);
    if seconds("iat")?.is_none_or(|at| at > soon) || seconds("nbf")?.is_some_and(|at| at > soon) {
        return wrong("it was made in the future: are the clocks of both hosts right?");
    }
    if text("nonce") != Some(expected.nonce) {
        return wrong("it belongs to another sign-in (nonce)");
    }
    let subject = match text("sub") {
        Some(subject) if !subject.is_empty() && subject.len() <= SUBJECT_BYTES_MAX => {
            subject.to_owned()
        }
        _ => return wrong("it does not say who it is for (sub)"),
    };
    Ok(Identity { subject, claims })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RsaKeyPair,
    };
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn b64(bytes: impl AsRef<[u8]>) -> String {
        BASE64URL_NOPAD.encode(bytes.as_ref())
    }

    fn claims() -> Value {
        json!({"iss": "https://idp", "aud": "simsim", "sub": "1", "nonce": "n", "exp": NOW + 300, "iat": NOW})
    }

    fn token(head: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let signed = format!("{}.{}", b64(head.to_string()), b64(claims.to_string()));
        let signature = sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    fn read_at(text: &str, keys: &[Key]) -> Result<Identity, Refusal> {
        let expected =
            Expected { issuer: "https://idp", client_id: "simsim", nonce: "n", now_unix_s: NOW };
        read(text, keys, expected)
    }

    struct Signer {
        ed: Ed25519KeyPair,
        keys: Vec<Key>,
    }

    fn signer() -> Signer {
        let ed = Ed25519KeyPair::generate().unwrap();
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": b64(ed.public_key())}]});
        Signer { ed, keys: keys::read(&set).unwrap() }
    }

    impl Signer {
        fn of(&self, head: Value, claims: Value) -> Result<Identity, Refusal> {
            read_at(&token(&head, &claims, |text| self.ed.sign(text).as_ref().to_vec()), &self.keys)
        }
    }

    #[test]
    fn each_algorithm_that_is_taken_checks_its_own_signature() {
        let random = SystemRandom::new();
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // A sequence of two numbers of known lengths: 256 bytes behind a zero, and 65,537.
        let der = key.public_key().as_ref();
        assert_eq!(der.len(), 270);
        let (n, e) = (&der[9..265], &der[267..]);
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let ec =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let point = ec.public_key().as_ref();
        let ed = Ed25519KeyPair::generate().unwrap();
        let set = json!({"keys": [
            {"kty": "RSA", "kid": "r", "n": b64(n), "e": b64(e), "use": "sig"},
            {"kty": "EC", "crv": "P-256", "kid": "p", "x": b64(&point[1..33]), "y": b64(&point[33..])},
            {"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": b64(ed.public_key()), "alg": "EdDSA"},
            {"kty": "oct", "kid": "secret", "k": "AAAA"},
        ]});
        let keys = keys::read(&set).unwrap();
        let rs = |text: &[u8]| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
            signature
        };
        let es = |text: &[u8]| ec.sign(&random, text).unwrap().as_ref().to_vec();
        let eddsa = |text: &[u8]| ed.sign(text).as_ref().to_vec();
        let good = [
            token(&json!({"alg": "RS256", "kid": "r"}), &claims(), rs),
            token(&json!({"alg": "ES256", "kid": "p", "typ": "JWT"}), &claims(), es),
            token(&json!({"alg": "EdDSA"}), &claims(), eddsa),
        ];
        for text in &good {
            assert_eq!(read_at(text, &keys).unwrap().subject, "1", "{text}");
            let other = text.replace('.', "A.");
            assert!(read_at(&other, &keys).is_err());
        }
        // A key of one kind is for no signature of another; a public key is no secret; nobody is nobody.
        let public = b64(n);
        let hs = |text: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
            hmac::sign(&key, text).as_ref().to_vec()
        };
        let bad = [
            token(&json!({"alg": "ES256", "kid": "r"}), &claims(), es),
            token(&json!({"alg": "HS256", "kid": "r"}), &claims(), hs),
            token(&json!({"alg": "HS256", "kid": "secret"}), &claims(), hs),
            token(&json!({"alg": "none"}), &claims(), |_| Vec::new()),
            token(&json!({"alg": "None"}), &claims(), |_| Vec::new()),
            token(&json!({"kid": "r"}), &claims(), rs),
            token(&json!({"alg": "RS256", "kid": "r"}), &claims(), |_| Vec::new()),
            token(&json!({"alg": "RS256", "kid": "e"}), &claims(), rs),
        ];
        for text in &bad {
            assert!(read_at(text, &keys).is_err(), "{text}");
        }
    }

    #[test]
    fn every_claim_that_is_wrong_or_lacks_is_refused() {
        let signer = signer();
        let head = || json!({"alg": "EdDSA", "kid": "e"});
        let with = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            signer.of(head(), claims)
        };
        signer.of(head(), claims()).unwrap();
        with("exp", json!(NOW - 59)).unwrap();
        with("iat", json!(NOW + 59)).unwrap();
        with("exp", json!(NOW as f64 + 1.5)).unwrap();
        with("azp", json!("simsim")).unwrap();
        for (name, value) in [
            ("iss", json!("https://idp/")),
            ("iss", json!(null)),
            ("aud", json!("other")),
            ("aud", json!(["other"])),
            ("aud", json!(["simsim", "other"])),
            ("aud", json!({})),
            ("azp", json!("other")),
            ("exp", json!(NOW - 61)),
            ("exp", json!(null)),
            ("exp", json!("tomorrow")),
            ("iat", json!(NOW + 61)),
            ("iat", json!(null)),
            ("nbf", json!(NOW + 61)),
            ("nonce", json!("m")),
            ("nonce", json!(null)),
            ("sub", json!("")),
            ("sub", json!(1)),
            ("sub", json!("x".repeat(256))),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name}: {value}");
        }
        let mut several = claims();
        several["aud"] = json!(["simsim", "other"]);
        several["azp"] = json!("simsim");
        signer.of(head(), several).unwrap();
        for head in [
            json!({"alg": "EdDSA", "kid": "e", "crit": ["b64"]}),
            json!({"alg": "EdDSA", "kid": "e", "typ": "at+jwt"}),
            json!({"alg": "EdDSA", "kid": 1}),
            json!(["EdDSA"]),
        ] {
            assert!(matches!(signer.of(head, claims()), Err(Refusal::Wrong(_))));
        }
        let unknown = signer.of(json!({"alg": "EdDSA", "kid": "f"}), claims());
        assert_eq!(unknown, Err(Refusal::UnknownKey));
        let other = Signer { keys: signer.keys.clone(), ..self::signer() };
        assert!(
            matches!(other.of(head(), claims()), Err(Refusal::Wrong(_))),
            "another's signature"
        );
    }

    #[test]
    fn fuzz_id_tokens() {
        let signer = signer();
        let head = json!({"alg": "EdDSA", "kid": "e"});
        let text = token(&head, &claims(), |text| signer.ed.sign(text).as_ref().to_vec());
        simsim_testkit::fuzz("ID token", &[text.into_bytes()], |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes) {
                let _ = read_at(text, &signer.keys);
            }
        });
    }
}
