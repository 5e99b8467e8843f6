//! Which server may give orders to this host.
//!
//! `client join` writes the file; the control listener reads it at each log-in, so that a host
//! obeys from the moment it has joined, and a daemon needs no restart.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use simsim_control::PublicKey;
use simsim_model::Kind;

use crate::exit::Failure;
use crate::state::{State, write_private};

/// The enrolment of an RDS or a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The server's name, for people.
    pub server: String,
    /// The key that may give orders, as `ssh-ed25519 …`.
    pub server_key: String,
    /// The name of this host at the server.
    pub name: String,
    /// The port that the server was told to dial.
    pub port: u16,
    /// `host:port` of the server, where this host calls it because nobody can dial this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<String>,
}

impl Enrolment {
    pub fn file(state: &State) -> PathBuf {
        state.file("enrolment.json")
    }

    /// `None` where this host has not joined.
    pub fn load(file: &Path) -> Result<Option<Self>, Failure> {
        let damaged = |why: String| {
            let text =
                format!("{}: {why}; join again, with a new code of the server", file.display());
            Failure::new(Kind::Corrupt, text)
        };
        match std::fs::read(file) {
            Ok(bytes) => Self::parse(&bytes).map(Some).map_err(damaged),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let text = format!("{}: {error}", file.display());
                Err(Failure::new(Kind::of_io(&error), text))
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let enrolment: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match enrolment.key() {
            Some(_) => Ok(enrolment),
            None => Err("the server's key in it is none".to_owned()),
        }
    }

    /// Durable when it returns.
    pub fn save(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
        write_private(file, &text).map_err(|error| {
            Failure::new(Kind::of_io(&error), format!("{}: {error}", file.display()))
        })
    }

    pub fn key(&self) -> Option<PublicKey> {
        self.server_key.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use simsim_control::Identity;

    use super::*;

    #[test]
    fn fuzz_enrolments() {
        let key = Identity::generate().public().to_string();
        let enrolment = Enrolment {
            server: "one".into(),
            server_key: key,
            name: "web".into(),
            port: 7,
            outbound: Vec::new(),
        };
        let outbound = vec!["a:1".to_owned(), "[::1]:2".to_owned()];
        let samples =
            [enrolment.clone(), Enrolment { name: "\u{e4}\"".into(), outbound, ..enrolment }]
                .map(|one| serde_json::to_vec_pretty(&one).unwrap());
        simsim_testkit::fuzz("enrolment", &samples, |bytes| {
            if let Ok(enrolment) = Enrolment::parse(bytes) {
                assert!(enrolment.key().is_some());
                let again = serde_json::to_vec(&enrolment).unwrap();
                assert_eq!(Enrolment::parse(&again), Ok(enrolment));
            }
        });
    }

    #[test]
    fn it_is_read_back_and_a_damaged_one_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("enrolment.json");
        assert_eq!(Enrolment::load(&file).unwrap(), None);
        let key = Identity::generate().public();
        let made = Enrolment {
            server: "vault".to_owned(),
            server_key: key.to_string(),
            name: "web1".to_owned(),
            port: 7,
            outbound: vec!["vault:8".to_owned()],
        };
        made.save(&file).unwrap();
        assert_eq!(Enrolment::load(&file).unwrap(), Some(made));
        for damage in ["", "{}", r#"{"server":"a","server_key":"b","name":"c","port":7}"#] {
            std::fs::write(&file, damage).unwrap();
            let error = Enrolment::load(&file).unwrap_err();
            assert_eq!(error.kind, Kind::Corrupt);
            assert!(error.message.contains("join again"), "{error}");
        }
    }
}
