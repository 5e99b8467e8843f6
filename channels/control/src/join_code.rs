//! Join codes: what an administrator carries from the server to a new host.
//!
//! A code holds a secret of 128 bits, which both sides prove to know without sending it, and the
//! short fingerprint of the server's key, so that the new host knows the right server before it
//! sends anything. Its text is eleven groups of five characters of Crockford's base 32; 19 of its
//! bits check the others, enough to name the group with a typo.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, Zeroizing};

use crate::PublicKey;

/// Crockford's alphabet: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const CHARACTERS: usize = 55;
const GROUP: usize = 5;
const SECRET_BYTES: usize = 16;
const DATA_BYTES: usize = 32;
const DATA_BITS: usize = DATA_BYTES * 8;

/// A join code. It is a secret: it has no `Display`, and `Debug` shows only the server.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode {
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    server: [u8; 16],
}

/// A text that is not a join code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinCodeError {
    #[error(
        "a join code has 11 groups of 5 characters, this one has {found} characters in all: copy \
         it again from the server"
    )]
    Length { found: usize },
    #[error("'{character}' in group {group} of the join code is not a letter or digit of it")]
    Character { character: char, group: usize },
    #[error("the join code has a typo in group {group}: compare it with the server's")]
    TypoInGroup { group: usize },
    #[error("the join code has typos: copy it again from the server")]
    Typos,
}

impl JoinCode {
    /// How long a code is valid after it was made.
    pub const VALID: Duration = Duration::from_secs(15 * 60);

    /// A new code of the server with this key.
    ///
    /// # Panics
    /// When the system has no random source.
    pub fn generate(server: &PublicKey) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        assert!(
            SystemRandom::new().fill(secret.as_mut_slice()).is_ok(),
            "the system has no random source"
        );
        Self { secret, server: server.short_fingerprint() }
    }

    /// A code again from its secret, as a server keeps it.
    pub fn from_secret(secret: [u8; 16], server: &PublicKey) -> Self {
        Self { secret: Zeroizing::new(secret), server: server.short_fingerprint() }
    }

    /// What both sides prove to know.
    pub fn secret(&self) -> &[u8; 16] {
        &self.secret
    }

    /// The short fingerprint that the server's host key must have.
    pub fn server_fingerprint(&self) -> &[u8; 16] {
        &self.server
    }

    /// The text for people: `XXXXX-XXXXX-…`, wiped when dropped.
    pub fn text(&self) -> Zeroizing<String> {
        let symbols = Symbols::of_data(&self.data());
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS + CHARACTERS / GROUP));
        for (place, symbol) in symbols.0.iter().enumerate() {
            if place > 0 && place % GROUP == 0 {
                text.push('-');
            }
            let letter = ALPHABET.get(usize::from(*symbol)).copied().unwrap_or(b'?');
            text.push(char::from(letter));
        }
        text
    }

    /// Reads a code: either case, O for 0, I and L for 1, with any spaces and dashes.
    ///
    /// # Errors
    /// Each names what to look at; a single wrong character or two swapped ones name their group.
    pub fn parse(text: &str) -> Result<Self, JoinCodeError> {
        let typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        let found = typed.clone().count();
        let mut symbols = Symbols([0; CHARACTERS]);
        for (place, character) in typed.enumerate() {
            let symbol = symbol_of(character)
                .ok_or(JoinCodeError::Character { character, group: place / GROUP + 1 })?;
            if let Some(slot) = symbols.0.get_mut(place) {
                *slot = symbol;
            }
        }
        if found != CHARACTERS {
            return Err(JoinCodeError::Length { found });
        }
        match symbols.checked_data() {
            Some(data) => Ok(Self::of_data(&data)),
            None => Err(symbols.find_typo()),
        }
    }

    fn data(&self) -> Zeroizing<[u8; DATA_BYTES]> {
        let mut data = Zeroizing::new([0; DATA_BYTES]);
        for (to, from) in data.iter_mut().zip(self.secret.iter().chain(&self.server)) {
            *to = *from;
        }
        data
    }

    fn of_data(data: &[u8; DATA_BYTES]) -> Self {
        let mut code = Self { secret: Zeroizing::default(), server: [0; 16] };
        for (to, from) in code.secret.iter_mut().chain(&mut code.server).zip(data) {
            *to = *from;
        }
        code
    }
}

impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinCode(server {})", data_encoding::HEXLOWER.encode(&self.server))
    }
}

fn symbol_of(character: char) -> Option<u8> {
    let upper = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|letter| char::from(*letter) == upper).map(|place| place as u8)
}

/// The 55 values of five bits: 256 bits of data and 19 that check them, first bit first.
#[derive(Clone)]
struct Symbols([u8; CHARACTERS]);

impl Drop for Symbols {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Symbols {
    fn of_data(data: &[u8; DATA_BYTES]) -> Self {
        let mut symbols = Self([0; CHARACTERS]);
        let check = check_bytes(data);
        for bit in 0..CHARACTERS * 5 {
            let byte =
                if bit < DATA_BITS { data.get(bit / 8) } else { check.get((bit - DATA_BITS) / 8) };
            let value = byte.is_some_and(|byte| byte >> (7 - bit % 8) & 1 == 1);
            if let Some(symbol) = symbols.0.get_mut(bit / 5) {
                *symbol |= u8::from(value) << (4 - bit % 5);
            }
        }
        symbols
    }

    /// The data, when the check bits agree.
    fn checked_data(&self) -> Option<Zeroizing<[u8; DATA_BYTES]>> {
        let mut data = Zeroizing::new([0u8; DATA_BYTES]);
        for bit in 0..DATA_BITS {
            let value = self.0.get(bit / 5)? >> (4 - bit % 5) & 1;
            *data.get_mut(bit / 8)? |= value << (7 - bit % 8);
        }
        (Self::of_data(&data).0 == self.0).then_some(data)
    }

    /// Looks for the one change that makes the code right.
    fn find_typo(&self) -> JoinCodeError {
        let mut groups = Vec::new();
        for place in 0..CHARACTERS {
            let mut tried = self.clone();
            let wrong = (0..32u8).any(|symbol| {
                if let Some(slot) = tried.0.get_mut(place) {
                    *slot = symbol;
                }
                tried.checked_data().is_some()
            });
            let mut swapped = self.clone();
            let swap = place + 1 < CHARACTERS && {
                swapped.0.swap(place, place + 1);
                swapped.checked_data().is_some()
            };
            if wrong || swap {
                groups.push(place / GROUP + 1);
            }
        }
        groups.dedup();
        match groups.as_slice() {
            [group] => JoinCodeError::TypoInGroup { group: *group },
            _ => JoinCodeError::Typos,
        }
    }
}

fn check_bytes(data: &[u8; DATA_BYTES]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("simsim join code check bits v1")
        .update(data)
        .finalize()
        .as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> JoinCode {
        JoinCode::from_secret(*b"0123456789abcdef", &PublicKey([7; 32]))
    }

    #[test]
    fn the_text_round_trips_in_every_spelling() {
        let code = code();
        let text = code.text();
        assert_eq!(text.len(), 65);
        assert_eq!(text.split('-').count(), 11);
        assert_eq!(JoinCode::parse(&text).unwrap(), code);
        let sloppy = text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " \n");
        assert_eq!(JoinCode::parse(&sloppy).unwrap(), code);
        assert!(!format!("{code:?}").contains("30313233"));
        assert_ne!(
            JoinCode::generate(&PublicKey([7; 32])),
            JoinCode::generate(&PublicKey([7; 32]))
        );
    }

    #[test]
    fn a_wrong_character_or_two_swapped_ones_name_their_group() {
        let text = code().text();
        let letters: Vec<char> = text.chars().collect();
        let mut exact = 0;
        for place in (0..letters.len()).filter(|place| letters[*place] != '-') {
            let mut wrong = letters.clone();
            wrong[place] = if wrong[place] == 'Z' { 'Y' } else { 'Z' };
            let error = JoinCode::parse(&wrong.iter().collect::<String>()).unwrap_err();
            if error == (JoinCodeError::TypoInGroup { group: place / 6 + 1 }) {
                exact += 1;
            } else {
                assert_eq!(error, JoinCodeError::Typos, "never a wrong group");
            }
        }
        assert!(exact >= 53, "{exact} of 55 located");
        let mut swapped = letters.clone();
        let place = (0..4).find(|place| swapped[*place] != swapped[place + 1]).unwrap();
        swapped.swap(place, place + 1);
        let error = JoinCode::parse(&swapped.iter().collect::<String>()).unwrap_err();
        assert_eq!(error, JoinCodeError::TypoInGroup { group: 1 });
    }

    #[test]
    fn other_texts_say_what_is_wrong_with_them() {
        assert_eq!(JoinCode::parse(""), Err(JoinCodeError::Length { found: 0 }));
        let text = code().text();
        assert_eq!(JoinCode::parse(&text[6..]), Err(JoinCodeError::Length { found: 50 }));
        assert_eq!(
            JoinCode::parse(&text.replacen(|_: char| true, "Ü", 1)),
            Err(JoinCodeError::Character { character: 'Ü', group: 1 })
        );
        assert_eq!(JoinCode::parse(&"00000-".repeat(11)), Err(JoinCodeError::Typos));
    }
}
