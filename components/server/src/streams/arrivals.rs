//! Where callers and jobs meet, by the job's number.
//!
//! Either may be there first. A caller leaves an [`Arrival`] and waits for its answer; the job takes it
//! when its turn has come. Whoever holds an end of a stream hears here how its job ended.
//!
//! | lock | held for |
//! |---|---|
//! | `slots`, `open` | looking up, adding, removing; never across a wait |

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use simsim_catalog::{Job, JobError, JobState};
use simsim_model::{Kind, Outcome, SavesetId};
use simsim_transfer::gate::{SecretText, StreamRefusal};
use tokio::sync::{mpsc, oneshot, watch};

use super::sink::ServerSink;
use super::source::OpenStream;

/// Somebody who wants the stream of a job.
pub(crate) struct Arrival {
    /// Can be sent to another host.
    pub follows: bool,
    /// By which door it came.
    pub door: &'static str,
    /// Where its caller is; `None` where nobody knows.
    pub address: Option<IpAddr>,
    /// For the job's log: `192.0.2.1, https`.
    pub from: String,
    pub answer: oneshot::Sender<Given>,
}

/// What a job gives its caller. A job that gives nothing tells why by its end.
pub(crate) enum Given {
    Sink(ServerSink),
    Source(Arc<OpenStream>),
    Elsewhere(SecretText),
}

/// How a job ended, for those who wait for it.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub job: u64,
    pub outcome: Outcome,
    pub saveset: Option<SavesetId>,
    pub error: Option<JobError>,
}

impl Ending {
    /// What a job that has ended came to; `None` while it has not.
    pub fn of(job: &Job) -> Option<Self> {
        let JobState::Ended(outcome) = job.state else { return None };
        let done = matches!(outcome, Outcome::Finished | Outcome::FinishedWithErrors);
        Some(Self {
            job: job.number,
            outcome,
            saveset: job.saveset.filter(|_| done),
            error: job.error.clone(),
        })
    }

    /// As a refusal of the caller whose stream it was.
    pub fn refusal(&self) -> StreamRefusal {
        let (kind, why) = match &self.error {
            Some(error) => (error.kind, error.message.clone()),
            None => (Kind::Cancelled, self.outcome.to_string()),
        };
        StreamRefusal::new(kind, format!("job {}: {why}", self.job))
    }
}

/// Hears how a job ended.
pub(crate) type Ended = watch::Receiver<Option<Ending>>;

#[derive(Default)]
pub(crate) struct Arrivals {
    slots: Mutex<HashMap<u64, Slot>>,
    /// Streams that are being read, by who reads and what.
    open: Mutex<HashMap<(String, SavesetId), Weak<OpenStream>>>,
}

struct Slot {
    callers: mpsc::Sender<Arrival>,
    waiting: Option<mpsc::Receiver<Arrival>>,
    ended: watch::Sender<Option<Ending>>,
    ticket: Option<Ticket>,
}

struct Ticket {
    hash: [u8; 32],
    task: String,
    expires_unix_ms: i64,
    used: bool,
}

/// A ticket that somebody showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub job: u64,
    pub task: String,
    pub expires_unix_ms: i64,
    pub used: bool,
}

impl Default for Slot {
    fn default() -> Self {
        let (callers, waiting) = mpsc::channel(1);
        let ended = watch::Sender::new(None);
        Self { callers, waiting: Some(waiting), ended, ticket: None }
    }
}

impl Arrivals {
    /// A job waits for a caller who has the ticket with this hash.
    pub(crate) fn issue(&self, job: u64, hash: [u8; 32], task: &str, expires_unix_ms: i64) {
        let ticket = Ticket { hash, task: task.to_owned(), expires_unix_ms, used: false };
        self.slots.lock().entry(job).or_default().ticket = Some(ticket);
    }

    /// Until when a caller with a ticket may come; `None`: the caller is there.
    pub(crate) fn expected_until(&self, job: u64) -> Option<i64> {
        self.slots.lock().get(&job)?.ticket.as_ref().map(|ticket| ticket.expires_unix_ms)
    }

    /// The ticket with this hash. It is not used by being looked at.
    pub(crate) fn shown(&self, hash: &[u8; 32]) -> Option<Shown> {
        self.slots.lock().iter().find_map(|(job, slot)| {
            let ticket = slot.ticket.as_ref().filter(|ticket| ticket.hash == *hash)?;
            let (task, expires_unix_ms) = (ticket.task.clone(), ticket.expires_unix_ms);
            Some(Shown { job: *job, task, expires_unix_ms, used: ticket.used })
        })
    }

    /// Brings a caller to a job, at most one. `None`: somebody was there before.
    pub(crate) fn bring(&self, job: u64, arrival: Arrival) -> Option<Ended> {
        let mut slots = self.slots.lock();
        let slot = slots.entry(job).or_default();
        if let Some(ticket) = &mut slot.ticket {
            if ticket.used {
                return None;
            }
            ticket.used = true;
        }
        slot.callers.try_send(arrival).ok()?;
        Some(slot.ended.subscribe())
    }

    /// The job's end of it, taken once.
    pub(crate) fn callers(&self, job: u64) -> Option<mpsc::Receiver<Arrival>> {
        self.slots.lock().entry(job).or_default().waiting.take()
    }

    /// How the job ends, for a sink or source of it.
    pub(crate) fn end_of(&self, job: u64) -> Ended {
        self.slots.lock().entry(job).or_default().ended.subscribe()
    }

    /// A job has ended: whoever waits hears of it, and nobody finds it here any more.
    pub(crate) fn ended(&self, ending: Ending) {
        if let Some(slot) = self.slots.lock().remove(&ending.job) {
            let _ = slot.ended.send(Some(ending));
        }
    }

    /// A stream that this reader has open, so that many ranges are one job.
    pub(crate) fn open_stream(&self, who: &str, saveset: SavesetId) -> Option<Arc<OpenStream>> {
        let mut open = self.open.lock();
        open.retain(|_, stream| stream.strong_count() > 0);
        open.get(&(who.to_owned(), saveset))?.upgrade()
    }

    pub(crate) fn remember_open(&self, who: &str, saveset: SavesetId, stream: &Arc<OpenStream>) {
        self.open.lock().insert((who.to_owned(), saveset), Arc::downgrade(stream));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> (Arrival, oneshot::Receiver<Given>) {
        let (answer, given) = oneshot::channel();
        let from = String::new();
        (Arrival { follows: false, door: "https", address: None, from, answer }, given)
    }

    #[test]
    fn a_ticket_brings_one_caller_and_no_second() {
        let arrivals = Arrivals::default();
        arrivals.issue(7, [1; 32], "db", 500);
        assert_eq!(arrivals.shown(&[2; 32]), None);
        let shown = Shown { job: 7, task: "db".into(), expires_unix_ms: 500, used: false };
        assert_eq!(arrivals.shown(&[1; 32]), Some(shown.clone()));
        assert!(arrivals.bring(7, arrival().0).is_some());
        assert_eq!(arrivals.shown(&[1; 32]), Some(Shown { used: true, ..shown }));
        let mut callers = arrivals.callers(7).unwrap();
        assert!(callers.try_recv().is_ok());
        // The first was taken, so there would be room.
        assert!(arrivals.bring(7, arrival().0).is_none());
        assert!(arrivals.callers(7).is_none(), "taken once");
    }

    #[test]
    fn whoever_waits_hears_how_the_job_ended_whichever_came_first() {
        let arrivals = Arrivals::default();
        let early = arrivals.end_of(3);
        let late = arrivals.bring(3, arrival().0).unwrap();
        let ending = Ending {
            job: 3,
            outcome: Outcome::Failed,
            saveset: None,
            error: Some(JobError { kind: Kind::Full, message: "no room".into() }),
        };
        arrivals.ended(ending);
        for heard in [early, late] {
            let refusal = heard.borrow().as_ref().unwrap().refusal();
            assert_eq!((refusal.word(), refusal.text.as_str()), ("full", "job 3: no room"));
        }
        assert!(arrivals.slots.lock().is_empty());
    }
}
