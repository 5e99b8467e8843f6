//! A directory's entries, read as they are wanted: in memory are one page of them and the names of the
//! pages that follow, however many entries the directory has.

use std::sync::Arc;

use simsim_format::{Content, Entry, Page};
use simsim_model::Name;

use crate::MoverError;
use crate::nodes::NodeReader;
use crate::tree::no_path;

/// Index pages nest at most as deep as a balanced tree needs.
const DEPTH_MAX: usize = 16;

/// The entries in order. A page that cannot be read is one error, and those after it follow.
pub(crate) struct Children {
    nodes: Arc<NodeReader>,
    /// Pages to come, the next one last, each with its depth.
    open: Vec<(Name, usize)>,
    ready: std::vec::IntoIter<Entry>,
    /// Entries before this name are left out, and so are pages of such entries alone.
    from: Vec<u8>,
}

impl Children {
    pub(crate) fn new(nodes: &Arc<NodeReader>, directory: &Entry, from: &[u8]) -> Self {
        let open = match directory.content {
            Content::Tree(page) => vec![(page, 0)],
            _ => Vec::new(),
        };
        let (nodes, from) = (Arc::clone(nodes), from.to_vec());
        Self { nodes, open, ready: Vec::new().into_iter(), from }
    }

    /// Of a directory that is not there.
    pub(crate) fn none(nodes: &Arc<NodeReader>) -> Self {
        let (nodes, ready) = (Arc::clone(nodes), Vec::new().into_iter());
        Self { nodes, open: Vec::new(), ready, from: Vec::new() }
    }

    fn fill(&mut self, (page, depth): (Name, usize)) -> Result<(), MoverError> {
        match self.nodes.page(&page)? {
            Page::Entries(mut entries) => {
                let before = entries.partition_point(|entry| entry.name < self.from);
                entries.drain(..before);
                self.ready = entries.into_iter();
            }
            Page::Index(pages) if depth < DEPTH_MAX => {
                // The last page that begins before the name may go beyond it.
                let after = pages.partition_point(|page| page.first <= self.from);
                let wanted = pages.iter().skip(after.saturating_sub(1));
                self.open.extend(wanted.rev().map(|page| (page.page, depth + 1)));
            }
            _ => return Err(no_path(b"a page of another kind")),
        }
        Ok(())
    }
}

impl Iterator for Children {
    type Item = Result<Entry, MoverError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.ready.next() {
                return Some(Ok(entry));
            }
            let page = self.open.pop()?;
            if let Err(error) = self.fill(page) {
                return Some(Err(error));
            }
        }
    }
}
