//! One-time passwords by the clock: TOTP (RFC 6238) with SHA-1, six digits and steps of 30 s, which is
//! what every authenticator speaks.

use aws_lc_rs::hmac;
use data_encoding::BASE32_NOPAD;
use simsim_format::{WrappingKey, random_bytes};
use zeroize::Zeroizing;

use crate::ServerError;

/// As long as the hash (RFC 4226, section 4).
const SECRET_BYTES: usize = 20;
const STEP_S: i64 = 30;
const DIGITS: u32 = 6;
/// Clocks of people differ: the step before and the one after are taken too.
const STEPS_BESIDE: i64 = 1;

/// A new secret: for the authenticator in Base32, and sealed for the catalog.
pub(crate) fn new(
    user: &str,
    master: &WrappingKey,
) -> Result<(Zeroizing<String>, Vec<u8>), ServerError> {
    let secret: Zeroizing<[u8; SECRET_BYTES]> = Zeroizing::new(random_bytes()?);
    let sealed = master.seal(&purpose(user), &*secret)?;
    Ok((Zeroizing::new(BASE32_NOPAD.encode(&*secret)), sealed))
}

/// The step whose password this is, near `now`; `None`: of no such step.
pub(crate) fn step_of(
    code: &str,
    user: &str,
    sealed: &[u8],
    master: &WrappingKey,
    now_unix_ms: i64,
) -> Result<Option<i64>, ServerError> {
    let secret = Zeroizing::new(master.open(&purpose(user), sealed)?);
    let now = now_unix_ms.div_euclid(1000 * STEP_S);
    let steps = now - STEPS_BESIDE..=now + STEPS_BESIDE;
    // Every step is looked at, and hashes are compared: the time tells nothing.
    let shown = blake3::hash(code.trim().as_bytes());
    let fits = |step| blake3::hash(password(&secret, step).as_bytes()) == shown;
    Ok(steps.fold(None, |found, step| if fits(step) { Some(step) } else { found }))
}

/// What an authenticator reads from a picture.
pub(crate) fn uri(user: &str, server: &str, secret: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let (user, server) = (user.chars().map(plain), server.chars().map(plain));
    let (user, server): (String, String) = (user.collect(), server.collect());
    format!("otpauth://totp/simsim%20{server}:{user}?secret={secret}&issuer=simsim%20{server}")
}

/// RFC 4226, section 5.3.
fn password(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let bytes = tag.as_ref();
    let offset = bytes.last().map_or(0, |last| usize::from(last & 15));
    let part = bytes.iter().skip(offset).take(4);
    let number = part.fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:06}", number % 10_u32.pow(DIGITS))
}

fn purpose(user: &str) -> Vec<u8> {
    [b"one-time passwords of user ".as_slice(), user.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use simsim_model::Secret;

    use super::*;

    /// RFC 6238, appendix B: the last six of its eight digits.
    #[test]
    fn passwords_are_those_of_the_rfc() {
        let secret = b"12345678901234567890";
        for (unix_s, digits) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(password(secret, unix_s / STEP_S), digits, "{unix_s}");
        }
    }

    #[test]
    fn a_password_fits_its_step_and_those_beside_and_opens_for_its_user_only() {
        let master = WrappingKey::new(&Secret([7; 32]));
        let (secret, sealed) = new("anna", &master).unwrap();
        let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
        let code = password(&secret, 1000);
        for (step, expected) in [(998, None), (999, Some(1000)), (1001, Some(1000)), (1002, None)] {
            let now = step * STEP_S * 1000;
            assert_eq!(step_of(&code, "anna", &sealed, &master, now).unwrap(), expected, "{step}");
        }
        let now = 1000 * STEP_S * 1000;
        assert_eq!(step_of("", "anna", &sealed, &master, now).unwrap(), None);
        assert!(step_of(&code, "bert", &sealed, &master, now).is_err());
        assert_eq!(
            uri("a n", "v:1", "ABC"),
            "otpauth://totp/simsim%20v_1:a_n?secret=ABC&issuer=simsim%20v_1"
        );
    }
}
