//! The schema's history: numbered steps of plain SQL, each applied once, in order.
//!
//! The texts keep to what SQLite and PostgreSQL share; `INTEGER`, `BLOB` and `TEXT` have other words
//! there ([`crate::sql`]). A step that was released is never edited: its hash is kept in
//! `schema_version`, and a catalog whose steps differ from the binary's is refused.

use rusqlite::{Connection, TransactionBehavior, params};

use crate::sql::{Optional, Session};
use crate::{CatalogError, check};

/// One step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub number: i64,
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! step {
    ($number:literal, $digits:literal, $name:literal) => {
        Step {
            number: $number,
            name: $name,
            sql: include_str!(concat!("schema/", $digits, "_", $name, ".sql")),
        }
    };
}

/// All steps, in order; the position of each is its number less one.
pub(crate) const STEPS: &[Step] = &[
    step!(1, "0001", "clients"),
    step!(2, "0002", "datastores"),
    step!(3, "0003", "tasks_and_jobs"),
    step!(4, "0004", "savesets"),
    step!(5, "0005", "audit"),
    step!(6, "0006", "settings"),
    step!(7, "0007", "checked"),
    step!(8, "0008", "interfaces"),
    step!(9, "0009", "access_modes"),
    step!(10, "0010", "replication"),
    step!(11, "0011", "tokens"),
    step!(12, "0012", "rates"),
    step!(13, "0013", "drive_groups"),
    step!(14, "0014", "outbound_codes"),
    step!(15, "0015", "events"),
    step!(16, "0016", "retention"),
    step!(17, "0017", "users"),
    step!(18, "0018", "commands"),
    step!(19, "0019", "drills"),
    step!(20, "0020", "notifications"),
    step!(21, "0021", "migrations"),
    step!(22, "0022", "totals"),
    step!(23, "0023", "ages"),
    step!(24, "0024", "lists"),
    step!(25, "0025", "locks_and_tickets"),
    step!(26, "0026", "identity_providers"),
    step!(27, "0027", "removals"),
    step!(28, "0028", "schedules_of_events"),
];

const VERSION_TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_version (
    step             BIGINT NOT NULL PRIMARY KEY,
    name             TEXT   NOT NULL,
    text_hash        TEXT   NOT NULL,
    applied_unix_ms  BIGINT NOT NULL
)";

/// Brings a file to the last of `steps`, all in one transaction. Returns how many were applied.
pub(crate) fn migrate(
    connection: &mut Connection,
    steps: &[Step],
    now_unix_ms: i64,
) -> Result<usize, CatalogError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let session = Session::Sqlite(&transaction);
    let applied = apply(&session, steps, now_unix_ms)?;
    if let Some(table) = check::orphan(&session)? {
        return Err(CatalogError::invalid(format!(
            "a row of table {table} refers to one that is not there: the catalog was not changed"
        )));
    }
    transaction.commit()?;
    Ok(applied)
}

/// Applies what the database does not have of `steps`, within the caller's transaction. Returns how
/// many were applied.
pub(crate) fn apply(
    session: &Session<'_>,
    steps: &[Step],
    now_unix_ms: i64,
) -> Result<usize, CatalogError> {
    session.execute_step(VERSION_TABLE)?;
    let found: i64 =
        session
            .query_row("SELECT COALESCE(MAX(step), 0) FROM schema_version", [], |row| row.get(0))?;
    let known = steps.last().map_or(0, |step| step.number);
    if found > known {
        return Err(CatalogError::Newer { found, known });
    }
    let mut applied = 0;
    for step in steps {
        let hash = blake3::hash(step.sql.as_bytes()).to_hex();
        let kept: Option<String> = session
            .query_row(
                "SELECT text_hash FROM schema_version WHERE step = ?1",
                [step.number],
                |row| row.get(0),
            )
            .optional()?;
        match kept {
            Some(kept) if kept == hash.as_str() => continue,
            Some(_) => return Err(CatalogError::StepDiffers { step: step.number }),
            None => {}
        }
        session.execute_step(step.sql)?;
        session.execute(
            "INSERT INTO schema_version (step, name, text_hash, applied_unix_ms)
             VALUES (?1, ?2, ?3, ?4)",
            params![step.number, step.name, hash.as_str(), now_unix_ms],
        )?;
        applied += 1;
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Wire;

    /// A job with all that belongs to it, as version 7 had it.
    const FURNISH: &str = "
        INSERT INTO clients (client, name, host_key, addresses, listen_port, roles, platform,
            suite_version, state, enrolled_unix_ms)
            VALUES (1, 'a', 'k', '[]', 7, '[]', '', '', 'enrolled', 1);
        INSERT INTO datastores (store, name, device, path, state, created_unix_ms)
            VALUES (x'01', 'main', 1, x'2f', 'active', 1);
        INSERT INTO jobs (job, kind, task_name, client, client_name, store, request,
            requested_by, state, queued_unix_ms, ended_unix_ms, progress, problems)
            VALUES (9, 'backup', 'home', 1, 'a', x'01', '{}', 'root', 'finished', 1, 2, '{}', 1);
        INSERT INTO job_problems VALUES (9, 0, x'2f', 'note', 'text');
        INSERT INTO job_log VALUES (9, 0, 1, 'info', 'line');
        INSERT INTO results (job, kind, task_name, client_name, outcome, ended_unix_ms, files,
            bytes, bytes_new, bytes_wire, problems)
            VALUES (9, 'backup', 'home', 'a', 'finished', 2, 1, 2, 3, 4, 5);";

    fn empty() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection
    }

    fn tables(connection: &Connection) -> Vec<String> {
        let mut ask = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
            .unwrap();
        ask.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn steps_are_numbered_from_one_without_gaps() {
        for (position, step) in STEPS.iter().enumerate() {
            assert_eq!(step.number, position as i64 + 1, "{}", step.name);
        }
    }

    #[test]
    fn every_older_version_reaches_the_same_schema() {
        let mut fresh = empty();
        assert_eq!(migrate(&mut fresh, STEPS, 1).unwrap(), STEPS.len());
        assert_eq!(migrate(&mut fresh, STEPS, 2).unwrap(), 0);
        for from in 0..STEPS.len() {
            let mut older = empty();
            migrate(&mut older, &STEPS[..from], 1).unwrap();
            assert_eq!(migrate(&mut older, STEPS, 2).unwrap(), STEPS.len() - from);
            assert_eq!(tables(&older), tables(&fresh), "from version {from}");
        }
    }

    /// Tables that are made anew keep every row, and what refers to them still does.
    #[test]
    fn jobs_and_all_that_belongs_to_them_outlive_every_step() {
        for from in 7..STEPS.len() {
            let mut older = empty();
            migrate(&mut older, &STEPS[..from], 1).unwrap();
            older.execute_batch(FURNISH).unwrap();
            migrate(&mut older, STEPS, 2).unwrap();
            for table in ["jobs", "job_problems", "job_log", "results"] {
                let ask = format!("SELECT COUNT(*) FROM {table} WHERE job = 9");
                let rows: i64 = older.query_row(&ask, [], |row| row.get(0)).unwrap();
                assert_eq!(rows, 1, "{table}, from version {from}");
            }
            // A result refers to its job; a job takes its problems along.
            older.execute("DELETE FROM jobs", []).unwrap_err();
            older.execute("DELETE FROM results", []).unwrap();
            older.execute("DELETE FROM jobs", []).unwrap();
            let left: i64 =
                older.query_row("SELECT COUNT(*) FROM job_log", [], |row| row.get(0)).unwrap();
            assert_eq!(left, 0, "from version {from}");
        }
    }

    #[test]
    fn a_schedule_that_its_event_alone_runs_by_becomes_the_events() {
        let mut older = empty();
        migrate(&mut older, &STEPS[..27], 1).unwrap();
        older
            .execute_batch(
                "INSERT INTO schedules VALUES ('own', 'x', 1), ('shared', 'x', 1), ('mine', 'x', 1), ('idle', 'x', 1);
                 INSERT INTO events (name, kind, schedule, enabled, document, created_unix_ms) VALUES
                     ('own', 'backup', 'own', 1, '{}', 1), ('shared', 'backup', 'shared', 1, '{}', 1),
                     ('other', 'backup', 'shared', 1, '{}', 1), ('third', 'backup', 'mine', 1, '{}', 1),
                     ('idle', 'backup', NULL, 1, '{}', 1);",
            )
            .unwrap();
        migrate(&mut older, STEPS, 2).unwrap();
        let mut ask = older.prepare("SELECT name FROM schedules WHERE of_event = 1").unwrap();
        let rows = ask.query_map([], |row| row.get(0)).unwrap();
        let own: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
        assert_eq!(own, ["own"]);
    }

    #[test]
    fn every_older_version_reaches_the_same_schema_in_postgresql_and_keeps_its_rows() {
        let postgres = match simsim_testkit::Postgres::start() {
            Ok(postgres) => postgres,
            Err(why) => return simsim_testkit::skip(&why),
        };
        let url = postgres.url("postgres");
        let wire = Wire::new(postgres::Client::connect(&url, postgres::NoTls).unwrap());
        let session = Session::Postgres(&wire);
        let columns = || -> Vec<String> {
            let ask =
                "SELECT CONCAT(table_name, '.', column_name, ' ', data_type, ' ', is_nullable)
                FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY 1";
            let mut ask = session.prepare_cached(ask).unwrap();
            let rows = ask.query_map([], |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        let mut fresh = Vec::new();
        for from in (0..=STEPS.len()).rev() {
            wire.batch(&format!("CREATE SCHEMA from_{from}; SET search_path = from_{from}"))
                .unwrap();
            wire.begin("").unwrap();
            apply(&session, &STEPS[..from], 1).unwrap();
            if from >= 7 {
                let there = FURNISH
                    .replace("x'01'", "decode('01', 'hex')")
                    .replace("x'2f'", "decode('2f', 'hex')");
                wire.batch(&there).unwrap();
            }
            assert_eq!(apply(&session, STEPS, 2).unwrap(), STEPS.len() - from);
            assert!(wire.commit().unwrap());
            match fresh.is_empty() {
                true => fresh = columns(),
                false => assert_eq!(columns(), fresh, "from version {from}"),
            }
            assert_eq!(check::orphan(&session).unwrap(), None);
            for table in ["jobs", "job_problems", "job_log", "results"] {
                let ask = format!("SELECT COUNT(*) FROM {table}");
                let rows: i64 = session.query_row(&ask, [], |row| row.get(0)).unwrap();
                assert_eq!(rows, i64::from(from >= 7), "{table}, from version {from}");
            }
        }
        assert!(fresh.len() > 150, "{fresh:#?}");
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let mut later = empty();
        migrate(&mut later, STEPS, 1).unwrap();
        let error = migrate(&mut later, &STEPS[..STEPS.len() - 1], 2).unwrap_err();
        assert!(matches!(error, CatalogError::Newer { found, known } if found == known + 1));
        assert_eq!(migrate(&mut later, STEPS, 3).unwrap(), 0);
    }

    #[test]
    fn a_step_that_was_edited_after_its_release_is_refused() {
        let mut connection = empty();
        let first = Step { number: 1, name: "a", sql: "CREATE TABLE a (x BIGINT);" };
        let edited = Step { sql: "CREATE TABLE a (x BIGINT, y BIGINT);", ..first };
        migrate(&mut connection, &[first], 1).unwrap();
        let error = migrate(&mut connection, &[edited], 2).unwrap_err();
        assert!(matches!(error, CatalogError::StepDiffers { step: 1 }));
    }

    #[test]
    fn a_step_that_fails_leaves_nothing_of_itself_or_its_forerunners() {
        let mut connection = empty();
        let good = Step { number: 1, name: "good", sql: "CREATE TABLE a (x BIGINT);" };
        let bad = Step { number: 2, name: "bad", sql: "CREATE TABLE b (x BIGINT); nonsense;" };
        migrate(&mut connection, &[good, bad], 1).unwrap_err();
        assert!(tables(&connection).is_empty());
        migrate(&mut connection, &[good], 1).unwrap();
        assert_eq!(tables(&connection), ["a", "schema_version"]);
    }
}
