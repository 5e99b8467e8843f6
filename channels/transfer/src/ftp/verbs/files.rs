//! STOR, APPE, RETR, ABOR, CWD (RFC 959): for a client of the suite, one half of its pipe.

use std::net::SocketAddr;
use std::sync::Arc;

use simsim_net::BoxedWire;

use crate::ftp::data::connect;
use crate::ftp::line::{LineError, parse_command};
use crate::ftp::login::Half;
use crate::ftp::pipe::{Over, Pipe};
use crate::ftp::ports::Pair;
use crate::ftp::session::{Come, DataWay, Next, Session, User};

/// A data connection, and the ports that it keeps from others; or a text for 425.
pub(super) type Data = Result<(BoxedWire, Option<Pair>), String>;

/// A data connection that can be had.
pub(super) enum Ready {
    Come(Come),
    ToCall(SocketAddr),
}

/// Ready when the pipe is over; never without one.
async fn over(pipe: Option<&Pipe>) {
    match pipe {
        Some(pipe) => drop(pipe.over().await),
        None => std::future::pending().await,
    }
}

impl Session {
    pub(in crate::ftp) async fn cwd(
        &mut self,
        verb: &str,
        argument: &str,
    ) -> Result<Next, LineError> {
        match verb.ends_with("UP") || matches!(argument, "/" | "." | "..") {
            true => self.go(250, "\"/\" is all there is").await,
            false => self.go(550, "there are no directories").await,
        }
    }

    /// Carries one half of a pipe until it is over.
    pub(in crate::ftp) async fn pipe(
        &mut self,
        wanted: Half,
        argument: &str,
    ) -> Result<Next, LineError> {
        let User::Transfer { pipe, id, half } = &self.user else {
            return self.go(530, "log in first").await;
        };
        if *half != wanted || argument != id.to_string() {
            return self.go(550, "this login is for something else").await;
        }
        let pipe = Arc::clone(pipe);
        if self.line.is_tls() && !self.private {
            return self.go(521, "the data would be readable: say PROT P first").await;
        }
        let wire = match self.data(Some(&pipe)).await? {
            Ok((wire, _)) => wire,
            Err(text) => return self.go(425, &text).await,
        };
        pipe.bring(wanted, wire, &self.door.options.mux, &self.bring);
        let (how, quits) = self.attend(&pipe).await?;
        // Its ports go to the next one now.
        drop(pipe);
        self.leave();
        match how {
            Over::InOrder => self.say(226, "the transfer is complete").await?,
            Over::Broken => self.say(426, "the transfer broke off").await?,
        }
        if quits {
            self.say(221, "good bye").await?;
            return Ok(Next::Quit);
        }
        Ok(Next::Go)
    }

    /// The data connection that was agreed upon, and 150; or a text for 425. The ports that it keeps
    /// from others, where they are not those of a pipe, are beside it.
    pub(super) async fn data(&mut self, pipe: Option<&Pipe>) -> Result<Data, LineError> {
        match self.arrived(pipe).await? {
            Ok(ready) => self.carry(ready).await,
            Err(why) => Ok(Err(why)),
        }
    }

    /// Waits for a connection that comes to a port. One that is made from here is made later.
    pub(super) async fn arrived(
        &mut self,
        pipe: Option<&Pipe>,
    ) -> Result<Result<Ready, String>, LineError> {
        match std::mem::replace(&mut self.way, DataWay::None) {
            DataWay::None => Ok(Err("say EPSV or EPRT first".to_owned())),
            DataWay::Active(to) => Ok(Ok(Ready::ToCall(to))),
            DataWay::Passive(mut arrival) => loop {
                tokio::select! {
                    come = &mut arrival.0 => {
                        let come = come.unwrap_or_else(|error| Err(error.to_string()));
                        return Ok(come.map(Ready::Come));
                    }
                    () = over(pipe) => return Ok(Err("the other half has ended".to_owned())),
                    more = self.line.more() => more?,
                }
            },
        }
    }

    /// Says 150, and makes the connection fit to carry.
    pub(super) async fn carry(&mut self, ready: Ready) -> Result<Data, LineError> {
        let options = &self.door.options;
        let (arrival, handshake) = (options.arrival_timeout, options.handshake_timeout);
        let Come { stream, pair } = match ready {
            Ready::Come(come) => {
                self.say(150, "the data connection is there").await?;
                come
            }
            Ready::ToCall(to) => {
                self.say(150, "calling").await?;
                match connect(self.local, to, arrival).await {
                    Ok(stream) => Come { stream, pair: None },
                    Err(why) => return Ok(Err(why)),
                }
            }
        };
        let (true, Some(door)) = (self.private, self.door.data_tls.clone()) else {
            return Ok(Ok((Box::new(stream), pair)));
        };
        let greeted = door.welcome(stream, handshake).await;
        Ok(greeted.map(|(wire, _)| (Box::new(wire) as BoxedWire, pair)))
    }

    /// Waits for the end of a pipe, and listens to what is said meanwhile. The second part says
    /// whether the client wants to leave afterwards.
    async fn attend(&mut self, pipe: &Arc<Pipe>) -> Result<(Over, bool), LineError> {
        let options = self.door.options.clone();
        let mut quits = false;
        let mut look = tokio::time::interval(options.idle_timeout / 4);
        look.tick().await;
        let mut idle_since = std::time::Instant::now();
        loop {
            let line = tokio::select! {
                how = pipe.over() => return Ok((how, quits)),
                line = self.line.next() => line,
                _ = look.tick() => {
                    if self.door.doors.is_open(&pipe.transfer) {
                        idle_since = std::time::Instant::now();
                    }
                    // Half a pipe, or one upon which no ticket is opened, keeps ports from others.
                    if idle_since.elapsed() >= options.idle_timeout {
                        tracing::warn!(peer = %self.peer, "a pipe without an open transfer; closed");
                        pipe.cut();
                    }
                    continue;
                }
            };
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    pipe.cut();
                    return Err(error);
                }
            };
            match parse_command(&line).0.as_str() {
                "ABOR" => {
                    pipe.cut();
                    self.say(426, "the transfer was given up").await?;
                    return Ok((Over::InOrder, quits));
                }
                "STAT" => self.say(211, "a transfer is under way").await?,
                "NOOP" => self.say(200, "here").await?,
                "QUIT" => quits = true,
                _ => self.say(503, "a transfer is under way: ABOR ends it").await?,
            }
        }
    }
}
