//! One connection to PostgreSQL, and values on it.
//!
//! Statements are prepared once per connection and found again by their text. A query whose answer
//! may be long is asked through a cursor, so that memory holds [`BATCH_ROWS`] rows of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use bytes::BytesMut;
use postgres::types::{FromSql, IsNull, Kind, ToSql, Type};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

use super::{SqlError, dialect};

/// Rows that are fetched at once of a long answer.
const BATCH_ROWS: u32 = 500;
/// Beyond so many prepared statements all are prepared anew: those with a number in their text
/// would pile up.
const PREPARED_MAX: usize = 256;

/// A connection inside a transaction.
pub(crate) struct Wire {
    client: RefCell<postgres::Client>,
    prepared: RefCell<HashMap<String, postgres::Statement>>,
    cursors: Cell<u32>,
    /// A statement failed: PostgreSQL would answer a COMMIT with success and roll back.
    failed: Cell<bool>,
}

impl Wire {
    pub(crate) fn new(client: postgres::Client) -> Self {
        Self {
            client: RefCell::new(client),
            prepared: RefCell::default(),
            cursors: Cell::new(0),
            failed: Cell::new(false),
        }
    }

    /// Runs statements as they stand, without anything bound.
    pub(crate) fn batch(&self, text: &str) -> Result<(), SqlError> {
        self.watched(self.client.borrow_mut().batch_execute(text))
    }

    /// Begins a transaction; `how` says of which kind.
    pub(crate) fn begin(&self, how: &str) -> Result<(), SqlError> {
        self.failed.set(false);
        self.batch(&format!("BEGIN {how}"))
    }

    /// Ends the transaction. Answers `false`, with everything undone, where a statement of it failed.
    pub(crate) fn commit(&self) -> Result<bool, SqlError> {
        if self.failed.get() {
            self.batch("ROLLBACK")?;
            return Ok(false);
        }
        self.batch("COMMIT").map(|()| true)
    }

    fn watched<T>(&self, answer: Result<T, postgres::Error>) -> Result<T, SqlError> {
        if answer.is_err() {
            self.failed.set(true);
        }
        Ok(answer?)
    }

    pub(super) fn execute(
        &self,
        text: &str,
        params: &[&dyn rusqlite::ToSql],
    ) -> Result<usize, SqlError> {
        let statement = self.prepared(text)?;
        let values = bound(params)?;
        let touched =
            self.watched(self.client.borrow_mut().execute(&statement, &as_params(&values)))?;
        Ok(usize::try_from(touched).unwrap_or(usize::MAX))
    }

    pub(super) fn query(
        &self,
        text: &str,
        params: &[&dyn rusqlite::ToSql],
        streamed: bool,
    ) -> Result<PgRows<'_>, SqlError> {
        let values = bound(params)?;
        if !streamed {
            let statement = self.prepared(text)?;
            let rows =
                self.watched(self.client.borrow_mut().query(&statement, &as_params(&values)))?;
            return Ok(PgRows { wire: self, batch: rows.into_iter(), current: None, cursor: None });
        }
        let cursor = format!("rows_{}", self.cursors.replace(self.cursors.get().wrapping_add(1)));
        let declare = format!("DECLARE {cursor} NO SCROLL CURSOR FOR {}", dialect::query(text));
        self.watched(self.client.borrow_mut().execute(&declare, &as_params(&values)))?;
        let batch = Vec::new().into_iter();
        Ok(PgRows { wire: self, batch, current: None, cursor: Some(cursor) })
    }

    pub(super) fn execute_step(&self, text: &str) -> Result<(), SqlError> {
        // What a statement answers may have another shape after the step.
        self.prepared.borrow_mut().clear();
        self.batch(&dialect::step(text))
    }

    fn prepared(&self, text: &str) -> Result<postgres::Statement, SqlError> {
        if let Some(statement) = self.prepared.borrow().get(text) {
            return Ok(statement.clone());
        }
        let statement = self.watched(self.client.borrow_mut().prepare(&dialect::query(text)))?;
        let mut prepared = self.prepared.borrow_mut();
        if prepared.len() >= PREPARED_MAX {
            prepared.clear();
        }
        prepared.insert(text.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// The rows of one answer.
pub(crate) struct PgRows<'r> {
    wire: &'r Wire,
    batch: std::vec::IntoIter<postgres::Row>,
    current: Option<PgRow>,
    /// Where more rows come from.
    cursor: Option<String>,
}

impl PgRows<'_> {
    pub(super) fn next(&mut self) -> Result<Option<&PgRow>, SqlError> {
        let mut next = self.batch.next();
        if next.is_none()
            && let Some(cursor) = &self.cursor
        {
            let fetch = format!("FETCH {BATCH_ROWS} FROM {cursor}");
            let fetched = self.wire.watched(self.wire.client.borrow_mut().query(&fetch, &[]))?;
            if fetched.is_empty() {
                self.wire.batch(&format!("CLOSE {cursor}"))?;
                self.cursor = None;
            }
            self.batch = fetched.into_iter();
            next = self.batch.next();
        }
        self.current = next.map(PgRow);
        Ok(self.current.as_ref())
    }
}

/// One row.
pub(crate) struct PgRow(postgres::Row);

impl PgRow {
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        self.0.columns().iter().position(|column| column.name() == name)
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.0.columns().get(at).map_or("", |column| column.name())
    }

    pub(super) fn value(&self, at: usize) -> Result<Value, SqlError> {
        if at >= self.0.len() {
            return Err(rusqlite::Error::InvalidColumnIndex(at).into());
        }
        Ok(self.0.try_get::<_, Read>(at)?.0)
    }
}

/// A value of PostgreSQL, read.
struct Read(Value);

impl<'a> FromSql<'a> for Read {
    fn from_sql(
        kind: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Read(match *kind {
            Type::BOOL => Value::Integer(i64::from(bool::from_sql(kind, raw)?)),
            Type::INT2 => Value::Integer(i64::from(i16::from_sql(kind, raw)?)),
            Type::INT4 => Value::Integer(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT8 => Value::Integer(i64::from_sql(kind, raw)?),
            Type::FLOAT8 => Value::Real(f64::from_sql(kind, raw)?),
            Type::BYTEA => Value::Blob(raw.to_vec()),
            _ => Value::Text(dialect::unescape_text(String::from_sql(kind, raw)?)),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Read(Value::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(
            *kind,
            Type::BOOL | Type::INT2 | Type::INT4 | Type::INT8 | Type::FLOAT8 | Type::BYTEA
        ) || <String as FromSql>::accepts(kind)
    }
}

/// A value to be bound.
enum Bound<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(std::borrow::Cow<'a, str>),
    Bytes(std::borrow::Cow<'a, [u8]>),
}

fn bound<'a>(params: &[&'a dyn rusqlite::ToSql]) -> Result<Vec<Bound<'a>>, SqlError> {
    params.iter().map(|value| Ok(own(value.to_sql()?)?)).collect()
}

fn own(value: ToSqlOutput<'_>) -> Result<Bound<'_>, rusqlite::Error> {
    let failed = |error: std::str::Utf8Error| rusqlite::Error::ToSqlConversionFailure(error.into());
    Ok(match value {
        ToSqlOutput::Borrowed(ValueRef::Null) | ToSqlOutput::Owned(Value::Null) => Bound::Null,
        ToSqlOutput::Borrowed(ValueRef::Integer(number))
        | ToSqlOutput::Owned(Value::Integer(number)) => Bound::Integer(number),
        ToSqlOutput::Borrowed(ValueRef::Real(number)) | ToSqlOutput::Owned(Value::Real(number)) => {
            Bound::Real(number)
        }
        ToSqlOutput::Borrowed(ValueRef::Text(text)) => {
            Bound::Text(dialect::escape_text(std::str::from_utf8(text).map_err(failed)?))
        }
        ToSqlOutput::Owned(Value::Text(text)) => {
            Bound::Text(dialect::escape_text(&text).into_owned().into())
        }
        ToSqlOutput::Borrowed(ValueRef::Blob(bytes)) => Bound::Bytes(bytes.into()),
        ToSqlOutput::Owned(Value::Blob(bytes)) => Bound::Bytes(bytes.into()),
        _ => return Err(rusqlite::Error::ToSqlConversionFailure("no value of a cell".into())),
    })
}

fn as_params<'b>(values: &'b [Bound<'_>]) -> Vec<&'b (dyn ToSql + Sync)> {
    values.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}

impl ToSql for Bound<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match (self, kind) {
            (Bound::Null, _) => Ok(IsNull::Yes),
            (Bound::Integer(number), &Type::INT8) => number.to_sql(kind, out),
            (Bound::Integer(number), &Type::INT4) => i32::try_from(*number)?.to_sql(kind, out),
            (Bound::Integer(number), &Type::INT2) => i16::try_from(*number)?.to_sql(kind, out),
            (Bound::Integer(number @ (0 | 1)), &Type::BOOL) => (*number == 1).to_sql(kind, out),
            (Bound::Real(number), &Type::FLOAT8) => number.to_sql(kind, out),
            (Bound::Text(text), _) if <&str as ToSql>::accepts(kind) => {
                text.as_ref().to_sql(kind, out)
            }
            (Bound::Bytes(bytes), &Type::BYTEA) => bytes.as_ref().to_sql(kind, out),
            _ => Err(format!("{} does not fit a column of type {kind}", self.noun()).into()),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(kind.kind(), Kind::Simple)
    }

    postgres::types::to_sql_checked!();
}

/// The library writes what is bound into its log: not the value.
impl std::fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.noun())
    }
}

impl Bound<'_> {
    fn noun(&self) -> &'static str {
        match self {
            Bound::Null => "nothing",
            Bound::Integer(_) => "a number",
            Bound::Real(_) => "a fraction",
            Bound::Text(_) => "a text",
            Bound::Bytes(_) => "a row of bytes",
        }
    }
}
