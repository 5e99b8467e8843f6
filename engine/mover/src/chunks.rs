//! From named chunks to acknowledged segments: ask, collect, compress, seal, put.
//!
//! Shared by all workers. A worker asks for its batch, appends what is missing to the segment
//! that all workers fill, and whoever fills it seals it; two or more sender threads put sealed
//! segments. Data waits for nothing but the bounded queue to the senders.
//!
//! A segment of nodes is put when all that it refers to has been acknowledged: `order` knows what is
//! under way. So the device never has to keep one in memory for what is still to come, however many
//! backups run there.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;
use simsim_format::{DomainKey, FormatError, Node, Sealer};
use simsim_model::{BackupSession, DomainId, Name, Progress, failpoint, limits};

use crate::MoverError;
use crate::order::{Order, Place};

/// Plaintext at which a data segment is closed: half of a restore's unit of work.
pub(crate) const SEGMENT_TARGET_BYTES: usize = 2 << 20;
/// Nodes collected before the device is asked for them.
const NODE_BATCH: usize = 512;
/// Bytes of node bodies at which a node segment is closed.
const NODE_BATCH_BYTES: usize = 1 << 20;
/// Names put by this job that are remembered, so that two workers rarely put the same chunk.
const RECENT_MAX: usize = 64 << 10;

type Items = Vec<(Name, u32)>;

/// A sealed segment on its way to the senders.
pub(crate) struct Sealed {
    number: u64,
    segment: Bytes,
    /// Given up when the segment was acknowledged.
    place: Place,
}

#[derive(Default)]
struct Filling {
    items: Items,
    plaintext: Vec<u8>,
    /// Segments that were taken out of here to be sealed.
    taken: u64,
    recent: HashMap<Name, Recent>,
}

/// A chunk that this job has put, or is about to put.
struct Recent {
    length: u32,
    /// Where it lies in the segment that was filled after so many others.
    start: usize,
    segment: u64,
}

impl Filling {
    /// Is this content the one that has had this name before? Its length tells, and its bytes as long
    /// as they are here; more is not known of it (IDX11).
    fn is_recent(&self, name: &Name, plaintext: &[u8]) -> Result<bool, MoverError> {
        let Some(recent) = self.recent.get(name) else { return Ok(false) };
        let here = recent.segment == self.taken;
        let bytes = self.plaintext.get(recent.start..).and_then(|rest| rest.get(..plaintext.len()));
        if recent.length as usize != plaintext.len() || (here && bytes != Some(plaintext)) {
            return Err(MoverError::Collision { name: name.to_string() });
        }
        Ok(true)
    }

    fn take(&mut self, spare: Vec<u8>) -> (Items, Vec<u8>) {
        self.taken += 1;
        (std::mem::take(&mut self.items), std::mem::replace(&mut self.plaintext, spare))
    }
}

#[derive(Default)]
struct Nodes {
    /// Each with the bytes of files that it holds itself.
    waiting: Vec<(Node, u64)>,
    bytes: usize,
}

/// The way of chunks and nodes into the datastore.
pub(crate) struct ChunkWriter {
    session: Arc<dyn BackupSession>,
    key: DomainKey,
    domain: DomainId,
    zstd_level: i32,
    filling: Mutex<Filling>,
    nodes: Mutex<Nodes>,
    order: Arc<Order>,
    sealers: Mutex<Vec<Sealer>>,
    out: Mutex<Option<Sender<Sealed>>>,
    next: AtomicU64,
    failed: Mutex<Option<MoverError>>,
    progress: Arc<Progress>,
    pub(crate) bytes_new: AtomicU64,
    pub(crate) bytes_stored: AtomicU64,
}

impl ChunkWriter {
    pub(crate) fn new(
        session: Arc<dyn BackupSession>,
        key: DomainKey,
        domain: DomainId,
        zstd_level: i32,
        progress: Arc<Progress>,
    ) -> (Arc<Self>, Receiver<Sealed>) {
        let (out, segments) = crossbeam_channel::bounded(2);
        let writer = Self {
            session,
            key,
            domain,
            zstd_level,
            filling: Mutex::default(),
            nodes: Mutex::default(),
            order: Arc::default(),
            sealers: Mutex::default(),
            out: Mutex::new(Some(out)),
            next: AtomicU64::new(0),
            failed: Mutex::new(None),
            progress,
            bytes_new: AtomicU64::new(0),
            bytes_stored: AtomicU64::new(0),
        };
        (Arc::new(writer), segments)
    }

    pub(crate) fn key(&self) -> &DomainKey {
        &self.key
    }

    /// The first failure of any worker or sender, or a cancellation.
    pub(crate) fn check(&self) -> Result<(), MoverError> {
        if self.progress.is_cancelled() {
            return Err(MoverError::Cancelled);
        }
        self.failed.lock().clone().map_or(Ok(()), Err)
    }

    /// Keeps the first failure. That a worker gave no answer is only what another failure looks like
    /// from outside: the cause takes its place, whichever of the two is told first.
    pub(crate) fn fail(&self, error: MoverError) {
        let mut failed = self.failed.lock();
        if failed.as_ref().is_none_or(|known| matches!(known, MoverError::Lost)) {
            *failed = Some(error);
        }
    }

    /// Sends segments until the writer is finished: the body of a sender thread. After a failure
    /// it goes on taking, so that nobody waits for ever.
    pub(crate) fn send_all(&self, segments: &Receiver<Sealed>) {
        for Sealed { number, segment, place } in segments {
            if self.failed.lock().is_some() {
                continue;
            }
            if let Err(error) = self.put(number, segment) {
                self.fail(error);
            }
            drop(place);
        }
    }

    fn put(&self, number: u64, segment: Bytes) -> Result<(), MoverError> {
        let length = segment.len() as u64;
        self.session.put(number, segment)?;
        failpoint::hit("mover.segment_put");
        self.bytes_stored.fetch_add(length, Relaxed);
        self.progress.add(|p| &p.bytes_wire, length);
        Ok(())
    }

    /// Stores the chunks of one batch: `chunks` are names and ranges of `data`.
    pub(crate) fn store(
        &self,
        data: &[u8],
        chunks: &[(Name, Range<usize>)],
    ) -> Result<(), MoverError> {
        self.check()?;
        for part in chunks.chunks(limits::NAMES_PER_REQUEST_MAX) {
            let names: Vec<Name> = part.iter().map(|(name, _)| *name).collect();
            let known = self.session.has(&names)?;
            let bytes_of = |range: &Range<usize>| data.get(range.clone()).unwrap_or_default();
            let (known, new): (Vec<_>, Vec<_>) =
                part.iter().zip(known).partition(|(_, known)| *known);
            {
                let filling = self.filling.lock();
                for ((name, range), _) in known {
                    filling.is_recent(name, bytes_of(range))?;
                }
            }
            for ((name, range), _) in new {
                self.append(*name, bytes_of(range))?;
            }
        }
        Ok(())
    }

    fn append(&self, name: Name, plaintext: &[u8]) -> Result<(), MoverError> {
        let full = {
            let mut filling = self.filling.lock();
            if filling.recent.len() >= RECENT_MAX {
                filling.recent.clear();
            }
            if filling.is_recent(&name, plaintext)? {
                return Ok(());
            }
            let (length, start) = (plaintext.len() as u32, filling.plaintext.len());
            let segment = filling.taken;
            filling.recent.insert(name, Recent { length, start, segment });
            filling.items.push((name, length));
            filling.plaintext.extend_from_slice(plaintext);
            if filling.plaintext.len() < SEGMENT_TARGET_BYTES
                && filling.items.len() < limits::SEGMENT_ITEMS_MAX
            {
                return Ok(());
            }
            let spare = Vec::with_capacity(SEGMENT_TARGET_BYTES + (256 << 10));
            let (items, plaintext) = filling.take(spare);
            (items, plaintext, self.order.data())
        };
        self.seal_data(full)
    }

    fn seal_data(&self, full: (Items, Vec<u8>, Place)) -> Result<(), MoverError> {
        let (items, plaintext, place) = full;
        self.count_new(plaintext.len() as u64);
        let segment = self.with_sealer(|sealer| sealer.seal_data(&items, &plaintext))?;
        let Some(out) = self.out.lock().clone() else { return Err(MoverError::Lost) };
        let number = self.next.fetch_add(1, Relaxed);
        let sealed = Sealed { number, segment: Bytes::from(segment), place };
        out.send(sealed).map_err(|_| MoverError::Lost)
    }

    fn count_new(&self, bytes: u64) {
        self.bytes_new.fetch_add(bytes, Relaxed);
        self.progress.add(|p| &p.bytes_new, bytes);
    }

    fn with_sealer<T>(
        &self,
        work: impl FnOnce(&mut Sealer) -> Result<T, FormatError>,
    ) -> Result<T, MoverError> {
        let kept = self.sealers.lock().pop();
        let mut sealer =
            kept.unwrap_or_else(|| Sealer::new(self.key.clone(), self.domain, self.zstd_level));
        let made = work(&mut sealer);
        self.sealers.lock().push(sealer);
        Ok(made?)
    }

    /// Adds a node, which holds so many bytes of files itself; it is stored with others, later, unless
    /// the datastore has it.
    pub(crate) fn add_node(&self, node: Node, inline: u64) -> Result<Name, MoverError> {
        let name = node.name;
        let full = {
            let mut nodes = self.nodes.lock();
            nodes.bytes += size_of_node(&node);
            nodes.waiting.push((node, inline));
            if nodes.waiting.len() < NODE_BATCH && nodes.bytes < NODE_BATCH_BYTES {
                return Ok(name);
            }
            nodes.bytes = 0;
            (std::mem::take(&mut nodes.waiting), self.order.nodes())
        };
        self.store_nodes(full)?;
        Ok(name)
    }

    /// Puts nodes, and returns when the device has them.
    fn store_nodes(&self, full: (Vec<(Node, u64)>, Place)) -> Result<(), MoverError> {
        let (nodes, place) = full;
        self.check()?;
        let names: Vec<Name> = nodes.iter().map(|(node, _)| node.name).collect();
        let known = self.session.has(&names)?;
        let (mut seen, mut inline_new) = (HashSet::new(), 0);
        let unknown = nodes.into_iter().zip(known).filter(|(_, known)| !known);
        let nodes: Vec<Node> = unknown
            .filter(|((node, _), _)| seen.insert(node.name))
            .map(|((node, inline), _)| {
                inline_new += inline;
                node
            })
            .collect();
        self.count_new(inline_new);
        if nodes.is_empty() {
            return Ok(());
        }
        self.seal_filling()?;
        place.until_first(|| self.check())?;
        let mut rest = &nodes[..];
        while !rest.is_empty() {
            // One node may be large: a page of entries with big attributes.
            let mut bytes = 0;
            let count = rest
                .iter()
                .take_while(|node| {
                    bytes += node.body.len();
                    bytes <= 4 * NODE_BATCH_BYTES
                })
                .count()
                .max(1);
            let (head, tail) = rest.split_at(count);
            let segment = self.with_sealer(|sealer| sealer.seal_nodes(head))?;
            self.put(self.next.fetch_add(1, Relaxed), Bytes::from(segment))?;
            rest = tail;
        }
        Ok(())
    }

    /// Seals the data segment that is being filled, whatever it holds.
    fn seal_filling(&self) -> Result<(), MoverError> {
        let rest = {
            let mut filling = self.filling.lock();
            let (items, plaintext) = filling.take(Vec::new());
            (items, plaintext, self.order.data())
        };
        if rest.0.is_empty() { Ok(()) } else { self.seal_data(rest) }
    }

    /// Seals what is left and closes the way to the senders; the number of segments made.
    pub(crate) fn finish(&self) -> Result<u64, MoverError> {
        self.seal_filling()?;
        let last = {
            let mut nodes = self.nodes.lock();
            (std::mem::take(&mut nodes.waiting), self.order.nodes())
        };
        if !last.0.is_empty() {
            self.store_nodes(last)?;
        }
        self.close();
        Ok(self.next.load(Relaxed))
    }

    pub(crate) fn close(&self) {
        self.out.lock().take();
    }
}

fn size_of_node(node: &Node) -> usize {
    node.body.len() + 32 * (node.nodes.len() + node.chunks.len())
}

#[cfg(test)]
mod tests {
    use simsim_format::{Content, Entry, EntryKind, Page, Piece, SegmentKind, SegmentView};
    use simsim_model::{CommitReply, ManifestDraft, Secret, SessionError, StoreTerms, Timestamp};

    use super::*;

    /// Knows no name; keeps what came, and takes its time with data. A node that came before something
    /// that it refers to is a failure.
    #[derive(Default)]
    struct Strict {
        held: Mutex<HashSet<Name>>,
        data: AtomicU64,
        nodes: AtomicU64,
    }

    impl BackupSession for Strict {
        fn terms(&self) -> Result<StoreTerms, SessionError> {
            unreachable!("nobody asks")
        }

        fn has(&self, names: &[Name]) -> Result<Vec<bool>, SessionError> {
            Ok(vec![false; names.len()])
        }

        fn put(&self, _: u64, segment: Bytes) -> Result<(), SessionError> {
            let view = SegmentView::parse(segment).unwrap();
            let own: HashSet<Name> = view.items.iter().map(|item| item.name).collect();
            if view.kind == SegmentKind::Data {
                // Whoever does not wait for it comes first now.
                std::thread::sleep(std::time::Duration::from_millis(3));
                self.data.fetch_add(1, Relaxed);
            } else {
                let held = self.held.lock();
                for (_, refs) in view.node_refs() {
                    let early = refs.nodes().chain(refs.chunks());
                    if early.into_iter().any(|name| !own.contains(&name) && !held.contains(&name)) {
                        return Err(SessionError::new(simsim_model::Kind::Invalid, "too early"));
                    }
                }
                self.nodes.fetch_add(1, Relaxed);
            }
            self.held.lock().extend(own);
            Ok(())
        }

        fn commit(&self, _: &ManifestDraft) -> Result<CommitReply, SessionError> {
            unreachable!("nobody commits")
        }
    }

    fn file(number: usize, chunk: Name) -> Entry {
        Entry {
            name: format!("{number:0200}").into_bytes(),
            kind: EntryKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::from_unix_nanos(0),
            ctime: Timestamp::from_unix_nanos(0),
            ino: number as u64,
            dev: 0,
            nlink: 1,
            size: 5,
            flags: 0,
            xattrs: Vec::new(),
            content: Content::Pieces(vec![Piece::Chunk { name: chunk, length: 5 }]),
        }
    }

    /// The reader of a large file sees that its block got no answer, and says so before the worker
    /// tells why.
    #[test]
    fn the_cause_of_a_failure_counts_and_not_the_answer_that_was_missing() {
        let session = Arc::new(Strict::default());
        let key = DomainKey::new(&Secret([7; 32]));
        let progress = Arc::new(Progress::default());
        let (writer, _segments) =
            ChunkWriter::new(session as Arc<_>, key, DomainId([1; 16]), 3, progress);
        writer.fail(MoverError::Lost);
        writer.fail(SessionError::new(simsim_model::Kind::Cancelled, "revoked").into());
        writer.fail(MoverError::Lost);
        assert_eq!(writer.check().unwrap_err().kind(), simsim_model::Kind::Cancelled);
    }

    /// Two threads add chunks, large and small, and the nodes that refer to them; nodes refer to
    /// nodes as well.
    #[test]
    fn a_node_is_put_after_all_that_it_refers_to_was_acknowledged() {
        let session = Arc::new(Strict::default());
        let key = DomainKey::new(&Secret([7; 32]));
        let domain = DomainId([1; 16]);
        let progress = Arc::new(Progress::default());
        let (writer, segments) =
            ChunkWriter::new(Arc::clone(&session) as Arc<_>, key, domain, 3, progress);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| writer.send_all(&segments));
            }
            let add = |thread: usize| {
                for round in 0..300 {
                    let number = thread * 1000 + round;
                    let length = if round % 9 == 0 { 300 << 10 } else { 5 };
                    let content = format!("{number:05}").repeat(length / 5);
                    let chunk = writer.key().chunk_name(content.as_bytes());
                    let range = 0..content.len();
                    writer.store(content.as_bytes(), &[(chunk, range)])?;
                    let entries = (0..64).map(|at| file(number * 64 + at, chunk)).collect();
                    let node = Node::new(writer.key(), &Page::Entries(entries));
                    writer.add_node(node, 0)?;
                }
                Ok::<(), MoverError>(())
            };
            let other = scope.spawn(move || add(1));
            let done = add(0).and(other.join().unwrap()).and_then(|()| writer.finish());
            writer.close();
            done.unwrap();
        });
        writer.check().unwrap();
        let (data, nodes) = (session.data.load(Relaxed), session.nodes.load(Relaxed));
        assert!(data > 4 && nodes > 4, "{data} {nodes}");
    }
}
