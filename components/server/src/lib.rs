//! The Server: catalog, queue, nodes, keys, audit. It starts every job and stands on the way of no
//! byte: it reserves a drive, tells device and client over their control channels what to do,
//! waits, asks the device for the manifest, and writes the row.
//!
//! [`Server::start`] opens `<state>/server` (`catalog.db`, three copies of `master.key`,
//! `identity`, `audit.head`), dials every enrolled host and picks up the jobs that ran when the
//! Server ended last. From then on everything is asked through the verbs of [`Server`], with the
//! structs of [`api`]; [`Server::answer`] is the same by name and JSON. On its own host's control
//! listener the Server is the [`simsim_control::VerbHandler`] for hosts that join.
//!
//! | room | does |
//! |---|---|
//! | `desk` | answers verbs: checks the right, writes down, does |
//! | `jobs` | queue, tickets, long calls seen through silence, the end of a job |
//! | `scheduler` | what runs by which schedule, and what the end of a job starts |
//! | `streams` | raw streams of other people's tools: tokens, tickets, their jobs |
//! | `nodes` | keeps every enrolled host reached |
//! | `asks` | what clients ask on behalf of their owners |
//! | `keys` | master key, domain keys, recovery kit |
//! | `authority` | the suite's certificate authority, for the tools of others, and its rotation |
//! | `certificates` | which host has which certificate, and when it gets another one |
//! | `rates` | how fast devices let data go, by this host's clock |
//! | `recovery` | the backup of the server itself, and coming back from it |
//! | `reconcile` | looks after a device each time it is reached |
//! | `retention` | what keeps savesets, what lets them go, and telling devices so |
//! | `health` | when a task is green, and what is missing of it since when |
//! | `drills` | the signed evidence of restore drills |
//! | `people` | users, sessions, API tokens: who asks |
//! | `rest` | resources: the verbs as HTTP knows things, and their document |
//! | `rights` | who may do what; default deny |
//! | `search` | keeps the search index up to date |
//! | [`look`] | what is seen of a saveset whose tree is open |

pub mod api;
mod asks;
mod audit_head;
mod authority;
mod books;
mod catalogs;
mod certificates;
mod clock;
mod config;
mod copies;
mod desk;
mod drills;
mod error;
mod health;
mod house;
mod jobs;
mod keys;
pub mod look;
mod metrics;
mod nodes;
mod notices;
mod people;
mod prune;
mod rates;
mod readiness;
mod reconcile;
mod recovery;
mod report;
mod rest;
mod retention;
mod rights;
mod scheduler;
mod search;
mod server;
mod streams;
mod wake;
mod way;

pub use catalogs::{CatalogMoved, move_catalog};
pub use config::ServerConfig;
pub use desk::{Answer, Download, JobFollower, VERBS, check_request, right_needed};
pub use error::ServerError;
pub use jobs::{JobEvent, JobEventKind};
pub use people::{Begun, Granted, Known, LedAway, Role, SignInAnswer, SignInRefusal, Unknown};
pub use prune::KeepConfig;
pub use recovery::{
    DatastoreHead, KeptFile, RecoverInto, Recovered, SELF_BACKUP_SOURCE, SelfBackup, SelfBackupHead,
};
pub use rights::{Grant, Object, Principal, Right};
pub use server::{Server, StartOptions, open_identity};
