//! The seam between the queries and the database below them.
//!
//! The rooms of this crate write each query once, in SQL that SQLite and PostgreSQL both
//! understand, with `?1` for what is bound. A [`Session`] is one transaction on one of the two; it
//! answers [`Rows`], whose cells are read as the types of `rusqlite` in both cases. What differs is
//! levelled out below, in one place each:
//!
//! | differs | levelled in |
//! |---|---|
//! | `?1` and `$1`; `BLOB`, `INTEGER`, `TEXT` in a schema step | `dialect` |
//! | text that holds NUL, which PostgreSQL refuses | `dialect` |
//! | how a value is bound and read | `wire` |
//! | the words for what went wrong | `error`, and [`crate::CatalogError`] |
//!
//! There is no second copy of a query, and no query is put together from parts by a library.

mod dialect;
mod error;
mod rows;
mod wire;

pub(crate) use error::Optional;
pub use error::SqlError;
pub(crate) use rows::{Row, Statement};
pub(crate) use wire::Wire;

use rusqlite::ToSql;

/// One transaction, on either database.
pub(crate) enum Session<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a Wire),
}

/// What is bound to `?1`, `?2`, … of a statement: an array, `params![…]`, or a list of values.
pub(crate) trait Params {
    fn list(&self) -> Vec<&dyn ToSql>;
}

impl Params for [&dyn ToSql; 0] {
    fn list(&self) -> Vec<&dyn ToSql> {
        Vec::new()
    }
}

macro_rules! arrays {
    ($($length:literal)*) => {$(
        impl<T: ToSql> Params for [T; $length] {
            fn list(&self) -> Vec<&dyn ToSql> {
                self.iter().map(|value| value as &dyn ToSql).collect()
            }
        }
    )*};
}

arrays!(1 2 3 4);

impl Params for &[&dyn ToSql] {
    fn list(&self) -> Vec<&dyn ToSql> {
        self.to_vec()
    }
}

impl Params for Vec<rusqlite::types::Value> {
    fn list(&self) -> Vec<&dyn ToSql> {
        self.iter().map(|value| value as &dyn ToSql).collect()
    }
}

impl Session<'_> {
    /// Runs a statement that answers no rows. Returns how many it touched.
    pub(crate) fn execute(&self, text: &str, params: impl Params) -> Result<usize, SqlError> {
        match self {
            Session::Sqlite(connection) => Ok(connection.execute(text, &*params.list())?),
            Session::Postgres(wire) => wire.execute(text, &params.list()),
        }
    }

    /// The first row that a query answers. Errors: [`SqlError::is_no_row`] where there is none.
    pub(crate) fn query_row<T>(
        &self,
        text: &str,
        params: impl Params,
        read: impl FnOnce(Row<'_>) -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let mut ask = match self {
            Session::Sqlite(connection) => Statement::Sqlite(connection.prepare(text)?),
            Session::Postgres(wire) => {
                Statement::Postgres { wire, text: text.to_owned(), streamed: false }
            }
        };
        let mut rows = ask.query(params)?;
        match rows.next()? {
            Some(row) => read(row),
            None => Err(SqlError::no_row()),
        }
    }

    /// A query that is asked often and answers rows that memory holds at once.
    pub(crate) fn prepare_cached(&self, text: &str) -> Result<Statement<'_>, SqlError> {
        Ok(match self {
            Session::Sqlite(connection) => Statement::SqliteKept(connection.prepare_cached(text)?),
            Session::Postgres(wire) => {
                Statement::Postgres { wire, text: text.to_owned(), streamed: false }
            }
        })
    }

    /// A query that may answer more rows than memory should hold: they come a few at a time.
    pub(crate) fn prepare(&self, text: &str) -> Result<Statement<'_>, SqlError> {
        Ok(match self {
            Session::Sqlite(connection) => Statement::Sqlite(connection.prepare(text)?),
            Session::Postgres(wire) => {
                Statement::Postgres { wire, text: text.to_owned(), streamed: true }
            }
        })
    }

    /// Runs the statements of a schema step.
    pub(crate) fn execute_step(&self, text: &str) -> Result<(), SqlError> {
        match self {
            Session::Sqlite(connection) => Ok(connection.execute_batch(text)?),
            Session::Postgres(wire) => wire.execute_step(text),
        }
    }
}
