//! The dialling end: a server calls a node whose access mode is CTRL.

use std::any::Any;
use std::time::Duration;

use simsim_net::{Severer, dial};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::handshake::{Called, Refusal};
use super::line::{Foreign, LineError, read_line, write_line};
use crate::coding::Coding;
use crate::handler::SERVER_USER;
use crate::public_key::short_text;
use crate::{ControlClient, ControlError, Hello, Identity, PublicKey, Timing};

/// Whose key the far end must prove.
#[derive(Clone, Copy)]
pub enum Expected<'a> {
    /// This host's.
    Key(&'a PublicKey),
    /// That of any host that this says is known: for streams that the far end opened.
    AnyOf(&'a (dyn Fn(&PublicKey) -> bool + Sync)),
    /// The one whose short fingerprint stands in a join code.
    Short([u8; 16]),
}

impl Expected<'_> {
    fn accepts(&self, found: &PublicKey) -> bool {
        match self {
            Expected::Key(key) => *key == found,
            Expected::AnyOf(known) => known(found),
            Expected::Short(fingerprint) => found.short_fingerprint() == *fingerprint,
        }
    }
}

/// Opens control sessions over CTRL.
#[derive(Debug, Clone)]
pub struct CtrlDialer {
    identity: Identity,
    hello: Hello,
    timing: Timing,
}

impl CtrlDialer {
    /// A dialler that proves `identity` and introduces itself with `hello`.
    pub fn new(identity: Identity, hello: Hello) -> Self {
        Self { identity, hello, timing: Timing::default() }
    }

    /// With lower time limits.
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Connects to the first of `addresses` (`host:port`) that answers, checks that it proves the
    /// expected key before it says who calls, and opens a session.
    ///
    /// # Errors
    /// `Dial` (every address with what happened), `HostKey` and `LoginRefused` (kind `Denied`),
    /// `Handshake`, `TimedOut`, `Version`.
    pub async fn connect(
        &self,
        addresses: &[String],
        expected: &PublicKey,
    ) -> Result<ControlClient, ControlError> {
        let stream = dial(addresses, self.timing.handshake).await?;
        let label = match stream.peer_addr() {
            Ok(address) => address.to_string(),
            Err(_) => addresses.join(", "),
        };
        let cut = Severer::of(&stream).map_err(|error| ControlError::Handshake {
            peer: label.clone(),
            reason: error.to_string(),
        })?;
        let keeper = Box::new(cut.on_drop());
        let (client, _) = self.call_over(stream, &label, Expected::Key(expected), keeper).await?;
        Ok(client)
    }

    /// Opens a session over a stream that is there: this side asks, whoever connected to whom, and
    /// whatever carries the stream. The far end answers with [`CtrlListener::answer_over`]; both
    /// prove their keys to each other as on a connection of CTRL's own port, so that nobody in
    /// between (a relay, say) is trusted with anything but the bytes.
    ///
    /// `label` names the peer in errors; `keeper` is dropped with the session. Also returns the key
    /// that was proved.
    ///
    /// # Errors
    /// As [`CtrlDialer::connect`], but for `Dial`.
    ///
    /// [`CtrlListener::answer_over`]: super::CtrlListener::answer_over
    pub async fn call_over<S>(
        &self,
        mut stream: S,
        label: &str,
        expected: Expected<'_>,
        keeper: Box<dyn Any + Send + Sync>,
    ) -> Result<(ControlClient, PublicKey), ControlError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (coding, key) = self.prove(&mut stream, label, expected).await?;
        let client =
            ControlClient::open(stream, coding, &self.hello, label, self.timing, keeper).await?;
        Ok((client, key))
    }

    async fn prove<S>(
        &self,
        stream: &mut S,
        label: &str,
        expected: Expected<'_>,
    ) -> Result<(Coding, PublicKey), ControlError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let refused = |refusal| self.error(label, expected, refusal);
        let deadline = Instant::now() + self.timing.handshake;
        let steps = Steps { label, deadline, limit: self.timing.handshake };
        let (called, call) = Called::new().map_err(refused)?;
        let answer = steps.ask("handshake", stream, &call).await?;
        let accepts = |found: &PublicKey| expected.accepts(found);
        let (proved, proof) = called.answered(&answer, &self.identity, accepts).map_err(refused)?;
        let key = proved.listener_key;
        let last = steps.ask("log-in", stream, &proof).await?;
        let coding = proved.welcomed(&last).map_err(refused)?;
        Ok((coding, key))
    }

    fn error(&self, label: &str, expected: Expected<'_>, refusal: Refusal) -> ControlError {
        let peer = label.to_owned();
        match refusal {
            Refusal::OtherKey(found) => ControlError::HostKey {
                peer,
                expected: match expected {
                    Expected::Key(key) => key.fingerprint(),
                    Expected::AnyOf(_) => "that of an enrolled host".to_owned(),
                    Expected::Short(fingerprint) => {
                        format!("{} from the join code", short_text(fingerprint))
                    }
                },
                found: match expected {
                    Expected::Short(_) => found.short_text(),
                    Expected::Key(_) | Expected::AnyOf(_) => found.fingerprint(),
                },
            },
            Refusal::Refused => ControlError::LoginRefused {
                peer,
                user: SERVER_USER.to_owned(),
                fingerprint: self.identity.fingerprint(),
            },
            Refusal::Broken(reason) => ControlError::Handshake { peer, reason },
        }
    }
}

/// The steps of one handshake, all within one time limit.
struct Steps<'a> {
    label: &'a str,
    deadline: Instant,
    limit: Duration,
}

impl Steps<'_> {
    /// Says a line, and hears the next one.
    async fn ask<S>(
        &self,
        step: &'static str,
        stream: &mut S,
        line: &str,
    ) -> Result<Vec<u8>, ControlError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let asking = async {
            // A listener that speaks first speaks something else: it is heard all the same.
            let said = write_line(stream, line).await;
            match read_line(stream).await {
                Err(LineError::Closed(0)) => said.and(Err(LineError::Closed(0))),
                heard => heard,
            }
        };
        let peer = self.label.to_owned();
        match timeout_at(self.deadline, asking).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(ControlError::Handshake { peer, reason: words(&error) }),
            Err(_) => Err(ControlError::TimedOut { peer, step, seconds: self.limit.as_secs() }),
        }
    }
}

fn words(error: &LineError) -> String {
    match error {
        LineError::Closed(_) => "it closed the connection".to_owned(),
        LineError::Foreign(Foreign::Ssh) => {
            "it speaks SSH: is this the port of access mode SMSSH?".to_owned()
        }
        LineError::Foreign(foreign) => format!("it speaks {}", foreign.name()),
        LineError::Broken(reason) => reason.clone(),
    }
}
