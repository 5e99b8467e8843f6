//! A network as people write it: an address and how many of its bits count.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network of IPv4 or IPv6: `10.2.0.0/16`, `2001:db8::/32`. An address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The bits beyond `bits` are 0.
    address: IpAddr,
    bits: u8,
}

/// A text that names no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no network: {why}; such as 10.2.0.0/16 or 2001:db8::/32")]
pub struct NetworkError {
    text: String,
    why: String,
}

impl Network {
    /// Whether an address lies in it. One of IPv4 that came to a socket of IPv6
    /// (`::ffff:192.0.2.1`) is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && cut(address, self.bits) == self.address
    }
}

/// Only the first bits of an address.
fn cut(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            IpAddr::V4((four.to_bits() & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            IpAddr::V6((six.to_bits() & mask).into())
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = |why: String| NetworkError { text: text.to_owned(), why };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr =
            address.parse().map_err(|_| wrong(format!("'{address}' is no IP address")))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => {
                let number = bits.parse().ok().filter(|number: &u8| *number <= most);
                number.ok_or_else(|| wrong(format!("'/{bits}' is not between /0 and /{most}")))?
            }
        };
        let first = cut(address, bits);
        if first != address {
            return Err(wrong(format!(
                "{address} has bits beyond the first {bits}: did you mean {first}/{bits}?"
            )));
        }
        if matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some()) {
            return Err(wrong("addresses of IPv4 are written as such".to_owned()));
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_a_network_by_its_first_bits() {
        for (network, inside, outside) in [
            ("10.2.0.0/16", "10.2.255.255", "10.3.0.0"),
            ("10.2.0.0/16", "::ffff:10.2.0.1", "::10.2.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.6/31", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "1.2.3.4"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!network.contains(outside.parse().unwrap()), "{outside} not in {network}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again_and_what_is_no_network_is_refused_with_the_reason() {
        for text in ["10.2.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::1/128"] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
        }
        assert_eq!("192.0.2.7".parse::<Network>().unwrap().to_string(), "192.0.2.7/32");
        for (text, why) in [
            ("", "no IP address"),
            ("vault", "no IP address"),
            ("10.2.0.0/33", "between /0 and /32"),
            ("::/129", "between /0 and /128"),
            ("10.2.0.0/-1", "between"),
            ("10.2.0.1/16", "did you mean 10.2.0.0/16?"),
            ("::ffff:10.2.0.0/112", "written as such"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
