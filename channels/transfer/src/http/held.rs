//! A request whose bytes wait, for the rate limits of the device or for its memory.
//!
//! It stands still on purpose, and must not look dead: to the connection it counts as moving, to the
//! client's pings it says that it is held, and a transfer that was revoked meanwhile does not wait on.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use super::answer::{Caller, LOOK_INTERVAL};
use super::listener::Device;
use super::session::{AtWork, BODIES_KIB_MAX, Coming, Session};
use super::watch::Moved;
use crate::Verb;
use crate::throttle::{GaveUp, Pass};

pub(crate) struct Held {
    device: Arc<Device>,
    session: Arc<Session>,
    pass: Option<Pass>,
    moved: Arc<Moved>,
    coming: Coming,
    looked: Instant,
    /// While a reply waits its session is not idle.
    at_work: Option<AtWork>,
}

impl Held {
    /// Pings and farewells are never held.
    pub fn new(
        device: &Arc<Device>,
        caller: &Caller,
        session: &Arc<Session>,
        verb: Verb,
        number: u64,
    ) -> Self {
        let pass = match verb {
            Verb::Ping | Verb::Close | Verb::Abort => None,
            _ => device.handler.pass(&session.ticket.transfer, caller.ip),
        };
        Self {
            device: Arc::clone(device),
            session: Arc::clone(session),
            pass,
            moved: Arc::clone(&caller.moved),
            coming: Coming::new(session, number),
            looked: Instant::now(),
            at_work: None,
        }
    }

    /// From here on it is the reply that is held; `None` where it never is.
    pub fn reply(mut self) -> Option<Self> {
        self.pass.as_ref()?;
        self.coming = Coming::new(&self.session, self.coming.number());
        self.at_work = Some(self.session.begin());
        Some(self)
    }

    /// Bytes came that nobody has proved to be genuine yet.
    pub fn came(&self) {
        self.coming.add(1);
    }

    /// Of a body that goes out now, how much at once; `None`: nothing holds it.
    pub fn piece_bytes(&self) -> Option<usize> {
        self.pass.as_ref()?.piece_bytes()
    }

    fn is_over(&mut self) -> bool {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return false;
        }
        self.looked = Instant::now();
        self.session.is_ended()
            || self.device.handler.ticket(&self.session.ticket.transfer).is_none()
    }

    /// Waits until these bytes may go on. Errors: the transfer is over.
    pub async fn wait(&mut self, bytes: usize) -> Result<(), GaveUp> {
        let Some(pass) = self.pass.clone().filter(|pass| pass.rate().is_some()) else {
            self.coming.add(bytes);
            return if self.is_over() { Err(GaveUp) } else { Ok(()) };
        };
        self.coming.tell(0, true);
        pass.hold(bytes, |piece| {
            self.moved.mark();
            self.coming.tell(piece, true);
            !self.is_over()
        })
        .await
    }

    /// Where a limit counts now: waits until no other large body of the transfer is on its way.
    pub async fn turn(&mut self) -> Result<Option<OwnedMutexGuard<()>>, GaveUp> {
        if self.pass.as_ref().and_then(Pass::rate).is_none() {
            return Ok(None);
        }
        let turn = Arc::clone(&self.session.turn).lock_owned();
        Ok(Some(self.stand(turn).await?))
    }

    /// Waits until there is memory for the body: first of what its transfer may take, then of what all
    /// may. Who has both needs nothing more to come to its end.
    pub async fn memory(&mut self, kib: u32) -> Result<[OwnedSemaphorePermit; 2], GaveUp> {
        let share = Arc::clone(&self.session.memory);
        let share = self.stand(permits(share, kib.min(BODIES_KIB_MAX))).await?;
        let all = permits(Arc::clone(&self.device.memory), kib.min(self.device.memory_kib));
        Ok([share, self.stand(all).await?])
    }

    async fn stand<T>(&mut self, turn: impl Future<Output = T>) -> Result<T, GaveUp> {
        let mut turn = std::pin::pin!(turn);
        loop {
            self.moved.mark();
            self.coming.tell(0, true);
            if let Ok(mine) = tokio::time::timeout(LOOK_INTERVAL, &mut turn).await {
                return Ok(mine);
            }
            if self.is_over() {
                return Err(GaveUp);
            }
        }
    }
}

/// Of a pool that is never closed.
async fn permits(pool: Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    match pool.acquire_many_owned(count).await {
        Ok(permits) => permits,
        Err(_) => std::future::pending().await,
    }
}
