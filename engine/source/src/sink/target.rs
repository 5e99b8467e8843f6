//! The directory that a restore goes into: where its path leads, and how what is missing is made.
//!
//! A path may lead elsewhere from one look to the next. So its deepest part that is there is opened
//! first, links and all; where that is can be asked then; and what is missing is made beneath it, one
//! name after the other and through no link.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// As much of a path as is there, held, and the names that are missing.
pub(super) struct Deepest {
    fd: OwnedFd,
    missing: Vec<OsString>,
}

impl Deepest {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        for ancestor in path.ancestors() {
            let there = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
            match rustix::fs::open(there, DIRECTORY, Mode::empty()) {
                Ok(fd) => return Ok(Self { fd, missing: names(path, ancestor)? }),
                // A link that leads nowhere is there: making it a directory is nobody's wish.
                Err(Errno::NOENT) if there.symlink_metadata().is_err() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::NOENT.into())
    }

    /// The place of the directory, whether it is there or not.
    pub(super) fn place(&self) -> io::Result<PathBuf> {
        let mut place = std::fs::read_link(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))?;
        place.extend(&self.missing);
        Ok(place)
    }

    /// Makes what is missing.
    pub(super) fn make(self) -> io::Result<OwnedFd> {
        let mut fd = self.fd;
        for name in &self.missing {
            match rustix::fs::mkdirat(&fd, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            fd = rustix::fs::openat(&fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        }
        Ok(fd)
    }
}

/// The names of `path` below `ancestor`.
fn names(path: &Path, ancestor: &Path) -> io::Result<Vec<OsString>> {
    let rest = path.strip_prefix(ancestor).map_err(io::Error::other)?;
    let plain = rest.components().map(|part| match part {
        Component::Normal(name) => Ok(OsStr::to_owned(name)),
        // Beneath a directory that is not there nothing is known of what it would be.
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "'..' below what is not there")),
    });
    plain.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_missing_is_made_beneath_the_place_that_was_asked_about() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        let deepest = Deepest::of(&root.join("link/a/b")).unwrap();
        assert_eq!(deepest.place().unwrap(), root.join("real/a/b"));
        // Whoever turns the link, or the place itself, has turned nothing.
        std::fs::remove_file(root.join("link")).unwrap();
        symlink("/nonexistent", root.join("link")).unwrap();
        deepest.make().unwrap();
        assert!(root.join("real/a/b").is_dir());

        let deepest = Deepest::of(&root.join("real/c/d")).unwrap();
        std::fs::create_dir(root.join("other")).unwrap();
        symlink("../other", root.join("real/c")).unwrap();
        deepest.make().unwrap_err();
        assert!(!root.join("other/d").exists());

        assert_eq!(Deepest::of(&root).unwrap().place().unwrap(), root);
        for bad in ["link", "link/x", "real/x/../y"] {
            assert!(Deepest::of(&root.join(bad)).is_err(), "{bad}");
        }
        std::fs::write(root.join("file"), "").unwrap();
        for bad in ["file", "file/x"] {
            assert!(Deepest::of(&root.join(bad)).is_err(), "{bad}");
        }
    }
}
