//! The backup of the server itself, and the server that comes back from one.
//!
//! ```text
//! kept      which files of the state folder go along, and how they come back
//! head      what people see of a backup before it is used
//! write     the stream: head, sealed files, catalog
//! read      the same on its way back, into a catalog that nobody works with yet
//! after     what a recovered server does differently: nothing that could do harm
//! twin      another server of this identity
//! setting_up  the task and the event that every server gets once it has a kit and a datastore
//! ```
//! A self-backup is a saveset like any other, of a task whose one source is the server itself: it has
//! a job, a drive, a pool, copies, and is verified. `docs/decisions/0027-a-server-backs-itself-up.md`.

mod after;
mod head;
mod kept;
mod read;
mod setting_up;
mod twin;
mod write;

pub use head::{DatastoreHead, SelfBackupHead};
pub use kept::KeptFile;
pub use read::{RecoverInto, Recovered, SelfBackup};

pub(crate) use after::{doubt_after, look_again, recovery};
pub(crate) use setting_up::{
    back_up_now, let_old_kit_go, newest_self_backup, self_backup_warning, set_up,
};
pub(crate) use twin::ask_witness;
pub(crate) use write::{ServerStream, stream_of};

use simsim_model::TargetKind;

use crate::api::TaskOptions;

/// The one source of a task that backs the server up, and the name of the file in its savesets: by it
/// they are found without a catalog.
pub const SELF_BACKUP_SOURCE: &str = "simsim-server.backup";

/// Does a task back the server itself up?
pub(crate) fn is_self_backup(kind: TargetKind, options: &TaskOptions) -> bool {
    kind == TargetKind::Stream && options.self_backup
}
