//! The file system behind [`crate::FuseFolder`]: every call goes to a plain folder, after its temper
//! has had its say. Nothing is cached, so what the temper says holds from the next call on.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use rustix::fs::{
    AtFlags, CWD, FileType as NodeType, Mode, SeekFrom, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT,
};

use crate::fuse_folder::Temper;

const AT_ONCE: Duration = Duration::ZERO;

pub(crate) struct Passthrough {
    truth: PathBuf,
    temper: Arc<dyn Temper>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Of each inode the path that was seen last, relative to the root.
    paths: HashMap<u64, PathBuf>,
    open: HashMap<u64, Arc<File>>,
    next: u64,
}

impl Passthrough {
    pub(crate) fn new(truth: &Path, temper: Arc<dyn Temper>) -> Self {
        let table = Table { paths: HashMap::from([(1, PathBuf::new())]), ..Table::default() };
        Self { truth: truth.to_owned(), temper, table: Mutex::new(table) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, ino: INodeNo) -> io::Result<PathBuf> {
        self.table().paths.get(&ino.0).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// The path of a child, under the name that it has there.
    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        let parent = self.path(parent)?;
        Ok(parent.join(self.kept_name(&parent, name)?.unwrap_or_else(|| name.to_owned())))
    }

    /// The name that what is found under `name` has in the folder.
    fn kept_name(&self, parent: &Path, name: &OsStr) -> io::Result<Option<OsString>> {
        let folded = self.temper.fold(name);
        if folded == name && self.truth.join(parent).join(name).symlink_metadata().is_ok() {
            return Ok(Some(folded));
        }
        for entry in fs::read_dir(self.truth.join(parent))? {
            let kept = entry?.file_name();
            if self.temper.fold(&kept) == folded {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    fn open_file(&self, fh: FileHandle) -> io::Result<Arc<File>> {
        let file = self.table().open.get(&fh.0).cloned();
        file.ok_or_else(|| rustix::io::Errno::BADF.into())
    }

    fn keep_open(&self, file: File) -> FileHandle {
        let mut table = self.table();
        table.next += 1;
        let number = table.next;
        table.open.insert(number, Arc::new(file));
        FileHandle(number)
    }

    fn attr(&self, path: &Path, meta: &Metadata) -> FileAttr {
        let ino = if path.as_os_str().is_empty() { 1 } else { meta.ino() };
        let time = |seconds: i64, nanos: i64| {
            let nanos = Duration::from_nanos(nanos.unsigned_abs());
            match u64::try_from(seconds) {
                Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + nanos,
                Err(_) => UNIX_EPOCH - Duration::from_secs(seconds.unsigned_abs()) + nanos,
            }
        };
        FileAttr {
            ino: INodeNo(ino),
            size: if meta.is_file() { self.temper.told_size(path, meta.len()) } else { meta.len() },
            blocks: meta.blocks(),
            atime: time(meta.atime(), meta.atime_nsec()),
            mtime: time(meta.mtime(), meta.mtime_nsec()),
            ctime: time(meta.ctime(), meta.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind(meta.file_type()),
            perm: (meta.mode() & 0o7777) as u16,
            nlink: meta.nlink() as u32,
            uid: meta.uid(),
            gid: meta.gid(),
            rdev: meta.rdev() as u32,
            blksize: 4096,
            flags: 0,
        }
    }

    /// What is at a path now, remembered under its inode.
    fn seen(&self, path: PathBuf) -> io::Result<FileAttr> {
        let attr = self.attr(&path, &self.truth.join(&path).symlink_metadata()?);
        self.table().paths.insert(attr.ino.0, path);
        Ok(attr)
    }

    /// Makes something new; never in the place of what is there.
    fn make(
        &self,
        call: &'static str,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<FileAttr> {
        let path = self.child(parent, name)?;
        self.temper.before(call, &path)?;
        let at = self.truth.join(&path);
        if at.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        make(&at)?;
        self.seen(path)
    }

    fn listing(&self, path: &Path) -> io::Result<Vec<(u64, FileType, OsString)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.truth.join(path))? {
            let entry = entry?;
            let (name, kind) = (entry.file_name(), kind(entry.file_type()?));
            for _ in 0..self.temper.listed(&path.join(&name)) {
                entries.push((entry.metadata()?.ino(), kind, name.clone()));
            }
        }
        entries.sort_by(|a, b| a.2.cmp(&b.2));
        Ok(entries)
    }

    fn renamed(&self, from: &Path, to: &Path) {
        for path in self.table().paths.values_mut() {
            if let Ok(rest) = path.strip_prefix(from) {
                *path = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
    }

    fn set(&self, ino: INodeNo, fh: Option<FileHandle>, change: &Change) -> io::Result<FileAttr> {
        let path = self.path(ino)?;
        self.temper.before("setattr", &path)?;
        let at = self.truth.join(&path);
        if let Some(size) = change.size {
            match fh {
                Some(fh) => self.open_file(fh)?.set_len(size)?,
                None => fs::OpenOptions::new().write(true).open(&at)?.set_len(size)?,
            }
        }
        if change.uid.is_some() || change.gid.is_some() {
            std::os::unix::fs::lchown(&at, change.uid, change.gid)?;
        }
        if let Some(mode) = change.mode {
            fs::set_permissions(&at, fs::Permissions::from_mode(mode & 0o7777))?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            let times = Timestamps {
                last_access: timespec(change.atime),
                last_modification: timespec(change.mtime),
            };
            rustix::fs::utimensat(CWD, &at, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.seen(path)
    }
}

#[derive(Default)]
struct Change {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    atime: Option<TimeOrNow>,
    mtime: Option<TimeOrNow>,
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let (tv_sec, tv_nsec) = match time {
        None => (0, UTIME_OMIT),
        Some(TimeOrNow::Now) => (0, UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            (since.as_secs() as i64, i64::from(since.subsec_nanos()))
        }
    };
    Timespec { tv_sec, tv_nsec }
}

fn kind(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::NamedPipe,
        kind if kind.is_socket() => FileType::Socket,
        kind if kind.is_char_device() => FileType::CharDevice,
        kind if kind.is_block_device() => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

impl Filesystem for Passthrough {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.child(parent, name).and_then(|path| {
            self.temper.before("lookup", &path)?;
            self.seen(path)
        });
        answer_entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.path(ino).and_then(|path| {
            self.temper.before("getattr", &path)?;
            match fh {
                Some(fh) => Ok(self.attr(&path, &self.open_file(fh)?.metadata()?)),
                None => self.seen(path),
            }
        });
        answer_attr(found, reply);
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        answer_attr(self.set(ino, fh, &Change { mode, uid, gid, size, atime, mtime }), reply);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.path(ino).and_then(|path| fs::read_link(self.truth.join(path))) {
            Ok(target) => reply.data(target.as_os_str().as_encoded_bytes()),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make("mknod", parent, name, |at| {
            let kind = NodeType::from_raw_mode(mode);
            let mode = Mode::from_raw_mode(mode & 0o7777 & !umask);
            Ok(rustix::fs::mknodat(CWD, at, kind, mode, rdev.into())?)
        });
        answer_entry(made, reply);
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make("mkdir", parent, name, |at| {
            fs::create_dir(at)?;
            fs::set_permissions(at, fs::Permissions::from_mode(mode & 0o7777 & !umask))
        });
        answer_entry(made, reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.child(parent, name).and_then(|path| {
            self.temper.before("unlink", &path)?;
            fs::remove_file(self.truth.join(path))
        });
        answer(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.child(parent, name).and_then(|path| {
            self.temper.before("rmdir", &path)?;
            fs::remove_dir(self.truth.join(path))
        });
        answer(done, reply);
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self.make("symlink", parent, name, |at| std::os::unix::fs::symlink(target, at));
        answer_entry(made, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            let (from, to) = (self.child(parent, name)?, self.path(newparent)?.join(newname));
            self.temper.before("rename", &from)?;
            let there = self.child(newparent, newname)?;
            let taken = there != from && self.truth.join(&there).symlink_metadata().is_ok();
            if flags.contains(RenameFlags::RENAME_EXCHANGE) {
                return Err(ErrorKind::InvalidInput.into());
            }
            if taken && flags.contains(RenameFlags::RENAME_NOREPLACE) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            // As where names fold: what was there goes, and the new name is spelled as it was asked for.
            fs::rename(self.truth.join(&from), self.truth.join(&there))?;
            if there != to {
                fs::rename(self.truth.join(&there), self.truth.join(&to))?;
            }
            self.renamed(&from, &to);
            Ok(())
        };
        answer(rename(), reply);
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = self.path(ino).and_then(|original| {
            let original = self.truth.join(original);
            self.make("link", newparent, newname, |at| fs::hard_link(original, at))
        });
        answer_entry(linked, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.path(ino).and_then(|path| {
            self.temper.before("open", &path)?;
            let writes = flags.0 & 0b11 != 0;
            fs::OpenOptions::new().read(true).write(writes).open(self.truth.join(path))
        });
        match opened {
            Ok(file) => reply.opened(self.keep_open(file), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let mut file = None;
        let made = self.make("create", parent, name, |at| {
            let mut options = fs::OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(mode & 0o7777 & !umask);
            file = Some(options.open(at)?);
            Ok(())
        });
        match (made, file) {
            (Ok(attr), Some(file)) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&AT_ONCE, &attr, Generation(0), self.keep_open(file), flags);
            }
            (Err(error), _) => reply.error(Errno::from(error)),
            (Ok(_), None) => reply.error(Errno::EIO),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.path(ino).and_then(|path| {
            self.temper.before("read", &path)?;
            let mut bytes = vec![0; size as usize];
            let file = self.open_file(fh)?;
            let mut filled = 0;
            while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, offset + filled as u64)? {
                    0 => break,
                    more => filled += more,
                }
            }
            bytes.truncate(filled);
            self.temper.read(&path, offset, bytes)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.path(ino).and_then(|path| {
            self.temper.before("write", &path)?;
            self.open_file(fh)?.write_all_at(data, offset)
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.table().open.remove(&fh.0);
        reply.ok();
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        // The two that the kernel asks for by this call: <unistd.h>.
        const SEEK_DATA: i32 = 3;
        let found = self.path(ino).and_then(|path| {
            self.temper.before("lseek", &path)?;
            let at = offset.unsigned_abs();
            let to = if whence == SEEK_DATA { SeekFrom::Data(at) } else { SeekFrom::Hole(at) };
            Ok(rustix::fs::seek(&*self.open_file(fh)?, to)?)
        });
        match found {
            Ok(offset) => reply.offset(offset as i64),
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.path(ino).and_then(|path| {
            self.temper.before("fsync", &path)?;
            self.open_file(fh)?.sync_all()
        });
        answer(synced, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.path(ino).and_then(|path| {
            self.temper.before("readdir", &path)?;
            self.listing(&path)
        });
        match listed {
            Ok(entries) => {
                for (at, (ino, kind, name)) in (0..).zip(entries).skip(offset as usize) {
                    if reply.add(INodeNo(ino), at + 1, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(Errno::from(error)),
        }
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let synced = self.path(ino).and_then(|path| {
            self.temper.before("fsyncdir", &path)?;
            File::open(self.truth.join(path))?.sync_all()
        });
        answer(synced, reply);
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self
            .temper
            .before("statfs", Path::new(""))
            .and_then(|()| Ok(rustix::fs::statfs(&self.truth)?))
        {
            Ok(stat) => reply.statfs(
                stat.f_blocks,
                stat.f_bfree,
                stat.f_bavail,
                stat.f_files,
                stat.f_ffree,
                4096,
                255,
                4096,
            ),
            Err(error) => reply.error(Errno::from(error)),
        }
    }
}

fn answer(done: io::Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(Errno::from(error)),
    }
}

fn answer_entry(found: io::Result<FileAttr>, reply: ReplyEntry) {
    match found {
        Ok(attr) => reply.entry(&AT_ONCE, &attr, Generation(0)),
        Err(error) => reply.error(Errno::from(error)),
    }
}

fn answer_attr(found: io::Result<FileAttr>, reply: ReplyAttr) {
    match found {
        Ok(attr) => reply.attr(&AT_ONCE, &attr),
        Err(error) => reply.error(Errno::from(error)),
    }
}
