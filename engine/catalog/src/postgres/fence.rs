//! The fence: one Server per catalog, here by the database itself.
//!
//! Two things together, because each alone has a hole:
//!
//! - A *lock* that the writing session holds (`pg_try_advisory_lock`). It ends with the session,
//!   however that ends, and a transaction of that session ends before it; so whoever gets the lock
//!   knows that nothing of its former holder is still being written.
//! - A *count of takings* in table `catalog_fence`. A server whose session ended without its doing
//!   connects anew and gets the lock again; but if the count is not the one that it knows, another
//!   server was here in the meantime, and it must never write again.
//!
//! The table belongs to PostgreSQL alone, so it is no step of the schema, and not part of what moves
//! between databases.

use std::time::{Duration, Instant};

use crate::CatalogError;
use crate::sql::{Optional, Session, SqlError, Wire};

/// Marks the lock as this suite's; the second number tells schemas of one database apart.
const LOCK: &str = "1936943469, hashtext(current_schema())";
/// How long a taking waits for a session that is just ending: a server that was killed and starts
/// again at once.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Takes the lock, waiting a little. `false`: another session holds it.
pub(super) fn lock(wire: &Wire) -> Result<bool, SqlError> {
    let since = Instant::now();
    let ask = format!("SELECT pg_try_advisory_lock({LOCK})");
    loop {
        if Session::Postgres(wire).query_row(&ask, [], |row| row.get(0))? {
            return Ok(true);
        }
        if since.elapsed() >= PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(AGAIN_AFTER);
    }
}

/// Ends what is left of this server's earlier writing session, which the database may not have
/// noticed to be gone. `name` is that of this server's writing sessions and of no other's.
pub(super) fn end_earlier(wire: &Wire, name: &str) -> Result<(), SqlError> {
    let session = Session::Postgres(wire);
    let mut ask = session.prepare_cached(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = ?1 AND pid <> pg_backend_pid() AND usename = current_user",
    )?;
    ask.query_map([name], |row| row.get::<bool>(0))?.try_for_each(|ended| ended.map(drop))
}

/// Makes the table. Within a transaction.
pub(super) fn make(session: &Session<'_>) -> Result<(), SqlError> {
    session.execute_step(
        "CREATE TABLE IF NOT EXISTS catalog_fence (
            one     BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
            taken   BIGINT NOT NULL,
            holder  TEXT   NOT NULL
        );
        INSERT INTO catalog_fence VALUES (1, 0, '') ON CONFLICT DO NOTHING;",
    )
}

/// Counts a taking by the session that has the lock. Returns the count. Within a transaction.
pub(super) fn count(session: &Session<'_>) -> Result<i64, SqlError> {
    session.query_row(
        "UPDATE catalog_fence SET taken = taken + 1,
             holder = CONCAT('process ', CAST(?1 AS TEXT), ' at ',
                 COALESCE(host(inet_client_addr()), 'a socket of its host'))
         WHERE one = 1 RETURNING taken",
        [std::process::id().to_string()],
        |row| row.get(0),
    )
}

/// What the table says: the count, and who took it last.
pub(super) fn last(session: &Session<'_>) -> Result<Option<(i64, String)>, SqlError> {
    let there: bool = session.query_row(
        "SELECT to_regclass(format('%I.catalog_fence', current_schema())) IS NOT NULL",
        [],
        |row| row.get(0),
    )?;
    if !there {
        return Ok(None);
    }
    session
        .query_row("SELECT taken, holder FROM catalog_fence WHERE one = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
}

/// The first question of each transaction that writes: locks the fence's row, so that two of them
/// take turns wherever they come from. Returns the count and the number of the transaction.
pub(super) fn stand(session: &Session<'_>) -> Result<(i64, i64), SqlError> {
    session.query_row(
        "SELECT taken, txid_current() FROM catalog_fence WHERE one = 1 FOR UPDATE",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

pub(super) fn in_use(place: impl ToString, holder: Option<&str>) -> CatalogError {
    let holder = match holder {
        Some(holder) if !holder.is_empty() => format!(" by {holder}"),
        _ => " by another process".to_owned(),
    };
    CatalogError::InUse { place: place.to_string(), holder }
}
