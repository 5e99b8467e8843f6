//! From which ports this host dials: a listener's port among them may be taken by a connection
//! that happens to get it, at any time before the listener starts.

use std::fs;

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// The ports that the system gives to outgoing connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePorts {
    /// First and last.
    pub range: (u16, u16),
    /// Parts of the range that are never given.
    pub reserved: Vec<(u16, u16)>,
}

impl SourcePorts {
    /// Of this host; `None` where the system does not say.
    pub fn read() -> Option<Self> {
        let reserved = fs::read_to_string(RESERVED).unwrap_or_default();
        Self::parse(&fs::read_to_string(RANGE).ok()?, &reserved)
    }

    fn parse(range: &str, reserved: &str) -> Option<Self> {
        let mut ends = range.split_ascii_whitespace().map(str::parse::<u16>);
        let range = (ends.next()?.ok()?, ends.next()?.ok()?);
        let reserved = reserved
            .trim()
            .split(',')
            .filter_map(|part| {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
            })
            .collect();
        Some(Self { range, reserved })
    }

    /// Whether an outgoing connection may get this port.
    pub fn may_give(&self, port: u16) -> bool {
        let within = |(first, last): (u16, u16)| (first..=last).contains(&port);
        within(self.range) && !self.reserved.iter().any(|part| within(*part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_the_range_may_be_given_unless_it_is_reserved() {
        let ports = SourcePorts::parse("1024\t60999\n", "2000,3000-3010\n").unwrap();
        assert!(ports.may_give(1024) && ports.may_give(60_999));
        assert!(!ports.may_give(1023) && !ports.may_give(61_000));
        assert!(!ports.may_give(2000) && !ports.may_give(3005) && ports.may_give(3011));
        assert_eq!(SourcePorts::parse("32768 60999", "\n").unwrap().reserved, []);
        assert_eq!(SourcePorts::parse("x", ""), None);
        assert!(SourcePorts::read().is_some());
    }
}
