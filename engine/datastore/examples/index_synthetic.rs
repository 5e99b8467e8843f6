//! Fills an index with synthetic names and measures it:
//! `index_synthetic FOLDER [MILLIONS OF CHUNKS]`.

use std::sync::Arc;
use std::time::Instant;

use simsim_datastore::measure::{Index, IndexSegment};
use simsim_model::{DomainId, Name, StoreId};
use simsim_storage::{LocalStorage, Storage};

const CHUNKS_PER_SEGMENT: u64 = 32;
const SEGMENTS_PER_PACK: u64 = 16;

fn name(number: u64) -> Name {
    Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn memory() -> String {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
            Some(line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
        })
        .unwrap_or_default()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("a folder is needed")?;
    let millions: u64 = arguments.next().unwrap_or_else(|| "1".into()).parse()?;
    let chunks = millions * 1_000_000;
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder)?);
    let domain = DomainId([1; 16]);
    let index = Index::new(storage.clone(), StoreId([1; 16]));
    let start = Instant::now();
    for pack in 0..chunks / (CHUNKS_PER_SEGMENT * SEGMENTS_PER_PACK) {
        let segments: Vec<IndexSegment> = (0..SEGMENTS_PER_PACK)
            .map(|segment| {
                let first = (pack * SEGMENTS_PER_PACK + segment) * CHUNKS_PER_SEGMENT;
                IndexSegment {
                    domain,
                    offset: 64 + segment * (2 << 20),
                    length: 2 << 20,
                    names: (first..first + CHUNKS_PER_SEGMENT).map(name).collect(),
                }
            })
            .collect();
        index.publish(name(u64::MAX - pack), 32 << 20, &segments)?;
    }
    index.flush()?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes: u64 = storage.list("index/")?.flatten().map(|run| run.bytes).sum();
    let runs = storage.list("index/")?.count();
    println!("filled: {:.0} chunks/s, {seconds:.1} s", chunks as f64 / seconds);
    println!("disk:   {bytes} bytes in {runs} runs, {:.1} a chunk", bytes as f64 / chunks as f64);
    for (what, offset) in [("hits", 0), ("misses", u64::MAX / 2)] {
        let batches: Vec<Vec<Name>> = (0..100)
            .map(|batch| {
                (0..1000).map(|n| name(offset + (batch * 1000 + n) * 7919 % chunks)).collect()
            })
            .collect();
        let start = Instant::now();
        let mut found = 0;
        for batch in &batches {
            found += index.has(domain, batch)?.into_iter().filter(|known| *known).count();
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{what}:   {:.2} ms for 1000 names ({found} found)", seconds * 10.0);
    }
    println!("memory: {} at most", memory());
    Ok(())
}
