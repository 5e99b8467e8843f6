//! Counts wrong tokens and tickets by address, so that nobody tries many.
//!
//! A right secret is never held up by it: who shares an address with an attacker still gets in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Wrong secrets of one address within [`WINDOW`]; more are answered with *too often*.
pub const WRONG_SECRETS_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; the oldest makes way.
const ADDRESSES_MAX: usize = 4096;

/// The wrong secrets of all addresses. An IPv6 /64 is one address.
#[derive(Default)]
pub struct WrongSecrets {
    table: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

/// What a wrong secret is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Refused, and worth a line in an audit.
    Wrong,
    /// One too many: seconds until the next is looked at. `first`: the first of this window.
    TooOften { seconds: u32, first: bool },
}

impl WrongSecrets {
    /// Counts one.
    pub fn count(&self, address: IpAddr) -> Counted {
        self.count_at(address, Instant::now())
    }

    fn count_at(&self, address: IpAddr, now: Instant) -> Counted {
        let mut table = self.table.lock();
        if table.len() >= ADDRESSES_MAX {
            table.retain(|_, (begun, _)| now.duration_since(*begun) < WINDOW);
        }
        if table.len() >= ADDRESSES_MAX
            && let Some(oldest) = table.iter().min_by_key(|(_, (begun, _))| *begun).map(|(a, _)| *a)
        {
            table.remove(&oldest);
        }
        let (begun, wrong) = table.entry(network(address)).or_insert((now, 0));
        if now.duration_since(*begun) >= WINDOW {
            (*begun, *wrong) = (now, 0);
        }
        *wrong = wrong.saturating_add(1);
        if *wrong <= WRONG_SECRETS_MAX {
            return Counted::Wrong;
        }
        let left = WINDOW.saturating_sub(now.duration_since(*begun));
        let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        Counted::TooOften { seconds, first: *wrong == WRONG_SECRETS_MAX + 1 }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_secret_too_many_is_told_apart_and_forgotten_in_time() {
        let wrong = WrongSecrets::default();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let begun = Instant::now();
        for _ in 0..WRONG_SECRETS_MAX {
            assert_eq!(wrong.count_at(one, begun), Counted::Wrong);
        }
        assert_eq!(wrong.count_at(one, begun), Counted::TooOften { seconds: 61, first: true });
        let later = begun + WINDOW / 2;
        assert_eq!(wrong.count_at(one, later), Counted::TooOften { seconds: 31, first: false });
        assert_eq!(wrong.count_at(other, later), Counted::Wrong);
        assert_eq!(wrong.count_at(one, begun + WINDOW), Counted::Wrong);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_the_table_is_bounded() {
        let wrong = WrongSecrets::default();
        let now = Instant::now();
        for n in 0..u128::from(WRONG_SECRETS_MAX) {
            let address = IpAddr::V6((0x2001_0db8_u128 << 96 | n).into());
            assert_eq!(wrong.count_at(address, now), Counted::Wrong);
        }
        let address = IpAddr::V6((0x2001_0db8_u128 << 96 | 0xffff).into());
        assert!(matches!(wrong.count_at(address, now), Counted::TooOften { .. }));
        for n in 0..ADDRESSES_MAX as u32 * 2 {
            wrong.count_at(IpAddr::V4((0x0a00_0000 + n).into()), now);
        }
        assert!(wrong.table.lock().len() <= ADDRESSES_MAX);
    }
}
