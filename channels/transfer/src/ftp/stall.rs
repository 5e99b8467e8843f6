//! Raw streams whose line broke, kept for those who come back at once.
//!
//! A stream that broke off keeps its job and its place on a drive for a while. Whoever shows the same
//! secret meanwhile may go on where it was: SIZE says where, then APPE, or REST and STOR. Nobody came:
//! it is given up, and nothing of it is kept. One that is begun anew, or given up by ABOR, does not wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::gate::{SecretText, StreamSink, TOKEN_PREFIX};

/// Streams that wait at a door; a further one is given up at once.
const STALLS_MAX: usize = 64;

/// Whose stream: found by the secret, without keeping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct StallKey {
    secret: [u8; 32],
    /// The secret opens the door more than once.
    comes_back: bool,
}

impl StallKey {
    pub(crate) fn of(secret: &SecretText) -> Self {
        let text = secret.reveal();
        Self {
            secret: blake3::derive_key(
                "simsim transfer v1: raw streams that broke off",
                text.as_bytes(),
            ),
            comes_back: text.starts_with(TOKEN_PREFIX),
        }
    }

    /// Who holds this secret can log in again; with a one-time ticket nobody can.
    pub(crate) fn comes_back(&self) -> bool {
        self.comes_back
    }
}

/// Why nobody can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoStall {
    /// Nothing waits.
    Nothing,
    /// It stands at another byte.
    At(u64),
}

/// The streams that wait at one door. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Stalls {
    table: Arc<Mutex<HashMap<(StallKey, String), Stall>>>,
    next: Arc<AtomicU64>,
}

struct Stall {
    number: u64,
    offset: u64,
    /// Where the stream is to be given; dropped: it is given up.
    wanted: oneshot::Sender<oneshot::Sender<Box<dyn StreamSink>>>,
}

impl Stalls {
    /// Keeps a stream for so long. One that waits already under this name is given up.
    pub(crate) async fn keep(
        &self,
        key: StallKey,
        task: &str,
        sink: Box<dyn StreamSink>,
        why: &str,
        within: Duration,
    ) {
        let (wanted, asked) = oneshot::channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let stall = Stall { number, offset: sink.offset(), wanted };
        let whose = (key, task.to_owned());
        let full = {
            let mut table = self.table.lock();
            let full = table.len() >= STALLS_MAX && !table.contains_key(&whose);
            if !full {
                table.insert(whose.clone(), stall);
            }
            full
        };
        if full {
            return sink.abort(why).await;
        }
        let (stalls, why) = (self.clone(), why.to_owned());
        tokio::spawn(async move {
            stalls.hold(whose, number, sink, asked, (&why, within)).await;
        });
    }

    async fn hold(
        &self,
        whose: (StallKey, String),
        number: u64,
        mut sink: Box<dyn StreamSink>,
        asked: oneshot::Receiver<oneshot::Sender<Box<dyn StreamSink>>>,
        (why, within): (&str, Duration),
    ) {
        let claimed = tokio::select! {
            asked = asked => asked.ok(),
            // It was ended from the other side, which knows why.
            _ = sink.over() => None,
            () = tokio::time::sleep(within) => None,
        };
        // A claim takes it out by itself.
        {
            let mut table = self.table.lock();
            if table.get(&whose).is_some_and(|there| there.number == number) {
                table.remove(&whose);
            }
        }
        let left = match claimed {
            Some(to) => to.send(sink).err(),
            None => Some(sink),
        };
        if let Some(sink) = left {
            sink.abort(why).await;
        }
    }

    /// How many bytes of it are there.
    pub(crate) fn offset(&self, key: StallKey, task: &str) -> Option<u64> {
        self.table.lock().get(&(key, task.to_owned())).map(|stall| stall.offset)
    }

    /// Takes it out, to go on at this byte, or wherever it stands.
    pub(crate) async fn go_on(
        &self,
        key: StallKey,
        task: &str,
        at: Option<u64>,
    ) -> Result<Box<dyn StreamSink>, NoStall> {
        let whose = (key, task.to_owned());
        let stall = {
            let mut table = self.table.lock();
            match table.get(&whose) {
                None => return Err(NoStall::Nothing),
                Some(stall) if at.is_some_and(|at| at != stall.offset) => {
                    return Err(NoStall::At(stall.offset));
                }
                Some(_) => table.remove(&whose).ok_or(NoStall::Nothing)?,
            }
        };
        let (give, given) = oneshot::channel();
        stall.wanted.send(give).map_err(|_| NoStall::Nothing)?;
        given.await.map_err(|_| NoStall::Nothing)
    }

    /// Its holder has gone and cannot come back.
    pub(crate) fn forget(&self, key: StallKey) {
        self.table.lock().retain(|(holder, _), _| *holder != key);
    }

    /// Gives up what waits: it is begun anew.
    pub(crate) fn give_up(&self, key: StallKey, task: &str) {
        self.table.lock().remove(&(key, task.to_owned()));
    }
}
