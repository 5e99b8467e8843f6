//! Clients and enrolment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::AccessMode;

use super::WakeAddress;

/// One enrolled host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientView {
    pub name: String,
    /// Fingerprint of its pinned host key.
    pub fingerprint: String,
    /// Where the Server dials it.
    pub addresses: Vec<String>,
    /// The port of row `smssh`.
    pub listen_port: u16,
    /// The only way in which the Server reaches it.
    pub access_mode: AccessMode,
    /// The port of row `ctrl`.
    pub ctrl_port: u16,
    /// Its settings enable the unencrypted channel, as it said when it was reached last.
    pub listens_for_ctrl: bool,
    /// `client`, `device`, `server`, as it says; empty before it was reached first.
    pub roles: Vec<String>,
    pub platform: String,
    pub suite_version: String,
    /// `enrolled` or `revoked`.
    pub state: String,
    pub enrolled_unix_ms: i64,
    pub revoked_unix_ms: Option<i64>,
    pub last_seen_unix_ms: Option<i64>,
    /// Whether a control session is open now.
    pub connected: bool,
    /// Why there is none, where one was tried.
    pub trouble: Option<String>,
    /// What somebody should know of it for as long as it is so: its channel is not encrypted.
    pub warning: Option<String>,
    /// The location in which it stands.
    pub location: Option<String>,
    /// How it is woken when a job waits for it.
    pub wake: Option<WakeAddress>,
}

/// Makes a join code.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JoinCodeRequest {
    /// The only name that may join with it, which also renews a client of that name; `None`: any
    /// name that is free.
    pub name: Option<String>,
    /// For a host that calls this server because nobody can dial it (access mode OUTBOUND), and for no
    /// other: it joins where it calls, on row `https`.
    pub outbound: bool,
}

/// A join code, shown once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinCodeReply {
    pub code: String,
    pub name: Option<String>,
    pub expires_unix_ms: i64,
    /// What to type on the host that joins.
    pub command: String,
}

impl std::fmt::Debug for JoinCodeReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinCodeReply").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Names a client.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientRequest {
    pub name: String,
}

/// Answer to a revocation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RevokeReply {
    pub client: ClientView,
    /// Jobs that were ended by it.
    pub jobs_ended: Vec<u64>,
    /// What still names it, such as `task 'home'`: tasks, commands, datastores; for whoever may see the suite also events,
    /// replications, migrations, notifications and who holds rights for it.
    pub still_named_by: Vec<String>,
}

/// Changes where a client is dialled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAddressesRequest {
    pub name: String,
    /// At least one host name or address, without a port.
    pub addresses: Vec<String>,
    /// `None` leaves it.
    #[serde(default)]
    pub listen_port: Option<u16>,
}

/// Changes how a client is steered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSetRequest {
    pub name: String,
    pub access_mode: AccessMode,
    /// The port on which it listens in this mode; `None` leaves it.
    #[serde(default)]
    pub port: Option<u16>,
}

/// Gives a client another TLS key.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKeyRequest {
    pub name: String,
    /// The old key was stolen: nobody is shown it any more, also not who began with it.
    #[serde(default)]
    pub now: bool,
}

/// Answer to `client.rotate-key`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRotatedReply {
    pub client: String,
    /// Pins: SHA-256 of the public key, 64 hexadecimal digits.
    pub tls_key: String,
    pub former_tls_key: String,
    /// Until when the certificate of the new key is good; `None`: the suite gave it none, because the
    /// host has no name that an administrator gave it.
    pub certificate_until_unix_ms: Option<i64>,
}
