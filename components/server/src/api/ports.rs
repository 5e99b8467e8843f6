//! Ports: what the suite needs of firewalls, and how its hosts are seen from the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desk::ProbeFound;

/// The plan itself, as the model has it.
pub use simsim_model::port_plan::{EndKind, PlanEnd, PlanHost, PlanPlace, PlanRow, PortPlan};

/// One enrolled host, looked at from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Until when the certificate is good that the suite's authority gave it; `None`: it has none.
    pub certificate_until_unix_ms: Option<i64>,
}

/// One configured name or address of a host, looked up both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameCheck {
    /// As configured.
    pub name: String,
    /// What it resolves to.
    pub addresses: Vec<std::net::IpAddr>,
    /// Why it does not resolve.
    pub trouble: Option<String>,
}

/// Tries the ways of the plan.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeRequest {
    /// Only ways from and to this host.
    pub host: Option<String>,
}

/// What was found, row by row of the plan, and for each interface of a row by itself; rows on loopback
/// are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeReport {
    pub rows: Vec<ProbedRow>,
}

/// One way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbedRow {
    pub row: String,
    pub from: String,
    pub to: String,
    pub first_port: u16,
    pub last_port: u16,
    /// The interface, as an administrator wrote it; `None`: the host under the names that it is enrolled
    /// with.
    pub interface: Option<String>,
    /// `open`, `refused`, `filtered`, `wrong_service`, `wrong_identity`, `no_way`, `not_tried`.
    pub state: String,
    /// Why, for people; empty where there is nothing to say.
    pub message: String,
    /// The address that answered, or the first that was tried.
    pub address: Option<String>,
    pub round_trip_us: Option<u64>,
    /// Of the sample, to the host that is dialled.
    pub bytes_per_s: Option<u64>,
}

impl ProbedRow {
    pub(crate) fn not_tried(row: &PlanRow) -> Self {
        Self {
            row: row.row.clone(),
            from: row.from.name.clone(),
            to: row.to.name.clone(),
            first_port: row.first_port,
            last_port: row.last_port,
            interface: match row.places.as_slice() {
                [one] if !one.host.is_empty() => Some(one.host.clone()),
                _ => None,
            },
            state: "not_tried".to_owned(),
            message: String::new(),
            address: None,
            round_trip_us: None,
            bytes_per_s: None,
        }
    }

    pub(crate) fn take(&mut self, found: ProbeFound) {
        found.state.clone_into(&mut self.state);
        self.message = found.message;
        self.address = found.address;
        self.round_trip_us = found.round_trip_us;
        let rate = |(bytes, time): (u64, u64)| {
            bytes.saturating_mul(1_000_000).checked_div(time).unwrap_or(0)
        };
        self.bytes_per_s = found.sample.map(rate);
    }
}

/// What was found last of each way that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProbesKept {
    pub rows: Vec<KeptProbe>,
}

/// The last finding of a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptProbe {
    #[serde(flatten)]
    pub row: ProbedRow,
    pub tried_unix_ms: i64,
    /// When it was open last; `None`: not once yet.
    pub good_unix_ms: Option<i64>,
}
