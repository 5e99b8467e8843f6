//! Memory of sessions that write, shared by all of them.
//!
//! What a session keeps in memory are the names of its open pack, and node segments that wait for what
//! they refer to. Both come out of one [`Room`], which the datastores of a device share, so that many
//! sessions together take no more than a few ones. Nobody waits for room: a session that gets none for
//! names seals its pack, which gives all of it back; one that gets none for a node segment is refused
//! it, for a client puts nodes after what they refer to.
//!
//! The formula, for *s* sessions that write: names take at most
//! [`NAME_BYTES`] × ([`NAMES_SHARED`] + [`NAMES_OWN`] × *s*), node segments [`WAITING_BYTES_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::sync::Mutex;

/// What a name of an open pack takes: in the set that answers `has`, and in the list for the index.
pub const NAME_BYTES: usize = 128;
/// Names of open packs, whatever the number of sessions.
pub const NAMES_SHARED: usize = 64 << 10;
/// Names of open packs more for each session.
pub const NAMES_OWN: usize = 512;
/// Node segments of all sessions that wait, with what is known of each.
pub const WAITING_BYTES_MAX: usize = 16 << 20;
/// Those of one session.
pub const WAITING_OF_ONE_BYTES_MAX: usize = 8 << 20;

/// Room for the sessions that write at one device.
#[derive(Debug, Default)]
pub struct Room {
    sessions: AtomicUsize,
    names: Mutex<usize>,
    waiting_bytes: Mutex<usize>,
}

/// What one session, pack or waiting segment takes; given back when dropped.
pub(crate) struct Claim {
    room: Arc<Room>,
    session: bool,
    names: usize,
    waiting_bytes: usize,
}

impl Room {
    fn claim(self: &Arc<Self>) -> Claim {
        Claim { room: Arc::clone(self), session: false, names: 0, waiting_bytes: 0 }
    }

    /// A further session, from now on.
    pub(crate) fn session(self: &Arc<Self>) -> Claim {
        self.sessions.fetch_add(1, Relaxed);
        let mut claim = self.claim();
        claim.session = true;
        claim
    }

    /// Room for names of an open pack; grows with [`Claim::add_names`].
    pub(crate) fn pack(self: &Arc<Self>) -> Claim {
        self.claim()
    }

    /// Room for a node segment, if there is any.
    pub(crate) fn waiting(self: &Arc<Self>, bytes: usize) -> Option<Claim> {
        let mut taken = self.waiting_bytes.lock();
        if taken.saturating_add(bytes) > WAITING_BYTES_MAX {
            return None;
        }
        *taken += bytes;
        drop(taken);
        let mut claim = self.claim();
        claim.waiting_bytes = bytes;
        Some(claim)
    }

    /// Names of open packs now.
    pub fn names(&self) -> usize {
        *self.names.lock()
    }

    /// Bytes of node segments that wait now.
    pub fn waiting_bytes(&self) -> usize {
        *self.waiting_bytes.lock()
    }
}

impl Claim {
    /// Counts names of a pack. False where there is no more room: the pack is to be sealed now.
    pub(crate) fn add_names(&mut self, names: usize) -> bool {
        let mut taken = self.room.names.lock();
        *taken += names;
        self.names += names;
        *taken <= NAMES_SHARED + NAMES_OWN * self.room.sessions.load(Relaxed)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.session {
            self.room.sessions.fetch_sub(1, Relaxed);
        }
        if self.names > 0 {
            *self.room.names.lock() -= self.names;
        }
        if self.waiting_bytes > 0 {
            *self.room.waiting_bytes.lock() -= self.waiting_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_bring_room_and_what_is_dropped_comes_back() {
        let room = Arc::new(Room::default());
        let first = room.session();
        let mut pack = room.pack();
        assert!(pack.add_names(NAMES_SHARED + NAMES_OWN));
        let mut other = room.pack();
        assert!(!other.add_names(1), "one more than there is room for");
        let second = room.session();
        assert!(other.add_names(NAMES_OWN - 1));
        drop(pack);
        assert_eq!(room.names(), NAMES_OWN);
        let waiting = room.waiting(WAITING_BYTES_MAX).unwrap();
        assert!(room.waiting(1).is_none());
        drop((waiting, other, first, second));
        assert_eq!((room.names(), room.waiting_bytes()), (0, 0));
        assert!(room.waiting(1).is_some());
    }
}
