//! Interfaces: the data addresses of device hosts, and which of them are chosen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Interfaces of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfacesView {
    pub host: String,
    /// In order of preference.
    pub interfaces: Vec<InterfaceView>,
    /// Whether somebody set them; else they are what the host's listeners give by themselves.
    pub set: bool,
    /// By which interfaces this host's own data goes, where it chooses: URLs or protocols.
    pub choices: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceView {
    /// Such as `https://vault`.
    pub url: String,
    /// Who chose it: `client NAME`, `task NAME`, `event NAME`.
    pub chosen_by: Vec<String>,
}

/// Names a host with interfaces.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InterfaceHostRequest {
    pub host: String,
}

/// Sets the interfaces of a host.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetInterfacesRequest {
    pub host: String,
    /// In order of preference; empty: back to the defaults.
    pub interfaces: Vec<String>,
}

/// Answer to a change of interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SetInterfacesReply {
    pub view: InterfacesView,
    /// What a person should know about them.
    pub warnings: Vec<String>,
}

/// Lets a client's data go by some interfaces.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseInterfacesRequest {
    pub client: String,
    /// URLs of interfaces, or protocols (`http`, `https`, `drive`), in order of preference; empty:
    /// whatever the device has.
    pub choices: Vec<String>,
}
