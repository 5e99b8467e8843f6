//! By which of a device's interfaces a transfer goes.
//!
//! The first that says something counts: the job itself (its task, or who started it), the client,
//! the interfaces that the device's host was given. Where nobody says anything it is HTTP, as the
//! port contract has it, or what the device has in its place.

use simsim_control::verbs::DataEndpoint;
use simsim_model::interface::{Interface, Scheme};

/// A choice: an interface, or a protocol and whatever the device has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    Scheme(Scheme),
    Interface(Interface),
}

impl Choice {
    /// Reads `https`, or `https://host:port`. A bare word that is no protocol is a host, by FTP.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.as_str() == text);
        match scheme {
            Some(scheme) => Ok(Choice::Scheme(scheme)),
            None => text
                .parse()
                .map(Choice::Interface)
                .map_err(|error: simsim_model::interface::InterfaceError| error.to_string()),
        }
    }
}

/// What is known of a device.
pub(crate) struct DeviceDoors<'d> {
    pub name: &'d str,
    /// The interfaces that its host was given; none: the defaults.
    pub given: Vec<Interface>,
    /// Its listeners, as it says itself. A drive's port is that of the transfer's drive.
    pub endpoints: &'d [DataEndpoint],
    /// Where the client reaches its host, in order.
    pub hosts: &'d [String],
}

/// Protocols that are taken by themselves where nobody chooses.
const BY_DEFAULT: [Scheme; 2] = [Scheme::Http, Scheme::Https];

impl DeviceDoors<'_> {
    /// The interfaces to dial, in order, with their ports. `able`: protocols that the dialler
    /// speaks.
    pub(crate) fn choose(
        &self,
        choices: &[Choice],
        able: &[Scheme],
    ) -> Result<Vec<Interface>, String> {
        let mut chosen: Vec<Interface> = Vec::new();
        if choices.is_empty() {
            chosen.extend(self.given.iter().cloned());
        }
        for choice in choices {
            match choice {
                Choice::Scheme(scheme) => chosen.extend(self.of(*scheme)),
                Choice::Interface(interface) => {
                    chosen.extend(self.given.iter().find(|given| *given == interface).cloned());
                }
            }
        }
        if choices.is_empty() && chosen.is_empty() {
            let first = BY_DEFAULT.into_iter().map(|scheme| self.of(scheme));
            chosen = first.into_iter().find(|found| !found.is_empty()).unwrap_or_default();
        }
        chosen.retain(|interface| able.contains(&interface.scheme));
        let mut ways: Vec<Interface> = Vec::new();
        for mut interface in chosen {
            interface.port = interface.port.or_else(|| self.told_port(interface.scheme));
            if !ways.contains(&interface) {
                ways.push(interface);
            }
        }
        if ways.is_empty() {
            return Err(self.nothing(choices));
        }
        Ok(ways)
    }

    /// Its interfaces of one protocol: those that were given, else one for each of its addresses.
    fn of(&self, scheme: Scheme) -> Vec<Interface> {
        let given: Vec<_> =
            self.given.iter().filter(|given| given.scheme == scheme).cloned().collect();
        if !given.is_empty() {
            return given;
        }
        let Some(port) = self.told_port(scheme) else { return Vec::new() };
        let of_host = |host: &String| Interface {
            scheme,
            host: host.clone(),
            port: Some(port),
            active: false,
        };
        self.hosts.iter().map(of_host).collect()
    }

    fn told_port(&self, scheme: Scheme) -> Option<u16> {
        let told = self.endpoints.iter().find(|endpoint| endpoint.row == scheme.row().id);
        told.map(|endpoint| endpoint.port)
    }

    fn nothing(&self, choices: &[Choice]) -> String {
        let rows: Vec<&str> = self.endpoints.iter().map(|one| one.row.as_str()).collect();
        let has = match (self.given.is_empty(), rows.is_empty()) {
            (false, _) => {
                let given: Vec<String> = self.given.iter().map(Interface::to_string).collect();
                format!("it has {}", given.join(", "))
            }
            (true, false) => format!("it listens for {}", rows.join(", ")),
            (true, true) => "it has no data listener open: look at its settings".to_owned(),
        };
        let wanted: Vec<String> = choices
            .iter()
            .map(|choice| match choice {
                Choice::Scheme(scheme) => scheme.to_string(),
                Choice::Interface(interface) => interface.to_string(),
            })
            .collect();
        match wanted.is_empty() {
            true => format!("no interface leads to the device '{}': {has}", self.name),
            false => format!(
                "none of the chosen interfaces ({}) leads to the device '{}': {has}; choose \
                 another, or open it there in its settings",
                wanted.join(", "),
                self.name
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[Scheme] = &[Scheme::Http, Scheme::Https, Scheme::Drive];

    fn told(rows: &[(Scheme, u16)]) -> Vec<DataEndpoint> {
        let one = |(scheme, port): &(Scheme, u16)| DataEndpoint {
            row: scheme.row().id.to_owned(),
            port: *port,
        };
        rows.iter().map(one).collect()
    }

    fn ways(
        given: &[&str],
        rows: &[(Scheme, u16)],
        choices: &[&str],
    ) -> Result<Vec<String>, String> {
        let endpoints = told(rows);
        let hosts = ["a".to_owned(), "2001:db8::1".to_owned()];
        let doors = DeviceDoors {
            name: "vault",
            given: given.iter().map(|url| url.parse().unwrap()).collect(),
            endpoints: &endpoints,
            hosts: &hosts,
        };
        let choices: Vec<Choice> =
            choices.iter().map(|text| Choice::parse(text).unwrap()).collect();
        Ok(doors.choose(&choices, ALL)?.iter().map(Interface::to_string).collect())
    }

    #[test]
    fn nobody_chooses_http_is_taken_and_what_there_is_in_its_place() {
        let both = [(Scheme::Http, 1), (Scheme::Https, 2)];
        assert_eq!(ways(&[], &both, &[]).unwrap(), ["http://a:1", "http://[2001:db8::1]:1"]);
        let tls = [(Scheme::Https, 2)];
        assert_eq!(ways(&[], &tls, &[]).unwrap(), ["https://a:2", "https://[2001:db8::1]:2"]);
        let none = ways(&[], &[], &[]).unwrap_err();
        assert!(none.contains("vault") && none.contains("no data listener"), "{none}");
    }

    #[test]
    fn given_interfaces_and_choices_keep_their_order() {
        let both = [(Scheme::Http, 1), (Scheme::Https, 2)];
        let given = ["https://b:9", "http://c", "https://d"];
        assert_eq!(ways(&given, &both, &[]).unwrap(), ["https://b:9", "http://c:1", "https://d:2"]);
        assert_eq!(
            ways(&given, &both, &["http", "https://d", "https"]).unwrap(),
            ["http://c:1", "https://d:2", "https://b:9"]
        );
        // Never a protocol that was not chosen.
        let refused = ways(&given, &both, &["drive"]).unwrap_err();
        assert!(refused.contains("drive") && refused.contains("https://b:9"), "{refused}");
        let refused = ways(&[], &[(Scheme::Http, 1)], &["https"]).unwrap_err();
        assert!(refused.contains("it listens for http"), "{refused}");
    }
}
