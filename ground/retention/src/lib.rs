//! How long savesets live: what keeps each of them, and what may go.
//!
//! A [`Policy`] belongs to a media pool: EOL in days, and keep rules (the newest seven, one of each of the
//! last fourteen days …). Several of them together keep what any of them keeps. [`decide`] looks at all
//! savesets at once and gives each a [`Verdict`]: kept, with every reason, or expired. It sorts by what
//! the *server* stamped, so nothing that a client says of its time, and no flood of backups that a client
//! asks for, pushes anything out; it never leaves a task without a restorable saveset unless a second
//! person approved; and while the clock is in doubt nothing expires.
//!
//! [`simulate`] says beforehand what another policy would let go, and [`adopt`] refuses one that would
//! leave a task with nothing. [`explain`] tells a person why a saveset is still there, in whole
//! sentences.
//!
//! Every saveset is complete, so none depends on another: which one was the base of which does not
//! matter here. Nothing here deletes anything, reads a clock or stores a row. Rules, text forms and
//! examples: `docs/reference/retention.md`.

mod change;
mod decide;
mod explain;
mod lock;
mod policy;
mod rules;
mod saveset;

pub use change::{Approval, ApprovalError, Loss, Refusal, Simulation, adopt, simulate};
pub use decide::{ClockReading, Decision, Doubt, EolOf, Verdict, Why, decide};
pub use explain::explain;
pub use lock::{LockError, extend_lock};
pub use policy::{Counting, DAYS_MAX, KEEP_MAX, Policies, Policy, Rule};
pub use saveset::{Check, MadeFor, Saveset};
