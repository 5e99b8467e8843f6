//! Canonical dumps, by which two catalogs are held against each other.
//!
//! One is of everything that derives from manifests, as text, in one order: two catalogs that know
//! the same savesets have the same one, whatever became of their rows on the way. It is how a rebuilt
//! catalog is held against the one that was lost.
//!
//! The other is of every cell of every table, as one hash for each: the sum of the hashes of its rows,
//! so that the order in which a database answers them is nothing to it. It is how a catalog that was
//! moved is held against the one that it came from.

use std::fmt::Write;

use rusqlite::types::Value;
use serde::Serialize;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::savesets::from_row;
use crate::sql::Session;

/// Every table, each after those that it refers to. The history of the schema is each database's own.
pub(crate) const TABLES: &[&str] = &[
    "counters",
    "locations",
    "clients",
    "join_codes",
    "datastores",
    "drive_groups",
    "drives",
    "domains",
    "pools",
    "tasks",
    "commands",
    "jobs",
    "drills",
    "job_problems",
    "job_log",
    "savesets",
    "copies",
    "results",
    "job_totals",
    "audit",
    "audit_head",
    "settings",
    "interfaces",
    "client_choices",
    "replications",
    "migrations",
    "copy_lives",
    "copy_checks",
    "held_locks",
    "tickets",
    "tokens",
    "rates",
    "calendars",
    "schedules",
    "task_groups",
    "task_group_tasks",
    "events",
    "uses",
    "runs",
    "backups",
    "approvals",
    "deletions",
    "identity_providers",
    "users",
    "api_tokens",
    "console_sessions",
    "notifications",
    "outbox",
    "absences",
    "probes",
];

/// What a table holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDump {
    pub table: &'static str,
    pub rows: u64,
    /// Of all cells of all rows, in hexadecimal digits; the order of the rows does not count.
    pub hash: String,
}

impl Catalog {
    /// What every table holds, all of one moment.
    pub fn dump_tables(&self) -> Result<Vec<TableDump>, CatalogError> {
        self.read("dump its tables", |catalog| {
            TABLES.iter().map(|table| dump_table(catalog, table)).collect()
        })
    }

    /// One line for each saveset that is present, ordered by datastore and sequence.
    pub fn dump_savesets(&self) -> Result<String, CatalogError> {
        self.read("dump its savesets", |catalog| {
            let mut ask = catalog.prepare(
                "SELECT * FROM savesets WHERE state = 'present' ORDER BY store, sequence",
            )?;
            let mut rows = ask.query([])?;
            let mut dump = String::new();
            while let Some(row) = rows.next()? {
                let saveset = from_row(&Cells::new("savesets", row))?;
                let base = saveset.base.map_or("-".to_owned(), |base| base.to_string());
                let _ = writeln!(
                    dump,
                    "{} {} {} {} {:?} {:?} {} {base} {} {} {} {} {} {} {} {} {}",
                    saveset.store,
                    saveset.sequence,
                    saveset.saveset,
                    saveset.domain,
                    saveset.client_name,
                    saveset.task_name,
                    saveset.level.as_str(),
                    saveset.scan_started_unix_ns,
                    saveset.committed_unix_ns,
                    saveset.lock_until_unix_s,
                    saveset.files,
                    saveset.dirs,
                    saveset.bytes,
                    saveset.bytes_new,
                    saveset.bytes_stored,
                    saveset.problems,
                );
            }
            Ok(dump)
        })
    }
}

fn dump_table(catalog: &Session<'_>, table: &'static str) -> Result<TableDump, CatalogError> {
    let columns = columns(catalog, table)?;
    let mut ask = catalog.prepare(&format!("SELECT {} FROM {table}", columns.join(", ")))?;
    let mut rows = ask.query([])?;
    let (mut count, mut sum) = (0_u64, [0_u64; 4]);
    while let Some(row) = rows.next()? {
        let mut hasher = blake3::Hasher::new();
        for (at, column) in columns.iter().enumerate() {
            add_cell(&mut hasher, column, &row.get(at)?);
        }
        let hash = hasher.finalize();
        for (lane, bytes) in sum.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
            let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            *lane = lane.wrapping_add(number);
        }
        count += 1;
    }
    let hash = sum.iter().map(|lane| format!("{lane:016x}")).collect();
    Ok(TableDump { table, rows: count, hash })
}

/// A cell with its column and its kind, so that no two rows that differ have the same bytes.
fn add_cell(hasher: &mut blake3::Hasher, column: &str, value: &Value) {
    let (kind, bytes) = match value {
        Value::Null => (0_u8, Vec::new()),
        Value::Integer(number) => (1, number.to_le_bytes().to_vec()),
        Value::Real(number) => (2, number.to_bits().to_le_bytes().to_vec()),
        Value::Text(text) => (3, text.clone().into_bytes()),
        Value::Blob(bytes) => (4, bytes.clone()),
    };
    for part in [column.as_bytes(), &[kind], &bytes] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
}

/// The columns of a table, by name.
pub(crate) fn columns(catalog: &Session<'_>, table: &str) -> Result<Vec<String>, CatalogError> {
    let ask = match catalog {
        Session::Sqlite(_) => "SELECT name FROM pragma_table_info(?1)",
        Session::Postgres(_) => {
            "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = ?1"
        }
    };
    let mut columns: Vec<String> = catalog
        .prepare_cached(ask)?
        .query_map([table], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    columns.sort_unstable();
    Ok(columns)
}
