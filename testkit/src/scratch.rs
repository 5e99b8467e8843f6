//! A temporary folder that goes away whatever is in it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, IFlags, Mode, fchmod, ioctl_getflags, ioctl_setflags, unlinkat,
};

use crate::long_path::{Tree, join, names, stat};

/// A folder of its own under the system's temporary folder (or where asked), removed when dropped:
/// also when it holds paths beyond PATH_MAX, folders without write permission, or files that may
/// not be changed.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Panics when there is no temporary folder: then no test can run.
    pub fn new() -> Self {
        Self::beneath(&std::env::temp_dir())
    }

    /// A scratch folder on the file system of `folder`.
    pub fn beneath(folder: &Path) -> Self {
        let made = tempfile::Builder::new().prefix("simsim-test-").tempdir_in(folder);
        let made =
            made.unwrap_or_else(|e| panic!("no scratch folder in {}: {e}", folder.display()));
        Self { path: made.keep() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new folder in here.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            eprintln!("left behind: {}: {error}", self.path.display());
        }
    }
}

/// Removes a tree of any depth, with few open files and without following links. A tree that is
/// not there is removed.
pub fn remove_tree(root: &Path) -> io::Result<()> {
    let tree = match Tree::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    // Folders with whether their files are gone already; the deepest is on top.
    let mut stack: Vec<(Vec<u8>, bool)> = vec![(Vec::new(), false)];
    while let Some((path, emptied)) = stack.pop() {
        if emptied {
            if !path.is_empty() {
                let (parent, name) = tree.parent(&path)?;
                unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
            }
            continue;
        }
        let folder = open_for_removal(&tree, &path)?;
        stack.push((path.clone(), true));
        for name in names(&folder)? {
            if FileType::from_raw_mode(stat(&folder, &name)?.st_mode) == FileType::Directory {
                stack.push((join(&path, &name), false));
            } else if unlinkat(&folder, &name, AtFlags::empty()).is_err() {
                unlock(tree.file(&join(&path, &name))?)?;
                unlinkat(&folder, &name, AtFlags::empty())?;
            }
        }
    }
    std::fs::remove_dir(root)
}

/// Opens a folder and makes it writable; its mode may forbid even that it is opened.
fn open_for_removal(tree: &Tree, path: &[u8]) -> io::Result<rustix::fd::OwnedFd> {
    let folder = match tree.folder(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (parent, name) = tree.parent(path)?;
            rustix::fs::chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
            tree.folder(path)?
        }
        other => other?,
    };
    if fchmod(&folder, Mode::RWXU).is_err() {
        unlock(&folder)?;
        fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

/// Takes the immutable and append-only flags off.
fn unlock(file: impl rustix::fd::AsFd) -> io::Result<()> {
    let flags = ioctl_getflags(&file)?;
    Ok(ioctl_setflags(&file, flags - IFlags::IMMUTABLE - IFlags::APPEND)?)
}
