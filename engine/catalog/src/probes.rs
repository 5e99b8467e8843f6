//! What was found when the ways of the port plan were tried last.

use std::collections::HashMap;

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::Session;

/// One way, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Of the port registry.
    pub row: String,
    /// Who dials.
    pub dialler: String,
    /// Who is dialled.
    pub dialled: String,
    /// Empty: by the names that the host is enrolled with.
    pub interface: String,
    /// A text of the Server's own.
    pub found: String,
    pub tried_unix_ms: i64,
    /// When it was open last.
    pub good_unix_ms: Option<i64>,
}

impl Catalog {
    /// Every way that was tried, in the order of the registry's rows and of names.
    pub fn probes(&self) -> Result<Vec<Probe>, CatalogError> {
        self.read("list probes", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT row, dialler, dialled, interface, found, tried_unix_ms, good_unix_ms FROM probes
                 ORDER BY row, dialler, dialled, interface",
            )?;
            let mut rows = ask.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let cells = Cells::new("probes", row);
                found.push(Probe {
                    row: cells.get("row")?,
                    dialler: cells.get("dialler")?,
                    dialled: cells.get("dialled")?,
                    interface: cells.get("interface")?,
                    found: cells.get("found")?,
                    tried_unix_ms: cells.get("tried_unix_ms")?,
                    good_unix_ms: cells.get("good_unix_ms")?,
                });
            }
            Ok(found)
        })
    }

    /// Keeps what was found. A way that is not open now keeps when it was open last. `everything`: ways that
    /// are not among these are none of the plan any more.
    pub fn note_probes(&self, probes: &[Probe], everything: bool) -> Result<(), CatalogError> {
        self.write("keep probes", |transaction| {
            let known = known(transaction)?;
            if everything {
                transaction.execute("DELETE FROM probes", [])?;
            }
            for one in probes {
                let way = (
                    one.row.clone(),
                    one.dialler.clone(),
                    one.dialled.clone(),
                    one.interface.clone(),
                );
                let good = one.good_unix_ms.or_else(|| known.get(&way).copied().flatten());
                transaction.execute(
                    "INSERT INTO probes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (row, dialler, dialled, interface) DO UPDATE SET
                         found = excluded.found, tried_unix_ms = excluded.tried_unix_ms,
                         good_unix_ms = excluded.good_unix_ms",
                    params![way.0, way.1, way.2, way.3, one.found, one.tried_unix_ms, good],
                )?;
            }
            Ok(())
        })
    }
}

type Way = (String, String, String, String);

fn known(transaction: &Session<'_>) -> Result<HashMap<Way, Option<i64>>, CatalogError> {
    let mut ask = transaction
        .prepare_cached("SELECT row, dialler, dialled, interface, good_unix_ms FROM probes")?;
    let mut rows = ask.query([])?;
    let mut known = HashMap::new();
    while let Some(row) = rows.next()? {
        let cells = Cells::new("probes", row);
        let way = (
            cells.get("row")?,
            cells.get("dialler")?,
            cells.get("dialled")?,
            cells.get("interface")?,
        );
        known.insert(way, cells.get("good_unix_ms")?);
    }
    Ok(known)
}
