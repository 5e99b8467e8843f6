//! Copies of one saveset that have each lost something, or whose device dies: together they give all of it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use bytes::Bytes;
use simsim_model::{
    Kind, Name, Overwrite, Progress, RestoreSession, SavesetId, SegmentPlace, SessionError,
};
use simsim_mover::{Failover, MoverError, RestoreJob, RestoreReport, Selection, restore};
use simsim_source::{FsSink, SinkOptions};
use tempfile::tempdir;

use crate::memory::Memory;
use crate::round_trip::{assert_same, back_up, below, key, noise, saveset};

/// Which segments cannot be read.
type Lost = fn(u64) -> bool;

/// One copy: its packs have another name, and some of its segments cannot be read.
struct Copy {
    store: Arc<Memory>,
    pack: Name,
    lost: Lost,
    /// So many segments are given before its device dies.
    lives: AtomicI64,
    gave: AtomicU64,
}

impl Copy {
    fn new(store: &Arc<Memory>, number: u8, lost: Lost, lives: i64) -> Arc<Self> {
        let (store, pack) = (Arc::clone(store), Name([number; 32]));
        Arc::new(Self { store, pack, lost, lives: AtomicI64::new(lives), gave: AtomicU64::new(0) })
    }

    fn alive(&self) -> Result<(), SessionError> {
        match self.lives.load(SeqCst) > 0 {
            true => Ok(()),
            false => Err(SessionError::new(Kind::Unreachable, "its device is silent")),
        }
    }
}

impl RestoreSession for Copy {
    fn manifest(&self, saveset: SavesetId) -> Result<Bytes, SessionError> {
        self.alive()?;
        self.store.manifest(saveset)
    }

    fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
        self.alive()?;
        let found = self.store.locate(names)?;
        let here = |place: SegmentPlace| SegmentPlace { pack: self.pack, ..place };
        Ok(found.into_iter().map(|place| place.map(here)).collect())
    }

    fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
        self.alive()?;
        assert!(places.iter().all(|place| place.pack == self.pack), "a place of another copy");
        self.lives.fetch_sub(1, SeqCst);
        let mut segments = self.store.get(places)?;
        for (place, segment) in places.iter().zip(&mut segments) {
            if (self.lost)(place.offset) {
                *segment = None;
            }
            self.gave.fetch_add(u64::from(segment.is_some()), SeqCst);
        }
        Ok(segments)
    }
}

fn together(copies: &[Arc<Copy>]) -> Arc<Failover> {
    let all = copies.iter().enumerate().map(|(number, copy)| {
        let session = Arc::clone(copy) as Arc<dyn RestoreSession>;
        let open: simsim_mover::OpenCopy = Box::new(move || Ok(session));
        (format!("copy {number}"), open)
    });
    Arc::new(Failover::new(saveset(1), all.collect()))
}

fn brought(session: Arc<Failover>, to: &std::path::Path) -> Result<RestoreReport, MoverError> {
    let options = SinkOptions { overwrite: Overwrite::Never, owners: true, specials: true };
    let sink = FsSink::open(to, options).unwrap();
    let job = RestoreJob {
        session,
        key: key(),
        saveset: saveset(1),
        selection: Selection::default(),
        strip: b"/".to_vec(),
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| {}),
    };
    restore(job, &sink)
}

const NOTHING: Lost = |_| false;
const FOR_EVER: i64 = i64::MAX;

#[test]
fn what_one_copy_has_lost_is_had_from_the_next_whatever_it_is() {
    let folder = tempdir().unwrap();
    let from = folder.path().join("from");
    for sub in 0..5 {
        fs::create_dir_all(from.join(format!("d{sub}/e"))).unwrap();
        for file in 0..40 {
            let path = from.join(format!("d{sub}/e/f{file}"));
            fs::write(path, noise(sub * 100 + file, 30_000)).unwrap();
        }
    }
    fs::write(from.join("large"), noise(9, 9 << 20)).unwrap();
    let store = Arc::new(Memory::default());
    back_up(&store, &from, 1, None);
    let all: [(Lost, Lost); 4] = [
        (|at| at % 2 == 0, |at| at % 2 == 1),
        (|at| at % 2 == 1, |at| at % 2 == 0),
        (|_| true, NOTHING),
        (|at| at > 2, NOTHING),
    ];
    for (number, (lost, other)) in all.into_iter().enumerate() {
        let copies = [Copy::new(&store, 1, lost, FOR_EVER), Copy::new(&store, 2, other, FOR_EVER)];
        let session = together(&copies);
        let to = folder.path().join(format!("to-{number}"));
        let report = brought(Arc::clone(&session), &to).unwrap();
        assert_eq!(report.problems_total, 0, "{number}: {:?}", report.problems);
        assert_eq!(report.files, 201, "{number}: each file once");
        assert_same(&from, &below(&to, &from));
        let said = session.report();
        let gave = |copy: &Copy| copy.gave.load(SeqCst);
        assert!(gave(&copies[1]) > 0, "{number}: {said:?}");
        assert!(said[0].contains("segments could not be had there"), "{number}: {said:?}");
        assert!(said[1].starts_with("datastore 'copy 1' gave"), "{number}: {said:?}");
    }
    // What all of them have lost is named, and nothing is asked for without end.
    let lost: Lost = |at| at == 0;
    let copies = [1, 2, 3].map(|number| Copy::new(&store, number, lost, FOR_EVER));
    let to = folder.path().join("to-lost");
    let report = brought(together(&copies), &to).unwrap();
    assert!(report.problems_total > 0);
    // Where the first copy gives all, the others are not even opened.
    let copies = [Copy::new(&store, 1, NOTHING, FOR_EVER), Copy::new(&store, 2, NOTHING, FOR_EVER)];
    let session = together(&copies);
    brought(Arc::clone(&session), &folder.path().join("to-whole")).unwrap();
    assert_eq!(session.report(), Vec::<String>::new());
    assert_eq!(copies[1].gave.load(SeqCst), 0);
}

#[test]
fn a_copy_whose_device_dies_at_any_point_is_gone_on_without() {
    let folder = tempdir().unwrap();
    let from = folder.path().join("from");
    fs::create_dir(&from).unwrap();
    for file in 0..60 {
        fs::write(from.join(format!("f{file}")), noise(file, 200_000)).unwrap();
    }
    let store = Arc::new(Memory::default());
    back_up(&store, &from, 1, None);
    for lives in 0..5 {
        let copies =
            [Copy::new(&store, 1, NOTHING, lives), Copy::new(&store, 2, NOTHING, FOR_EVER)];
        let session = together(&copies);
        let to = folder.path().join(format!("to-{lives}"));
        let report = brought(Arc::clone(&session), &to).unwrap();
        assert_eq!((report.problems_total, report.files), (0, 60), "{lives}: {report:?}");
        assert_same(&from, &below(&to, &from));
        let said = session.report();
        assert!(said[0].contains("it was given up: its device is silent"), "{lives}: {said:?}");
    }
    // With nobody left it ends, and says why.
    let copies = [Copy::new(&store, 1, NOTHING, 3), Copy::new(&store, 2, NOTHING, 1)];
    let error = brought(together(&copies), &folder.path().join("to-none")).unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable, "{error}");
}
