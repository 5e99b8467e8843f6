//! How the suite's nouns lie in cells, and how a row is read without trusting it.

use simsim_model::{DomainId, Kind, Level, Outcome, ProblemKind, SavesetId, StoreId, TransferId};

use crate::CatalogError;
use crate::sql::Row;

/// An id that lies in a cell as its bytes.
pub(crate) trait CellId: Sized {
    fn from_cell(bytes: &[u8]) -> Option<Self>;
}

macro_rules! cell_id {
    ($($id:ty),*) => {
        $(impl CellId for $id {
            fn from_cell(bytes: &[u8]) -> Option<Self> {
                <$id>::from_slice(bytes)
            }
        })*
    };
}

cell_id!(StoreId, DomainId, SavesetId, TransferId);

/// A row of a named table, read column by column.
pub(crate) struct Cells<'a> {
    pub table: &'static str,
    pub row: Row<'a>,
}

impl<'a> Cells<'a> {
    pub(crate) fn new(table: &'static str, row: Row<'a>) -> Self {
        Self { table, row }
    }

    pub(crate) fn bad(&self, column: &'static str, what: impl ToString) -> CatalogError {
        CatalogError::BadCell { table: self.table, column, what: what.to_string() }
    }

    pub(crate) fn get<T: rusqlite::types::FromSql>(
        &self,
        column: &'static str,
    ) -> Result<T, CatalogError> {
        self.row.get(column).map_err(|error| self.bad(column, error))
    }

    /// A count: never negative.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64, CatalogError> {
        u64::try_from(self.get::<i64>(column)?).map_err(|error| self.bad(column, error))
    }

    pub(crate) fn id<T: CellId>(&self, column: &'static str) -> Result<T, CatalogError> {
        self.id_or_none(column)?.ok_or_else(|| self.bad(column, "no id"))
    }

    pub(crate) fn id_or_none<T: CellId>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, CatalogError> {
        self.get::<Option<Vec<u8>>>(column)?
            .map(|bytes| {
                T::from_cell(&bytes)
                    .ok_or_else(|| self.bad(column, format!("{} bytes are no id", bytes.len())))
            })
            .transpose()
    }

    /// A word out of a closed list.
    pub(crate) fn word<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, CatalogError> {
        let text: String = self.get(column)?;
        parse(&text).ok_or_else(|| self.bad(column, format!("'{text}' is not known")))
    }

    pub(crate) fn word_or_none<T>(
        &self,
        column: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, CatalogError> {
        let Some(text) = self.get::<Option<String>>(column)? else { return Ok(None) };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(self.bad(column, format!("'{text}' is not known"))),
        }
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<T, CatalogError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| self.bad(column, error))
    }

    pub(crate) fn level(&self, column: &'static str) -> Result<Level, CatalogError> {
        self.word(column, Level::parse)
    }
}

/// A count as a cell: SQL integers have 63 bits.
pub(crate) fn count_cell(count: u64) -> Result<i64, CatalogError> {
    i64::try_from(count)
        .map_err(|_| CatalogError::invalid(format!("{count} is more than a catalog can count")))
}

/// A document as a cell.
pub(crate) fn json_cell<T: serde::Serialize>(value: &T) -> Result<String, CatalogError> {
    serde_json::to_string(value)
        .map_err(|error| CatalogError::invalid(format!("cannot be written as JSON: {error}")))
}

pub(crate) fn kind_from_cell(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

pub(crate) fn outcome_cell(outcome: Outcome) -> &'static str {
    outcome.as_str()
}

pub(crate) fn problem_kind_cell(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Note => "note",
        ProblemKind::Unreadable => "unreadable",
        ProblemKind::Vanished => "vanished",
        ProblemKind::ChangedWhileRead => "changed_while_read",
        ProblemKind::MissingSource => "missing_source",
        ProblemKind::NotWritten => "not_written",
        ProblemKind::MissingData => "missing_data",
        ProblemKind::Attribute => "attribute",
        ProblemKind::Command => "command",
    }
}

pub(crate) fn problem_kind_from_cell(text: &str) -> Option<ProblemKind> {
    [
        ProblemKind::Note,
        ProblemKind::Unreadable,
        ProblemKind::Vanished,
        ProblemKind::ChangedWhileRead,
        ProblemKind::MissingSource,
        ProblemKind::NotWritten,
        ProblemKind::MissingData,
        ProblemKind::Attribute,
        ProblemKind::Command,
    ]
    .into_iter()
    .find(|kind| problem_kind_cell(*kind) == text)
}
