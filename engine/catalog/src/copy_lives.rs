//! What stands of a copy beside its row: how long it lives, and what a check of it found. Both outlive a rebuild of
//! the rows; a check counts only for the very copy that it was made of.

use std::collections::HashMap;

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::{Cells, count_cell};
use crate::sql::Session;

/// How long a copy lives, where that is not as its backup says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyLife {
    /// `None`: that of its backup.
    pub pool: Option<String>,
    pub eol_unix_s: Option<i64>,
    /// The migration that said so.
    pub migration: String,
}

/// What a check of one copy found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyCheck {
    pub saveset: SavesetId,
    /// The number of the copy before the check began.
    pub copy: u64,
    pub whole: bool,
}

impl Catalog {
    /// Writes down what a check of copies in a datastore found.
    pub fn keep_copy_checks(
        &self,
        store: StoreId,
        job: u64,
        checks: &[CopyCheck],
        now_unix_ms: i64,
    ) -> Result<(), CatalogError> {
        self.write("keep what a check of copies found", |transaction| {
            for check in checks {
                transaction.execute(
                    "INSERT INTO copy_checks (saveset, store, copy, job, checked_unix_ms, whole)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (saveset, store) DO UPDATE SET copy = excluded.copy,
                         job = excluded.job, checked_unix_ms = excluded.checked_unix_ms,
                         whole = excluded.whole",
                    params![
                        check.saveset.as_bytes(),
                        store.as_bytes(),
                        count_cell(check.copy)?,
                        count_cell(job)?,
                        now_unix_ms,
                        i64::from(check.whole)
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// How long copies live that have that of their own, by saveset and datastore.
    pub fn copy_lives(&self) -> Result<HashMap<(SavesetId, StoreId), CopyLife>, CatalogError> {
        self.read("list how long copies live", copy_lives)
    }
}

pub(crate) fn copy_lives(
    catalog: &Session<'_>,
) -> Result<HashMap<(SavesetId, StoreId), CopyLife>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM copy_lives")?;
    let mut rows = ask.query([])?;
    let mut lives = HashMap::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("copy_lives", row);
        let life = CopyLife {
            pool: cells.get("pool")?,
            eol_unix_s: cells.get("eol_unix_s")?,
            migration: cells.get("migration")?,
        };
        lives.insert((cells.id("saveset")?, cells.id("store")?), life);
    }
    Ok(lives)
}
