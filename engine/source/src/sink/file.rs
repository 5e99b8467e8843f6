//! Writing regular files.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use simsim_format::Entry;
use simsim_model::{Problem, ProblemKind};

use super::attributes::{Have, Subject, by_number};
use super::{DirHandle, FsSink, Kept, Placed, Shared, check_name, naming, rename_to_new};
use crate::{SinkError, StatKind};

const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
const UNNAMED: OFlags = OFlags::WRONLY.union(OFlags::TMPFILE).union(OFlags::CLOEXEC);

/// The answer to [`FsSink::create`].
pub enum Created {
    Write(FileWriter),
    /// Something is there that the policy keeps.
    Kept(Kept),
}

/// A regular file on its way, under a temporary name.
///
/// Several threads may write pieces of it. Dropped without [`FileWriter::finish`], it is removed.
pub struct FileWriter {
    shared: Arc<Shared>,
    dir: DirHandle,
    entry: Box<Entry>,
    fd: OwnedFd,
    /// `None` once the file has its lasting name, or is gone.
    temporary: Option<Vec<u8>>,
    written_end: AtomicU64,
}

impl FsSink {
    /// Begins a regular file of `entry.size` bytes.
    pub fn create(&self, dir: &DirHandle, entry: &Entry) -> Result<Created, SinkError> {
        check_file(dir, entry)?;
        if let Some(kept) = self.shared.standing(dir, entry)? {
            return Ok(Created::Kept(kept));
        }
        let failed = dir.failed("create", &entry.name);
        let parent = dir.fd().map_err(&failed)?;
        let mode = Mode::RUSR | Mode::WUSR;
        let make = || {
            let open = |name: &[u8]| rustix::fs::openat(&*parent, name, NEW_FILE, mode);
            self.shared.at_temporary_name(open).map_err(|error| failed(error.into()))
        };
        let (mut temporary, mut fd) = make()?;
        if !super::leftovers::hold(&fd) {
            (temporary, fd) = make()?;
            super::leftovers::hold(&fd);
        }
        Ok(Created::Write(FileWriter {
            shared: Arc::clone(&self.shared),
            dir: dir.clone(),
            entry: Box::new(entry.clone()),
            fd,
            temporary: Some(temporary),
            written_end: AtomicU64::new(0),
        }))
    }

    /// A whole file in one call; `bytes` is all of its content.
    pub fn put(&self, dir: &DirHandle, entry: &Entry, bytes: &[u8]) -> Result<Placed, SinkError> {
        check_file(dir, entry)?;
        if bytes.len() as u64 != entry.size {
            let size = entry.size;
            let why = format!("it should have {size} bytes and {} were given", bytes.len());
            let error = io::Error::new(io::ErrorKind::InvalidData, why);
            return Err(dir.failed("write", &entry.name)(error));
        }
        if dir.is_fresh() && self.shared.unnamed.load(Ordering::Relaxed) {
            if let Some(placed) = self.put_unnamed(dir, entry, bytes)? {
                return Ok(placed);
            }
            self.shared.unnamed.store(false, Ordering::Relaxed);
        }
        match self.create(dir, entry)? {
            Created::Kept(kept) => Ok(Placed::kept(kept)),
            Created::Write(writer) => {
                writer.write_at(0, bytes).map_err(dir.failed("write", &entry.name))?;
                writer.finish()
            }
        }
    }

    /// Without a name until it is complete, for small files of a directory that nobody else can
    /// enter yet: cheaper than a temporary name, and a restore that is killed leaves nothing.
    /// `None` where the file system has no such files.
    fn put_unnamed(
        &self,
        dir: &DirHandle,
        entry: &Entry,
        bytes: &[u8],
    ) -> Result<Option<Placed>, SinkError> {
        let parent = dir.fd().map_err(dir.failed("create", &entry.name))?;
        let mode = entry.mode & 0o777;
        let fd = match rustix::fs::openat(&*parent, c".", UNNAMED, Mode::from_raw_mode(mode)) {
            Ok(fd) => fd,
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(dir.failed("create", &entry.name)(error.into())),
        };
        write_all(&fd, 0, bytes).map_err(dir.failed("write", &entry.name))?;
        let have = Have {
            owner: dir.new_files(),
            mode: Some(mode & !self.shared.umask),
            acl: dir.inherits(),
        };
        let mut placed = Placed::default();
        self.shared.finish_file(dir, &fd, have, entry, &mut placed.problems);
        simsim_model::failpoint::hit("source.before_naming");
        for name in naming::candidates(&entry.name) {
            match give_name(&fd, &parent, &name) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) if is_no_room(error) => {
                    return Err(dir.failed("create", &entry.name)(error.into()));
                }
                Err(_) => return Ok(None),
            }
            let named = dir.placed(entry, &name);
            placed.problems.extend(named.problems);
            placed.name = named.name;
            self.shared.flags_of_placed(dir, &fd, entry, &mut placed);
            return Ok(Some(placed));
        }
        Err(dir.twin(&entry.name))
    }
}

/// Gives an open file without a name its first one; never replaces.
fn give_name(fd: &OwnedFd, parent: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::linkat(fd, c"", parent, name, AtFlags::EMPTY_PATH) {
        // Kernels before 6.10 ask for a right that only root has.
        Err(Errno::NOENT) => {
            let flags = AtFlags::SYMLINK_FOLLOW;
            rustix::fs::linkat(rustix::fs::CWD, by_number(fd), parent, name, flags)
        }
        linked => linked,
    }
}

fn is_no_room(error: Errno) -> bool {
    matches!(error, Errno::NOSPC | Errno::DQUOT)
}

impl Shared {
    /// The path is for reports: it is built only if there is one to make.
    fn finish_file(
        &self,
        dir: &DirHandle,
        fd: &OwnedFd,
        have: Have,
        entry: &Entry,
        problems: &mut Vec<Problem>,
    ) {
        let before = problems.len();
        self.apply(&Subject::Open(fd), have, entry, b"", problems);
        for problem in problems.iter_mut().skip(before) {
            problem.path = dir.path(&entry.name);
        }
    }
}

impl FileWriter {
    /// Writes a piece. Stretches never written read as zeros and take no room. Errors:
    /// `InvalidInput` for a piece that goes past the entry's size.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.entry.size);
        let Some(end) = end else {
            let why = format!(
                "{} bytes at {offset} go past the file's size of {}",
                bytes.len(),
                self.entry.size
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        write_all(&self.fd, offset, bytes)?;
        self.written_end.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    /// What it means that a piece could not be written.
    pub fn failed(&self, error: io::Error) -> SinkError {
        self.dir.failed("write", &self.entry.name)(error)
    }

    /// All pieces are written: sets size and attributes and gives the file its name.
    pub fn finish(mut self) -> Result<Placed, SinkError> {
        self.set_size().map_err(self.dir.failed("set the size of", &self.entry.name))?;
        let mut problems = Vec::new();
        let have = Have {
            owner: self.dir.new_files(),
            mode: Some(0o600 & !self.shared.umask),
            acl: self.dir.inherits(),
        };
        self.shared.finish_file(&self.dir, &self.fd, have, &self.entry, &mut problems);
        simsim_model::failpoint::hit("source.before_rename");
        let Some(temporary) = self.temporary.take() else { return Ok(Placed::default()) };
        let mut placed = self.shared.place(&self.dir, &temporary, &self.entry)?;
        if placed.kept.is_none() {
            placed.problems.extend(problems);
            self.shared.flags_of_placed(&self.dir, &self.fd, &self.entry, &mut placed);
        }
        Ok(placed)
    }

    /// Some content is missing: what there is stays as `NAME.incomplete` (with a number if that
    /// is taken), at its offsets, the rest as zeros. The problem names the file and the reason.
    pub fn incomplete(mut self, reason: impl AsRef<str>) -> Problem {
        let path = self.dir.path(&self.entry.name);
        let problem = |text: String| Problem::new(path.clone(), ProblemKind::MissingData, text);
        let reason = reason.as_ref();
        let Some(temporary) = self.temporary.take() else {
            return problem(format!("content is missing: {reason}"));
        };
        let mut entry = self.entry.clone();
        entry.mode &= 0o777;
        entry.flags = 0;
        let have = Have { owner: self.dir.new_files(), mode: None, acl: self.dir.inherits() };
        // The report has one line for this file, and a worse one than an attribute.
        self.shared.finish_file(&self.dir, &self.fd, have, &entry, &mut Vec::new());
        match self.set_size().and_then(|()| self.keep_incomplete(&temporary)) {
            Ok(name) => problem(format!(
                "content is missing ({reason}); what could be restored is in '{}'",
                simsim_model::escape_path(&name)
            )),
            Err(error) => {
                self.temporary = Some(temporary);
                problem(format!(
                    "content is missing ({reason}), and the rest cannot be kept: {error}"
                ))
            }
        }
    }

    fn keep_incomplete(&self, temporary: &[u8]) -> io::Result<Vec<u8>> {
        let dir = self.dir.fd()?;
        for number in 1..1000_u32 {
            let ending = match number {
                1 => ".incomplete".to_owned(),
                _ => format!(".incomplete.{number}"),
            };
            let name = naming::with_ending(&self.entry.name, &ending);
            match rename_to_new(&dir, temporary, &name) {
                Err(Errno::EXIST) => {}
                other => return Ok(other.map(|()| name)?),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// A hole at the end is not written, so the size may be short of it.
    fn set_size(&self) -> io::Result<()> {
        if self.written_end.load(Ordering::Relaxed) < self.entry.size {
            rustix::fs::ftruncate(&self.fd, self.entry.size)?;
        }
        Ok(())
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take()
            && let Ok(dir) = self.dir.fd()
        {
            let _ = rustix::fs::unlinkat(&*dir, &temporary, AtFlags::empty());
        }
    }
}

fn check_file(dir: &DirHandle, entry: &Entry) -> Result<(), SinkError> {
    check_name(dir, entry)?;
    if entry.is_file() {
        return Ok(());
    }
    let path = dir.path(&entry.name);
    Err(SinkError::WrongKind { path, wanted: StatKind::File.as_str() })
}

fn write_all(fd: &OwnedFd, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                bytes = bytes.get(written..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use simsim_format::{Content, DirTotals, EntryKind};
    use simsim_model::{Overwrite, Timestamp};

    use super::super::SinkOptions;
    use super::*;

    fn entry(name: &[u8], kind: EntryKind, mode: u32, size: u64) -> Entry {
        Entry {
            name: name.to_vec(),
            kind,
            mode,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: Timestamp::new(1_600_000_000, 7),
            ctime: Timestamp::default(),
            ino: 0,
            dev: 0,
            nlink: 1,
            size,
            flags: 0,
            xattrs: Vec::new(),
            content: Content::None,
        }
    }

    /// Whatever the file system can, the same comes of it.
    #[test]
    fn small_files_of_new_directories_are_the_same_with_and_without_unnamed_files() {
        for unnamed in [true, false] {
            let home = tempfile::tempdir().unwrap();
            let options =
                SinkOptions { overwrite: Overwrite::Never, owners: true, specials: false };
            let sink = FsSink::open(home.path(), options).unwrap();
            sink.shared.unnamed.store(unnamed, Ordering::Relaxed);
            let kind = EntryKind::Directory(DirTotals::default());
            let dir = sink.enter(&sink.root(), &entry(b"d", kind, 0o755, 0)).unwrap();
            for (name, mode) in [(&b"a"[..], 0o640), (b"b", 0o4751), (b"c", 0)] {
                let placed = sink.put(&dir, &entry(name, EntryKind::File, mode, 3), b"abc");
                assert_eq!(placed.unwrap().kept, None, "{unnamed}");
                let path = home.path().join("d").join(String::from_utf8(name.to_vec()).unwrap());
                let meta = path.metadata().unwrap();
                // A setuid bit comes back only when asked for.
                assert_eq!(meta.mode() & 0o7777, mode & 0o777, "{unnamed}");
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_600_000_000, 7), "{unnamed}");
                assert_eq!((meta.len(), meta.nlink()), (3, 1), "{unnamed}");
            }
            // A name that the target has already under another spelling.
            let twin = sink.put(&dir, &entry(b"a", EntryKind::File, 0o600, 1), b"x").unwrap();
            assert_eq!(twin.name.as_deref(), Some(&b"a.twin"[..]), "{unnamed}");
            assert_eq!(twin.problems.len(), 1, "{unnamed}");
            assert_eq!(std::fs::read_dir(home.path().join("d")).unwrap().count(), 4);
            assert_eq!(std::fs::read(home.path().join("d/a")).unwrap(), b"abc");
            assert_eq!(std::fs::read(home.path().join("d/a.twin")).unwrap(), b"x");
        }
    }
}
