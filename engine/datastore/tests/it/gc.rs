//! Deleting savesets, and collecting garbage beside everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use simsim_datastore::{
    CollectOptions, CollectReport, CollectStage, Datastore, SessionOptions, WriteSession,
};
use simsim_model::{BackupSession, Kind, Name, RestoreSession, SavesetId};
use simsim_storage::Storage;
use simsim_storage::fault::PowerCutStorage;

use crate::kit::*;

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn fresh() -> (Datastore, Arc<dyn Storage>, PowerCutStorage) {
    let disk = PowerCutStorage::new();
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    (open(&storage), storage, disk)
}

pub fn id(number: u8) -> SavesetId {
    SavesetId([number; 16])
}

pub fn delete(datastore: &Datastore, numbers: &[u8]) {
    let ids: Vec<SavesetId> = numbers.iter().map(|number| id(*number)).collect();
    datastore.delete_savesets(&ids, now()).unwrap();
}

/// Whatever is dead is worth a copy, so that small datastores show everything.
pub fn eager() -> CollectOptions {
    CollectOptions { dead_part_min: 0.0, ..CollectOptions::default() }
}

pub fn collect(datastore: &Datastore) -> CollectReport {
    datastore.collect_garbage(&eager(), &|_| true).unwrap()
}

/// Leaves of a small saveset: enough for two packs.
pub const FEW: u64 = 8;

/// Savesets, and what each restores to.
pub type Model = BTreeMap<u8, Vec<Vec<u64>>>;

pub fn assert_holds(datastore: &Datastore, model: &Model, note: &str) {
    for (number, leaves) in model {
        assert_eq!(restore(datastore, id(*number)), Ok(leaf_bytes(leaves)), "{note}: {number}");
    }
    assert_eq!(datastore.state().savesets as usize, model.len(), "{note}");
    let report = datastore.verify_structure(&|_| true).unwrap();
    assert!(report.is_clean(), "{note}: {report:?}");
}

/// What a datastore holds outlives another collection, and a rebuild of its index.
pub fn assert_lasts(datastore: Datastore, storage: &Arc<dyn Storage>, model: &Model, note: &str) {
    assert_holds(&datastore, model, note);
    collect(&datastore);
    assert_holds(&datastore, model, &format!("{note}, collected again"));
    drop(datastore);
    let datastore = open(storage);
    datastore.rebuild().unwrap();
    assert_holds(&datastore, model, &format!("{note}, rebuilt"));
}

/// Leaves of three chunks each; neighbours share one.
pub fn leaves(from: u64, count: u64) -> Vec<Vec<u64>> {
    (from..from + count).map(|n| vec![n * 2, n * 2 + 1, n * 2 + 2]).collect()
}

/// Three savesets that share most of what they have, and one that shares nothing; `of` leaves each.
pub fn four(datastore: &Datastore, of: u64) -> Model {
    let (some, most) = (of / 5, of - of / 5);
    let mut model = Model::new();
    for (number, tree) in [
        (1, leaves(0, of)),
        (2, [leaves(0, most), leaves(100, some)].concat()),
        (3, [leaves(0, most / 2), leaves(100, some), leaves(200, of / 3)].concat()),
        (4, leaves(500, of)),
    ] {
        backup_leaves(&session(datastore, number), &tree).unwrap();
        model.insert(number, tree);
    }
    model
}

pub fn with_four(datastore: &Datastore) -> Model {
    four(datastore, 30)
}

/// Bytes of the chunks of a tree, each once.
pub fn chunk_bytes(leaves: &[Vec<u64>]) -> u64 {
    let seeds: BTreeSet<u64> = leaves.iter().flatten().copied().collect();
    seeds.into_iter().map(|seed| leaf_content(seed).len() as u64).sum()
}

#[test]
fn what_was_deleted_is_gone_and_only_what_nobody_needs_goes_with_it() {
    let (datastore, storage, _) = fresh();
    let mut model = with_four(&datastore);
    assert_holds(&datastore, &model, "before");
    let nothing = collect(&datastore);
    assert_eq!((nothing.packs_deleted, nothing.packs_written), (0, 0), "{nothing:?}");
    assert_eq!(nothing.savesets, 4);

    let before = datastore.state().bytes;
    delete(&datastore, &[4]);
    model.remove(&4);
    let error = datastore.manifest(id(4)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(datastore.delete_savesets(&[id(4)], now()).unwrap_err().kind(), Kind::NotFound);
    assert_holds(&datastore, &model, "deleted");
    let report = collect(&datastore);
    assert!(report.bytes_deleted > report.bytes_written + chunk_bytes(&leaves(500, 30)));
    assert!(datastore.state().bytes < before * 3 / 4, "{report:?}");
    assert_holds(&datastore, &model, "collected");

    // One that shares nearly everything.
    delete(&datastore, &[1]);
    model.remove(&1);
    collect(&datastore);
    assert_holds(&datastore, &model, "shared parts stay");
    // A filter of names may take something dead for alive; each collection has another one.
    let is_quiet = |again: CollectReport| (again.packs_deleted, again.packs_written) == (0, 0);
    assert!((0..4).any(|_| is_quiet(collect(&datastore))), "it comes to an end");

    // Neither an opening nor a rebuild brings anything back.
    let bytes = datastore.state().bytes;
    datastore.close().unwrap();
    let datastore = open(&storage);
    assert_eq!(datastore.state().bytes, bytes);
    assert_holds(&datastore, &model, "reopened");
    datastore.rebuild().unwrap();
    assert_holds(&datastore, &model, "rebuilt");
    for key in storage.list("index/").unwrap().map(|object| object.unwrap().key) {
        storage.delete(&key).unwrap();
    }
    drop(datastore);
    let datastore = open(&storage);
    assert_holds(&datastore, &model, "without an index");

    // What was collected comes again when it is needed again.
    let tree = leaves(500, 30);
    backup_leaves(&session(&datastore, 5), &tree).unwrap();
    model.insert(5, tree);
    assert_holds(&datastore, &model, "again");
    delete(&datastore, &[2, 3, 5]);
    collect(&datastore);
    assert_eq!(datastore.state().packs, 0, "an empty datastore has no pack");
    assert_holds(&datastore, &Model::new(), "empty");
    assert_eq!(backup(&session(&datastore, 6), 1, 2, 100).unwrap().sequence, 6, "no number twice");
}

#[test]
fn sequence_numbers_of_deleted_savesets_are_not_given_out_again() {
    let (datastore, storage, _) = fresh();
    backup(&session(&datastore, 1), 1, 1, 100).unwrap();
    backup(&session(&datastore, 2), 2, 1, 100).unwrap();
    delete(&datastore, &[2]);
    datastore.close().unwrap();
    assert_eq!(backup(&session(&open(&storage), 3), 3, 1, 100).unwrap().sequence, 3);
}

#[test]
fn gc06_chunks_that_lie_several_times_are_kept_as_long_as_one_saveset_needs_them() {
    let (datastore, _, _) = fresh();
    let mut model = Model::new();
    // Side by side, so that neither sees what the other has sent.
    let (one, two) = (session(&datastore, 1), session(&datastore, 2));
    let same = vec![vec![1, 1, 1, 2], vec![1, 1], vec![2, 3, 3]];
    let (root, segments) = put_leaves(&one, &same).unwrap();
    backup_leaves(&two, &same).unwrap();
    one.commit(&draft(root, segments)).unwrap();
    drop((one, two));
    model.insert(1, same.clone());
    model.insert(2, same);
    collect(&datastore);
    assert_holds(&datastore, &model, "both");
    delete(&datastore, &[1]);
    model.remove(&1);
    collect(&datastore);
    assert_holds(&datastore, &model, "one");
}

/// What a session that opens at any step of a collection may do: it asks for dead and for live things,
/// and relies on the answers.
#[test]
fn gc01_a_dedup_hit_at_any_step_of_a_collection_is_no_loss() {
    for step in 0.. {
        let (datastore, storage, _) = fresh();
        let mut model = four(&datastore, FEW);
        delete(&datastore, &[1, 4]);
        model.remove(&1);
        model.remove(&4);
        let calls = AtomicUsize::new(0);
        let late = Mutex::new(None);
        let mut reached = false;
        let mixed = [leaves(500, FEW), leaves(4, FEW), leaves(900, 3)].concat();
        datastore
            .collect_garbage(&eager(), &|_| {
                if calls.fetch_add(1, Ordering::Relaxed) == step {
                    let session = session(&datastore, 9);
                    let (root, segments) = put_leaves(&session, &mixed).unwrap();
                    session.commit(&draft(root, segments)).unwrap();
                }
                // And one that asks now and commits after everything.
                if calls.load(Ordering::Relaxed) == step + 1 && late.lock().unwrap().is_none() {
                    let session = session(&datastore, 10);
                    let put = put_leaves(&session, &mixed).unwrap();
                    *late.lock().unwrap() = Some((session, put));
                }
                // Nobody is waited for for ever.
                if calls.load(Ordering::Relaxed) > step + 4
                    && let Some((session, (root, segments))) = late.lock().unwrap().as_mut()
                {
                    session.commit(&draft(*root, *segments)).unwrap();
                }
                if calls.load(Ordering::Relaxed) > step + 6 {
                    late.lock().unwrap().take();
                }
                true
            })
            .unwrap();
        let calls = calls.into_inner();
        if calls > step {
            reached = true;
            model.insert(9, mixed.clone());
        }
        if let Some((session, (root, segments))) = late.into_inner().unwrap() {
            session.commit(&draft(root, segments)).unwrap();
        }
        if datastore.manifest(id(10)).is_ok() {
            model.insert(10, mixed);
        }
        assert_lasts(datastore, &storage, &model, &format!("step {step}"));
        if !reached {
            assert!(step > 4, "{step} steps were seen");
            break;
        }
    }
}

/// A session that opened before relies on a saveset that is deleted while it works: whatever it was told
/// is still there when it commits, however many collections have begun meanwhile (GC02, GC04, GC07).
#[test]
fn gc02_gc04_gc07_a_session_that_sleeps_over_collections_loses_nothing_it_was_told() {
    for dies in [false, true] {
        let (datastore, _, _) = fresh();
        let mut model = with_four(&datastore);
        let slow = session(&datastore, 8);
        // Told before the deletion: everything is here.
        let root = datastore.manifest(id(4)).unwrap().root;
        assert_eq!(slow.has(&[root]).unwrap(), [true]);
        let extra = node(&[root], &[]);
        slow.put(0, node_segment(DOMAIN, std::slice::from_ref(&extra))).unwrap();
        slow.keep().unwrap();
        delete(&datastore, &[4]);
        model.remove(&4);
        // Ten epochs pass; nobody gets further than to wait.
        for _ in 0..10 {
            let asked = AtomicUsize::new(0);
            let error = datastore
                .collect_garbage(&eager(), &|progress| {
                    if progress.stage == CollectStage::WaitingForSessions {
                        assert_eq!(progress.done, 1);
                        return asked.fetch_add(1, Ordering::Relaxed) < 2;
                    }
                    true
                })
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Cancelled, "{error}");
        }
        assert_eq!(slow.has(&[root]).unwrap(), [true]);
        if dies {
            // Its node is durable and names what is dead: who relies on it later loses nothing either.
            drop(slow);
            let (next, ran) = (Mutex::new(None), AtomicUsize::new(0));
            datastore
                .collect_garbage(&eager(), &|progress| {
                    if progress.stage == CollectStage::MarkingAgain
                        && ran.fetch_add(1, Ordering::Relaxed) == 0
                    {
                        *next.lock().unwrap() = Some(session(&datastore, 9));
                    }
                    if progress.stage == CollectStage::WaitingForReaders {
                        next.lock().unwrap().take();
                    }
                    true
                })
                .unwrap();
            let writing = session(&datastore, 9);
            let known = writing.has(&[extra.name]).unwrap() == [true];
            let reply = writing.commit(&draft(extra.name, 0));
            assert_eq!(reply.is_ok(), known, "{reply:?}");
            if known {
                model.insert(9, leaves(500, 30));
            }
        } else {
            slow.commit(&draft(extra.name, 1)).unwrap();
            drop(slow);
            model.insert(8, leaves(500, 30));
            collect(&datastore);
        }
        assert_holds(&datastore, &model, &format!("dies: {dies}"));
        collect(&datastore);
        assert_holds(&datastore, &model, &format!("dies: {dies}, again"));
    }
}

#[test]
fn a_restore_that_runs_keeps_what_it_reads_and_its_saveset_cannot_be_deleted() {
    let (datastore, _, _) = fresh();
    let mut model = with_four(&datastore);
    let reading = datastore.read_session(DOMAIN);
    reading.manifest(id(4)).unwrap();
    let error = datastore.delete_savesets(&[id(4)], now()).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    assert_holds(&datastore, &model, "nothing was deleted");
    drop(reading);

    // Places that were given before packs are written anew are good until their reader has ended.
    let names: Vec<_> = model[&2].iter().map(|seeds| leaf(seeds).name).collect();
    delete(&datastore, &[1, 4]);
    model.retain(|number, _| ![1, 4].contains(number));
    let reading = Mutex::new(None);
    datastore
        .collect_garbage(&eager(), &|progress| {
            let mut reading = reading.lock().unwrap();
            match progress.stage {
                CollectStage::Copying if reading.is_none() => {
                    let session = datastore.read_session(DOMAIN);
                    let places = session.locate(&names).unwrap();
                    *reading = Some((session, places));
                }
                CollectStage::WaitingForReaders => {
                    let (session, places) = reading.take().unwrap();
                    let places: Vec<_> = places.into_iter().map(Option::unwrap).collect();
                    let read = session.get(&places).unwrap();
                    assert!(read.iter().all(Option::is_some));
                }
                _ => {}
            }
            true
        })
        .unwrap();
    assert_holds(&datastore, &model, "after");
}

#[test]
fn gc13_locked_savesets_and_clocks_that_jump_delete_nothing() {
    let (datastore, _, _) = fresh();
    let until = now() + 3600;
    let options = SessionOptions { lock_until_unix_s: until };
    backup(&datastore.session(DOMAIN, id(1), options), 1, 1, 100).unwrap();
    backup(&session(&datastore, 2), 2, 1, 100).unwrap();
    let error = datastore.delete_savesets(&[id(2), id(1)], now()).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains(&until.to_string()), "{error}");
    assert!(datastore.manifest(id(2)).is_ok(), "all or none");
    const TEN_YEARS: u64 = 10 * 365 * 86_400;
    for theirs in [now() + TEN_YEARS, now() - TEN_YEARS, 0, u64::MAX] {
        let error = datastore.delete_savesets(&[id(1)], theirs).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error}");
        assert!(error.to_string().contains("clock"), "{error}");
    }
    collect(&datastore);
    assert_eq!(restore(&datastore, id(1)), Ok(400));
}

#[test]
fn gc11_a_process_that_was_overtaken_collects_nothing() {
    let (datastore, storage, _) = fresh();
    let mut model = with_four(&datastore);
    delete(&datastore, &[4]);
    model.remove(&4);
    // The lock is lost, as on a network file system, and another process has opened the datastore.
    storage.put("generation.9", b"another").unwrap();
    let before = storage.list("packs/").unwrap().count();
    let error = datastore.collect_garbage(&eager(), &|_| true).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    assert!(storage.list("packs/").unwrap().count() >= before);
    drop(datastore);
    let datastore = open(&storage);
    assert_holds(&datastore, &model, "nothing lost");
    collect(&datastore);
    assert_holds(&datastore, &model, "collected");
}

#[test]
fn ret03_more_than_the_budget_is_not_removed_without_leave() {
    let (datastore, _, _) = fresh();
    let mut model = with_four(&datastore);
    let bytes = datastore.state().bytes;
    let within = CollectOptions { budget_floor_bytes: bytes / 4, ..eager() };
    delete(&datastore, &[1, 2, 3]);
    model.retain(|number, _| *number == 4);
    let error = datastore.collect_garbage(&within, &|_| true).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied, "{error}");
    assert_eq!(datastore.state().bytes, bytes);
    assert_holds(&datastore, &model, "stopped");
    let leave = CollectOptions { over_budget: true, ..within };
    let report = datastore.collect_garbage(&leave, &|_| true).unwrap();
    assert!(report.bytes_deleted > bytes / 2, "{report:?}");
    assert_holds(&datastore, &model, "with leave");
}

/// A damaged manifest or node might need anything: nothing is removed before it is known.
#[test]
fn nothing_is_collected_while_it_cannot_be_told_what_a_saveset_needs() {
    let (datastore, storage, _) = fresh();
    let mut model = with_four(&datastore);
    delete(&datastore, &[1]);
    model.remove(&1);
    drop(datastore);
    let key = format!("manifests/{}", id(2));
    let manifest = storage.get(&key).unwrap();
    let mut broken = manifest.to_vec();
    broken[100] ^= 1;
    storage.replace(&key, &broken).unwrap();
    let datastore = open(&storage);
    let error = datastore.collect_garbage(&eager(), &|_| true).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    drop(datastore);
    storage.replace(&key, &manifest).unwrap();

    let datastore = open(&storage);
    let root = datastore.manifest(id(3)).unwrap().root;
    let place = datastore.locate(DOMAIN, &[root]).unwrap()[0].unwrap();
    let hex = place.pack.to_string();
    let key = format!("packs/{}/{hex}", &hex[..2]);
    let whole = storage.get(&key).unwrap();
    let mut broken = whole.to_vec();
    broken[place.offset as usize + 100] ^= 1;
    storage.replace(&key, &broken).unwrap();
    let error = datastore.collect_garbage(&eager(), &|_| true).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    drop(datastore);
    storage.replace(&key, &whole).unwrap();
    let datastore = open(&storage);
    datastore.verify_structure(&|_| true).unwrap();
    collect(&datastore);
    assert_holds(&datastore, &model, "mended and collected");
}

/// Backups, restores, deletions and collections all at once, for a while.
#[test]
fn gc12_a_soak_of_everything_at_once_loses_nothing() {
    let (datastore, storage, _) = fresh();
    let model: Mutex<Model> = Mutex::default();
    let number = AtomicUsize::new(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3_u64)
            .map(|worker| {
                let (datastore, model, number) = (&datastore, &model, &number);
                scope.spawn(move || {
                    for round in 0..80_u64 {
                        let own = number.fetch_add(1, Ordering::Relaxed) as u8;
                        // Much in common with what others have, or had.
                        let from = (round * 7 + worker * 3) % 40;
                        let tree = [leaves(from, 8), leaves(1000 + round % 5, 3)].concat();
                        let writing = session(datastore, own);
                        backup_leaves(&writing, &tree).unwrap();
                        drop(writing);
                        assert_eq!(restore(datastore, id(own)), Ok(leaf_bytes(&tree)));
                        model.lock().unwrap().insert(own, tree);
                        let oldest = {
                            let mut model = model.lock().unwrap();
                            if model.len() > 4 { model.pop_first() } else { None }
                        };
                        if let Some((oldest, _)) = oldest {
                            while let Err(error) = datastore.delete_savesets(&[id(oldest)], now()) {
                                assert_eq!(error.kind(), Kind::Busy, "{error}");
                                std::thread::yield_now();
                            }
                        }
                    }
                })
            })
            .collect();
        let mut rounds = 0;
        while !workers.iter().all(|worker| worker.is_finished()) || rounds == 0 {
            let report = collect(&datastore);
            rounds += 1;
            assert_eq!(report.packs_damaged, 0);
        }
        assert!(rounds > 1, "{rounds} collections");
    });
    let model = model.into_inner().unwrap();
    assert_holds(&datastore, &model, "at rest");
    collect(&datastore);
    assert_holds(&datastore, &model, "collected");
    drop(datastore);
    let datastore = open(&storage);
    datastore.rebuild().unwrap();
    assert_holds(&datastore, &model, "rebuilt");
}

/// Sessions that are open over other steps, with the tree of each.
type Pending = Mutex<Vec<(u8, Vec<Vec<u64>>, WriteSession, (Name, u64))>>;

fn commit_all(pending: &Pending, model: &mut Model) {
    for (number, tree, session, (root, segments)) in pending.lock().unwrap().drain(..) {
        session.commit(&draft(root, segments)).unwrap();
        model.insert(number, tree);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Any order of backups with anything in common, some of them open over other steps, deletions,
    /// collections, openings, rebuilds, lost indexes: what is not deleted restores, and nothing else is
    /// listed.
    #[test]
    fn any_order_of_backups_deletions_and_collections_keeps_what_is_not_deleted(
        steps in proptest::collection::vec((0_u8..9, 0_u64..24, 1_u64..9), 4..32)
    ) {
        let (mut datastore, storage, _) = fresh();
        let mut model = Model::new();
        let pending = Pending::default();
        let mut number = 0;
        for (kind, from, count) in steps {
            match kind {
                0..=2 => {
                    number += 1;
                    let tree = leaves(from, count);
                    backup_leaves(&session(&datastore, number), &tree).unwrap();
                    model.insert(number, tree);
                }
                3 => {
                    let victims: Vec<u8> =
                        model.keys().copied().filter(|n| u64::from(*n) % 3 == from % 3).collect();
                    delete(&datastore, &victims);
                    model.retain(|number, _| !victims.contains(number));
                }
                // Sessions that are waited for commit, or are given up, or nobody waits longer.
                4 => {
                    let committed = Mutex::new(Model::new());
                    let collected = datastore.collect_garbage(&eager(), &|progress| {
                        if progress.stage == CollectStage::WaitingForSessions {
                            match from % 3 {
                                0 => commit_all(&pending, &mut committed.lock().unwrap()),
                                1 => pending.lock().unwrap().clear(),
                                _ => return false,
                            }
                        }
                        true
                    });
                    let stopped = collected.is_err_and(|error| error.kind() == Kind::Cancelled);
                    assert!(!stopped || from % 3 == 2);
                    model.extend(committed.into_inner().unwrap());
                }
                5 => {
                    pending.lock().unwrap().clear();
                    drop(datastore);
                    if count > 4 {
                        for key in storage.list("index/").unwrap().map(|o| o.unwrap().key) {
                            storage.delete(&key).unwrap();
                        }
                    }
                    datastore = open(&storage);
                }
                6 => drop(datastore.rebuild().unwrap()),
                7 => {
                    number += 1;
                    let (tree, open) = (leaves(from, count), session(&datastore, number));
                    let put = put_leaves(&open, &tree).unwrap();
                    if count > 4 {
                        open.keep().unwrap();
                    }
                    pending.lock().unwrap().push((number, tree, open, put));
                }
                _ => commit_all(&pending, &mut model),
            }
            assert_holds(&datastore, &model, "a step");
        }
        commit_all(&pending, &mut model);
        assert_holds(&datastore, &model, "the end");
    }
}
