//! Setting attributes, in the one order that keeps them all: owner, mode, ACLs, other extended
//! attributes, capabilities, times; flags last, after the rename. A change of owner takes away
//! setuid bits and capabilities; an ACL holds the group bits of the mode; an immutable file
//! takes nothing more.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{
    AtFlags, CWD, Gid, IFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
};
use rustix::io::Errno;
use simsim_format::{Entry, EntryKind};
use simsim_model::{Problem, ProblemKind, Timestamp, escape_path};

use super::{DirHandle, Placed, Shared};
use crate::xattr::FLAGS_KEPT;

const CAPABILITY: &[u8] = b"security.capability";
const ACL_PREFIX: &[u8] = b"system.posix_acl_";

/// What attributes are set on: never a name that could be swapped.
pub(super) enum Subject<'a> {
    Open(&'a OwnedFd),
    /// Opened with `O_PATH`: a symlink, FIFO, socket or device.
    Marked(&'a OwnedFd),
}

/// What a new inode has already, so that setting it again can be saved.
pub(super) struct Have {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) mode: Option<u32>,
    /// There may be an ACL that the entry does not have.
    pub(super) acl: bool,
}

impl Subject<'_> {
    fn chown(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
        match self {
            Subject::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Subject::Marked(fd) => {
                let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(fd, c"", uid, gid, flags)
            }
        }
    }

    fn chmod(&self, mode: Mode) -> Result<(), Errno> {
        match self {
            Subject::Open(fd) => rustix::fs::fchmod(fd, mode),
            Subject::Marked(fd) => rustix::fs::chmodat(CWD, by_number(fd), mode, AtFlags::empty()),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Subject::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Subject::Marked(fd) => {
                rustix::fs::setxattr(by_number(fd), name, value, XattrFlags::empty())
            }
        }
    }

    fn remove_xattr(&self, name: &str) {
        // Not there, or no such feature: then there is nothing to remove.
        let _ = match self {
            Subject::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Subject::Marked(fd) => rustix::fs::removexattr(by_number(fd), name),
        };
    }

    fn set_mtime(&self, mtime: Timestamp) -> Result<(), Errno> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec {
                tv_sec: mtime.seconds,
                tv_nsec: mtime.nanos.min(Timestamp::NANOS_MAX).into(),
            },
        };
        match self {
            Subject::Open(fd) => rustix::fs::futimens(fd, &times),
            Subject::Marked(fd) => rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH),
        }
    }
}

/// The kernel's own link to an open inode; it leads there whatever its names do.
pub(super) fn by_number(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

impl Shared {
    /// Everything but the flags.
    pub(super) fn apply(
        &self,
        subject: &Subject<'_>,
        have: Have,
        entry: &Entry,
        path: &[u8],
        problems: &mut Vec<Problem>,
    ) {
        let mut report = |what: &str, error: Errno| {
            let message = format!("{what} cannot be set: {}", io::Error::from(error));
            problems.push(Problem::new(path, ProblemKind::Attribute, message));
        };
        let (owner_changed, owner_kept) = self.set_owner(subject, &have, entry, &mut report);
        let is_dir = entry.is_dir();
        let mut mode = entry.mode & 0o7777;
        let mut withheld = Vec::new();
        if mode & 0o6000 != 0 && !is_dir && !(self.options.specials && owner_kept) {
            // With another owner the bits would hand out another user's rights.
            mode &= !0o6000;
            withheld.push("its setuid or setgid bit");
        }
        let is_symlink = matches!(entry.kind, EntryKind::Symlink(_));
        if have.acl && !is_symlink {
            subject.remove_xattr("system.posix_acl_access");
            if is_dir {
                subject.remove_xattr("system.posix_acl_default");
            }
        }
        let mode_kept = have.mode == Some(mode) && !have.acl;
        let set_mode = !is_symlink && (!mode_kept || (owner_changed && mode & 0o6000 != 0));
        if set_mode && let Err(error) = subject.chmod(Mode::from_raw_mode(mode)) {
            report(&format!("the mode {mode:04o}"), error);
        }
        for rank in [Rank::Acl, Rank::Plain, Rank::Capability] {
            for (name, value) in entry.xattrs.iter().filter(|(name, _)| Rank::of(name) == rank) {
                if rank == Rank::Capability && !(self.options.specials && owner_kept) {
                    withheld.push("its capabilities");
                } else if let Err(error) = subject.set_xattr(name, value) {
                    report(&format!("the extended attribute '{}'", escape_path(name)), error);
                }
            }
        }
        if let Err(error) = subject.set_mtime(entry.mtime) {
            report("the modification time", error);
        }
        for what in withheld {
            let message = format!("{what} was not restored: only done when asked for, as root");
            problems.push(Problem::new(path, ProblemKind::Note, message));
        }
    }

    /// Was the owner changed now, and is it the entry's owner?
    fn set_owner(
        &self,
        subject: &Subject<'_>,
        have: &Have,
        entry: &Entry,
        report: &mut impl FnMut(&str, Errno),
    ) -> (bool, bool) {
        let wanted = (entry.uid, entry.gid);
        if have.owner == Some(wanted) {
            return (false, true);
        }
        // All ones would mean "leave it" to the system.
        if !self.options.owners || entry.uid == u32::MAX || entry.gid == u32::MAX {
            return (false, false);
        }
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        match subject.chown(Some(uid), Some(gid)) {
            Ok(()) => (true, true),
            Err(Errno::PERM) if self.euid != 0 => {
                // A member may at least give its file to the group.
                let grouped = subject.chown(None, Some(gid)).is_ok();
                self.owners_skipped.fetch_add(1, Ordering::Relaxed);
                (grouped, false)
            }
            Err(error) => {
                report(&format!("the owner {}:{}", entry.uid, entry.gid), error);
                (false, false)
            }
        }
    }

    /// The flags, when nothing else will be changed.
    pub(super) fn set_flags(
        &self,
        fd: &OwnedFd,
        entry: &Entry,
        path: &[u8],
        problems: &mut Vec<Problem>,
    ) {
        let wanted = entry.flags & FLAGS_KEPT;
        if wanted == 0 {
            return;
        }
        let set = rustix::fs::ioctl_getflags(fd).and_then(|now| {
            let flags = IFlags::from_bits_retain((now.bits() & !FLAGS_KEPT) | wanted);
            if flags == now { Ok(()) } else { rustix::fs::ioctl_setflags(fd, flags) }
        });
        if let Err(error) = set {
            let error = io::Error::from(error);
            let message = format!("the inode flags {wanted:#x} cannot be set: {error}");
            problems.push(Problem::new(path, ProblemKind::Attribute, message));
        }
    }

    /// Sets a file's flags now, or remembers them if hard links to it may follow.
    fn set_file_flags(
        &self,
        dir: &DirHandle,
        fd: &OwnedFd,
        entry: &Entry,
        problems: &mut Vec<Problem>,
    ) {
        let locking = IFlags::IMMUTABLE.bits() | IFlags::APPEND.bits();
        if entry.flags & locking != 0 && entry.nlink > 1 {
            self.late_flags.lock().push((dir.clone(), entry.clone()));
        } else if entry.flags & FLAGS_KEPT != 0 {
            self.set_flags(fd, entry, &dir.path(&entry.name), problems);
        }
    }

    /// The flags of a file that has its name now.
    pub(super) fn flags_of_placed(
        &self,
        dir: &DirHandle,
        fd: &OwnedFd,
        entry: &Entry,
        placed: &mut Placed,
    ) {
        match &placed.name {
            None => self.set_file_flags(dir, fd, entry, &mut placed.problems),
            Some(name) => {
                let entry = Entry { name: name.clone(), ..entry.clone() };
                self.set_file_flags(dir, fd, &entry, &mut placed.problems);
            }
        }
    }

    pub(super) fn set_late_flags(&self, problems: &mut Vec<Problem>) {
        for (dir, entry) in std::mem::take(&mut *self.late_flags.lock()) {
            let path = dir.path(&entry.name);
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let opened = dir.fd().and_then(|parent| {
                Ok(rustix::fs::openat(&*parent, &entry.name, flags, Mode::empty())?)
            });
            match opened {
                Ok(fd) => self.set_flags(&fd, &entry, &path, problems),
                Err(error) => {
                    let message = format!("the inode flags cannot be set: {error}");
                    problems.push(Problem::new(path, ProblemKind::Attribute, message));
                }
            }
        }
    }
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Rank {
    Acl,
    Plain,
    Capability,
}

impl Rank {
    fn of(name: &[u8]) -> Rank {
        if name == CAPABILITY {
            Rank::Capability
        } else if name.starts_with(ACL_PREFIX) {
            Rank::Acl
        } else {
            Rank::Plain
        }
    }
}
