//! Where wires come in at the device.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use simsim_net::tls::{Pin, TlsDoor};
use simsim_net::{BoxedWire, tune};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A way into the device: a data port, with or without TLS, or wires that others bring.
pub struct Entrance {
    way: Way,
    drive: Option<u32>,
}

enum Way {
    Tcp(TcpListener),
    Tls(TcpListener, TlsDoor),
    Brought(mpsc::Receiver<Brought>),
}

/// A wire that somebody else made: a data connection of FTP, a stream of a multiplexer, a pipe.
pub struct Brought {
    pub wire: BoxedWire,
    /// Who is at the other end.
    pub from: IpAddr,
}

impl Entrance {
    /// Plain TCP.
    pub fn http(listener: TcpListener) -> Self {
        Self { way: Way::Tcp(listener), drive: None }
    }

    /// TLS 1.3.
    pub fn https(listener: TcpListener, door: TlsDoor) -> Self {
        Self { way: Way::Tls(listener, door), drive: None }
    }

    /// The port of one drive: takes only transfers of that drive. `door` asks for the caller's key.
    pub fn drive(listener: TcpListener, door: TlsDoor, drive: u32) -> Self {
        Self { way: Way::Tls(listener, door), drive: Some(drive) }
    }

    /// Wires from elsewhere; ends when the last sender is gone.
    pub fn brought(wires: mpsc::Receiver<Brought>) -> Self {
        Self { way: Way::Brought(wires), drive: None }
    }

    /// For the log.
    pub(super) fn kind(&self) -> &'static str {
        match (&self.way, self.drive) {
            (_, Some(_)) => "drive",
            (Way::Tcp(_), None) => "http",
            (Way::Tls(..), None) => "https",
            (Way::Brought(_), None) => "brought",
        }
    }

    pub(super) fn only_drive(&self) -> Option<u32> {
        self.drive
    }

    pub(super) async fn next(&mut self) -> io::Result<Option<Arrival>> {
        Ok(match &mut self.way {
            Way::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Some(Arrival { from: from.ip(), how: How::Tcp(stream) })
            }
            Way::Tls(listener, door) => {
                let (stream, from) = listener.accept().await?;
                Some(Arrival { from: from.ip(), how: How::Tls(stream, door.clone()) })
            }
            Way::Brought(wires) => wires
                .recv()
                .await
                .map(|brought| Arrival { from: brought.from, how: How::Ready(brought.wire) }),
        })
    }
}

/// Somebody at an entrance, whose handshake is still to come.
pub(super) struct Arrival {
    pub from: IpAddr,
    how: How,
}

enum How {
    Tcp(TcpStream),
    Tls(TcpStream, TlsDoor),
    Ready(BoxedWire),
}

impl Arrival {
    /// The wire, and the TLS key of the host at its other end where it showed one.
    pub async fn wire(self, within: Duration) -> Result<(BoxedWire, Option<Pin>), String> {
        Ok(match self.how {
            How::Tcp(stream) => {
                tune(&stream);
                (Box::new(stream), None)
            }
            How::Tls(stream, door) => {
                tune(&stream);
                let (stream, pin) = door.welcome(stream, within).await?;
                (Box::new(stream), pin)
            }
            How::Ready(wire) => (wire, None),
        })
    }
}
