//! Reading nodes of a saveset: located, fetched by whole segments, opened, kept for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use simsim_format::{DomainKey, Node, Opener, Page, SegmentView};
use simsim_model::{Name, RestoreSession, SegmentPlace, limits};

use crate::MoverError;

/// What opened node segments may take in memory together: 24 of the usual size. The one that was
/// opened last is kept whatever it takes, which its limits bound.
const KEPT_BYTES_MAX: usize = 24 << 20;

/// Nodes by name, through a session.
pub(crate) struct NodeReader {
    session: Arc<dyn RestoreSession>,
    inner: Mutex<Inner>,
}

struct Inner {
    opener: Opener,
    /// Node → where it is: the segment's place and its position there.
    known: HashMap<Name, SegmentPlace>,
    segments: HashMap<SegmentPlace, HashMap<Name, Node>>,
    /// The kept segments, the oldest first, and what each takes.
    order: VecDeque<(SegmentPlace, usize)>,
    kept_bytes: usize,
}

impl NodeReader {
    pub(crate) fn new(session: Arc<dyn RestoreSession>, key: DomainKey) -> Self {
        let inner = Inner {
            opener: Opener::new(key),
            known: HashMap::new(),
            segments: HashMap::new(),
            order: VecDeque::new(),
            kept_bytes: 0,
        };
        Self { session, inner: Mutex::new(inner) }
    }

    /// A node's references and page.
    pub(crate) fn node(&self, name: &Name) -> Result<Node, MoverError> {
        let mut inner = self.inner.lock();
        if let Some(node) = inner.take_known(name) {
            return Ok(node);
        }
        let missing = || MoverError::Missing { what: "the node", name: name.to_string() };
        let place = self
            .session
            .locate(std::slice::from_ref(name))?
            .into_iter()
            .next()
            .flatten()
            .ok_or_else(missing)?;
        let mut place = place;
        loop {
            let read = self.read_at(&mut inner, place, name);
            let error = match read {
                Ok(node) => return Ok(node),
                Err(error @ MoverError::Session(_)) => return Err(error),
                Err(error) => error,
            };
            // Another copy may have it.
            match self.session.elsewhere(std::slice::from_ref(name), place)?.first() {
                Some(Some(other)) => place = *other,
                _ => return Err(error),
            }
        }
    }

    fn read_at(
        &self,
        inner: &mut Inner,
        place: SegmentPlace,
        name: &Name,
    ) -> Result<Node, MoverError> {
        let missing = || MoverError::Missing { what: "the node", name: name.to_string() };
        let bytes = self.session.get(&[place])?.into_iter().next().flatten().ok_or_else(missing)?;
        let view = SegmentView::parse(bytes)?;
        let nodes = inner.opener.open_nodes(&view)?;
        inner.keep(place, nodes);
        inner.take_known(name).ok_or_else(missing)
    }

    pub(crate) fn page(&self, name: &Name) -> Result<Page, MoverError> {
        Ok(self.node(name)?.page()?)
    }

    /// Where chunks or nodes lie, in requests of the permitted size.
    pub(crate) fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, MoverError> {
        let mut places = Vec::with_capacity(names.len());
        for part in names.chunks(limits::NAMES_PER_REQUEST_MAX) {
            places.extend(self.session.locate(part)?);
        }
        Ok(places)
    }
}

impl Inner {
    fn take_known(&self, name: &Name) -> Option<Node> {
        self.segments.get(self.known.get(name)?)?.get(name).cloned()
    }

    fn keep(&mut self, place: SegmentPlace, nodes: Vec<Node>) {
        let bytes: usize = nodes.iter().map(bytes_of).sum();
        while self.kept_bytes + bytes > KEPT_BYTES_MAX {
            let Some((old, bytes)) = self.order.pop_front() else { break };
            self.kept_bytes -= bytes;
            for name in self.segments.remove(&old).into_iter().flat_map(HashMap::into_keys) {
                self.known.remove(&name);
            }
        }
        for node in &nodes {
            self.known.insert(node.name, place);
        }
        if self.segments.insert(place, nodes.into_iter().map(|n| (n.name, n)).collect()).is_none() {
            self.order.push_back((place, bytes));
            self.kept_bytes += bytes;
        }
    }
}

/// What a node takes, with its places in both tables.
fn bytes_of(node: &Node) -> usize {
    const TABLES: usize = 2 * size_of::<(Name, SegmentPlace)>();
    let names = (node.nodes.len() + node.chunks.len()) * size_of::<Name>();
    size_of::<Node>() + TABLES + names + node.body.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use simsim_model::{Kind, SavesetId, Secret, SessionError};

    use super::*;

    struct Nothing;

    impl RestoreSession for Nothing {
        fn manifest(&self, _: SavesetId) -> Result<Bytes, SessionError> {
            Err(SessionError::new(Kind::NotFound, "nothing"))
        }
        fn locate(&self, names: &[Name]) -> Result<Vec<Option<SegmentPlace>>, SessionError> {
            Ok(vec![None; names.len()])
        }
        fn get(&self, places: &[SegmentPlace]) -> Result<Vec<Option<Bytes>>, SessionError> {
            Ok(vec![None; places.len()])
        }
    }

    /// As large as segments may be, or as many as are wanted: what is kept stays below its limit.
    #[test]
    fn what_is_kept_of_opened_segments_is_bounded_in_bytes() {
        let node = |at: u8, bytes| {
            let name = Name([at; 32]);
            Node { name, nodes: Vec::new(), chunks: vec![name], body: vec![at; bytes] }
        };
        let place = |at: u8| SegmentPlace { pack: Name::ZERO, offset: at.into(), length: 1 };
        for (bytes, kept) in [(limits::SEGMENT_PLAIN_BYTES_MAX, 1), (1 << 20, 23), (1 << 10, 60)] {
            let reader = NodeReader::new(Arc::new(Nothing), DomainKey::new(&Secret([9; 32])));
            let mut inner = reader.inner.lock();
            for at in 0..60 {
                inner.keep(place(at), vec![node(at, bytes)]);
                assert!(inner.kept_bytes <= KEPT_BYTES_MAX, "{}", inner.kept_bytes);
                assert!(inner.take_known(&Name([at; 32])).is_some(), "the newest is kept");
            }
            let tables = [inner.segments.len(), inner.order.len(), inner.known.len()];
            assert_eq!(tables, [kept; 3], "segments of {bytes} bytes");
        }
        let reader = NodeReader::new(Arc::new(Nothing), DomainKey::new(&Secret([9; 32])));
        let mut inner = reader.inner.lock();
        inner.keep(place(1), vec![node(1, KEPT_BYTES_MAX)]);
        assert!(inner.take_known(&Name([1; 32])).is_some(), "one that is larger is kept alone");
        inner.keep(place(2), vec![node(2, 1)]);
        assert_eq!(inner.segments.len(), 1);
    }
}
