//! A directory held by its place in the tree and by its inode, not by a path.
//!
//! A tree can be deeper than the number of files a process may open, so a held directory does
//! not own a descriptor for ever: a ring keeps the descriptors used last. When one fell out of
//! the ring, the directory is opened again from its parent, one component at a time and never
//! through a symlink, and must still be the same inode; otherwise it counts as moved.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Stat;

/// Descriptors a ring keeps at most, however many the process may open.
const RING_FDS_MAX: usize = 512;
const RING_FDS_MIN: usize = 8;

/// The descriptors used last, shared by all directories of one tree.
pub(crate) struct FdRing {
    recent: Mutex<VecDeque<Arc<OwnedFd>>>,
    capacity: usize,
}

impl FdRing {
    /// Takes at most a quarter of what the process may open.
    pub(crate) fn new() -> Arc<Self> {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let quarter = limit.map_or(RING_FDS_MAX, |limit| usize::try_from(limit / 4).unwrap_or(0));
        Self::with_capacity(quarter.clamp(RING_FDS_MIN, RING_FDS_MAX))
    }

    pub(crate) fn with_capacity(capacity: usize) -> Arc<Self> {
        Arc::new(Self { recent: Mutex::new(VecDeque::new()), capacity })
    }

    fn push(&self, fd: Arc<OwnedFd>) {
        let mut recent = self.recent.lock();
        let evicted = if recent.len() >= self.capacity { recent.pop_front() } else { None };
        recent.push_back(fd);
        drop(recent);
        drop(evicted);
    }
}

pub(crate) struct HeldDir {
    parent: Option<Arc<HeldDir>>,
    /// A component; of the base directory its whole path, without a slash at the end.
    name: Vec<u8>,
    depth: usize,
    path_bytes: usize,
    identity: OnceLock<(u64, u64)>,
    /// The base directory is open all the time.
    base: Option<Arc<OwnedFd>>,
    fd: Mutex<Weak<OwnedFd>>,
    ring: Arc<FdRing>,
}

impl HeldDir {
    /// The directory that everything else lies beneath. `path` is for reports only.
    pub(crate) fn base(fd: OwnedFd, path: &[u8], ring: Arc<FdRing>) -> io::Result<Arc<Self>> {
        let identity = Stat::of(&fd)?.identity();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        Ok(Arc::new(Self {
            parent: None,
            name: path.to_vec(),
            depth: 0,
            path_bytes: path.len(),
            identity: OnceLock::from(identity),
            base: Some(Arc::new(fd)),
            fd: Mutex::new(Weak::new()),
            ring,
        }))
    }

    /// A child, not opened yet. Its inode is the one that the first opening finds.
    pub(crate) fn child(self: &Arc<Self>, name: &[u8]) -> Arc<Self> {
        Arc::new(Self {
            parent: Some(Arc::clone(self)),
            name: name.to_vec(),
            depth: self.depth + 1,
            path_bytes: self.path_bytes + 1 + name.len(),
            identity: OnceLock::new(),
            base: None,
            fd: Mutex::new(Weak::new()),
            ring: Arc::clone(&self.ring),
        })
    }

    /// Components below the base.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn path_bytes(&self) -> usize {
        self.path_bytes
    }

    pub(crate) fn parent(&self) -> Option<&Arc<HeldDir>> {
        self.parent.as_ref()
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Device and inode, known once the directory was opened.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        self.identity.get().copied()
    }

    /// The full path of a child, or of the directory itself when `name` is empty.
    pub(crate) fn path(&self, name: &[u8]) -> Vec<u8> {
        let mut chain = vec![name];
        let mut dir = Some(self);
        while let Some(held) = dir {
            chain.push(&held.name);
            dir = held.parent.as_deref();
        }
        let mut path = Vec::with_capacity(self.path_bytes + 1 + name.len());
        for (index, part) in chain.iter().rev().enumerate() {
            if index > 0 && !part.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(part);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }

    /// An open descriptor of the directory, for as long as the caller keeps it.
    pub(crate) fn fd(&self) -> io::Result<Arc<OwnedFd>> {
        let mut closed: Vec<&HeldDir> = Vec::new();
        let mut dir = self;
        let mut fd = loop {
            if let Some(fd) = dir.open_now() {
                break fd;
            }
            closed.push(dir);
            dir = dir.parent.as_deref().ok_or(Errno::BADF)?;
        };
        for dir in closed.into_iter().rev() {
            fd = dir.reopen(&fd)?;
        }
        Ok(fd)
    }

    fn open_now(&self) -> Option<Arc<OwnedFd>> {
        match &self.base {
            Some(fd) => Some(Arc::clone(fd)),
            None => self.fd.lock().upgrade(),
        }
    }

    fn reopen(&self, parent: &OwnedFd) -> io::Result<Arc<OwnedFd>> {
        let fd = open_dir(parent, &self.name)?;
        let found = Stat::of(&fd)?.identity();
        if *self.identity.get_or_init(|| found) != found {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the directory was moved or replaced in the meantime",
            ));
        }
        let fd = Arc::new(fd);
        *self.fd.lock() = Arc::downgrade(&fd);
        self.ring.push(Arc::clone(&fd));
        Ok(fd)
    }
}

/// Opens a child directory for listing; a symlink is refused, whoever planted it.
fn open_dir(parent: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let open = |flags| match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call: one component with
        // O_NOFOLLOW is as strict.
        Err(Errno::NOSYS) => rustix::fs::openat(parent, name, flags, Mode::empty()),
        other => other,
    };
    match open(flags | OFlags::NOATIME) {
        // Only the owner may read without leaving a trace in the access time.
        Err(Errno::PERM) => Ok(open(flags)?),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(path: &std::path::Path, capacity: usize) -> Arc<HeldDir> {
        let fd = OwnedFd::from(std::fs::File::open(path).unwrap());
        HeldDir::base(fd, b"/base", FdRing::with_capacity(capacity)).unwrap()
    }

    #[test]
    fn fid14_a_directory_replaced_behind_the_ring_counts_as_moved() {
        let home = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(home.path().join(name)).unwrap();
        }
        let base = base(home.path(), 1);
        let (a, b) = (base.child(b"a"), base.child(b"b"));
        assert_eq!(a.path(b"x"), b"/base/a/x");
        a.fd().unwrap();
        b.fd().unwrap();
        std::fs::rename(home.path().join("a"), home.path().join("away")).unwrap();
        std::fs::rename(home.path().join("c"), home.path().join("a")).unwrap();
        assert_eq!(a.fd().unwrap_err().kind(), io::ErrorKind::NotFound);
        b.fd().unwrap();
    }

    #[test]
    fn fid10_a_symlink_in_a_directorys_place_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/", home.path().join("a")).unwrap();
        assert!(base(home.path(), 4).child(b"a").fd().is_err());
    }
}
