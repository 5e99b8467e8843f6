//! Moving a catalog from one database to another, in either direction.
//!
//! All tables are copied in one transaction of the target, read of one moment of the source. Then
//! both sides are read again and their dumps compared, and the audit chain of the copy is followed.
//! Only then the source is marked as moved, so that no server opens it by mistake and goes on beside
//! the copy. A move that ends early leaves the source as it was, and the target empty or, after its
//! transaction, whole.

use rusqlite::types::Value;

use crate::catalog::{Catalog, aside};
use crate::dump::{TABLES, TableDump, columns};
use crate::sql::Session;
use crate::{CatalogError, CatalogOptions};

/// Names the place that a catalog was moved to.
pub(crate) const MOVED_TO: &str = "catalog.moved-to";
/// Rows and values that one statement adds: fewer than either database takes.
const BATCH_ROWS: usize = 200;
const BATCH_VALUES: usize = 20_000;

impl Catalog {
    /// Copies everything to a place that is empty or new, holds both against each other, and marks
    /// this catalog as moved: it cannot be opened again. Returns what was copied, by table.
    ///
    /// Errors: those of opening the target; `Invalid` for one that is not empty; `Corrupt` where the
    /// copy is not the same.
    pub fn move_to(&self, target: &CatalogOptions) -> Result<Vec<TableDump>, CatalogError> {
        let there = Catalog::open(target)?;
        aside(|| {
            there.write_here("take over another catalog", |to| {
            for table in TABLES {
                let ask = format!("SELECT EXISTS (SELECT 1 FROM {table})");
                if to.query_row(&ask, [], |row| row.get::<bool>(0))? {
                    return Err(CatalogError::invalid(format!(
                        "{} holds a catalog already (table {table} has rows): move to an empty database",
                        target.place
                    )));
                }
            }
            self.read_here("be copied", |from| {
                TABLES.iter().try_for_each(|table| copy_table(from, to, table))
            })
        })
        })?;
        let (ours, copied) = (self.dump_tables()?, there.dump_tables()?);
        let differs = ours.iter().zip(&copied).find(|(ours, copied)| ours != copied);
        if let Some((ours, _)) = differs {
            return Err(CatalogError::CopyDiffers {
                place: target.place.to_string(),
                what: format!("table {}", ours.table),
            });
        }
        // A chain that was broken before is broken in the same place after.
        if let Some(found) = there.verify_audit(None)?
            && self.verify_audit(None)? != Some(found)
        {
            return Err(CatalogError::CopyDiffers {
                place: target.place.to_string(),
                what: format!("its audit log: {found}"),
            });
        }
        there.check()?;
        self.set_setting(MOVED_TO, target.place.to_string().as_bytes())?;
        Ok(copied)
    }
}

fn copy_table(
    from: &Session<'_>,
    to: &Session<'_>,
    table: &'static str,
) -> Result<(), CatalogError> {
    let columns = columns(from, table)?;
    let width = columns.len().max(1);
    let names = columns.join(", ");
    let marks = format!("({})", vec!["?"; width].join(", "));
    let batch_rows = BATCH_ROWS.min(BATCH_VALUES / width).max(1);
    let mut ask = from.prepare(&format!("SELECT {names} FROM {table}"))?;
    let mut rows = ask.query([])?;
    let mut values: Vec<Value> = Vec::new();
    let add = |values: &mut Vec<Value>| -> Result<(), CatalogError> {
        let rows = vec![marks.as_str(); values.len() / width].join(", ");
        let text = format!("INSERT INTO {table} ({names}) VALUES {rows}");
        to.prepare_cached(&text)?.execute(std::mem::take(values))?;
        Ok(())
    };
    while let Some(row) = rows.next()? {
        for at in 0..width {
            values.push(row.get(at)?);
        }
        if values.len() >= batch_rows * width {
            add(&mut values)?;
        }
    }
    if values.is_empty() { Ok(()) } else { add(&mut values) }
}
