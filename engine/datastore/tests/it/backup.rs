//! Backups into a real folder: round trips, reopening, refusals.

use std::sync::Arc;

use simsim_datastore::{Datastore, SessionOptions};
use simsim_model::{BackupSession, DomainId, Kind, Name, RestoreSession, SavesetId};
use simsim_storage::{LocalStorage, Storage};

use crate::kit::*;

fn folder() -> (tempfile::TempDir, Arc<dyn Storage>) {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    (folder, storage)
}

#[test]
fn a_backup_restores_before_and_after_reopening() {
    let (_folder, storage) = folder();
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let datastore = open(&storage);
    let writing = session(&datastore, 1);
    let reply = backup(&writing, 1, 12, 9000).unwrap();
    assert_eq!(reply.sequence, 1);
    assert_eq!(writing.commit(&draft(Name([1; 32]), 0)).unwrap(), reply, "a repeated commit");
    drop(writing);
    assert_eq!(restore(&datastore, reply.saveset).unwrap(), 12 * 4 * 9000);
    let before = datastore.state();
    assert!(before.packs > 2, "packs are sealed at their size: {before:?}");
    datastore.close().unwrap();

    let datastore = open(&storage);
    assert_eq!(restore(&datastore, reply.saveset).unwrap(), 12 * 4 * 9000);
    let after = datastore.state();
    assert_eq!(
        (after.packs, after.bytes, after.chunks),
        (before.packs, before.bytes, before.chunks)
    );
    assert_eq!(after.generation, before.generation + 1);
    let reply = backup(&session(&datastore, 2), 2, 1, 100).unwrap();
    assert_eq!(reply.sequence, 2);
    let manifests = datastore.manifests(0, 10).unwrap();
    assert_eq!(manifests.iter().map(|m| m.sequence).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(datastore.manifests(1, 10).unwrap().len(), 1);
    assert_eq!(datastore.manifests(0, 1).unwrap().len(), 1);
    let report = datastore.verify_structure(&|_| true).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.manifests, 2);
}

#[test]
fn segments_may_come_in_any_order_and_twice() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage.clone(), create_options()).unwrap();
    let writing = session(&datastore, 1);
    let (names, data) = data_segment(DOMAIN, &[content(1, 500), content(2, 500)]);
    let leaf = node(&[], &names);
    let root = node(&[leaf.name], &[]);
    writing.put(2, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
    writing.put(1, node_segment(DOMAIN, std::slice::from_ref(&leaf))).unwrap();
    assert_eq!(writing.has(&[root.name]).unwrap(), [false], "a node shows before its children");
    let error = writing.commit(&draft(root.name, 3)).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    writing.put(0, data.clone()).unwrap();
    writing.put(0, data).unwrap();
    assert_eq!(writing.has(&[root.name, names[0]]).unwrap(), [true, true]);
    assert!(writing.commit(&draft(root.name, 2)).is_err(), "a wrong number of segments");
    let reply = writing.commit(&draft(root.name, 3)).unwrap();
    assert_eq!(restore(&datastore, reply.saveset).unwrap(), 1000);
    assert_eq!(datastore.state().segments, 3);
}

#[test]
fn nodes_that_waited_are_not_counted_for_ever() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let writing = session(&datastore, 1);
    let (last, last_data) = data_segment(DOMAIN, &[content(1, 500)]);
    let (known, data) = data_segment(DOMAIN, &[content(2, 500)]);
    writing.put(0, data).unwrap();
    let waiting_long = node(&[], &last);
    writing.put(1, node_segment(DOMAIN, std::slice::from_ref(&waiting_long))).unwrap();
    let mut leaves = vec![waiting_long.name];
    let mut number = 2;
    // Twelve times 6.4 MB wait for one chunk each: more than may wait at the same time.
    for round in 0..12 {
        let (mut names, data) = data_segment(DOMAIN, &[content(10 + round, 500)]);
        names.resize(200_000, known[0]);
        let leaf = node(&[], &names);
        writing.put(number, node_segment(DOMAIN, std::slice::from_ref(&leaf))).unwrap();
        writing.put(number + 1, data).unwrap();
        assert_eq!(writing.has(&[leaf.name]).unwrap(), [true]);
        leaves.push(leaf.name);
        number += 2;
    }
    let root = node(&leaves, &[]);
    writing.put(number, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
    writing.put(number + 1, last_data).unwrap();
    writing.commit(&draft(root.name, number + 2)).unwrap();
}

#[test]
fn a_commit_with_a_missing_chunk_is_refused_and_can_be_mended() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let writing = session(&datastore, 1);
    let (names, data) = data_segment(DOMAIN, &[content(1, 500)]);
    let root = node(&[], &names);
    writing.put(0, node_segment(DOMAIN, std::slice::from_ref(&root))).unwrap();
    let error = writing.commit(&draft(root.name, 1)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.message.contains(&names[0].to_string()), "{error}");
    assert!(datastore.manifests(0, 10).unwrap().is_empty());
    writing.put(1, data).unwrap();
    let reply = writing.commit(&draft(root.name, 2)).unwrap();
    assert_eq!(restore(&datastore, reply.saveset).unwrap(), 500);
}

#[test]
fn pwr12_a_saveset_without_a_tree_or_with_a_chunk_as_tree_is_refused() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let writing = session(&datastore, 1);
    let (names, data) = data_segment(DOMAIN, &[content(1, 500)]);
    writing.put(0, data).unwrap();
    for root in [Name::ZERO, Name([5; 32]), names[0]] {
        assert!(writing.commit(&draft(root, 1)).is_err());
    }
    assert!(datastore.manifests(0, 10).unwrap().is_empty());
}

#[test]
fn nothing_new_is_a_saveset_too() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let first = backup(&session(&datastore, 1), 1, 2, 300).unwrap();
    let root = datastore.manifest(first.saveset).unwrap().root;
    let second = session(&datastore, 2).commit(&draft(root, 0)).unwrap();
    assert_eq!(second.sequence, 2);
    assert_eq!(restore(&datastore, second.saveset).unwrap(), 2 * 4 * 300);
}

#[test]
fn domains_do_not_see_each_other() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let other = DomainId([8; 16]);
    let reply = backup(&session(&datastore, 1), 1, 1, 300).unwrap();
    let root = datastore.manifest(reply.saveset).unwrap().root;
    assert_eq!(datastore.has(DOMAIN, &[root]).unwrap(), [true]);
    assert_eq!(datastore.has(other, &[root]).unwrap(), [false]);
    assert_eq!(datastore.locate(other, &[root]).unwrap(), [None]);
    let place = datastore.locate(DOMAIN, &[root]).unwrap()[0].unwrap();
    // As if it were not there: nobody learns what others store.
    assert_eq!(datastore.read_session(other).get(&[place]).unwrap(), [None]);
    let error = datastore.read_session(other).manifest(reply.saveset).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let foreign = datastore.session(other, SavesetId([2; 16]), SessionOptions::default());
    let (_, data) = data_segment(DOMAIN, &[content(1, 500)]);
    assert_eq!(foreign.put(0, data).unwrap_err().kind(), Kind::Denied);
    assert_eq!(foreign.commit(&draft(root, 0)).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn another_session_does_not_see_what_is_not_durable() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let (one, two) = (session(&datastore, 1), session(&datastore, 2));
    let (names, data) = data_segment(DOMAIN, &[content(1, 500)]);
    one.put(0, data).unwrap();
    assert_eq!(one.has(&names).unwrap(), [true]);
    assert_eq!(two.has(&names).unwrap(), [false]);
}

#[test]
fn a_damaged_or_foreign_segment_is_refused() {
    let (_folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let writing = session(&datastore, 1);
    let (_, data) = data_segment(DOMAIN, &[content(1, 200)]);
    for at in 0..data.len() {
        let mut bytes = data.to_vec();
        bytes[at] ^= 1;
        assert!(writing.put(0, bytes.into()).is_err(), "byte {at}");
    }
    for length in 0..data.len() {
        assert!(writing.put(0, data.slice(..length)).is_err(), "{length} bytes");
    }
    writing.put(0, data).unwrap();
    let many = vec![Name::ZERO; simsim_model::limits::NAMES_PER_REQUEST_MAX + 1];
    assert_eq!(writing.has(&many).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn gc11_a_second_opener_is_refused_while_the_first_lives() {
    let (folder, storage) = folder();
    let datastore = Datastore::create(storage, create_options()).unwrap();
    let second: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    let error = Datastore::open(second.clone(), open_options()).err().unwrap();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    drop(datastore);
    open(&second);
}

#[test]
fn gc08_a_stale_process_may_not_commit() {
    let (folder, storage) = folder();
    let stale = Datastore::create(storage, create_options()).unwrap();
    let writing = session(&stale, 1);
    // The lock is taken away, as on a file system that loses locks.
    std::fs::remove_file(folder.path().join("lock")).unwrap();
    let second: Arc<dyn Storage> = Arc::new(LocalStorage::open(folder.path()).unwrap());
    let fresh = open(&second);
    let error = backup(&writing, 1, 1, 100).unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    assert!(fresh.manifests(0, 10).unwrap().is_empty());
    assert!(stale.state().read_only.is_some());
    backup(&session(&fresh, 2), 2, 1, 100).unwrap();
}

#[test]
fn threads_share_a_session() {
    let (_folder, storage) = folder();
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let datastore = open(&storage);
    let writing = session(&datastore, 1);
    let segments: Vec<_> =
        (0..60).map(|n| data_segment(DOMAIN, &[content(n, 9000), content(n + 500, 100)])).collect();
    let leaves: Vec<_> = segments.iter().map(|(names, _)| node(&[], names)).collect();
    let root = node(&leaves.iter().map(|leaf| leaf.name).collect::<Vec<_>>(), &[]);
    let mut puts: Vec<(u64, bytes::Bytes)> = Vec::new();
    for (at, (_, data)) in segments.iter().enumerate() {
        puts.push((at as u64 * 2 + 1, node_segment(DOMAIN, std::slice::from_ref(&leaves[at]))));
        puts.push((at as u64 * 2, data.clone()));
    }
    puts.push((120, node_segment(DOMAIN, std::slice::from_ref(&root))));
    puts.reverse();
    let queue = std::sync::Mutex::new(puts);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some((number, bytes)) = queue.lock().unwrap().pop() else { break };
                    writing.put(number, bytes).unwrap();
                }
            });
        }
    });
    let reply = writing.commit(&draft(root.name, 121)).unwrap();
    assert_eq!(restore(&datastore, reply.saveset).unwrap(), 60 * 9100);
    assert!(datastore.verify_structure(&|_| true).unwrap().is_clean());
}

#[test]
fn creating_twice_or_opening_nothing_is_refused() {
    let (_folder, storage) = folder();
    let error = Datastore::open(storage.clone(), open_options()).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
    drop(Datastore::create(storage.clone(), create_options()).unwrap());
    let error = Datastore::create(storage, create_options()).err().unwrap();
    assert_eq!(error.kind(), Kind::Denied);
}
