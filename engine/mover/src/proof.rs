//! Is what was restored what the saveset says? Held against the saveset itself, not against what is thought
//! to have been written: the files are read again, their pieces named anew with the domain's key, and the names
//! compared; so are kinds, sizes, attributes and counts.

use std::io;

use simsim_format::{Content, DomainKey, Entry, EntryKind, Piece};
use simsim_model::{Drilled, Progress, escape_path};
use simsim_source::{Beneath, Spot, Stat, StatKind};

use crate::MoverError;
use crate::choose::Chosen;
use crate::sample::can_be_drilled;
use crate::tree::Tree;

/// So much of a hole is read at once.
const BUFFER_BYTES: usize = 1 << 20;
const CAPABILITY: &[u8] = b"security.capability";

/// Whether the owner of the host lets a path be read.
pub type MayRead<'a> = dyn Fn(&[u8]) -> bool + 'a;

/// What a comparison looks at.
pub struct Proof<'a> {
    pub tree: &'a Tree,
    pub key: &'a DomainKey,
    pub chosen: &'a Chosen,
    /// Where it was restored.
    pub scratch: &'a Beneath,
    /// Owners were set, as only root can.
    pub owners: bool,
    /// May the source at this path be read? Then it is compared too, where it stands as it was.
    pub source: Option<&'a MayRead<'a>>,
    pub progress: &'a Progress,
}

/// Compares everything that was chosen, and counts. Errors: the saveset cannot be read, or nobody waits for it
/// any more; what differs is told in `drilled`.
pub fn prove(proof: &Proof<'_>, drilled: &mut Drilled) -> Result<(), MoverError> {
    let live = match proof.source {
        Some(_) => Beneath::open(std::path::Path::new("/")).ok(),
        None => None,
    };
    let mut expected = 0u64;
    let mut failed = None;
    for start in proof.chosen.starts() {
        proof.tree.walk(start, &mut |found| {
            if !proof.chosen.wants(&found.path) {
                return !proof.progress.is_cancelled();
            }
            if found.entry.is_dir() {
                folder(proof, &found.path, &found.entry, drilled);
                return !proof.progress.is_cancelled();
            }
            if !can_be_drilled(&found.entry) {
                drilled.left_out += 1;
                return true;
            }
            expected += 1;
            proof.progress.set_current(&found.path);
            match one(proof, &found.path, &found.entry, live.as_ref(), drilled) {
                Ok(()) => !proof.progress.is_cancelled(),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if proof.progress.is_cancelled() {
        return Err(MoverError::Cancelled);
    }
    match proof.scratch.count() {
        Ok(there) if there == expected => {}
        Ok(there) => {
            drilled.differs(format!("{there} files lie there, and {expected} were to be restored"))
        }
        Err(error) => drilled.differs(format!("what was restored cannot be counted: {error}")),
    }
    Ok(())
}

fn one(
    proof: &Proof<'_>,
    path: &[u8],
    entry: &Entry,
    live: Option<&Beneath>,
    drilled: &mut Drilled,
) -> Result<(), MoverError> {
    let at = escape_path(path);
    let spot = match proof.scratch.look(path) {
        Ok(spot) => spot,
        Err(error) => {
            drilled.differs(format!("{at}: it was not restored: {error}"));
            return Ok(());
        }
    };
    for what in attributes(entry, &spot, proof.owners) {
        drilled.differs(format!("{at}: {what}"));
    }
    if !entry.is_file() || spot.stat().kind != StatKind::File {
        return Ok(());
    }
    let pieces = proof.tree.pieces(entry)?;
    match content(proof.key, entry, &pieces, &spot) {
        Ok((chunks, None)) => drilled.chunks += chunks,
        Ok((chunks, Some(what))) => {
            drilled.chunks += chunks;
            drilled.differs(format!("{at}: {what}"));
        }
        Err(error) => drilled.differs(format!("{at}: what was restored cannot be read: {error}")),
    }
    let (Some(may), Some(live)) = (proof.source, live) else { return Ok(()) };
    let source = live.look(path).ok().filter(|source| stands_as_it_was(entry, &source.stat()));
    match source.filter(|_| may(path)) {
        None => drilled.sources_changed += 1,
        Some(source) => match content(proof.key, entry, &pieces, &source) {
            Ok((_, None)) => drilled.sources_same += 1,
            // One that is written to while it is read says nothing.
            _ if live.look(path).is_ok_and(|again| again.stat() != source.stat()) => {
                drilled.sources_changed += 1;
            }
            Ok((_, Some(what))) => drilled.differs(format!(
                "{at}: the source has the times and the size that it had, and another content: {what}"
            )),
            Err(_) => drilled.sources_changed += 1,
        },
    }
    Ok(())
}

/// A folder that was wanted for itself. The root of the saveset became the scratch place.
fn folder(proof: &Proof<'_>, path: &[u8], entry: &Entry, drilled: &mut Drilled) {
    if path == b"/" {
        return;
    }
    let what = match proof.scratch.look(path) {
        Ok(spot) => attributes(entry, &spot, proof.owners),
        Err(error) => vec![format!("it was not restored: {error}")],
    };
    for what in what {
        drilled.differs(format!("{}: {what}", escape_path(path)));
    }
}

fn stands_as_it_was(entry: &Entry, stat: &Stat) -> bool {
    stat.kind == StatKind::File
        && (stat.size, stat.mtime, stat.ctime, stat.ino)
            == (entry.size, entry.mtime, entry.ctime, entry.ino)
}

fn attributes(entry: &Entry, spot: &Spot, owners: bool) -> Vec<String> {
    let stat = spot.stat();
    let kind = match &entry.kind {
        EntryKind::File => StatKind::File,
        EntryKind::Directory(_) => StatKind::Directory,
        EntryKind::Symlink(_) => StatKind::Symlink,
        EntryKind::Fifo => StatKind::Fifo,
        EntryKind::Socket => StatKind::Socket,
        EntryKind::CharDevice { .. } => StatKind::CharDevice,
        EntryKind::BlockDevice { .. } => StatKind::BlockDevice,
    };
    if stat.kind != kind {
        return vec![format!("a {} became a {}", kind.as_str(), stat.kind.as_str())];
    }
    let mut found = Vec::new();
    // What gives rights away is not restored into a scratch place.
    let mode = match kind {
        StatKind::Directory => entry.mode & 0o7777,
        _ => entry.mode & 0o1777,
    };
    if kind != StatKind::Symlink && stat.mode != mode {
        found.push(format!("mode {mode:04o} became {:04o}", stat.mode));
    }
    if owners && (entry.uid, entry.gid) != (stat.uid, stat.gid) {
        let (uid, gid) = (entry.uid, entry.gid);
        found.push(format!("owner {uid}:{gid} became {}:{}", stat.uid, stat.gid));
    }
    if stat.mtime != entry.mtime {
        let text = |time: simsim_model::Timestamp| format!("{}.{:09}", time.seconds, time.nanos);
        found.push(format!("time {} became {}", text(entry.mtime), text(stat.mtime)));
    }
    if kind == StatKind::File && stat.size != entry.size {
        found.push(format!("{} bytes became {}", entry.size, stat.size));
    }
    let details = match spot.details() {
        Ok(details) => details,
        Err(error) => {
            found.push(format!("its attributes cannot be read: {error}"));
            return found;
        }
    };
    if let EntryKind::Symlink(target) = &entry.kind
        && details.symlink_target.as_ref() != Some(target)
    {
        found.push("the link leads elsewhere".to_owned());
    }
    for (name, value) in &entry.xattrs {
        // As another user than root only those of users can be set.
        let settable = owners || name.starts_with(b"user.");
        if name == CAPABILITY || !settable {
            continue;
        }
        match details.xattrs.iter().find(|(there, _)| there == name) {
            Some((_, there)) if there == value => {}
            Some(_) => found.push(format!("attribute '{}' differs", escape_path(name))),
            None => found.push(format!("attribute '{}' is missing", escape_path(name))),
        }
    }
    found
}

/// Pieces that were named, and the first thing that is not as it should be.
fn content(
    key: &DomainKey,
    entry: &Entry,
    pieces: &[Piece],
    spot: &Spot,
) -> io::Result<(u64, Option<String>)> {
    let mut file = spot.read()?;
    let mut buffer = Vec::new();
    if let Content::Inline(bytes) = &entry.content {
        file.read_onto(0, bytes.len() + 1, &mut buffer)?;
        return Ok((0, (buffer != *bytes).then(|| "its content differs".to_owned())));
    }
    let (mut offset, mut chunks) = (0u64, 0u64);
    let differs =
        |offset: u64| Some(format!("its content differs in the piece from byte {offset} on"));
    for piece in pieces {
        match piece {
            Piece::Chunk { name, length } => {
                buffer.clear();
                file.read_onto(offset, *length as usize, &mut buffer)?;
                chunks += 1;
                if buffer.len() != *length as usize || key.chunk_name(&buffer) != *name {
                    return Ok((chunks, differs(offset)));
                }
            }
            Piece::Hole { length } => {
                let mut at = offset;
                let end = offset.saturating_add(*length);
                while at < end {
                    let wanted =
                        usize::try_from(end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
                    buffer.clear();
                    file.read_onto(at, wanted, &mut buffer)?;
                    if buffer.len() != wanted || buffer.iter().any(|byte| *byte != 0) {
                        return Ok((chunks, differs(at)));
                    }
                    at += wanted as u64;
                }
            }
        }
        offset = offset.saturating_add(piece.length());
    }
    Ok((chunks, None))
}
