//! Sessions: browsers in which a user is logged in. They outlive a restart of the Server. A session's
//! secret has 256 random bits and is kept as a hash, as the one of an API token.

use rusqlite::params;

use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::Session;
use crate::users::{account_of, logged_in, user_by_name};
use crate::{CatalogError, User, identity_providers};

/// A use is written down at most this often.
const USED_INTERVAL_MS: i64 = 60_000;

/// A session. Whether it is still good, its caller judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSession {
    pub user: String,
    /// From where the user logged in.
    pub address: String,
    pub created_unix_ms: i64,
    /// The last use, to the minute.
    pub used_unix_ms: i64,
}

const COLUMNS: &str = "users.name AS user_name, address,
    console_sessions.created_unix_ms AS created_unix_ms, used_unix_ms
    FROM console_sessions JOIN users ON users.account = console_sessions.account";

/// By what somebody proves to be this user, and whether anybody may.
fn is_as_seen(now: &User, seen: &User) -> bool {
    !now.disabled
        && now.created_unix_ms == seen.created_unix_ms
        && now.password_hash == seen.password_hash
        && now.totp_sealed == seen.totp_sealed
        && (&now.provider, &now.subject) == (&seen.provider, &seen.subject)
}

fn add(
    transaction: &Session<'_>,
    secret_hash: &[u8; 32],
    new: &ConsoleSession,
    most: u32,
) -> Result<(), CatalogError> {
    let account = account_of(transaction, &new.user)?;
    transaction.execute(
        "DELETE FROM console_sessions WHERE account = ?1 AND secret_hash NOT IN
             (SELECT secret_hash FROM console_sessions WHERE account = ?1
              ORDER BY used_unix_ms DESC, secret_hash LIMIT ?2)",
        params![account, most.saturating_sub(1)],
    )?;
    transaction.execute(
        "INSERT INTO console_sessions (secret_hash, account, address, created_unix_ms,
             used_unix_ms)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![secret_hash, account, new.address, new.created_unix_ms, new.used_unix_ms],
    )?;
    Ok(())
}

impl Catalog {
    /// Keeps a new session of a user, where the user has less than `most`; else the one that was
    /// used longest ago makes way. Errors: `NotFound` without such a user.
    pub fn add_console_session(
        &self,
        secret_hash: &[u8; 32],
        new: &ConsoleSession,
        most: u32,
    ) -> Result<(), CatalogError> {
        self.write("keep a session", |transaction| add(transaction, secret_hash, new, most))
    }

    /// Notes a good log-in, with the time step of its one-time password where there was one, and keeps its session.
    /// `seen`: the user, as whoever proved to be it was looked at. Answers false, and does nothing, where that step was
    /// taken before, and where the user has another password or second proof by now, is disabled or another one of that
    /// name, or the identity provider is off: a log-in that was under way does not outlive what shuts it out. Errors:
    /// `NotFound`.
    pub fn begin_console_session(
        &self,
        seen: &User,
        totp_step: Option<i64>,
        secret_hash: &[u8; 32],
        new: &ConsoleSession,
        most: u32,
    ) -> Result<bool, CatalogError> {
        self.write("begin a session", |transaction| {
            if !is_as_seen(&user_by_name(transaction, &seen.name)?, seen) {
                return Ok(false);
            }
            if let Some(provider) = &seen.provider
                && !identity_providers::there(transaction, provider)?.enabled
            {
                return Ok(false);
            }
            let good = logged_in(transaction, &seen.name, totp_step, new.created_unix_ms)?;
            if good {
                add(transaction, secret_hash, new, most)?;
            }
            Ok(good)
        })
    }

    /// The session with this hash; `None`: there is none.
    pub fn console_session(&self, hash: &[u8; 32]) -> Result<Option<ConsoleSession>, CatalogError> {
        self.read("look up a session", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} WHERE secret_hash = ?1"))?;
            let mut rows = ask.query([hash])?;
            rows.next()?.map(|row| from_row(&Cells::new("console_sessions", row))).transpose()
        })
    }

    /// All sessions with the hashes of their secrets, those that were used last first.
    pub fn console_sessions(&self) -> Result<Vec<([u8; 32], ConsoleSession)>, CatalogError> {
        self.read("list sessions", |catalog| {
            let mut ask = catalog.prepare_cached(&format!(
                "SELECT secret_hash, {COLUMNS} ORDER BY used_unix_ms DESC, secret_hash"
            ))?;
            let mut rows = ask.query([])?;
            let mut sessions = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("console_sessions", row);
                sessions.push((cells.get("secret_hash")?, from_row(&cells)?));
            }
            Ok(sessions)
        })
    }

    /// Writes down that a session is used.
    pub fn console_session_is_used(
        &self,
        hash: &[u8; 32],
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("note the use of a session", |transaction| {
            transaction.execute(
                "UPDATE console_sessions SET used_unix_ms = ?2
                 WHERE secret_hash = ?1 AND used_unix_ms <= ?3",
                params![hash, now_unix_ms, now_unix_ms - USED_INTERVAL_MS],
            )?;
            Ok(())
        })
    }

    /// Ends a session; one that is not there has ended before.
    pub fn end_console_session(&self, hash: &[u8; 32]) -> Result<(), CatalogError> {
        self.write("end a session", |transaction| {
            transaction.execute("DELETE FROM console_sessions WHERE secret_hash = ?1", [hash])?;
            Ok(())
        })
    }

    /// Ends all sessions of a user, and says how many. Errors: `NotFound` without such a user.
    pub fn end_console_sessions(&self, user: &str) -> Result<u64, CatalogError> {
        self.write("end a user's sessions", |transaction| {
            let account = account_of(transaction, user)?;
            let gone = transaction
                .execute("DELETE FROM console_sessions WHERE account = ?1", params![account])?;
            Ok(gone as u64)
        })
    }

    /// Removes sessions that were not used since, or began before.
    pub fn forget_console_sessions(
        &self,
        used_before_unix_ms: i64,
        created_before_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("forget sessions", |transaction| {
            transaction.execute(
                "DELETE FROM console_sessions WHERE used_unix_ms < ?1 OR created_unix_ms < ?2",
                params![used_before_unix_ms, created_before_unix_ms],
            )?;
            Ok(())
        })
    }
}

fn from_row(cells: &Cells<'_>) -> Result<ConsoleSession, CatalogError> {
    Ok(ConsoleSession {
        user: cells.get("user_name")?,
        address: cells.get("address")?,
        created_unix_ms: cells.get("created_unix_ms")?,
        used_unix_ms: cells.get("used_unix_ms")?,
    })
}
