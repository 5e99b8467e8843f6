//! Trees whose paths are longer than PATH_MAX and deeper than the limit of open files.
//!
//! A path relative to a folder held open is walked in pieces that the kernel takes, one descriptor
//! at a time, and no symbolic link is followed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, openat};

/// Bytes of one piece: below PATH_MAX with its terminating zero.
const PIECE_BYTES_MAX: usize = 4000;

/// The root of a tree, held open.
pub(crate) struct Tree {
    root: OwnedFd,
}

impl Tree {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let named = |e: rustix::io::Errno| {
            let error = io::Error::from(e);
            io::Error::new(error.kind(), format!("{}: {error}", root.display()))
        };
        Ok(Self { root: openat(CWD, root, flags, Mode::empty()).map_err(named)? })
    }

    /// Opens the folder at `path`; the empty path is the root.
    pub(crate) fn folder(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = openat(&self.root, c".", flags, Mode::empty())?;
        let mut rest = path;
        while !rest.is_empty() {
            let (piece, tail) = split_piece(rest);
            here = openat(&here, piece, flags, Mode::empty())?;
            rest = tail;
        }
        Ok(here)
    }

    /// The folder that holds `path`, and its name in there. The root is `.` in itself.
    pub(crate) fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
        match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Ok((self.folder(&path[..slash])?, &path[slash + 1..])),
            None if path.is_empty() => Ok((self.folder(b"")?, b".")),
            None => Ok((self.folder(b"")?, path)),
        }
    }

    /// Opens a file for reading, without following a link.
    pub(crate) fn file(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let (parent, name) = self.parent(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(&parent, name, flags, Mode::empty())?)
    }
}

/// Names in a folder, sorted, without `.` and `..`.
pub(crate) fn names(folder: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort();
    Ok(names)
}

/// What a name is, without following it.
pub(crate) fn stat(folder: impl AsFd, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// A path by which calls that know no `at` form reach a name in a folder held open.
pub(crate) fn through_proc(folder: &OwnedFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// `folder/name`, without a slash at the root.
pub(crate) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn split_piece(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PIECE_BYTES_MAX {
        return (path, &[]);
    }
    match path[..PIECE_BYTES_MAX].iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        // One name longer than a piece: the kernel will say so.
        None => (path, &[]),
    }
}
