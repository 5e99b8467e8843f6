//! The mover: one pipeline for the way of a byte, in both directions.
//!
//! Backup: walk → read → cut → name → ask → compress → seal → put. Restore: locate → fetch → open
//! → verify name → write. It speaks the verbs of `simsim_model::BackupSession` and
//! `RestoreSession` and knows neither network nor datastore, so it runs at the client
//! (source-side dedup) or at the device (target-side) alike. See `docs/internals/data-path.md`.
//!
//! A copy of a saveset in another datastore goes another way: sealed segments as they are, from
//! verb to verb, without keys (`copy`).

mod backup;
mod build;
mod changes;
mod children;
mod choose;
mod chunks;
mod copy;
mod cutter;
mod error;
mod failover;
mod held;
pub mod look;
mod nodes;
mod order;
mod placing;
mod proof;
mod read;
mod report;
mod restore;
mod sample;
mod stream_in;
mod stream_out;
pub mod tree;
mod verify;
mod whole;

pub use backup::{BackupJob, BackupReport, Base, backup};
pub use changes::{OnChange, changes};
pub use choose::{Chosen, Selection};
pub use copy::{CopyJob, CopyReport, Pace, copy};
pub use cutter::Cutter;
pub use error::MoverError;
pub use failover::{Failover, OpenCopy};
pub use proof::{Proof, prove};
pub use report::OnProblem;
pub use restore::{RestoreJob, RestoreReport, restore};
pub use sample::{SAMPLE_FILES_MAX, Sample, Sampler, can_be_drilled};
pub use stream_in::{backup_stream, stream_name};
pub use stream_out::{StreamFile, StreamReader};
pub use verify::{Verified, VerifyReport, check_segment, verify};
pub use whole::{Covered, WholeReport, whole};
