//! Trying a way to a device without moving data over it: is it open, who answers there, and how
//! quick is it?
//!
//! A ticket that the device was told of proves the other end as a job's would. What is sent is
//! names that nobody has: the device looks them up and stores nothing.

use std::time::{Duration, Instant};

use simsim_model::{BackupSession, Direction, Kind, Name, SessionError, Ticket, limits};
use tokio::runtime::Handle;

use super::route::{OnWait, Route, Verdict};
use super::transfer::{DialOptions, HttpTransfer};
use crate::TransferError;
use crate::ftp::{DATA_CONNECTION, Fault, FtpDialer, FtpWay};

/// Round trips that are measured; the quickest counts.
const ROUND_TRIPS: usize = 5;
/// The sample ends after so many bytes, or after so long.
const SAMPLE_BYTES_MAX: u64 = 16 << 20;
const SAMPLE_TIME_MAX: Duration = Duration::from_millis(1000);
/// How the TLS room says that the other end is not who was expected.
const OTHER_KEY: &str = "shows another key";

/// What was found at the end of a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knock {
    /// The device answered and proved that it is the one.
    Open(Sample),
    /// Something speaks the protocol there, and is not the device that was told of the ticket.
    WrongIdentity(String),
    /// Something answers there and does not speak the protocol.
    WrongService(String),
    /// The control port of FTP is right, and no data connection comes about.
    NoData(String),
    /// All ports for data are in use by transfers.
    InUse,
}

/// How quick a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// The quickest of a few.
    pub round_trip: Duration,
    /// Sent to the device, before sealing.
    pub bytes: u64,
    /// From the first of these bytes to the last answer.
    pub time: Duration,
}

/// Opens a transfer by one way, takes a sample where the ticket is for a backup, and gives the transfer
/// up. Blocks; not for a thread of the runtime. That the port takes connections is known before:
/// whoever does not answer within `patience` then is no device.
pub fn knock(handle: Handle, route: Route, ticket: Ticket, patience: Duration) -> Knock {
    let takes_names = ticket.direction == Direction::Backup;
    let begun = Instant::now();
    let options = DialOptions {
        // Who waits for ports that transfers have finds out nothing about firewalls.
        on_wait: OnWait::new(move |_| begun.elapsed() < patience),
        connections: 1,
        dead_peer: patience,
        stall_timeout: patience * 2 / 3,
        connect_timeout: patience / 2,
        ..DialOptions::default()
    };
    let transfer = match HttpTransfer::try_open(handle, vec![route], ticket, options) {
        Ok(transfer) => transfer,
        Err(error) => return who(error),
    };
    let sampled = sample(&transfer, takes_names);
    if let Err(error) = transfer.abort("only a probe") {
        tracing::debug!(%error, "the end of a probe could not be told");
    }
    match sampled {
        Ok(sample) => Knock::Open(sample),
        Err(error) => Knock::WrongService(format!("it answered once, and then: {error}")),
    }
}

/// Only the control port of FTP: is it the device's? Blocks, as [`knock`].
pub fn knock_ftp(handle: Handle, address: String, ticket: Ticket, patience: Duration) -> Knock {
    let (on_wait, verdict) = (OnWait::default(), Verdict::default());
    let dialer = FtpDialer::new(FtpWay::passive(), vec![address], ticket, on_wait, verdict);
    match handle.block_on(dialer.greet(patience)) {
        Ok(round_trip) => Knock::Open(Sample { round_trip, ..Sample::default() }),
        Err(Fault::Refused(why)) => Knock::WrongIdentity(why),
        Err(Fault::Other(why)) => Knock::WrongService(why),
    }
}

/// Who it is that did not open.
fn who(error: TransferError) -> Knock {
    const OURS: [&str; 3] =
        ["transfer refused", "the ticket was used before", "the ticket has expired"];
    match &error {
        TransferError::Refused { text, .. } if OURS.contains(&text.trim()) => {
            Knock::WrongIdentity(error.to_string())
        }
        TransferError::Ended => Knock::InUse,
        TransferError::Login { .. } => Knock::WrongIdentity(error.to_string()),
        TransferError::Peer(told) if told.kind() == Kind::Denied => {
            Knock::WrongIdentity(error.to_string())
        }
        TransferError::Unreachable { last, .. } if last.contains(OTHER_KEY) => {
            Knock::WrongIdentity(last.clone())
        }
        TransferError::Unreachable { last, .. } if last.contains(DATA_CONNECTION) => {
            Knock::NoData(last.clone())
        }
        TransferError::Unreachable { last, .. } => Knock::WrongService(last.clone()),
        _ => Knock::WrongService(error.to_string()),
    }
}

fn sample(transfer: &HttpTransfer, takes_names: bool) -> Result<Sample, SessionError> {
    let mut sample = Sample { round_trip: Duration::MAX, ..Sample::default() };
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        transfer.ping()?;
        sample.round_trip = sample.round_trip.min(begun.elapsed());
    }
    if !takes_names {
        return Ok(sample);
    }
    // Names of nothing: the hash of a counter, so that no compression on the way helps.
    let names: Vec<Name> = (0u64..limits::NAMES_PER_REQUEST_MAX as u64)
        .map(|number| Name(*blake3::hash(&number.to_le_bytes()).as_bytes()))
        .collect();
    let begun = Instant::now();
    while sample.bytes < SAMPLE_BYTES_MAX && begun.elapsed() < SAMPLE_TIME_MAX {
        transfer.has(&names)?;
        sample.bytes += (names.len() * Name::BYTES) as u64;
    }
    sample.time = begun.elapsed();
    Ok(sample)
}
