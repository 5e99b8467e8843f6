//! Waking a host that sleeps: the packet that its network card waits for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::str::FromStr;

/// Where packets go that wake a host of the same network: the discard port, which nobody listens on.
pub const WAKE_EVERYBODY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::BROADCAST), 9);
/// Packets get lost, and this is all that is sent.
const TIMES: usize = 3;

/// The address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HardwareAddress([u8; 6]);

impl FromStr for HardwareAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is not the address of a network card such as 00:1b:44:11:3a:b7");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        // Several cards at once, and none, are no card.
        let several = bytes.first().is_some_and(|first| first & 1 == 1);
        match parts.next().is_none() && !several && bytes != [0; 6] {
            true => Ok(Self(bytes)),
            false => Err(wrong()),
        }
    }
}

impl std::fmt::Display for HardwareAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([a, b, c, d, e, g]) = self;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl HardwareAddress {
    /// Six bytes of 0xff, and the address sixteen times.
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = vec![0xff; 6];
        packet.extend(self.0.repeat(16));
        packet
    }
}

/// Sends it; that it was sent says nothing about who wakes.
pub fn wake(card: &HardwareAddress, to: SocketAddr) -> io::Result<()> {
    let from = match to {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(from)?;
    socket.set_broadcast(to.is_ipv4())?;
    for _ in 0..TIMES {
        socket.send_to(&card.packet(), to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_six_bytes_and_its_packet_has_it_sixteen_times() {
        let card: HardwareAddress = "00:1B:44:11:3a:b7".parse().unwrap();
        assert_eq!(card.to_string(), "00:1b:44:11:3a:b7");
        assert_eq!("00-1b-44-11-3a-b7".parse(), Ok(card));
        let packet = card.packet();
        assert_eq!(packet.len(), 102);
        assert_eq!(packet[..6], [0xff; 6]);
        assert!(packet[6..].chunks(6).all(|part| part == [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7]));
        for wrong in [
            "",
            "00:1b:44:11:3a",
            "00:1b:44:11:3a:b7:00",
            "0:1b:44:11:3a:b7",
            "gg:1b:44:11:3a:b7",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
            "001b44113ab7",
        ] {
            assert!(wrong.parse::<HardwareAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_packet_arrives() {
        let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
        listener.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
        let card: HardwareAddress = "00:1b:44:11:3a:b7".parse().unwrap();
        wake(&card, listener.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 200];
        let (length, _) = listener.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], card.packet());
    }
}
