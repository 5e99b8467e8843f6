//! The file system of this machine as a source.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::{Mode, OFlags};
use simsim_model::Problem;

use crate::ahead::{Ahead, Node};
use crate::filter::Filter;
use crate::held::{FdRing, HeldDir};
use crate::listing::{Child, Lister, Outcome};
use crate::wanted::Wanted;
use crate::{Found, Item, Place, Source, SourceError, Stat};

/// What a walk leaves out, and how it works.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// gitignore syntax, matched against the absolute path; a later pattern wins over an earlier
    /// one. An excluded directory is not entered. A source itself is never excluded.
    pub excludes: Vec<String>,
    /// Of directories marked by a `CACHEDIR.TAG` with its signature only the mark is kept.
    pub exclude_caches: bool,
    /// Do not cross into file systems mounted below a source; the mount point is kept.
    pub one_file_system: bool,
    /// Larger files are left out, each with a note.
    pub file_bytes_max: Option<u64>,
    /// Threads that list directories, the consumer's own being one of them: with 0 or 1 there is
    /// none in the background.
    pub threads: usize,
}

impl Default for WalkOptions {
    fn default() -> Self {
        Self {
            excludes: Vec::new(),
            exclude_caches: false,
            one_file_system: false,
            file_bytes_max: None,
            threads: 2,
        }
    }
}

/// A walk over the chosen paths and the directories on the way to them.
///
/// The tree begins at `/`. A source that does not exist becomes a `MissingSource` problem and
/// the others go on.
pub struct FsSource {
    ahead: Arc<Ahead>,
    lister: Lister,
    stack: Vec<Frame>,
    queued: VecDeque<Item>,
    begin: Option<Arc<Node>>,
    places: Vec<Vec<u8>>,
    threads: Vec<JoinHandle<()>>,
}

struct Frame {
    place: Arc<dyn Place>,
    children: std::vec::IntoIter<Child>,
}

impl FsSource {
    /// `sources` are absolute paths of raw bytes; symlinks in their parents are resolved now.
    pub fn new(sources: &[Vec<u8>], options: WalkOptions) -> Result<FsSource, SourceError> {
        let wanted = Wanted::new(sources)?;
        let mut places = wanted.paths(b"");
        // The root itself.
        places.iter_mut().filter(|place| place.is_empty()).for_each(|place| place.push(b'/'));
        let filter = Filter::new(&options)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let no_root = |source| SourceError::NoRoot { source };
        let root =
            rustix::fs::open(c"/", flags, Mode::empty()).map_err(|error| no_root(error.into()))?;
        let stat = Stat::of(&root).map_err(no_root)?;
        let root = HeldDir::base(root, b"", FdRing::new()).map_err(no_root)?;
        let background = options.threads.saturating_sub(1);
        let ahead = Ahead::new(filter, background > 0);
        let mut threads = Vec::with_capacity(background);
        for number in 0..background {
            let work = Arc::clone(&ahead);
            let name = format!("walk-{number}");
            match std::thread::Builder::new().name(name).spawn(move || work.work()) {
                Ok(thread) => threads.push(thread),
                // The consumer can do all of it.
                Err(error) => tracing::warn!(%error, "cannot start a walking thread"),
            }
        }
        Ok(FsSource {
            ahead,
            lister: Lister::new(),
            stack: Vec::new(),
            queued: VecDeque::new(),
            begin: Some(Node::root(root, stat, wanted)),
            places,
            threads,
        })
    }

    /// Where the sources really lie: paths without a link on the way, the only ones that the walk takes.
    pub fn places(&self) -> Vec<Vec<u8>> {
        self.places.clone()
    }

    /// Whether at least one source is there. What cannot be looked at counts as there: the walk says why.
    pub fn any_is_there(&self) -> bool {
        self.places.iter().any(|place| {
            let path = Path::new(OsStr::from_bytes(place));
            match std::fs::symlink_metadata(path) {
                Ok(_) => true,
                Err(error) => {
                    !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                }
            }
        })
    }

    fn enter(&mut self, place: Arc<dyn Place>, name: Vec<u8>, node: &Node) -> Item {
        match self.ahead.listing(node, &mut self.lister) {
            Outcome::Gone(problem) => Item::Problem(problem),
            Outcome::Listed(listing) => {
                let problem = |problem: Problem| Item::Problem(problem);
                self.queued.extend(listing.problems.into_iter().map(problem));
                let dir: Arc<dyn Place> = Arc::clone(&node.dir) as Arc<dyn Place>;
                let children = listing.children.into_iter();
                self.stack.push(Frame { place: dir, children });
                Item::Enter(Found {
                    name,
                    stat: listing.stat,
                    place,
                    unreadable: listing.unreadable,
                })
            }
        }
    }
}

impl Source for FsSource {
    fn next(&mut self) -> Option<Item> {
        if let Some(item) = self.queued.pop_front() {
            return Some(item);
        }
        if let Some(root) = self.begin.take() {
            let place: Arc<dyn Place> = Arc::clone(&root.dir) as Arc<dyn Place>;
            return Some(self.enter(place, Vec::new(), &root));
        }
        let frame = self.stack.last_mut()?;
        let Some(child) = frame.children.next() else {
            self.stack.pop();
            return Some(Item::Leave);
        };
        let place = Arc::clone(&frame.place);
        Some(match child.node {
            Some(node) => self.enter(place, child.name, &node),
            None => {
                Item::Leaf(Found { name: child.name, stat: child.stat, place, unreadable: false })
            }
        })
    }
}

impl Drop for FsSource {
    fn drop(&mut self) {
        self.ahead.close();
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so; the walk is over anyway.
            let _ = thread.join();
        }
    }
}
