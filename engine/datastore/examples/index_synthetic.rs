//! Fills an index with synthetic names, through the writer and the merger that backups use, and
//! measures it: `index_synthetic FOLDER [MILLIONS OF CHUNKS]`. A folder that it filled before is
//! measured again.
//!
//! A batch is 1,000 names, as a client asks. *cold*: the runs are dropped from the system's cache
//! first (where the file system can do that); *warm*: the same names again, the best of three
//! rounds. One thread.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use simsim_datastore::measure::{Index, IndexSegment, Merger};
use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, StoreId};
use simsim_storage::{LocalStorage, Storage};

type Failure = Box<dyn std::error::Error>;

const CHUNKS_PER_SEGMENT: u64 = 64;
const SEGMENTS_PER_PACK: u64 = 24;
const BATCH_NAMES: u64 = 1000;
const BATCHES: u64 = 200;
/// As a datastore is opened.
const FILTER_BYTES: u64 = 32 << 20;
const STORE: StoreId = StoreId([1; 16]);
const DOMAIN: DomainId = DomainId([1; 16]);

fn name(number: u64) -> Name {
    Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// A figure of `/proc/self/status`, in MiB.
fn status_mib(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// Processor time of this thread.
fn cpu_s() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn fill(index: &Index, merger: &Merger, chunks: u64) -> Result<f64, Failure> {
    let start = Instant::now();
    let mut slowest: f64 = 0.0;
    for pack in 0..chunks.div_ceil(CHUNKS_PER_SEGMENT * SEGMENTS_PER_PACK) {
        let segments: Vec<IndexSegment> = (0..SEGMENTS_PER_PACK)
            .map(|segment| {
                let first = (pack * SEGMENTS_PER_PACK + segment) * CHUNKS_PER_SEGMENT;
                IndexSegment {
                    domain: DOMAIN,
                    offset: 64 + segment * (1 << 20),
                    length: 1 << 20,
                    kind: SegmentKind::Data,
                    names: (first..first + CHUNKS_PER_SEGMENT).map(name).collect(),
                }
            })
            .collect();
        let before = Instant::now();
        index.publish(name(u64::MAX - pack), 32 << 20, &segments)?;
        merger.nudge();
        slowest = slowest.max(before.elapsed().as_secs_f64());
        if pack.is_multiple_of(8192) {
            eprintln!(
                "{:.1} million, {:.0} s",
                (pack * 1536) as f64 / 1e6,
                start.elapsed().as_secs_f64()
            );
        }
    }
    index.flush()?;
    index.merge_or_warn();
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "fill: {seconds:.1} s, {:.0} chunks a second; slowest call {slowest:.1} s",
        chunks as f64 / seconds
    );
    Ok(seconds)
}

fn drop_from_cache(folder: &Path) -> Result<(), Failure> {
    for run in std::fs::read_dir(folder.join("index"))? {
        let file = std::fs::File::open(run?.path())?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

fn batches(offset: u64, chunks: u64, seed: u64) -> Vec<Vec<Name>> {
    let number = |n: u64| offset + (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed) % chunks;
    (0..BATCHES)
        .map(|batch| (0..BATCH_NAMES).map(|n| name(number(batch * BATCH_NAMES + n))).collect())
        .collect()
}

/// Asks all batches, so many times, and prints the best round.
fn measure(
    what: &str,
    rounds: usize,
    batches: &[Vec<Name>],
    ask: impl Fn(&[Name]) -> Result<usize, Failure>,
) -> Result<(), Failure> {
    let (mut seconds, mut cpu, mut found) = (f64::MAX, f64::MAX, 0);
    for _ in 0..rounds {
        let (start, worked) = (Instant::now(), cpu_s());
        found = 0;
        for batch in batches {
            found += ask(batch)?;
        }
        seconds = seconds.min(start.elapsed().as_secs_f64());
        cpu = cpu.min(cpu_s() - worked);
    }
    let names = (batches.len() as u64 * BATCH_NAMES) as f64;
    println!(
        "| {what} | {:.3} | {:.2} | {:.2} | {:.1} % |",
        names / seconds / 1e6,
        seconds * 1e6 / names,
        cpu * 1e6 / names,
        found as f64 * 100.0 / names
    );
    Ok(())
}

/// Packs of the right names and sizes, without content: an index believes nothing about packs
/// that are not there.
fn make_packs(folder: &Path, chunks: u64) -> Result<(), Failure> {
    for pack in 0..chunks.div_ceil(CHUNKS_PER_SEGMENT * SEGMENTS_PER_PACK) {
        let hex = name(u64::MAX - pack).to_string();
        let folder = folder.join("packs").join(hex.get(..2).unwrap_or_default());
        std::fs::create_dir_all(&folder)?;
        std::fs::File::create(folder.join(hex))?.set_len(32 << 20)?;
    }
    Ok(())
}

/// Fills a new index and closes it.
fn build(storage: &Arc<dyn Storage>, chunks: u64) -> Result<(), Failure> {
    let empty = status_mib("VmRSS");
    let index = Arc::new(Index::new(storage.clone(), STORE, FILTER_BYTES));
    let merger = Merger::new(index.clone());
    fill(&index, &merger, chunks)?;
    let most = status_mib("VmHWM") - empty;
    println!("memory while filling and merging: {most:.1} MiB above an empty process");
    Ok(())
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: index_synthetic FOLDER [MILLIONS OF CHUNKS]")?;
    let millions: u64 = arguments.next().unwrap_or_else(|| "1".into()).parse()?;
    let per_pack = CHUNKS_PER_SEGMENT * SEGMENTS_PER_PACK;
    let chunks = (millions * 1_000_000).div_ceil(per_pack) * per_pack;
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(&folder)?);
    let folder = Path::new(&folder);
    if storage.list("index/")?.next().is_none() {
        make_packs(folder, chunks)?;
        if std::env::var_os("INDEX_SYNTHETIC_FILL").is_some() {
            return build(&storage, chunks);
        }
        // In a process of its own, so that its memory does not show in the lookups.
        let status = std::process::Command::new(std::env::current_exe()?)
            .args(std::env::args_os().skip(1))
            .env("INDEX_SYNTHETIC_FILL", "1")
            .status()?;
        if !status.success() {
            return Err("the index could not be filled".into());
        }
    }
    let mut runs: Vec<u64> = storage.list("index/")?.flatten().map(|run| run.bytes).collect();
    runs.sort_unstable();
    let bytes: u64 = runs.iter().sum();
    let megabytes: Vec<u64> = runs.iter().map(|run| run / 1_000_000).collect();
    let each = bytes as f64 / chunks as f64;
    println!("disk: {bytes} bytes, {each:.2} a chunk; runs in MB: {megabytes:?}");

    let empty = status_mib("VmRSS");
    let start = Instant::now();
    let index = simsim_datastore::measure::open(storage, STORE, FILTER_BYTES)?;
    println!("open: {:.2} s", start.elapsed().as_secs_f64());
    println!(
        "\n| {chunks} chunks, batches of {BATCH_NAMES} | million names/s | µs a name | of it CPU | \
         found |\n|---|---:|---:|---:|---:|"
    );
    let has = |names: &[Name]| Ok(index.has(DOMAIN, names)?.iter().filter(|known| **known).count());
    let locate = |names: &[Name]| Ok(index.locate(DOMAIN, names)?.iter().flatten().count());
    let unknown = batches(u64::MAX / 2, chunks, 1);
    let known = batches(0, chunks, 2);
    drop_from_cache(folder)?;
    measure("has, unknown names, cold", 1, &unknown, has)?;
    measure("has, unknown names, warm", 3, &unknown, has)?;
    drop_from_cache(folder)?;
    measure("has, known names, cold", 1, &known, has)?;
    measure("has, known names, warm", 3, &known, has)?;
    drop_from_cache(folder)?;
    measure("locate, cold", 1, &known, locate)?;
    measure("locate, warm", 3, &known, locate)?;
    let (now, most) = (status_mib("VmRSS") - empty, status_mib("VmHWM") - empty);
    println!("\nmemory after lookups: {now:.1} MiB above an empty process, {most:.1} at most");
    Ok(())
}
