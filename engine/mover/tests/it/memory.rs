//! A datastore in memory: has, put, commit, locate, get, with the device's checks.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use simsim_format::{Manifest, SegmentKind, SegmentView};
use simsim_model::{
    BackupSession, CommitReply, CutParameters, DomainId, Kind, ManifestDraft, Name, RestoreSession,
    SavesetId, SegmentPlace, SessionError, StoreId, StoreTerms,
};

#[derive(Default)]
pub struct Memory {
    inner: Mutex<Inner>,
    pub data_segments: AtomicU64,
    pub node_segments: AtomicU64,
    next_saveset: Mutex<Option<SavesetId>>,
    cut: Option<CutParameters>,
}

#[derive(Default)]
struct Inner {
    segments: Vec<Option<Bytes>>,
    places: HashMap<Name, usize>,
    refs: Vec<Name>,
    manifests: HashMap<SavesetId, Bytes>,
    count: u64,
}

impl Memory {
    /// One whose chunks are cut in another way than usual here.
    pub fn cutting(cut: CutParameters) -> Self {
        Self { cut: Some(cut), ..Self::default() }
    }

    /// Bytes of the largest chunk.
    pub fn largest_chunk(&self) -> usize {
        let inner = self.inner.lock().unwrap();
        let segments = inner.segments.iter().flatten();
        let views = segments.map(|bytes| SegmentView::parse(bytes.clone()).unwrap());
        let data = views.filter(|view| view.kind == SegmentKind::Data);
        data.flat_map(|view| view.items).map(|item| item.length as usize).max().unwrap_or(0)
    }

    /// The saveset that the next commit makes.
    pub fn begin(&self, saveset: SavesetId) {
        *self.next_saveset.lock().unwrap() = Some(saveset);
        self.inner.lock().unwrap().count = 0;
        self.data_segments.store(0, Relaxed);
        self.node_segments.store(0, Relaxed);
    }

    pub fn data_segment_numbers(&self) -> Vec<usize> {
        let inner = self.inner.lock().unwrap();
        let data = |bytes: &Option<Bytes>| {
            bytes.clone().is_some_and(|b| SegmentView::parse(b).unwrap().kind == SegmentKind::Data)
        };
        (0..inner.segments.len()).filter(|at| data(&inner.segments[*at])).collect()
    }

    pub fn take(&self, segment: usize) -> Option<Bytes> {
        self.inner.lock().unwrap().segments[segment].take()
    }

    pub fn put_back(&self, segment: usize, bytes: Option<Bytes>) {
        self.inner.lock().unwrap().segments[segment] = bytes;
    }

    pub fn domain() -> DomainId {
        DomainId([7; 16])
    }
}

impl BackupSession for Memory {
    fn terms(&self) -> Result<StoreTerms, SessionError> {
        let usual = CutParameters { min: 1 << 10, mean: 4 << 10, max: 16 << 10 };
        let cut = self.cut.unwrap_or(usual);
        let intact = self.inner.lock().unwrap().segments.iter().all(Option::is_some);
        Ok(StoreTerms { cut, intact })
    }

    fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
        let inner = self.inner.lock().unwrap();
        Ok(names.iter().map(|name| inner.places.contains_key(name)).collect())
    }

    fn put(&self, _: u64, segment: Bytes) -> Result<(), SessionError> {
        let view = SegmentView::parse(segment.clone()).unwrap();
        assert_eq!(view.domain, Self::domain());
        let counter = match view.kind {
            SegmentKind::Data => &self.data_segments,
            _ => &self.node_segments,
        };
        counter.fetch_add(1, Relaxed);
        let mut inner = self.inner.lock().unwrap();
        inner.count += 1;
        let at = inner.segments.len();
        inner.segments.push(Some(segment));
        if view.kind == SegmentKind::Nodes {
            let refs: Vec<Name> =
                view.node_refs().flat_map(|(_, r)| r.nodes().chain(r.chunks())).collect();
            inner.refs.extend(refs);
        }
        for item in &view.items {
            inner.places.insert(item.name, at);
        }
        Ok(())
    }

    fn commit(&self, draft: &ManifestDraft) -> Result<CommitReply, SessionError> {
        let saveset = self.next_saveset.lock().unwrap().unwrap();
        let mut inner = self.inner.lock().unwrap();
        if draft.segments != inner.count {
            return Err(SessionError::new(Kind::Corrupt, "segments are missing"));
        }
        let missing = inner.refs.iter().filter(|name| !inner.places.contains_key(name)).count();
        if missing > 0 || !inner.places.contains_key(&draft.root) {
            return Err(SessionError::new(Kind::Corrupt, format!("{missing} references missing")));
        }
        let sequence = inner.manifests.len() as u64 + 1;
        let manifest = Manifest {
            store: StoreId([1; 16]),
            domain: Self::domain(),
            saveset,
            sequence,
            generation: 1,
            level: draft.level,
            base: draft.base,
            origin: None,
            root: draft.root,
            scan_started_unix_ns: draft.scan_started_unix_ns,
            started_unix_ns: 0,
            committed_unix_ns: 0,
            lock_until_unix_s: 0,
            files: draft.files,
            dirs: draft.dirs,
            bytes: draft.bytes,
            bytes_new: draft.bytes_new,
            bytes_stored: draft.bytes_stored,
            problems: draft.problems,
            segments: draft.segments,
            sealed_details: draft.sealed_details.clone(),
        };
        inner.manifests.insert(saveset, Bytes::from(manifest.encode()));
        Ok(CommitReply { saveset, sequence, committed_unix_ns: 0 })
    }
}

impl RestoreSession for Memory {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        let inner = self.inner.lock().unwrap();
        inner
            .manifests
            .get(&saveset)
            .cloned()
            .ok_or_else(|| SessionError::new(Kind::NotFound, "no such saveset"))
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        let inner = self.inner.lock().unwrap();
        let place = |at: &usize| SegmentPlace { pack: Name::ZERO, offset: *at as u64, length: 0 };
        Ok(names.iter().map(|name| inner.places.get(name).map(place)).collect())
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        let inner = self.inner.lock().unwrap();
        Ok(places.iter().map(|place| inner.segments[place.offset as usize].clone()).collect())
    }
}
