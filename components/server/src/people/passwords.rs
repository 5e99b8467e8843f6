//! Passwords: kept as Argon2id hashes in the form of PHC strings.
//!
//! One that does not exist takes as long to refuse as one that is wrong. Few are hashed at once, so
//! that strangers cannot use up the host.

use std::sync::LazyLock;

use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::BASE64_NOPAD;
use simsim_format::random_bytes;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::ServerError;

/// The memory of one hash, its passes and its lanes: what OWASP names for Argon2id.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// A hash that was kept is never taken with more than this, whoever wrote it.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

const CHARACTERS_MIN: usize = 12;
const BYTES_MAX: usize = 1024;

/// Hashes at once.
static PLACES: Semaphore = Semaphore::const_new(2);
/// What stands for the hash of a user who does not exist: it takes the same time, and nothing fits it.
static NOBODYS: LazyLock<String> =
    LazyLock::new(|| text(Costs::now(), &[0; SALT_BYTES], &[0; HASH_BYTES]));

/// Whether a text may be a password: 12 characters or more.
pub(crate) fn check_new(password: &str) -> Result<(), ServerError> {
    if password.chars().count() < CHARACTERS_MIN {
        return Err(ServerError::invalid(format!(
            "a password has at least {CHARACTERS_MIN} characters: several words are easy to keep"
        )));
    }
    if password.len() > BYTES_MAX {
        return Err(ServerError::invalid(format!("a password has at most {BYTES_MAX} bytes")));
    }
    Ok(())
}

/// The hash of a new password.
pub(crate) async fn hash(password: Zeroizing<String>) -> Result<String, ServerError> {
    let salt: [u8; SALT_BYTES] = random_bytes()?;
    let costs = Costs::now();
    let hash = blocking(move || costs.hash(password.as_bytes(), &salt)).await??;
    Ok(text(costs, &salt, &hash))
}

/// Whether a password has this hash; for `None`, after the same time, never.
pub(crate) async fn fits(
    password: Zeroizing<String>,
    kept: Option<&str>,
) -> Result<bool, ServerError> {
    let (costs, salt, wanted) = parse(kept.unwrap_or(&NOBODYS))
        .ok_or_else(|| ServerError::Key("a user's password hash is damaged: set it anew".into()))?;
    // A longer one was never taken.
    let password = if password.len() > BYTES_MAX { Zeroizing::default() } else { password };
    let hash = blocking(move || costs.hash(password.as_bytes(), &salt)).await??;
    // Of the hashes, so that the comparison tells nothing by its time.
    Ok(blake3::hash(&hash) == blake3::hash(&wanted) && kept.is_some())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServerError> {
    let lost = |error: &dyn std::fmt::Display| ServerError::Lost(error.to_string());
    let _place = PLACES.acquire().await.map_err(|error| lost(&error))?;
    tokio::task::spawn_blocking(work).await.map_err(|error| lost(&error))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Costs {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Costs {
    const fn now() -> Self {
        Self { memory_kib: MEMORY_KIB, passes: PASSES, lanes: LANES }
    }

    fn hash(self, password: &[u8], salt: &[u8]) -> Result<[u8; HASH_BYTES], ServerError> {
        let wrong = |error: argon2::Error| ServerError::Key(format!("Argon2id: {error}"));
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES))
            .map_err(wrong)?;
        let mut out = [0; HASH_BYTES];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut out)
            .map_err(wrong)?;
        Ok(out)
    }
}

fn text(costs: Costs, salt: &[u8], hash: &[u8]) -> String {
    let Costs { memory_kib, passes, lanes } = costs;
    let (salt, hash) = (BASE64_NOPAD.encode(salt), BASE64_NOPAD.encode(hash));
    format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}")
}

fn parse(text: &str) -> Option<(Costs, Vec<u8>, Vec<u8>)> {
    let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
    let mut costs = parts.next()?.split(',');
    let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
    let costs = Costs { memory_kib: cost("m=")?, passes: cost("t=")?, lanes: cost("p=")? };
    let mut bytes = || BASE64_NOPAD.decode(parts.next()?.as_bytes()).ok();
    let (salt, hash) = (bytes()?, bytes()?);
    let bounded = costs.memory_kib <= MEMORY_KIB_MAX && costs.passes <= PASSES_MAX;
    (bounded && costs.lanes == LANES && hash.len() == HASH_BYTES && parts.next().is_none())
        .then_some((costs, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn a_password_fits_its_hash_and_no_other_does() {
        let kept = hash(word("correct horse battery")).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert!(fits(word("correct horse battery"), Some(&kept)).await.unwrap());
        for wrong in ["correct horse batterz", "", &"x".repeat(BYTES_MAX + 1)] {
            assert!(!fits(word(wrong), Some(&kept)).await.unwrap());
        }
        assert!(!fits(word("correct horse battery"), None).await.unwrap());
        assert_ne!(hash(word("correct horse battery")).await.unwrap(), kept, "salted");
        assert!(fits(word("x"), Some("$argon2id$v=19$m=1,t=1")).await.is_err());
    }

    /// What the reference implementation answers:
    /// `echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 32`.
    #[test]
    fn the_hash_is_that_of_the_reference_implementation() {
        let costs = Costs { memory_kib: 65_536, passes: 2, lanes: 1 };
        let hash = costs.hash(b"password", b"somesalt").unwrap();
        assert_eq!(
            data_encoding::HEXLOWER.encode(&hash),
            "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
        );
    }

    #[test]
    fn texts_read_back_and_costs_are_bounded() {
        let kept = text(Costs::now(), &[7; 16], &[9; 32]);
        assert_eq!(parse(&kept), Some((Costs::now(), vec![7; 16], vec![9; 32])));
        for wrong in [
            kept.replace("argon2id", "argon2i"),
            kept.replace("m=19456", "m=4294967295"),
            kept.replace("t=2", "t=17"),
            kept.replace("p=1", "p=9"),
            format!("{kept}$"),
            kept[..kept.len() - 4].to_owned(),
        ] {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn new_passwords_have_a_least_length_in_characters() {
        assert!(check_new("elf zeichen").is_err());
        assert!(check_new("zwölf zeiche").is_ok());
        assert!(check_new(&"x".repeat(BYTES_MAX + 1)).is_err());
    }
}
