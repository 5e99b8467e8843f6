//! Many readers beside one writer: each read is of one moment, and nobody waits for ever.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use simsim_catalog::{JobEnd, JobFilter, JobStart, JobState};
use simsim_model::{Outcome, ProgressSnapshot};

use super::on;
use crate::fixture::{backup_job, furnished, saveset};

#[test]
fn readers_beside_a_writer_see_whole_transactions() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    // A result and its saveset are written together. The saveset list is read
                    // second, so it can only know more.
                    let results = catalog.results(None, 0).unwrap().len();
                    let savesets = catalog.savesets(&Default::default()).unwrap().len();
                    assert!(savesets >= results, "{savesets} savesets, {results} results");
                    assert!(results >= last, "a read went back in time");
                    last = results;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..=60 {
            catalog.queue_job(&backup_job(&client), 1).unwrap();
            let start =
                JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
            catalog.start_job(number, &start, 2).unwrap();
            let end = JobEnd {
                checked: None,
                outcome: Outcome::Finished,
                error: None,
                progress: ProgressSnapshot::default(),
                problems: Vec::new(),
                problems_total: 0,
                saveset: Some(saveset(number)),
            };
            catalog.end_job(number, &end, 3).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(reads.load(Ordering::Relaxed) > 0);
    let ended =
        JobFilter { states: vec![JobState::Ended(Outcome::Finished)], ..JobFilter::default() };
    assert_eq!(catalog.jobs(&ended).unwrap().len(), 60);
}

#[test]
fn writers_from_many_threads_take_turns_and_no_number_is_given_twice() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let mut numbers: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    (0..15)
                        .map(|_| catalog.queue_job(&backup_job(&client), 1).unwrap().number)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=60).collect::<Vec<_>>());
}
