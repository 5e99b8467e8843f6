//! A tree that grows and changes at random, the same way for the same seed.
//!
//! For property tests: build, back up, edit, back up again, restore, compare. Edits are those that
//! people and programs make: write, append, insert, overwrite in place, truncate, punch, replace,
//! rename, link, chmod, touch, set an attribute, delete, turn a file into a folder.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::Rng;

/// A random tree and what it knows of itself.
pub struct RandomTree {
    root: PathBuf,
    rng: Rng,
    /// Every path below the root, and what it is.
    entries: BTreeMap<PathBuf, Kind>,
    /// Contents to repeat, so that dedup has something to find.
    contents: Vec<Vec<u8>>,
    /// Descriptions of what was done, newest last: for the message of a failing test.
    pub log: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    Other,
}

/// A tree of about `edits` entries, made and then edited `edits` times.
pub fn random_tree(root: &Path, seed: u64, edits: usize) -> io::Result<RandomTree> {
    let mut tree = RandomTree::new(root, seed);
    tree.grow(edits)?;
    tree.edit(edits)?;
    Ok(tree)
}

impl RandomTree {
    /// Works in `root`, an empty folder that exists.
    pub fn new(root: &Path, seed: u64) -> Self {
        Self {
            root: root.to_path_buf(),
            rng: Rng::new(seed),
            entries: BTreeMap::new(),
            contents: Vec::new(),
            log: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds `count` entries.
    pub fn grow(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let path = self.new_path();
            match self.rng.below(12) {
                0..=2 => self.make_folder(path)?,
                3 => self.make_symlink(path)?,
                4 => self.make_hard_link(path)?,
                5 => self.make_sparse(path)?,
                6 => self.make_pipe(path)?,
                _ => self.make_file(path)?,
            }
        }
        Ok(())
    }

    /// Makes `count` random changes.
    pub fn edit(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            match self.rng.below(16) {
                0 | 1 => self.grow(1)?,
                2 => self.write_somewhere()?,
                3 => self.append()?,
                4 => self.insert_in_front()?,
                5 => self.truncate()?,
                6 => self.replace()?,
                7 => self.replace_content_and_keep_time()?,
                8 => self.rename()?,
                9 => self.delete()?,
                10 => self.change_mode()?,
                11 => self.touch()?,
                12 => self.set_xattr()?,
                13 => self.file_becomes_folder()?,
                14 => self.punch()?,
                _ => self.write_same()?,
            }
        }
        Ok(())
    }

    // Paths

    /// A new name in a random folder, of bytes that a shell would not like.
    fn new_path(&mut self) -> PathBuf {
        let folders: Vec<PathBuf> = self.paths(Kind::Folder);
        loop {
            let folder = match self.rng.pick(&folders) {
                Some(folder) if !self.rng.one_in(4) => folder.clone(),
                _ => PathBuf::new(),
            };
            let mut name = Vec::new();
            for _ in 0..=self.rng.below(12) {
                let byte = match self.rng.below(8) {
                    0 => self.rng.below(255) as u8 + 1,
                    _ => b"abcdefghijklmnopqrstuvwxyz.-_ "[self.rng.below(30) as usize],
                };
                name.push(if byte == b'/' { b'+' } else { byte });
            }
            let path = folder.join(OsString::from_vec(name.clone()));
            // Some file systems fold names or refuse bytes: what lstat finds is taken.
            let taken = self.root.join(&path).symlink_metadata().is_ok();
            if name != b"." && name != b".." && !taken && path.as_os_str().len() < 3000 {
                return path;
            }
        }
    }

    fn paths(&self, kind: Kind) -> Vec<PathBuf> {
        let wanted = self.entries.iter().filter(|(_, found)| **found == kind);
        wanted.map(|(path, _)| path.clone()).collect()
    }

    fn random_file(&mut self) -> Option<PathBuf> {
        let files = self.paths(Kind::File);
        self.rng.pick(&files).cloned()
    }

    fn random_entry(&mut self) -> Option<PathBuf> {
        let all: Vec<PathBuf> = self.entries.keys().cloned().collect();
        self.rng.pick(&all).cloned()
    }

    fn full(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    fn did(&mut self, what: &str, path: &Path) {
        self.log.push(format!("{what} {path:?}"));
    }

    fn made(&mut self, what: &str, path: PathBuf, kind: Kind) {
        self.did(what, &path);
        self.entries.insert(path, kind);
    }

    // Making

    fn content(&mut self) -> Vec<u8> {
        if self.rng.one_in(4) {
            let contents = std::mem::take(&mut self.contents);
            let again = self.rng.pick(&contents).cloned();
            self.contents = contents;
            if let Some(content) = again {
                return content;
            }
        }
        let size = match self.rng.below(10) {
            0 => 0,
            1..=6 => self.rng.below(5_000),
            7 | 8 => self.rng.below(100_000),
            _ => self.rng.below(1_500_000),
        } as usize;
        let content = match self.rng.below(3) {
            0 => self.rng.bytes(size),
            _ => self.rng.text(size),
        };
        if self.contents.len() < 20 {
            self.contents.push(content.clone());
        }
        content
    }

    fn make_file(&mut self, path: PathBuf) -> io::Result<()> {
        let content = self.content();
        fs::write(self.full(&path), content)?;
        self.made("file", path, Kind::File);
        Ok(())
    }

    fn make_folder(&mut self, path: PathBuf) -> io::Result<()> {
        fs::create_dir(self.full(&path))?;
        self.made("folder", path, Kind::Folder);
        Ok(())
    }

    fn make_symlink(&mut self, path: PathBuf) -> io::Result<()> {
        let length = 1 + self.rng.below(40) as usize;
        let target: Vec<u8> = self.rng.bytes(length).into_iter().map(|byte| byte.max(1)).collect();
        symlink(OsString::from_vec(target), self.full(&path))?;
        self.made("symlink", path, Kind::Other);
        Ok(())
    }

    fn make_hard_link(&mut self, path: PathBuf) -> io::Result<()> {
        let Some(old) = self.random_file() else { return self.make_file(path) };
        fs::hard_link(self.full(&old), self.full(&path))?;
        self.made("hard link", path, Kind::File);
        Ok(())
    }

    fn make_sparse(&mut self, path: PathBuf) -> io::Result<()> {
        let file = File::create(self.full(&path))?;
        file.set_len(self.rng.below(4 << 20))?;
        for _ in 0..self.rng.below(4) {
            let (length, offset) = (self.rng.below(20_000) as usize, self.rng.below(4 << 20));
            file.write_all_at(&self.rng.bytes(length), offset)?;
        }
        self.made("sparse file", path, Kind::File);
        Ok(())
    }

    fn make_pipe(&mut self, path: PathBuf) -> io::Result<()> {
        rustix::fs::mknodat(CWD, self.full(&path), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        self.made("pipe", path, Kind::Other);
        Ok(())
    }

    // Editing

    /// Opens a random file for writing; a mode that forbids it is lifted first.
    fn open_file(&mut self) -> io::Result<Option<(File, u64, PathBuf)>> {
        let Some(path) = self.random_file() else { return Ok(None) };
        let full = self.full(&path);
        let mode = fs::metadata(&full)?.permissions().mode();
        if mode & 0o600 != 0o600 {
            fs::set_permissions(&full, fs::Permissions::from_mode(mode | 0o600))?;
        }
        let file = OpenOptions::new().read(true).write(true).open(full)?;
        let size = file.metadata()?.len();
        Ok(Some((file, size, path)))
    }

    fn write_somewhere(&mut self) -> io::Result<()> {
        let Some((file, size, path)) = self.open_file()? else { return Ok(()) };
        let length = 1 + self.rng.below(10_000) as usize;
        let at = self.rng.below(size + 1);
        file.write_all_at(&self.rng.bytes(length), at)?;
        self.did("write into", &path);
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        let Some((file, size, path)) = self.open_file()? else { return Ok(()) };
        let length = 1 + self.rng.below(10_000) as usize;
        file.write_all_at(&self.rng.text(length), size)?;
        self.did("append to", &path);
        Ok(())
    }

    fn insert_in_front(&mut self) -> io::Result<()> {
        let Some((mut file, _, path)) = self.open_file()? else { return Ok(()) };
        let mut content = self.rng.text(37);
        io::Read::read_to_end(&mut file, &mut content)?;
        file.write_all_at(&content, 0)?;
        self.did("insert in front of", &path);
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        let Some((file, size, path)) = self.open_file()? else { return Ok(()) };
        file.set_len(self.rng.below(size * 2 + 1))?;
        self.did("set length of", &path);
        Ok(())
    }

    fn punch(&mut self) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let Some((file, size, path)) = self.open_file()? else { return Ok(()) };
        let (at, length) = (self.rng.below(size + 1), 1 + self.rng.below(200_000));
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // Not every file system can; then nothing changes.
        if fallocate(&file, how, at, length).is_ok() {
            self.did("punch a hole into", &path);
        }
        Ok(())
    }

    /// As editors do: a new file, renamed over the old one.
    fn replace(&mut self) -> io::Result<()> {
        let Some(path) = self.random_file() else { return Ok(()) };
        let temporary = self.new_path();
        let content = self.content();
        let mut file = File::create(self.full(&temporary))?;
        file.write_all(&content)?;
        fs::rename(self.full(&temporary), self.full(&path))?;
        self.did("replace", &path);
        Ok(())
    }

    /// IDX07: new content of the same length, and the old time put back.
    fn replace_content_and_keep_time(&mut self) -> io::Result<()> {
        let Some((file, size, path)) = self.open_file()? else { return Ok(()) };
        let before = file.metadata()?.modified()?;
        let length = size.min(5_000) as usize;
        file.write_all_at(&self.rng.bytes(length), 0)?;
        file.set_modified(before)?;
        self.did("change and put the time back of", &path);
        Ok(())
    }

    fn write_same(&mut self) -> io::Result<()> {
        let Some((mut file, _, path)) = self.open_file()? else { return Ok(()) };
        let mut content = Vec::new();
        io::Read::read_to_end(&mut file, &mut content)?;
        file.write_all_at(&content, 0)?;
        self.did("write the same into", &path);
        Ok(())
    }

    fn rename(&mut self) -> io::Result<()> {
        let Some(old) = self.random_entry() else { return Ok(()) };
        let new = self.new_path();
        if new.starts_with(&old) {
            return Ok(());
        }
        fs::rename(self.full(&old), self.full(&new))?;
        let moved: Vec<PathBuf> =
            self.entries.keys().filter(|path| path.starts_with(&old)).cloned().collect();
        for path in moved {
            let Some(kind) = self.entries.remove(&path) else { continue };
            let below = path.strip_prefix(&old).unwrap_or(Path::new(""));
            let target = if below.as_os_str().is_empty() { new.clone() } else { new.join(below) };
            self.entries.insert(target, kind);
        }
        self.did("rename", &old);
        Ok(())
    }

    fn delete(&mut self) -> io::Result<()> {
        let Some(path) = self.random_entry() else { return Ok(()) };
        match self.entries.get(&path) {
            Some(Kind::Folder) => fs::remove_dir_all(self.full(&path))?,
            _ => fs::remove_file(self.full(&path))?,
        }
        self.entries.retain(|other, _| !other.starts_with(&path));
        self.did("delete", &path);
        Ok(())
    }

    fn file_becomes_folder(&mut self) -> io::Result<()> {
        let Some(path) = self.random_file() else { return Ok(()) };
        fs::remove_file(self.full(&path))?;
        self.entries.remove(&path);
        self.make_folder(path)
    }

    fn change_mode(&mut self) -> io::Result<()> {
        let Some(path) = self.random_entry() else { return Ok(()) };
        let bits = self.rng.below(0o10000) as u32;
        let mode = match self.entries.get(&path) {
            // The tree must stay one that its owner can read and change.
            Some(Kind::Folder) => bits | 0o700,
            Some(Kind::File) => bits | 0o400,
            _ => return Ok(()),
        };
        fs::set_permissions(self.full(&path), fs::Permissions::from_mode(mode))?;
        self.did("chmod", &path);
        Ok(())
    }

    fn touch(&mut self) -> io::Result<()> {
        let seconds = self.rng.below(4_000_000_000);
        let nanos = self.rng.below(1_000_000_000);
        let Some((file, _, path)) = self.open_file()? else { return Ok(()) };
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanos))?;
        self.did("touch", &path);
        Ok(())
    }

    fn set_xattr(&mut self) -> io::Result<()> {
        let length = self.rng.below(200) as usize;
        let value = self.rng.bytes(length);
        let name = format!("user.a{}", self.rng.below(4));
        let Some((file, _, path)) = self.open_file()? else { return Ok(()) };
        // Not every file system can; then nothing changes.
        if rustix::fs::fsetxattr(&file, name.as_str(), &value, XattrFlags::empty()).is_ok() {
            self.did("set an attribute of", &path);
        }
        Ok(())
    }
}
