//! Looking at single files beneath a directory: as deep as a tree may be, and through no link.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::held::{FdRing, HeldDir};
use crate::{Content, Details, Place, Stat, StatKind, listing};

/// A directory that stays open.
pub struct Beneath {
    root: Arc<HeldDir>,
}

/// One thing beneath it.
pub struct Spot {
    dir: Arc<HeldDir>,
    name: Vec<u8>,
    stat: Stat,
}

impl Beneath {
    /// Opens the directory. Its path may hold links; below it none is followed.
    pub fn open(root: &Path) -> io::Result<Self> {
        let path = root.as_os_str().as_bytes();
        let root = HeldDir::base(File::open(root)?.into(), path, FdRing::new())?;
        Ok(Self { root })
    }

    /// What lies at a path of names, with or without a slash before them.
    ///
    /// # Errors
    /// As the system gives them; `NotFound` also for the root itself.
    pub fn look(&self, path: &[u8]) -> io::Result<Spot> {
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let name = names.next_back().ok_or(Errno::NOENT)?;
        let dir = names.fold(Arc::clone(&self.root), |dir, name| dir.child(name));
        let stat = Stat::at(&*dir.fd()?, name)?;
        Ok(Spot { dir, name: name.to_vec(), stat })
    }

    /// How many things that are no directories lie beneath it.
    pub fn count(&self) -> io::Result<u64> {
        let mut open = vec![Arc::clone(&self.root)];
        let mut count = 0;
        while let Some(dir) = open.pop() {
            for (name, stat) in listing::plain(&dir)? {
                match stat.kind {
                    StatKind::Directory => open.push(dir.child(&name)),
                    _ => count += 1,
                }
            }
        }
        Ok(count)
    }

    /// Removes everything beneath it, also what nobody may write: it was made here. The directory itself
    /// stays.
    pub fn clear(&self) -> io::Result<()> {
        // Each directory twice: opened to list it, and when all in it is gone.
        let mut open = vec![(Arc::clone(&self.root), false)];
        while let Some((dir, emptied)) = open.pop() {
            if emptied {
                if let Some(parent) = dir.parent() {
                    rustix::fs::unlinkat(&*parent.fd()?, dir.name(), AtFlags::REMOVEDIR)?;
                }
                continue;
            }
            let fd = dir.fd()?;
            free(&fd)?;
            open.push((Arc::clone(&dir), true));
            for (name, stat) in listing::plain(&dir)? {
                if stat.kind == StatKind::Directory {
                    // One that may not be listed is opened up by its name.
                    let mode = Mode::from_raw_mode(0o700);
                    let _ = rustix::fs::chmodat(&*fd, name.as_slice(), mode, AtFlags::empty());
                    open.push((dir.child(&name), false));
                    continue;
                }
                match rustix::fs::unlinkat(&*fd, name.as_slice(), AtFlags::empty()) {
                    Ok(()) => {}
                    Err(Errno::PERM | Errno::ACCESS) if stat.kind == StatKind::File => {
                        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                        let file = rustix::fs::openat(&*fd, name.as_slice(), flags, Mode::empty())?;
                        free(&file)?;
                        rustix::fs::unlinkat(&*fd, name.as_slice(), AtFlags::empty())?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

/// Takes away what keeps an inode from being removed.
fn free(fd: &std::os::fd::OwnedFd) -> io::Result<()> {
    use rustix::fs::IFlags;
    if let Ok(flags) = rustix::fs::ioctl_getflags(fd) {
        let kept = flags & !(IFlags::IMMUTABLE | IFlags::APPEND);
        if kept != flags {
            rustix::fs::ioctl_setflags(fd, kept)?;
        }
    }
    if Stat::of(fd)?.kind == StatKind::Directory {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(0o700))?;
    }
    Ok(())
}

impl Spot {
    pub fn stat(&self) -> Stat {
        self.stat
    }

    /// What the metadata does not say.
    pub fn details(&self) -> io::Result<Details> {
        Place::details(&*self.dir, &self.name, &self.stat)
    }

    /// Opens a regular file for reading.
    pub fn read(&self) -> io::Result<Box<dyn Content>> {
        Place::open(&*self.dir, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_lies_beneath_is_seen_counted_and_removed_and_links_lead_nowhere() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "kept").unwrap();
        let root = home.path().join("root");
        let deep = root.join("a/b/c");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "text").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("a/link")).unwrap();
        std::fs::set_permissions(&deep, std::fs::Permissions::from_mode(0o500)).unwrap();
        let beneath = Beneath::open(&root).unwrap();
        let spot = beneath.look(b"/a/b/c/file").unwrap();
        assert_eq!((spot.stat().kind, spot.stat().size), (StatKind::File, 4));
        assert_eq!(beneath.look(b"a/link").unwrap().stat().kind, StatKind::Symlink);
        assert!(beneath.look(b"a/link/kept").is_err(), "through a link");
        assert!(beneath.look(b"a/none").is_err() && beneath.look(b"/").is_err());
        assert_eq!(beneath.count().unwrap(), 2);
        beneath.clear().unwrap();
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
    }
}
