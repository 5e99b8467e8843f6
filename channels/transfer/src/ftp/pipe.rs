//! The device's end of a pipe: two data connections, of two control connections, that together are
//! one wire. Upon it lies a multiplexer, whose streams go into the device as those of any other
//! door.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use simsim_model::TransferId;
use simsim_net::BoxedWire;
use simsim_net::mux::{Mux, MuxLimits, MuxWatch, Side};
use tokio::sync::{OnceCell, mpsc, watch};

use super::login::{Half, PipeId};
use super::ports::{DataPorts, Pair};
use crate::Brought;

/// Pipes at the same time, those that wait for ports included.
const PIPES_MAX: usize = 1024;

/// How often a pipe that waits looks who is before it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The pipes of a door.
#[derive(Clone, Default)]
pub(crate) struct Pipes {
    table: Arc<Mutex<HashMap<PipeId, Weak<Pipe>>>>,
}

/// How a pipe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The client closed it.
    InOrder,
    /// It broke, or was given up.
    Broken,
}

pub(crate) struct Pipe {
    pub(crate) transfer: TransferId,
    /// The ticket was good when it was proved: what the pipe waits for does not make it late.
    pub(crate) in_time: bool,
    from: IpAddr,
    /// Of the range, in passive mode: both halves have the same.
    pair: OnceCell<Pair>,
    /// How many transfers get their ports before this one.
    before: AtomicUsize,
    halves: Mutex<Halves>,
    over: watch::Sender<Option<Over>>,
}

#[derive(Default)]
struct Halves {
    claimed: [bool; 2],
    up: Option<BoxedWire>,
    down: Option<BoxedWire>,
    running: Option<MuxWatch>,
}

impl Pipes {
    /// One half of a pipe, for a control connection that has proved the ticket. The pipe is there
    /// as long as one of its halves is.
    pub(crate) fn join(
        &self,
        id: PipeId,
        half: Half,
        transfer: TransferId,
        from: IpAddr,
        in_time: bool,
    ) -> Result<Arc<Pipe>, &'static str> {
        let mut table = self.table.lock();
        if table.len() >= PIPES_MAX {
            table.retain(|_, pipe| pipe.strong_count() > 0);
            if table.len() >= PIPES_MAX {
                return Err("too many transfers at once: try again later");
            }
        }
        let from = from.to_canonical();
        let pipe = match table.entry(id) {
            Entry::Occupied(mut place) => match place.get().upgrade() {
                Some(pipe) => pipe,
                None => {
                    let pipe = Arc::new(Pipe::new(transfer, from, in_time));
                    place.insert(Arc::downgrade(&pipe));
                    pipe
                }
            },
            Entry::Vacant(place) => {
                let pipe = Arc::new(Pipe::new(transfer, from, in_time));
                place.insert(Arc::downgrade(&pipe));
                pipe
            }
        };
        drop(table);
        if pipe.transfer != transfer || pipe.from != from {
            return Err("the other half of it is somebody else's");
        }
        let mut halves = pipe.halves.lock();
        match halves.claimed.get_mut(half as usize) {
            Some(claimed) if !*claimed => *claimed = true,
            _ => return Err("this half is there already"),
        }
        drop(halves);
        Ok(pipe)
    }

    /// Forgets one that nobody has any more.
    pub(crate) fn forget(&self, id: PipeId) {
        let mut table = self.table.lock();
        if table.get(&id).is_some_and(|pipe| pipe.strong_count() == 0) {
            table.remove(&id);
        }
    }
}

impl Pipe {
    fn new(transfer: TransferId, from: IpAddr, in_time: bool) -> Self {
        let (over, _) = watch::channel(None);
        Self {
            transfer,
            in_time,
            from,
            pair: OnceCell::new(),
            before: AtomicUsize::new(0),
            halves: Mutex::default(),
            over,
        }
    }

    /// The data connection of one half is there. With the second one the pipe begins to work: its
    /// streams go to `bring`.
    pub(crate) fn bring(
        self: &Arc<Self>,
        half: Half,
        wire: BoxedWire,
        limits: &MuxLimits,
        bring: &mpsc::Sender<Brought>,
    ) {
        let mut halves = self.halves.lock();
        if self.over.borrow().is_some() {
            return;
        }
        match half {
            Half::Up => halves.up = Some(wire),
            Half::Down => halves.down = Some(wire),
        }
        let (up, down) = match (halves.up.take(), halves.down.take()) {
            (Some(up), Some(down)) => (up, down),
            // One alone waits for the other.
            (up, down) => {
                (halves.up, halves.down) = (up, down);
                return;
            }
        };
        let wire = Box::new(tokio::io::join(up, down));
        let (handle, mut streams) = Mux::new(wire, Side::Listener, limits.clone());
        let running = handle.watch();
        halves.running = Some(running.clone());
        drop(halves);
        let (pipe, bring) = (Arc::clone(self), bring.clone());
        tokio::spawn(async move {
            // The device opens no streams.
            drop(handle);
            while let Some(wire) = streams.next().await {
                let proved = Some(pipe.transfer).filter(|_| pipe.in_time);
                let brought = Brought { wire, from: pipe.from, proved };
                if bring.send(brought).await.is_err() {
                    break;
                }
            }
            // Who takes streams no more keeps nothing open.
            drop(streams);
            let end = running.ended().await;
            tracing::debug!(transfer = %pipe.transfer.short(), why = end.why, "a pipe ended");
            pipe.end(if end.closed { Over::InOrder } else { Over::Broken });
        });
    }

    /// Waits for a pair of the range and says which port is for this half. May be given up: the other
    /// half goes on waiting.
    pub(crate) async fn port(&self, half: Half, ports: &DataPorts, resumes: bool) -> u16 {
        let wait = || async {
            let mut place = ports.stand_in_line(resumes);
            loop {
                self.before.store(place.before(), Ordering::Relaxed);
                tokio::select! {
                    pair = place.turn() => return pair,
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                }
            }
        };
        let pair = self.pair.get_or_init(wait).await;
        match half {
            Half::Up => pair.first(),
            Half::Down => pair.second(),
        }
    }

    /// How many transfers get their ports before this one, as long as it waits.
    pub(crate) fn before(&self) -> usize {
        self.before.load(Ordering::Relaxed)
    }

    fn end(&self, how: Over) {
        self.over.send_if_modified(|over| {
            let first = over.is_none();
            over.get_or_insert(how);
            first
        });
    }

    /// Gives it up: both halves end.
    pub(crate) fn cut(&self) {
        self.end(Over::Broken);
        let running = {
            let mut halves = self.halves.lock();
            (halves.up, halves.down) = (None, None);
            halves.running.take()
        };
        if let Some(running) = running {
            running.cut();
        }
    }

    /// Waits for its end.
    pub(crate) async fn over(&self) -> Over {
        let mut over = self.over.subscribe();
        let how = over.wait_for(Option::is_some).await;
        how.ok().and_then(|how| *how).unwrap_or(Over::Broken)
    }

    /// Are both halves there?
    pub(crate) fn is_whole(&self) -> bool {
        self.halves.lock().running.is_some()
    }
}
