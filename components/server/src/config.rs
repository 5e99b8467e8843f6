//! The Server's configuration: the `[server]` part of the host's settings, every line optional.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use simsim_catalog::PostgresPlace;
use simsim_model::port_registry;

use crate::certificates;
use crate::prune::KeepConfig;

/// Settings of the Server. What a file leaves out has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The Server's name for people; empty: the host's name. Not in a file: it is the host's.
    #[serde(skip)]
    pub name: String,
    /// The connection string of the catalog's database in PostgreSQL; empty: a file of the state
    /// folder.
    pub catalog: String,
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
    /// How often it is looked which savesets the search index lacks, in seconds; 0: never, and nothing
    /// can be searched.
    pub search_interval_s: u32,
    /// How often every way of the port plan is tried, in seconds; 0: only when somebody asks for it.
    pub probe_interval_s: u32,
    /// Bytes of segments that one backup may put; 0: no limit.
    pub backup_bytes_max: u64,
    /// Programs of this host that notifications may run, by local names; each an absolute path and its arguments.
    pub notify_programs: BTreeMap<String, Vec<String>>,
    /// How long what is only history is kept.
    pub keep: KeepConfig,
    /// The port on which this host listens for its own Server, and for hosts that join. Not in a
    /// file: it follows from the listener.
    #[serde(skip)]
    pub control_port: u16,
    /// Where browsers find the console, such as `https://localhost:11401`. Not in a file: it follows from
    /// the listeners.
    #[serde(skip)]
    pub console: Option<String>,
    /// How often it is looked whether a certificate is to be renewed, beside each time when a host is
    /// reached. Not in a file.
    #[serde(skip)]
    pub certificates_looked_at: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            catalog: String::new(),
            advertise: Vec::new(),
            drive_jobs_max: 4,
            join_code_minutes: 15,
            ticket_minutes: 10,
            silent_grace_s: 90,
            search_interval_s: 10,
            probe_interval_s: 6 * 3600,
            backup_bytes_max: 0,
            notify_programs: BTreeMap::new(),
            keep: KeepConfig::default(),
            control_port: port_registry::SMSSH.ports.first(),
            console: None,
            certificates_looked_at: certificates::LOOK_INTERVAL,
        }
    }
}

impl ServerConfig {
    /// Are the figures in their ranges? The error names the one that is not.
    pub fn check(&self) -> Result<(), String> {
        if !self.catalog.is_empty() && !PostgresPlace::is_meant(&self.catalog) {
            let form = "postgresql://USER@HOST/DATABASE";
            return Err(format!(
                "catalog: write {form}, or leave it out for a file of the state folder"
            ));
        }
        for (name, line) in &self.notify_programs {
            if !line.first().is_some_and(|program| program.starts_with('/')) {
                return Err(format!(
                    "notify_programs.{name}: write [\"/PROGRAM\", \"ARGUMENT\", …] with an absolute path"
                ));
            }
        }
        let figures = [
            ("drive_jobs_max", self.drive_jobs_max, 1..=1000),
            ("join_code_minutes", self.join_code_minutes, 1..=15),
            ("ticket_minutes", self.ticket_minutes, 1..=60),
            ("search_interval_s", self.search_interval_s, 0..=86_400),
            ("probe_interval_s", self.probe_interval_s, 0..=30 * 86_400),
        ];
        for (name, figure, range) in figures {
            if !range.contains(&figure) {
                return Err(format!("{name}: from {} to {}", range.start(), range.end()));
            }
        }
        self.keep.check()
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

    #[test]
    fn an_empty_text_gives_the_defaults_and_they_are_in_range() {
        let config: ServerConfig = toml::from_str("").unwrap();
        assert_eq!(config, ServerConfig::default());
        config.check().unwrap();
    }

    #[test]
    fn a_typing_error_is_named_with_its_line() {
        let error = toml::from_str::<ServerConfig>("ticket_minutes = 3\ndrive_job_max = 3\n");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("drive_job_max") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn figures_outside_their_range_are_refused() {
        for text in [
            "drive_jobs_max = 0",
            "join_code_minutes = 16",
            "ticket_minutes = 0",
            "keep.jobs_days = 36501",
        ] {
            let key = text.split(' ').next().unwrap();
            let config: ServerConfig = toml::from_str(text).unwrap();
            let error = config.check().unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
