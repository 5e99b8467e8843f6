//! A device in memory: what it holds, and what it was told.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use simsim_model::{
    BackupSession, CommitReply, CutParameters, Kind, ManifestDraft, Name, RestoreSession,
    SavesetId, SegmentPlace, SessionError, StoreTerms, Ticket, TransferId,
};
use simsim_net::tls::Pin;
use simsim_transfer::TransferHandler;
use simsim_transfer::throttle::{Party, Pass, Throttle};

#[derive(Default)]
pub struct Held {
    pub tickets: HashMap<TransferId, Ticket>,
    pub used: HashSet<TransferId>,
    /// Keys of other hosts.
    pub strange_keys: HashSet<Pin>,
    pub segments: HashMap<u64, Bytes>,
    pub puts: usize,
    pub commits: usize,
    pub stream: Vec<u8>,
    pub stream_broke: bool,
    pub heard: usize,
    /// Requests but pings and farewells, repeated ones too.
    pub asked: usize,
    pub waited: Vec<TransferId>,
    pub closed: Vec<TransferId>,
    pub aborted: Vec<String>,
    /// How long `manifest` takes.
    pub slow: Duration,
    pub fail: Option<SessionError>,
}

#[derive(Clone, Default)]
pub struct Memory {
    pub held: Arc<Mutex<Held>>,
    pub throttle: Throttle,
}

pub fn name_of(segment: &[u8]) -> Name {
    Name(*blake3::hash(segment).as_bytes())
}

impl Memory {
    fn fault(&self) -> Result<(), SessionError> {
        self.held.lock().fail.clone().map_or(Ok(()), Err)
    }
}

impl TransferHandler for Memory {
    fn ticket(&self, transfer: &TransferId) -> Option<Ticket> {
        self.held.lock().tickets.get(transfer).cloned()
    }
    fn knows(&self, _: &TransferId, key: &Pin) -> bool {
        !self.held.lock().strange_keys.contains(key)
    }
    fn pass(&self, transfer: &TransferId, from: IpAddr) -> Option<Pass> {
        let mut held = self.held.lock();
        held.asked += 1;
        let hosts = vec![held.tickets.get(transfer)?.client.clone()];
        drop(held);
        Some(self.throttle.pass(Party { hosts, addresses: Vec::new() }, from))
    }
    fn opened(&self, transfer: &TransferId) -> Result<(), SessionError> {
        match self.held.lock().used.insert(*transfer) {
            true => Ok(()),
            false => Err(SessionError::new(Kind::Denied, "used")),
        }
    }
    fn backup(&self, _: &TransferId) -> Result<Arc<dyn BackupSession>, SessionError> {
        Ok(Arc::new(self.clone()))
    }
    fn restore(&self, _: &TransferId) -> Result<Arc<dyn RestoreSession>, SessionError> {
        Ok(Arc::new(self.clone()))
    }
    fn stream_put(&self, _: &TransferId, stream: &mut dyn Read) -> Result<u64, SessionError> {
        let mut all = Vec::new();
        let read = stream.read_to_end(&mut all);
        let mut held = self.held.lock();
        held.stream_broke = read.is_err();
        held.stream = all;
        read.map(|read| read as u64).map_err(|e| SessionError::new(Kind::of_io(&e), e.to_string()))
    }
    fn stream_get(
        &self,
        _: &TransferId,
        offset: u64,
    ) -> Result<Box<dyn Read + Send>, SessionError> {
        let rest = self.held.lock().stream.split_off(0);
        self.held.lock().stream = rest.clone();
        Ok(Box::new(Cursor::new(rest.get(offset as usize..).unwrap_or_default().to_vec())))
    }
    fn stream_bytes(&self, _: &TransferId) -> Result<u64, SessionError> {
        Ok(self.held.lock().stream.len() as u64)
    }
    fn waits(&self, transfer: &TransferId) {
        self.held.lock().waited.push(*transfer);
    }
    fn heard(&self, _: &TransferId) {
        self.held.lock().heard += 1;
    }
    fn closed(&self, transfer: &TransferId) {
        self.held.lock().closed.push(*transfer);
    }
    fn aborted(&self, _: &TransferId, reason: &str) {
        self.held.lock().aborted.push(reason.to_owned());
    }
}

impl BackupSession for Memory {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        self.fault()?;
        Ok(StoreTerms { cut: CutParameters::default(), intact: false })
    }
    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        self.fault()?;
        let held: HashSet<Name> = self.held.lock().segments.values().map(|s| name_of(s)).collect();
        Ok(names.iter().map(|name| held.contains(name)).collect())
    }
    fn put(&self, number: u64, segment: Bytes) -> Result<(), SessionError> {
        self.fault()?;
        let mut held = self.held.lock();
        held.puts += 1;
        assert!(held.segments.insert(number, segment).is_none(), "segment {number} came twice");
        Ok(())
    }
    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        let mut held = self.held.lock();
        held.commits += 1;
        if draft.segments != held.segments.len() as u64 {
            return Err(SessionError::new(Kind::Invalid, "another number of segments"));
        }
        Ok(CommitReply { saveset: SavesetId([9; 16]), sequence: 41, committed_unix_ns: 7 })
    }
}

impl RestoreSession for Memory {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        let slow = self.held.lock().slow;
        std::thread::sleep(slow);
        match saveset {
            SavesetId([9, ..]) => Ok(Bytes::from_static(b"manifest-in-the-clear")),
            _ => Err(SessionError::new(Kind::NotFound, "there is no such saveset")),
        }
    }
    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        let held = self.held.lock();
        let place = |name: &Name| {
            held.segments.iter().find(|(_, s)| name_of(s) == *name).map(|(number, segment)| {
                SegmentPlace { pack: *name, offset: *number, length: segment.len() as u32 }
            })
        };
        Ok(names.iter().map(place).collect())
    }
    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        let held = self.held.lock();
        Ok(places.iter().map(|place| held.segments.get(&place.offset).cloned()).collect())
    }
}
