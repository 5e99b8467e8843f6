//! The search index: which files were in which savesets, over all savesets of all clients, without a row
//! for each version of each file.
//!
//! A cache beside the catalog: everything in it is in the savesets, and whoever deletes it loses time only. What
//! differs between a saveset and the one before it in its *strand* (the savesets of one task in one domain) becomes a
//! *run*: sorted, written once, checked by checksums. Runs are merged in the background. The *book* says
//! which runs and savesets count; it is replaced as a whole, and so a crash leaves the state before or after.
//! Formats, byte by byte: `docs/format/search-index.md`; why so: decision 32.

mod block;
mod book;
mod chapter;
mod cursor;
mod error;
mod head;
mod history;
mod index;
mod merge;
mod pattern;
mod query;
mod record;
mod run;
mod run_writer;
mod update;
mod walk;

pub use book::{Book, IndexedSaveset, Strand};
pub use cursor::PageMark;
pub use error::SearchError;
pub use history::{FolderEntry, FolderPage, Span};
pub use index::{Figures, Index, Snapshot};
pub use pattern::Pattern;
pub use query::{Hit, Page, Query};
pub use record::{EntryKind, Version};
pub use update::Update;
