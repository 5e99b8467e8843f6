//! Events that were heard and wait for whoever made the call: bounded in number for each call, and in
//! bytes for all calls of a session. What does not fit is left out, for the answer has all that
//! counts; so a peer that tells much cannot fill this host's memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::verbs::Event;

/// Events of one call that wait to be looked at.
const EVENTS_MAX: usize = 256;
/// What all events take that wait in one session, in KiB.
const ROOM_KIB: usize = 4 * 1024;

/// The room for events of one session.
pub(super) struct Room(Arc<Semaphore>);

/// Where the events of one call go.
pub(super) type EventsIn = mpsc::Sender<Heard>;

/// One event, and the room that it takes until it is looked at.
pub(super) struct Heard {
    event: Event,
    _room: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KIB)))
    }

    /// Takes in an event that came as so many bytes. It is left out when the queue of its call is
    /// full, or the room of the session.
    pub(super) fn take(&self, queue: &EventsIn, event: Event, bytes: usize) {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.0).try_acquire_many_owned(kib) {
            let _ = queue.try_send(Heard { event, _room: room });
        }
    }
}

/// A queue for the events of a new call.
pub(super) fn queue() -> (EventsIn, mpsc::Receiver<Heard>) {
    mpsc::channel(EVENTS_MAX)
}

impl Heard {
    pub(super) fn look(self) -> Event {
        self.event
    }
}
