//! The port plan: which host dials which, on what port and why, and nothing else.
//!
//! ```text
//! registry × configuration ──▶ plan ──▶ rules of a firewall (nft, iptables, firewalld, ufw, Windows), CSV
//! ```
//!
//! Pure computation. The server makes the configuration from its catalog, the command line and the
//! console show the plan, tests hold real firewalls against it. A row stands in the plan exactly
//! when something that is configured needs it; it says what.

mod configuration;
mod plan;
mod render;
mod rules;

pub use configuration::{
    Access, DataProtocol, DataUse, DrivePlace, HostPorts, Interface, Joining, NoDrivePort,
    PlannedHost, PortConfiguration, Replication, SystemUse, UseKind,
};
pub use plan::{EndKind, PlanEnd, PlanHost, PlanPlace, PlanRow, PortPlan};
pub use render::{FirewallFormat, render};
pub use rules::{Extra, ExtraDirection, Facing, Rule, Scope};
