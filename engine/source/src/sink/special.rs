//! Symlinks, FIFOs, sockets and device nodes.

use std::io;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use simsim_format::{Entry, EntryKind};

use super::attributes::{Have, Subject};
use super::{DirHandle, FsSink, Kept, Placed, check_name, kind_word};
use crate::{SinkError, Stat};

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
            return Ok(Placed { kept: Some(kept), ..Placed::default() });
        }
        let failed = dir.failed("make", &entry.name);
        let parent = dir.fd().map_err(&failed)?;
        let make = |name: &[u8]| make(&parent, name, entry);
        let temporary = match make(&entry.name) {
            Ok(()) => None,
            Err(Errno::EXIST) if dir.is_fresh() => return Err(dir.twin(&entry.name)),
            Err(Errno::EXIST) => {
                let made = self.shared.at_temporary_name(make);
                Some(made.map_err(|error| failed(error.into()))?.0)
            }
            Err(error) => return Err(failed(error.into())),
        };
        let name = temporary.as_deref().unwrap_or(&entry.name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*parent, name, flags, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let stat = Stat::of(&fd).map_err(&failed)?;
        let ours = stat.uid == self.shared.euid && stat.nlink == 1;
        if stat.kind.as_str() != kind_word(entry) || !ours {
            let why = "somebody else replaced it while it was being restored";
            return Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, why)));
        }
        let mut placed = Placed::default();
        let have =
            Have { owner: Some((stat.uid, stat.gid)), mode: Some(stat.mode), acl: dir.inherits() };
        let path = dir.path(&entry.name);
        self.shared.apply(&Subject::Marked(&fd), have, entry, &path, &mut placed.problems);
        if let Some(temporary) = &temporary {
            placed.kept = self.shared.rename(dir, temporary, entry)?.kept;
        }
        Ok(placed)
    }
}

fn make(dir: &std::os::fd::OwnedFd, name: &[u8], entry: &Entry) -> Result<(), Errno> {
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
