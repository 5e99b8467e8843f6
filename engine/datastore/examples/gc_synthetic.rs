//! Collects garbage in a datastore of many small chunks, and measures it:
//! `gc_synthetic FOLDER [MILLIONS OF CHUNKS]`.
//!
//! Ten savesets share nine tenths of what they have with the one before, so that one tenth of the newest
//! is its own; all goes through the session that backups use, sealed, named and checked. Then the three
//! oldest are deleted, and garbage is collected: by itself, and, after three more were deleted, beside
//! sessions that go on writing, whose speed is compared with that of the same before and after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use simsim_datastore::{
    CollectOptions, CollectReport, CreateOptions, Datastore, OpenOptions, SessionOptions,
};
use simsim_format::{DomainKey, Node, Sealer};
use simsim_model::{
    BackupSession, CutParameters, DomainId, Level, ManifestDraft, Name, SavesetId, Secret, StoreId,
};
use simsim_storage::{LocalStorage, Storage};

type Failure = Box<dyn std::error::Error>;

const DOMAIN: DomainId = DomainId([1; 16]);
/// Chunks of a segment, and of a node.
const PER_SEGMENT: u64 = 100;
const SAVESETS: u64 = 10;
const CHUNK_BYTES: usize = 64;

fn key() -> DomainKey {
    DomainKey::new(&Secret([9; 32]))
}

fn content(number: u64) -> [u8; CHUNK_BYTES] {
    let mut out = [0; CHUNK_BYTES];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn status_mib(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// One group of chunks and the node that refers to them.
fn group(sealer: &mut Sealer, number: u64) -> Result<(Bytes, Node), Failure> {
    let mut plaintext = Vec::with_capacity(PER_SEGMENT as usize * CHUNK_BYTES);
    let mut items = Vec::with_capacity(PER_SEGMENT as usize);
    for chunk in number * PER_SEGMENT..(number + 1) * PER_SEGMENT {
        let bytes = content(chunk);
        items.push((key().chunk_name(&bytes), CHUNK_BYTES as u32));
        plaintext.extend_from_slice(&bytes);
    }
    let sealed = sealer.seal_data(&items, &plaintext)?;
    let chunks: Vec<Name> = items.into_iter().map(|(name, _)| name).collect();
    let name = key().node_name(&[], &chunks, b"leaf");
    Ok((sealed.into(), Node { name, nodes: Vec::new(), chunks, body: b"leaf".to_vec() }))
}

/// Backs up the groups `new`, and refers to the nodes `old` as they are.
fn backup(
    datastore: &Datastore,
    saveset: u8,
    new: std::ops::Range<u64>,
    old: &[Name],
    done: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Vec<Name>, Failure> {
    let id = SavesetId([saveset; 16]);
    let session = datastore.session(DOMAIN, id, SessionOptions::default());
    let mut sealer = Sealer::new(key(), DOMAIN, 1);
    let (mut number, mut nodes, mut leaves) = (0, Vec::new(), old.to_vec());
    let mut put = |bytes: Bytes| {
        session.put(number, bytes)?;
        number += 1;
        Ok::<_, Failure>(())
    };
    for at in new {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (data, node) = group(&mut sealer, at)?;
        put(data)?;
        leaves.push(node.name);
        nodes.push(node);
        if nodes.len() == 256 {
            put(sealer.seal_nodes(&nodes)?.into())?;
            nodes.clear();
        }
        done.fetch_add(PER_SEGMENT, Ordering::Relaxed);
    }
    if !nodes.is_empty() {
        put(sealer.seal_nodes(&nodes)?.into())?;
    }
    let mut below = leaves.clone();
    while below.len() > 1 {
        let upper: Vec<Node> = below
            .chunks(500)
            .map(|part| {
                let name = key().node_name(part, &[], b"upper");
                Node { name, nodes: part.to_vec(), chunks: Vec::new(), body: b"upper".to_vec() }
            })
            .collect();
        below = upper.iter().map(|node| node.name).collect();
        for part in upper.chunks(100) {
            put(sealer.seal_nodes(part)?.into())?;
        }
    }
    let root = below.first().copied().ok_or("a saveset without a node")?;
    session.commit(&ManifestDraft {
        level: Level::Full,
        root,
        base: None,
        scan_started_unix_ns: 1,
        files: 1,
        dirs: 1,
        bytes: 1,
        bytes_new: 1,
        bytes_stored: 1,
        problems: 0,
        sealed_details: b"details".to_vec(),
        segments: number,
    })?;
    Ok(leaves)
}

fn delete(datastore: &Datastore, savesets: std::ops::Range<u8>) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let ids: Vec<SavesetId> = savesets.map(|number| SavesetId([number; 16])).collect();
    Ok(datastore.delete_savesets(&ids, now)?)
}

fn collect(datastore: &Datastore, what: &str) -> Result<CollectReport, Failure> {
    let before = status_mib("VmRSS");
    std::fs::write("/proc/self/clear_refs", "5")?;
    let start = Instant::now();
    let options = CollectOptions { over_budget: true, ..CollectOptions::default() };
    let stages = std::sync::Mutex::new(Vec::new());
    let report = datastore.collect_garbage(&options, &|progress| {
        let mut stages = stages.lock().unwrap_or_else(|dead| dead.into_inner());
        if stages.last().is_none_or(|(stage, _)| *stage != progress.stage) {
            stages.push((progress.stage, start.elapsed().as_secs_f64()));
        }
        true
    })?;
    let (seconds, most) = (start.elapsed().as_secs_f64(), status_mib("VmHWM"));
    for (stage, begun) in stages.into_inner().unwrap_or_else(|dead| dead.into_inner()) {
        println!("  {stage:?} from {begun:.1} s");
    }
    println!(
        "{what}: {seconds:.1} s, at most {most:.0} MiB resident ({before:.0} before); {report:?}"
    );
    Ok(report)
}

/// How many chunks a second are counted while something is done, and what that gave.
fn rate<T>(chunks: &AtomicU64, work: impl FnOnce() -> T) -> (f64, T) {
    let (begun, before) = (Instant::now(), chunks.load(Ordering::Relaxed));
    let given = work();
    let counted = chunks.load(Ordering::Relaxed) - before;
    (counted as f64 / begun.elapsed().as_secs_f64(), given)
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: gc_synthetic FOLDER [MILLIONS OF CHUNKS]")?;
    let millions: u64 = arguments.next().unwrap_or_else(|| "1".into()).parse()?;
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&folder)?);
    let options = CreateOptions {
        store: StoreId([1; 16]),
        name: "many".into(),
        cut: CutParameters::default(),
    };
    drop(Datastore::create(storage.clone(), options)?);
    let options = OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() };
    let datastore = Datastore::open(storage, options)?;

    // Of *n* groups the first saveset has one half; each further one leaves some out and brings others.
    let groups = millions * 1_000_000 / PER_SEGMENT;
    let (first, step) = (groups / 2, groups / 2 / (SAVESETS - 1));
    let (done, go_on) = (AtomicU64::new(0), AtomicBool::new(false));
    let start = Instant::now();
    let mut leaves = backup(&datastore, 1, 0..first, &[], &done, &go_on)?;
    for saveset in 1..SAVESETS {
        let from = first + (saveset - 1) * step;
        let kept = leaves.get(step as usize..).unwrap_or_default().to_vec();
        leaves = backup(&datastore, saveset as u8 + 1, from..from + step, &kept, &done, &go_on)?;
    }
    let state = datastore.state();
    println!(
        "filled in {:.0} s: {} chunks and nodes, {} packs, {} bytes, {} savesets",
        start.elapsed().as_secs_f64(),
        state.chunks,
        state.packs,
        state.bytes,
        state.savesets
    );
    collect(&datastore, "nothing deleted")?;
    delete(&datastore, 1..4)?;
    collect(&datastore, "three of ten deleted")?;

    // Sessions that write, one after the other, alone and then beside a collection: new ones all the time,
    // since one that is older than a collection would be waited for.
    let (chunks, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| -> Result<(), Failure> {
        let writer = scope.spawn(|| {
            let mut number = 60_u8;
            while !stop.load(Ordering::Relaxed) {
                let from = (1 << 40) * u64::from(number);
                let part = AtomicBool::new(false);
                backup(&datastore, number, from..from + 2_000, &[], &chunks, &part)
                    .map_err(|error| error.to_string())?;
                number += 1;
            }
            Ok::<_, String>(())
        });
        let worked = (|| -> Result<(), Failure> {
            let alone = rate(&chunks, || std::thread::sleep(Duration::from_secs(10))).0;
            delete(&datastore, 4..7)?;
            let collecting = || collect(&datastore, "three more, beside sessions that write");
            let (beside, collected) = rate(&chunks, collecting);
            collected?;
            let again = rate(&chunks, || std::thread::sleep(Duration::from_secs(10))).0;
            println!(
                "chunks a second: {alone:.0} alone, {beside:.0} beside a collection, {again:.0} alone \
                 again: {:.0} %",
                beside * 200.0 / (alone + again)
            );
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| "the writer panicked")??;
        worked
    })?;
    let report = datastore.verify_structure(&|_| true)?;
    println!("afterwards: {} packs, clean: {}", datastore.state().packs, report.is_clean());
    if report.is_clean() { Ok(()) } else { Err("the datastore is damaged".into()) }
}
