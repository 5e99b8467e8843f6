//! Files at every limit of what lies in a datastore, through the mover and real packs.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use simsim_datastore::{Datastore, OpenOptions, SessionOptions};
use simsim_format::ManifestDetails;
use simsim_model::limits::{CHUNK_BYTES_MAX, FRAME_BYTES_MAX, SEGMENT_PLAIN_BYTES_MAX};
use simsim_model::{Level, Overwrite, Progress, SavesetId};
use simsim_mover::{BackupJob, RestoreJob, Selection, backup, restore};
use simsim_source::{FsSink, FsSource, SinkOptions, WalkOptions, compare};
use simsim_storage::{LocalStorage, Storage};

use crate::kit::*;

const SAVESET: SavesetId = SavesetId([1; 16]);

#[test]
fn fid17_files_of_a_frame_a_chunk_a_segment_and_a_pack_come_back_from_real_packs() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::create_dir(&from).unwrap();
    let pack = OpenOptions::default().pack_bytes as usize;
    let mut bytes = 0;
    for limit in [FRAME_BYTES_MAX, CHUNK_BYTES_MAX, SEGMENT_PLAIN_BYTES_MAX, pack] {
        for size in [limit - 1, limit, limit + 1] {
            fs::write(from.join(format!("noise{size}")), content(size as u64, size)).unwrap();
            fs::write(from.join(format!("zeros{size}")), vec![0; size]).unwrap();
            bytes += size as u64;
        }
    }
    let storage: Arc<dyn Storage> =
        Arc::new(LocalStorage::open(home.path().join("store")).unwrap());
    let datastore = Datastore::create(Arc::clone(&storage), create_options()).unwrap();
    let job = BackupJob {
        session: Arc::new(datastore.session(DOMAIN, SAVESET, SessionOptions::default())),
        base: None,
        key: key(),
        domain: DOMAIN,
        saveset: SAVESET,
        level: Level::Full,
        details: ManifestDetails::default(),
        scan_started_unix_ns: 1,
        zstd_level: 1,
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|problem| panic!("{problem:?}")),
    };
    let path = from.as_os_str().as_bytes().to_vec();
    let mut source = FsSource::new(&[path], WalkOptions::default()).unwrap();
    backup(job, &mut source).unwrap();
    assert!(datastore.state().packs > bytes / pack as u64, "packs of the usual size");
    datastore.close().unwrap();

    let options = OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() };
    let datastore = Datastore::open(storage, options).unwrap();
    let options = SinkOptions { overwrite: Overwrite::Never, owners: true, specials: true };
    let job = RestoreJob {
        session: Arc::new(datastore.read_session(DOMAIN)),
        key: key(),
        saveset: SAVESET,
        selection: Selection::default(),
        strip: b"/".to_vec(),
        threads: 2,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|problem| panic!("{problem:?}")),
    };
    restore(job, &FsSink::open(&to, options).unwrap()).unwrap();
    let differences = compare(&from, &to.join(from.strip_prefix("/").unwrap())).unwrap();
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    assert_eq!(texts, Vec::<String>::new());
}
