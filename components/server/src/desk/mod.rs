//! The desk: where verbs are asked, by subject. Each checks the right, writes down what changes
//! something, and only then does it.

mod answer;
mod approvals;
mod audit;
mod authority;
mod browse;
mod clients;
mod commands;
mod datastores;
mod drills;
mod drive_groups;
mod events;
mod interfaces;
mod jobs;
mod join;
mod keys;
mod lives;
mod locations;
mod needed;
mod notifications;
mod people;
mod pools;
mod ports;
mod probe;
mod queue;
mod rates;
mod rebuild;
mod replications;
mod restore;
mod retention;
mod savesets;
mod schedules;
mod search;
mod status;
mod streams;
mod tasks;

pub(crate) use answer::check_request;
pub use answer::{Answer, VERBS};
pub use jobs::JobFollower;
pub use needed::right_needed;
pub(crate) use ports::{ftp_range, https_port, remember as remember_ports};
pub(crate) use probe::Finding as ProbeFound;
pub(crate) use tasks::options_of;
