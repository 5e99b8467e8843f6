//! Connections that ride on a connection of the other direction.
//!
//! A host behind a translator of addresses, or without any inbound port, opens one TLS connection to
//! its server and keeps it. It begins with the line `call\n`, before which an RDS that passes it on says
//! `relay NAME WORD\n`: a word that nobody else knows, and that it tells the server when it is asked.
//! On the connection are many streams ([`crate::mux`]): those that the server opens carry control
//! sessions; those that the host opens lead to data ports of the suite. Each of the latter begins with
//! one line of text in each direction, and is the host's TCP connection from then on:
//!
//! ```text
//! host:    connect vault.example:PORT\n
//! server:  ok\n                             or: no SENTENCE\n
//! ```
//!
//! What the connection itself is encrypted with is the envelope only: both sides prove their keys to
//! each other in the first control session, and data is sealed by its tickets.
//!
//! A host that is not enrolled yet says `join\n` in place of `call\n`. Then there are no streams: the
//! connection is one control session, in which the host asks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use simsim_model::limits::{DEAD_PEER_MS, HEARTBEAT_INTERVAL_MS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::BoxedWire;
use crate::mux::{MuxHandle, MuxLimits};

/// The protocol's name in the TLS handshake (ALPN, RFC 7301).
pub const OUTBOUND_PROTOCOL: &[u8] = b"simsim-outbound/1";
/// Streams of one connection at a time: the sessions of a host and the data of its jobs. With one more
/// the windows that streams have from the beginning would be more than a connection may hold.
pub const STREAMS_MAX: usize = 95;
/// A line at most, its end included.
pub const LINE_BYTES_MAX: usize = 512;

/// How many streams, in how much memory. A connection that vanished is noticed well before the
/// transfers on it lose their patience.
pub fn limits() -> MuxLimits {
    MuxLimits {
        streams_max: STREAMS_MAX,
        heartbeat: Duration::from_millis(HEARTBEAT_INTERVAL_MS / 2),
        dead_peer: Duration::from_millis(DEAD_PEER_MS / 2),
        ..MuxLimits::default()
    }
}

/// A wire on its way, or one sentence why there is none.
pub type Opening<'o> = Pin<Box<dyn Future<Output = Result<BoxedWire, String>> + Send + 'o>>;

/// Opens connections in place of this host: at the other end of one that is there.
pub trait Opener: Send + Sync {
    /// A connection to `address` (`host:port`), as it is seen from there.
    fn open<'o>(&'o self, address: &'o str, timeout: Duration) -> Opening<'o>;
}

impl Opener for MuxHandle {
    fn open<'o>(&'o self, address: &'o str, timeout: Duration) -> Opening<'o> {
        let opening = async move {
            let mut wire = MuxHandle::open(self).await.map_err(|error| error.to_string())?;
            ask(&mut wire, address).await?;
            Ok(wire)
        };
        Box::pin(async move {
            tokio::time::timeout(timeout, opening).await.unwrap_or_else(|_| {
                Err(format!("no answer over the outbound connection in {} s", timeout.as_secs()))
            })
        })
    }
}

/// The connection of this moment: when it breaks, another takes its place, and who opens something
/// meanwhile waits for it. Clones are the same.
#[derive(Clone)]
pub struct Current(watch::Sender<Option<MuxHandle>>);

impl Default for Current {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Current {
    /// From now on it is this one; `None`: there is none.
    pub fn set(&self, connection: Option<MuxHandle>) {
        self.0.send_replace(connection);
    }
}

impl Opener for Current {
    fn open<'o>(&'o self, address: &'o str, timeout: Duration) -> Opening<'o> {
        Box::pin(async move {
            let until = tokio::time::Instant::now() + timeout;
            let mut current = self.0.subscribe();
            let waiting = current.wait_for(Option::is_some);
            let connection = match tokio::time::timeout_at(until, waiting).await {
                Ok(Ok(connection)) => connection.clone(),
                Ok(Err(_)) | Err(_) => None,
            };
            let Some(connection) = connection else {
                return Err("there is no outbound connection to the server now".to_owned());
            };
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            Opener::open(&connection, address, left).await
        })
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An enrolled host, which is steered over it.
    Call,
    /// A host that wants to be enrolled.
    Join,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Call, Self::Join];

    fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Join => "join",
        }
    }

    fn of(line: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == line)
    }
}

/// How a connection begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub purpose: Purpose,
    /// The RDS that passes it on, as it says itself.
    pub relay: Option<Relay>,
}

/// What an RDS says of itself before a connection that it passes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    pub name: String,
    /// Nobody else knows it. The RDS is asked for it on its own session, where its key is proved.
    pub word: String,
}

/// Begins a connection.
///
/// # Errors
/// When the other side is gone.
pub async fn begin(wire: &mut BoxedWire, purpose: Purpose) -> io::Result<()> {
    wire.write_all(format!("{}\n", purpose.word()).as_bytes()).await?;
    wire.flush().await
}

/// Says, before the bytes of a call, who passes it on.
///
/// # Errors
/// When the other side is gone.
pub async fn begin_relayed(wire: &mut BoxedWire, relay: &Relay) -> io::Result<()> {
    let Relay { name, word } = relay;
    wire.write_all(format!("relay {name} {word}\n").as_bytes()).await?;
    wire.flush().await
}

/// The beginning of a connection.
///
/// # Errors
/// When it begins otherwise.
pub async fn begun(wire: &mut BoxedWire) -> io::Result<Begun> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it does not begin like a call");
    let first = read_line(wire).await?;
    if let Some(purpose) = Purpose::of(&first) {
        return Ok(Begun { purpose, relay: None });
    }
    let said = first.strip_prefix("relay ").and_then(|said| said.split_once(' '));
    let (name, word) = said.ok_or_else(wrong)?;
    let relay = Relay { name: name.to_owned(), word: word.to_owned() };
    let purpose = Purpose::of(&read_line(wire).await?).ok_or_else(wrong)?;
    Ok(Begun { purpose, relay: Some(relay) })
}

/// The host's end of a new stream: asks for a connection, and hears whether there is one.
///
/// # Errors
/// One sentence: the other side's, or that it is gone.
pub async fn ask(wire: &mut BoxedWire, address: &str) -> Result<(), String> {
    let line = format!("connect {address}\n");
    if line.len() > LINE_BYTES_MAX {
        return Err("the address is too long".to_owned());
    }
    let gone = |error: io::Error| format!("the outbound connection broke: {error}");
    wire.write_all(line.as_bytes()).await.map_err(gone)?;
    wire.flush().await.map_err(gone)?;
    let answer = read_line(wire).await.map_err(gone)?;
    match answer.split_once(' ') {
        None if answer == "ok" => Ok(()),
        Some(("no", why)) => Err(why.to_owned()),
        _ => Err("the other end of the outbound connection speaks something else".to_owned()),
    }
}

/// The server's end of a new stream: the address that is wanted.
///
/// # Errors
/// When the line is none of this protocol's, or never ends.
pub async fn asked(wire: &mut BoxedWire) -> io::Result<String> {
    let line = read_line(wire).await?;
    match line.strip_prefix("connect ") {
        Some(address) if !address.is_empty() => Ok(address.to_owned()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "no 'connect HOST:PORT'")),
    }
}

/// Answers what was asked.
///
/// # Errors
/// When the other side is gone.
pub async fn answer(wire: &mut BoxedWire, said: Result<(), &str>) -> io::Result<()> {
    let line = match said {
        Ok(()) => "ok\n".to_owned(),
        Err(why) => {
            let one_line: String = why
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .scan(0, |bytes, c| {
                    *bytes += c.len_utf8();
                    (*bytes <= LINE_BYTES_MAX - 4).then_some(c)
                })
                .collect();
            format!("no {one_line}\n")
        }
    };
    wire.write_all(line.as_bytes()).await?;
    wire.flush().await
}

/// Byte by byte, so that nothing of what comes after it is taken.
async fn read_line(wire: &mut BoxedWire) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        let byte = wire.read_u8().await?;
        if byte == b'\n' {
            break;
        }
        line.push(byte);
        if line.len() >= LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line too long"));
        }
    }
    String::from_utf8(line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a line that is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (BoxedWire, BoxedWire) {
        let (a, b) = tokio::io::duplex(1 << 16);
        (Box::new(a), Box::new(b))
    }

    #[tokio::test]
    async fn what_is_asked_arrives_and_bytes_behind_the_lines_stay() {
        let (mut host, mut server) = pair();
        let at_server = async {
            assert_eq!(asked(&mut server).await.unwrap(), "[::1]:7");
            answer(&mut server, Ok(())).await.unwrap();
            server.write_all(b"data").await.unwrap();
        };
        let (said, ()) = tokio::join!(ask(&mut host, "[::1]:7"), at_server);
        said.unwrap();
        let mut data = [0; 4];
        host.read_exact(&mut data).await.unwrap();
        assert_eq!(&data, b"data");
    }

    #[tokio::test]
    async fn a_call_begins_with_its_line_and_that_of_who_passes_it_on() {
        let far = Relay { name: "far".to_owned(), word: "c0ffee".to_owned() };
        for relay in [None, Some(far)] {
            for purpose in Purpose::ALL {
                let (mut host, mut server) = pair();
                if let Some(relay) = &relay {
                    begin_relayed(&mut host, relay).await.unwrap();
                }
                begin(&mut host, purpose).await.unwrap();
                let expected = Begun { purpose, relay: relay.clone() };
                assert_eq!(begun(&mut server).await.unwrap(), expected);
            }
        }
        let others =
            ["relay a b\nrelay b c\ncall\n", "hello\n", "\n", "relay\n", "relay far\ncall\n"];
        for other in others.into_iter().chain(["call \n", "JOIN\n"]) {
            let (mut host, mut server) = pair();
            host.write_all(other.as_bytes()).await.unwrap();
            begun(&mut server).await.unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_refusal_is_one_line_of_bounded_length() {
        let (mut host, mut server) = pair();
        let why = format!("two\nlines, and {}", "ä".repeat(LINE_BYTES_MAX));
        let at_server = async {
            asked(&mut server).await.unwrap();
            answer(&mut server, Err(&why)).await.unwrap();
        };
        let (said, ()) = tokio::join!(ask(&mut host, "a:1"), at_server);
        let said = said.unwrap_err();
        assert!(said.starts_with("two lines, and ää") && said.len() < LINE_BYTES_MAX, "{said}");
    }

    #[tokio::test]
    async fn lines_that_are_none_are_refused() {
        let too_long = format!("connect {}", "a".repeat(LINE_BYTES_MAX));
        for line in [too_long.as_str(), "GET / HTTP/1.1\n", "connect \n", "\n", "\u{fffd}x\n"] {
            let (mut host, mut server) = pair();
            host.write_all(line.as_bytes()).await.unwrap();
            asked(&mut server).await.unwrap_err();
        }
        let just = format!("connect {}\n", "a".repeat(LINE_BYTES_MAX - 9));
        let (mut host, mut server) = pair();
        host.write_all(just.as_bytes()).await.unwrap();
        assert_eq!(asked(&mut server).await.unwrap().len(), LINE_BYTES_MAX - 9);
        let (host, mut server) = pair();
        drop(host);
        asked(&mut server).await.unwrap_err();
    }

    #[test]
    fn windows_of_all_streams_stay_within_what_a_connection_may_hold() {
        let most = simsim_model::limits::CONNECTION_MEMORY_BYTES_MAX;
        assert_eq!(limits().windows_bytes_max(), most);
        assert_eq!(MuxLimits::default().windows_bytes_max(), most);
        // One more stream would be too much.
        let more = MuxLimits { streams_max: STREAMS_MAX + 1, ..limits() };
        assert!(more.windows_bytes_max() > most);
    }

    #[test]
    fn fuzz_lines_of_outbound_streams() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let samples = [
            b"connect a:1\n".to_vec(),
            b"connect [::1]:65535\nrest".to_vec(),
            b"relay far c0ffee\njoin\nrest".to_vec(),
        ];
        simsim_testkit::fuzz("outbound line", &samples, |bytes| {
            runtime.block_on(async {
                let (mut host, server) = tokio::io::duplex(1 << 16);
                host.write_all(bytes).await.unwrap();
                drop(host);
                let mut server: BoxedWire = Box::new(server);
                if let Ok(address) = asked(&mut server).await {
                    assert!(!address.is_empty() && address.len() < LINE_BYTES_MAX);
                }
                let (mut host, server) = tokio::io::duplex(1 << 16);
                host.write_all(bytes).await.unwrap();
                drop(host);
                let mut server: BoxedWire = Box::new(server);
                if let Ok(Begun { relay, .. }) = begun(&mut server).await {
                    let bytes = |relay: Relay| relay.name.len() + relay.word.len();
                    assert!(relay.is_none_or(|relay| bytes(relay) < LINE_BYTES_MAX));
                }
            });
        });
    }
}
