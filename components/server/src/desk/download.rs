//! Files of savesets for whoever sits at a browser: a file as it is, a folder as a tar stream of the
//! files, folders and links in it. Data leaves for a place that is none of the suite's, so it takes the
//! right to restore to others; owners, extended attributes, ACLs and holes come back by a restore alone.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use simsim_format::{DomainKey, Entry, EntryKind};
use simsim_model::{SavesetId, unescape_path};
use simsim_mover::StreamFile;
use simsim_mover::tree::{Found, Tree};
use simsim_transfer::HttpTransfer;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::jobs::grant_restore;
use crate::look;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Bytes of one part.
const PART_BYTES: usize = 64 * 1024;
/// Parts that wait for a slow browser: what a download takes of memory, beside one open segment.
const PARTS: usize = 16;

/// A file, or a folder, on its way to somebody.
pub struct Download {
    /// For the file that a browser makes of it.
    pub name: String,
    pub is_folder: bool,
    /// Breaks off with an error in words.
    pub parts: mpsc::Receiver<Result<Bytes, String>>,
}

impl Server {
    /// Sends a file or a folder of a saveset. `path` is escaped, from the root of the saveset. Every
    /// chunk is checked against its name before a byte of it is given.
    pub async fn download(
        &self,
        who: &Principal,
        saveset: &str,
        path: &str,
    ) -> Result<Download, ServerError> {
        let saveset = self.house.saveset(saveset, None).await?;
        let wanted = unescape_path(path).ok_or_else(|| {
            ServerError::invalid(format!(
                "'{path}': a backslash must begin an escape such as \\x5c"
            ))
        })?;
        let object = Object::saveset(&saveset);
        let detail = format!("{} of saveset {}", path, saveset.saveset);
        self.may_do(who, Right::RestoreToOther, "saveset.download", object, detail).await?;
        let house = &self.house;
        let (datastore, domain, drive) = house.place_of(&saveset).await?;
        let Some(key) = house.domain_keys.open(&domain)? else {
            return Err(super::browse::no_key(&saveset, &domain));
        };
        let id = saveset.saveset;
        let granted = grant_restore(house, &datastore, drive, domain.domain, id).await?;
        let key = DomainKey::new(&key);
        let (handle, ports) = (Handle::current(), house.data_ports.clone());
        let (found, is_there) = tokio::sync::oneshot::channel();
        let (sender, parts) = mpsc::channel(PARTS);
        tokio::task::spawn_blocking(move || {
            let opened = granted.routes(&ports).and_then(|routes| {
                Ok(Arc::new(HttpTransfer::open(handle, routes, granted.ticket)?))
            });
            let transfer = match opened {
                Ok(transfer) => transfer,
                Err(error) => {
                    let _ = found.send(Err(error));
                    return;
                }
            };
            send(&transfer, &key, id, &wanted, found, &sender);
            if let Err(error) = transfer.close() {
                tracing::debug!(%error, "a transfer for a download was not closed");
            }
        });
        let gone = |_| ServerError::Lost("a download ended before it began".to_owned());
        let entry = is_there.await.map_err(gone)??;
        let last = path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("files");
        let is_folder = matches!(entry.kind, EntryKind::Directory(_));
        let name = if is_folder { format!("{last}.tar") } else { last.to_owned() };
        Ok(Download { name, is_folder, parts })
    }
}

/// Whether it can be had; then all of it.
fn send(
    transfer: &Arc<HttpTransfer>,
    key: &DomainKey,
    saveset: SavesetId,
    wanted: &[u8],
    found: tokio::sync::oneshot::Sender<Result<Entry, ServerError>>,
    sender: &mpsc::Sender<Result<Bytes, String>>,
) {
    let session = || Arc::clone(transfer) as Arc<_>;
    let opened = Tree::open(session(), key.clone(), saveset).and_then(|tree| {
        let entry = tree.entry(wanted)?;
        let file = match entry.kind {
            EntryKind::File => Some(StreamFile::of(session(), key.clone(), &tree, &entry)?),
            _ => None,
        };
        Ok((tree, entry, file))
    });
    let (tree, entry, file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let _ = found.send(Err(look::reading(error)));
            return;
        }
    };
    if !matches!(entry.kind, EntryKind::File | EntryKind::Directory(_)) {
        let text = "only files and folders can be downloaded";
        let _ = found.send(Err(ServerError::invalid(text)));
        return;
    }
    if found.send(Ok(entry)).is_err() {
        return;
    }
    let mut out = Parts { sender, part: Vec::with_capacity(PART_BYTES) };
    let done = match file {
        Some(file) => file
            .reader(0)
            .map_err(|error| std::io::Error::other(error.to_string()))
            .and_then(|mut reader| std::io::copy(&mut reader, &mut out).map(|_| ())),
        None => folder(&tree, wanted, &session, key, &mut out),
    };
    let done = done.and_then(|()| out.flush());
    if let Err(error) = done {
        let _ = sender.blocking_send(Err(error.to_string()));
    }
}

/// A folder as a tar stream, with paths that begin at it.
fn folder(
    tree: &Tree,
    wanted: &[u8],
    session: &dyn Fn() -> Arc<dyn simsim_model::RestoreSession>,
    key: &DomainKey,
    out: &mut Parts<'_>,
) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut archive = tar::Builder::new(out);
    let other = |error: simsim_mover::MoverError| std::io::Error::other(error.to_string());
    let base = wanted.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let base = if wanted == b"/" { 1 } else { base };
    let mut trouble = None;
    tree.walk(wanted, &mut |found: Found| {
        let (path, entry) = (found.path.as_slice(), &found.entry);
        let mut one = || -> std::io::Result<()> {
            let inner = path.get(base..).unwrap_or_default();
            if inner.is_empty() {
                return Ok(());
            }
            let inner = std::path::Path::new(std::ffi::OsStr::from_bytes(inner));
            let mut head = tar::Header::new_gnu();
            head.set_mode(entry.mode & 0o777);
            head.set_mtime(u64::try_from(entry.mtime.seconds).unwrap_or(0));
            match &entry.kind {
                EntryKind::File => {
                    let file =
                        StreamFile::of(session(), key.clone(), tree, entry).map_err(other)?;
                    head.set_entry_type(tar::EntryType::Regular);
                    head.set_size(file.bytes());
                    let reader = file.reader(0).map_err(other)?;
                    archive.append_data(&mut head, inner, reader.take(file.bytes()))
                }
                EntryKind::Directory(_) => {
                    head.set_entry_type(tar::EntryType::Directory);
                    head.set_size(0);
                    archive.append_data(&mut head, inner, std::io::empty())
                }
                EntryKind::Symlink(target) => {
                    head.set_entry_type(tar::EntryType::Symlink);
                    head.set_size(0);
                    let target = std::path::Path::new(std::ffi::OsStr::from_bytes(target));
                    archive.append_link(&mut head, inner, target)
                }
                // Pipes, sockets and devices hold nothing to look at.
                _ => Ok(()),
            }
        };
        match one() {
            Ok(()) => true,
            Err(error) => {
                trouble = Some(error);
                false
            }
        }
    })
    .map_err(other)?;
    match trouble {
        Some(error) => Err(error),
        None => archive.finish(),
    }
}

/// Cuts what is written into parts.
struct Parts<'a> {
    sender: &'a mpsc::Sender<Result<Bytes, String>>,
    part: Vec<u8>,
}

impl Write for Parts<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = Bytes::from(std::mem::replace(&mut self.part, Vec::with_capacity(PART_BYTES)));
        let gone = |_| std::io::Error::other("whoever asked for it has gone");
        self.sender.blocking_send(Ok(part)).map_err(gone)
    }
}
