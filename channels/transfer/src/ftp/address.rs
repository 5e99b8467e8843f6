//! Addresses as FTP writes them: PORT and 227 (RFC 959), EPRT and 229 (RFC 2428).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

/// Reads the argument of PORT: `h1,h2,h3,h4,p1,p2`.
pub(crate) fn parse_port(text: &str) -> Option<SocketAddr> {
    let mut numbers = [0u8; 6];
    let mut parts = text.trim().split(',');
    for number in &mut numbers {
        *number = decimal(parts.next()?)?;
    }
    if parts.next().is_some() {
        return None;
    }
    let [a, b, c, d, high, low] = numbers;
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

/// Reads the argument of EPRT: `|1|192.0.2.1|1234|`, with any delimiter.
pub(crate) fn parse_eprt(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let delimiter = text.chars().next().filter(|c| c.is_ascii_graphic())?;
    let mut parts = text.get(1..)?.split(delimiter);
    let (family, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next() != Some("") || parts.next().is_some() {
        return None;
    }
    let ip: IpAddr = match family {
        "1" => IpAddr::V4(address.parse().ok()?),
        "2" => IpAddr::V6(address.parse().ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, decimal(port)?))
}

/// The argument of EPRT.
pub(crate) fn eprt(address: SocketAddr) -> String {
    let ip = address.ip().to_canonical();
    let family = if ip.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{ip}|{}|", address.port())
}

/// The last line of a reply to PASV.
pub(crate) fn pasv_text(ip: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = ip.octets();
    let [high, low] = port.to_be_bytes();
    format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low})")
}

/// The last line of a reply to EPSV.
pub(crate) fn epsv_text(port: u16) -> String {
    format!("Entering Extended Passive Mode (|||{port}|)")
}

/// The port in a reply to EPSV.
pub(crate) fn parse_epsv_text(text: &str) -> Option<u16> {
    let (_, inside) = text.split_once('(')?;
    let (inside, _) = inside.split_once(')')?;
    let delimiter = inside.chars().next().filter(|c| c.is_ascii_graphic())?;
    let mut parts = inside.get(1..)?.split(delimiter);
    if parts.next() != Some("") || parts.next() != Some("") {
        return None;
    }
    let port = decimal(parts.next()?)?;
    (parts.next() == Some("") && parts.next().is_none() && port > 0).then_some(port)
}

/// The same address with another port; an IPv4 address in IPv6 form becomes one.
pub(crate) fn with_port(address: SocketAddr, port: u16) -> SocketAddr {
    match (address.ip().to_canonical(), address) {
        // The scope of a link-local address is kept.
        (IpAddr::V6(ip), SocketAddr::V6(whole)) => {
            SocketAddrV6::new(ip, port, whole.flowinfo(), whole.scope_id()).into()
        }
        (ip, _) => SocketAddr::new(ip, port),
    }
}

fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    let digits = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let v4: SocketAddr = "192.0.2.7:513".parse().unwrap();
        assert_eq!(parse_port("192,0,2,7,2,1"), Some(v4));
        for address in [v4, "[2001:db8::7]:65535".parse().unwrap()] {
            assert_eq!(parse_eprt(&eprt(address)), Some(address));
        }
        assert_eq!(eprt("[::ffff:192.0.2.7]:513".parse().unwrap()), "|1|192.0.2.7|513|");
        assert_eq!(parse_eprt("!2!::1!9!"), Some("[::1]:9".parse().unwrap()));
        assert_eq!(parse_epsv_text(&epsv_text(7000)), Some(7000));
        assert!(pasv_text(Ipv4Addr::new(192, 0, 2, 7), 513).ends_with("(192,0,2,7,2,1)"));
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:1".parse().unwrap();
        assert_eq!(with_port(mapped, 513), v4);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in
            ["", "1,2,3,4,5", "1,2,3,4,5,6,7", "256,0,0,1,1,1", "1,2,3,4,+5,6", "a,b,c,d,e,f"]
        {
            assert_eq!(parse_port(text), None, "{text}");
        }
        for text in [
            "",
            "|",
            "|1|192.0.2.1|99",
            "|1|192.0.2.1|99||",
            "|2|192.0.2.1|99|",
            "|1|::1|99|",
            "|3|192.0.2.1|99|",
            "|1|192.0.2.1|99999|",
            "|1|host|99|",
            "é1é192.0.2.1é99é",
        ] {
            assert_eq!(parse_eprt(text), None, "{text}");
        }
        for text in ["", "(|||0|)", "(|||7)", "(||7|)", "|||7|", "(|||7|x)", "(é||7|)"] {
            assert_eq!(parse_epsv_text(text), None, "{text}");
        }
    }
}
