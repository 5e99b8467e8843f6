//! The suite on PostgreSQL, and what happens to connections and servers.

#![allow(clippy::duplicate_mod, reason = "the suite is made once for each database")]

#[path = "../suite/audit.rs"]
mod audit;
#[path = "../suite/carrying.rs"]
mod carrying;
#[path = "../suite/copies.rs"]
mod copies;
#[path = "../suite/crash.rs"]
mod crash;
#[path = "../suite/drills.rs"]
mod drills;
#[path = "../suite/enrolment.rs"]
mod enrolment;
#[path = "../suite/events.rs"]
mod events;
#[path = "../suite/holders.rs"]
mod holders;
#[path = "../suite/jobs.rs"]
mod jobs;
#[path = "../suite/lives.rs"]
mod lives;
#[path = "../suite/migrations.rs"]
mod migrations;
#[path = "../suite/notices.rs"]
mod notices;
#[path = "../suite/opening.rs"]
mod opening;
#[path = "../suite/prune.rs"]
mod prune;
#[path = "../suite/readers.rs"]
mod readers;
#[path = "../suite/rebuild.rs"]
mod rebuild;
#[path = "../suite/records.rs"]
mod records;
#[path = "../suite/saved.rs"]
mod saved;
#[path = "../suite/tokens.rs"]
mod tokens;
#[path = "../suite/users.rs"]
mod users;

mod cells;
mod connections;
mod fence;
mod moving;
mod reaching;
mod schema;

use simsim_testkit::{Postgres, skip};

use crate::fixture::On;

/// Where the tests of the suite are run: nowhere, and said so, where PostgreSQL is not installed.
fn on() -> Option<On> {
    match Postgres::start() {
        Ok(postgres) => Some(On::Postgres(postgres)),
        Err(why) => {
            skip(&why);
            None
        }
    }
}
