//! Copies of savesets in other datastores than the one of their row.
//!
//! One backup has one row, whatever number of datastores it lies in. The row is that of the datastore
//! where its domain is at home; where that one is not known yet, or is gone with its catalog, of any.

use rusqlite::params;
use simsim_model::{SavesetId, StoreId};

use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, count_cell};
use crate::deletions;
use crate::domains;
use crate::savesets::{self, put_saveset, saveset_by_id};
use crate::sql::{Optional, Session};
use crate::{CatalogError, Domain, Saveset, SavesetState};

/// A copy of a saveset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavesetCopy {
    pub saveset: SavesetId,
    pub store: StoreId,
    /// Position among all savesets of that datastore.
    pub sequence: u64,
    /// Of this listing: a copy that is deleted and made again has another one.
    pub number: u64,
}

impl Catalog {
    /// Adds copies that a datastore has and the catalog did not know, as rows of that datastore. A
    /// saveset that has no row yet is listed by its copy.
    pub fn add_copies(&self, copies: &[Saveset]) -> Result<(), CatalogError> {
        self.write("add copies of savesets", |transaction| {
            copies.iter().try_for_each(|copy| add_copy(transaction, copy))
        })
    }

    /// Brings the copies in a datastore to what its manifests say: `copies` is *all* of them.
    pub fn rebuild_copies(&self, store: StoreId, copies: &[Saveset]) -> Result<(), CatalogError> {
        self.write("rebuild its copies", |transaction| {
            transaction.execute("DELETE FROM copies WHERE store = ?1", [store.as_bytes()])?;
            copies.iter().try_for_each(|copy| add_copy(transaction, copy))
        })
    }

    /// Where else a saveset lies.
    pub fn copies_of(&self, saveset: SavesetId) -> Result<Vec<SavesetCopy>, CatalogError> {
        self.read("list copies", |catalog| copies_of(catalog, saveset))
    }

    /// Every copy, by saveset.
    pub fn copies(&self) -> Result<Vec<SavesetCopy>, CatalogError> {
        self.read("list copies", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT * FROM copies ORDER BY saveset, store")?;
            let mut rows = ask.query([])?;
            let mut copies = Vec::new();
            while let Some(row) = rows.next()? {
                copies.push(from_row(&Cells::new("copies", row))?);
            }
            Ok(copies)
        })
    }

    /// Savesets that lie in a datastore, by their row or as a copy, with their sequence number there,
    /// in its order. Those that are to be deleted there are left out.
    pub fn savesets_in(&self, store: StoreId) -> Result<Vec<(u64, Saveset)>, CatalogError> {
        self.read("list savesets of a datastore", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT savesets.*, copies.sequence AS there FROM savesets
                     JOIN copies ON copies.saveset = savesets.saveset AND copies.store = ?1
                     WHERE NOT EXISTS (SELECT 1 FROM deletions
                         WHERE deletions.saveset = savesets.saveset AND deletions.store = ?1)
                 UNION ALL
                 SELECT savesets.*, savesets.sequence AS there FROM savesets
                     WHERE store = ?1 AND state = 'present'
                     AND NOT EXISTS (SELECT 1 FROM deletions
                         WHERE deletions.saveset = savesets.saveset AND deletions.store = ?1)
                 ORDER BY there",
            )?;
            let mut rows = ask.query([store.as_bytes()])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("savesets", row);
                found.push((cells.count("there")?, savesets::from_row(&cells)?));
            }
            Ok(found)
        })
    }

    /// Domains whose savesets lie in a datastore: those at home there, and those of copies.
    pub fn domains_in(&self, store: StoreId) -> Result<Vec<Domain>, CatalogError> {
        self.read("list domains of a datastore", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT * FROM domains WHERE store = ?1 OR domain IN (
                     SELECT savesets.domain FROM copies
                     JOIN savesets ON savesets.saveset = copies.saveset WHERE copies.store = ?1)
                 ORDER BY created_unix_ms, domain",
            )?;
            let mut rows = ask.query([store.as_bytes()])?;
            let mut found: Vec<Domain> = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(domains::from_row(&Cells::new("domains", row))?);
            }
            Ok(found)
        })
    }
}

fn copies_of(catalog: &Session<'_>, saveset: SavesetId) -> Result<Vec<SavesetCopy>, CatalogError> {
    let mut ask =
        catalog.prepare_cached("SELECT * FROM copies WHERE saveset = ?1 ORDER BY store")?;
    let mut rows = ask.query([saveset.as_bytes()])?;
    let mut copies = Vec::new();
    while let Some(row) = rows.next()? {
        copies.push(from_row(&Cells::new("copies", row))?);
    }
    Ok(copies)
}

fn add_copy(transaction: &Session<'_>, copy: &Saveset) -> Result<(), CatalogError> {
    match saveset_by_id(transaction, copy.saveset)? {
        Some(there) if there.store != copy.store => {
            if there.domain != copy.domain {
                return Err(CatalogError::invalid(format!(
                    "the copy of saveset {} is of another domain than the saveset",
                    copy.saveset
                )));
            }
            put_copy(transaction, copy.saveset, copy.store, copy.sequence)
        }
        there => {
            let mut row = Saveset { state: SavesetState::Present, ..copy.clone() };
            if let Some(there) = there {
                row.keep_names_of(&there);
            }
            put_saveset(transaction, &row)
        }
    }
}

fn put_copy(
    transaction: &Session<'_>,
    saveset: SavesetId,
    store: StoreId,
    sequence: u64,
) -> Result<(), CatalogError> {
    let sequence = count_cell(sequence)?;
    let known: Option<i64> = transaction
        .query_row(
            "SELECT sequence FROM copies WHERE saveset = ?1 AND store = ?2",
            params![saveset.as_bytes(), store.as_bytes()],
            |row| row.get(0),
        )
        .optional()?;
    // At another place of the datastore's order it is another copy: what was proven of the former one is
    // not proven of it.
    if known != Some(sequence) {
        let number = next_number(transaction, "copy")?;
        transaction.execute(
            "INSERT INTO copies (saveset, store, sequence, number, after_job)
             VALUES (?1, ?2, ?3, ?4, COALESCE((SELECT last_value FROM counters WHERE name = 'job'), 0))
             ON CONFLICT (saveset, store) DO UPDATE SET sequence = excluded.sequence,
                 number = excluded.number, after_job = excluded.after_job",
            params![saveset.as_bytes(), store.as_bytes(), sequence, number],
        )?;
    }
    deletions::is_there_again(transaction, saveset, store)
}

/// The row of a saveset moves to the datastore where it is at home; where it was becomes a copy.
pub(crate) fn make_way(
    transaction: &Session<'_>,
    there: &Saveset,
    home: StoreId,
) -> Result<(), CatalogError> {
    if there.store == home {
        return Ok(());
    }
    if there.state == SavesetState::Present {
        put_copy(transaction, there.saveset, there.store, there.sequence)?;
    }
    transaction.execute(
        "DELETE FROM copies WHERE saveset = ?1 AND store = ?2",
        params![there.saveset.as_bytes(), home.as_bytes()],
    )?;
    Ok(())
}

fn from_row(cells: &Cells<'_>) -> Result<SavesetCopy, CatalogError> {
    Ok(SavesetCopy {
        saveset: cells.id("saveset")?,
        store: cells.id("store")?,
        sequence: cells.count("sequence")?,
        number: cells.count("number")?,
    })
}
