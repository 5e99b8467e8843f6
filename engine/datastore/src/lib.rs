//! A datastore: savesets with deduplication on any [`simsim_storage::Storage`].
//!
//! ```text
//! store.1 .2 .3          root object, three copies            docs/format/datastore-layout.md
//! generation.N           fencing epoch, raised at each open
//! lock                   held while open
//! packs/xx/<name>        segments, and a footer that lists them
//! index/<n>.run          name → place; a cache               docs/format/index.md
//! manifests/<saveset>    the commit points
//! domains/<domain>.1-.3  wrapped keys
//! quarantine             what failed a check; no dedup hit
//! tombstones.1 .2 .3     what was deleted, though packs tell of it
//! locks.1 .2 .3          locks that were extended, and what is known of the time
//! set-aside/<hash>       what a repair wrote over, and where it lay
//! reserve                given back when the volume is full
//! ```
//! The way to a durable saveset is one line: packs, then index, then fence, then manifest, then
//! the answer. Everything but packs and key slots can be rebuilt from the packs.
//!
//! An invariant carries all dedup answers: *what a durable node refers to is durable*. A node
//! enters a pack only when all it refers to lies before it in this session's packs or in the
//! index, and a session's packs become durable in order. So a name found in the index stands for
//! a whole tree, also when the session that wrote it never committed.
//!
//! Locks are listed in `docs/internals/locking.md`.

mod delete;
mod epochs;
mod error;
mod fence;
mod gc;
mod index;
mod locks;
mod manifests;
mod mend;
#[cfg(test)]
mod model;
mod open;
mod pack_table;
mod pack_writer;
mod quarantine;
mod read_session;
mod rebuild;
mod reread;
mod room;
mod root;
mod scrub;
mod set_aside;
mod slots;
mod state;
mod sync;
mod tombstones;
mod verify;
mod write_session;

pub use delete::CLOCKS_APART_MAX_S;
pub use error::DatastoreError;
pub use gc::{CollectOptions, CollectProgress, CollectReport, CollectStage};
pub use mend::MendReport;
pub use open::{CreateOptions, Datastore, OpenOptions};
pub use read_session::ReadSession;
pub use rebuild::RebuildReport;
pub use room::{
    NAME_BYTES, NAMES_OWN, NAMES_SHARED, Room, WAITING_BYTES_MAX, WAITING_OF_ONE_BYTES_MAX,
};
pub use scrub::{CheckedUntil, ScrubBudget};
pub use state::DatastoreState;
pub use verify::{Damage, SegmentCheck, VerifyProgress, VerifyReport};
pub use write_session::{SessionOptions, WriteSession};

/// The index alone, for measurements on synthetic data.
#[doc(hidden)]
pub mod measure {
    use std::sync::Arc;

    use simsim_model::StoreId;
    use simsim_storage::Storage;

    use crate::DatastoreError;
    pub use crate::index::{Index, IndexSegment, Merger};

    /// Opens an index as a datastore does.
    pub fn open(
        storage: Arc<dyn Storage>,
        store: StoreId,
        filter_bytes_max: u64,
    ) -> Result<Index, DatastoreError> {
        Ok(Index::open(storage, store, filter_bytes_max, Arc::default())?.0)
    }
}
