//! The catalog: the Server's database, on SQLite or on PostgreSQL.
//!
//! It knows which clients are enrolled, what is to be saved and where to, which jobs ran, and
//! which savesets came of them. It holds no content of any file, and no key in clear: sealed
//! bytes come in and go out as they are, and the key that opens them lies outside.
//!
//! What a saveset row says derives from the saveset's manifest, so a lost catalog can be made
//! again from the datastores ([`Catalog::rebuild_savesets`]). What cannot be derived (clients,
//! tasks, audit) is why the catalog is itself worth a backup.
//!
//! | what | on SQLite | on PostgreSQL |
//! |---|---|---|
//! | one Server per catalog | a lock on `catalog.lock`, owned by the open file: `fence` | a lock of the writing session and a count of takings: `postgres::fence` |
//! | one writer | a mutex around the one writing connection: `connections` | the same, and a lock on the fence's row in each transaction: `postgres::connections` |
//! | readers beside it | a few reading connections; each read sees one moment (WAL) | the same (`REPEATABLE READ`) |
//! | an acknowledged write is durable | `synchronous=FULL`: the log is flushed at each commit | `synchronous_commit` is never off |
//! | a connection that is lost | there is none | an error `Unreachable`, nothing half done, and the next call connects anew |
//!
//! and on both: a job's state is never unclear ([`JobState`], the only way from one state to
//! another), and nobody edits history ([`Catalog::verify_audit`], a chain of keyed hashes).
//!
//! Each query stands once, over the seam in `sql`. All calls block; an asynchronous caller runs them
//! on a thread for blocking work. Times come from the caller. SQL stands in this crate only.

mod access_mode;
mod api_tokens;
mod approvals;
mod audit;
mod backups;
mod carrying;
mod catalog;
mod cells;
mod check;
mod clients;
mod commands;
mod connections;
mod console_sessions;
mod copies;
mod copy_lives;
mod damaged;
mod datastores;
mod deletions;
mod domains;
mod drills;
mod drive_groups;
mod drives;
mod dump;
mod error;
mod events;
mod fence;
mod held_locks;
mod identity_providers;
mod interfaces;
mod job;
mod job_limits;
mod job_log;
mod job_state;
mod jobs;
mod join_codes;
mod lives;
mod locations;
mod migration;
mod migrations;
mod moving;
mod notifications;
mod outbox;
mod pools;
mod postgres;
mod probes;
mod prune;
mod rates;
mod rebuild;
mod replications;
mod results;
mod runs;
mod saved;
mod savesets;
mod schedules;
mod settings;
mod spans;
mod sql;
mod task_groups;
mod tasks;
mod tickets;
mod tokens;
mod trends;
mod users;
mod uses;
mod within;

pub use access_mode::AccessMode;
pub use api_tokens::{ApiToken, NewApiToken};
pub use approvals::{Approval, ApprovalEnd, ApprovalState, NewApproval};
pub use audit::{AuditBreak, AuditEntry, AuditHead, AuditRow};
pub use backups::{Hold, MadeFor};
pub use carrying::CatalogPiece;
pub use catalog::{Catalog, CatalogOptions, CatalogPlace};
pub use clients::{Client, ClientId, ClientState, NewClient, NodeFacts};
pub use commands::{Command, NewCommand};
pub use console_sessions::ConsoleSession;
pub use copies::SavesetCopy;
pub use copy_lives::{CopyCheck, CopyLife};
pub use damaged::DamagedSaveset;
pub use datastores::{Datastore, DatastoreState, StoreNames};
pub use deletions::{Deletion, DeletionStage, NewDeletion, Telling, Told};
pub use domains::{Domain, KeyHolder};
pub use drills::{Drill, DrillFilter};
pub use drive_groups::DriveGroup;
pub use drives::Drive;
pub use dump::TableDump;
pub use error::CatalogError;
pub use events::{EventRow, NewEvent};
pub use held_locks::HeldLock;
pub use identity_providers::{IdentityProvider, NewIdentity, NewProvider, ProviderChange};
pub use job::{
    Job, JobEnd, JobError, JobFilter, JobKind, JobStart, NO_STORE, NewJob, RANK_FIRST, Waiting,
};
pub use job_limits::JobLimits;
pub use job_log::{LOG_LINES_KEPT_MAX, LogLine, Severity};
pub use job_state::JobState;
pub use join_codes::{JoinCode, WRONG_ATTEMPTS_MAX};
pub use lives::{CLOCK, LastCheck, Life, LifeBooks, LifeChange};
pub use locations::{ClientPlaces, Location, Places};
pub use migration::Migration;
pub use notifications::{Absence, NewNotification, NewSecret, Notification};
pub use outbox::{Message, MessageState, NOTICES_MAX, NoticeRound, Told as NoticeTold};
pub use pools::{DEFAULT_POOL, Pool};
pub use postgres::PostgresPlace;
pub use probes::Probe;
pub use prune::{KeptSince, Pruned};
pub use rates::{RateFor, RateRow};
pub use rebuild::RebuildReport;
pub use replications::Replication;
pub use results::{JobResultRow, JobTotal};
pub use runs::{JobBeside, NewRun, Round, Run, RunBeside, RunFate, RunFilter};
pub use saved::{Lag, LastEnd, Saved, SavedTask, StoredIn};
pub use savesets::{Saveset, SavesetFilter, SavesetState};
pub use schedules::{NamedText, OwnSchedule, Put};
pub use sql::SqlError;
pub use task_groups::TaskGroup;
pub use tasks::{Task, TaskId, TaskSettings};
pub use tokens::{NewToken, Token, TokenAllows};
pub use trends::{DayAdded, DayOutcome};
pub use users::User;
pub use uses::{DATASTORE_OR_TASK, Use};
pub use within::Within;
