//! How a client is steered.

use serde::{Deserialize, Serialize};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::clients::{Client, client_by_id, client_by_name};
use rusqlite::params;

/// The one way in which the Server reaches a client's control listener. Never another one when it
/// fails: an attacker who closes one way must not open a worse one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AccessMode {
    /// Over SSH.
    #[default]
    Smssh,
    /// Over plain TCP: authenticated, with what has names and secrets sealed.
    Ctrl,
    /// Over a connection that the client opens: for one that nobody can dial.
    Outbound,
}

impl AccessMode {
    pub const ALL: [AccessMode; 3] = [AccessMode::Smssh, AccessMode::Ctrl, AccessMode::Outbound];

    pub const fn as_str(self) -> &'static str {
        match self {
            AccessMode::Smssh => "smssh",
            AccessMode::Ctrl => "ctrl",
            AccessMode::Outbound => "outbound",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        AccessMode::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

impl std::fmt::Display for AccessMode {
    /// As people write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AccessMode::Smssh => "SMSSH",
            AccessMode::Ctrl => "CTRL",
            AccessMode::Outbound => "OUTBOUND",
        })
    }
}

impl std::str::FromStr for AccessMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(&text.to_ascii_lowercase())
            .ok_or_else(|| format!("'{text}' is no access mode: smssh, ctrl or outbound"))
    }
}

impl Catalog {
    /// Changes how a client is steered; `port` is the one on which it listens in this mode, and
    /// `None` leaves it. Errors: `NotFound`, `Invalid` for port 0.
    pub fn set_client_access(
        &self,
        name: &str,
        mode: AccessMode,
        port: Option<u16>,
    ) -> Result<Client, CatalogError> {
        if port == Some(0) {
            return Err(CatalogError::invalid("a client listens on a port from 1 to 65535"));
        }
        if port.is_some() && mode == AccessMode::Outbound {
            let text = "a client of access mode OUTBOUND is not dialled: it has no port";
            return Err(CatalogError::invalid(text));
        }
        self.write("change how a client is steered", |transaction| {
            let client = client_by_name(transaction, name)?;
            let (smssh, ctrl) = match mode {
                AccessMode::Smssh => (port.unwrap_or(client.listen_port), client.ctrl_port),
                AccessMode::Ctrl => (client.listen_port, port.or(client.ctrl_port)),
                AccessMode::Outbound => (client.listen_port, client.ctrl_port),
            };
            transaction.execute(
                "UPDATE clients SET access_mode = ?2, listen_port = ?3, ctrl_port = ?4
                 WHERE client = ?1",
                params![client.id.0, mode.as_str(), smssh, ctrl],
            )?;
            client_by_id(transaction, client.id)
        })
    }
}
