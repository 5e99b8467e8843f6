//! The Server's configuration: a small TOML file, every line of it optional.

use std::path::Path;

use serde::{Deserialize, Serialize};
use simsim_model::port_registry;

use crate::ServerError;

/// Settings of the Server. What a file leaves out has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The Server's name for people; empty: the host's name.
    pub name: String,
    /// Names or addresses under which other hosts reach this one for backup data, in order of
    /// preference; empty: the host's name, then the address that leads to the other host.
    pub advertise: Vec<String>,
    /// Jobs that a new drive takes at once.
    pub drive_jobs_max: u32,
    /// A join code serves for so many minutes.
    pub join_code_minutes: u32,
    /// A transfer must be opened within so many minutes of its ticket.
    pub ticket_minutes: u32,
    /// After a client has been silent for `limits::DEAD_PEER_MS`, a job waits so many seconds
    /// more for it to come back.
    pub silent_grace_s: u32,
    /// Bytes of segments that one backup may put; 0: no limit.
    pub backup_bytes_max: u64,
    /// The port on which nodes listen for the Server, where an enrolment does not say another.
    pub control_port: u16,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            advertise: Vec::new(),
            drive_jobs_max: 4,
            join_code_minutes: 15,
            ticket_minutes: 10,
            silent_grace_s: 90,
            backup_bytes_max: 0,
            control_port: port_registry::SMSSH.ports.first(),
        }
    }
}

impl ServerConfig {
    /// Reads a file; one that is not there gives the defaults.
    pub fn load(path: &Path) -> Result<Self, ServerError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ServerError::io("read the configuration", path, source)),
        }
    }

    /// Reads a text; `path` is for messages only.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ServerError> {
        let wrong = |why: String| ServerError::Config { path: path.to_owned(), why };
        let config: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if !(1..=1000).contains(&config.drive_jobs_max) {
            return Err(wrong("drive_jobs_max: from 1 to 1000".to_owned()));
        }
        if !(1..=15).contains(&config.join_code_minutes) {
            return Err(wrong("join_code_minutes: from 1 to 15".to_owned()));
        }
        if !(1..=60).contains(&config.ticket_minutes) {
            return Err(wrong("ticket_minutes: from 1 to 60".to_owned()));
        }
        if config.control_port == 0 {
            return Err(wrong("control_port: from 1 to 65535".to_owned()));
        }
        Ok(config)
    }

    /// The name for people.
    pub(crate) fn name_or_host(&self) -> String {
        if self.name.is_empty() { host_name() } else { self.name.clone() }
    }
}

/// The host's own name.
pub(crate) fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerConfig, ServerError> {
        ServerConfig::parse(Path::new("server.toml"), text)
    }

    #[test]
    fn an_empty_file_gives_the_defaults_and_a_written_one_reads_back() {
        assert_eq!(parse("").unwrap(), ServerConfig::default());
        let config = ServerConfig { name: "vault".to_owned(), ..ServerConfig::default() };
        assert_eq!(parse(&toml::to_string(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn a_typing_error_is_named_with_its_line() {
        let error = parse("name = \"x\"\ndrive_job_max = 3\n").unwrap_err().to_string();
        assert!(error.contains("drive_job_max") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn figures_outside_their_range_are_refused() {
        for text in [
            "drive_jobs_max = 0",
            "join_code_minutes = 16",
            "ticket_minutes = 0",
            "control_port = 0",
        ] {
            let key = text.split(' ').next().unwrap();
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
