//! Where wires come in at the device.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use simsim_model::TransferId;
use simsim_net::tls::{Pin, TlsDoor};
use simsim_net::{BoxedWire, Patient};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A way into the device: a data port, with or without TLS, or wires that others bring.
pub struct Entrance {
    way: Way,
    drive: Option<u32>,
    /// Where connections go that speak another protocol than transfers, and which one.
    other: Option<(&'static [u8], mpsc::Sender<Brought>)>,
}

enum Way {
    Tcp(TcpListener),
    Tls(TcpListener, TlsDoor),
    Brought(&'static str, mpsc::Receiver<Brought>),
}

/// A wire that somebody else made: a data connection of FTP, a stream of a multiplexer, a pipe.
pub struct Brought {
    pub wire: BoxedWire,
    /// Who is at the other end.
    pub from: IpAddr,
    /// The ticket that was proved, in time, before there was a wire.
    pub proved: Option<TransferId>,
}

impl Entrance {
    /// Plain TCP.
    pub fn http(listener: TcpListener) -> Self {
        Self { way: Way::Tcp(listener), drive: None, other: None }
    }

    /// TLS 1.3.
    pub fn https(listener: TcpListener, door: TlsDoor) -> Self {
        Self { way: Way::Tls(listener, door), drive: None, other: None }
    }

    /// The port of one drive: takes only transfers of that drive. `door` asks for the caller's key.
    pub fn drive(listener: TcpListener, door: TlsDoor, drive: u32) -> Self {
        Self { way: Way::Tls(listener, door), drive: Some(drive), other: None }
    }

    /// Wires from elsewhere; ends when the last sender is gone.
    pub fn brought(wires: mpsc::Receiver<Brought>) -> Self {
        Self { way: Way::Brought("brought", wires), drive: None, other: None }
    }

    /// Streams of pipes that came in by FTP.
    pub(crate) fn ftp(wires: mpsc::Receiver<Brought>) -> Self {
        Self { way: Way::Brought("ftp", wires), drive: None, other: None }
    }

    /// Connections that name `protocol` (ALPN) in their TLS handshake are handed to `to` as they are.
    /// One that cannot be taken at once is closed.
    pub fn divert(mut self, protocol: &'static [u8], to: mpsc::Sender<Brought>) -> Self {
        self.other = Some((protocol, to));
        self
    }

    /// For the log.
    pub(super) fn kind(&self) -> &'static str {
        match (&self.way, self.drive) {
            (_, Some(_)) => "drive",
            (Way::Tcp(_), None) => "http",
            (Way::Tls(..), None) => "https",
            (Way::Brought(kind, _), None) => kind,
        }
    }

    pub(super) fn only_drive(&self) -> Option<u32> {
        self.drive
    }

    pub(super) async fn next(&mut self) -> io::Result<Option<Arrival>> {
        Ok(match &mut self.way {
            Way::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                Some(Arrival { from: from.ip(), proved: None, how: How::Tcp(stream), other: None })
            }
            Way::Tls(listener, door) => {
                let (stream, from) = listener.accept().await?;
                let (how, other) = (How::Tls(stream, door.clone()), self.other.clone());
                Some(Arrival { from: from.ip(), proved: None, how, other })
            }
            Way::Brought(_, wires) => wires.recv().await.map(|brought| {
                let Brought { wire, from, proved } = brought;
                Arrival { from, proved, how: How::Ready(wire), other: None }
            }),
        })
    }
}

/// Somebody at an entrance, whose handshake is still to come.
pub(super) struct Arrival {
    pub from: IpAddr,
    /// As in [`Brought`].
    pub proved: Option<TransferId>,
    how: How,
    other: Option<(&'static [u8], mpsc::Sender<Brought>)>,
}

/// What came of an arrival.
pub(super) enum Arrived {
    /// A wire for transfers, and the TLS key of the host at its other end where it showed one.
    Here(BoxedWire, Option<Pin>),
    /// It spoke another protocol, and was handed on.
    Elsewhere,
}

enum How {
    Tcp(TcpStream),
    Tls(TcpStream, TlsDoor),
    Ready(BoxedWire),
}

impl Arrival {
    /// The handshake, where there is one.
    pub async fn wire(self, within: Duration) -> Result<Arrived, String> {
        Ok(match self.how {
            How::Tcp(stream) => Arrived::Here(Box::new(Patient::new(stream)), None),
            How::Tls(stream, door) => {
                let (stream, pin) = door.welcome(Patient::new(stream), within).await?;
                match self.other {
                    Some((protocol, to))
                        if stream.get_ref().1.alpn_protocol() == Some(protocol) =>
                    {
                        let brought =
                            Brought { wire: Box::new(stream), from: self.from, proved: None };
                        to.try_send(brought).map_err(|_| "too many come in at once".to_owned())?;
                        Arrived::Elsewhere
                    }
                    _ => Arrived::Here(Box::new(stream), pin),
                }
            }
            How::Ready(wire) => Arrived::Here(wire, None),
        })
    }
}
