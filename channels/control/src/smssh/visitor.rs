//! One connection to the listener, as the SSH library sees it: what is allowed, and nothing else.

use std::sync::Arc;

use russh::keys::ssh_key;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelStream, Pty};
use tokio::sync::mpsc;

use super::{NO_SHELL, SUBSYSTEM};
use crate::PublicKey;
use crate::door::{Login, principal};
use crate::handler::ListenPolicy;

/// What happened on a connection, told to the task that owns it.
pub(super) enum Step {
    /// A key was proved, and the policy knows it.
    LoggedIn(Login),
    /// The subsystem was asked for.
    Started(Box<ChannelStream<Msg>>),
}

/// The library's handler of one connection.
pub(super) struct Visitor {
    policy: Arc<dyn ListenPolicy>,
    steps: mpsc::UnboundedSender<Step>,
    logged_in: bool,
    channel: Option<Channel<Msg>>,
    /// One channel in the life of a connection.
    opened: bool,
}

impl Visitor {
    pub(super) fn new(policy: Arc<dyn ListenPolicy>, steps: mpsc::UnboundedSender<Step>) -> Self {
        Self { policy, steps, logged_in: false, channel: None, opened: false }
    }

    fn login(&self, user: &str, key: &ssh_key::PublicKey) -> Option<Login> {
        let key = PublicKey::from_ssh(key)?;
        let principal = principal(self.policy.as_ref(), user, &key)?;
        Some(Login { user: user.to_owned(), key, principal })
    }

    /// One polite sentence for a person, and the end of the channel.
    fn no_shell(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        if self.channel.take().is_none() {
            return session.channel_failure(channel);
        }
        session.extended_data(channel, 1, format!("{NO_SHELL}\r\n").into_bytes())?;
        session.exit_status_request(channel, 1)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(match self.login(user, offer.public_key) {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let Some(login) = self.login(user, key.public_key) else { return Ok(Auth::reject()) };
        if !self.logged_in {
            self.logged_in = true;
            // The owner of the connection may be gone; then so is the connection.
            let _ = self.steps.send(Step::LoggedIn(login));
        }
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Dropping the handle refuses the channel.
        if !self.opened {
            self.opened = true;
            self.channel = Some(channel);
            reply.accept().await;
        }
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name != SUBSYSTEM {
            return session.channel_failure(id);
        }
        match self.channel.take() {
            Some(channel) => {
                session.channel_success(id)?;
                let _ = self.steps.send(Step::Started(Box::new(channel.into_stream())));
                Ok(())
            }
            None => session.channel_failure(id),
        }
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.no_shell(channel, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.no_shell(channel, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // Before a shell, OpenSSH asks for a terminal, and gives up without a word of ours when
        // it gets none.
        self.no_shell(channel, session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
