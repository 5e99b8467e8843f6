//! The nouns of the suite: what every room may speak of.
//!
//! Nothing here opens a file, a socket or a clock. Identities, the port registry, the limits that
//! every listener holds, error kinds, outcomes, tickets, and the verbs of a chunk session (the
//! traits that let one mover run at the client or at the device).

mod checked;
mod cut;
mod drilled;
pub mod failpoint;
mod ids;
pub mod interface;
mod kind;
pub mod limits;
mod outcome;
mod policy;
pub mod port_plan;
pub mod port_registry;
mod progress;
mod rate;
mod session;
mod ticket;
mod time;

pub use checked::Checked;
pub use cut::CutParameters;
pub use drilled::{DIFFERENCES_KEPT_MAX, Drilled};
pub use ids::{DomainId, Name, ParseIdError, SavesetId, StoreId, TransferId};
pub use kind::Kind;
pub use outcome::{Outcome, PROBLEMS_KEPT_MAX, Problem, ProblemKind, escape_path, unescape_path};
pub use policy::{Level, Overwrite, TargetKind};
pub use progress::{Progress, ProgressSnapshot};
pub use rate::{Rate, RateError};
pub use session::{
    BackupSession, CommitReply, CopySession, ManifestDraft, RestoreSession, SegmentPlace,
    SessionError, StoreTerms,
};
pub use ticket::{Direction, Secret, Ticket};
pub use time::Timestamp;
