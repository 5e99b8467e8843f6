//! Dialling a host by all its addresses.
//!
//! Names are resolved, and the addresses tried in order, each a little after the one before
//! (RFC 8305), so that an address behind a silent firewall costs a quarter of a second and not
//! the whole time-out. When none answers, the error says of each what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use simsim_model::Kind;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

/// From the start of one attempt to the start of the next: RFC 8305, section 8.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why one address did not answer.
#[derive(Debug)]
pub enum Failure {
    /// The name has no address.
    Unresolvable(io::Error),
    /// The host answered that nothing listens there.
    Refused,
    /// Nothing came back: the host is off, or a firewall drops the packets.
    Filtered,
    /// What the operating system said.
    Other(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unresolvable(error) => write!(f, "cannot be resolved ({error})"),
            Failure::Refused => f.write_str("refused: nothing listens there"),
            Failure::Filtered => {
                f.write_str("no answer: the host is off, or a firewall drops the packets")
            }
            Failure::Other(error) => write!(f, "{error}"),
        }
    }
}

/// One address that was tried.
#[derive(Debug)]
pub struct Attempt {
    /// `host:port` as asked for; with the address in brackets where a name was resolved.
    pub address: String,
    pub failure: Failure,
}

/// No address answered.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// There was nothing to dial.
    #[error("no address to connect to: give at least one as host:port")]
    NoAddress,
    /// All failed.
    #[error("cannot connect: {}", list(.attempts))]
    Failed { attempts: Vec<Attempt> },
}

impl DialError {
    /// `Invalid` without an address, else `Unreachable`.
    pub fn kind(&self) -> Kind {
        match self {
            DialError::NoAddress => Kind::Invalid,
            DialError::Failed { .. } => Kind::Unreachable,
        }
    }

    /// Every address that was tried.
    pub fn attempts(&self) -> &[Attempt] {
        match self {
            DialError::NoAddress => &[],
            DialError::Failed { attempts } => attempts,
        }
    }
}

fn list(attempts: &[Attempt]) -> String {
    let parts: Vec<String> =
        attempts.iter().map(|attempt| format!("{} {}", attempt.address, attempt.failure)).collect();
    parts.join("; ")
}

/// Connects to the first of `addresses` (`host:port`, IPv6 as `[address]:port`) that answers, and
/// tunes the connection. `timeout` covers resolving and all attempts together.
///
/// # Errors
/// [`DialError`] names every address that was tried, and what happened there.
pub async fn dial(addresses: &[String], timeout: Duration) -> Result<TcpStream, DialError> {
    if addresses.is_empty() {
        return Err(DialError::NoAddress);
    }
    let deadline = Instant::now() + timeout;
    let mut failed: Vec<(Order, Attempt)> = Vec::new();
    let mut resolving = JoinSet::new();
    for (index, text) in addresses.iter().cloned().enumerate() {
        resolving.spawn(async move {
            let found = timeout_at(deadline, lookup_host(text.as_str()))
                .await
                .map(|found| found.map(Iterator::collect::<Vec<_>>));
            (index, text, found)
        });
    }
    let mut waiting: BTreeMap<Order, (String, SocketAddr)> = BTreeMap::new();
    let mut seen: Vec<SocketAddr> = Vec::new();
    let mut running: JoinSet<(Order, String, Result<TcpStream, Failure>)> = JoinSet::new();
    let mut unresolved: BTreeSet<usize> = (0..addresses.len()).collect();
    let begun = Instant::now();
    let mut next_start = begun;
    while !(resolving.is_empty() && waiting.is_empty() && running.is_empty()) {
        // A name in front gets a little time to resolve before a later address is tried.
        let start = match (unresolved.first(), waiting.keys().next()) {
            (Some(unresolved), Some((ready, _))) if unresolved < ready => {
                next_start.max(begun + ATTEMPT_DELAY)
            }
            _ => next_start,
        };
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => match ended {
                Ok((_, _, Ok(stream))) => {
                    crate::tune(&stream);
                    return Ok(stream);
                }
                Ok((order, address, Err(failure))) => {
                    failed.push((order, Attempt { address, failure }));
                    // A quick answer makes waiting pointless.
                    next_start = Instant::now();
                }
                Err(_) => {}
            },
            Some(resolved) = resolving.join_next() => {
                let Ok((index, text, found)) = resolved else { continue };
                unresolved.remove(&index);
                let reason = match found {
                    Ok(Ok(found)) if !found.is_empty() => {
                        for (place, address) in found.into_iter().enumerate() {
                            if !seen.contains(&address) {
                                seen.push(address);
                                waiting.insert((index, place), (name_of(&text, address), address));
                            }
                        }
                        continue;
                    }
                    Ok(Ok(_)) => io::Error::new(io::ErrorKind::NotFound, "it has no address"),
                    Ok(Err(error)) => error,
                    Err(_) => {
                        io::Error::new(io::ErrorKind::TimedOut, "the name service does not answer")
                    }
                };
                let failure = Failure::Unresolvable(reason);
                failed.push(((index, 0), Attempt { address: text, failure }));
            }
            () = sleep_until(start), if !waiting.is_empty() => {
                if let Some((order, (text, address))) = waiting.pop_first() {
                    next_start = Instant::now() + ATTEMPT_DELAY;
                    running.spawn(async move { (order, text, attempt(address, deadline).await) });
                }
            }
        }
    }
    failed.sort_by_key(|(order, _)| *order);
    Err(DialError::Failed { attempts: failed.into_iter().map(|(_, attempt)| attempt).collect() })
}

/// Place in the caller's list, and among the addresses of one name.
type Order = (usize, usize);

fn name_of(text: &str, address: SocketAddr) -> String {
    if text.parse::<SocketAddr>().is_ok() {
        address.to_string()
    } else {
        format!("{text} [{}]", address.ip())
    }
}

async fn attempt(address: SocketAddr, deadline: Instant) -> Result<TcpStream, Failure> {
    match timeout_at(deadline, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::TimedOut => Failure::Filtered,
            _ => Failure::Other(error),
        }),
        Err(_) => Err(Failure::Filtered),
    }
}
