//! Savesets as the catalog knows them: a copy of what their manifests say.

use rusqlite::params;
use rusqlite::types::Value;
use serde::{Deserialize, Serialize};
use simsim_model::{DomainId, Level, Outcome, SavesetId, StoreId};

use crate::backups;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::copies::make_way;
use crate::deletions::{self, STAYS};
use crate::sql::Session;
use crate::{CatalogError, Within};

/// Whether the manifest is where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SavesetState {
    Present,
    /// The datastore does not list it any more.
    Missing,
}

impl SavesetState {
    pub const fn as_str(self) -> &'static str {
        match self {
            SavesetState::Present => "present",
            SavesetState::Missing => "missing",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [SavesetState::Present, SavesetState::Missing].into_iter().find(|s| s.as_str() == text)
    }
}

/// One saveset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saveset {
    pub saveset: SavesetId,
    pub store: StoreId,
    /// Position among all savesets of the datastore: the only order that is trusted.
    pub sequence: u64,
    pub domain: DomainId,
    pub client_name: String,
    /// Empty where the name is sealed with a key that nobody here has.
    pub task_name: String,
    pub level: Level,
    pub base: Option<SavesetId>,
    /// By the client's clock.
    pub scan_started_unix_ns: i64,
    /// By the device's clock.
    pub committed_unix_ns: i64,
    /// It cannot be removed before this second; 0: no lock.
    pub lock_until_unix_s: u64,
    pub files: u64,
    pub dirs: u64,
    pub bytes: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
    pub problems: u64,
    pub state: SavesetState,
}

impl Saveset {
    /// Takes over the names that this one does not know.
    pub(crate) fn keep_names_of(&mut self, there: &Saveset) {
        if self.client_name.is_empty() {
            self.client_name.clone_from(&there.client_name);
        }
        if self.task_name.is_empty() {
            self.task_name.clone_from(&there.task_name);
        }
    }

    /// How the backup ended that made it.
    pub fn outcome(&self) -> Outcome {
        if self.problems == 0 { Outcome::Finished } else { Outcome::FinishedWithErrors }
    }
}

/// Which savesets to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct SavesetFilter {
    pub client_name: Option<String>,
    pub task_name: Option<String>,
    /// Only of these.
    pub within: Option<Within>,
    pub store: Option<StoreId>,
    /// Also those whose manifest is gone without having been deleted.
    pub missing_too: bool,
    /// Also those that were deleted, or are to be.
    pub deleted_too: bool,
    /// 0: all.
    pub limit: u32,
}

impl Catalog {
    /// The saveset that a new backup is compared with, chosen by sequence and never by a clock.
    /// FULL and COPY have none; DIFF goes back to the last FULL, INCR to the last saveset of the
    /// task that is no COPY. Only savesets of the same datastore, domain, client and task count.
    pub fn base_for(
        &self,
        store: StoreId,
        domain: DomainId,
        client_name: &str,
        task_name: &str,
        level: Level,
    ) -> Result<Option<Saveset>, CatalogError> {
        let levels = match level {
            Level::Full | Level::Copy => return Ok(None),
            Level::Diff => "level = 'full'",
            Level::Incr => "level <> 'copy'",
        };
        self.read("choose a base", |catalog| {
            let mut ask = catalog.prepare_cached(&format!(
                "SELECT * FROM savesets WHERE store = ?1 AND domain = ?2 AND client_name = ?3
                     AND task_name = ?4 AND state = 'present' AND {levels} AND {STAYS}
                 ORDER BY sequence DESC LIMIT 1"
            ))?;
            let mut rows =
                ask.query(params![store.as_bytes(), domain.as_bytes(), client_name, task_name])?;
            rows.next()?.map(|row| from_row(&Cells::new("savesets", row))).transpose()
        })
    }

    /// Adds savesets that their datastore has and the catalog did not know, all or none. Rows that
    /// are there are brought to what is given, but keep a name where the given one is empty.
    pub fn add_savesets(&self, savesets: &[Saveset]) -> Result<(), CatalogError> {
        self.write("add savesets", |transaction| {
            for saveset in savesets {
                let mut saveset = saveset.clone();
                if let Some(there) = saveset_by_id(transaction, saveset.saveset)? {
                    saveset.keep_names_of(&there);
                    make_way(transaction, &there, saveset.store)?;
                }
                put_saveset(transaction, &saveset)?;
            }
            Ok(())
        })
    }

    /// One saveset. Errors: `NotFound`.
    pub fn saveset(&self, saveset: SavesetId) -> Result<Saveset, CatalogError> {
        self.read("look up a saveset", |catalog| {
            saveset_by_id(catalog, saveset)?
                .ok_or_else(|| CatalogError::not_found("saveset", saveset))
        })
    }

    /// Savesets whose id begins with these hexadecimal digits, at most three: enough to see that
    /// a beginning is not enough.
    pub fn savesets_beginning(&self, digits: &str) -> Result<Vec<Saveset>, CatalogError> {
        let even = &digits.as_bytes()[..digits.len() & !1];
        let Ok(low) = data_prefix(even) else {
            return Err(CatalogError::invalid(format!("'{digits}' is no beginning of an id")));
        };
        self.read("look up a saveset", |catalog| {
            let mut ask = catalog
                .prepare_cached("SELECT * FROM savesets WHERE saveset >= ?1 ORDER BY saveset")?;
            let mut rows = ask.query([low.as_slice()])?;
            let mut found = Vec::new();
            let wanted = digits.to_ascii_lowercase();
            while let Some(row) = rows.next()? {
                let saveset = from_row(&Cells::new("savesets", row))?;
                let text = saveset.saveset.to_string();
                if text.starts_with(&wanted) {
                    found.push(saveset);
                } else if text.as_bytes().get(..even.len()).is_some_and(|head| {
                    head > wanted.as_bytes().get(..even.len()).unwrap_or_default()
                }) {
                    break;
                }
                if found.len() == 3 {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// Savesets, newest first (by datastore and sequence).
    pub fn savesets(&self, filter: &SavesetFilter) -> Result<Vec<Saveset>, CatalogError> {
        let mut text = "SELECT * FROM savesets WHERE 1 = 1".to_owned();
        let mut values: Vec<Value> = Vec::new();
        if let Some(name) = &filter.client_name {
            text.push_str(" AND client_name = ?");
            values.push(name.clone().into());
        }
        if let Some(name) = &filter.task_name {
            text.push_str(" AND task_name = ?");
            values.push(name.clone().into());
        }
        if let Some(store) = filter.store {
            text.push_str(" AND store = ?");
            values.push(store.as_bytes().to_vec().into());
        }
        if let Some(within) = &filter.within {
            within.add_to(&mut text, &mut values)?;
        }
        // One whose copies only are left is as good as ever.
        text.push_str(&format!(
            " AND ((state = 'present' AND {STAYS})
                OR EXISTS (SELECT 1 FROM copies WHERE copies.saveset = savesets.saveset
                    AND NOT EXISTS (SELECT 1 FROM deletions
                        WHERE deletions.saveset = copies.saveset
                            AND deletions.store = copies.store))"
        ));
        if filter.missing_too {
            text.push_str(&format!(" OR (state = 'missing' AND {STAYS})"));
        }
        if filter.deleted_too {
            text.push_str(&format!(" OR NOT {STAYS}"));
        }
        text.push(')');
        text.push_str(" ORDER BY committed_unix_ns DESC, store, sequence DESC");
        if filter.limit > 0 {
            text.push_str(&format!(" LIMIT {}", filter.limit));
        }
        self.read("list savesets", |catalog| {
            let mut ask = catalog.prepare_cached(&text)?;
            let mut rows = ask.query(values)?;
            let mut savesets = Vec::new();
            while let Some(row) = rows.next()? {
                savesets.push(from_row(&Cells::new("savesets", row))?);
            }
            Ok(savesets)
        })
    }

    /// How many savesets are listed of a datastore, missing ones left out.
    pub fn saveset_count(&self, store: StoreId) -> Result<u64, CatalogError> {
        self.read("count savesets", |catalog| {
            let count: i64 = catalog.query_row(
                "SELECT COUNT(*) FROM savesets WHERE store = ?1 AND state = 'present'",
                [store.as_bytes()],
                |row| row.get(0),
            )?;
            Ok(count.unsigned_abs())
        })
    }

    /// How many savesets lie in a datastore, copies among them.
    pub fn lying_count(&self, store: StoreId) -> Result<u64, CatalogError> {
        self.read("count what lies in a datastore", |catalog| {
            let count: i64 = catalog.query_row(
                "SELECT (SELECT COUNT(*) FROM savesets WHERE store = ?1 AND state = 'present')
                     + (SELECT COUNT(*) FROM copies WHERE store = ?1)",
                [store.as_bytes()],
                |row| row.get(0),
            )?;
            Ok(count.unsigned_abs())
        })
    }

    /// The highest sequence that the catalog has of a datastore; 0: none.
    pub fn last_sequence(&self, store: StoreId) -> Result<u64, CatalogError> {
        self.read("look up a sequence", |catalog| {
            let last: i64 = catalog.query_row(
                "SELECT COALESCE(MAX(sequence), 0) FROM savesets WHERE store = ?1",
                [store.as_bytes()],
                |row| row.get(0),
            )?;
            Ok(last.unsigned_abs())
        })
    }
}

/// The bytes of an even number of hexadecimal digits.
fn data_prefix(digits: &[u8]) -> Result<Vec<u8>, std::num::ParseIntError> {
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16)).collect()
}

/// Writes a row as its manifest says it; one that is there is overwritten.
pub(crate) fn put_saveset(
    transaction: &Session<'_>,
    saveset: &Saveset,
) -> Result<(), CatalogError> {
    transaction.execute(
        "INSERT INTO savesets (saveset, store, sequence, domain, client_name, task_name, level,
             base, scan_started_unix_ns, committed_unix_ns, lock_until_unix_s, files, dirs, bytes,
             bytes_new, bytes_stored, problems, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         ON CONFLICT (saveset) DO UPDATE SET store = excluded.store, sequence = excluded.sequence,
             domain = excluded.domain, client_name = excluded.client_name,
             task_name = excluded.task_name, level = excluded.level, base = excluded.base,
             scan_started_unix_ns = excluded.scan_started_unix_ns,
             committed_unix_ns = excluded.committed_unix_ns,
             lock_until_unix_s = excluded.lock_until_unix_s, files = excluded.files,
             dirs = excluded.dirs, bytes = excluded.bytes, bytes_new = excluded.bytes_new,
             bytes_stored = excluded.bytes_stored, problems = excluded.problems,
             state = excluded.state",
        params![
            saveset.saveset.as_bytes(),
            saveset.store.as_bytes(),
            count_cell(saveset.sequence)?,
            saveset.domain.as_bytes(),
            saveset.client_name,
            saveset.task_name,
            saveset.level.as_str(),
            saveset.base.as_ref().map(SavesetId::as_bytes),
            saveset.scan_started_unix_ns,
            saveset.committed_unix_ns,
            count_cell(saveset.lock_until_unix_s)?,
            count_cell(saveset.files)?,
            count_cell(saveset.dirs)?,
            count_cell(saveset.bytes)?,
            count_cell(saveset.bytes_new)?,
            count_cell(saveset.bytes_stored)?,
            count_cell(saveset.problems)?,
            saveset.state.as_str(),
        ],
    )?;
    if saveset.state == SavesetState::Present {
        deletions::is_there_again(transaction, saveset.saveset, saveset.store)?;
    }
    backups::enter(transaction, saveset, None)
}

pub(crate) fn saveset_by_id(
    catalog: &Session<'_>,
    saveset: SavesetId,
) -> Result<Option<Saveset>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM savesets WHERE saveset = ?1")?;
    let mut rows = ask.query([saveset.as_bytes()])?;
    rows.next()?.map(|row| from_row(&Cells::new("savesets", row))).transpose()
}

pub(crate) fn from_row(cells: &Cells<'_>) -> Result<Saveset, CatalogError> {
    Ok(Saveset {
        saveset: cells.id("saveset")?,
        store: cells.id("store")?,
        sequence: cells.count("sequence")?,
        domain: cells.id("domain")?,
        client_name: cells.get("client_name")?,
        task_name: cells.get("task_name")?,
        level: cells.level("level")?,
        base: cells.id_or_none("base")?,
        scan_started_unix_ns: cells.get("scan_started_unix_ns")?,
        committed_unix_ns: cells.get("committed_unix_ns")?,
        lock_until_unix_s: cells.count("lock_until_unix_s")?,
        files: cells.count("files")?,
        dirs: cells.count("dirs")?,
        bytes: cells.count("bytes")?,
        bytes_new: cells.count("bytes_new")?,
        bytes_stored: cells.count("bytes_stored")?,
        problems: cells.count("problems")?,
        state: cells.word("state", SavesetState::parse)?,
    })
}
