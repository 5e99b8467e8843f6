//! What tests of several rooms share.
//!
//! Trees: [`nasty_tree`] builds every case that has cost somebody a file, each in a folder named by
//! its failure ID; [`RandomTree`] grows and edits a tree from a seed; [`compare_trees`] says how two
//! trees differ, with a walk of its own that shares no code with the product; [`Scratch`] is a
//! temporary folder that goes away even when it holds paths beyond PATH_MAX or folders without
//! write permission.
//!
//! Faults: [`CutProxy`] cuts, stalls, delays and records TCP connections; [`ChildProcess`] is a
//! process that dies with its test; [`SmallFs`] is a file system that fills up, [`FuseFolder`] one that
//! lies, fails, hangs or folds names as a test wants it.
//!
//! Networks: [`Network`] is a few hosts in namespaces with firewalls between them; [`open_ports`]
//! looks at every port of an address.
//!
//! Honesty: [`skip`] is how a test says that it cannot run here. It is then counted as skipped and
//! never as passed.

mod child_process;
mod compare;
mod compare_content;
mod cut_proxy;
mod fuse_folder;
mod fuse_passthrough;
mod fuzz;
mod holes;
mod long_path;
mod nasty_cases;
mod nasty_tree;
mod network;
mod port_scan;
mod postgres;
mod random_tree;
mod rng;
mod scratch;
mod skip;
mod small_fs;

pub use child_process::ChildProcess;
pub use compare::{Aspects, Difference, What, compare_trees, compare_trees_in};
pub use cut_proxy::{CutProxy, Direction, Plan, free_ports};
pub use fuse_folder::{FuseFolder, Temper};
pub use fuzz::{fuzz, mutate};
pub use holes::punch_hole;
pub use nasty_tree::{LeftOut, NastyTree, Privileges, nasty_tree};
pub use network::{Connection, MIDDLE, Network};
pub use port_scan::open_ports;
pub use postgres::Postgres;
pub use random_tree::{RandomTree, random_tree};
pub use rng::Rng;
pub use scratch::{Scratch, remove_tree};
pub use skip::{has_program, is_root, skip};
pub use small_fs::SmallFs;
