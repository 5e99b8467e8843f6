//! Who did not reach whom: the words of every error about a connection that did not come about.
//!
//! An administrator who reads one of them knows the port, the direction and the two hosts, and so
//! which rule of which firewall to look at.

use simsim_model::interface::Interface;

/// A connection that one host makes to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The host that dials, as enrolled.
    pub from: String,
    pub to: String,
    /// Row of the port registry and port of each door that is tried, in order.
    pub doors: Vec<(&'static str, u16)>,
}

impl Way {
    /// A way through one door.
    pub(crate) fn new(from: &str, to: &str, row: &'static str, port: u16) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), doors: vec![(row, port)] }
    }

    /// A way for data through interfaces.
    pub(crate) fn of_urls(from: &str, to: &str, urls: &[String], drive: u32) -> Self {
        let mut doors = Vec::new();
        for url in urls {
            let Ok(interface) = url.parse::<Interface>() else { continue };
            let Some(port) = interface.port(drive) else { continue };
            let door = (interface.scheme.row().id, port);
            if !doors.contains(&door) {
                doors.push(door);
            }
        }
        Self { from: from.to_owned(), to: to.to_owned(), doors }
    }

    /// What is said when nothing came through.
    pub(crate) fn blocked(&self, why: &str) -> String {
        let Self { from, to, doors } = self;
        let doors: Vec<String> =
            doors.iter().map(|(row, port)| format!("TCP port {port} ({row})")).collect();
        let doors = doors.join(" or ");
        format!(
            "'{from}' does not reach '{to}' on {doors}: {why}. What firewalls must let through \
             shows 'simsim ports plan --host {to}'"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_way_names_the_port_the_direction_and_the_two_hosts() {
        let text = Way::new("vault", "web", "smssh", 7).blocked("no answer");
        assert!(text.starts_with("'vault' does not reach 'web' on TCP port 7 (smssh): no answer"));
        let urls = ["https://a:8".to_owned(), "http://a:9".to_owned(), "http://b:9".to_owned()];
        let text = Way::of_urls("web", "far", &urls, 1).blocked("no answer");
        assert!(text.contains("on TCP port 8 (https) or TCP port 9 (http): "), "{text}");
    }
}
