//! Interfaces: data addresses of a device's host, as administrators write them.

use std::fmt;
use std::str::FromStr;

use crate::port_registry::{self, Listen};

/// How data goes to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    Http,
    Https,
    Ftp,
    /// FTP with explicit TLS, at the same port.
    Ftpes,
    /// The drive's own port.
    Drive,
}

impl Scheme {
    /// Of two that share a row the one without TLS comes first.
    pub const ALL: [Scheme; 5] =
        [Scheme::Http, Scheme::Https, Scheme::Ftp, Scheme::Ftpes, Scheme::Drive];

    /// As it stands in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ftp => "ftp",
            Scheme::Ftpes => "ftpes",
            Scheme::Drive => "drive",
        }
    }

    /// Its row of the port registry.
    pub const fn row(self) -> &'static Listen {
        match self {
            Scheme::Http => &port_registry::HTTP,
            Scheme::Https => &port_registry::HTTPS,
            Scheme::Ftp | Scheme::Ftpes => &port_registry::FTP,
            Scheme::Drive => &port_registry::DRIVE,
        }
    }

    /// FTP, with or without TLS: data goes over connections of its own.
    pub const fn is_ftp(self) -> bool {
        matches!(self, Scheme::Ftp | Scheme::Ftpes)
    }

    /// The scheme of a row's id, where it is one of these; the one without TLS where there are two.
    pub fn of_row(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.row().id == id)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A data address: `http://host:port`, `https://host:port`, `ftp://host:port`, `ftpes://host:port`,
/// `drive://host`, or a bare `host`, which means FTP as the port contract says. Without a port it is
/// the row's; a drive's is the row's base and the number of the drive. FTP is passive unless
/// `?mode=active` stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interface {
    pub scheme: Scheme,
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    pub port: Option<u16>,
    /// FTP only: the device opens the data connections, to the client.
    pub active: bool,
}

/// A text that is no interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no data address: write http://host:port, https://host:port, ftp://host:port, \
     ftpes://host:port, drive://host or only a host, which means FTP; a port may be left out, and \
     ?mode=active may stand behind FTP"
)]
pub struct InterfaceError {
    pub text: String,
}

/// Longest name of a host: RFC 1035, section 2.3.4.
const HOST_BYTES_MAX: usize = 253;

impl Interface {
    /// The port to dial; `drive` is the drive's number. `None` for a drive beyond the last port.
    pub fn port(&self, drive: u32) -> Option<u16> {
        self.port.or_else(|| self.scheme.row().ports.for_drive(drive))
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn address(&self, drive: u32) -> Option<String> {
        let port = self.port(drive)?;
        Some(match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        })
    }

    /// Did somebody write only a host? It means FTP, which few want.
    pub fn is_bare(text: &str) -> bool {
        !text.contains("://")
    }
}

impl FromStr for Interface {
    type Err = InterfaceError;

    fn from_str(text: &str) -> Result<Self, InterfaceError> {
        let wrong = || InterfaceError { text: text.chars().take(300).collect() };
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Ftp, text),
            Some((scheme, rest)) => {
                let scheme = scheme.to_ascii_lowercase();
                let known = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme);
                (known.ok_or_else(wrong)?, rest)
            }
        };
        let (rest, active) = match rest.split_once('?') {
            None => (rest, false),
            Some((rest, "mode=active")) if scheme.is_ftp() => (rest, true),
            Some((rest, "mode=passive")) if scheme.is_ftp() => (rest, false),
            Some(_) => return Err(wrong()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split(authority).ok_or_else(wrong)?;
        let port = match port {
            None => None,
            Some(port) => {
                let digits = port.bytes().all(|digit| digit.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port != 0);
                Some(port.ok_or_else(wrong)?)
            }
        };
        Ok(Self { scheme, host: host.to_owned(), port, active })
    }
}

/// Host and port of `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare IPv6 address.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        host.parse::<core::net::Ipv6Addr>().ok()?;
        return match after {
            "" => Some((host, None)),
            after => Some((host, Some(after.strip_prefix(':')?))),
        };
    }
    if authority.parse::<core::net::Ipv6Addr>().is_ok() {
        return Some((authority, None));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let good = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(fits);
    good.then_some((host, port))
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}://[{}]", self.scheme, self.host)?,
            false => write!(f, "{}://{}", self.scheme, self.host)?,
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(if self.active { "?mode=active" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_one_is_read_and_written_back() {
        let base = Scheme::Drive.row().ports.first();
        for (text, written, address) in [
            ("http://rds:8000", "http://rds:8000", Some("rds:8000".to_owned())),
            ("HTTPS://rds.example.org/", "https://rds.example.org", None),
            ("ftp://192.0.2.1:21", "ftp://192.0.2.1:21", Some("192.0.2.1:21".to_owned())),
            ("rds", "ftp://rds", None),
            ("rds:77", "ftp://rds:77", Some("rds:77".to_owned())),
            ("2001:db8::1", "ftp://[2001:db8::1]", None),
            ("http://[2001:db8::1]:9", "http://[2001:db8::1]:9", Some("[2001:db8::1]:9".into())),
            ("drive://rds", "drive://rds", Some(format!("rds:{}", base + 3))),
            ("ftpes://rds:78", "ftpes://rds:78", Some("rds:78".to_owned())),
            ("ftp://rds:78/?mode=active", "ftp://rds:78?mode=active", Some("rds:78".to_owned())),
            ("FTPES://rds?mode=active", "ftpes://rds?mode=active", None),
            ("ftp://rds?mode=passive", "ftp://rds", None),
        ] {
            let interface: Interface = text.parse().unwrap();
            assert_eq!(interface.to_string(), written);
            assert_eq!(written.parse::<Interface>().unwrap(), interface);
            if let Some(address) = address {
                assert_eq!(interface.address(3).unwrap(), address);
            }
        }
        assert!(Interface::is_bare("rds") && !Interface::is_bare("ftp://rds"));
    }

    #[test]
    fn what_is_no_interface_is_named() {
        for text in [
            "",
            "http://",
            "http://:1",
            "http://a:0",
            "http://a:x",
            "http://a:+1",
            "http://u@a:1",
            "http://a/b",
            "gopher://a",
            "http://[::1",
            "http://[x]:1",
            "a b",
            "http://a:70000",
            "http://[::1]9",
            "http://a?b",
            "http://a?mode=active",
            "ftp://a?mode=both",
            "ftp://a?",
        ] {
            let error = text.parse::<Interface>().unwrap_err();
            assert_eq!(error.text, text);
        }
    }
}
