//! AUTH, PBSZ, PROT (RFC 4217), USER, PASS, REIN (RFC 959).
//!
//! Clients of the suite prove their ticket and may do so in the clear. The password of anybody else is a
//! token or a one-time ticket as it is: it is asked for only where TLS hides it.

use simsim_model::Kind;

use crate::ftp::line::LineError;
use crate::ftp::login::{self, Login, hex};
use crate::ftp::session::{DataWay, FAILURES_MAX, Next, Session, User};
use crate::gate::Why;
use crate::http::now_unix_s;
use crate::keys;

impl Session {
    /// TLS for the control connection, from the next byte on.
    pub(in crate::ftp) async fn auth(&mut self, argument: &str) -> Result<Next, LineError> {
        if !matches!(argument.to_ascii_uppercase().as_str(), "TLS" | "TLS-C" | "SSL") {
            return self.go(504, "TLS only").await;
        }
        if self.line.is_tls() {
            return self.go(503, "it is TLS already").await;
        }
        let Some(door) = self.door.tls.clone() else {
            return self.go(534, "there is no TLS at this port").await;
        };
        self.leave();
        self.say(234, "begin the handshake").await?;
        let Some(stream) = self.line.for_handshake() else {
            tracing::warn!(peer = %self.peer, "plain bytes after AUTH TLS; the connection is closed");
            return Ok(Next::Quit);
        };
        match door.welcome(stream, self.door.options.handshake_timeout).await {
            Ok((wire, _)) => {
                self.line.upgraded(Box::new(wire));
                (self.sized, self.private) = (false, false);
                Ok(Next::Go)
            }
            Err(why) => {
                tracing::debug!(peer = %self.peer, why, "no TLS came about; closed");
                Ok(Next::Quit)
            }
        }
    }

    pub(in crate::ftp) async fn pbsz(&mut self, argument: &str) -> Result<Next, LineError> {
        if !self.line.is_tls() {
            return self.go(503, "say AUTH TLS first").await;
        }
        if argument.is_empty() || !argument.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.go(501, "a number is missing").await;
        }
        self.sized = true;
        // A stream needs no buffer: whatever was wished, it is 0.
        self.go(200, "PBSZ=0").await
    }

    pub(in crate::ftp) async fn prot(&mut self, argument: &str) -> Result<Next, LineError> {
        if !self.line.is_tls() || !self.sized {
            return self.go(503, "say AUTH TLS and PBSZ 0 first").await;
        }
        match argument.to_ascii_uppercase().as_str() {
            "P" => self.private = true,
            "C" => self.private = false,
            "S" | "E" => return self.go(536, "P or C").await,
            _ => return self.go(504, "P or C").await,
        }
        self.go(200, if self.private { "data is private" } else { "data is clear" }).await
    }

    pub(in crate::ftp) async fn user(&mut self, argument: &str) -> Result<Next, LineError> {
        self.leave();
        if argument == login::USER {
            let Ok(challenge) = keys::nonce() else {
                return self.go(451, "this host gave no random bytes").await;
            };
            self.user = User::Named { name: argument.to_owned(), challenge };
            return self.go(331, &hex(&challenge)).await;
        }
        if !self.line.is_tls() {
            let text = "a password would be readable on the way: begin with AUTH TLS (curl \
                        --ssl-reqd, lftp ftp:ssl-force)";
            return self.go(530, text).await;
        }
        self.user = User::Named { name: argument.to_owned(), challenge: [0; 32] };
        self.go(331, "and the token?").await
    }

    pub(in crate::ftp) async fn pass(&mut self, argument: &str) -> Result<Next, LineError> {
        // A challenge serves once.
        let (name, challenge) = match std::mem::replace(&mut self.user, User::Nobody) {
            User::Named { name, challenge } => (name, challenge),
            other => {
                self.user = other;
                return self.go(503, "say USER first").await;
            }
        };
        if name != login::USER {
            return self.pass_of_guest(&name, argument).await;
        }
        let entered = self.transfer(argument, &challenge).await;
        match entered {
            Ok((user, answer)) => {
                self.user = user;
                self.proved();
                self.go(230, &answer).await
            }
            Err(why) => {
                // One text for all: which transfers there are is nobody's business.
                tracing::warn!(peer = %self.peer, why, "an FTP login was refused");
                self.failures += 1;
                self.say(530, "the login was refused").await?;
                Ok(if self.failures >= FAILURES_MAX { Next::Quit } else { Next::Go })
            }
        }
    }

    async fn transfer(
        &mut self,
        argument: &str,
        challenge: &[u8; 32],
    ) -> Result<(User, String), &'static str> {
        let login = Login::parse(argument).ok_or("it is no proof of a ticket")?;
        let (doors, transfer) = (self.door.doors.clone(), login.transfer);
        let asked = tokio::task::spawn_blocking(move || {
            let ticket = doors.handler().ticket(&transfer)?;
            Some((ticket, doors.is_open(&transfer)))
        });
        let Ok(Some((ticket, is_open))) = asked.await else { return Err("unknown transfer") };
        if !login.is_proved(&ticket.secret, challenge) {
            return Err("wrong proof");
        }
        // One that is late already comes in, and hears it when it opens its ticket.
        let in_time = is_open || now_unix_s() < ticket.expires_unix_s;
        let (id, half) = (login.pipe, login.half);
        let pipe = self.door.pipes.join(id, half, transfer, self.peer.ip(), in_time)?;
        self.door.wanted(&pipe).await;
        let answer = login.answer(&ticket.secret, challenge);
        Ok((User::Transfer { pipe, id, half }, answer))
    }

    async fn pass_of_guest(&mut self, name: &str, secret: &str) -> Result<Next, LineError> {
        let refusal = match self.admit(name, secret).await {
            Ok(user) => {
                self.user = user;
                self.proved();
                return self.go(230, "welcome: TYPE I, PBSZ 0, PROT P, then STOR or RETR").await;
            }
            Err(refusal) => refusal,
        };
        tracing::warn!(peer = %self.peer, why = refusal.word(), "an FTP login was refused");
        self.failures += 1;
        // 530 ends a client; 421 lets it come again.
        let comes_again = matches!(refusal.why, Why::TooOften | Why::Failed(Kind::Busy));
        self.say(if comes_again { 421 } else { 530 }, &refusal.text).await?;
        let quits = comes_again || self.failures >= FAILURES_MAX;
        Ok(if quits { Next::Quit } else { Next::Go })
    }

    pub(in crate::ftp) async fn rein(&mut self) -> Result<Next, LineError> {
        self.leave();
        self.way = DataWay::None;
        self.go(220, "who are you?").await
    }
}
