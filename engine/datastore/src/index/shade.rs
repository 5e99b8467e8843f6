//! What a collection of garbage has found dead, while it runs: no dedup hit for those who come later.
//!
//! Sessions that opened before keep what they were told, and are waited for. See
//! `docs/internals/garbage-collection.md`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use simsim_format::SegmentKind;
use simsim_model::{DomainId, Name, SegmentPlace};

use crate::sync::RwLock;

/// Nodes by name and domain: each owner names by a key of his own, and whoever chooses names freely must
/// not be able to pass for another's.
pub(crate) type NodeSet = HashSet<(DomainId, Name)>;

pub(crate) struct Shade {
    /// Sessions of this epoch and later ones do not see what is dead.
    pub(crate) epoch: AtomicU64,
    /// Packs that were there when the marking began. Of others nothing is dead.
    pub(crate) packs: HashSet<Name>,
    pub(crate) verdict: RwLock<Verdict>,
}

/// What lives and what does not; grows on the side of life only.
#[derive(Default)]
pub(crate) struct Verdict {
    pub(crate) live_nodes: NodeSet,
    /// Data segments without a live chunk in packs that are to go, and how many names the index has of
    /// each. Which nodes are dead, their names tell.
    pub(crate) dead_segments: HashMap<(Name, u64), u32>,
    /// Segments of which all that lives lies, readable, somewhere else too, and stays there.
    pub(crate) redundant: HashSet<(Name, u64)>,
    /// Packs that go: whatever lives in them lies elsewhere too.
    pub(crate) doomed: BTreeSet<Name>,
}

impl Shade {
    /// Is this place of a name none to rely on?
    pub(crate) fn hides(
        &self,
        domain: DomainId,
        name: Name,
        place: &SegmentPlace,
        kind: SegmentKind,
    ) -> bool {
        let verdict = self.verdict.read();
        if verdict.doomed.contains(&place.pack) {
            return true;
        }
        match kind {
            SegmentKind::Nodes => {
                self.packs.contains(&place.pack) && !verdict.live_nodes.contains(&(domain, name))
            }
            _ => verdict.dead_segments.contains_key(&(place.pack, place.offset)),
        }
    }

    pub(crate) fn is_seen_in(&self, epoch: u64) -> bool {
        self.epoch.load(Ordering::Acquire) <= epoch
    }

    pub(crate) fn dooms(&self, pack: Name) -> bool {
        self.verdict.read().doomed.contains(&pack)
    }
}
