//! Locations: places in which hosts stand, and waking hosts that sleep.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds a location, or replaces all of one but its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationRequest {
    pub name: String,
    /// The location that it is in; `None`: in none.
    #[serde(default)]
    pub parent: Option<String>,
    /// For people, such as an address.
    #[serde(default)]
    pub note: String,
}

/// One location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LocationView {
    pub name: String,
    pub parent: Option<String>,
    pub note: String,
    /// The hosts that stand in it itself, by name.
    pub clients: Vec<String>,
    /// All that stand in it and in those within it.
    pub clients_in_all: u64,
    pub created_unix_ms: i64,
}

/// Says where a host stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientPlaceRequest {
    pub name: String,
    /// `None`: nowhere.
    #[serde(default)]
    pub location: Option<String>,
}

/// How a host that sleeps is woken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WakeAddress {
    /// Of its network card, such as `00:1b:44:11:3a:b7`.
    pub card: String,
    /// Where the packet is sent, an address with a port; `None`: to everybody in the server's network.
    #[serde(default)]
    pub to: Option<String>,
}

/// Says how a host is woken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientWakeRequest {
    pub name: String,
    /// `None`: it is not woken.
    #[serde(default)]
    pub wake: Option<WakeAddress>,
}
