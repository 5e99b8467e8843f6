//! What a host remembers of its server, so that of two with one identity the one that came back later counts.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use simsim_control::PublicKey;
use simsim_control::verbs::{ServerRecovered, ServerRecoveredReply};
use simsim_model::Kind;

use crate::exit::Failure;
use crate::state::{State, write_private};

/// The file.
const FILE: &str = "server-recovered.json";

/// Remembers.
pub struct Witness {
    file: PathBuf,
    changing: Mutex<()>,
}

#[derive(Serialize, Deserialize)]
struct Heard {
    server_key: String,
    newest_unix_ms: u64,
}

impl Witness {
    pub fn new(state: &State) -> Self {
        Self { file: state.file(FILE), changing: Mutex::new(()) }
    }

    /// Takes in what the server with this key says, and answers the newest that it ever said.
    pub fn hear(
        &self,
        server: &PublicKey,
        said: &ServerRecovered,
    ) -> Result<ServerRecoveredReply, Failure> {
        let _one = self.changing.lock();
        let key = server.to_string();
        let heard = read(&self.file)?.filter(|heard| heard.server_key == key);
        let before = heard.map_or(0, |heard| heard.newest_unix_ms);
        if said.recovered_unix_ms > before {
            let heard = Heard { server_key: key, newest_unix_ms: said.recovered_unix_ms };
            let text = serde_json::to_vec_pretty(&heard)
                .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
            write_private(&self.file, &text).map_err(|error| failed(&self.file, &error))?;
        }
        Ok(ServerRecoveredReply { newest_unix_ms: before.max(said.recovered_unix_ms) })
    }
}

/// `None` where nothing was heard. One that cannot be read is nothing that a server may be refused for.
fn read(file: &Path) -> Result<Option<Heard>, Failure> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(file, &error)),
    }
}

fn failed(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::of_io(error), format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use simsim_control::Identity;

    use super::*;

    #[test]
    fn the_newest_counts_for_good_and_only_for_its_own_server() {
        let scratch = tempfile::tempdir().unwrap();
        let state = State::named_or_default(Some(scratch.path())).unwrap();
        let (one, other) = (Identity::generate().public(), Identity::generate().public());
        let hears = |server: &PublicKey, at| {
            let said = ServerRecovered { recovered_unix_ms: at };
            Witness::new(&state).hear(server, &said).unwrap().newest_unix_ms
        };
        assert_eq!(hears(&one, 0), 0);
        assert!(!scratch.path().join(FILE).exists(), "nothing to remember");
        assert_eq!(hears(&one, 70), 70);
        assert_eq!(hears(&one, 0), 70, "the old server");
        assert_eq!(hears(&one, 80), 80);
        // A host that joined another server.
        assert_eq!(hears(&other, 5), 5);
        assert_eq!(hears(&other, 0), 5);
        std::fs::write(scratch.path().join(FILE), "?").unwrap();
        assert_eq!(hears(&other, 3), 3, "damaged");
    }
}
