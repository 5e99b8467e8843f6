//! Copies of savesets between two devices, over the real port of a drive.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_control::verbs::*;
use simsim_model::*;
use simsim_testkit::{CutProxy, Direction as Flow, Plan};

use crate::bench::*;
use crate::pair::*;

const BOTH: [By; 2] = [By::Push, By::Pull];

#[test]
fn a_saveset_is_copied_whole_and_restores_from_the_copy_alone() {
    run(async {
        for by in BOTH {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            make_tree(&source);
            let (first, _) = pair.bench.backup(&source, None).await;
            let nothing = pair.bench.path("nothing");
            fs::create_dir(&nothing).unwrap();
            let (empty, _) = pair.bench.backup(&nothing, None).await;
            let reply = pair.copy(by, &[first, empty]).await;
            assert_eq!(reply.result.outcome, Outcome::Finished, "{by:?}: {reply:?}");
            assert_eq!((reply.copied, reply.there, reply.failed), (2, 0, 0), "{by:?}");
            assert!(reply.bytes > 3 << 20, "{by:?}: {reply:?}");
            pair.comes_back(first, &source, "the tree").await;
            pair.comes_back(empty, &nothing, "an empty folder").await;
            let check = pair.check(&pair.second, false).await;
            assert_eq!(check.result.outcome, Outcome::Finished, "{by:?}: {check:?}");
            let original = manifest(&pair.first, first).await;
            let copy = manifest(&pair.second, first).await;
            assert_eq!(copy.origin, Some(STORE));
            assert_eq!(
                (copy.root, copy.committed_unix_ns, copy.sealed_details),
                (original.root, original.committed_unix_ns, original.sealed_details)
            );
        }
    });
}

async fn manifest(end: &End, saveset: SavesetId) -> simsim_format::Manifest {
    let get = GetManifest { store: end.store, saveset, offset: 0 };
    simsim_format::Manifest::decode(&end.ask(get).await.unwrap().bytes).unwrap()
}

#[test]
fn a_repeat_with_nothing_new_sends_nothing_and_a_change_sends_what_changed() {
    run(async {
        for by in BOTH {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            make_tree(&source);
            tokio::time::sleep(Duration::from_millis(100)).await;
            let (first, _) = pair.bench.backup(&source, None).await;
            let whole = pair.copy(by, &[first]).await;
            let (worker, dialled, _) = pair.ends(by);
            let proxy = CutProxy::start(dialled.address);
            let begun = Instant::now();
            let again = pair.copy_over(by, &[first], proxy.address()).await;
            assert!(begun.elapsed() < Duration::from_secs(1), "{by:?}: {:?}", begun.elapsed());
            assert_eq!((again.copied, again.there), (0, 1), "{by:?}");
            assert_eq!((again.segments, again.bytes), (0, 0), "{by:?}");
            assert_eq!(proxy.connections(), 1, "{by:?}: a few requests on one connection");
            let _ = worker;

            fs::write(source.join("sub/new"), noise(50_000, 77)).unwrap();
            let (second, _) = pair.bench.backup(&source, Some(first)).await;
            let changed = pair.copy(by, &[first, second]).await;
            assert_eq!((changed.copied, changed.there), (1, 1), "{by:?}");
            assert!(changed.bytes > 50_000 && changed.bytes < 80_000, "{by:?}: {changed:?}");
            assert!(changed.bytes < whole.bytes / 20, "{by:?}");
            pair.comes_back(second, &source, "the changed tree").await;
        }
    });
}

/// An INCR alone: its node segments stand on those of its base, whose data comes with them.
#[test]
fn one_saveset_of_a_chain_is_complete_by_itself() {
    run(async {
        let pair = Pair::new().await;
        let source = pair.bench.path("source");
        make_tree(&source);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (first, _) = pair.bench.backup(&source, None).await;
        fs::write(source.join("sub/1.bin"), noise(9000, 4711)).unwrap();
        fs::create_dir(source.join("more")).unwrap();
        fs::write(source.join("more/file"), noise(9000, 4712)).unwrap();
        let (second, _) = pair.bench.backup(&source, Some(first)).await;
        let reply = pair.copy(By::Push, &[second]).await;
        assert_eq!(reply.result.outcome, Outcome::Finished, "{reply:?}");
        pair.comes_back(second, &source, "the second alone").await;
        // The first costs its manifest now.
        let reply = pair.copy(By::Push, &[first]).await;
        assert_eq!((reply.copied, reply.segments), (1, 0), "{reply:?}");
    });
}

/// Cut at many places, seen through: the line repeats what was lost.
#[test]
fn short_breaks_are_seen_through_at_any_place() {
    run(async {
        for by in BOTH {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            make_tree(&source);
            let (saveset, _) = pair.bench.backup(&source, None).await;
            let proxy = CutProxy::start(pair.ends(by).1.address);
            for (at, flow) in [
                (0, Flow::Up),
                (700, Flow::Up),
                (2_500, Flow::Down),
                (4_000, Flow::Up),
                (100_000, Flow::Up),
                (400_000, Flow::Down),
                (1_500_000, Flow::Up),
                (1_500_000, Flow::Down),
            ] {
                proxy.push(Plan::cut_after(flow, at));
            }
            let reply = pair.copy_over(by, &[saveset], proxy.address()).await;
            assert_eq!(reply.result.outcome, Outcome::Finished, "{by:?}: {reply:?}");
            pair.comes_back(saveset, &source, "after breaks").await;
        }
    });
}

/// The line stays away for longer than anybody waits: the next run sends the rest and no more.
#[test]
fn a_run_that_broke_keeps_what_arrived_and_the_next_sends_the_rest() {
    run(async {
        for by in BOTH {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            fs::create_dir(&source).unwrap();
            for number in 0..12 {
                fs::write(source.join(number.to_string()), noise(3 << 20, 500 + number)).unwrap();
            }
            let (saveset, _) = pair.bench.backup(&source, None).await;
            let proxy = CutProxy::start(pair.ends(by).1.address);
            let flow = if by == By::Push { Flow::Up } else { Flow::Down };
            for _ in 0..8 {
                proxy.push(Plan::cut_after(flow, 5 << 20));
            }
            proxy.set_default(Plan::cut_after(Flow::Up, 0));
            let broken = pair.copy_over(by, &[saveset], proxy.address()).await;
            assert_eq!(broken.result.outcome, Outcome::Failed, "{by:?}: {broken:?}");
            assert_eq!(broken.result.error.unwrap().kind, Kind::Unreachable, "{by:?}");
            assert_eq!(pair.savesets_there().await, 0, "{by:?}: nothing is seen by halves");
            let arrived = broken.result.snapshot.bytes_wire;
            assert!(arrived > 5 << 20, "{by:?}: {arrived}");
            if by == By::Push {
                // The dialled device learns of it by the silence; the server tells it at once.
                let revoke = |transfer| RevokeTransfer { transfer };
                for transfer in (0..60u64).map(transfer_numbered) {
                    let _ = pair.second.ask(revoke(transfer)).await;
                }
            }
            let rest = pair.copy(by, &[saveset]).await;
            assert_eq!(rest.result.outcome, Outcome::Finished, "{by:?}: {rest:?}");
            let all = (36 << 20) + (1 << 20);
            // At most the segments that were acknowledged on one side only.
            assert!(rest.bytes + arrived < all + (10 << 20), "{by:?}: {} + {arrived}", rest.bytes);
            assert!(rest.bytes < 32 << 20, "{by:?}: {}", rest.bytes);
            pair.comes_back(saveset, &source, "after the second run").await;
        }
    });
}

fn transfer_numbered(number: u64) -> TransferId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_le_bytes());
    TransferId(id)
}

#[test]
fn a_cancelled_copy_ends_and_leaves_no_half_of_a_saveset() {
    run(async {
        let pair = Pair::new().await;
        let source = pair.bench.path("source");
        make_tree(&source);
        let (saveset, _) = pair.bench.backup(&source, None).await;
        let (worker, dialled, _) = pair.ends(By::Push);
        let ticket = pair.ticket(By::Push);
        pair.grant(worker, dialled, &ticket).await;
        let job = ticket.job;
        let mut request = pair.request((worker, dialled), ticket, &[saveset], dialled.address);
        // Slow enough to be met at work.
        request.rates = vec!["100KB/s".to_owned()];
        let device = Arc::clone(&worker.device);
        let request: Request = request.into();
        let running = tokio::spawn(async move { device.handle(&request, &|_| ()).await });
        until("it is at work", async || {
            // Nobody knows the job before it has begun.
            let asked = worker.device.handle(&JobState { job }.into(), &|_| ()).await;
            matches!(asked, Some(Ok(Reply::JobState(JobStateReply { snapshot: Some(at), .. })))
                if at.bytes_wire > 0)
        })
        .await;
        assert!(worker.ask(CancelJob { job }).await.unwrap().was_running);
        let Some(Ok(Reply::Replicate(reply))) = running.await.unwrap() else { panic!("no reply") };
        assert_eq!(reply.result.outcome, Outcome::Cancelled, "{reply:?}");
        assert_eq!(pair.savesets_there().await, 0);
        pair.copy(By::Push, &[saveset]).await;
        pair.comes_back(saveset, &source, "after a cancelled run").await;
    });
}

#[test]
fn a_rate_holds_in_either_direction() {
    run(async {
        for by in BOTH {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            make_tree(&source);
            let (saveset, _) = pair.bench.backup(&source, None).await;
            let (worker, dialled, _) = pair.ends(by);
            let ticket = pair.ticket(by);
            pair.grant(worker, dialled, &ticket).await;
            let mut request = pair.request((worker, dialled), ticket, &[saveset], dialled.address);
            request.rates = vec!["1GB/s".to_owned(), "00:00-24:00 2MB/s".to_owned()];
            let begun = Instant::now();
            let reply = worker.ask(request).await.unwrap();
            let took = begun.elapsed();
            assert_eq!(reply.result.outcome, Outcome::Finished, "{by:?}: {reply:?}");
            // The last segment need not be waited for, nor what a full bucket lets go.
            let least = (reply.bytes - (2 << 20) - 500_000) as f64 / 2e6;
            assert!(took.as_secs_f64() >= least * 0.95, "{by:?}: {took:?} for {}", reply.bytes);
            let ticket = pair.ticket(by);
            pair.grant(worker, dialled, &ticket).await;
            let mut request = pair.request((worker, dialled), ticket, &[saveset], dialled.address);
            request.rates = vec!["fast".to_owned()];
            let refused = worker.ask(request).await.unwrap().result.error.unwrap();
            assert_eq!(refused.kind, Kind::Invalid, "{refused:?}");
        }
    });
}

#[test]
fn wrong_drives_keys_directions_and_domains_are_refused() {
    run(async {
        let pair = Pair::new().await;
        let source = pair.bench.path("source");
        make_tree(&source);
        let (saveset, _) = pair.bench.backup(&source, None).await;
        let (first, second) = (&pair.first, &pair.second);
        let ends = (first, second);
        let fails = async |ticket: Ticket, granted: Ticket, keys_of: &End, what: &str| -> Kind {
            pair.grant(keys_of, second, &granted).await;
            let request = pair.request(ends, ticket, &[saveset], second.address);
            let result = first.ask(request).await.unwrap().result;
            assert_ne!(result.outcome, Outcome::Finished, "{what}");
            assert_eq!(pair.savesets_there().await, 0, "{what}");
            result.error.map_or(Kind::Internal, |error| error.kind)
        };
        let ticket = || pair.ticket(By::Push);
        // A host that no grant names does not get past the handshake, and with its own grant for another
        // ticket it is still not the one that this ticket is for.
        let one = ticket();
        assert_eq!(fails(one.clone(), one, second, "unknown key").await, Kind::Unreachable);
        let other = ticket();
        pair.grant(first, second, &other).await;
        let one = ticket();
        assert_eq!(fails(one.clone(), one, second, "other key").await, Kind::Denied);
        // A ticket of another drive does not go through this port.
        let wrong = Ticket { drive: 9, ..ticket() };
        assert_eq!(fails(wrong.clone(), wrong, first, "drive").await, Kind::Denied);
        // A ticket to read takes nothing, whatever the worker thinks that it is for.
        let one = ticket();
        let granted = Ticket { direction: Direction::CopyOut, ..one.clone() };
        assert_eq!(fails(one, granted, first, "direction").await, Kind::Denied);
        // Tickets of backups and restores are none for copies.
        let one = Ticket { direction: Direction::Restore, saveset, ..ticket() };
        assert_eq!(fails(one.clone(), one, first, "a restore").await, Kind::Denied);
        // A ticket for another domain: nothing of the first one is taken under it, or told.
        let one = Ticket { domain: OTHER_DOMAIN, ..ticket() };
        pair.grant(first, second, &one).await;
        let reply = first.ask(pair.request(ends, one, &[saveset], second.address)).await.unwrap();
        assert_eq!((reply.copied, reply.failed), (0, 1), "{reply:?}");
        assert_eq!(pair.savesets_there().await, 0);
        // And a grant of a copy names no saveset.
        let grant = GrantTransfer {
            bases: None,
            ticket: Ticket { saveset, ..ticket() },
            domain_key: None,
            lock_until_unix_s: 0,
            level: None,
            names: None,
            client_keys: Vec::new(),
            hosts: Vec::new(),
            addresses: Vec::new(),
        };
        assert_eq!(second.ask(grant).await.unwrap_err().kind, Kind::Invalid);
        pair.copy(By::Push, &[saveset]).await;
        // There now, and still not told to another domain.
        let one = Ticket { domain: OTHER_DOMAIN, ..ticket() };
        pair.grant(first, second, &one).await;
        let reply = first.ask(pair.request(ends, one, &[saveset], second.address)).await.unwrap();
        assert_eq!((reply.there, reply.copied), (0, 0), "{reply:?}");
    });
}

fn packs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(folder.join("packs")).unwrap().map(Result::unwrap) {
        found.extend(fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()));
    }
    found
}

fn flip(pack: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(pack).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

fn largest(folder: &Path) -> PathBuf {
    packs(folder).into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap()
}

/// A source that has lost something copies what is whole and names the rest.
#[test]
fn a_saveset_that_its_source_has_lost_something_of_is_named_and_the_others_are_copied() {
    run(async {
        for by in BOTH {
            let pair = Pair::new().await;
            let source = pair.bench.path("source");
            make_tree(&source);
            let (damaged, _) = pair.bench.backup(&source, None).await;
            let pack = largest(&pair.bench.path("store"));
            let sound = pair.bench.path("sound");
            fs::create_dir(&sound).unwrap();
            fs::write(sound.join("file"), noise(70_000, 3)).unwrap();
            let (whole, _) = pair.bench.backup(&sound, None).await;
            flip(&pack, 100_000);
            let reply = pair.copy(by, &[damaged, whole]).await;
            assert_eq!(reply.result.outcome, Outcome::FinishedWithErrors, "{by:?}: {reply:?}");
            assert_eq!((reply.copied, reply.failed), (1, 1), "{by:?}: {reply:?}");
            let named = reply.result.problems.iter().map(|problem| problem.path.clone());
            assert_eq!(named.collect::<Vec<_>>(), [format!("saveset {damaged}").into_bytes()]);
            assert_eq!(pair.savesets_there().await, 1, "{by:?}");
            pair.comes_back(whole, &sound, "the sound one").await;
            let check = pair.check(&pair.second, false).await;
            assert_eq!(check.result.outcome, Outcome::Finished, "{by:?}: {check:?}");
        }
    });
}

/// Who dials brings what is missing in either direction; then nothing of the damage is left.
#[test]
fn rot05_a_flipped_bit_on_either_side_is_healed_from_the_other() {
    run(async {
        for by in BOTH {
            for damaged_is_copy in [false, true] {
                let what = format!("{by:?}, copy: {damaged_is_copy}");
                let pair = Pair::new().await;
                let source = pair.bench.path("source");
                make_tree(&source);
                let (saveset, _) = pair.bench.backup(&source, None).await;
                pair.copy(by, &[saveset]).await;
                let (folder, end) = match damaged_is_copy {
                    true => (pair.bench.path("copies"), &pair.second),
                    false => (pair.bench.path("store"), &pair.first),
                };
                let pack = largest(&folder);
                let before = fs::read(&pack).unwrap();
                flip(&pack, 100_000);
                flip(&pack, 2_000_000);
                assert!(pair.check(end, false).await.damaged_total > 0, "{what}");
                // The dialler of the relation dials, whichever way the bytes go now.
                let (worker, dialled, direction) = pair.ends(by);
                let direction = match (damaged_is_copy, direction) {
                    (true, direction) => direction,
                    (false, Direction::CopyIn) => Direction::CopyOut,
                    (false, _) => Direction::CopyIn,
                };
                let ticket = pair.ticket_for(dialled, direction);
                pair.grant(worker, dialled, &ticket).await;
                let ends = (worker, dialled);
                let request = pair.request(ends, ticket, &[saveset], dialled.address);
                let reply = worker.ask(request).await.unwrap();
                assert_eq!(reply.result.outcome, Outcome::Finished, "{what}: {reply:?}");
                assert!(reply.segments > 0, "{what}: {reply:?}");
                let check = pair.check(end, true).await;
                assert_eq!(check.result.outcome, Outcome::Finished, "{what}: {check:?}");
                assert_eq!(check.damaged_total, 0, "{what}");
                assert_eq!(fs::read(&pack).unwrap(), before, "{what}: byte for byte");
                let check = pair.check(end, false).await;
                assert_eq!(check.damaged_total, 0, "{what}: and it stays so");
                if damaged_is_copy {
                    pair.comes_back(saveset, &source, &what).await;
                } else {
                    let target = pair.bench.path("original");
                    let result = pair.bench.restore(saveset, &target).await;
                    assert_eq!(result.outcome, Outcome::Finished, "{what}: {result:?}");
                }
            }
        }
    });
}
