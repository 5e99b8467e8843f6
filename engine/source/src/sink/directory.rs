//! A directory of the target while a restore works in it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::Mode;
use rustix::io::Errno;
use simsim_format::Entry;
use simsim_model::{Problem, ProblemKind, escape_path};

use super::attributes::{Have, Subject};
use super::naming::Before;
use super::{FsSink, Placed, check_name};
use crate::held::HeldDir;
use crate::{SinkError, Stat, StatKind};

/// A held directory of the target; clones name the same one.
#[derive(Clone)]
pub struct DirHandle(Arc<Dir>);

struct Dir {
    held: Arc<HeldDir>,
    /// Made by this sink, for nobody else to enter yet.
    fresh: bool,
    /// User and group that a new file gets here, if that is certain.
    new_files: Option<(u32, u32)>,
    /// New files would get an ACL from this directory.
    inherits: bool,
    /// Attributes to set at the end; the base directory has none.
    entry: Option<Entry>,
    /// It has got another name than its own.
    twin: Option<Problem>,
    before: Before,
    /// Inodes of the directories in here that this sink has entered.
    entered: Mutex<HashSet<u64>>,
}

const ACL_ACCESS: &str = "system.posix_acl_access";
const ACL_DEFAULT: &str = "system.posix_acl_default";

impl FsSink {
    /// Makes a directory, or takes the real directory that is there. Its attributes are
    /// remembered until [`FsSink::leave`].
    pub fn enter(&self, parent: &DirHandle, entry: &Entry) -> Result<DirHandle, SinkError> {
        check_name(parent, entry)?;
        if !entry.is_dir() {
            let path = parent.path(&entry.name);
            return Err(SinkError::WrongKind { path, wanted: StatKind::Directory.as_str() });
        }
        let failed = parent.failed("make the directory", &entry.name);
        let fd = parent.fd().map_err(&failed)?;
        let (name, made) = self.directory_name(parent, &fd, entry)?;
        let there = Stat::at(&*fd, &name).map_err(&failed)?;
        if there.kind != StatKind::Directory {
            return Err(SinkError::Occupied {
                path: parent.path(&name),
                found: there.kind.as_str(),
                wanted: StatKind::Directory.as_str(),
            });
        }
        let twin = parent.placed(entry, &name).problems.pop();
        parent.0.entered.lock().insert(there.ino);
        let held = parent.0.held.child(&name);
        if made {
            return self.made(parent, held, entry, twin).map_err(&failed);
        }
        let handle = DirHandle::taken(held, Some(entry.clone()), twin).map_err(&failed)?;
        if self.shared.euid != 0 && there.uid == self.shared.euid && there.mode & 0o700 != 0o700 {
            // A read-only directory of an earlier restore; the attributes come back at the end.
            let mode = Mode::from_raw_mode(there.mode | 0o700);
            let fd = handle.fd().map_err(&failed)?;
            rustix::fs::fchmod(&*fd, mode).map_err(|error| failed(error.into()))?;
        }
        Ok(handle)
    }

    /// The name of a directory, and whether it was made now. The content of twins is never merged.
    fn directory_name<'a>(
        &self,
        parent: &DirHandle,
        fd: &OwnedFd,
        entry: &'a Entry,
    ) -> Result<(Cow<'a, [u8]>, bool), SinkError> {
        let failed = parent.failed("make the directory", &entry.name);
        for name in super::naming::candidates(&entry.name) {
            match rustix::fs::mkdirat(fd, &*name, Mode::RWXU) {
                Ok(()) => return Ok((name, true)),
                Err(Errno::EXIST) if parent.was_there(&name) => return Ok((name, false)),
                // Another restore that goes into the same directory may have made it meanwhile.
                Err(Errno::EXIST) if parent.others_made(fd, &name).map_err(&failed)? => {
                    return Ok((name, false));
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        Err(parent.twin(&entry.name))
    }

    fn made(
        &self,
        parent: &DirHandle,
        held: Arc<HeldDir>,
        entry: &Entry,
        twin: Option<Problem>,
    ) -> io::Result<DirHandle> {
        let fd = held.fd()?;
        let stat = Stat::of(&*fd)?;
        // In a directory that others may write to, somebody can have put another one in place.
        let fresh = stat.uid == self.shared.euid && stat.mode & 0o777 & !0o700 == 0;
        let mut inherits = parent.0.inherits;
        if inherits {
            for name in [ACL_ACCESS, ACL_DEFAULT] {
                // Gone already, or not removable: then files look after themselves.
                let _ = rustix::fs::fremovexattr(&*fd, name);
            }
            inherits = has_default_acl(&fd);
        }
        let egid = rustix::process::getegid().as_raw();
        let certain = fresh && stat.gid == egid && stat.mode & 0o2000 == 0;
        Ok(DirHandle(Arc::new(Dir {
            held,
            fresh,
            new_files: certain.then_some((stat.uid, stat.gid)),
            inherits,
            entry: Some(entry.clone()),
            twin,
            before: Before::default(),
            entered: Mutex::default(),
        })))
    }

    /// All children are done: sets the directory's attributes. What cannot be set is returned,
    /// and so is, for the base directory, whatever had to wait until the end.
    pub fn leave(&self, dir: DirHandle) -> Vec<Problem> {
        let mut problems: Vec<Problem> = dir.0.twin.clone().into_iter().collect();
        let Some(entry) = &dir.0.entry else {
            self.shared.set_late_flags(&mut problems);
            problems.extend(self.shared.owners_note(dir.path(b"")));
            return problems;
        };
        let path = dir.path(b"");
        let set = dir.fd().and_then(|fd| Ok((Stat::of(&*fd)?, fd)));
        match set {
            Ok((stat, fd)) => {
                let have = Have {
                    owner: Some((stat.uid, stat.gid)),
                    mode: Some(stat.mode),
                    acl: dir.0.inherits || !dir.0.fresh,
                };
                let subject = Subject::Open(&fd);
                self.shared.apply(&subject, have, entry, &path, &mut problems);
                self.shared.set_flags(&fd, entry, &path, &mut problems);
            }
            Err(error) => problems.push(Problem::new(
                path,
                ProblemKind::Attribute,
                format!("the directory's attributes cannot be set: {error}"),
            )),
        }
        problems
    }
}

impl DirHandle {
    /// A directory that was there before. What an interrupted restore left in it is removed.
    pub(super) fn taken(
        held: Arc<HeldDir>,
        entry: Option<Entry>,
        twin: Option<Problem>,
    ) -> io::Result<DirHandle> {
        let (fd, before) = (held.fd()?, Before::default());
        super::leftovers::sweep(&*fd, |name| before.add(name))?;
        let inherits = has_default_acl(&fd);
        Ok(DirHandle(Arc::new(Dir {
            held,
            fresh: false,
            new_files: None,
            inherits,
            entry,
            twin,
            before,
            entered: Mutex::default(),
        })))
    }

    /// Was something there under exactly this name when the restore came here, and has it not dealt
    /// with it yet?
    pub(super) fn was_there(&self, name: &[u8]) -> bool {
        !self.0.fresh && self.0.before.has(name)
    }

    pub(super) fn dealt_with(&self, name: &[u8]) {
        self.0.before.done(name);
    }

    /// An entry has got this name. Another one than its own is a problem that the report names.
    pub(super) fn placed(&self, entry: &Entry, name: &[u8]) -> Placed {
        self.dealt_with(name);
        if name == entry.name {
            return Placed::default();
        }
        let what = if entry.is_dir() { "it and all that is in it is" } else { "it is" };
        let message = format!(
            "the target takes its name for that of another entry, which is there; {what} in '{}'",
            escape_path(name)
        );
        let problem = Problem::new(self.path(&entry.name), ProblemKind::Attribute, message);
        Placed { name: Some(name.to_vec()), problems: vec![problem], ..Placed::default() }
    }

    /// Is there a directory of exactly this name that this sink has not restored?
    fn others_made(&self, fd: &OwnedFd, name: &[u8]) -> io::Result<bool> {
        if self.0.fresh {
            return Ok(false);
        }
        let there = Stat::at(fd, name)?;
        if there.kind != StatKind::Directory || self.0.entered.lock().contains(&there.ino) {
            return Ok(false);
        }
        for entry in rustix::fs::Dir::read_from(fd)? {
            if entry?.file_name().to_bytes() == name {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The full path of a child, or of the directory itself when `name` is empty.
    pub fn path(&self, name: &[u8]) -> Vec<u8> {
        self.0.held.path(name)
    }

    pub(super) fn fd(&self) -> io::Result<Arc<OwnedFd>> {
        self.0.held.fd()
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.0.fresh
    }

    pub(super) fn new_files(&self) -> Option<(u32, u32)> {
        self.0.new_files
    }

    pub(super) fn inherits(&self) -> bool {
        self.0.inherits
    }

    pub(super) fn twin(&self, name: &[u8]) -> SinkError {
        SinkError::Twin { path: self.path(name) }
    }

    pub(super) fn failed(
        &self,
        verb: &'static str,
        name: &[u8],
    ) -> impl Fn(io::Error) -> SinkError + use<> {
        let (dir, name) = (self.clone(), name.to_vec());
        move |source| SinkError::Io { verb, path: dir.path(&name), source }
    }
}

fn has_default_acl(fd: &OwnedFd) -> bool {
    rustix::fs::fgetxattr_query(fd, ACL_DEFAULT).is_ok_and(|length| length > 0)
}
