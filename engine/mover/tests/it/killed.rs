//! A restore that is killed inside a sparse file, and made again.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use simsim_model::failpoint;
use tempfile::tempdir;

use crate::memory::Memory;
use crate::round_trip::{back_up, below, bring_back, noise};

/// Set in a process that is there to be killed: what it backs up, where it restores to, and where it dies.
const FROM: &str = "SIMSIM_TEST_HOLES_FROM";
const TO: &str = "SIMSIM_TEST_HOLES_TO";
const DIES: &str = "SIMSIM_TEST_HOLES_DIES";

fn restore(from: &Path, to: &Path) -> u64 {
    let store = Arc::new(Memory::default());
    back_up(&store, from, 1, None);
    bring_back(&store, 1, to).problems_total
}

/// Stretches of data in a file of a gibibyte: holes before, between and after them.
fn stretches() -> Vec<(u64, Vec<u8>)> {
    (1..8).map(|at| (at * (128 << 20) + 4096 * at, noise(at, 40_000))).collect()
}

#[test]
fn fid06_a_restore_killed_inside_a_file_of_holes_is_made_again_with_all_of_them() {
    if let (Some(from), Some(to)) = (std::env::var_os(FROM), std::env::var_os(TO)) {
        failpoint::arm(&std::env::var(DIES).unwrap()).unwrap();
        restore(Path::new(&from), Path::new(&to));
        return;
    }
    let home = tempdir().unwrap();
    let from = home.path().join("from");
    fs::create_dir(&from).unwrap();
    let file = File::create(from.join("holes")).unwrap();
    file.set_len(1 << 30).unwrap();
    for (at, bytes) in stretches() {
        file.write_all_at(&bytes, at).unwrap();
    }
    drop(file);
    let me = std::thread::current().name().unwrap().to_owned();
    let mut died = 0;
    let ends = ["source.before_rename=kill".to_owned()];
    let pieces = (0..).map(|piece| format!("mover.restore_chunk=kill:{piece}"));
    for (round, dies) in ends.into_iter().chain(pieces).enumerate() {
        let to = home.path().join(format!("to{round}"));
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &me, "--nocapture"])
            .env(FROM, &from)
            .env(TO, &to)
            .env(DIES, &dies)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let at = below(&to, &from);
        let killed = !ended.success();
        if killed {
            died += 1;
            assert!(ended.signal().is_some() || ended.code().is_some(), "{dies}: {ended}");
            assert!(!at.join("holes").exists(), "{dies}: half of it has its name");
            assert_eq!(restore(&from, &to), 0, "{dies}");
        }
        let names: Vec<_> = fs::read_dir(&at).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["holes"], "{dies}: nothing is left over");
        let restored = File::open(at.join("holes")).unwrap();
        let (is, was) = (restored.metadata().unwrap(), from.join("holes").metadata().unwrap());
        assert_eq!(is.len(), 1 << 30, "{dies}");
        assert!(is.blocks() <= was.blocks() + 64, "{dies}: {} of {}", is.blocks(), was.blocks());
        for (offset, bytes) in stretches() {
            let mut read = vec![1; bytes.len() + 2];
            restored.read_exact_at(&mut read, offset - 1).unwrap();
            assert!(read[1..=bytes.len()] == bytes, "{dies}: data at {offset}");
            assert_eq!((read[0], read[bytes.len() + 1]), (0, 0), "{dies}: around {offset}");
        }
        fs::remove_dir_all(&to).unwrap();
        if !killed {
            break;
        }
    }
    assert!(died > 10, "only {died} restores died");
}
