//! Looking into savesets: the Server opens a transfer to the device like any client, and reads the
//! nodes it needs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use globset::GlobBuilder;
use simsim_catalog::{KeyHolder, Saveset, SavesetState};
use simsim_format::{Content, DomainKey, Entry, EntryKind};
use simsim_model::{Kind, escape_path, unescape_path};
use simsim_mover::MoverError;
use simsim_mover::tree::{Change, Tree};
use simsim_transfer::HttpTransfer;
use tokio::runtime::Handle;

use crate::api::{
    ChangeKind, ChangeView, DiffReply, DiffRequest, EntryView, FindReply, FindRequest, LsReply,
    LsRequest,
};
use crate::jobs::grant_restore;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Entries of one answer at most, so that it stays a message.
const ENTRIES_MAX: u32 = 10_000;

impl Server {
    /// Lists a directory of a saveset, by name.
    pub async fn ls(&self, who: &Principal, request: LsRequest) -> Result<LsReply, ServerError> {
        let saveset = self.house.saveset(&request.saveset, request.task.as_deref()).await?;
        self.may_browse(who, &saveset).await?;
        let path = path_of(&request.path)?;
        let after = request.after.as_deref().map(path_bytes).transpose()?;
        let limit = bounded(request.limit, ENTRIES_MAX);
        let id = saveset.saveset;
        self.look_into(&[saveset], move |trees| {
            let tree = first(trees)?;
            let is_itself = !tree.entry(&path).map_err(reading)?.is_dir();
            let (entries, more) =
                tree.list_page(&path, after.as_deref(), limit).map_err(reading)?;
            let entries = entries
                .iter()
                .map(|entry| {
                    let full = if is_itself { path.clone() } else { below(&path, &entry.name) };
                    entry_view(&full, entry)
                })
                .collect();
            Ok(LsReply { saveset: id, entries, more })
        })
        .await
    }

    /// Finds entries by a pattern, depth first.
    pub async fn find(
        &self,
        who: &Principal,
        request: FindRequest,
    ) -> Result<FindReply, ServerError> {
        let saveset = self.house.saveset(&request.saveset, request.task.as_deref()).await?;
        self.may_browse(who, &saveset).await?;
        let path = path_of(&request.path)?;
        let limit = bounded(request.limit, 1000);
        let whole_path = request.pattern.contains('/');
        let glob = GlobBuilder::new(&request.pattern)
            .literal_separator(true)
            .build()
            .map_err(|error| ServerError::invalid(format!("the pattern: {error}")))?
            .compile_matcher();
        let id = saveset.saveset;
        self.look_into(&[saveset], move |trees| {
            let tree = first(trees)?;
            let (mut entries, mut more) = (Vec::new(), false);
            tree.walk(&path, &mut |found| {
                let subject: &[u8] = if whole_path { &found.path } else { &found.entry.name };
                if !subject.is_empty() && glob.is_match(Path::new(OsStr::from_bytes(subject))) {
                    if entries.len() == limit {
                        more = true;
                        return false;
                    }
                    entries.push(entry_view(&found.path, &found.entry));
                }
                true
            })
            .map_err(reading)?;
            Ok(FindReply { saveset: id, entries, more })
        })
        .await
    }

    /// What differs between two savesets. Both must be of one domain, because equal content has
    /// equal names only there.
    pub async fn diff(
        &self,
        who: &Principal,
        request: DiffRequest,
    ) -> Result<DiffReply, ServerError> {
        let from = self.house.saveset(&request.from, None).await?;
        let to = self.house.saveset(&request.to, None).await?;
        self.may_browse(who, &from).await?;
        self.may_browse(who, &to).await?;
        if from.domain != to.domain {
            return Err(ServerError::invalid(
                "these savesets are of different clients or datastores: they cannot be compared",
            ));
        }
        let path = path_of(&request.path)?;
        let limit = bounded(request.limit, ENTRIES_MAX);
        let (from_id, to_id) = (from.saveset, to.saveset);
        self.look_into(&[from, to], move |trees| {
            let [old, new] = trees else {
                return Err(ServerError::Lost("two trees were asked for".to_owned()));
            };
            let (mut changes, mut more) = (Vec::new(), false);
            old.diff(new, &path, &mut |path, change| {
                if changes.len() == limit {
                    more = true;
                    return;
                }
                let change = match change {
                    Change::Added => ChangeKind::Added,
                    Change::Removed => ChangeKind::Removed,
                    Change::Content => ChangeKind::Content,
                    Change::Metadata => ChangeKind::Metadata,
                };
                changes.push(ChangeView { path: escape_path(&path), change });
            })
            .map_err(reading)?;
            Ok(DiffReply { from: from_id, to: to_id, changes, more })
        })
        .await
    }

    async fn may_browse(&self, who: &Principal, saveset: &Saveset) -> Result<(), ServerError> {
        let object = Object::Client(&saveset.client_name);
        self.may_see(who, Right::Browse, "look into savesets of", object).await?;
        if saveset.state == SavesetState::Missing {
            return Err(ServerError::not_found("manifest of saveset", saveset.saveset));
        }
        Ok(())
    }

    /// Opens the trees of savesets and hands them to `look`, on a thread that may block.
    async fn look_into<T: Send + 'static>(
        &self,
        savesets: &[Saveset],
        look: impl FnOnce(&[Tree]) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let house = &self.house;
        let mut open = Vec::new();
        for saveset in savesets {
            let (store, domain) = (saveset.store, saveset.domain);
            let (datastore, domain, drive) = house
                .books
                .run(move |catalog| {
                    let drives = catalog.drives()?;
                    let drive = drives.iter().find(|drive| drive.store == store);
                    Ok((
                        catalog.datastore_with_id(store)?,
                        catalog.domain(domain)?,
                        drive.map_or(0, |drive| drive.number),
                    ))
                })
                .await?;
            let Some(key) = house.domain_keys.open(&domain)? else {
                return Err(ServerError::Refused(match domain.key_held_by {
                    KeyHolder::Nobody => format!(
                        "nobody has brought the key of domain {}: give the recovery kit to 'simsim datastore rebuild-catalog'",
                        domain.domain
                    ),
                    KeyHolder::Client | KeyHolder::Server => {
                        "sealed with a key that only the client holds: run this at the client"
                            .to_owned()
                    }
                }));
            };
            let id = saveset.saveset;
            let granted = grant_restore(house, &datastore, drive, domain.domain, id).await?;
            open.push((granted, DomainKey::new(&key), id));
        }
        let handle = Handle::current();
        let work = move || {
            let mut transfers = Vec::new();
            let mut trees = Vec::new();
            for (granted, key, saveset) in open {
                let transfer =
                    HttpTransfer::open(handle.clone(), granted.addresses, granted.ticket)?;
                let transfer = Arc::new(transfer);
                transfers.push(Arc::clone(&transfer));
                trees.push(Tree::open(transfer, key, saveset).map_err(reading)?);
            }
            let looked = look(&trees);
            drop(trees);
            for transfer in transfers {
                if let Err(error) = transfer.close() {
                    tracing::debug!(%error, "a transfer to look into a saveset was not closed");
                }
            }
            looked
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| ServerError::Lost(error.to_string()))?
    }
}

fn first(trees: &[Tree]) -> Result<&Tree, ServerError> {
    trees.first().ok_or_else(|| ServerError::Lost("one tree was asked for".to_owned()))
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

fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut full = path.to_vec();
    while full.last() == Some(&b'/') {
        full.pop();
    }
    full.push(b'/');
    full.extend_from_slice(name);
    full
}

fn reading(error: MoverError) -> ServerError {
    match error.kind() {
        Kind::NotFound => match error {
            MoverError::NoSuchPath { path } => ServerError::not_found("path in this saveset", path),
            other => ServerError::not_found("saveset", other),
        },
        kind => ServerError::node("the saveset", kind, error.to_string()),
    }
}

/// An entry as answers show it; `path` is the whole one, from the root of the saveset.
pub fn entry_view(path: &[u8], entry: &Entry) -> EntryView {
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
