//! One directory, listed and filtered: the unit of work of a walk.
//!
//! Names come with `getdents` in large buffers, metadata with one `statx` each relative to the
//! directory, in the order of inode numbers (neighbours on disk), and are then sorted by name.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::RawDir;
use rustix::io::Errno;
use simsim_format::Entry;
use simsim_model::limits::{PATH_BYTES_MAX, PATH_COMPONENT_BYTES_MAX, PATH_DEPTH_MAX};
use simsim_model::{Problem, ProblemKind};

use crate::ahead::Node;
use crate::filter::{self, Filter};
use crate::held::HeldDir;
use crate::wanted::Wanted;
use crate::{Stat, StatKind};

const GETDENTS_BUFFER_BYTES: usize = 128 * 1024;

/// What came out for one directory.
pub(crate) enum Outcome {
    Listed(Listing),
    /// It is no directory of this walk any more.
    Gone(Problem),
}

pub(crate) struct Listing {
    /// Taken from the open directory, so it fits what was listed.
    pub(crate) stat: Stat,
    pub(crate) unreadable: bool,
    /// Sorted by name, each name once.
    pub(crate) children: Vec<Child>,
    pub(crate) problems: Vec<Problem>,
}

pub(crate) struct Child {
    pub(crate) name: Vec<u8>,
    pub(crate) stat: Stat,
    /// Of a directory.
    pub(crate) node: Option<Arc<Node>>,
}

/// Lists directories; keeps its buffers from one to the next.
pub(crate) struct Lister {
    buffer: Vec<u8>,
    names: Names,
}

impl Lister {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::with_capacity(GETDENTS_BUFFER_BYTES), names: Names::default() }
    }

    pub(crate) fn list(&mut self, node: &Node, filter: &Filter) -> Outcome {
        let held = &node.dir;
        let unreadable = |stat, error: io::Error| {
            Outcome::Listed(Listing {
                stat,
                unreadable: true,
                children: Vec::new(),
                problems: vec![Problem::new(
                    held.path(b""),
                    ProblemKind::Unreadable,
                    format!("the directory cannot be read, and what is in it is missing: {error}"),
                )],
            })
        };
        if held.depth() > PATH_DEPTH_MAX || held.path_bytes() > PATH_BYTES_MAX {
            let why = format!(
                "it is deeper than {PATH_DEPTH_MAX} directories or {PATH_BYTES_MAX} bytes of path"
            );
            return unreadable(node.stat, io::Error::other(why));
        }
        let fd = match held.fd() {
            Ok(fd) => fd,
            Err(error) if is_gone(&error) => {
                return Outcome::Gone(Problem::new(
                    held.path(b""),
                    ProblemKind::Vanished,
                    "the directory vanished or was replaced while its parent was being read",
                ));
            }
            Err(error) => return unreadable(node.stat, error),
        };
        let (stat, mounted) = match Stat::of_mount(&*fd) {
            Ok(found) => found,
            Err(error) => return unreadable(node.stat, error),
        };
        if let Some(note) = closed_door(node, &fd, &stat, mounted, filter) {
            return Outcome::Listed(Listing {
                stat,
                unreadable: false,
                children: Vec::new(),
                problems: vec![Problem::new(held.path(b""), ProblemKind::Note, note)],
            });
        }
        match self.children(node, &fd, filter) {
            Ok((children, problems)) => {
                Outcome::Listed(Listing { stat, unreadable: false, children, problems })
            }
            Err(error) => unreadable(stat, error),
        }
    }

    fn children(
        &mut self,
        node: &Node,
        fd: &OwnedFd,
        filter: &Filter,
    ) -> io::Result<(Vec<Child>, Vec<Problem>)> {
        let mut draft = Draft { node, fd, filter, children: Vec::new(), problems: Vec::new() };
        if !node.whole {
            for (name, wanted) in &node.wanted.children {
                draft.add(name, Some(wanted), None);
            }
            return Ok((draft.children, draft.problems));
        }
        self.names.read(fd, &mut self.buffer)?;
        let only_tag = filter.caches
            && self.names.iter().any(|name| name == filter::CACHE_TAG)
            && filter::is_cache_tag(fd);
        let mut path = filter.has_patterns().then(|| {
            let mut path = node.dir.path(b"");
            if path != b"/" {
                path.push(b'/');
            }
            path
        });
        draft.children.reserve(self.names.spans.len());
        for name in self.names.iter() {
            let wanted = node.wanted.children.get(name);
            if only_tag && wanted.is_none() && name != filter::CACHE_TAG {
                continue;
            }
            draft.add(name, wanted, path.as_mut());
        }
        draft.children.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        draft.drop_duplicates();
        for (name, wanted) in &node.wanted.children {
            if !self.names.iter().any(|listed| listed == name.as_slice()) {
                draft.missing(name, wanted, "it does not exist");
            }
        }
        Ok((draft.children, draft.problems))
    }
}

/// Why a directory is stored without its children, if so.
fn closed_door(
    node: &Node,
    fd: &OwnedFd,
    stat: &Stat,
    mounted: bool,
    filter: &Filter,
) -> Option<String> {
    let mut ancestor = node.dir.parent();
    while let Some(dir) = ancestor {
        if dir.identity() == Some(stat.identity()) {
            return Some(format!(
                "the directory is its own ancestor '{}' (a mount that loops); it is stored empty",
                simsim_model::escape_path(&dir.path(b""))
            ));
        }
        ancestor = dir.parent();
    }
    let parent_dev = node.dir.parent().and_then(|parent| parent.identity()).map(|(dev, _)| dev);
    let crossed = mounted || parent_dev.is_some_and(|dev| dev != stat.dev);
    if !crossed || !node.whole || node.wanted.whole || node.dir.depth() == 0 {
        return None;
    }
    if filter.one_file_system && parent_dev != Some(stat.dev) {
        return Some("another file system is mounted here; it is left out as asked for".to_owned());
    }
    filter::is_kernel_file_system(&node.dir, fd).then(|| {
        "a file system of the kernel is mounted here; it holds no files to keep".to_owned()
    })
}

fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP]
        .iter()
        .any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
        || error.kind() == io::ErrorKind::NotFound
}

/// The children of one directory on their way into a listing.
struct Draft<'a> {
    node: &'a Node,
    fd: &'a OwnedFd,
    filter: &'a Filter,
    children: Vec<Child>,
    problems: Vec<Problem>,
}

impl Draft<'_> {
    /// `wanted`: the name is a source or leads to one, so no filter applies to itself. `path`:
    /// the directory's path with a slash, if patterns are to be asked.
    fn add(&mut self, name: &[u8], wanted: Option<&Arc<Wanted>>, path: Option<&mut Vec<u8>>) {
        if !Entry::valid_name(name) {
            let why = format!(
                "the file system gives a name that is empty, has a slash, or more than \
                 {PATH_COMPONENT_BYTES_MAX} bytes; it is left out"
            );
            return self.problem(name, ProblemKind::Unreadable, why);
        }
        let stat = match Stat::at(self.fd, name) {
            Ok(stat) => stat,
            Err(error) => {
                let gone = is_gone(&error);
                return match wanted {
                    Some(wanted) if gone => self.missing(name, wanted, "it does not exist"),
                    _ if gone => self.problem(
                        name,
                        ProblemKind::Vanished,
                        "it vanished while its directory was being read".to_owned(),
                    ),
                    _ => self.problem(
                        name,
                        ProblemKind::Unreadable,
                        format!("its metadata cannot be read: {error}"),
                    ),
                };
            }
        };
        let is_dir = stat.kind == StatKind::Directory;
        if wanted.is_none() {
            if let Some(path) = path {
                let base = path.len();
                path.extend_from_slice(name);
                let excluded = self.filter.excludes(path, is_dir);
                path.truncate(base);
                if excluded {
                    return;
                }
            }
            if stat.kind == StatKind::File && stat.size > self.filter.file_bytes_max {
                let why = format!("it is left out as asked for: it has {} bytes", stat.size);
                return self.problem(name, ProblemKind::Note, why);
            }
        }
        if let Some(wanted) = wanted.filter(|_| !is_dir) {
            for (below, wanted) in &wanted.children {
                let path = [name, b"/", below].concat();
                self.missing(&path, wanted, "its parent is not a directory");
            }
            if !self.node.whole && !wanted.whole {
                return;
            }
            if stat.kind == StatKind::Symlink && wanted.whole {
                let why = "the source is a symbolic link, and only the link is stored; name its \
                           target as a source to keep what is there";
                self.problem(name, ProblemKind::Note, why.to_owned());
            }
        }
        let node = is_dir.then(|| self.node.child(name, stat, wanted));
        self.children.push(Child { name: name.to_vec(), stat, node });
    }

    fn missing(&mut self, name: &[u8], wanted: &Wanted, why: &str) {
        for path in wanted.paths(&self.node.dir.path(name)) {
            self.problems.push(Problem::new(
                path,
                ProblemKind::MissingSource,
                format!("the source cannot be found: {why}"),
            ));
        }
    }

    fn problem(&mut self, name: &[u8], kind: ProblemKind, why: String) {
        self.problems.push(Problem::new(self.node.dir.path(name), kind, why));
    }

    /// A damaged or lying file system may give a name twice; a tree can hold it once.
    fn drop_duplicates(&mut self) {
        let mut twice = Vec::new();
        self.children.dedup_by(|second, first| {
            let same = second.name == first.name;
            if same {
                twice.push(first.name.clone());
            }
            same
        });
        for name in twice {
            let why = "the file system lists this name twice; it is stored once".to_owned();
            self.problem(&name, ProblemKind::Unreadable, why);
        }
    }
}

/// The names of one directory in one buffer, in the order of inode numbers.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    spans: Vec<(u64, u32, u32)>,
}

impl Names {
    fn read(&mut self, fd: &OwnedFd, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.bytes.clear();
        self.spans.clear();
        // A descriptor from the ring may have been read to its end before.
        rustix::fs::seek(fd, rustix::fs::SeekFrom::Start(0))?;
        let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                self.push(entry.ino(), name);
            }
        }
        self.spans.sort_unstable();
        Ok(())
    }

    fn push(&mut self, ino: u64, name: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.spans.push((ino, start, self.bytes.len() as u32));
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let span = |&(_, start, end): &(u64, u32, u32)| {
            self.bytes.get(start as usize..end as usize).unwrap_or_default()
        };
        self.spans.iter().map(span)
    }
}

/// All children of a held directory, sorted by name, unfiltered.
pub(crate) fn plain(held: &HeldDir) -> io::Result<Vec<(Vec<u8>, Stat)>> {
    let fd = held.fd()?;
    let mut names = Names::default();
    names.read(&fd, &mut Vec::with_capacity(GETDENTS_BUFFER_BYTES))?;
    let stats = names.iter().map(|name| Ok((name.to_vec(), Stat::at(&*fd, name)?)));
    let mut children = stats.collect::<io::Result<Vec<_>>>()?;
    children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held::FdRing;

    #[test]
    fn fid15_a_name_listed_twice_is_stored_once_and_reported() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("twice"), b"x").unwrap();
        std::fs::write(home.path().join("once"), b"x").unwrap();
        let fd = OwnedFd::from(std::fs::File::open(home.path()).unwrap());
        let stat = Stat::of(&fd).unwrap();
        let held = HeldDir::base(fd, b"/home", FdRing::new()).unwrap();
        let node = Node::root(held.clone(), stat, Wanted::new(&[b"/".to_vec()]).unwrap());
        let filter = Filter::new(&crate::WalkOptions::default()).unwrap();
        let fd = held.fd().unwrap();
        let mut draft =
            Draft { node: &node, fd: &fd, filter: &filter, children: vec![], problems: vec![] };
        for name in [&b"once"[..], b"twice", b"twice", b"a/b", b"gone"] {
            draft.add(name, None, None);
        }
        draft.drop_duplicates();
        let names: Vec<_> = draft.children.iter().map(|child| child.name.clone()).collect();
        assert_eq!(names, [b"once".to_vec(), b"twice".to_vec()]);
        let kinds: Vec<_> =
            draft.problems.iter().map(|problem| (problem.path_text(), problem.kind)).collect();
        assert_eq!(
            kinds,
            [
                ("/home/a/b".to_owned(), ProblemKind::Unreadable),
                ("/home/gone".to_owned(), ProblemKind::Vanished),
                ("/home/twice".to_owned(), ProblemKind::Unreadable),
            ]
        );
    }
}
