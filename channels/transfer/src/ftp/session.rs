//! One control connection at the device: its state, and from a line to the verb that it names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_net::{Admitted, Patient};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::line::{ControlLine, LineError, parse_command, reply};
use super::listener::Door;
use super::login::{Half, PipeId};
use super::pipe::Pipe;
use super::ports::Pair;
use super::stall::StallKey;
use crate::Brought;
use crate::gate::StreamGuest;

/// Greets whoever comes; says nothing of version or host.
const GREETING: &str = "simsim data port: FTP for clients of the suite";
/// Log-ins that may go wrong on one connection.
pub(super) const FAILURES_MAX: u32 = 3;

/// Time to say why a connection ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who has logged in.
pub(super) enum User {
    Nobody,
    /// USER was said; PASS is due.
    Named {
        name: String,
        challenge: [u8; 32],
    },
    /// Somebody's tool, with a token or a one-time ticket.
    Guest {
        guest: Arc<dyn StreamGuest>,
        /// The task in which it stands, or nothing: above it.
        folder: String,
        key: StallKey,
    },
    /// A client of the suite, for one half of one pipe.
    Transfer {
        pipe: Arc<Pipe>,
        id: PipeId,
        half: Half,
    },
}

/// How the next data connection comes about.
pub(super) enum DataWay {
    None,
    /// It comes to a port that was opened here.
    Passive(Arrival),
    /// It is made from here.
    Active(SocketAddr),
}

/// A connection that is waited for; given up when dropped, with its ports.
pub(super) struct Arrival(pub(super) JoinHandle<Result<Come, String>>);

/// A connection that has come to a port. A tool's has the pair of the range that the port is of; a
/// pipe keeps its own.
pub(super) struct Come {
    pub(super) stream: Patient,
    pub(super) pair: Option<Pair>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What comes after a verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

pub(super) struct Session {
    pub(super) door: Arc<Door>,
    pub(super) bring: mpsc::Sender<Brought>,
    pub(super) line: ControlLine,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    pub(super) user: User,
    pub(super) failures: u32,
    /// PBSZ was said.
    pub(super) sized: bool,
    /// PROT P: data connections are TLS as well.
    pub(super) private: bool,
    /// TYPE I.
    pub(super) image: bool,
    /// EPSV ALL was said.
    pub(super) only_epsv: bool,
    pub(super) way: DataWay,
    /// REST: where the next transfer begins.
    pub(super) rest: u64,
    /// ALLO: how many bytes the next STOR will bring.
    pub(super) announced: Option<u64>,
    begun: Instant,
    stranger: Option<Admitted>,
}

impl Session {
    pub(super) fn new(
        door: Arc<Door>,
        bring: mpsc::Sender<Brought>,
        stream: TcpStream,
        (local, peer): (SocketAddr, SocketAddr),
        begun: Instant,
        stranger: Admitted,
    ) -> Self {
        Self {
            door,
            bring,
            line: ControlLine::new(stream),
            local,
            peer,
            user: User::Nobody,
            failures: 0,
            sized: false,
            private: false,
            image: false,
            only_epsv: false,
            way: DataWay::None,
            rest: 0,
            announced: None,
            begun,
            stranger: Some(stranger),
        }
    }

    /// The whole conversation. A line that ends or is no line is an error.
    pub(super) async fn run(mut self, stopping: watch::Receiver<bool>) -> Result<(), LineError> {
        let done = {
            let mut stopping = stopping;
            tokio::select! {
                done = self.talk() => Some(done),
                _ = stopping.wait_for(|stop| *stop) => None,
            }
        };
        let done = match done {
            Some(done) => done,
            None => {
                self.drain().await;
                self.say(421, "the device is being stopped").await
            }
        };
        if let Err(LineError::TooLong) = &done {
            self.say(500, "the line is too long").await?;
        }
        self.line.end().await;
        done
    }

    async fn talk(&mut self) -> Result<(), LineError> {
        // One deadline over all that a stranger can make this side do: reading, obeying, a
        // handshake, and replies that nobody takes.
        let deadline = self.begun + self.door.options.handshake_timeout;
        match tokio::time::timeout_at(deadline.into(), self.greet()).await {
            Ok(next) => {
                if next? == Next::Quit {
                    return Ok(());
                }
            }
            Err(_) => return self.too_long("no login came in time").await,
        }
        loop {
            let idle = self.door.options.idle_timeout;
            let Ok(line) = tokio::time::timeout(idle, self.line.next()).await else {
                return self.too_long("nothing was said for too long").await;
            };
            if self.obey(&Zeroizing::new(line?)).await? == Next::Quit {
                return Ok(());
            }
        }
    }

    /// Until the peer has proved who it is.
    async fn greet(&mut self) -> Result<Next, LineError> {
        self.say(220, GREETING).await?;
        while self.stranger.is_some() {
            let line = Zeroizing::new(self.line.next().await?);
            if self.obey(&line).await? == Next::Quit {
                return Ok(Next::Quit);
            }
        }
        Ok(Next::Go)
    }

    /// Says why it ends, to who listens.
    async fn too_long(&mut self, why: &str) -> Result<(), LineError> {
        let stranger = self.stranger.is_some();
        tracing::debug!(peer = %self.peer, stranger, why, "closed");
        match tokio::time::timeout(LAST_WORDS, self.say(421, why)).await {
            Ok(said) => said,
            Err(_) => Ok(()),
        }
    }

    async fn obey(&mut self, line: &str) -> Result<Next, LineError> {
        let (verb, argument) = parse_command(line);
        if !matches!(verb.as_str(), "PASS" | "USER") {
            tracing::trace!(peer = %self.peer, verb, "said");
        }
        match verb.as_str() {
            // login
            "AUTH" => self.auth(argument).await,
            "PBSZ" => self.pbsz(argument).await,
            "PROT" => self.prot(argument).await,
            "USER" => self.user(argument).await,
            "PASS" => self.pass(argument).await,
            "ACCT" => self.go(202, "no account is needed").await,
            "REIN" => self.rein().await,
            "QUIT" => {
                self.say(221, "good bye").await?;
                Ok(Next::Quit)
            }
            // about
            "FEAT" => self.feat().await,
            "HELP" => self.help().await,
            "SYST" => self.go(215, "UNIX Type: L8").await,
            "NOOP" => self.noop().await,
            "OPTS" => self.opts(argument).await,
            "STAT" => self.stat().await,
            _ if !self.has_logged_in() => match KNOWN.contains(&verb.as_str()) {
                true => self.go(530, "log in first").await,
                false => self.not_here(&verb).await,
            },
            // parameters
            "TYPE" => self.representation(argument).await,
            "MODE" => self.only(argument, "S", "stream").await,
            "STRU" => self.only(argument, "F", "file").await,
            "PASV" => self.pasv().await,
            "EPSV" => self.epsv(argument).await,
            "PORT" => self.port(argument).await,
            "EPRT" => self.eprt(argument).await,
            "ALLO" => self.allo(argument).await,
            // files
            _ if self.is_guest() => self.obey_guest(&verb, argument).await,
            "STOR" | "APPE" => self.pipe(Half::Up, argument).await,
            "RETR" => self.pipe(Half::Down, argument).await,
            "ABOR" => self.go(226, "nothing is under way").await,
            "PWD" | "XPWD" => self.go(257, "\"/\" is where you are").await,
            "CWD" | "CDUP" | "XCWD" | "XCUP" => self.cwd(&verb, argument).await,
            verb => self.not_here(verb).await,
        }
    }

    /// A verb that is not obeyed by whom it was said to.
    pub(super) async fn not_here(&mut self, verb: &str) -> Result<Next, LineError> {
        match KNOWN.contains(&verb) {
            true => self.go(502, "not here").await,
            false => self.go(500, "unknown").await,
        }
    }

    pub(super) fn has_logged_in(&self) -> bool {
        matches!(self.user, User::Transfer { .. } | User::Guest { .. })
    }

    fn is_guest(&self) -> bool {
        matches!(self.user, User::Guest { .. })
    }

    /// The peer has proved who it is: its place is free for the next stranger.
    pub(super) fn proved(&mut self) {
        if let Some(stranger) = self.stranger.take() {
            stranger.authenticated();
        }
    }

    /// Logs out. The pipe of which this was one half ends, and what only this login could go on with.
    pub(super) fn leave(&mut self) {
        self.way = DataWay::None;
        (self.rest, self.announced) = (0, None);
        match std::mem::replace(&mut self.user, User::Nobody) {
            User::Transfer { pipe, id, .. } => {
                pipe.cut();
                drop(pipe);
                self.door.pipes.forget(id);
            }
            User::Guest { key, .. } if !key.comes_back() => self.door.stalls.forget(key),
            User::Guest { .. } | User::Named { .. } | User::Nobody => {}
        }
    }

    /// While the device stops, what is on its way gets its time.
    async fn drain(&mut self) {
        if let User::Transfer { pipe, .. } = &self.user
            && pipe.is_whole()
        {
            pipe.over().await;
        }
    }

    pub(super) fn peer_ip(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    pub(super) async fn say(&mut self, code: u16, text: &str) -> Result<(), LineError> {
        Ok(self.line.send(&reply(code, text)).await?)
    }

    /// Says it, and goes on.
    pub(super) async fn go(&mut self, code: u16, text: &str) -> Result<Next, LineError> {
        self.say(code, text).await?;
        Ok(Next::Go)
    }
}

impl Drop for Session {
    /// However it ends, its ports are free for others.
    fn drop(&mut self) {
        self.leave();
    }
}

/// Verbs of the RFCs; others are unknown.
pub(super) const KNOWN: [&str; 41] = [
    "ABOR", "ACCT", "ALLO", "APPE", "AUTH", "CCC", "CDUP", "CWD", "DELE", "EPRT", "EPSV", "FEAT",
    "HELP", "LIST", "MDTM", "MKD", "MLSD", "MLST", "MODE", "NLST", "NOOP", "OPTS", "PASS", "PASV",
    "PBSZ", "PORT", "PROT", "PWD", "QUIT", "REIN", "REST", "RETR", "RMD", "RNFR", "RNTO", "SIZE",
    "STAT", "STOR", "STOU", "STRU", "SYST",
];
