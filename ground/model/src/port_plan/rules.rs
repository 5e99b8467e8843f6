//! Rules of a firewall from a plan: of a host's own one, or of one between the hosts.

use core::net::IpAddr;

use super::plan::{EndKind, PlanEnd, PlanRow, PortPlan};

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The host with this name: what comes in, and what goes out.
    Host(&'a str),
    /// A firewall that all traffic between hosts goes through.
    Between,
}

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facing {
    In,
    Out,
    Through,
}

/// One accepted way for new TCP connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub facing: Facing,
    /// `None`: any address. Never an empty list.
    pub sources: Option<Vec<IpAddr>>,
    pub destinations: Option<Vec<IpAddr>>,
    pub first_port: u16,
    pub last_port: u16,
    /// What it is for, in printable ASCII without quotes or backslashes, at most 120 bytes.
    pub comment: String,
    /// It cannot be written: an end has no known address.
    pub missing: Option<String>,
}

/// A service that is not the suite's and must go on working on a host with default drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extra {
    pub direction: ExtraDirection,
    pub port: u16,
    pub udp: bool,
}

/// Which way an [`Extra`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraDirection {
    In,
    Out,
}

impl std::str::FromStr for Extra {
    type Err = String;

    /// `in:22`, `out:53/udp`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is no service: write in:PORT or out:PORT, with /udp behind for UDP")
        };
        let (direction, rest) = text.split_once(':').ok_or_else(wrong)?;
        let direction = match direction {
            "in" => ExtraDirection::In,
            "out" => ExtraDirection::Out,
            _ => return Err(wrong()),
        };
        let (port, udp) = match rest.split_once('/') {
            Some((port, "udp")) => (port, true),
            Some((port, "tcp")) => (port, false),
            Some(_) => return Err(wrong()),
            None => (rest, false),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        Ok(Self { direction, port, udp })
    }
}

/// Bytes of a comment: nftables keeps 128, with its own end.
const COMMENT_BYTES_MAX: usize = 120;

impl PortPlan {
    /// The rules of `scope`, in the order of the plan. Rows on loopback need none.
    pub fn rules(&self, scope: Scope<'_>) -> Vec<Rule> {
        let rows = self.rows.iter().filter(|row| !row.local);
        match scope {
            Scope::Between => rows.map(|row| rule(row, Facing::Through)).collect(),
            Scope::Host(name) => rows
                .flat_map(|row| {
                    let is_it = |end: &PlanEnd| end.kind == EndKind::Host && end.name == name;
                    let incoming = is_it(&row.to).then(|| rule(row, Facing::In));
                    incoming.into_iter().chain(is_it(&row.from).then(|| rule(row, Facing::Out)))
                })
                .collect(),
        }
    }
}

fn rule(row: &PlanRow, facing: Facing) -> Rule {
    let side = |end: &PlanEnd| (!end.anywhere).then(|| end.addresses.clone());
    let (sources, destinations) = match facing {
        Facing::In => (side(&row.from), None),
        Facing::Out => (None, side(&row.to)),
        Facing::Through => (side(&row.from), side(&row.to)),
    };
    let nowhere = |addresses: &Option<Vec<IpAddr>>, end: &PlanEnd| {
        let empty = addresses.as_ref().is_some_and(Vec::is_empty);
        empty.then(|| format!("'{}' has no known address", end.name))
    };
    let missing = nowhere(&sources, &row.from).or_else(|| nowhere(&destinations, &row.to));
    let missing = missing.or_else(|| {
        let (Some(sources), Some(destinations)) = (&sources, &destinations) else { return None };
        let pair = |source: &IpAddr| destinations.iter().any(|to| to.is_ipv4() == source.is_ipv4());
        let apart = !sources.iter().any(pair);
        apart.then(|| {
            format!("'{}' and '{}' have no addresses of one family", row.from.name, row.to.name)
        })
    });
    Rule {
        facing,
        sources,
        destinations,
        first_port: row.first_port,
        last_port: row.last_port,
        comment: comment(row),
        missing,
    }
}

fn comment(row: &PlanRow) -> String {
    let text = format!("simsim {}: {} to {}", row.row, row.from.name, row.to.name);
    let plain = |c: char| match c {
        ' '..='~' if !matches!(c, '"' | '\'' | '\\' | '`' | '$' | '%' | ';') => c,
        _ => '_',
    };
    text.chars().map(plain).take(COMMENT_BYTES_MAX).collect()
}

/// The addresses of one family that a rule speaks of: `(sources, destinations)`. `None` where the
/// rule has nothing to say for this family.
pub(super) type Sides = (Option<Vec<IpAddr>>, Option<Vec<IpAddr>>);

impl Rule {
    /// What the rule means for IPv4 or IPv6. A rule without any address stands for both.
    pub(super) fn of_family(&self, v6: bool) -> Option<Sides> {
        let pick = |side: &Option<Vec<IpAddr>>| -> Option<Option<Vec<IpAddr>>> {
            let Some(addresses) = side else { return Some(None) };
            let of: Vec<IpAddr> =
                addresses.iter().copied().filter(|address| address.is_ipv6() == v6).collect();
            (!of.is_empty()).then_some(Some(of))
        };
        Some((pick(&self.sources)?, pick(&self.destinations)?))
    }

    /// Whether no address is named.
    pub(super) fn is_open(&self) -> bool {
        self.sources.is_none() && self.destinations.is_none()
    }

    /// The ports with `between` between first and last.
    pub(super) fn ports(&self, between: &str) -> String {
        match self.first_port == self.last_port {
            true => self.first_port.to_string(),
            false => format!("{}{between}{}", self.first_port, self.last_port),
        }
    }
}
