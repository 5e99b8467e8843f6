//! Verifying a saveset, every byte: each reference found, each segment opened, each name checked.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use simsim_format::{Content, DomainKey, Opener, Page, SegmentKind, SegmentView};
use simsim_model::{Name, Progress, RestoreSession, SavesetId, SegmentPlace};

use crate::MoverError;
use crate::tree::Tree;

/// Names located in one go.
const BATCH: usize = 8192;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub nodes: u64,
    pub chunks: u64,
    pub segments: u64,
    /// Plaintext bytes whose names were checked.
    pub bytes: u64,
    /// One sentence for each thing that is missing or damaged.
    pub damaged: Vec<String>,
    /// Segments that read as they were written, and are not what their names say.
    pub content_wrong: Vec<SegmentPlace>,
}

/// Verifies a saveset. `seen` holds what was verified for other savesets of the domain, so that a
/// whole datastore reads each segment once; memory: 48 bytes a segment and 32 a node.
pub fn verify(
    session: Arc<dyn RestoreSession>,
    key: DomainKey,
    saveset: SavesetId,
    seen: &mut Verified,
    threads: usize,
    progress: &Progress,
) -> Result<VerifyReport, MoverError> {
    let mut report = VerifyReport::default();
    let tree = Tree::open(Arc::clone(&session), key.clone(), saveset)?;
    let mut places = BTreeSet::new();
    let mut names: Vec<Name> = Vec::new();
    let mut open = vec![tree.manifest.root];
    while let Some(name) = open.pop() {
        if progress.is_cancelled() {
            return Err(MoverError::Cancelled);
        }
        if !seen.nodes.insert(name) {
            continue;
        }
        let node = match tree.nodes.node(&name).and_then(|node| Ok((node.page()?, node))) {
            Ok((page, node)) => {
                report.nodes += 1;
                if let Page::Entries(entries) = &page {
                    let files = entries.iter().filter(|entry| !entry.is_dir());
                    progress.add(|p| &p.files_done, files.count() as u64);
                    for entry in entries.iter().filter(|e| matches!(e.content, Content::Inline(_)))
                    {
                        report.bytes = report.bytes.saturating_add(entry.size);
                    }
                }
                node
            }
            Err(error @ MoverError::Session(_)) => return Err(error),
            Err(error) => {
                report.damaged.push(format!("node {name}: {error}"));
                report.content_wrong.extend(wrong_segment(&session, &key, &tree, &name)?);
                continue;
            }
        };
        open.extend(node.nodes);
        names.extend(node.chunks);
        if names.len() >= BATCH {
            locate(&tree, &mut names, seen, &mut places, &mut report)?;
        }
    }
    locate(&tree, &mut names, seen, &mut places, &mut report)?;
    read_segments(&session, &key, places, threads, progress, report)
}

/// What earlier savesets of the same verification have covered.
#[derive(Debug, Default)]
pub struct Verified {
    nodes: HashSet<Name>,
    segments: HashSet<SegmentPlace>,
}

/// The segment of a node, if it can be read and is not what its names say.
fn wrong_segment(
    session: &Arc<dyn RestoreSession>,
    key: &DomainKey,
    tree: &Tree,
    node: &Name,
) -> Result<Option<SegmentPlace>, MoverError> {
    let Some(place) = tree.nodes.locate(std::slice::from_ref(node))?.pop().flatten() else {
        return Ok(None);
    };
    let Some(bytes) = session.get(&[place])?.pop().flatten() else { return Ok(None) };
    let Ok(view) = SegmentView::parse(bytes) else { return Ok(None) };
    let mut opener = Opener::new(key.clone());
    Ok(check_segment(&mut opener, &view).is_err().then_some(place))
}

fn locate(
    tree: &Tree,
    names: &mut Vec<Name>,
    seen: &mut Verified,
    places: &mut BTreeSet<SegmentPlace>,
    report: &mut VerifyReport,
) -> Result<(), MoverError> {
    for (name, place) in names.iter().zip(tree.nodes.locate(names)?) {
        match place {
            Some(place) => {
                if seen.segments.insert(place) {
                    places.insert(place);
                }
            }
            None => report.damaged.push(format!("chunk {name} is not in the datastore")),
        }
    }
    names.clear();
    Ok(())
}

fn read_segments(
    session: &Arc<dyn RestoreSession>,
    key: &DomainKey,
    places: BTreeSet<SegmentPlace>,
    threads: usize,
    progress: &Progress,
    report: VerifyReport,
) -> Result<VerifyReport, MoverError> {
    let threads = match threads {
        0 => std::thread::available_parallelism().map_or(2, usize::from),
        threads => threads,
    };
    let queue = Mutex::new(places.into_iter());
    let report = Mutex::new(report);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut opener = Opener::new(key.clone());
                while let Some(place) = { queue.lock().next() } {
                    if progress.is_cancelled() {
                        failed.lock().get_or_insert(MoverError::Cancelled);
                        return;
                    }
                    match session.get(&[place]) {
                        Ok(mut answer) => {
                            let checked = answer
                                .pop()
                                .flatten()
                                .ok_or(Wrong::Bytes("cannot be read".to_owned()))
                                .and_then(|bytes| check_chunks(&mut opener, bytes));
                            let mut report = report.lock();
                            match checked {
                                Ok((chunks, bytes)) => {
                                    report.segments += 1;
                                    report.chunks += chunks;
                                    report.bytes += bytes;
                                    progress.add(|p| &p.bytes_done, bytes);
                                }
                                Err(what) => {
                                    let at = format!("{} of pack {}", place.offset, place.pack);
                                    report.damaged.push(format!("segment at {at}: {what}"));
                                    if what.is_content() {
                                        report.content_wrong.push(place);
                                    }
                                }
                            }
                        }
                        Err(error) => {
                            failed.lock().get_or_insert(error.into());
                            return;
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Some(error) => Err(error),
        None => Ok(report.into_inner()),
    }
}

/// What is wrong with a segment.
enum Wrong {
    /// It is not there, or not as it was written.
    Bytes(String),
    /// It is, and is not what its names say.
    Content(String),
}

impl Wrong {
    fn is_content(&self) -> bool {
        matches!(self, Wrong::Content(_))
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Wrong::Bytes(what) | Wrong::Content(what) => f.write_str(what),
        }
    }
}

fn check_chunks(opener: &mut Opener, bytes: bytes::Bytes) -> Result<(u64, u64), Wrong> {
    let view = SegmentView::parse(bytes).map_err(|error| Wrong::Bytes(error.to_string()))?;
    if view.kind != SegmentKind::Data {
        return Err(Wrong::Content("it holds no chunks".to_owned()));
    }
    let bytes = check_segment(opener, &view).map_err(Wrong::Content)?;
    Ok((view.items.len() as u64, bytes))
}

/// Opens a segment of chunks or nodes and checks every name in it, and that its nodes are pages;
/// the bytes of its plaintext.
pub fn check_segment(opener: &mut Opener, view: &SegmentView) -> Result<u64, String> {
    if view.kind == SegmentKind::Nodes {
        let nodes = opener.open_nodes(view).map_err(|error| error.to_string())?;
        for node in &nodes {
            node.page().map_err(|error| format!("node {}: {error}", node.name))?;
        }
        return Ok(nodes.iter().map(|node| node.body.len() as u64).sum());
    }
    let plaintext = opener.open(view).map_err(|error| error.to_string())?;
    for (start, item) in view.offsets() {
        let chunk = plaintext.get(start..start + item.length as usize).unwrap_or_default();
        opener.check_chunk(&item.name, chunk).map_err(|error| format!("{error}: {}", item.name))?;
    }
    Ok(plaintext.len() as u64)
}
