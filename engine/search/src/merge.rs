//! Merging runs that follow one another into one; what only savesets had that are gone is left out.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::SearchError;
use crate::book::Book;
use crate::record::{Event, Key, Record};
use crate::run::{Run, Scan};
use crate::run_writer::RunWriter;

/// A run of the next size is this many times as large.
const STEP: u64 = 8;
/// Runs up to so many records are of one size.
const SMALLEST: u64 = 4096;

/// Which runs to merge: of the newest ones that are of one size or smaller, all, once they are [`STEP`]; or
/// one alone of which half the savesets are gone.
pub(crate) fn choose(book: &Book) -> Option<std::ops::Range<usize>> {
    let class = |births: u64| {
        let mut class = 0;
        let mut most = SMALLEST;
        while births > most {
            most = most.saturating_mul(STEP);
            class += 1;
        }
        class
    };
    let runs = &book.runs;
    for end in (1..=runs.len()).rev() {
        let Some(size) = runs.get(end - 1).map(|run| class(run.births)) else { continue };
        let alike = |run: &&crate::book::RunRow| class(run.births) <= size;
        let count = runs.iter().take(end).rev().take_while(alike).count();
        if count as u64 >= STEP {
            return Some(end - count..end);
        }
    }
    runs.iter().enumerate().find_map(|(at, run)| {
        let alive = book.savesets.range(run.low..=run.high).count();
        (alive * 2 < run.savesets as usize || (alive == 0 && run.savesets > 0))
            .then_some(at..at + 1)
    })
}

/// Merges runs, from the oldest to the newest, into `out`. `is_oldest`: no run lies before them.
pub(crate) fn merge(
    runs: &[&Run],
    book: &Book,
    is_oldest: bool,
    out: &mut RunWriter,
) -> Result<(), SearchError> {
    let mut scans: Vec<Scan<'_>> = runs.iter().map(|run| run.scan(None)).collect();
    let mut next: Vec<Option<Record>> = Vec::new();
    let mut heap: BinaryHeap<Reverse<(Key, usize)>> = BinaryHeap::new();
    for (at, scan) in scans.iter_mut().enumerate() {
        let record = scan.next()?;
        if let Some(record) = &record {
            heap.push(Reverse((record.key.clone(), at)));
        }
        next.push(record);
    }
    let mut current: Option<Record> = None;
    while let Some(Reverse((_, at))) = heap.pop() {
        let (Some(slot), Some(scan)) = (next.get_mut(at), scans.get_mut(at)) else { continue };
        let Some(record) = slot.take() else { continue };
        *slot = scan.next()?;
        if let Some(record) = slot {
            heap.push(Reverse((record.key.clone(), at)));
        }
        match &mut current {
            // Runs come in their order for one key: the heap takes the lower number first.
            Some(before) if before.key == record.key => before.events.extend(record.events),
            _ => {
                if let Some(done) = current.replace(record) {
                    put(done, book, is_oldest, out)?;
                }
            }
        }
    }
    match current {
        Some(done) => put(done, book, is_oldest, out),
        None => Ok(()),
    }
}

fn put(
    mut record: Record,
    book: &Book,
    is_oldest: bool,
    out: &mut RunWriter,
) -> Result<(), SearchError> {
    let strand = record.key.strand;
    if !book.strands.contains_key(&strand) {
        return Ok(());
    }
    let events = std::mem::take(&mut record.events);
    let mut left: Vec<Event> = Vec::with_capacity(events.len());
    for (at, event) in events.iter().enumerate() {
        // What comes last says how it is now: the next saveset is compared with that.
        let needed = match events.get(at + 1) {
            Some(next) => book.is_alive(strand, event.at..next.at),
            None => true,
        };
        let first_gone = is_oldest && left.is_empty() && event.version.is_none();
        if needed && !first_gone {
            left.push(*event);
        }
    }
    if left.is_empty() {
        return Ok(());
    }
    record.events = left;
    out.push(&record)
}
