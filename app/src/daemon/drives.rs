//! The ports of drives: one listener for each drive of each datastore on this host and each address
//! of `listen.drive`, opened when the drive appears and closed when it goes.
//!
//! One that cannot be had is tried again, by itself: the others work meanwhile. Why it cannot is said
//! once, and again only when the reason becomes another one. What is open is told to the device, which
//! names it in its grants, and stands in the lock file, for `simsim ports list` and `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simsim_device::Device;
use simsim_model::port_registry::DRIVE;
use simsim_net::tls::{Peers, TlsDoor};
use simsim_transfer::{Entrance, TransferListener};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::compose::until;
use crate::state::{HeldPort, LockHandle};

/// A port that somebody else has is tried again so often.
const AGAIN: Duration = Duration::from_secs(30);

/// A drive, and the place of an address among the bases.
type Key = (u32, usize);

/// Opens and closes the ports of drives.
pub struct DrivePorts {
    pub device: Arc<Device>,
    pub doors: TransferListener,
    pub door: TlsDoor,
    /// Addresses to listen on; the drive's number is added to each port.
    pub bases: Vec<SocketAddr>,
    pub lock: LockHandle,
}

/// An open port of a drive, and how to end it.
struct Open {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// The base of whose ports others are told: the first that they can reach, else the first.
pub fn first_base(bases: &[SocketAddr]) -> Option<SocketAddr> {
    bases.iter().find(|base| !base.ip().is_loopback()).or(bases.first()).copied()
}

/// A drive's address: its number is added to the port of a base; 0 stays 0, any free one.
///
/// `None` where there is no such port.
pub fn at_base(base: SocketAddr, drive: u32) -> Option<SocketAddr> {
    let port = match base.port() {
        0 => 0,
        port => u32::from(port).checked_add(drive).and_then(|port| u16::try_from(port).ok())?,
    };
    Some(SocketAddr::new(base.ip(), port))
}

impl DrivePorts {
    /// The door of the ports of drives: only hosts that a grant names come in.
    pub fn door(
        identity: &simsim_net::tls::TlsIdentity,
        device: &Arc<Device>,
    ) -> Result<TlsDoor, simsim_net::tls::TlsError> {
        let device = Arc::clone(device);
        TlsDoor::new(identity, Peers::Known(Arc::new(move |key| device.expects(key))))
    }

    /// Keeps the ports as the drives are, until the end.
    pub async fn keep(self, ended: watch::Receiver<bool>) {
        let mut drives = self.device.drives();
        let mut open: BTreeMap<Key, Open> = BTreeMap::new();
        let mut troubles = Troubles::default();
        let mut end = std::pin::pin!(until(ended.clone()));
        loop {
            let wanted: BTreeSet<u32> = drives.borrow_and_update().iter().copied().collect();
            self.close(&wanted, &mut open);
            troubles.keep(&wanted);
            self.open_missing(&wanted, &mut open, &mut troubles, &ended).await;
            self.tell(&wanted, &open);
            tokio::select! {
                () = &mut end => break,
                changed = drives.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        for one in open.into_values() {
            drop(one.stop);
            let _ = one.served.await;
        }
    }

    fn close(&self, wanted: &BTreeSet<u32>, open: &mut BTreeMap<Key, Open>) {
        let gone: BTreeSet<u32> =
            open.keys().map(|(drive, _)| *drive).filter(|drive| !wanted.contains(drive)).collect();
        for drive in gone {
            self.device.set_drive_port(drive, None);
            // Who drops the ends closes the listeners.
            open.retain(|(of, _), _| *of != drive);
            tracing::info!(drive, "the port of a drive is closed");
        }
    }

    /// Tries what is not open; says who is in the way, and goes on without.
    async fn open_missing(
        &self,
        wanted: &BTreeSet<u32>,
        open: &mut BTreeMap<Key, Open>,
        troubles: &mut Troubles,
        ended: &watch::Receiver<bool>,
    ) {
        for &drive in wanted {
            for (place, base) in self.bases.iter().enumerate() {
                if open.contains_key(&(drive, place)) {
                    continue;
                }
                match self.listen(drive, *base, ended).await {
                    Ok(one) => {
                        troubles.over((drive, place));
                        let address = one.address;
                        tracing::info!(row = DRIVE.id, drive, %address, "listening");
                        open.insert((drive, place), one);
                    }
                    Err(why) => troubles.say((drive, place), *base, why),
                }
            }
        }
    }

    async fn listen(
        &self,
        drive: u32,
        base: SocketAddr,
        ended: &watch::Receiver<bool>,
    ) -> Result<Open, String> {
        let address = at_base(base, drive).ok_or("there is no port for a drive of this number")?;
        let listener =
            simsim_net::listen(address, &DRIVE).await.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel::<()>();
        let entrance = Entrance::drive(listener, self.door.clone(), drive);
        let ended = ended.clone();
        let served = self.doors.serve(entrance, async move {
            tokio::select! {
                _ = stopped => {}
                () = until(ended) => {}
            }
        });
        Ok(Open { address, stop, served: tokio::spawn(served) })
    }

    /// Of several ports of a drive the device names the first that others can reach.
    fn tell(&self, wanted: &BTreeSet<u32>, open: &BTreeMap<Key, Open>) {
        for &drive in wanted {
            let of_drive = || open.range((drive, 0)..=(drive, usize::MAX)).map(|(_, one)| one);
            let beyond = of_drive().find(|one| !one.address.ip().is_loopback());
            let port = beyond.or_else(|| of_drive().next()).map(|one| one.address.port());
            self.device.set_drive_port(drive, port);
        }
        let held =
            |one: &Open| HeldPort { row: DRIVE.id.to_owned(), address: one.address.to_string() };
        self.lock.set_drives(open.values().map(held).collect());
    }
}

/// What was said already.
#[derive(Default)]
struct Troubles(BTreeMap<Key, String>);

impl Troubles {
    fn keep(&mut self, wanted: &BTreeSet<u32>) {
        self.0.retain(|(drive, _), _| wanted.contains(drive));
    }

    fn over(&mut self, key: Key) {
        self.0.remove(&key);
    }

    /// Whether it is news.
    fn is_new(&mut self, key: Key, why: &str) -> bool {
        self.0.insert(key, why.to_owned()).as_deref() != Some(why)
    }

    fn say(&mut self, key: Key, base: SocketAddr, why: String) {
        if self.is_new(key, &why) {
            let again = AGAIN.as_secs();
            tracing::warn!(drive = key.0, %base, why, "a drive has no port here; it is tried again every {again} s");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_until_it_is_another_one_or_over() {
        let mut troubles = Troubles::default();
        assert!(troubles.is_new((1, 0), "taken"));
        assert!(!troubles.is_new((1, 0), "taken"), "every half minute the same");
        assert!(troubles.is_new((1, 1), "taken"), "another address");
        assert!(troubles.is_new((1, 0), "not allowed"));
        troubles.over((1, 0));
        assert!(troubles.is_new((1, 0), "not allowed"));
        troubles.keep(&BTreeSet::from([2]));
        assert!(troubles.is_new((1, 1), "taken"), "the drive went and came back");
    }

    #[test]
    fn the_number_is_added_to_the_port_and_others_are_told_of_what_they_can_reach() {
        let base = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(at_base(base("[::]:12000"), 7), Some(base("[::]:12007")));
        assert_eq!(at_base(base("[::]:0"), 7), Some(base("[::]:0")));
        assert_eq!(at_base(base("[::]:65530"), 7), None);
        let bases = [base("127.0.0.1:7"), base("[::]:8")];
        assert_eq!(first_base(&bases), Some(bases[1]));
        assert_eq!(first_base(&bases[..1]), Some(bases[0]));
        assert_eq!(first_base(&[]), None);
    }
}
