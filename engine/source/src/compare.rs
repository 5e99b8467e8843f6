//! Are two trees the same in everything that a restore promises?
//!
//! Compared are: names, types, modes, owners, modification times to the nanosecond, content,
//! symlink targets, device numbers, extended attributes (ACLs and capabilities are among them),
//! inode flags, and which names are hard links of one file. Not compared: inode numbers, change
//! and access times, and how many blocks a file takes.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use simsim_model::escape_path;

use crate::held::{FdRing, HeldDir};
use crate::{Place, Stat, StatKind, listing};

const BUFFER_BYTES: usize = 1 << 20;

/// One thing that is not the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to the compared paths; empty for these themselves.
    pub path: Vec<u8>,
    /// What differs, as a sentence without subject: `mode 0644 became 0600`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { b"." } else { self.path.as_slice() };
        write!(f, "{}: {}", escape_path(path), self.what)
    }
}

/// Compares `a`, the original, with `b`. Errors: one of the two cannot be opened at all; what
/// cannot be read below them is a difference.
pub fn compare(a: &Path, b: &Path) -> io::Result<Vec<Difference>> {
    compare_trees(a, b, true)
}

/// [`compare`], but for owners and groups: only root can restore those of others.
pub fn compare_without_owners(a: &Path, b: &Path) -> io::Result<Vec<Difference>> {
    compare_trees(a, b, false)
}

fn compare_trees(a: &Path, b: &Path, owners: bool) -> io::Result<Vec<Difference>> {
    let (dir_a, name_a) = open(a)?;
    let (dir_b, name_b) = open(b)?;
    let buffers = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut comparison = Comparison { owners, buffers, ..Comparison::default() };
    let a =
        Spot { stat: Stat::at(&*dir_a.fd()?, &name_or_dot(&name_a))?, dir: dir_a, name: name_a };
    let b =
        Spot { stat: Stat::at(&*dir_b.fd()?, &name_or_dot(&name_b))?, dir: dir_b, name: name_b };
    comparison.spot(Vec::new(), &a, &b);
    while let Some((path, a, b)) = comparison.dirs.pop() {
        comparison.children(&path, &a, &b);
    }
    Ok(comparison.differences)
}

/// A directory as itself, with an empty name; anything else as a name in its directory.
fn open(path: &Path) -> io::Result<(Arc<HeldDir>, Vec<u8>)> {
    let is_dir = path.symlink_metadata()?.is_dir();
    let (dir, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !is_dir => (parent, name.as_bytes().to_vec()),
        _ => (path, Vec::new()),
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    Ok((HeldDir::base(File::open(dir)?.into(), dir.as_os_str().as_bytes(), FdRing::new())?, name))
}

fn name_or_dot(name: &[u8]) -> Vec<u8> {
    if name.is_empty() { b".".to_vec() } else { name.to_vec() }
}

struct Spot {
    dir: Arc<HeldDir>,
    name: Vec<u8>,
    stat: Stat,
}

#[derive(Default)]
struct Comparison {
    owners: bool,
    differences: Vec<Difference>,
    dirs: Vec<(Vec<u8>, Arc<HeldDir>, Arc<HeldDir>)>,
    /// Inodes of the original with several names, and where they went; and the other way.
    forth: HashMap<(u64, u64), (u64, u64)>,
    back: HashMap<(u64, u64), (u64, u64)>,
    buffers: (Vec<u8>, Vec<u8>),
}

impl Comparison {
    fn children(&mut self, path: &[u8], a: &Arc<HeldDir>, b: &Arc<HeldDir>) {
        let (left, right) = match (listing::plain(a), listing::plain(b)) {
            (Ok(left), Ok(right)) => (left, right),
            (Err(error), _) | (_, Err(error)) => {
                return self.add(path, format!("the directory cannot be listed: {error}"));
            }
        };
        let mut right = right.into_iter().peekable();
        for (name, stat) in left {
            while let Some((extra, _)) = right.next_if(|(other, _)| *other < name) {
                self.add(&join(path, &extra), "is new".to_owned());
            }
            let child = join(path, &name);
            match right.next_if(|(other, _)| *other == name) {
                Some((_, other)) => {
                    let a = Spot { dir: Arc::clone(a), name: name.clone(), stat };
                    let b = Spot { dir: Arc::clone(b), name, stat: other };
                    self.spot(child, &a, &b);
                }
                None => self.add(&child, "is missing".to_owned()),
            }
        }
        for (extra, _) in right {
            self.add(&join(path, &extra), "is new".to_owned());
        }
    }

    fn spot(&mut self, path: Vec<u8>, a: &Spot, b: &Spot) {
        let (x, y) = (&a.stat, &b.stat);
        if x.kind != y.kind {
            return self.add(&path, format!("{} became {}", x.kind.as_str(), y.kind.as_str()));
        }
        if x.mode != y.mode {
            self.add(&path, format!("mode {:04o} became {:04o}", x.mode, y.mode));
        }
        if self.owners && (x.uid, x.gid) != (y.uid, y.gid) {
            self.add(&path, format!("owner {}:{} became {}:{}", x.uid, x.gid, y.uid, y.gid));
        }
        if x.mtime != y.mtime {
            let text = |stat: &Stat| format!("{}.{:09}", stat.mtime.seconds, stat.mtime.nanos);
            self.add(&path, format!("modification time {} became {}", text(x), text(y)));
        }
        if (x.rdev_major, x.rdev_minor) != (y.rdev_major, y.rdev_minor) {
            self.add(&path, "device numbers differ".to_owned());
        }
        self.details(&path, a, b);
        match x.kind {
            StatKind::Directory => self.dirs.push((path, inside(a), inside(b))),
            _ => {
                if x.kind == StatKind::File && x.size != y.size {
                    self.add(&path, format!("size {} became {}", x.size, y.size));
                } else if x.kind == StatKind::File && !self.known_pair(x, y) {
                    self.content(&path, a, b);
                }
                self.links(&path, x, y);
            }
        }
    }

    fn details(&mut self, path: &[u8], a: &Spot, b: &Spot) {
        let (left, right) = match (a.dir.details(&a.name, &a.stat), b.dir.details(&b.name, &b.stat))
        {
            (Ok(left), Ok(right)) => (left, right),
            (Err(error), _) | (_, Err(error)) => {
                return self.add(path, format!("attributes cannot be read: {error}"));
            }
        };
        if left.symlink_target != right.symlink_target {
            self.add(path, "the link's target differs".to_owned());
        }
        if left.flags != right.flags {
            self.add(path, format!("flags {:#x} became {:#x}", left.flags, right.flags));
        }
        let (old, new): (HashMap<_, _>, HashMap<_, _>) =
            (left.xattrs.into_iter().collect(), right.xattrs.into_iter().collect());
        for (name, value) in &old {
            let name_text = escape_path(name);
            match new.get(name) {
                None => self.add(path, format!("extended attribute '{name_text}' is missing")),
                Some(other) if other != value => {
                    self.add(path, format!("extended attribute '{name_text}' differs"));
                }
                Some(_) => {}
            }
        }
        for name in new.keys().filter(|name| !old.contains_key(*name)) {
            self.add(path, format!("extended attribute '{}' is new", escape_path(name)));
        }
    }

    fn content(&mut self, path: &[u8], a: &Spot, b: &Spot) {
        let mut buffers = std::mem::take(&mut self.buffers);
        let compared = first_difference(a, b, &mut buffers);
        self.buffers = buffers;
        match compared {
            Ok(None) => {}
            Ok(Some(offset)) => self.add(path, format!("content differs from byte {offset} on")),
            Err(error) => self.add(path, format!("content cannot be read: {error}")),
        }
    }

    fn known_pair(&self, x: &Stat, y: &Stat) -> bool {
        x.nlink > 1 && self.forth.get(&x.identity()) == Some(&y.identity())
    }

    /// Names of one file must stay names of one file, and no others may join.
    fn links(&mut self, path: &[u8], x: &Stat, y: &Stat) {
        if x.nlink == 1 && y.nlink == 1 {
            return;
        }
        let there = *self.forth.entry(x.identity()).or_insert(y.identity());
        let here = *self.back.entry(y.identity()).or_insert(x.identity());
        if there != y.identity() {
            self.add(path, "is no hard link of the same file any more".to_owned());
        } else if here != x.identity() {
            self.add(path, "became a hard link of another file".to_owned());
        }
    }

    fn add(&mut self, path: &[u8], what: String) {
        self.differences.push(Difference { path: path.to_vec(), what });
    }
}

fn inside(spot: &Spot) -> Arc<HeldDir> {
    if spot.name.is_empty() { Arc::clone(&spot.dir) } else { spot.dir.child(&spot.name) }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

fn first_difference(
    a: &Spot,
    b: &Spot,
    (left, right): &mut (Vec<u8>, Vec<u8>),
) -> io::Result<Option<u64>> {
    if a.stat.size == 0 {
        return Ok(None);
    }
    let (mut a, mut b) = (a.dir.open(&a.name)?, b.dir.open(&b.name)?);
    let mut offset = 0;
    loop {
        let (m, n) = (a.read_at(offset, left)?, b.read_at(offset, right)?);
        let (x, y) = (left.get(..m).unwrap_or_default(), right.get(..n).unwrap_or_default());
        if x != y {
            let same = x.iter().zip(y).take_while(|(x, y)| x == y).count();
            return Ok(Some(offset + same as u64));
        }
        if m < left.len() {
            return Ok(None);
        }
        offset += m as u64;
    }
}
