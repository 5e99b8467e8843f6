//! Symlinks, FIFOs, sockets and device nodes.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use simsim_format::{Entry, EntryKind};
use simsim_model::Problem;

use super::attributes::{Have, Subject};
use super::{DirHandle, FsSink, Kept, Placed, check_name, kind_word};
use crate::{SinkError, Stat};

/// How often an entry is made anew that another restore has swept away.
const TRIES: u32 = 3;

impl FsSink {
    /// Makes an entry that has no content. Device nodes only when asked for.
    ///
    /// The new inode is held with `O_PATH` and must be the one just made, for in a directory that
    /// others may write to the name could lead elsewhere by now.
    pub fn special(&self, dir: &DirHandle, entry: &Entry) -> Result<Placed, SinkError> {
        check_name(dir, entry)?;
        let is_device =
            matches!(entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        if is_device && !self.shared.options.specials {
            let kept = Some(Kept::in_the_way("device nodes are restored only when asked for"));
            return Ok(Placed { kept, ..Placed::default() });
        }
        if entry.is_dir() || entry.is_file() {
            let path = dir.path(&entry.name);
            return Err(SinkError::WrongKind { path, wanted: "special file" });
        }
        if let Some(kept) = self.shared.standing(dir, entry)? {
            return Ok(Placed::kept(kept));
        }
        let mut tries = 1;
        loop {
            match self.make_special(dir, entry) {
                // A restore that began in this directory meanwhile takes it for left over.
                Err(SinkError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < TRIES =>
                {
                    tries += 1;
                }
                placed => return placed,
            }
        }
    }

    fn make_special(&self, dir: &DirHandle, entry: &Entry) -> Result<Placed, SinkError> {
        let failed = dir.failed("make", &entry.name);
        let parent = dir.fd().map_err(&failed)?;
        let made = self.shared.at_temporary_name(|name| make(&parent, name, entry));
        let (temporary, ()) = made.map_err(|error| failed(error.into()))?;
        let mut problems = Vec::new();
        match self.dress(dir, &parent, &temporary, entry, &mut problems) {
            Ok(()) => {}
            Err(error) => {
                let _ = rustix::fs::unlinkat(&*parent, &temporary, AtFlags::empty());
                return Err(failed(error));
            }
        }
        let mut placed = self.shared.place(dir, &temporary, entry)?;
        placed.problems.extend(problems);
        Ok(placed)
    }

    /// Sets the attributes of what was just made at `name`.
    fn dress(
        &self,
        dir: &DirHandle,
        parent: &OwnedFd,
        name: &[u8],
        entry: &Entry,
        problems: &mut Vec<Problem>,
    ) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let stat = Stat::of(&fd)?;
        let ours = stat.uid == self.shared.euid && stat.nlink == 1;
        if stat.kind.as_str() != kind_word(entry) || !ours {
            let why = "somebody else replaced it while it was being restored";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        let have =
            Have { owner: Some((stat.uid, stat.gid)), mode: Some(stat.mode), acl: dir.inherits() };
        self.shared.apply(&Subject::Marked(&fd), have, entry, &dir.path(&entry.name), problems);
        Ok(())
    }
}

fn make(dir: &OwnedFd, name: &[u8], entry: &Entry) -> Result<(), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind, device| rustix::fs::mknodat(dir, name, kind, mode, device);
    match &entry.kind {
        EntryKind::Symlink(target) => rustix::fs::symlinkat(target, dir, name),
        EntryKind::Fifo => node(FileType::Fifo, 0),
        EntryKind::Socket => node(FileType::Socket, 0),
        EntryKind::CharDevice { major, minor } => {
            node(FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
        }
        EntryKind::BlockDevice { major, minor } => {
            node(FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
        }
        EntryKind::File | EntryKind::Directory(_) => Err(Errno::INVAL),
    }
}
