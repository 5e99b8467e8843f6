//! A catalog as a stream of pieces, of one moment: out of one database, and into an empty one.
//!
//! ```text
//! table: JSON {"table": …, "columns": […]}
//! rows:  rows of that table; of each cell a tag u8 (0 null, 1 integer, 2 real, 3 text, 4 blob), then
//!        8 bytes, or u32 bytes and the bytes
//! ```
//! What is taken in is of the schema of its time: the target is brought to that one first, and to the
//! present one when everything is in. All of it is one transaction: a stream that breaks off, or is found
//! wrong at its end, leaves no row.

use rusqlite::types::Value;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, CatalogOptions};
use crate::dump::{TABLES, columns};
use crate::migrations::STEPS;
use crate::settings::put_setting;
use crate::sql::Session;
use crate::{CatalogError, moving};

/// Rows are given in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;

/// A piece of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogPiece {
    Table(Vec<u8>),
    Rows(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heading {
    table: String,
    columns: Vec<String>,
}

impl Catalog {
    /// The last step of the schema that this version knows, and that an open catalog has.
    pub fn schema_step() -> i64 {
        STEPS.last().map_or(0, |step| step.number)
    }

    /// Gives everything, as of one moment, piece by piece. Not on a thread that drives an asynchronous
    /// runtime.
    pub fn carry_out(
        &self,
        give: &mut dyn FnMut(CatalogPiece) -> Result<(), CatalogError>,
    ) -> Result<(), CatalogError> {
        self.read_here("be backed up", |catalog| {
            TABLES.iter().try_for_each(|table| give_table(catalog, table, give))
        })
    }

    /// Makes a catalog of what another one gave when its schema was at `step`, in a place that is empty
    /// or new, and keeps `settings` with it. `next` answers piece after piece, and `None` only when
    /// everything was right. Answers the catalog, at the present schema, and how many rows it took. Not on
    /// a thread that drives an asynchronous runtime.
    ///
    /// Errors: those of opening, and of `next`; `Invalid` for a place that is not empty or a stream of a
    /// later version; `Corrupt` for pieces that are none.
    pub fn carry_in(
        options: &CatalogOptions,
        step: i64,
        settings: &[(&str, Vec<u8>)],
        next: &mut dyn FnMut() -> Result<Option<CatalogPiece>, CatalogError>,
    ) -> Result<(Self, u64), CatalogError> {
        let known = Self::schema_step();
        let steps = usize::try_from(step).ok().and_then(|step| STEPS.get(..step));
        let steps = steps.ok_or(CatalogError::Newer { found: step, known })?;
        let rows = {
            let catalog = Self::open_at(options, steps)?;
            let mut begun = false;
            catalog.write_here("take a catalog in", |to| {
                if std::mem::replace(&mut begun, true) {
                    return Err(CatalogError::invalid(
                        "another session worked in the same database meanwhile: begin anew",
                    ));
                }
                let rows = take_all(to, &options.place.to_string(), next)?;
                for (name, value) in settings {
                    put_setting(to, name, value)?;
                }
                to.execute("DELETE FROM settings WHERE name = ?1", [moving::MOVED_TO])?;
                Ok(rows)
            })?
        };
        Ok((Self::open(options)?, rows))
    }
}

fn give_table(
    from: &Session<'_>,
    table: &'static str,
    give: &mut dyn FnMut(CatalogPiece) -> Result<(), CatalogError>,
) -> Result<(), CatalogError> {
    let columns = columns(from, table)?;
    let mut ask = from.prepare(&format!("SELECT {} FROM {table}", columns.join(", ")))?;
    let width = columns.len();
    let heading = Heading { table: table.to_owned(), columns };
    let text =
        serde_json::to_vec(&heading).map_err(|error| CatalogError::invalid(error.to_string()))?;
    give(CatalogPiece::Table(text))?;
    let mut rows = ask.query([])?;
    let mut piece = Vec::new();
    while let Some(row) = rows.next()? {
        for at in 0..width {
            put_cell(&mut piece, &row.get(at)?);
        }
        if piece.len() >= PIECE_BYTES {
            give(CatalogPiece::Rows(std::mem::take(&mut piece)))?;
        }
    }
    if piece.is_empty() { Ok(()) } else { give(CatalogPiece::Rows(piece)) }
}

fn put_cell(out: &mut Vec<u8>, value: &Value) {
    let (tag, bytes): (u8, &[u8]) = match value {
        Value::Null => return out.push(0),
        Value::Integer(number) => {
            out.push(1);
            return out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Real(number) => {
            out.push(2);
            return out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::Text(text) => (3, text.as_bytes()),
        Value::Blob(bytes) => (4, bytes),
    };
    out.push(tag);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn take_all(
    to: &Session<'_>,
    place: &str,
    next: &mut dyn FnMut() -> Result<Option<CatalogPiece>, CatalogError>,
) -> Result<u64, CatalogError> {
    let mut open: Option<(String, usize)> = None;
    let mut taken = Vec::new();
    let mut count = 0;
    while let Some(piece) = next()? {
        match piece {
            CatalogPiece::Table(text) => {
                let heading: Heading =
                    serde_json::from_slice(&text).map_err(|_| wrong("a table's heading"))?;
                let table = TABLES.iter().copied().find(|table| *table == heading.table);
                let table = table.ok_or_else(|| wrong("a table that no catalog has"))?;
                if taken.contains(&table) {
                    return Err(wrong("a table that comes twice"));
                }
                taken.push(table);
                let there = columns(to, table)?;
                // The names become part of a statement: only those of the schema do.
                if there != heading.columns {
                    return Err(wrong("a table with other columns than it had"));
                }
                let ask = format!("SELECT EXISTS (SELECT 1 FROM {table})");
                if to.query_row(&ask, [], |row| row.get::<bool>(0))? {
                    return Err(CatalogError::invalid(format!(
                        "{place} holds a catalog already (table {table} has rows): name an empty database"
                    )));
                }
                let marks = vec!["?"; there.len()].join(", ");
                let names = there.join(", ");
                let add = format!("INSERT INTO {table} ({names}) VALUES ({marks})");
                open = Some((add, there.len()));
            }
            CatalogPiece::Rows(bytes) => {
                let (add, width) = open.as_ref().ok_or_else(|| wrong("rows of no table"))?;
                let mut add = to.prepare_cached(add)?;
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    let row: Option<Vec<Value>> = (0..*width).map(|_| cell(&mut rest)).collect();
                    add.execute(row.ok_or_else(|| wrong("a row that ends too early"))?)?;
                    count += 1;
                }
            }
        }
    }
    Ok(count)
}

fn cell(rest: &mut &[u8]) -> Option<Value> {
    fn eight(rest: &mut &[u8]) -> Option<[u8; 8]> {
        let (head, tail) = rest.split_first_chunk::<8>()?;
        *rest = tail;
        Some(*head)
    }
    fn bytes(rest: &mut &[u8]) -> Option<Vec<u8>> {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (bytes, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        *rest = tail;
        Some(bytes.to_vec())
    }
    let (tag, tail) = rest.split_first()?;
    *rest = tail;
    Some(match tag {
        0 => Value::Null,
        1 => Value::Integer(i64::from_le_bytes(eight(rest)?)),
        2 => Value::Real(f64::from_bits(u64::from_le_bytes(eight(rest)?))),
        3 => Value::Text(String::from_utf8(bytes(rest)?).ok()?),
        4 => Value::Blob(bytes(rest)?),
        _ => return None,
    })
}

fn wrong(what: &'static str) -> CatalogError {
    CatalogError::NoCatalog { what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CatalogPlace;

    fn options(folder: &std::path::Path) -> CatalogOptions {
        let place = CatalogPlace::File(folder.join("catalog.db"));
        CatalogOptions { place, audit_key: [7; 32], now_unix_ms: 1 }
    }

    #[test]
    fn what_went_out_at_an_earlier_step_comes_in_and_is_brought_to_the_present_one() {
        let folder = |_| tempfile::tempdir().unwrap();
        for step in [6, 9, 14, STEPS.len() - 1] {
            let (here, there) = (folder(0), folder(1));
            let mut pieces = Vec::new();
            {
                let old = Catalog::open_at(&options(here.path()), &STEPS[..step]).unwrap();
                old.set_setting("kept", b"yes").unwrap();
                let give = &mut |piece| {
                    pieces.push(piece);
                    Ok(())
                };
                let tables = ["clients", "tasks", "settings"];
                let given = old.read_here("be tested", |catalog| {
                    tables.iter().try_for_each(|table| give_table(catalog, table, give))
                });
                given.unwrap();
            }
            let mut pieces = pieces.into_iter();
            let at = step as i64;
            let next = &mut || Ok(pieces.next());
            let (catalog, rows) = Catalog::carry_in(&options(there.path()), at, &[], next).unwrap();
            assert_eq!(rows, 1, "step {step}");
            assert_eq!(catalog.setting("kept").unwrap().as_deref(), Some(b"yes".as_slice()));
            // The present schema: every table is there.
            assert_eq!(catalog.dump_tables().unwrap().len(), TABLES.len());
        }
    }
}
