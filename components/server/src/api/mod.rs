//! What the Server can be asked, as plain structs: the command line and the HTTP interface carry
//! them as JSON, one to one.
//!
//! Ids are hexadecimal texts. Instants end in `_unix_ms` (milliseconds since 1970), sizes are
//! bytes. Paths are texts in which every byte that is not printable UTF-8, and the backslash, is
//! written `\xNN`: no name is lost. Fields that a caller leaves out have the default that their
//! documentation names; unknown fields are refused, so that a typing error is never silent.

mod audit;
mod authority;
mod browse;
mod clients;
mod commands;
mod datastores;
mod drills;
mod drive_groups;
mod events;
mod health;
mod identity_providers;
mod interfaces;
mod jobs;
mod keys;
mod lists;
mod lives;
mod locations;
mod migrations;
mod notifications;
mod people;
mod pools;
mod ports;
mod rates;
mod rebuild;
mod replications;
mod report;
mod restore;
mod savesets;
mod schedules;
mod search;
mod sessions;
mod status;
mod streams;
mod tasks;
mod trends;
mod welcome;

pub use audit::*;
pub use authority::*;
pub use browse::*;
pub use clients::*;
pub use commands::*;
pub use datastores::*;
pub use drills::*;
pub use drive_groups::*;
pub use events::*;
pub use health::*;
pub use identity_providers::*;
pub use interfaces::*;
pub use jobs::*;
pub use keys::*;
pub use lists::*;
pub use lives::*;
pub use locations::*;
pub use migrations::*;
pub use notifications::*;
pub use people::*;
pub use pools::*;
pub use ports::*;
pub use rates::*;
pub use rebuild::*;
pub use replications::*;
pub use report::*;
pub use restore::*;
pub use savesets::*;
pub use schedules::*;
pub use search::*;
pub use sessions::*;
pub use status::*;
pub use streams::*;
pub use tasks::*;
pub use trends::*;
pub use welcome::*;
