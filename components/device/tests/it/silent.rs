//! A datastore whose storage falls silent while it is served (PWR09), with a real call that hangs: a
//! pack's place is taken by a FIFO that nobody writes to.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use simsim_control::verbs::*;
use simsim_device::DeviceOptions;
use simsim_model::*;
use simsim_transfer::ListenOptions;

use crate::bench::*;

const SECOND: StoreId = StoreId([5; 16]);

fn packs(store: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(store.join("packs")).unwrap().map(|folder| folder.unwrap().path());
    folders
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|pack| pack.unwrap().path())
        .collect()
}

fn reason(result: &JobResult) -> String {
    let error = result.error.as_ref().map(|error| error.message.clone());
    let problems = result.problems.iter().map(|problem| problem.message.clone());
    error.into_iter().chain(problems).collect::<Vec<_>>().join("; ")
}

#[test]
fn pwr09_a_datastore_that_falls_silent_ends_its_jobs_and_no_others_and_serves_again() {
    run(async {
        let options =
            DeviceOptions { storage_answer: Duration::from_millis(500), ..Default::default() };
        let bench = Bench::with(ListenOptions::default(), options).await;
        let create = CreateDatastore {
            path: bench.path("second").display().to_string(),
            name: "second".into(),
            store: SECOND,
            owner: String::new(),
            cut: None,
        };
        bench.device(create).await.unwrap();
        let source = bench.path("source");
        make_tree(&source);
        let (saveset, done) = bench.backup(&source, None).await;
        assert_eq!(done.outcome, Outcome::Finished);

        // What the device has open reads wrong, and what it opens instead hangs.
        let store = bench.path("store");
        let [pack] = &packs(&store)[..] else { panic!("more than one pack") };
        let (content, away) = (fs::read(pack).unwrap(), bench.path("away"));
        let file = OpenOptions::new().write(true).open(pack).unwrap();
        file.write_all_at(&vec![0; content.len()], 0).unwrap();
        fs::rename(pack, &away).unwrap();
        mknodat(CWD, pack, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();

        let begun = Instant::now();
        let restored = bench.restore(saveset, &bench.path("lost")).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        assert_ne!(restored.outcome, Outcome::Finished);
        let named = format!("{} has not answered", store.display());
        assert!(reason(&restored).contains(&named), "{restored:?}");

        let (_, refused) = bench.backup(&source, None).await;
        assert_eq!(refused.outcome, Outcome::Failed, "{refused:?}");
        assert!(reason(&refused).contains(&named), "{refused:?}");
        let begun = Instant::now();
        let listed = bench.device(ListDatastores {}).await.unwrap().datastores;
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        let state = |store| listed.iter().find(|one| one.store == store).unwrap().state.clone();
        assert!(state(STORE).contains(&named), "{}", state(STORE));
        assert_eq!(state(SECOND), "ready");

        // Another datastore of this device.
        let mut ticket = bench.ticket(Direction::Backup, bench.saveset());
        ticket.store = SECOND;
        let request = bench.start_backup(&ticket, &source, None);
        bench.grant(&ticket, Some(Level::Full), None).await;
        let done = bench.client(request).await.unwrap().result;
        assert_eq!(done.outcome, Outcome::Finished, "{done:?}");

        // The mount is back: attached again, it serves as before.
        drop(OpenOptions::new().write(true).open(pack).unwrap());
        fs::remove_file(pack).unwrap();
        fs::write(pack, &content).unwrap();
        let path = store.display().to_string();
        until("it can be attached again", async || {
            bench.device(AttachDatastore { path: path.clone() }).await.is_ok()
        })
        .await;
        let restored = bench.restore(saveset, &bench.path("restored")).await;
        assert_eq!(restored.outcome, Outcome::Finished, "{restored:?}");
        let (_, done) = bench.backup(&source, None).await;
        assert_eq!(done.outcome, Outcome::Finished, "{done:?}");
    });
}
