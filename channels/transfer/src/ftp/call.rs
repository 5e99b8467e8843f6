//! The client's end of one control connection.

use std::net::SocketAddr;
use std::time::Duration;

use simsim_model::{Ticket, limits};
use simsim_net::tls::TlsConnect;
use simsim_net::{BoxedWire, DialError, Wire};
use tokio::time::timeout;

use super::address::{eprt, parse_epsv_text};
use super::line::{ControlLine, LineError, REPLY_LINES_MAX, parse_reply_line};
use super::login::{Half, Login, PipeId, USER, parse_hex};

/// Between two lines of a reply that makes one wait.
const WAIT_SILENCE: Duration = Duration::from_millis(limits::DEAD_PEER_MS);
/// Text of a reply in an error.
const SHOWN_CHARS_MAX: usize = 200;

/// Hears that there is a wait, and what for; false when nobody wants to wait any more.
pub(super) type Tell<'t> = &'t (dyn Fn(&str) -> bool + Send + Sync);

/// It lets anybody in.
const NO_PROOF: &str = "it could not prove that it holds the ticket itself: it is not the device that \
                        the server named, or somebody stands between";

/// Why no pipe came about.
pub(crate) enum Fault {
    /// The device does not take the proof.
    Refused(String),
    Other(String),
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Fault::Other(why)
    }
}

pub(super) struct Call {
    line: ControlLine,
    tls: Option<TlsConnect>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// Nothing is silent for longer, except where a reply makes one wait.
    patience: Duration,
}

impl Call {
    /// Connects to one of the addresses and hears the greeting.
    pub(super) async fn begin(
        addresses: &[String],
        tls: Option<TlsConnect>,
        patience: Duration,
    ) -> Result<Self, String> {
        let stream = simsim_net::dial(addresses, patience)
            .await
            .map_err(|error: DialError| error.to_string())?;
        let local = stream.local_addr().map_err(|error| error.to_string())?;
        let peer = stream.peer_addr().map_err(|error| error.to_string())?;
        let mut call = Self { line: ControlLine::new(stream), tls, local, peer, patience };
        call.expect("the greeting", 220).await?;
        if call.tls.is_some() {
            call.make_private().await?;
        }
        Ok(call)
    }

    async fn make_private(&mut self) -> Result<(), String> {
        self.ask("AUTH TLS", 234).await?;
        let stream = self
            .line
            .for_handshake()
            .ok_or("plain bytes came where TLS should begin: somebody stands between")?;
        let wire = self.greet(stream).await?;
        self.line.upgraded(wire);
        self.ask("PBSZ 0", 200).await?;
        self.ask("PROT P", 200).await?;
        Ok(())
    }

    /// TLS upon a connection to the device, where this call has it.
    pub(super) async fn greet(&mut self, stream: impl Wire) -> Result<BoxedWire, String> {
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let address = self.peer.to_string();
        let greeted = timeout(self.patience, tls.greet(&address, stream)).await;
        let greeted = greeted.map_err(|_| format!("no TLS answer from {address}"))??;
        Ok(Box::new(greeted))
    }

    /// Proves the ticket, for one half of a pipe.
    pub(super) async fn log_in(
        &mut self,
        ticket: &Ticket,
        pipe: PipeId,
        half: Half,
    ) -> Result<(), Fault> {
        let challenge = self.ask(&format!("USER {USER}"), 331).await?;
        let challenge = challenge.split_whitespace().find_map(parse_hex);
        let challenge: [u8; 32] = challenge.ok_or_else(|| {
            format!("{}: an FTP service, but not a device's: it asks for no proof", self.peer)
        })?;
        let login = Login::new(ticket.transfer, &ticket.secret, pipe, half, &challenge);
        self.say(&format!("PASS {}", login.to_text())).await?;
        match self.reply("PASS", None).await? {
            (230, said) if login.is_answered(&ticket.secret, &challenge, &said) => {}
            (230, _) => return Err(Fault::Refused(NO_PROOF.to_owned())),
            (530, text) => return Err(Fault::Refused(text)),
            (code, text) => return Err(self.other("PASS", code, &text).into()),
        }
        self.ask("TYPE I", 200).await?;
        Ok(())
    }

    /// A port of the device, as soon as one is this transfer's.
    pub(super) async fn extended_passive(&mut self, tell: Tell<'_>) -> Result<SocketAddr, String> {
        self.say("EPSV").await?;
        let text = match self.reply("EPSV", Some(tell)).await? {
            (229, text) => text,
            (code, text) => return Err(self.other("EPSV", code, &text)),
        };
        let port = parse_epsv_text(&text)
            .ok_or_else(|| format!("{}: the reply to EPSV names no port: {text}", self.peer))?;
        Ok(super::address::with_port(self.peer, port))
    }

    /// Names a port of this host.
    pub(super) async fn extended_port(&mut self, at: SocketAddr) -> Result<(), String> {
        self.ask(&format!("EPRT {}", eprt(at)), 200).await.map(drop)
    }

    /// Says that the transfer is still wanted, while it waits for something on this host.
    pub(super) async fn still_here(&mut self) -> Result<(), String> {
        self.ask("NOOP", 200).await.map(drop)
    }

    /// STOR or RETR.
    pub(super) async fn transfer(&mut self, pipe: PipeId, half: Half) -> Result<(), String> {
        let verb = match half {
            Half::Up => "STOR",
            Half::Down => "RETR",
        };
        self.ask(&format!("{verb} {pipe}"), 150).await.map(drop)
    }

    async fn ask(&mut self, line: &str, code: u16) -> Result<String, String> {
        let verb = line.split(' ').next().unwrap_or_default().to_owned();
        self.say(line).await?;
        self.expect(&verb, code).await
    }

    async fn say(&mut self, line: &str) -> Result<(), String> {
        let sent = self.line.send(&format!("{line}\r\n")).await;
        sent.map_err(|error| format!("{}: {error}", self.peer))
    }

    async fn expect(&mut self, what: &str, code: u16) -> Result<String, String> {
        match self.reply(what, None).await? {
            (given, text) if given == code => Ok(text),
            (given, text) => Err(self.other(what, given, &text)),
        }
    }

    fn other(&self, what: &str, code: u16, text: &str) -> String {
        let shown: String =
            text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        format!("{}: {what} was answered with {code} {shown}", self.peer)
    }

    /// Reads a whole reply and answers its code and last line. With `tell`, the lines of a long one
    /// say what is waited for.
    async fn reply(&mut self, what: &str, tell: Option<Tell<'_>>) -> Result<(u16, String), String> {
        let mut waits = false;
        let mut first = None;
        for _ in 0..REPLY_LINES_MAX {
            let silence = if waits { WAIT_SILENCE } else { self.patience };
            let line = match timeout(silence, self.line.next()).await {
                Ok(Ok(line)) => line,
                Ok(Err(error)) => {
                    return Err(format!("{}: no reply to {what}: {error}", self.peer));
                }
                Err(_) => {
                    let seconds = silence.as_secs_f32();
                    return Err(format!(
                        "{}: connected, but no reply to {what} in {seconds:.1} s",
                        self.peer
                    ));
                }
            };
            let parsed = parse_reply_line(&line);
            let in_reply = first.is_some();
            match parsed {
                Some((given, true, text)) if first.is_none_or(|first| first == given) => {
                    return Ok((given, text.to_owned()));
                }
                Some((given, false, text)) => {
                    first.get_or_insert(given);
                    if let Some(tell) = tell {
                        waits = true;
                        if !tell(text) {
                            return Err("nobody waits for the data any more".to_owned());
                        }
                    }
                }
                _ if in_reply => {}
                _ => return Err(format!("{}: no FTP there", self.peer)),
            }
        }
        Err(format!("{}: the reply to {what} does not end", self.peer))
    }

    /// Waits until the device says something, or the line ends.
    pub(super) async fn something(&mut self) -> Result<String, LineError> {
        self.line.next().await
    }

    /// Takes leave, without waiting for long.
    pub(super) async fn quit(mut self) {
        let _ = self.say("QUIT").await;
        let _ = timeout(Duration::from_secs(1), async { while self.line.next().await.is_ok() {} })
            .await;
        self.line.end().await;
    }
}
