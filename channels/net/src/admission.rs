//! Admission of strangers: how many connections may be open that have not proved who they are.
//!
//! Two ways to hold the same limits. [`Admission::admit`] refuses the newcomer when a limit is
//! reached. [`Admission::admit_newest`] lets the newcomer in and gives up the oldest stranger
//! instead: whoever opens connections and then says nothing cannot keep an enrolled peer out,
//! because a real log-in takes milliseconds.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use simsim_model::limits;
use tokio::sync::watch;

/// The waiting room of one or more listeners. Clones share it.
#[derive(Debug, Clone)]
pub struct Admission {
    room: Arc<Mutex<Room>>,
    per_address_max: usize,
    total_max: usize,
}

#[derive(Debug, Default)]
struct Room {
    next: u64,
    /// By ticket number, so the first is the oldest.
    strangers: BTreeMap<u64, Stranger>,
}

#[derive(Debug)]
struct Stranger {
    from: IpAddr,
    evict: watch::Sender<bool>,
}

/// A place in the waiting room; given back when dropped or [`Admitted::authenticated`].
#[derive(Debug)]
pub struct Admitted {
    room: Arc<Mutex<Room>>,
    number: u64,
    evicted: watch::Receiver<bool>,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new()
    }
}

impl Admission {
    /// With the limits of `simsim_model::limits`: 8 per address, 256 in all.
    pub fn new() -> Self {
        Self::with_limits(
            limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX,
            limits::UNAUTHENTICATED_CONNECTIONS_MAX,
        )
    }

    /// With lower limits; higher ones are cut to those of the model.
    pub fn with_limits(per_address_max: usize, total_max: usize) -> Self {
        Self {
            room: Arc::default(),
            per_address_max: per_address_max
                .min(limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX),
            total_max: total_max.min(limits::UNAUTHENTICATED_CONNECTIONS_MAX),
        }
    }

    /// A place for a connection from `peer`, or `None` when its address or the room is full.
    pub fn admit(&self, peer: IpAddr) -> Option<Admitted> {
        let from = origin(peer);
        let mut room = lock(&self.room);
        if room.strangers.len() >= self.total_max || room.count(from) >= self.per_address_max {
            return None;
        }
        Some(room.enter(&self.room, from))
    }

    /// A place for a connection from `peer`. Where a limit is reached, the oldest stranger (of the
    /// same address, or of the address that has most) loses its place: the owner of that
    /// connection must watch [`Admitted::evicted`] and close it.
    pub fn admit_newest(&self, peer: IpAddr) -> Admitted {
        let from = origin(peer);
        let mut room = lock(&self.room);
        while room.count(from) >= self.per_address_max && room.evict_oldest_of(from) {}
        while room.strangers.len() >= self.total_max {
            let Some(busiest) = room.busiest() else { break };
            room.evict_oldest_of(busiest);
        }
        room.enter(&self.room, from)
    }

    /// Strangers in the room now.
    pub fn strangers(&self) -> usize {
        lock(&self.room).strangers.len()
    }
}

impl Admitted {
    /// The peer has proved who it is: the place is free for the next stranger.
    pub fn authenticated(self) {}

    /// As [`Admitted::evicted`], for who does not keep the place itself.
    pub fn eviction(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut evicted = self.evicted.clone();
        async move {
            if evicted.wait_for(|evicted| *evicted).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Resolves when the place was given to someone else. Never resolves otherwise.
    pub async fn evicted(&self) {
        self.eviction().await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.room).strangers.remove(&self.number);
    }
}

impl Room {
    fn count(&self, from: IpAddr) -> usize {
        self.strangers.values().filter(|stranger| stranger.from == from).count()
    }

    fn enter(&mut self, room: &Arc<Mutex<Room>>, from: IpAddr) -> Admitted {
        let number = self.next;
        self.next += 1;
        let (evict, evicted) = watch::channel(false);
        self.strangers.insert(number, Stranger { from, evict });
        Admitted { room: Arc::clone(room), number, evicted }
    }

    fn evict_oldest_of(&mut self, from: IpAddr) -> bool {
        let oldest = self.strangers.iter().find(|(_, stranger)| stranger.from == from);
        let Some(number) = oldest.map(|(number, _)| *number) else { return false };
        if let Some(stranger) = self.strangers.remove(&number) {
            stranger.evict.send_replace(true);
        }
        true
    }

    /// The address with most strangers; of equals the one that came first.
    fn busiest(&self) -> Option<IpAddr> {
        let mut counts: Vec<(IpAddr, usize)> = Vec::new();
        for stranger in self.strangers.values() {
            match counts.iter_mut().find(|(from, _)| *from == stranger.from) {
                Some((_, count)) => *count += 1,
                None => counts.push((stranger.from, 1)),
            }
        }
        let most = counts.iter().map(|(_, count)| *count).max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(from, _)| from)
    }
}

/// What counts as one address: an IPv4 address also when it comes in IPv6 form, and the /64 of an
/// IPv6 address, because one host has all of it.
fn origin(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            if address.is_loopback() {
                IpAddr::V6(address)
            } else {
                IpAddr::V6(Ipv6Addr::from(network))
            }
        }
        v4 => v4,
    }
}

fn lock(room: &Mutex<Room>) -> MutexGuard<'_, Room> {
    // No holder of the lock leaves the map half changed.
    room.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    #[test]
    fn one_past_each_limit_is_refused_and_a_place_comes_back() {
        let admission = Admission::new();
        let mut places: Vec<_> = (0..8).map(|_| admission.admit(v4(1)).unwrap()).collect();
        assert!(admission.admit(v4(1)).is_none());
        assert!(admission.admit("::ffff:10.0.0.1".parse().unwrap()).is_none());
        places.pop().unwrap().authenticated();
        let again = admission.admit(v4(1)).unwrap();
        places.push(again);
        for n in 2..=249 {
            places.push(admission.admit(v4(n)).unwrap());
        }
        assert_eq!(admission.strangers(), 256);
        assert!(admission.admit(v4(9999)).is_none());
        places.clear();
        assert_eq!(admission.strangers(), 0);
        assert!(admission.admit(v4(9999)).is_some());
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let admission = Admission::with_limits(2, 10);
        let _a = admission.admit("2001:db8:0:1::1".parse().unwrap()).unwrap();
        let _b = admission.admit("2001:db8:0:1:ffff::2".parse().unwrap()).unwrap();
        assert!(admission.admit("2001:db8:0:1:1::3".parse().unwrap()).is_none());
        assert!(admission.admit("2001:db8:0:2::3".parse().unwrap()).is_some());
    }

    #[tokio::test]
    async fn the_newest_comes_in_and_the_oldest_of_the_busiest_address_is_told() {
        let admission = Admission::with_limits(2, 3);
        let first = admission.admit_newest(v4(1));
        let second = admission.admit_newest(v4(1));
        let other = admission.admit_newest(v4(2));
        let third = admission.admit_newest(v4(3));
        tokio::time::timeout(Duration::from_secs(5), first.evicted()).await.unwrap();
        assert_eq!(admission.strangers(), 3);
        let quick = Duration::from_millis(20);
        for kept in [&second, &other, &third] {
            assert!(tokio::time::timeout(quick, kept.evicted()).await.is_err());
        }
        drop(first);
        assert_eq!(admission.strangers(), 3, "an evicted guard gives nothing back twice");
    }
}
