//! Questions and the rows that answer them.

use std::cell::{Cell, RefCell};

use rusqlite::types::{FromSql, FromSqlError, Type, Value, ValueRef};
use rusqlite::{CachedStatement, RowIndex};

use super::wire::{PgRow, PgRows, Wire};
use super::{Params, SqlError};

/// A query, ready to be asked.
pub(crate) enum Statement<'s> {
    Sqlite(rusqlite::Statement<'s>),
    SqliteKept(CachedStatement<'s>),
    Postgres { wire: &'s Wire, text: String, streamed: bool },
}

impl Statement<'_> {
    /// Runs one that answers no rows. Returns how many it touched.
    pub(crate) fn execute(&mut self, params: impl Params) -> Result<usize, SqlError> {
        Ok(match self {
            Statement::Sqlite(statement) => statement.execute(&*params.list())?,
            Statement::SqliteKept(statement) => statement.execute(&*params.list())?,
            Statement::Postgres { wire, text, .. } => wire.execute(text, &params.list())?,
        })
    }

    /// Asks it.
    pub(crate) fn query(&mut self, params: impl Params) -> Result<Rows<'_>, SqlError> {
        Ok(match self {
            Statement::Sqlite(statement) => {
                Rows::Sqlite(statement.query(&*params.list())?, Places::default())
            }
            Statement::SqliteKept(statement) => {
                Rows::Sqlite(statement.query(&*params.list())?, Places::default())
            }
            Statement::Postgres { wire, text, streamed } => {
                Rows::Postgres(wire.query(text, &params.list(), *streamed)?)
            }
        })
    }

    /// Asks it and reads every row.
    pub(crate) fn query_map<T>(
        &mut self,
        params: impl Params,
        mut read: impl FnMut(Row<'_>) -> Result<T, SqlError>,
    ) -> Result<std::vec::IntoIter<Result<T, SqlError>>, SqlError> {
        let mut rows = self.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row));
        }
        Ok(all.into_iter())
    }
}

/// Rows, one after the other.
pub(crate) enum Rows<'r> {
    Sqlite(rusqlite::Rows<'r>, Places),
    Postgres(PgRows<'r>),
}

impl Rows<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>, SqlError> {
        Ok(match self {
            Rows::Sqlite(rows, places) => rows.next()?.map(|row| Row::Sqlite(row, places)),
            Rows::Postgres(rows) => rows.next()?.map(Row::Postgres),
        })
    }
}

/// One row. Cells are found by name or by position.
#[derive(Clone, Copy)]
pub(crate) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>, &'r Places),
    Postgres(&'r PgRow),
}

/// Where the columns of an answer stand: each name is looked up among all of them once for all rows.
#[derive(Default)]
pub(crate) struct Places {
    seen: RefCell<Vec<(&'static str, usize)>>,
    /// Rows are read in one order, so this is mostly the next one.
    next: Cell<usize>,
}

impl Places {
    fn of(&self, name: &'static str, row: &rusqlite::Row<'_>) -> Result<usize, rusqlite::Error> {
        let mut seen = self.seen.borrow_mut();
        let from = self.next.get().min(seen.len());
        let (before, after) = seen.split_at(from);
        // The same text in the same place: no need to read it.
        let known = after.iter().chain(before).position(|one| std::ptr::eq(one.0, name));
        let at = match known {
            Some(further) => (from + further) % seen.len(),
            None => {
                seen.push((name, name.idx(row.as_ref())?));
                seen.len() - 1
            }
        };
        self.next.set(at + 1);
        Ok(seen[at].1)
    }
}

/// The name of a column, or its position from 0.
pub(crate) trait Column: Copy {
    fn place(self, row: &rusqlite::Row<'_>, places: &Places) -> Result<usize, rusqlite::Error>;
    fn position(self, row: &PgRow) -> Result<usize, rusqlite::Error>;
}

impl Column for usize {
    fn place(self, _: &rusqlite::Row<'_>, _: &Places) -> Result<usize, rusqlite::Error> {
        Ok(self)
    }

    fn position(self, _: &PgRow) -> Result<usize, rusqlite::Error> {
        Ok(self)
    }
}

impl Column for &'static str {
    fn place(self, row: &rusqlite::Row<'_>, places: &Places) -> Result<usize, rusqlite::Error> {
        places.of(self, row)
    }

    fn position(self, row: &PgRow) -> Result<usize, rusqlite::Error> {
        row.position(self).ok_or_else(|| rusqlite::Error::InvalidColumnName(self.to_owned()))
    }
}

impl Row<'_> {
    /// A cell, as a type that can hold it.
    pub(crate) fn get<T: FromSql>(&self, column: impl Column) -> Result<T, SqlError> {
        match self {
            Row::Sqlite(row, places) => Ok(row.get(column.place(row, places)?)?),
            Row::Postgres(row) => {
                let at = column.position(row)?;
                let value = row.value(at)?;
                Ok(read(at, row.name(at), &value)?)
            }
        }
    }
}

/// Reads a value as `rusqlite` reads its own, with the same words for what does not fit.
fn read<T: FromSql>(at: usize, name: &str, value: &Value) -> Result<T, rusqlite::Error> {
    let cell = ValueRef::from(value);
    T::column_result(cell).map_err(|error| match error {
        FromSqlError::InvalidType => {
            rusqlite::Error::InvalidColumnType(at, name.to_owned(), cell.data_type())
        }
        FromSqlError::OutOfRange(number) => rusqlite::Error::IntegralValueOutOfRange(at, number),
        FromSqlError::InvalidBlobSize { .. } => {
            rusqlite::Error::FromSqlConversionFailure(at, Type::Blob, Box::new(error))
        }
        other => rusqlite::Error::FromSqlConversionFailure(at, cell.data_type(), Box::new(other)),
    })
}
