//! The nasty fixture tree: every case that has cost somebody a file, in one folder.
//!
//! Each case is a folder named by its failure ID (`fid06-sparse`). What the file system or the
//! rights of this process do not allow is left out, and the result says what and why, so that a
//! test never believes in a case that is not there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags,
    fchmod, fchown, linkat, mkdirat, mknodat, openat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::long_path::{Tree, join, through_proc};
use crate::nasty_cases;

/// What the process may do when the tree is made and when it is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privileges {
    /// Owners, device nodes, capabilities, flags, files without any permission.
    Root,
    /// Only what an ordinary user can make and read back.
    User,
}

impl Privileges {
    /// Those of this process.
    pub fn of_process() -> Self {
        if crate::is_root() { Self::Root } else { Self::User }
    }
}

/// A part of a case that could not be made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The case and the part of it, such as `fid03: security.capability`.
    pub part: String,
    pub reason: String,
}

/// What was made.
#[derive(Debug)]
pub struct NastyTree {
    pub root: PathBuf,
    /// Folders of the cases, in order.
    pub cases: Vec<&'static str>,
    pub left_out: Vec<LeftOut>,
}

/// Builds the tree in `root`, which must exist. Use a [`crate::Scratch`] around it: some of it
/// resists ordinary removal. Content, names and times are the same in every run.
pub fn nasty_tree(root: &Path, privileges: Privileges) -> io::Result<NastyTree> {
    let mut made = NastyTree { root: root.to_path_buf(), cases: Vec::new(), left_out: Vec::new() };
    let tree = Tree::open(root)?;
    for (name, build) in nasty_cases::CASES {
        mkdirat(tree.folder(b"")?, *name, Mode::from_raw_mode(0o755))?;
        let mut plot = Plot { tree: &tree, case: name, privileges, left_out: Vec::new() };
        build(&mut plot)
            .map_err(|error| io::Error::new(error.kind(), format!("case {name}: {error}")))?;
        made.left_out.append(&mut plot.left_out);
        made.cases.push(name);
    }
    // Folders got new times while they were filled: give those of the cases a fixed one again.
    for (at, name) in made.cases.iter().enumerate() {
        let plot = Plot { tree: &tree, case: name, privileges, left_out: Vec::new() };
        plot.times(b"", 1_000_000_000 + at as i64, 123_456_789)?;
    }
    Ok(made)
}

/// Where one case is built. Paths are relative to the case's folder, with `/`.
pub(crate) struct Plot<'a> {
    tree: &'a Tree,
    case: &'static str,
    privileges: Privileges,
    left_out: Vec<LeftOut>,
}

impl Plot<'_> {
    pub(crate) fn is_root(&self) -> bool {
        self.privileges == Privileges::Root
    }

    /// Runs a part that not every file system or process can do.
    pub(crate) fn if_possible(
        &mut self,
        part: &str,
        make: impl FnOnce(&Self) -> io::Result<()>,
    ) -> io::Result<()> {
        let Err(error) = make(self) else { return Ok(()) };
        let not_here = [
            Errno::PERM,
            Errno::ACCESS,
            Errno::OPNOTSUPP,
            Errno::NOTTY,
            Errno::NOSYS,
            Errno::NOSPC,
            Errno::INVAL,
            Errno::FBIG,
            Errno::ILSEQ,
            Errno::RANGE,
            Errno::TOOBIG,
        ];
        if !not_here.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            return Err(error);
        }
        self.leave_out(part, &error.to_string());
        Ok(())
    }

    /// Notes a part that was not tried.
    pub(crate) fn leave_out(&mut self, part: &str, reason: &str) {
        let case = self.case.split('-').next().unwrap_or(self.case);
        self.left_out.push(LeftOut { part: format!("{case}: {part}"), reason: reason.to_owned() });
    }

    pub(crate) fn folder(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        mkdirat(&parent, name.as_slice(), Mode::RWXU)?;
        // The umask does not count.
        let made = self.tree.folder(&self.full(path))?;
        Ok(fchmod(made, Mode::from_raw_mode(mode))?)
    }

    /// A new file with this content; mode 0644.
    pub(crate) fn file(&self, path: &[u8], content: &[u8]) -> io::Result<OwnedFd> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&parent, name.as_slice(), flags, Mode::RUSR | Mode::WUSR)?;
        fchmod(&file, Mode::from_raw_mode(0o644))?;
        write_at(&file, 0, content)?;
        Ok(file)
    }

    /// A file of this size in which only these places hold data: `(offset, content)`.
    pub(crate) fn sparse(&self, path: &[u8], size: u64, data: &[(u64, &[u8])]) -> io::Result<()> {
        let file = self.file(path, b"")?;
        rustix::fs::ftruncate(&file, size)?;
        for (offset, content) in data {
            write_at(&file, *offset, content)?;
        }
        Ok(())
    }

    pub(crate) fn symlink(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        Ok(symlinkat(target, &parent, name.as_slice())?)
    }

    pub(crate) fn hard_link(&self, old: &[u8], new: &[u8]) -> io::Result<()> {
        let (old_parent, old_name) = self.tree.parent(&self.full(old))?.owned();
        let (new_parent, new_name) = self.tree.parent(&self.full(new))?.owned();
        let none = AtFlags::empty();
        Ok(linkat(&old_parent, old_name.as_slice(), &new_parent, new_name.as_slice(), none)?)
    }

    pub(crate) fn special(&self, path: &[u8], kind: FileType, device: u64) -> io::Result<()> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        Ok(mknodat(&parent, name.as_slice(), kind, Mode::from_raw_mode(0o640), device)?)
    }

    pub(crate) fn mode(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        let mode = Mode::from_raw_mode(mode);
        Ok(rustix::fs::chmodat(&parent, name.as_slice(), mode, AtFlags::empty())?)
    }

    /// Of a file, folder or link; needs root.
    pub(crate) fn owner(&self, path: &[u8], user: u32, group: u32) -> io::Result<()> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chownat(&parent, name.as_slice(), user, group, flags)?)
    }

    pub(crate) fn owner_of(&self, file: &OwnedFd, user: u32, group: u32) -> io::Result<()> {
        Ok(fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?)
    }

    pub(crate) fn xattr(&self, path: &[u8], name: &[u8], value: &[u8]) -> io::Result<()> {
        let (parent, file) = self.tree.parent(&self.full(path))?.owned();
        let place = through_proc(&parent, &file);
        Ok(rustix::fs::lsetxattr(place.as_slice(), name, value, XattrFlags::empty())?)
    }

    /// Modification time; the access time stays.
    pub(crate) fn times(&self, path: &[u8], seconds: i64, nanos: u32) -> io::Result<()> {
        let (parent, name) = self.tree.parent(&self.full(path))?.owned();
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
        };
        Ok(utimensat(&parent, name.as_slice(), &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn open(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.tree.file(&self.full(path))
    }

    fn full(&self, path: &[u8]) -> Vec<u8> {
        if path.is_empty() {
            self.case.as_bytes().to_vec()
        } else {
            join(self.case.as_bytes(), path)
        }
    }
}

/// A parent and a name that outlive the path they were split from.
trait Owned {
    fn owned(self) -> (OwnedFd, Vec<u8>);
}

impl Owned for (OwnedFd, &[u8]) {
    fn owned(self) -> (OwnedFd, Vec<u8>) {
        (self.0, self.1.to_vec())
    }
}

pub(crate) fn write_at(file: impl AsFd, offset: u64, content: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < content.len() {
        let written = rustix::io::pwrite(&file, &content[done..], offset + done as u64)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        done += written;
    }
    Ok(())
}
