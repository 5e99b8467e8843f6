//! How a client of the suite logs in: `USER simsim-transfer`, and a PASS that proves the ticket and
//! is of no use to whoever reads it.

use std::fmt;

use simsim_model::{Secret, TransferId};

use crate::keys;

/// The user of transfers.
pub(crate) const USER: &str = "simsim-transfer";

/// Which way a data connection of a pipe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// From the client to the device: STOR.
    Up,
    /// From the device to the client: RETR.
    Down,
}

impl Half {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Half::Up => "up",
            Half::Down => "down",
        }
    }
}

/// Two data connections that are one wire: a random number, anew for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PipeId(pub [u8; 16]);

impl fmt::Display for PipeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What PASS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Login {
    pub transfer: TransferId,
    pub pipe: PipeId,
    pub half: Half,
    proof: [u8; 32],
}

impl Login {
    pub(crate) fn new(
        transfer: TransferId,
        secret: &Secret,
        pipe: PipeId,
        half: Half,
        challenge: &[u8; 32],
    ) -> Self {
        let proof = keys::door_proof(secret, &transfer, &pipe.0, half as u8, challenge);
        Self { transfer, pipe, half, proof: *proof.as_bytes() }
    }

    /// Compares in the same time for all proofs.
    pub(crate) fn is_proved(&self, secret: &Secret, challenge: &[u8; 32]) -> bool {
        let half = self.half as u8;
        let expected = keys::door_proof(secret, &self.transfer, &self.pipe.0, half, challenge);
        expected == blake3::Hash::from_bytes(self.proof)
    }

    /// What the device answers, in hexadecimal digits: it holds the ticket too.
    pub(crate) fn answer(&self, secret: &Secret, challenge: &[u8; 32]) -> String {
        let half = self.half as u8;
        hex(keys::door_answer(secret, &self.transfer, &self.pipe.0, half, challenge).as_bytes())
    }

    /// Compares in the same time for all answers.
    pub(crate) fn is_answered(&self, secret: &Secret, challenge: &[u8; 32], said: &str) -> bool {
        let half = self.half as u8;
        let expected = keys::door_answer(secret, &self.transfer, &self.pipe.0, half, challenge);
        let said = said.split_whitespace().find_map(parse_hex);
        said.is_some_and(|said| expected == blake3::Hash::from_bytes(said))
    }

    /// The argument of PASS: `transfer.pipe.half.proof`, numbers in hexadecimal digits.
    pub(crate) fn to_text(&self) -> String {
        let (transfer, pipe) = (&self.transfer, self.pipe);
        format!("{transfer}.{pipe}.{}.{}", self.half.as_str(), hex(&self.proof))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let transfer = TransferId(parse_hex(parts.next()?)?);
        let pipe = PipeId(parse_hex(parts.next()?)?);
        let half = match parts.next()? {
            "up" => Half::Up,
            "down" => Half::Down,
            _ => return None,
        };
        let proof = parse_hex(parts.next()?)?;
        parts.next().is_none().then_some(Self { transfer, pipe, half, proof })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Exactly as many bytes as asked for, in lower-case digits or capitals.
pub(crate) fn parse_hex<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_proves_one_half_of_one_pipe_to_one_challenge() {
        let (transfer, secret, pipe) = (TransferId([1; 16]), Secret([2; 32]), PipeId([3; 16]));
        let login = Login::new(transfer, &secret, pipe, Half::Up, &[4; 32]);
        let text = login.to_text();
        assert!(text.len() < 200 && !text.contains(&hex(&secret.0)));
        let read = Login::parse(&text).unwrap();
        assert_eq!(read, login);
        assert!(read.is_proved(&secret, &[4; 32]));
        let answer = login.answer(&secret, &[4; 32]);
        assert!(login.is_answered(&secret, &[4; 32], &answer));
        assert!(!login.is_answered(&secret, &[5; 32], &answer));
        assert!(!login.is_answered(&secret, &[4; 32], &hex(&login.proof)), "only echoed");
        assert!(!login.is_answered(&secret, &[4; 32], "welcome"));
        assert!(!read.is_proved(&secret, &[5; 32]), "another challenge");
        assert!(!read.is_proved(&Secret([9; 32]), &[4; 32]), "another ticket");
        let others = [
            Login { half: Half::Down, ..login.clone() },
            Login { pipe: PipeId([9; 16]), ..login.clone() },
            Login { transfer: TransferId([9; 16]), ..login },
        ];
        for other in others {
            assert!(!other.is_proved(&secret, &[4; 32]), "{other:?}");
        }
        for wrong in ["", "..", &text[1..], &format!("{text}."), &text.replace("up", "on")] {
            assert_eq!(Login::parse(wrong), None, "{wrong}");
        }
    }
}
