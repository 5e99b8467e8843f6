//! Looking into savesets, a page at a time: what listings, searches and comparisons show, wherever
//! the key is (at the server, at the client that holds it, or in the hands of a rescuer).
//!
//! A page ends at its limit and says whether there is more; the next one begins after the last thing
//! that was shown. What lies before it is not read again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use crate::MoverError;
use crate::tree::{Change, Found, Tree, components, join};

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The limit was reached before the end.
    pub more: bool,
}

/// The entries of a folder that come after a name, by name; of anything else the entry itself.
pub fn list(
    tree: &Tree,
    path: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<Found>, MoverError> {
    let at = join(&[], &components(path).collect::<Vec<_>>().join(&b'/'));
    let is_itself = !tree.entry(path)?.is_dir();
    let (entries, more) = tree.list_page(path, after, limit)?;
    let items = entries
        .into_iter()
        .map(|entry| {
            let path = if is_itself { at.clone() } else { join(&at, &entry.name) };
            Found { path, entry }
        })
        .collect();
    Ok(Page { items, more })
}

/// What a search looks for: with `*`, `?` and `[…]`, against the name, or against the whole path where
/// it holds a `/`.
#[derive(Debug, Clone)]
pub struct Pattern {
    glob: GlobMatcher,
    whole_path: bool,
}

impl Pattern {
    /// Errors: [`MoverError::Target`] for a malformed pattern.
    pub fn new(text: &str) -> Result<Self, MoverError> {
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|error| MoverError::Target(format!("the pattern: {error}")))?
            .compile_matcher();
        Ok(Self { glob, whole_path: text.contains('/') })
    }

    fn wants(&self, found: &Found) -> bool {
        let subject = if self.whole_path { &found.path } else { &found.entry.name };
        !subject.is_empty() && self.glob.is_match(Path::new(OsStr::from_bytes(subject)))
    }
}

/// Entries at and below a path that match, depth first, after a path in this order.
pub fn find(
    tree: &Tree,
    path: &[u8],
    pattern: &Pattern,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<Found>, MoverError> {
    let (mut items, mut more) = (Vec::new(), false);
    tree.walk_after(path, after, &mut |found| {
        if pattern.wants(&found) {
            more = items.len() >= limit;
            if !more {
                items.push(found);
            }
        }
        !more
    })?;
    Ok(Page { items, more })
}

/// What differs at and below a path from one saveset to another, in path order, after a path.
pub fn diff(
    old: &Tree,
    new: &Tree,
    path: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Page<(Vec<u8>, Change)>, MoverError> {
    let (mut items, mut more) = (Vec::new(), false);
    old.diff_after(new, path, after, &mut |path, change| {
        more = items.len() >= limit;
        if !more {
            items.push((path, change));
        }
        !more
    })?;
    Ok(Page { items, more })
}
