//! No room: it is said, nothing is lost or half there, and on it goes once there is room.

use std::process::Command;

use simsim_model::Kind;
use simsim_search::Index;

use crate::fixture::{bring, seen, small, tree, version};

#[test]
fn pwr07_a_full_disk_is_said_and_the_index_answers_on() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1M", "tmpfs"])
        .arg(folder.path())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        println!("\nskipped: this process may not mount a small file system");
        return;
    }
    let work = std::panic::catch_unwind(|| {
        let place = folder.path().join("index");
        let index = small(&place);
        let before = seen(&index.snapshot());
        let mut large = crate::fixture::Tree::new();
        for file in 0..60_000u64 {
            let name = format!("{file}-{}", blank(file)).into_bytes();
            large.insert((b"/large".to_vec(), name), version(file));
        }
        let error = bring(&index, ("web", "large"), 50, None, &large).unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{error}");
        assert_eq!(seen(&index.snapshot()), before);
        let files = || std::fs::read_dir(&place).unwrap().count() as u64;
        assert_eq!(files(), index.snapshot().figures().runs + 1, "nothing half is left");
        // Full to the last byte: what is there is found all the same.
        let ballast = folder.path().join("ballast");
        while std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&ballast)
            .and_then(|mut file| std::io::Write::write_all(&mut file, &[1; 4096]))
            .is_ok()
        {}
        let one = tree(&[("/one", 9)]);
        assert_eq!(bring(&index, ("web", "x"), 60, None, &one).unwrap_err().kind(), Kind::Full);
        assert_eq!(seen(&index.snapshot()), before);
        drop(index);
        let index = Index::open(&place).unwrap();
        assert_eq!(seen(&index.snapshot()), before);
        std::fs::remove_file(&ballast).unwrap();
        bring(&index, ("web", "x"), 60, None, &one).unwrap();
        assert_eq!(index.snapshot().figures().savesets, 4);
    });
    let _ = Command::new("umount").arg("-l").arg(folder.path()).status();
    if let Err(panic) = work {
        std::panic::resume_unwind(panic);
    }
}

/// Text that nothing shortens.
fn blank(number: u64) -> String {
    format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}
