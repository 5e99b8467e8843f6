//! Measures a data port over loopback, both ends in one process, with a device in memory; `ftp` as
//! argument takes FTP in passive mode instead of HTTP:
//! `put` and `get` of 1 MiB segments per CPU-second, and the round trip of `has` with 1000 names.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use simsim_model::{
    BackupSession, CommitReply, Direction, DomainId, Kind, ManifestDraft, Name, RestoreSession,
    SavesetId, Secret, SegmentPlace, SessionError, StoreId, StoreTerms, Ticket, TransferId,
};
use simsim_net::tls::Pin;
use simsim_transfer::{
    DataPorts, Entrance, FtpListener, FtpOptions, FtpWay, HttpTransfer, ListenOptions, Route,
    TransferHandler, TransferListener,
};

const SEGMENT_BYTES: usize = 1 << 20;
const ROUNDS: u64 = 2048;
const PLACES: usize = 16;

struct Device {
    ticket: Ticket,
    last: Arc<Mutex<HashMap<u64, Bytes>>>,
}

#[derive(Clone)]
struct Desk(Arc<Mutex<HashMap<u64, Bytes>>>);

fn no<T>() -> Result<T, SessionError> {
    Err(SessionError::new(Kind::Invalid, "not measured"))
}

impl TransferHandler for Device {
    fn ticket(&self, _: &TransferId) -> Option<Ticket> {
        Some(self.ticket.clone())
    }
    fn knows(&self, _: &TransferId, _: &Pin) -> bool {
        true
    }
    fn opened(&self, _: &TransferId) -> Result<(), SessionError> {
        Ok(())
    }
    fn backup(&self, _: &TransferId) -> Result<Arc<dyn BackupSession>, SessionError> {
        Ok(Arc::new(Desk(Arc::clone(&self.last))))
    }
    fn restore(&self, _: &TransferId) -> Result<Arc<dyn RestoreSession>, SessionError> {
        Ok(Arc::new(Desk(Arc::clone(&self.last))))
    }
    fn stream_put(&self, _: &TransferId, _: &mut dyn Read) -> Result<u64, SessionError> {
        no()
    }
    fn stream_get(&self, _: &TransferId, _: u64) -> Result<Box<dyn Read + Send>, SessionError> {
        no()
    }
    fn waits(&self, _: &TransferId) {}
    fn heard(&self, _: &TransferId) {}
    fn closed(&self, _: &TransferId) {}
    fn aborted(&self, _: &TransferId, _: &str) {}
}

impl BackupSession for Desk {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        no()
    }
    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        Ok(names.iter().map(|name| name.0[0] & 1 == 1).collect())
    }
    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        self.0
            .lock()
            .map_err(|_| SessionError::new(Kind::Internal, "lock"))?
            .insert(number % 4, segment);
        Ok(())
    }
    fn commit(&self, _: &ManifestDraft) -> Result<CommitReply, SessionError> {
        no()
    }
}

impl RestoreSession for Desk {
    fn manifest(&self, _: SavesetId) -> Result<Bytes, SessionError> {
        no()
    }
    fn locate(&self, _: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        no()
    }
    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        let held = self.0.lock().map_err(|_| SessionError::new(Kind::Internal, "lock"))?;
        Ok(places.iter().map(|place| held.get(&place.offset).cloned()).collect())
    }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn measure(what: &str, work: impl FnOnce()) {
    let (wall, before) = (Instant::now(), cpu());
    work();
    let (wall, used) = (wall.elapsed().as_secs_f64(), (cpu() - before).as_secs_f64());
    let gb = ROUNDS as f64 * SEGMENT_BYTES as f64 / 1e9;
    println!("{what}: {:.2} GB/s, {:.2} GB per CPU-second of both ends", gb / wall, gb / used);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let ticket = Ticket {
        transfer: TransferId([4; 16]),
        job: 1,
        client: "bench".into(),
        drive: 0,
        store: StoreId([1; 16]),
        domain: DomainId([2; 16]),
        direction: Direction::Backup,
        bytes_max: 0,
        expires_unix_s: now + 60,
        secret: Secret([8; 32]),
        saveset: SavesetId([9; 16]),
    };
    let device = Device { ticket: ticket.clone(), last: Arc::default() };
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?.to_string();
    let options = ListenOptions::default();
    let door = TransferListener::new(Arc::new(device), options);
    let route = match std::env::args().nth(1).as_deref() {
        Some("ftp") => {
            let ftp = FtpListener::new(door, DataPorts::any(1), None, FtpOptions::default());
            runtime.spawn(ftp.serve(listener, std::future::pending()));
            Route::ftp(vec![address], FtpWay::passive())
        }
        _ => {
            runtime.spawn(door.serve(Entrance::http(listener), std::future::pending()));
            Route::http(vec![address])
        }
    };
    let routes = vec![route];
    let transfer = HttpTransfer::open(runtime.handle().clone(), routes, ticket)?;

    let segment = Bytes::from(vec![0x5a; SEGMENT_BYTES]);
    for threads in [1, 2, 4] {
        measure(&format!("put, {threads} threads"), || {
            std::thread::scope(|scope| {
                for worker in 0..threads {
                    let (transfer, segment) = (&transfer, &segment);
                    scope.spawn(move || {
                        for at in (worker..ROUNDS).step_by(threads as usize) {
                            let put = transfer.put(at + ROUNDS * (threads / 2), segment.clone());
                            assert_eq!(put, Ok(()));
                        }
                    });
                }
            });
        });
    }
    let place = SegmentPlace { pack: Name([0; 32]), offset: 0, length: SEGMENT_BYTES as u32 };
    let places = [place; PLACES];
    for threads in [1, 2] {
        measure(&format!("get of {PLACES} segments, {threads} threads"), || {
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        for _ in 0..ROUNDS as usize / PLACES / threads {
                            let got = transfer.get(&places).map(|got| got.len());
                            assert_eq!(got, Ok(PLACES));
                        }
                    });
                }
            });
        });
    }
    let names = vec![Name([3; 32]); 1000];
    let mut times: Vec<_> = (0..4000)
        .map(|_| {
            let begun = Instant::now();
            assert!(transfer.has(&names).is_ok());
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("has of 1000 names: median {:?}, 99 of 100 within {:?}", times[2000], times[3960]);
    transfer.close()?;
    Ok(())
}
