//! Granted transfers: the tickets that the server announced, and what became of each.
//!
//! A ticket lives in memory only. After a restart of the device every ticket is unknown, so none
//! can be used a second time; the server grants anew. A transfer that ended is remembered for a
//! while, so that the server can ask about it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use simsim_control::verbs::{GrantTransfer, SavesetNames, TransferStateReply};
use simsim_model::{Direction, Level, SavesetId, Secret, StoreId, Ticket, TransferId};
use simsim_net::tls::Pin;
use simsim_transfer::throttle::Party;

use crate::DeviceError;
use crate::session::Open;

/// Tickets that are not opened, open and remembered.
const GRANTS_MAX: usize = 10_000;
/// Who waited for its turn so lately is not late with its ticket.
const WAITED: Duration = Duration::from_secs(60);
/// How long an ended transfer or a ticket that nobody used is remembered.
const KEPT: Duration = Duration::from_secs(3600);

/// An open transfer of whose host nothing was heard for so long is given up. Whoever goes on after a cut comes
/// back within minutes; a host that died, and whose server died with it, never does.
const ABANDONED: Duration = Duration::from_secs(3600);

pub(crate) struct Grants {
    table: Mutex<HashMap<TransferId, Arc<Grant>>>,
    sessions_max: usize,
}

/// One announced transfer.
pub(crate) struct Grant {
    pub(crate) ticket: Ticket,
    pub(crate) domain_key: Option<Secret>,
    pub(crate) lock_until_unix_s: u64,
    pub(crate) level: Option<Level>,
    pub(crate) names: SavesetNames,
    /// Savesets whose manifests a backup may read; `None`: its server does not say.
    pub(crate) bases: Option<Vec<SavesetId>>,
    client_keys: Vec<Vec<u8>>,
    /// For rate limits.
    pub(crate) party: Party,
    pub(crate) counts: Counts,
    phase: Mutex<Phase>,
    /// As [`Counts::last_heard_unix_ns`], by a clock that does not jump.
    heard_at: Mutex<Instant>,
}

/// What the server may ask about.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) last_heard_unix_ns: AtomicI64,
    /// When its client was last seen waiting for its turn, with a ticket that was good then.
    waits_unix_ns: AtomicI64,
    pub(crate) bytes_put: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) committed: AtomicBool,
    /// Bytes of a plain stream that is cut here.
    pub(crate) stream_bytes: AtomicU64,
}

enum Phase {
    Granted,
    Open(Arc<Open>),
    Ended { why: String, since: Instant },
}

impl Grants {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self { table: Mutex::default(), sessions_max }
    }

    /// Expects a transfer. The same ticket again, not yet used, is answered again.
    pub(crate) fn grant(&self, request: &GrantTransfer) -> Result<(), DeviceError> {
        let ticket = &request.ticket;
        if ticket.expires_unix_s <= now_unix_s() {
            return Err(DeviceError::Ticket(
                "the ticket has expired by this device's clock; compare the clocks",
            ));
        }
        if ticket.direction == Direction::Backup && request.level.is_none() {
            return Err(DeviceError::Request("the grant of a backup must name its level"));
        }
        if ticket.saveset.is_zero() != ticket.direction.is_copy() {
            return Err(DeviceError::Request(
                "the ticket must name a saveset, and that of a copy none",
            ));
        }
        // Dropped without the lock, because it is declared before it: a session may have much to put away.
        let mut forgotten: Vec<(TransferId, Arc<Grant>)> = Vec::new();
        let mut table = self.table.lock();
        forgotten.extend(table.extract_if(|_, grant| grant.is_forgotten()));
        if let Some(known) = table.get(&ticket.transfer) {
            let fresh = matches!(*known.phase.lock(), Phase::Granted);
            return if fresh && known.ticket == *ticket {
                Ok(())
            } else {
                Err(DeviceError::Ticket("a ticket of this number was granted before"))
            };
        }
        if table.len() >= GRANTS_MAX {
            return Err(DeviceError::Tickets(table.len()));
        }
        let grant = Grant {
            ticket: ticket.clone(),
            domain_key: request.domain_key.clone(),
            lock_until_unix_s: request.lock_until_unix_s,
            level: request.level,
            names: request.names.clone().unwrap_or_default(),
            bases: request.bases.clone(),
            client_keys: request.client_keys.clone(),
            party: Party {
                hosts: request.hosts.clone(),
                addresses: request.addresses.iter().filter_map(|text| text.parse().ok()).collect(),
            },
            counts: Counts::default(),
            phase: Mutex::new(Phase::Granted),
            heard_at: Mutex::new(Instant::now()),
        };
        table.insert(ticket.transfer, Arc::new(grant));
        Ok(())
    }

    pub(crate) fn get(&self, transfer: &TransferId) -> Option<Arc<Grant>> {
        self.table.lock().get(transfer).cloned()
    }

    /// Is a transfer of a host with this TLS key granted or open?
    pub(crate) fn expects(&self, key: &Pin) -> bool {
        self.table.lock().values().any(|grant| grant.is_of(key) && grant.is_awaited())
    }

    /// Uses a ticket: at most once, only while it is valid, and only while there is room.
    pub(crate) fn open(
        &self,
        transfer: &TransferId,
        open: impl FnOnce(&Grant) -> Result<Open, DeviceError>,
    ) -> Result<(), DeviceError> {
        // Held throughout, so that the number of open transfers stays below its limit.
        let table = self.table.lock();
        let grant = table.get(transfer).ok_or(DeviceError::NoTransfer(*transfer))?;
        let count = table.values().filter(|grant| grant.is_open()).count();
        let mut phase = grant.phase.lock();
        match &*phase {
            Phase::Granted => {}
            Phase::Open(_) => return Err(DeviceError::Ticket("the ticket is in use")),
            Phase::Ended { .. } => return Err(DeviceError::Ticket("the ticket was used before")),
        }
        if grant.has_expired() {
            return Err(DeviceError::Ticket("the ticket has expired"));
        }
        if count >= self.sessions_max {
            return Err(DeviceError::Crowded(count));
        }
        *phase = Phase::Open(Arc::new(open(grant)?));
        Ok(())
    }

    /// Ends a transfer and forgets its ticket. True where it was known.
    pub(crate) fn revoke(&self, transfer: &TransferId) -> bool {
        let grant = self.table.lock().remove(transfer);
        if let Some(grant) = &grant {
            grant.end("it was revoked by the server");
        }
        grant.is_some()
    }

    /// Forgets the unused tickets of a datastore that is taken down.
    pub(crate) fn withdraw(&self, store: StoreId) {
        self.table.lock().retain(|_, grant| {
            grant.ticket.store != store || !matches!(*grant.phase.lock(), Phase::Granted)
        });
    }

    /// Ends everything, at the end of the process.
    pub(crate) fn close(&self) {
        for (_, grant) in std::mem::take(&mut *self.table.lock()) {
            grant.end("the device shuts down");
        }
    }
}

impl Grant {
    fn is_open(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Open(_))
    }

    fn is_forgotten(&self) -> bool {
        match &*self.phase.lock() {
            Phase::Granted => {
                self.has_expired()
                    && self.ticket.expires_unix_s.saturating_add(KEPT.as_secs()) < now_unix_s()
            }
            // No call holds it, and its host was not heard for long: it died, and so did who would have told.
            Phase::Open(open) => {
                Arc::strong_count(open) == 1 && self.heard_at.lock().elapsed() > ABANDONED
            }
            Phase::Ended { since, .. } => since.elapsed() > KEPT,
        }
    }

    /// May its host come, or come again?
    fn is_awaited(&self) -> bool {
        match &*self.phase.lock() {
            Phase::Granted => !self.has_expired(),
            Phase::Open(_) => true,
            Phase::Ended { .. } => false,
        }
    }

    /// Was the transfer granted to the host with this TLS key?
    pub(crate) fn is_of(&self, key: &Pin) -> bool {
        self.client_keys.iter().any(|known| known == &key.0)
    }

    /// The transfer at work.
    pub(crate) fn at_work(&self) -> Result<Arc<Open>, DeviceError> {
        match &*self.phase.lock() {
            Phase::Open(open) => Ok(Arc::clone(open)),
            Phase::Granted => Err(DeviceError::Ticket("the ticket has not been opened")),
            Phase::Ended { why, .. } => Err(DeviceError::Ended(why.clone())),
        }
    }

    /// Ends the transfer: its sessions are dropped as soon as no call is under way, and what was
    /// not committed is never seen.
    pub(crate) fn end(&self, why: &str) {
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Ended { .. }) {
            return;
        }
        let before = std::mem::replace(
            &mut *phase,
            Phase::Ended { why: why.to_owned(), since: Instant::now() },
        );
        drop(phase);
        // Dropped without the lock: a session may have much to put away.
        drop(before);
    }

    /// Too late to be opened?
    fn has_expired(&self) -> bool {
        self.ticket.expires_unix_s <= now_unix_s() && !self.waited()
    }

    /// Did its client wait for its turn within the last minute?
    pub(crate) fn waited(&self) -> bool {
        let lately = i64::try_from(WAITED.as_nanos()).unwrap_or(i64::MAX);
        now_unix_ns().saturating_sub(self.counts.waits_unix_ns.load(Relaxed)) <= lately
    }

    /// Its client waits for its turn.
    pub(crate) fn waits(&self) {
        self.heard();
        self.counts.waits_unix_ns.store(now_unix_ns(), Relaxed);
    }

    pub(crate) fn heard(&self) {
        self.counts.last_heard_unix_ns.store(now_unix_ns(), Relaxed);
        *self.heard_at.lock() = Instant::now();
    }

    pub(crate) fn state(&self) -> TransferStateReply {
        let (opened, ended) = match &*self.phase.lock() {
            Phase::Granted => (false, None),
            Phase::Open(_) => (true, None),
            Phase::Ended { why, .. } => (true, Some(why.clone())),
        };
        TransferStateReply {
            opened,
            ended,
            last_heard_unix_ns: self.counts.last_heard_unix_ns.load(Relaxed),
            bytes_put: self.counts.bytes_put.load(Relaxed),
            segments: self.counts.segments.load(Relaxed),
            committed: self.counts.committed.load(Relaxed),
            stream_bytes: self.counts.stream_bytes.load(Relaxed),
        }
    }
}

pub(crate) fn now_unix_ns() -> i64 {
    let since = simsim_model::failpoint::shifted(SystemTime::now()).duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn now_unix_s() -> u64 {
    u64::try_from(now_unix_ns() / 1_000_000_000).unwrap_or_default()
}
