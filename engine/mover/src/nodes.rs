//! Reading nodes of a saveset: located, fetched by whole segments, opened, kept for a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use simsim_format::{DomainKey, Node, Opener, Page, SegmentView};
use simsim_model::{Name, RestoreSession, SegmentPlace, limits};

use crate::MoverError;

/// Opened node segments kept: about 1 MiB each.
const SEGMENTS_KEPT_MAX: usize = 24;

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
    order: VecDeque<SegmentPlace>,
}

impl NodeReader {
    pub(crate) fn new(session: Arc<dyn RestoreSession>, key: DomainKey) -> Self {
        let inner = Inner {
            opener: Opener::new(key),
            known: HashMap::new(),
            segments: HashMap::new(),
            order: VecDeque::new(),
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
        while self.order.len() >= SEGMENTS_KEPT_MAX {
            let Some(old) = self.order.pop_front() else { break };
            for name in self.segments.remove(&old).into_iter().flat_map(HashMap::into_keys) {
                self.known.remove(&name);
            }
        }
        for node in &nodes {
            self.known.insert(node.name, place);
        }
        if self.segments.insert(place, nodes.into_iter().map(|n| (n.name, n)).collect()).is_none() {
            self.order.push_back(place);
        }
    }
}
