//! Reading a saveset's tree: any folder without the rest of it.

use std::cmp::Ordering;
use std::sync::Arc;

use simsim_format::{Content, DomainKey, Entry, Manifest, Page, Piece};
use simsim_model::{Name, RestoreSession, SavesetId, escape_path, limits};

use crate::MoverError;
use crate::children::Children;
use crate::nodes::NodeReader;

/// The tree of one saveset.
#[derive(Clone)]
pub struct Tree {
    pub(crate) nodes: Arc<NodeReader>,
    pub manifest: Manifest,
}

/// An entry with its path from the root of the saveset, `/` first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub path: Vec<u8>,
    pub entry: Entry,
}

/// How a path differs between two savesets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// Content or size differs.
    Content,
    /// Only metadata differs.
    Metadata,
}

impl Tree {
    pub fn open(
        session: Arc<dyn RestoreSession>,
        key: DomainKey,
        saveset: SavesetId,
    ) -> Result<Self, MoverError> {
        let manifest = Manifest::decode(&session.manifest(saveset)?)?;
        Ok(Self { nodes: Arc::new(NodeReader::new(session, key)), manifest })
    }

    /// The entry of `/`.
    pub fn root(&self) -> Result<Entry, MoverError> {
        match self.nodes.page(&self.manifest.root)? {
            Page::Entries(entries) => entries.into_iter().next().ok_or_else(|| no_path(b"/")),
            _ => Err(no_path(b"/")),
        }
    }

    /// All entries of a directory's tree node.
    pub fn children(&self, directory: &Entry) -> Result<Vec<Entry>, MoverError> {
        self.children_from(directory, b"").collect()
    }

    /// The entries of a directory from a name on, read as they are wanted.
    pub(crate) fn children_from(&self, directory: &Entry, from: &[u8]) -> Children {
        Children::new(&self.nodes, directory, from)
    }

    /// All pieces of a file.
    pub fn pieces(&self, file: &Entry) -> Result<Vec<Piece>, MoverError> {
        let mut pieces = Vec::new();
        match &file.content {
            Content::Pieces(few) => pieces.clone_from(few),
            Content::List(list) => {
                let mut open = vec![(*list, 0usize)];
                while let Some((name, depth)) = open.pop() {
                    match self.nodes.page(&name)? {
                        Page::Pieces(more) => pieces.extend(more),
                        Page::Lists(lists) if depth < 16 => {
                            open.extend(lists.iter().rev().map(|list| (list.page, depth + 1)));
                        }
                        _ => return Err(no_path(b"a list of another kind")),
                    }
                }
            }
            _ => {}
        }
        Ok(pieces)
    }

    /// The entry at a path; `/` is the root. No entry lies deeper than [`limits::PATH_DEPTH_MAX`]
    /// folders.
    pub fn entry(&self, path: &[u8]) -> Result<Entry, MoverError> {
        if components(path).count() > limits::PATH_DEPTH_MAX + 1 {
            return Err(no_path(path));
        }
        let mut entry = self.root()?;
        for component in components(path) {
            entry = self
                .child(&entry, component)?
                .ok_or_else(|| MoverError::NoSuchPath { path: escape_path(path) })?;
        }
        Ok(entry)
    }

    /// One child by name: reads only the pages on the way to it.
    fn child(&self, directory: &Entry, name: &[u8]) -> Result<Option<Entry>, MoverError> {
        let Content::Tree(mut page) = directory.content else { return Ok(None) };
        for _ in 0..16 {
            match self.nodes.page(&page)? {
                Page::Entries(entries) => {
                    let place = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name));
                    return Ok(place.ok().and_then(|place| entries.into_iter().nth(place)));
                }
                Page::Index(pages) => {
                    let after = pages.partition_point(|page| page.first.as_slice() <= name);
                    match after.checked_sub(1).and_then(|place| pages.get(place)) {
                        Some(index) => page = index.page,
                        None => return Ok(None),
                    }
                }
                _ => return Err(no_path(b"a page of another kind")),
            }
        }
        Ok(None)
    }

    /// Entries of the directory at a path, or the one entry of another kind.
    pub fn list(&self, path: &[u8]) -> Result<Vec<Entry>, MoverError> {
        let entry = self.entry(path)?;
        if entry.is_dir() { self.children(&entry) } else { Ok(vec![entry]) }
    }

    /// Of the directory at a path: the entries that come after a name, in order, at most `limit`
    /// of them, and whether there are more. Reads the pages that hold them and no others, so that
    /// a part of a huge directory costs what a small one costs. Of anything else: the one entry.
    pub fn list_page(
        &self,
        path: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<Entry>, bool), MoverError> {
        let entry = self.entry(path)?;
        within_limits(path, &entry)?;
        let Content::Tree(page) = entry.content else {
            let one = if entry.is_dir() { Vec::new() } else { vec![entry] };
            return Ok((one, false));
        };
        let mut entries = Vec::new();
        self.collect(&page, after, limit.saturating_add(1), 0, &mut entries)?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok((entries, more))
    }

    /// Adds entries after a name until there are `wanted`.
    fn collect(
        &self,
        page: &Name,
        after: Option<&[u8]>,
        wanted: usize,
        depth: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), MoverError> {
        let is_after = |name: &[u8]| after.is_none_or(|after| name > after);
        match self.nodes.page(page)? {
            Page::Entries(page) => {
                let room = wanted.saturating_sub(entries.len());
                let page = page.into_iter().filter(|entry| is_after(&entry.name));
                entries.extend(page.take(room));
            }
            Page::Index(pages) if depth < 16 => {
                // The last page that begins before the name may go beyond it.
                let begins_after = pages.partition_point(|page| !is_after(&page.first));
                for page in pages.iter().skip(begins_after.saturating_sub(1)) {
                    if entries.len() >= wanted {
                        break;
                    }
                    self.collect(&page.page, after, wanted, depth + 1, entries)?;
                }
            }
            _ => return Err(no_path(b"a page of another kind")),
        }
        Ok(())
    }

    /// Everything at and below a path, depth first. Ends early when `visit` answers false.
    pub fn walk(
        &self,
        path: &[u8],
        visit: &mut dyn FnMut(Found) -> bool,
    ) -> Result<(), MoverError> {
        self.walk_after(path, None, visit)
    }

    /// [`Tree::walk`], beginning with what comes after a path in this order: the next page of a
    /// walk. Folders that lie before it are not read. Errors: [`MoverError::TooDeep`] at a folder
    /// past the limits of depth and path.
    pub fn walk_after(
        &self,
        path: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(Found) -> bool,
    ) -> Result<(), MoverError> {
        let start = self.entry(path)?;
        let at = join(&[], &components(path).collect::<Vec<_>>().join(&b'/'));
        // Folders on the way down, each with what of it is still to come.
        let mut open: Vec<(Vec<u8>, Children)> = Vec::new();
        let mut next = Some(Found { path: at, entry: start });
        loop {
            let Some(found) = next.take() else {
                let Some((path, children)) = open.last_mut() else { return Ok(()) };
                match children.next() {
                    Some(entry) => {
                        let entry = entry?;
                        next = Some(Found { path: join(path, &entry.name), entry });
                    }
                    None => drop(open.pop()),
                }
                continue;
            };
            let turn = Turn::of(&found.path, after);
            if turn == Turn::Over {
                continue;
            }
            within_limits(&found.path, &found.entry)?;
            let from = match (turn, after) {
                (Turn::OnTheWay, Some(after)) => {
                    components(after).nth(components(&found.path).count()).unwrap_or_default()
                }
                _ => b"",
            };
            open.push((found.path.clone(), self.children_from(&found.entry, from)));
            if turn == Turn::Now && !visit(found) {
                return Ok(());
            }
        }
    }

    /// What differs from `self` to `other`, in path order. Equal subtrees are not read.
    pub fn diff(
        &self,
        other: &Tree,
        path: &[u8],
        report: &mut dyn FnMut(Vec<u8>, Change),
    ) -> Result<(), MoverError> {
        self.diff_after(other, path, None, &mut |path, change| {
            report(path, change);
            true
        })
    }

    /// [`Tree::diff`] of what comes after a path: the next page of a comparison. Ends early when
    /// `report` answers false. Errors: as [`Tree::walk_after`].
    pub fn diff_after(
        &self,
        other: &Tree,
        path: &[u8],
        after: Option<&[u8]>,
        report: &mut dyn FnMut(Vec<u8>, Change) -> bool,
    ) -> Result<(), MoverError> {
        let at = join(&[], &components(path).collect::<Vec<_>>().join(&b'/'));
        let mut next = Some((at, self.entry(path)?, other.entry(path)?));
        let mut report = |path: Vec<u8>, change| match Turn::of(&path, after) {
            Turn::Now => report(path, change),
            Turn::Over | Turn::OnTheWay => true,
        };
        // A stack of our own: trees may be deep.
        let mut open: Vec<Both> = Vec::new();
        loop {
            if let Some((path, old, new)) = next.take()
                && Turn::of(&path, after) != Turn::Over
            {
                if let Some(change) = compare(&old, &new)
                    && !report(path.clone(), change)
                {
                    return Ok(());
                }
                let same =
                    self.manifest.domain == other.manifest.domain && old.content == new.content;
                if !same && old.is_dir() && new.is_dir() {
                    within_limits(&path, &old)?;
                    within_limits(&path, &new)?;
                    let (olds, news) =
                        (self.children_from(&old, b""), other.children_from(&new, b""));
                    open.push(Both::new(path, olds, news));
                }
            }
            let Some(both) = open.last_mut() else { return Ok(()) };
            let go_on = match both.next()? {
                (None, None) => open.pop().is_some(),
                (Some(old), None) => report(join(&both.path, &old.name), Change::Removed),
                (None, Some(new)) => report(join(&both.path, &new.name), Change::Added),
                (Some(old), Some(new)) => {
                    next = Some((join(&both.path, &old.name), old, new));
                    true
                }
            };
            if !go_on {
                return Ok(());
            }
        }
    }
}

/// A folder of two savesets, with what of both is still to come.
pub(crate) struct Both {
    pub path: Vec<u8>,
    olds: Children,
    news: Children,
    old: Option<Entry>,
    new: Option<Entry>,
}

impl Both {
    pub(crate) fn new(path: Vec<u8>, olds: Children, news: Children) -> Self {
        Self { path, olds, news, old: None, new: None }
    }

    /// The next name, as either has it. Neither: that was all.
    pub(crate) fn next(&mut self) -> Result<(Option<Entry>, Option<Entry>), MoverError> {
        if self.old.is_none() {
            self.old = self.olds.next().transpose()?;
        }
        if self.new.is_none() {
            self.new = self.news.next().transpose()?;
        }
        let order = match (&self.old, &self.new) {
            (Some(old), Some(new)) => old.name.cmp(&new.name),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        let old = if order.is_le() { self.old.take() } else { None };
        let new = if order.is_ge() { self.new.take() } else { None };
        Ok((old, new))
    }
}

/// What a walk that begins after a path does with another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It and all below it came before.
    Over,
    /// It came before; what is below it did not, or not all of it.
    OnTheWay,
    Now,
}

impl Turn {
    /// Depth first, names by their bytes: a folder comes before what it holds.
    fn of(path: &[u8], after: Option<&[u8]>) -> Self {
        let Some(after) = after else { return Turn::Now };
        if components(path).gt(components(after)) {
            return Turn::Now;
        }
        let mut after = components(after);
        match components(path).all(|part| after.next() == Some(part)) {
            true => Turn::OnTheWay,
            false => Turn::Over,
        }
    }
}

fn compare(old: &Entry, new: &Entry) -> Option<Change> {
    let kinds_differ = std::mem::discriminant(&old.kind) != std::mem::discriminant(&new.kind);
    if kinds_differ || (old.is_file() && (old.size != new.size || old.content != new.content)) {
        return Some(Change::Content);
    }
    let directory = old.is_dir();
    let metadata = |e: &Entry| (e.mode, e.uid, e.gid, e.mtime, e.flags, e.xattrs.clone());
    let kind_differs = !directory && old.kind != new.kind;
    (kind_differs || metadata(old) != metadata(new)).then_some(Change::Metadata)
}

pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

pub(crate) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = parent.to_vec();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Does a folder lie past the limits that a backup holds? Then what is in it is not read: whoever
/// made it wants the reader to go down for ever.
pub(crate) fn is_too_deep(path: &[u8], folder: &Entry) -> bool {
    matches!(folder.content, Content::Tree(_))
        && (path.len() > limits::PATH_BYTES_MAX
            || components(path).count() > limits::PATH_DEPTH_MAX)
}

fn within_limits(path: &[u8], folder: &Entry) -> Result<(), MoverError> {
    const SHOWN_BYTES: usize = 200;
    if !is_too_deep(path, folder) {
        return Ok(());
    }
    let shown = path.get(..SHOWN_BYTES).unwrap_or(path);
    Err(MoverError::TooDeep { path: escape_path(shown) + "…" })
}

pub(crate) fn no_path(path: &[u8]) -> MoverError {
    MoverError::NoSuchPath { path: escape_path(path) }
}
