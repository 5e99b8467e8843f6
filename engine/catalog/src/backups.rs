//! What bears on how long a backup lives and stands in no manifest: the server's stamp and count, its
//! pool, its own EOL, a lock that was extended, a legal hold.
//!
//! A backup has one row, whatever number of copies there are. It comes with the first row of a
//! saveset. The server stamps what its own job made; what it finds in a datastore, as after the loss of
//! a catalog, bears the stamp of the device that committed it.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::CatalogError;
use crate::catalog::next_number;
use crate::savesets::Saveset;
use crate::sql::{Optional, Session};

/// Who wanted a backup made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeFor {
    /// An event, or a person at the server.
    Server,
    /// The owner of a client, or a tool with an access token: as many as they like.
    Owner,
}

impl MadeFor {
    /// By the name of the principal who asked for the job.
    fn of_requester(requested_by: &str) -> Self {
        let outside = ["token:", "client:"].iter().any(|kind| requested_by.starts_with(kind));
        if outside { MadeFor::Owner } else { MadeFor::Server }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            MadeFor::Server => "server",
            MadeFor::Owner => "owner",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [MadeFor::Server, MadeFor::Owner].into_iter().find(|it| it.as_str() == text)
    }
}

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who set it.
    pub by: String,
    pub why: String,
    pub since_unix_ms: i64,
}

/// Gives a backup its number and its stamp, unless it has them. `made_at_unix_ms`: a job of this
/// server made it, and that ends now.
pub(crate) fn enter(
    transaction: &Session<'_>,
    saveset: &Saveset,
    made_at_unix_ms: Option<i64>,
) -> Result<(), CatalogError> {
    let id = saveset.saveset.as_bytes();
    let known: Option<i64> = transaction
        .query_row("SELECT number FROM backups WHERE saveset = ?1", [id], |row| row.get(0))
        .optional()?;
    if known.is_some() {
        return Ok(());
    }
    // The job that made it, if this catalog knows it.
    let job: Option<(Option<String>, String)> = transaction
        .query_row(
            "SELECT pool, requested_by FROM jobs WHERE saveset = ?1 AND kind = 'backup'
             ORDER BY job DESC LIMIT 1",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let (pool, requested_by) = job.unwrap_or_default();
    // It may have been removed since, with the consent of whoever removed it.
    let pool: Option<String> = transaction
        .query_row("SELECT name FROM pools WHERE name = ?1", [&pool], |row| row.get(0))
        .optional()?;
    let stamped = made_at_unix_ms.unwrap_or(saveset.committed_unix_ns.div_euclid(1_000_000));
    transaction.execute(
        "INSERT INTO backups (saveset, number, stamped_unix_ms, found, made_for, pool,
             lock_until_unix_s)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
        params![
            id,
            next_number(transaction, "backup")?,
            stamped,
            i64::from(made_at_unix_ms.is_none()),
            MadeFor::of_requester(&requested_by).as_str(),
            pool
        ],
    )?;
    Ok(())
}
