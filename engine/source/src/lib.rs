//! Reading a file system, and writing one back.
//!
//! Backup begins here and restore ends here. [`FsSource`] walks the chosen paths in one strict
//! order, with a few threads that list directories ahead; the mover takes [`Item`]s from it and
//! reads content through the held parent directory ([`Place`]), never through a path from the
//! root, so that a path longer than `PATH_MAX` or a component that someone swaps does no harm.
//! [`FsSink`] writes a tree back beneath one held directory, and [`compare`] says whether two
//! trees are the same in everything a restore promises. `docs/internals/source.md` has the
//! reasons.

mod ahead;
mod beneath;
mod compare;
mod content;
mod error;
mod filter;
mod fs_source;
mod held;
mod listing;
mod sink;
mod stat;
mod walk;
mod wanted;
mod xattr;

pub use beneath::{Beneath, Spot};
pub use compare::{Difference, compare, compare_without_owners};
pub use error::{SinkError, SourceError};
pub use fs_source::{FsSource, WalkOptions};
pub use sink::{Created, DirHandle, FileWriter, FsSink, Kept, LinkTarget, Placed, SinkOptions};
pub use stat::{Stat, StatKind};
pub use walk::{Content, Details, Found, Item, Place, Source};
