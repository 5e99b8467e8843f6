//! The dialling end: a server calls its nodes, and a host that joins calls a server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{AuthResult, Config, Handle, Handler, Msg, Session};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelStream, Names};
use simsim_net::{CutOnDrop, Severer, dial};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SUBSYSTEM;
use super::algorithms::{CHANNEL_PACKETS, PACKET_BYTES, PREFERRED, WINDOW_BYTES, ssh_id};
use crate::coding::Coding;
use crate::public_key::short_text;
use crate::{ControlClient, ControlError, Hello, Identity, PublicKey, Timing};

/// Which host key the listener must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedKey {
    /// The key from enrolment.
    Exactly(PublicKey),
    /// The key whose short fingerprint stands in a join code.
    Short([u8; 16]),
}

impl ExpectedKey {
    fn accepts(&self, found: &PublicKey) -> bool {
        match self {
            ExpectedKey::Exactly(key) => key == found,
            ExpectedKey::Short(fingerprint) => found.short_fingerprint() == *fingerprint,
        }
    }

    /// Expected and found, in the same form, for people.
    fn texts(&self, found: &PublicKey) -> (String, String) {
        match self {
            ExpectedKey::Exactly(key) => (key.fingerprint(), found.fingerprint()),
            ExpectedKey::Short(fingerprint) => {
                (format!("{} from the join code", short_text(*fingerprint)), found.short_text())
            }
        }
    }
}

/// Opens control sessions.
#[derive(Debug, Clone)]
pub struct SmsshDialer {
    identity: Identity,
    hello: Hello,
    timing: Timing,
}

impl SmsshDialer {
    /// A dialler that logs in with `identity` and introduces itself with `hello`.
    pub fn new(identity: Identity, hello: Hello) -> Self {
        Self { identity, hello, timing: Timing::default() }
    }

    /// With lower time limits.
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Connects to the first of `addresses` (`host:port`) that answers, checks its host key before
    /// anything of ours is sent, logs in as `user`, and opens a session.
    ///
    /// # Errors
    /// `Dial` (every address with what happened), `HostKey` and `LoginRefused` (kind `Denied`),
    /// `Handshake`, `TimedOut`, `Version`.
    pub async fn connect(
        &self,
        addresses: &[String],
        expected: &PublicKey,
        user: &str,
    ) -> Result<ControlClient, ControlError> {
        let (client, _) =
            self.connect_expecting(addresses, ExpectedKey::Exactly(*expected), user).await?;
        Ok(client)
    }

    /// As [`SmsshDialer::connect`] with either form of expectation; also returns the host key.
    ///
    /// # Errors
    /// As [`SmsshDialer::connect`].
    pub async fn connect_expecting(
        &self,
        addresses: &[String],
        expected: ExpectedKey,
        user: &str,
    ) -> Result<(ControlClient, PublicKey), ControlError> {
        let stream = dial(addresses, self.timing.handshake).await?;
        let label = match stream.peer_addr() {
            Ok(address) => address.to_string(),
            Err(_) => addresses.join(", "),
        };
        let cut = Severer::of(&stream).map_err(|error| ControlError::Handshake {
            peer: label.clone(),
            reason: error.to_string(),
        })?;
        let cut = cut.on_drop();
        let seen = Arc::new(Seen::default());
        let opening = self.open(stream, expected, user, &label, &seen);
        let Ok(opened) = timeout(self.timing.handshake, opening).await else {
            return Err(ControlError::TimedOut {
                peer: label,
                step: seen.step(),
                seconds: self.timing.handshake.as_secs(),
            });
        };
        let (handle, stream, key) = opened?;
        let keeper = Box::new(Keeper { _handle: handle, _cut: cut });
        let (coding, timing) = (Coding::plain(), self.timing);
        let client =
            ControlClient::open(stream, coding, &self.hello, &label, timing, keeper).await?;
        Ok((client, key))
    }

    async fn open(
        &self,
        stream: TcpStream,
        expected: ExpectedKey,
        user: &str,
        label: &str,
        seen: &Arc<Seen>,
    ) -> Result<(Handle<Checker>, ChannelStream<Msg>, PublicKey), ControlError> {
        let broken = |reason: String| ControlError::Handshake { peer: label.to_owned(), reason };
        let failed = |error: russh::Error| broken(explain(&error));
        seen.now_at("key exchange");
        let checker = Checker { expected, seen: Arc::clone(seen) };
        let connected =
            russh::client::connect_stream(Arc::new(self.config()), stream, checker).await;
        let mut handle = connected.map_err(|error| match seen.key() {
            Some(key) if !expected.accepts(&key) => {
                let (expected, found) = expected.texts(&key);
                ControlError::HostKey { peer: label.to_owned(), expected, found }
            }
            _ => failed(error),
        })?;
        let key = seen.key().ok_or_else(|| broken("it showed no host key".to_owned()))?;
        seen.now_at("log-in");
        let own = PrivateKeyWithHashAlg::new(self.identity.private(), None);
        match handle.authenticate_publickey(user, own).await.map_err(failed)? {
            AuthResult::Success => {}
            AuthResult::Failure { .. } => {
                return Err(ControlError::LoginRefused {
                    peer: label.to_owned(),
                    user: user.to_owned(),
                    fingerprint: self.identity.fingerprint(),
                });
            }
        }
        seen.now_at("subsystem");
        let mut channel = handle.channel_open_session().await.map_err(failed)?;
        channel.request_subsystem(true, SUBSYSTEM).await.map_err(failed)?;
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => break,
                Some(ChannelMsg::WindowAdjusted { .. }) => {}
                _ => return Err(broken(format!("it has no subsystem '{SUBSYSTEM}'"))),
            }
        }
        Ok((handle, channel.into_stream(), key))
    }

    fn config(&self) -> Config {
        Config {
            client_id: ssh_id(),
            window_size: WINDOW_BYTES,
            maximum_packet_size: PACKET_BYTES,
            channel_buffer_size: CHANNEL_PACKETS,
            preferred: PREFERRED,
            // The session's beats do this work, over every kind of stream.
            keepalive_interval: None,
            inactivity_timeout: Some(self.timing.dead + Duration::from_secs(5)),
            ..Config::default()
        }
    }
}

/// Words for the commonest errors of the library.
fn explain(error: &russh::Error) -> String {
    match error {
        russh::Error::Disconnect | russh::Error::HUP => "it closed the connection".to_owned(),
        russh::Error::Version => "it does not speak SSH".to_owned(),
        error => error.to_string(),
    }
}

/// What was learnt of the listener while connecting.
#[derive(Default)]
struct Seen(Mutex<(&'static str, Option<PublicKey>)>);

impl Seen {
    fn now_at(&self, step: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = step;
    }

    fn step(&self) -> &'static str {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn key(&self) -> Option<PublicKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

/// Looks at the host key, and remembers it.
struct Checker {
    expected: ExpectedKey,
    seen: Arc<Seen>,
}

impl Handler for Checker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let Some(key) = PublicKey::from_ssh(key) else { return Ok(false) };
        self.seen.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(key);
        Ok(self.expected.accepts(&key))
    }

    async fn kex_done(
        &mut self,
        _shared_secret: Option<&[u8]>,
        names: &Names,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if names.strict_kex() { Ok(()) } else { Err(russh::Error::KexInit) }
    }
}

/// What a session's stream lives on.
struct Keeper {
    _handle: Handle<Checker>,
    /// Ends the connection also when the library is stuck in a write.
    _cut: CutOnDrop,
}
