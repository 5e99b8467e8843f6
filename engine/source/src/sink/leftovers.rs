//! What a restore that was killed has left: things under temporary names.
//!
//! Each such file is locked while it is written, and the lock ends with its process. So whoever
//! restores into the same directory later can tell one that is left over, and removes it; one of
//! a restore that runs at the same time stays. A symlink, FIFO, socket or device node cannot be
//! locked and is removed in any case; whoever is just making it makes it again. Directories made by
//! the running restore hold none.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

const BEFORE: &str = ".simsim-";
const AFTER: &str = ".tmp";

/// The temporary name with this number.
pub(super) fn name(number: u64) -> Vec<u8> {
    format!("{BEFORE}{:x}-{number:x}{AFTER}", std::process::id()).into_bytes()
}

fn is_ours(name: &[u8]) -> bool {
    let numbers =
        name.strip_prefix(BEFORE.as_bytes()).and_then(|rest| rest.strip_suffix(AFTER.as_bytes()));
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_hexdigit);
    numbers.is_some_and(|numbers| {
        let mut parts = numbers.split(|byte| *byte == b'-');
        parts.next().is_some_and(digits)
            && parts.next().is_some_and(digits)
            && parts.next().is_none()
    })
}

/// Shows that somebody writes this new file. `false` when a restore that began meanwhile has
/// removed it. A file system without locks only means that a file left over stays.
pub(super) fn hold(file: impl AsFd) -> bool {
    lock(&file) != Err(Errno::WOULDBLOCK)
        && rustix::fs::fstat(&file).is_ok_and(|stat| stat.st_nlink > 0)
}

/// Removes what earlier restores left in a directory, and names what else is there. What cannot be
/// removed is no reason not to restore; a directory that cannot be listed is.
pub(super) fn sweep(folder: impl AsFd, mut stays: impl FnMut(&[u8])) -> io::Result<()> {
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if !is_ours(name.to_bytes()) {
            stays(name.to_bytes());
            continue;
        }
        let Ok(stat) = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        // Keeps the lock until the name is gone.
        let mut _file = None;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => continue,
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
                    Ok(file) if lock(&file).is_ok() => _file = Some(file),
                    _ => continue,
                }
            }
            _ => {}
        }
        if rustix::fs::unlinkat(&folder, name, AtFlags::empty()).is_ok() {
            tracing::info!(name = %name.to_string_lossy(), "what an interrupted restore left is removed");
        }
    }
    Ok(())
}

fn lock(file: impl AsFd) -> Result<(), Errno> {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_nobody_holds_is_removed_and_everything_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &[u8]| folder.path().join(String::from_utf8(name.to_vec()).unwrap());
        let (left, held) = (at(&name(1)), at(&name(2)));
        fs::write(&left, "half").unwrap();
        let writing = File::create(&held).unwrap();
        assert!(hold(&writing));
        let others = [".simsim-1.tmp", ".simsim-1-x.tmp", ".simsim-1-2-3.tmp", ".simsim-.tmp", "a"];
        others.iter().for_each(|name| fs::write(folder.path().join(name), "theirs").unwrap());
        std::os::unix::fs::symlink("a", at(&name(3))).unwrap();
        fs::create_dir(at(&name(4))).unwrap();
        let folder_fd = || File::open(folder.path()).unwrap();
        let mut stays = Vec::new();
        sweep(folder_fd(), |name| stays.push(String::from_utf8(name.to_vec()).unwrap())).unwrap();
        stays.retain(|name| name != "." && name != "..");
        stays.sort();
        assert_eq!(
            stays,
            [".simsim-.tmp", ".simsim-1-2-3.tmp", ".simsim-1-x.tmp", ".simsim-1.tmp", "a"]
        );
        assert!(!left.exists() && held.exists());
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
        assert!(at(&name(3)).symlink_metadata().is_err(), "a link that a restore was making");
        assert!(at(&name(4)).exists(), "a directory is none of ours");
        let swept = File::create(at(&name(5))).unwrap();
        sweep(folder_fd(), |_| {}).unwrap();
        assert!(!hold(&swept), "removed before it was held");
        drop(writing);
        sweep(folder_fd(), |_| {}).unwrap();
        assert!(!held.exists());
    }
}
