//! TYPE, MODE, STRU, PASV, PORT (RFC 959), EPSV, EPRT (RFC 2428).
//!
//! A port of the range has to be waited for while others have all of them. The reply to PASV or
//! EPSV is then a long one: every few seconds a line of it says that the wait goes on and how many
//! are before, until the last line names the port. So nobody takes the connection for dead, and every
//! client that reads replies as RFC 959 has them waits as long as it takes.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;

use crate::ftp::address::{epsv_text, parse_eprt, parse_port, pasv_text, with_port};
use crate::ftp::data::{open_port, welcome};
use crate::ftp::line::{LineError, parse_command};
use crate::ftp::ports::Pair;
use crate::ftp::session::{Arrival, Come, DataWay, Next, Session, User};

/// Ports below belong to services of hosts: nobody is sent there.
const ACTIVE_PORT_MIN: u16 = 1024;

/// A line of a reply that goes on.
fn wait_line(code: u16, pairs: usize, before: usize) -> String {
    format!(
        "{code}-All {pairs} pairs of data ports are in use; {before} transfers come before this one\r\n"
    )
}

impl Session {
    pub(in crate::ftp) async fn representation(
        &mut self,
        argument: &str,
    ) -> Result<Next, LineError> {
        match argument.to_ascii_uppercase().as_str() {
            "I" | "L 8" => self.image = true,
            "A" | "A N" => self.image = false,
            _ => return self.go(504, "I or A").await,
        }
        self.go(200, "so be it").await
    }

    /// For parameters of which there is only one value.
    pub(in crate::ftp) async fn only(
        &mut self,
        argument: &str,
        value: &str,
        word: &str,
    ) -> Result<Next, LineError> {
        match argument.eq_ignore_ascii_case(value) {
            true => self.go(200, word).await,
            false => self.go(504, &format!("{value} only")).await,
        }
    }

    pub(in crate::ftp) async fn pasv(&mut self) -> Result<Next, LineError> {
        if self.only_epsv {
            return self.go(503, "EPSV ALL was said").await;
        }
        let IpAddr::V4(ip) = self.local.ip().to_canonical() else {
            return self.go(522, "this is IPv6: say EPSV (2)").await;
        };
        self.passive(227, move |port| pasv_text(ip, port)).await
    }

    pub(in crate::ftp) async fn epsv(&mut self, argument: &str) -> Result<Next, LineError> {
        let own = if self.local.ip().to_canonical().is_ipv4() { "1" } else { "2" };
        match argument.to_ascii_uppercase().as_str() {
            "ALL" => {
                self.only_epsv = true;
                return self.go(200, "EPSV only, from now on").await;
            }
            "" => {}
            family if family == own => {}
            "1" | "2" => return self.go(522, &format!("use ({own})")).await,
            _ => return self.go(501, "1, 2, ALL or nothing").await,
        }
        self.passive(229, epsv_text).await
    }

    /// Opens a port of the range as soon as one is this transfer's, and expects the peer there.
    async fn passive(
        &mut self,
        code: u16,
        text: impl Fn(u16) -> String,
    ) -> Result<Next, LineError> {
        self.way = DataWay::None;
        let (pipe, half) = match &self.user {
            User::Transfer { pipe, half, .. } => (Arc::clone(pipe), *half),
            User::Guest { .. } => return self.passive_of_guest(code, text).await,
            User::Named { .. } | User::Nobody => return self.go(530, "log in first").await,
        };
        let (ports, doors) = (self.door.ports.clone(), self.door.doors.clone());
        let port = {
            let resumes = doors.is_open(&pipe.transfer);
            let mut turn = pin!(pipe.port(half, &ports, resumes));
            let mut tick = tokio::time::interval(self.door.options.wait_interval);
            loop {
                tokio::select! {
                    biased;
                    port = &mut turn => break port,
                    _ = tick.tick() => {
                        if !self.door.wanted(&pipe).await {
                            tracing::warn!(peer = %self.peer, "a transfer was revoked while it waited");
                            return Ok(Next::Quit);
                        }
                        let line = wait_line(code, ports.pairs(), pipe.before());
                        self.line.send(&line).await?;
                    }
                    _ = pipe.over() => return Ok(Next::Quit),
                    more = self.line.more() => {
                        more?;
                        if let Some(line) = self.line.whole() {
                            let verb = parse_command(&line?).0;
                            tracing::debug!(peer = %self.peer, verb, "gave up waiting for ports");
                            return Ok(Next::Quit);
                        }
                    }
                }
            }
        };
        self.expect_at(port, None, code, text).await
    }

    /// As for a pipe; but the ports are given back after each transfer. Who says anything else while
    /// it waits has given up.
    async fn passive_of_guest(
        &mut self,
        code: u16,
        text: impl Fn(u16) -> String,
    ) -> Result<Next, LineError> {
        let ports = self.door.ports.clone();
        let mut place = ports.stand_in_line(false);
        let mut tick = tokio::time::interval(self.door.options.wait_interval);
        let pair = loop {
            tokio::select! {
                biased;
                pair = place.turn() => break pair,
                _ = tick.tick() => {
                    let line = wait_line(code, ports.pairs(), place.before());
                    self.line.send(&line).await?;
                }
                more = self.line.more() => {
                    more?;
                    if self.line.whole().is_some() {
                        return Ok(Next::Quit);
                    }
                }
            }
        };
        self.expect_at(pair.first(), Some(pair), code, text).await
    }

    /// Opens the port and says it. What it is of goes back when nobody comes, or with the connection.
    async fn expect_at(
        &mut self,
        port: u16,
        pair: Option<Pair>,
        code: u16,
        text: impl Fn(u16) -> String,
    ) -> Result<Next, LineError> {
        let listener = match open_port(with_port(self.local, port)).await {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "a port of the range cannot be used");
                let text =
                    format!("port {port} of the range cannot be used: the device's log says why");
                return self.go(425, &text).await;
            }
        };
        let port = listener.local_addr()?.port();
        let coming = welcome(listener, self.peer_ip(), self.door.options.arrival_timeout);
        self.way = DataWay::Passive(Arrival(tokio::spawn(async move {
            Ok(Come { stream: coming.await?, pair })
        })));
        self.go(code, &text(port)).await
    }

    pub(in crate::ftp) async fn port(&mut self, argument: &str) -> Result<Next, LineError> {
        self.active(parse_port(argument)).await
    }

    pub(in crate::ftp) async fn eprt(&mut self, argument: &str) -> Result<Next, LineError> {
        self.active(parse_eprt(argument)).await
    }

    /// Only to the peer itself, and to no port of a service: else this host would be a way around
    /// other hosts' firewalls (RFC 2577).
    async fn active(&mut self, named: Option<SocketAddr>) -> Result<Next, LineError> {
        self.way = DataWay::None;
        if self.only_epsv {
            return self.go(503, "EPSV ALL was said").await;
        }
        let Some(named) = named else {
            return self.go(501, "that is no address").await;
        };
        // Nobody's address (lftp says it over IPv6) is taken for that of who says it: the peer's is called
        // in any case.
        let named_ip = named.ip().to_canonical();
        let own = named_ip == self.peer_ip() || named_ip.is_unspecified();
        if !own || named.port() < ACTIVE_PORT_MIN {
            tracing::warn!(peer = %self.peer, %named, "refused to be sent to another host or service");
            return self.go(504, "only to your own address, and to no port below 1024").await;
        }
        // With the scope of the control connection's own address.
        self.way = DataWay::Active(with_port(self.peer, named.port()));
        self.go(200, "it will be called").await
    }
}
