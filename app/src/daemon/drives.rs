//! The ports of drives: one listener for each drive of each datastore on this host, opened when
//! the drive appears and closed when it goes.

use std::collections::BTreeMap;
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

/// A port that somebody else has is tried again so often.
const AGAIN: Duration = Duration::from_secs(30);

/// Opens and closes the ports of drives.
pub struct DrivePorts {
    pub device: Arc<Device>,
    pub doors: TransferListener,
    pub door: TlsDoor,
    /// Addresses to listen on; the drive's number is added to each port.
    pub bases: Vec<SocketAddr>,
}

/// An open drive: its listeners, and how to end them.
type Open = Vec<(oneshot::Sender<()>, JoinHandle<()>)>;

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
        let mut open: BTreeMap<u32, Open> = BTreeMap::new();
        let mut end = std::pin::pin!(until(ended.clone()));
        loop {
            let wanted = drives.borrow_and_update().clone();
            let gone: Vec<u32> =
                open.keys().filter(|drive| !wanted.contains(drive)).copied().collect();
            for drive in gone {
                self.device.set_drive_port(drive, None);
                drop(open.remove(&drive));
                tracing::info!(drive, "the port of a drive is closed");
            }
            for drive in wanted {
                if let std::collections::btree_map::Entry::Vacant(place) = open.entry(drive)
                    && let Some(listeners) = self.open(drive, &ended).await
                {
                    place.insert(listeners);
                }
            }
            tokio::select! {
                () = &mut end => break,
                changed = drives.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        for (stop, served) in open.into_values().flatten() {
            drop(stop);
            let _ = served.await;
        }
    }

    /// Listens for one drive at every address; says who is in the way, and goes on without.
    async fn open(&self, drive: u32, ended: &watch::Receiver<bool>) -> Option<Open> {
        let mut opened = Vec::new();
        for base in &self.bases {
            let port = match base.port() {
                0 => Some(0),
                base => {
                    u32::from(base).checked_add(drive).and_then(|port| u16::try_from(port).ok())
                }
            };
            let Some(port) = port else {
                tracing::warn!(drive, "there is no port for a drive of this number");
                continue;
            };
            let listener = match simsim_net::listen(SocketAddr::new(base.ip(), port), &DRIVE).await
            {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::warn!(drive, %error, "the drive has no port of its own");
                    continue;
                }
            };
            let Ok(address) = listener.local_addr() else { continue };
            tracing::info!(row = DRIVE.id, drive, %address, "listening");
            self.device.set_drive_port(drive, Some(address.port()));
            let (stop, stopped) = oneshot::channel::<()>();
            let entrance = Entrance::drive(listener, self.door.clone(), drive);
            let ended = ended.clone();
            let served = self.doors.serve(entrance, async move {
                tokio::select! {
                    _ = stopped => {}
                    () = until(ended) => {}
                }
            });
            opened.push((stop, tokio::spawn(served)));
        }
        (!opened.is_empty()).then_some(opened)
    }
}
