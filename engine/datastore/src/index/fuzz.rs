//! Runs that somebody has changed, with checksums that are right: what they claim is held against
//! their size before it is believed, and nothing panics.

use std::sync::Arc;

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, StoreId};
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use super::filter::Level;
use super::find::Query;
use super::layout::Layout;
use super::page::{PAGE_BYTES, PAYLOAD_BYTES, SegmentRecord, checksum};
use super::run::Run;
use super::run_writer::{TRAILER_PAGE, Tables, run_key, write_run};

const STORE: StoreId = StoreId([3; 16]);
const DOMAIN: DomainId = DomainId([7; 16]);

fn name(number: u32) -> Name {
    Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn run_of(names: u32) -> Vec<u8> {
    let disk = PowerCutStorage::new();
    let mut entries: Vec<(Name, u32)> = (0..names).map(|n| (name(n), n % 5)).collect();
    entries.sort_unstable();
    let segments = (0..5).map(|n| SegmentRecord {
        pack: n % 2,
        length: 500,
        offset: 64,
        domain: 0,
        kind: SegmentKind::Data,
    });
    let tables = Tables { packs: &[(name(1000), 9000), (name(1001), 9000)], domains: &[DOMAIN] };
    let entries = entries.into_iter().map(Ok);
    write_run(&disk, STORE, 1, entries, segments.map(Ok), tables).unwrap();
    disk.get(&run_key(1)).unwrap().to_vec()
}

/// Gives every page the checksum that it should have, and every block of the filter, as far as the
/// trailer's counts say where these are.
fn summed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let Some(trailer) = bytes.len().checked_sub(PAGE_BYTES) else { return bytes };
    let number_at = |at: usize, bytes: &[u8]| {
        bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()))
    };
    let nonce = number_at(trailer + 32, &bytes);
    let layout = Layout::of(number_at(trailer + 40, &bytes) % 10_000);
    for group in 0..layout.groups {
        for block in layout.first_block(group)..layout.first_block(group) + layout.blocks(group) {
            let within = block - layout.first_block(group);
            let page = layout.filter_page(group) + within / 63;
            let at = page as usize * PAGE_BYTES + (within % 63) as usize * 64;
            if let Some(bytes) = bytes.get_mut(at..at + 64) {
                let mut whole = super::filter::Block(bytes.try_into().unwrap());
                whole.seal(nonce, block);
                bytes.copy_from_slice(&whole.0);
            }
        }
    }
    let pages = bytes.len() / PAGE_BYTES;
    for (number, page) in bytes.chunks_exact_mut(PAGE_BYTES).enumerate() {
        let (payload, sum) = page.split_at_mut(PAYLOAD_BYTES);
        let is_trailer = number + 1 == pages;
        let (nonce, number) = if is_trailer { (0, TRAILER_PAGE) } else { (nonce, number as u64) };
        sum.copy_from_slice(&checksum(nonce, number, payload));
    }
    bytes
}

/// Reads all of a run in every way that there is. How many names it has found.
fn read(bytes: &[u8]) -> usize {
    let disk = PowerCutStorage::new();
    disk.put(&run_key(1), bytes).unwrap();
    let Ok(run) = Run::open(Arc::new(disk), STORE, 1, &Arc::default()) else { return 0 };
    assert!(run.counts.packs as usize * 40 <= bytes.len(), "more than the file can hold");
    assert!(run.entries().take_while(Result::is_ok).count() * 36 <= bytes.len());
    assert!(run.segments().take_while(Result::is_ok).count() * 24 <= bytes.len());
    let mut queries: Vec<Query> =
        (0..40).map(|number| Query { name: name(number), at: number as usize }).collect();
    queries.sort_unstable();
    let mut found = 0;
    for level in [Level::OnDisk, Level::Brief, Level::Whole] {
        if run.set_level(level).is_ok() {
            for any in [false, true] {
                found = 0;
                let _ = run.find(DOMAIN, &queries, any, &mut |at, _, _| {
                    assert!(at < queries.len());
                    found += 1;
                    true
                });
            }
        }
    }
    found
}

#[test]
fn fuzz_index_runs() {
    let samples = [run_of(0), run_of(30), run_of(300)];
    assert_eq!(samples.each_ref().map(|run| read(run)), [0, 30, 40]);
    assert!(samples.iter().all(|run| summed(run) == *run), "sums as the writer does");
    simsim_testkit::fuzz("index run", &samples, |bytes| {
        read(bytes);
        read(&summed(bytes));
    });
    // The same for what is changed where it matters most: the counts, the fence, the tables.
    let tail = samples[1].len() - 5 * PAGE_BYTES;
    let (head, end) = samples[1].split_at(tail);
    simsim_testkit::fuzz("index run, its end", &[end.to_vec()], |changed| {
        read(&summed(&[head, changed].concat()));
    });
    let trailer = samples[2].len() - PAGE_BYTES;
    let (head, end) = samples[2].split_at(trailer);
    simsim_testkit::fuzz("index run, its counts", &[end[..72].to_vec()], |changed| {
        let mut page = changed.to_vec();
        page.resize(PAGE_BYTES, 0);
        read(&summed(&[head, &page].concat()));
    });
}
