//! Who did not reach whom: the words of every error about a connection that did not come about.
//!
//! An administrator who reads one of them knows the port, the direction and the two hosts, and so
//! which rule of which firewall to look at.

use simsim_model::interface::Interface;
use simsim_model::port_registry::FTP_DATA;
use simsim_transfer::DATA_CONNECTION;

/// A connection that one host makes to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The host that dials, as enrolled.
    pub from: String,
    pub to: String,
    /// Row of the port registry and port of each door that is tried, in order.
    pub doors: Vec<(&'static str, u16)>,
    /// FTP: who makes the data connections, to whom, and on which ports.
    data: Option<DataWay>,
}

/// A way for the data connections of FTP.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DataWay {
    from: String,
    to: String,
    range: (u16, u16),
}

impl Way {
    /// A way through one door.
    pub(crate) fn new(from: &str, to: &str, row: &'static str, port: u16) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), doors: vec![(row, port)], data: None }
    }

    /// A way for data through interfaces. `ranges`: the ports for FTP data of the two hosts.
    pub(crate) fn of_urls(
        from: &str,
        to: &str,
        urls: &[String],
        drive: u32,
        ranges: [(u16, u16); 2],
    ) -> Self {
        let (mut doors, mut data) = (Vec::new(), None);
        let [range_from, range_to] = ranges;
        for url in urls {
            let Ok(interface) = url.parse::<Interface>() else { continue };
            let Some(port) = interface.port(drive) else { continue };
            let door = (interface.scheme.row().id, port);
            if !doors.contains(&door) {
                doors.push(door);
            }
            if interface.scheme.is_ftp() && data.is_none() {
                let (from, to) = (from.to_owned(), to.to_owned());
                data = Some(match interface.active {
                    false => DataWay { from, to, range: range_to },
                    true => DataWay { from: to, to: from, range: range_from },
                });
            }
        }
        Self { from: from.to_owned(), to: to.to_owned(), doors, data }
    }

    /// What is said when nothing came through.
    pub(crate) fn blocked(&self, why: &str) -> String {
        let (closed, to) = self.closed(why);
        format!("{closed}: {why}. {}", look(to))
    }

    /// The same of a way with two halves, where nobody knows which one is closed.
    pub(crate) fn blocked_or(&self, next: &Self, why: &str) -> String {
        let ((closed, to), (next, _)) = (self.closed(why), next.closed(why));
        format!("{closed}, or {next}: {why}. {}", look(to))
    }

    /// The way in words, and the host to which it leads.
    fn closed(&self, why: &str) -> (String, &str) {
        let doors: Vec<String> =
            self.doors.iter().map(|(row, port)| format!("TCP port {port} ({row})")).collect();
        let (from, to, doors) = match &self.data {
            // The control port was reached.
            Some(DataWay { from, to, range: (first, last) }) if why.contains(DATA_CONNECTION) => {
                (from, to, format!("TCP port {first}-{last} ({})", FTP_DATA.id))
            }
            _ => (&self.from, &self.to, doors.join(" or ")),
        };
        (format!("'{from}' does not reach '{to}' on {doors}"), to)
    }
}

fn look(to: &str) -> String {
    format!("What firewalls must let through shows 'simsim ports plan --host {to}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_way_names_the_port_the_direction_and_the_two_hosts() {
        let text = Way::new("vault", "web", "smssh", 7).blocked("no answer");
        assert!(text.starts_with("'vault' does not reach 'web' on TCP port 7 (smssh): no answer"));
        let (first, next) =
            (Way::new("web", "far", "https", 7), Way::new("far", "vault", "https", 8));
        let text = first.blocked_or(&next, "it has not called");
        let words = "'web' does not reach 'far' on TCP port 7 (https), or 'far' does not reach 'vault' on \
                     TCP port 8 (https): it has not called. What firewalls";
        assert!(text.starts_with(words), "{text}");
        let urls = ["https://a:8".to_owned(), "http://a:9".to_owned(), "http://b:9".to_owned()];
        let ranges = [(1, 2), (3, 6)];
        let text = Way::of_urls("web", "far", &urls, 1, ranges).blocked("no answer");
        assert!(text.contains("on TCP port 8 (https) or TCP port 9 (http): "), "{text}");
        for (url, passive) in [("ftp://a:8", true), ("ftp://a:8?mode=active", false)] {
            let way = Way::of_urls("web", "far", &[url.to_owned()], 1, ranges);
            let text = way.blocked("no answer");
            assert!(text.starts_with("'web' does not reach 'far' on TCP port 8 (ftp): "), "{text}");
            let text = way.blocked(&format!("{DATA_CONNECTION} to a port: no answer"));
            let expected = match passive {
                true => "'web' does not reach 'far' on TCP port 3-6 (ftp-data): ",
                false => "'far' does not reach 'web' on TCP port 1-2 (ftp-data): ",
            };
            assert!(text.starts_with(expected), "{text}");
        }
    }
}
