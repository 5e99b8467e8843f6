//! The texts of tokens and tickets: a prefix that leak scanners find, and 256 random bits.

use simsim_format::random_bytes;
use simsim_transfer::gate::{SecretText, TICKET_PREFIX, TOKEN_PREFIX};
use zeroize::Zeroizing;

use crate::ServerError;

/// A new access token and what is kept of it.
pub(crate) fn new_token() -> Result<(SecretText, [u8; 32]), ServerError> {
    new(TOKEN_PREFIX)
}

/// A new one-time ticket and what is kept of it.
pub(crate) fn new_ticket() -> Result<(SecretText, [u8; 32]), ServerError> {
    new(TICKET_PREFIX)
}

fn new(prefix: &str) -> Result<(SecretText, [u8; 32]), ServerError> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes()?);
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 64));
    text.push_str(prefix);
    for byte in *bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    let hash = hash_of(&text);
    Ok((SecretText::new(text.as_str()), hash))
}

/// What is kept of a secret. It finds the row, so that no secret is compared byte by byte.
pub(crate) fn hash_of(text: &str) -> [u8; 32] {
    blake3::derive_key("simsim server v1: secrets for raw streams", text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_by_scanners_and_differ() {
        for (made, prefix) in [(new_token(), "simsim_token_"), (new_ticket(), "simsim_ticket_")] {
            let (text, hash) = made.unwrap();
            let digits = text.reveal().strip_prefix(prefix).unwrap();
            assert!(digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            assert_eq!(hash, hash_of(text.reveal()));
            assert_ne!(hash, new_token().unwrap().1);
        }
    }
}
