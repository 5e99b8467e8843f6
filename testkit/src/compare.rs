//! How two trees differ.
//!
//! A walk of its own, on purpose: it shares no code with the product, so that one mistake cannot
//! hide another. Nothing is followed, nothing is opened but regular files and folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, IFlags, Stat, ioctl_getflags, lgetxattr, llistxattr, readlinkat};
use rustix::io::Errno;

use crate::compare_content::{allocation_differs, first_difference};
use crate::long_path::{Tree, join, names, stat, through_proc};

/// What is compared. The default is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aspects {
    /// The root folder's own attributes.
    pub root: bool,
    pub content: bool,
    /// Allocated bytes, roughly: a hole that was filled, or data that became one.
    pub holes: bool,
    pub modes: bool,
    pub owners: bool,
    /// Modification times to the nanosecond.
    pub times: bool,
    pub xattrs: bool,
    /// immutable, append-only, no-dump.
    pub flags: bool,
    /// Which names are one file.
    pub links: bool,
}

impl Aspects {
    pub const ALL: Self = Self {
        root: true,
        content: true,
        holes: true,
        modes: true,
        owners: true,
        times: true,
        xattrs: true,
        flags: true,
        links: true,
    };
}

impl Default for Aspects {
    fn default() -> Self {
        Self::ALL
    }
}

/// One difference at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to the roots; empty for the roots themselves.
    pub path: Vec<u8>,
    pub what: What,
}

/// Left is the first tree, right the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    OnlyLeft,
    OnlyRight,
    Type {
        left: String,
        right: String,
    },
    /// First byte that differs; a shorter file differs where it ends.
    Content {
        offset: u64,
    },
    Size {
        left: u64,
        right: u64,
    },
    /// Allocated bytes.
    Holes {
        left: u64,
        right: u64,
    },
    Target {
        left: Vec<u8>,
        right: Vec<u8>,
    },
    Device {
        left: u64,
        right: u64,
    },
    Mode {
        left: u32,
        right: u32,
    },
    Owner {
        left: (u32, u32),
        right: (u32, u32),
    },
    Time {
        left: (i64, u32),
        right: (i64, u32),
    },
    /// Names of the attributes that differ, escaped.
    Xattrs {
        names: Vec<String>,
    },
    Flags {
        left: u32,
        right: u32,
    },
    /// Other names of the same file.
    Links {
        left: Vec<Vec<u8>>,
        right: Vec<Vec<u8>>,
    },
    /// One side could not be read.
    Unreadable {
        error: String,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path.escape_ascii(), self.what)
    }
}

/// Every difference between two trees, in order of paths. Panics where a root cannot be opened.
pub fn compare_trees(left: &Path, right: &Path) -> Vec<Difference> {
    compare_trees_in(left, right, &Aspects::ALL)
}

/// As [`compare_trees`], in the chosen aspects only.
pub fn compare_trees_in(left: &Path, right: &Path, aspects: &Aspects) -> Vec<Difference> {
    let open = |root| Tree::open(root).unwrap_or_else(|error| panic!("{error}"));
    let (left, right) = (open(left), open(right));
    let mut differences = Vec::new();
    let left_side = Side::read(&left, &mut differences);
    let right_side = Side::read(&right, &mut differences);
    let paths: BTreeSet<&Vec<u8>> =
        left_side.entries.keys().chain(right_side.entries.keys()).collect();
    for path in paths {
        let mut note = |what| differences.push(Difference { path: path.clone(), what });
        match (left_side.entries.get(path), right_side.entries.get(path)) {
            (Some(_), None) => note(What::OnlyLeft),
            (None, Some(_)) => note(What::OnlyRight),
            (None, None) => {}
            (Some(one), Some(other)) => {
                if path.is_empty() && !aspects.root {
                    continue;
                }
                if one.kind != other.kind {
                    note(What::Type { left: one.kind_text(), right: other.kind_text() });
                    continue;
                }
                attributes(one, other, aspects, &mut note);
                if aspects.links {
                    let (ours, theirs) = (left_side.twins(one), right_side.twins(other));
                    if ours != theirs {
                        let others = |names: Vec<Vec<u8>>| {
                            names.into_iter().filter(|name| name != path).collect()
                        };
                        note(What::Links { left: others(ours), right: others(theirs) });
                    }
                }
                if one.kind == FileType::RegularFile {
                    files(&left, &right, path, one, other, aspects, &mut note);
                }
            }
        }
    }
    differences
}

fn attributes(one: &Entry, other: &Entry, aspects: &Aspects, note: &mut impl FnMut(What)) {
    if one.target != other.target {
        note(What::Target { left: one.target.clone(), right: other.target.clone() });
    }
    if one.device != other.device {
        note(What::Device { left: one.device, right: other.device });
    }
    // A symbolic link has no mode of its own.
    if aspects.modes && one.mode != other.mode && one.kind != FileType::Symlink {
        note(What::Mode { left: one.mode, right: other.mode });
    }
    if aspects.owners && one.owner != other.owner {
        note(What::Owner { left: one.owner, right: other.owner });
    }
    if aspects.times && one.time != other.time {
        note(What::Time { left: one.time, right: other.time });
    }
    if aspects.flags && one.flags != other.flags {
        note(What::Flags { left: one.flags, right: other.flags });
    }
    if aspects.xattrs && one.xattrs != other.xattrs {
        let all: BTreeSet<&Vec<u8>> = one.xattrs.keys().chain(other.xattrs.keys()).collect();
        let differ =
            all.into_iter().filter(|name| one.xattrs.get(*name) != other.xattrs.get(*name));
        note(What::Xattrs { names: differ.map(|name| name.escape_ascii().to_string()).collect() });
    }
}

fn files(
    left: &Tree,
    right: &Tree,
    path: &[u8],
    one: &Entry,
    other: &Entry,
    aspects: &Aspects,
    note: &mut impl FnMut(What),
) {
    if one.size != other.size {
        note(What::Size { left: one.size, right: other.size });
    }
    if aspects.holes
        && one.size == other.size
        && allocation_differs(one.allocated, other.allocated, one.size)
    {
        note(What::Holes { left: one.allocated, right: other.allocated });
    }
    if aspects.content {
        let found = left
            .file(path)
            .and_then(|left| Ok((left, right.file(path)?)))
            .and_then(|(left, right)| first_difference(&left, &right));
        match found {
            Ok(None) => {}
            Ok(Some(offset)) => note(What::Content { offset }),
            Err(error) => note(What::Unreadable { error: error.to_string() }),
        }
    }
}

/// One name in a tree.
struct Entry {
    kind: FileType,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    allocated: u64,
    time: (i64, u32),
    /// Of a device node.
    device: u64,
    /// Device and inode number.
    identity: (u64, u64),
    /// Of a symbolic link.
    target: Vec<u8>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    flags: u32,
}

impl Entry {
    fn kind_text(&self) -> String {
        format!("{:?}", self.kind)
    }
}

/// All names of one tree, and which of them are the same file.
struct Side {
    entries: BTreeMap<Vec<u8>, Entry>,
    groups: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
}

impl Side {
    fn read(tree: &Tree, differences: &mut Vec<Difference>) -> Self {
        let mut side = Self { entries: BTreeMap::new(), groups: BTreeMap::new() };
        let mut failed = |path: &[u8], error: io::Error| {
            let what = What::Unreadable { error: error.to_string() };
            differences.push(Difference { path: path.to_vec(), what });
        };
        match tree.folder(b"").and_then(|folder| read_entry(&folder, b".")) {
            Ok(root) => side.add(Vec::new(), root),
            Err(error) => failed(b"", error),
        }
        let mut stack = vec![Vec::new()];
        while let Some(path) = stack.pop() {
            let listed = tree.folder(&path).and_then(|folder| Ok((names(&folder)?, folder)));
            let (names, folder) = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    failed(&path, error);
                    continue;
                }
            };
            for name in names {
                let inner = join(&path, &name);
                match read_entry(&folder, &name) {
                    Ok(entry) => {
                        if entry.kind == FileType::Directory {
                            stack.push(inner.clone());
                        }
                        side.add(inner, entry);
                    }
                    Err(error) => failed(&inner, error),
                }
            }
        }
        side
    }

    fn add(&mut self, path: Vec<u8>, entry: Entry) {
        if entry.kind != FileType::Directory {
            self.groups.entry(entry.identity).or_default().push(path.clone());
        }
        self.entries.insert(path, entry);
    }

    /// All names of the same file in this tree, sorted.
    fn twins(&self, entry: &Entry) -> Vec<Vec<u8>> {
        let mut names = self.groups.get(&entry.identity).cloned().unwrap_or_default();
        names.sort();
        names
    }
}

fn read_entry(folder: &OwnedFd, name: &[u8]) -> io::Result<Entry> {
    let stat: Stat = stat(folder, name)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let place = through_proc(folder, name);
    Ok(Entry {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        size: stat.st_size as u64,
        allocated: stat.st_blocks as u64 * 512,
        time: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        device: if is_device { stat.st_rdev } else { 0 },
        identity: (stat.st_dev, stat.st_ino),
        target: match kind {
            FileType::Symlink => readlinkat(folder, name, Vec::new())?.into_bytes(),
            _ => Vec::new(),
        },
        xattrs: xattrs(&place)?,
        flags: match kind {
            FileType::RegularFile | FileType::Directory => flags(folder, name),
            _ => 0,
        },
    })
}

fn xattrs(place: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut list = vec![0u8; 1 << 16];
    let length = match llistxattr(place, &mut list) {
        Err(Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut found = BTreeMap::new();
    let mut value = vec![0u8; 1 << 16];
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = match lgetxattr(place, name, &mut value) {
            // Listed, but not for this process.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => continue,
            other => other?,
        };
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    Ok(found)
}

/// The flags that a person sets; those that say how a file system works inside do not count.
fn flags(folder: &OwnedFd, name: &[u8]) -> u32 {
    use rustix::fs::{Mode, OFlags, openat};
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let set = IFlags::IMMUTABLE | IFlags::APPEND | IFlags::NODUMP;
    openat(folder, name, open, Mode::empty())
        .and_then(ioctl_getflags)
        .map_or(0, |flags| (flags & set).bits())
}
