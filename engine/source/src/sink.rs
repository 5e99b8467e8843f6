//! Writing a tree back, beneath one directory that stays open.
//!
//! Every name is one component and is used relative to a held directory, never through a
//! symlink, so whatever an attacker swaps while a privileged restore runs, nothing is written
//! outside of the target. Directories are made with mode 0700 and get their real attributes when
//! they are left. Everything else gets its name when it is complete, with its attributes, so that a
//! restore that is killed leaves nothing half under the name of something: it is made under a
//! temporary name (`O_EXCL`) and renamed.
//!
//! One exception, for speed: a small file that goes as a whole into a directory that this sink
//! has just made is written without any name (`O_TMPFILE`), where the file system can, and then
//! linked to its own.

mod attributes;
mod directory;
mod file;
mod leftovers;
mod naming;
mod special;
mod target;

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use simsim_format::Entry;
use simsim_model::{Overwrite, Problem, ProblemKind};

pub use directory::DirHandle;
pub use file::{Created, FileWriter};

use crate::held::{FdRing, HeldDir};
use crate::{SinkError, Stat, StatKind};

/// How a sink treats what is there, and what it restores besides content.
#[derive(Debug, Clone, Copy)]
pub struct SinkOptions {
    /// Where a file (or anything but a directory) already is. Directories are always merged.
    pub overwrite: Overwrite,
    /// Set users and groups, by number. Without the right to do so the others are kept, and the
    /// report says how many.
    pub owners: bool,
    /// Restore what can give rights away: device nodes, setuid and setgid bits of files, and
    /// capabilities.
    pub specials: bool,
}

/// What became of an entry.
#[derive(Debug, Default)]
pub struct Placed {
    /// The entry was not written, and why.
    pub kept: Option<Kept>,
    /// The name that the entry has got, if its own is taken by a twin.
    pub name: Option<Vec<u8>>,
    /// Attributes that could not be set, its name among them; the content is complete.
    pub problems: Vec<Problem>,
}

impl Placed {
    fn kept(kept: Kept) -> Self {
        Self { kept: Some(kept), ..Self::default() }
    }
}

/// Why an entry was not written: something is there already, or it was not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub reason: String,
    /// What is there is what the policy wants to see there: no problem, nothing to report.
    pub right: bool,
}

impl Kept {
    pub(crate) fn in_the_way(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), right: false }
    }

    fn right(reason: &str) -> Self {
        Self { reason: reason.to_owned(), right: true }
    }
}

/// A file that was restored before, for hard links to it.
#[derive(Clone)]
pub struct LinkTarget {
    pub dir: DirHandle,
    pub name: Vec<u8>,
}

impl LinkTarget {
    pub fn new(dir: DirHandle, name: impl Into<Vec<u8>>) -> Self {
        Self { dir, name: name.into() }
    }
}

/// The target of a restore. All verbs may be called from several threads.
pub struct FsSink {
    shared: Arc<Shared>,
    root: DirHandle,
}

/// What directories and file writers share.
pub(crate) struct Shared {
    options: SinkOptions,
    umask: u32,
    euid: u32,
    next_temporary: AtomicU64,
    /// The target's file system has files without a name, as far as is known.
    unnamed: AtomicBool,
    owners_skipped: AtomicU64,
    /// Hard links to an immutable file cannot be made, so their flags wait until the end.
    late_flags: Mutex<Vec<(DirHandle, Entry)>>,
}

impl FsSink {
    /// Opens `target`, made if missing. The path is resolved once, here, and may hold symlinks.
    pub fn open(target: &Path, options: SinkOptions) -> Result<FsSink, SinkError> {
        let path = target.as_os_str().as_bytes();
        let made = target::Deepest::of(target).and_then(target::Deepest::make);
        made.and_then(|fd| Self::beneath(fd, path, options))
            .map_err(|source| SinkError::Target { path: path.to_vec(), source })
    }

    /// [`FsSink::open`], where `may` has the last word: it is asked for the place to which the path has
    /// led, which is held by then, before anything is made or changed there. That place has no link on
    /// its way.
    ///
    /// # Errors
    /// What `may` says, or [`SinkError::Target`], also where no `/proc` tells what the place is.
    pub fn open_where<E: From<SinkError>>(
        target: &Path,
        options: SinkOptions,
        may: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<FsSink, E> {
        let path = target.as_os_str().as_bytes();
        let failed = |source: std::io::Error| SinkError::Target { path: path.to_vec(), source };
        let deepest = target::Deepest::of(target).map_err(failed)?;
        may(&deepest.place().map_err(failed)?)?;
        let fd = deepest.make().map_err(failed)?;
        Ok(Self::beneath(fd, path, options).map_err(failed)?)
    }

    fn beneath(fd: OwnedFd, path: &[u8], options: SinkOptions) -> std::io::Result<FsSink> {
        let held = HeldDir::base(fd, path, FdRing::new())?;
        let shared = Arc::new(Shared {
            options,
            umask: umask(),
            euid: rustix::process::geteuid().as_raw(),
            next_temporary: AtomicU64::new(0),
            unnamed: AtomicBool::new(true),
            owners_skipped: AtomicU64::new(0),
            late_flags: Mutex::new(Vec::new()),
        });
        let root = DirHandle::taken(held, None, None)?;
        Ok(FsSink { shared, root })
    }

    /// The target directory. Leave it last: that sets what had to wait. Its own attributes stay.
    pub fn root(&self) -> DirHandle {
        self.root.clone()
    }

    /// Would the policy keep what is at the entry's place? Saves fetching what is not written.
    /// Errors: a directory is there.
    pub fn keeps(&self, dir: &DirHandle, entry: &Entry) -> Result<Option<Kept>, SinkError> {
        check_name(dir, entry)?;
        self.shared.standing(dir, entry)
    }

    /// A hard link to a file restored before. Errors: as the file system gives them (another
    /// device, too many links); the caller may restore a copy instead.
    pub fn link(
        &self,
        dir: &DirHandle,
        entry: &Entry,
        original: &LinkTarget,
    ) -> Result<Placed, SinkError> {
        check_name(dir, entry)?;
        if !Entry::valid_name(&original.name) {
            return Err(SinkError::Name { name: original.name.clone() });
        }
        let failed = dir.failed("link", &entry.name);
        let from = original.dir.fd().map_err(&failed)?;
        let to = dir.fd().map_err(&failed)?;
        let link =
            |name: &[u8]| rustix::fs::linkat(&*from, &original.name, &*to, name, AtFlags::empty());
        for name in naming::candidates(&entry.name) {
            let standing = match Stat::at(&*to, &name) {
                Ok(standing) => standing,
                Err(_) => match link(&name) {
                    Ok(()) => return Ok(dir.placed(entry, &name)),
                    Err(Errno::EXIST) => continue,
                    Err(error) => return Err(failed(error.into())),
                },
            };
            // Also a link to the same file, made under a twin's name.
            if !dir.was_there(&name) {
                continue;
            }
            let source = Stat::at(&*from, &original.name).map_err(&failed)?;
            if source.identity() == standing.identity() {
                return Ok(dir.placed(entry, &name));
            }
            if let Some(kept) = self.shared.policy(dir, entry, &name, &standing)? {
                return Ok(Placed::kept(kept));
            }
            let temporary = self.shared.at_temporary_name(link).map_err(|e| failed(e.into()))?.0;
            return self.shared.place(dir, &temporary, entry);
        }
        Err(dir.twin(&entry.name))
    }
}

impl Shared {
    /// Is something at the entry's place that must stay? `Some` says why. Errors: a directory
    /// is there.
    fn standing(&self, dir: &DirHandle, entry: &Entry) -> Result<Option<Kept>, SinkError> {
        if dir.is_fresh() {
            return Ok(None);
        }
        let failed = dir.failed("look at", &entry.name);
        let fd = dir.fd().map_err(&failed)?;
        for name in naming::candidates(&entry.name) {
            match Stat::at(&*fd, &name) {
                Ok(there) if dir.was_there(&name) => {
                    return self.policy(dir, entry, &name, &there);
                }
                // Restored by now, under a name that falls together with this one.
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(failed(error)),
            }
        }
        Err(dir.twin(&entry.name))
    }

    /// What the policy says of something that was there under `name` before.
    fn policy(
        &self,
        dir: &DirHandle,
        entry: &Entry,
        name: &[u8],
        there: &Stat,
    ) -> Result<Option<Kept>, SinkError> {
        if there.kind == StatKind::Directory {
            return Err(SinkError::Occupied {
                path: dir.path(name),
                found: there.kind.as_str(),
                wanted: kind_word(entry),
            });
        }
        let same = kind_word(entry) == there.kind.as_str()
            && there.mtime == entry.mtime
            && (!entry.is_file() || there.size == entry.size);
        let kept = match self.options.overwrite {
            Overwrite::Never => {
                Kept::in_the_way(format!("a {} is there already", there.kind.as_str()))
            }
            Overwrite::IfChanged if same => {
                Kept::right("it has the same size and modification time already")
            }
            Overwrite::IfNewer if there.mtime >= entry.mtime => {
                Kept::right("what is there is as new or newer")
            }
            Overwrite::IfChanged | Overwrite::IfNewer | Overwrite::Always => return Ok(None),
        };
        // No twin of this entry may take it for its own.
        dir.dealt_with(name);
        Ok(Some(kept))
    }

    /// Runs `make` with a name that nothing has yet. Leftovers of an earlier restore stay.
    fn at_temporary_name<T>(
        &self,
        mut make: impl FnMut(&[u8]) -> Result<T, Errno>,
    ) -> Result<(Vec<u8>, T), Errno> {
        loop {
            let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
            let name = leftovers::name(number);
            match make(&name) {
                Err(Errno::EXIST) => {}
                made => return made.map(|made| (name, made)),
            }
        }
    }

    /// Gives a complete file its name, or a twin's where that is taken. What was there before is
    /// replaced as the policy says; nothing else ever is.
    fn place(&self, dir: &DirHandle, temporary: &[u8], entry: &Entry) -> Result<Placed, SinkError> {
        let failed = dir.failed("rename to", &entry.name);
        let fd = dir.fd().map_err(&failed)?;
        let remove = || {
            let _ = rustix::fs::unlinkat(&*fd, temporary, AtFlags::empty());
        };
        for name in naming::candidates(&entry.name) {
            let was_there = dir.was_there(&name);
            let replaces = was_there && self.options.overwrite != Overwrite::Never;
            let renamed = if replaces {
                rustix::fs::renameat(&*fd, temporary, &*fd, &*name)
            } else {
                rename_to_new(&fd, temporary, &name)
            };
            let error = match renamed {
                Ok(()) => {
                    // Both names of one inode: the kernel then leaves both.
                    if replaces && entry.nlink > 1 {
                        remove();
                    }
                    return Ok(dir.placed(entry, &name));
                }
                Err(Errno::EXIST) if !was_there => continue,
                Err(error) => error,
            };
            remove();
            return match error {
                Errno::EXIST if !replaces => {
                    dir.dealt_with(&name);
                    Ok(Placed::kept(Kept::in_the_way("something was put there during the restore")))
                }
                Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => Err(SinkError::Occupied {
                    path: dir.path(&name),
                    found: StatKind::Directory.as_str(),
                    wanted: kind_word(entry),
                }),
                error => Err(failed(error.into())),
            };
        }
        remove();
        Err(dir.twin(&entry.name))
    }

    /// One sentence for all owners that this user may not set.
    fn owners_note(&self, path: Vec<u8>) -> Option<Problem> {
        let skipped = self.owners_skipped.swap(0, Ordering::Relaxed);
        (skipped > 0).then(|| {
            let message = format!(
                "{skipped} entries belong to the restoring user now: only root may set other \
                 owners; restore as root to keep them"
            );
            Problem::new(path, ProblemKind::Note, message)
        })
    }
}

/// Renames within a directory; [`Errno::EXIST`] where something has the name.
fn rename_to_new(dir: &OwnedFd, from: &[u8], to: &[u8]) -> Result<(), Errno> {
    match rustix::fs::renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        // A file system without the flag: a second link refuses to replace as well.
        Err(Errno::INVAL) => rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())
            .and_then(|()| rustix::fs::unlinkat(dir, from, AtFlags::empty())),
        renamed => renamed,
    }
}

fn check_name(dir: &DirHandle, entry: &Entry) -> Result<(), SinkError> {
    if Entry::valid_name(&entry.name) {
        return Ok(());
    }
    Err(SinkError::Name { name: dir.path(&entry.name) })
}

fn kind_word(entry: &Entry) -> &'static str {
    use simsim_format::EntryKind;
    match entry.kind {
        EntryKind::File => StatKind::File,
        EntryKind::Directory(_) => StatKind::Directory,
        EntryKind::Symlink(_) => StatKind::Symlink,
        EntryKind::Fifo => StatKind::Fifo,
        EntryKind::Socket => StatKind::Socket,
        EntryKind::CharDevice { .. } => StatKind::CharDevice,
        EntryKind::BlockDevice { .. } => StatKind::BlockDevice,
    }
    .as_str()
}

/// The process's mask, read without changing it: to set it is the only other way to ask, and
/// would race with other threads. Unknown: the strictest, which costs a call per file.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}
