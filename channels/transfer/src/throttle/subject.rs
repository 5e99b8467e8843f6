//! What a limit counts for, and who is at the ends of a transfer.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use simsim_net::{Network, NetworkError};

/// What a limit counts for. As text: `all`, `host NAME`, `network 10.2.0.0/16`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Every transfer.
    All,
    /// Transfers from or to this host, by its name at the server.
    Host(String),
    /// Transfers whose other end, seen from the device, has an address in it.
    Network(Network),
}

/// A text that names nothing that a limit can count for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("'{0}' is nothing that this version can limit")]
    Unknown(String),
}

/// Who is at the ends of a transfer, as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Party {
    /// The host whose data it is, and the device's.
    pub hosts: Vec<String>,
    /// Addresses of the other end, which may be known to the server only.
    pub addresses: Vec<IpAddr>,
}

impl Subject {
    pub fn counts_for(&self, party: &Party) -> bool {
        match self {
            Subject::All => true,
            Subject::Host(name) => party.hosts.contains(name),
            Subject::Network(network) => {
                party.addresses.iter().any(|address| network.contains(*address))
            }
        }
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        match text.split_once(' ') {
            None if text == "all" => Ok(Subject::All),
            Some(("host", name)) if !name.is_empty() => Ok(Subject::Host(name.to_owned())),
            Some(("network", network)) => Ok(Subject::Network(network.parse()?)),
            _ => Err(SubjectError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::All => f.write_str("all"),
            Subject::Host(name) => write!(f, "host {name}"),
            Subject::Network(network) => write!(f, "network {network}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_read_as_they_are_written_and_others_are_refused() {
        for text in ["all", "host web 1", "network 10.2.0.0/16", "network ::/0"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in ["", "everything", "host", "host ", "all web", "network x", "datastore main"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    /// It comes from the server, to a device that may be older.
    #[test]
    fn fuzz_subjects() {
        let seeds = ["all", "host web", "network 10.2.0.0/16", "network 2001:db8::/32"];
        simsim_testkit::fuzz("subject", &seeds.map(|seed| seed.as_bytes().to_vec()), |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(subject) = text.parse::<Subject>() {
                assert_eq!(subject.to_string().parse(), Ok(subject));
            }
        });
    }
}
