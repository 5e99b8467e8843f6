//! Everything that differs between two savesets of one domain, entry by entry: what the search index is told.
//! Subtrees that are the same are not read; of those that came or went every entry is told.

use crate::MoverError;
use crate::children::Children;
use crate::tree::{Both, Tree, is_too_deep, join};
use simsim_format::Entry;

/// Tells of a path by its folder and its name; `None`: it is gone. Answers whether to go on.
pub type OnChange<'a> = dyn FnMut(&[u8], &[u8], Option<&Entry>) -> bool + 'a;

/// Tells `visit` of each path whose kind, size, time of change or content differs, each once. Without
/// `old` of all paths of `new`. Folders past the limits of depth are passed over. In memory are a page
/// of each of two folders a level.
pub fn changes(old: Option<&Tree>, new: &Tree, visit: &mut OnChange<'_>) -> Result<(), MoverError> {
    let old = old.filter(|old| old.manifest.domain == new.manifest.domain);
    let of = |tree: &Tree, entry: Option<&Entry>| match entry {
        Some(entry) => tree.children_from(entry, b""),
        None => Children::none(&tree.nodes),
    };
    let (old_root, new_root) = (old.map(Tree::root).transpose()?, new.root()?);
    if old_root.as_ref().is_some_and(|old| old.content == new_root.content) {
        return Ok(());
    }
    let olds = of(old.unwrap_or(new), old_root.as_ref());
    let mut open = vec![Both::new(b"/".to_vec(), olds, of(new, Some(&new_root)))];
    while let Some(both) = open.last_mut() {
        let (before, now) = both.next()?;
        let Some(name) = now.as_ref().or(before.as_ref()).map(|entry| entry.name.clone()) else {
            open.pop();
            continue;
        };
        let parent = both.path.clone();
        let differs = match (&before, &now) {
            (Some(before), Some(now)) => is_other_version(before, now),
            _ => true,
        };
        if differs && !visit(&parent, &name, now.as_ref()) {
            return Ok(());
        }
        let same = matches!((&before, &now), (Some(a), Some(b)) if a.content == b.content);
        let path = join(&parent, &name);
        let folder = |entry: Option<Entry>| {
            entry.filter(|entry| !same && entry.is_dir() && !is_too_deep(&path, entry))
        };
        let (before, now) = (folder(before), folder(now));
        if before.is_some() || now.is_some() {
            let olds = of(old.unwrap_or(new), before.as_ref());
            open.push(Both::new(path, olds, of(new, now.as_ref())));
        }
    }
    Ok(())
}

/// Whether two entries of a path are different versions of it. Modes, owners and attributes make none.
fn is_other_version(old: &Entry, new: &Entry) -> bool {
    if std::mem::discriminant(&old.kind) != std::mem::discriminant(&new.kind) {
        return true;
    }
    let content = !old.is_dir() && (old.kind != new.kind || old.content != new.content);
    content || old.size != new.size || old.mtime != new.mtime
}
