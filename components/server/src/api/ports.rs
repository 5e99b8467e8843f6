//! Ports: what the suite needs of firewalls, and how its hosts are seen from the server.

use serde::{Deserialize, Serialize};

/// The plan itself, as the model has it.
pub use simsim_model::port_plan::{EndKind, PlanEnd, PlanHost, PlanRow, PortPlan};

/// One enrolled host, looked at from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCheck {
    pub name: String,
    pub connected: bool,
    /// Why it is not reached.
    pub trouble: Option<String>,
    /// Its clock minus the server's, half of the round trip taken into account; `None` while it is
    /// not reached.
    pub clock_difference_ms: Option<i64>,
    /// Of the control session.
    pub round_trip_us: Option<u64>,
    pub names: Vec<NameCheck>,
}

/// One configured name or address of a host, looked up both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameCheck {
    /// As configured.
    pub name: String,
    /// What it resolves to.
    pub addresses: Vec<std::net::IpAddr>,
    /// Why it does not resolve.
    pub trouble: Option<String>,
}
