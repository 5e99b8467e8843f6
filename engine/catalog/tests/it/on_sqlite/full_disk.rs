//! No room: a clear word, nothing changed, and on it goes once there is room.

use std::path::Path;
use std::process::Command;

use simsim_catalog::{Catalog, Severity};
use simsim_model::Kind;

use crate::fixture::{backup_job, furnish, open};

/// A small file system in memory, unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(bytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(folder.path())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        mounted.then_some(Self { folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn fill(catalog: &Catalog, job: u64) -> simsim_catalog::CatalogError {
    let line = "x".repeat(4_000);
    for _ in 0..5_000 {
        if let Err(error) = catalog.add_log_line(job, Severity::Info, &line, 1) {
            return error;
        }
    }
    panic!("the disk never got full");
}

fn lines(catalog: &Catalog, job: u64) -> usize {
    catalog.job_log(job, 0, u32::MAX).unwrap().len()
}

#[test]
fn pwr07_a_full_disk_is_said_and_the_catalog_stays_usable() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        println!("\nskipped: this process may not mount a small file system");
        return;
    };
    let ballast = disk.folder.path().join("ballast");
    let file = disk.folder.path().join("catalog.db");
    let catalog = open(&file.display().to_string());
    let client = furnish(&catalog);
    let job = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
    std::fs::write(&ballast, vec![0; 200_000]).unwrap();
    let error = fill(&catalog, job);
    assert_eq!(error.kind(), Kind::Full, "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");

    let kept = lines(&catalog, job);
    assert_eq!(catalog.client("alpha").unwrap().name, "alpha", "reading goes on");
    assert_eq!(fill(&catalog, job).kind(), Kind::Full, "still full, still said");
    catalog.check().unwrap();

    std::fs::remove_file(&ballast).unwrap();
    catalog.add_log_line(job, Severity::Info, "room again", 2).unwrap();
    assert!(lines(&catalog, job) > kept);
    catalog.check().unwrap();
    drop(catalog);
    open(&file.display().to_string()).check().unwrap();
}

#[test]
fn pwr08_no_room_at_the_first_opening_is_said_and_a_later_opening_works() {
    let Some(disk) = SmallDisk::mount(1 << 20) else {
        println!("\nskipped: this process may not mount a small file system");
        return;
    };
    let file = disk.folder.path().join("catalog.db");
    let ballast = disk.folder.path().join("ballast");
    // Leave less and less room, so that opening fails at one step after another.
    for left in [0u64, 4_096, 16_384, 40_960, 81_920] {
        let _ = std::fs::remove_file(&file);
        fill_up(&ballast, (1 << 20) - left);
        let error =
            Catalog::open(&crate::fixture::options_of(&file.display().to_string())).unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{left} left: {error:?}");
        std::fs::remove_file(&ballast).unwrap();
        let catalog = open(&file.display().to_string());
        furnish(&catalog);
        catalog.check().unwrap();
        drop(catalog);
        for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.lock"] {
            let _ = std::fs::remove_file(disk.folder.path().join(name));
        }
    }
}

fn fill_up(file: &Path, bytes: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(file).unwrap();
    for _ in 0..bytes / 4096 {
        if file.write_all(&[0; 4096]).is_err() {
            break;
        }
    }
}
