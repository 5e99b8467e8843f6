//! Requests to look into savesets, answered from trees that are open: the same at the Server, at a
//! client that holds the key alone, and in a rescue.

use simsim_format::{Content, Entry, EntryKind};
use simsim_model::{Kind, SavesetId, escape_path, unescape_path};
use simsim_mover::tree::{Change, Found, Tree};
use simsim_mover::{MoverError, look};

use crate::ServerError;
use crate::api::{
    ChangeKind, ChangeView, DiffReply, DiffRequest, EntryView, FindReply, FindRequest, LsReply,
    LsRequest,
};

/// Entries of one answer at most, so that it stays a message.
const ENTRIES_MAX: u32 = 10_000;
/// Entries that a search answers unless more are asked for.
const FOUND: u32 = 1000;

/// A folder of a saveset, by name.
pub fn ls(tree: &Tree, request: &LsRequest) -> Result<LsReply, ServerError> {
    let path = path_of(&request.path)?;
    let after = request.after.as_deref().map(path_bytes).transpose()?;
    let limit = bounded(request.limit, ENTRIES_MAX);
    let page = look::list(tree, &path, after.as_deref(), limit).map_err(reading)?;
    let saveset = tree.manifest.saveset;
    Ok(LsReply { saveset, entries: views(&page.items), more: page.more })
}

/// Entries by a pattern, depth first.
pub fn find(tree: &Tree, request: &FindRequest) -> Result<FindReply, ServerError> {
    let path = path_of(&request.path)?;
    let after = request.after.as_deref().map(path_bytes).transpose()?;
    let limit = bounded(request.limit, FOUND);
    let pattern = look::Pattern::new(&request.pattern).map_err(reading)?;
    let page = look::find(tree, &path, &pattern, after.as_deref(), limit).map_err(reading)?;
    let saveset = tree.manifest.saveset;
    Ok(FindReply { saveset, entries: views(&page.items), more: page.more })
}

/// What differs between two savesets of one domain.
pub fn diff(old: &Tree, new: &Tree, request: &DiffRequest) -> Result<DiffReply, ServerError> {
    if old.manifest.domain != new.manifest.domain {
        return Err(ServerError::invalid(
            "these savesets are of different clients or datastores: they cannot be compared",
        ));
    }
    let path = path_of(&request.path)?;
    let after = request.after.as_deref().map(path_bytes).transpose()?;
    let limit = bounded(request.limit, ENTRIES_MAX);
    let page = look::diff(old, new, &path, after.as_deref(), limit).map_err(reading)?;
    let changes = page.items.iter().map(|(path, change)| ChangeView {
        path: escape_path(path),
        change: match change {
            Change::Added => ChangeKind::Added,
            Change::Removed => ChangeKind::Removed,
            Change::Content => ChangeKind::Content,
            Change::Metadata => ChangeKind::Metadata,
        },
    });
    let (from, to): (SavesetId, SavesetId) = (old.manifest.saveset, new.manifest.saveset);
    Ok(DiffReply { from, to, changes: changes.collect(), more: page.more })
}

fn bounded(asked: u32, default: u32) -> usize {
    let limit = if asked == 0 { default } else { asked.min(ENTRIES_MAX) };
    limit as usize
}

fn path_bytes(text: &str) -> Result<Vec<u8>, ServerError> {
    unescape_path(text).ok_or_else(|| {
        ServerError::invalid(format!("'{text}': a backslash must begin an escape such as \\x5c"))
    })
}

fn path_of(text: &str) -> Result<Vec<u8>, ServerError> {
    if text.is_empty() { Ok(b"/".to_vec()) } else { path_bytes(text) }
}

/// An error of reading a saveset.
pub(crate) fn reading(error: MoverError) -> ServerError {
    match error {
        MoverError::NoSuchPath { path } => ServerError::NotInSaveset { path },
        MoverError::Target(why) => ServerError::invalid(why),
        other if other.kind() == Kind::NotFound => ServerError::not_found("saveset", other),
        other => ServerError::node("the saveset", other.kind(), other.to_string()),
    }
}

fn views(found: &[Found]) -> Vec<EntryView> {
    found.iter().map(|found| entry_view(&found.path, &found.entry)).collect()
}

/// An entry as answers show it; `path` is the whole one, from the root of the saveset.
fn entry_view(path: &[u8], entry: &Entry) -> EntryView {
    let (kind, link_target, totals) = match &entry.kind {
        EntryKind::File => ("file", None, None),
        EntryKind::Directory(totals) => ("directory", None, Some(totals)),
        EntryKind::Symlink(target) => ("symlink", Some(escape_path(target)), None),
        EntryKind::Fifo => ("fifo", None, None),
        EntryKind::Socket => ("socket", None, None),
        EntryKind::CharDevice { .. } => ("char_device", None, None),
        EntryKind::BlockDevice { .. } => ("block_device", None, None),
    };
    EntryView {
        path: escape_path(path),
        kind: kind.to_owned(),
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        bytes: totals.map_or(entry.size, |totals| totals.bytes),
        files: totals.map_or(0, |totals| totals.files),
        mtime_unix_s: entry.mtime.seconds,
        mtime_nanos: entry.mtime.nanos,
        nlink: entry.nlink,
        link_target,
        missing: entry.content == Content::Missing,
    }
}
