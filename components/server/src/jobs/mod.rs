//! Jobs: from the wish to the saveset row.
//!
//! ```text
//! wish ─► queue ─► drive has a place ─► ticket ─► device expects the transfer ─► client works
//!                                                                                     │
//!  audit ◄─ result, saveset row ◄─ manifest, asked of the device ◄─ the client's word ◄┘
//! ```
//! What the Server believes of a backup is the manifest that the *device* shows, not the client's
//! word. While a client is silent its job waits, says so, and in the end fails; a job that was
//! running when the Server ended is asked for when it starts again.
//!
//! | lock | held for |
//! |---|---|
//! | `running` in [`Jobs`] | looking a running job up, adding or removing one; never across a wait |

mod announce;
mod backup;
mod clock_watch;
mod command;
mod device_call;
mod drill;
mod finish;
mod long_call;
mod migrate;
mod places;
mod queue;
mod replicate;
mod restore;
mod running;
mod transfer;
mod ways;
mod wish;

pub(crate) use announce::Announcer;
pub use announce::{JobEvent, JobEventKind};
pub(crate) use command::command_job;
pub(crate) use drill::{check_options, drill_job};
pub(crate) use finish::saveset_of;
pub(crate) use long_call::CallEnd;
pub(crate) use migrate::{Candidates, fits, migration_job};
pub(crate) use places::{Paused, QueueRules};
pub(crate) use queue::Jobs;
pub(crate) use replicate::is_about;
pub(crate) use running::Running;
pub(crate) use transfer::{
    BackupGrant, DEVICE_PATIENCE, Granted, TransferWish, address_towards, device_addresses,
    forget_ticket, grant, grant_restore, revoke, withdraw_transfer,
};
pub(crate) use ways::{Choice, DeviceDoors};
pub(crate) use wish::{
    BackupWish, CollectWish, DrillWish, HealWish, ReadWish, ReplicateWish, RestoreWish, ScrubWish,
    VerifyWish, Wish, backup_of, paths_of, whole_datastore,
};
