//! `simsim ports plan | list | check | probe`: what firewalls must let through, what this host has
//! open, what stands in the way, and what is really found at the end of each way.

mod check;
mod list;
mod plan;
mod probe;

use super::CommonArguments;
use super::context::Context;
use crate::exit::Failure;
use crate::state::State;

pub use check::CheckArguments;
pub use plan::PlanArguments;
pub use probe::ProbeArguments;

#[derive(clap::Subcommand, Debug)]
pub enum PortsVerb {
    /// Show which host dials which, on what port and why; or write a firewall's rules for it
    ///
    /// Asks the server of this host. The plan follows from what is configured: hosts, tasks,
    /// datastores, savesets. With --host the rules are those of that host's own firewall, else of
    /// one that stands between the hosts.
    Plan(PlanArguments),
    /// List what the suite has open on this host: ports, connections, processes
    List,
    /// Look for what stands in the way: ports, names, clocks, keys
    ///
    /// Before a daemon is started and at any time. On the server's host every other host is looked
    /// at from there as well.
    Check(CheckArguments),
    /// Have every host try what it dials: is it open, who answers, how quick is it?
    ///
    /// Asks the server of this host. Each way of the plan is tried by the host that dials it, with a
    /// ticket that the other side was told of; nothing is stored. A way that is refused, filtered,
    /// or leads to another service or host, is said so.
    Probe(ProbeArguments),
}

pub async fn run(cx: &Context, verb: PortsVerb, state: &State) -> Result<u8, Failure> {
    match verb {
        PortsVerb::Plan(arguments) => plan::run(cx, arguments).await,
        PortsVerb::List => list::run(cx, state),
        PortsVerb::Check(arguments) => check::run(cx, arguments, state).await,
        PortsVerb::Probe(arguments) => probe::run(cx, arguments).await,
    }
}

/// Runs a verb of `simsim ports` to its exit status.
pub fn run_here(verb: PortsVerb, state: &State, common: &CommonArguments) -> Result<u8, Failure> {
    super::asking(super::Way::of(common, state)?, common, async |cx| run(cx, verb, state).await)
}
