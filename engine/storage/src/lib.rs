//! Objects at rest: named byte strings that are written once, read often and deleted.
//!
//! [`Storage`] is the whole contract between a datastore and what lies under it. A key is a
//! relative path of plain components (`packs/3f/3f…`). Objects appear complete or not at all:
//! they are written under a temporary name, flushed, renamed without replacing anything, and
//! their folder is flushed, before any call answers. A write or flush that failed ends its
//! object; it is never tried again on the same file, because a later flush may claim success
//! for data that is lost (PWR05).
//!
//! [`LocalStorage`] is a folder, [`OverlayStorage`] one that is read and never written, and
//! [`BoundedStorage`] answers in time whatever lies below it. [`fault`] holds implementations that fail on purpose, and a disk
//! in memory that can show every state a power cut could leave. [`conformance`] is the suite that
//! each implementation must pass.

mod bounded;
pub mod conformance;
mod error;
pub mod fault;
mod fitness;
mod folders;
mod key;
mod local;
mod local_writer;
mod overlay;
mod read_files;
mod storage;

pub use bounded::BoundedStorage;
pub use error::StorageError;
pub use local::LocalStorage;
pub use overlay::OverlayStorage;
pub use storage::{Lock, Object, ObjectWriter, Objects, Storage, Subject};
