//! What a database said.

/// An error of SQLite or of PostgreSQL, as it came.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// SQLite's own, and whatever could not be read out of a row of either.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),

    #[error("{}", said(.0))]
    Postgres(#[from] postgres::Error),
}

/// PostgreSQL's own words: the library's `Display` names only the act.
fn said(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let detail = db.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("{}{detail} (SQLSTATE {})", db.message(), db.code().code())
        }
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            text
        }
    }
}

impl SqlError {
    pub(crate) fn no_row() -> Self {
        SqlError::Sqlite(rusqlite::Error::QueryReturnedNoRows)
    }

    pub(crate) fn is_no_row(&self) -> bool {
        matches!(self, SqlError::Sqlite(rusqlite::Error::QueryReturnedNoRows))
    }

    pub(crate) fn as_sqlite(&self) -> Option<&rusqlite::Error> {
        match self {
            SqlError::Sqlite(error) => Some(error),
            SqlError::Postgres(_) => None,
        }
    }

    /// PostgreSQL's five characters for what went wrong.
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            SqlError::Sqlite(_) => None,
            SqlError::Postgres(error) => error.code().map(|code| code.code()),
        }
    }

    /// The connection is gone, or the server is going: nothing of a transaction that was not
    /// committed is left.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            SqlError::Sqlite(_) => false,
            SqlError::Postgres(error) => match error.code().map(|code| code.code()) {
                // Connection exceptions; shutdown by an administrator, after a crash, of one
                // database; still starting; idle for too long.
                Some(code) => {
                    code.starts_with("08")
                        || matches!(code, "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03")
                }
                None => {
                    error.is_closed()
                        || std::error::Error::source(error)
                            .is_some_and(|source| source.is::<std::io::Error>())
                }
            },
        }
    }

    /// The server asks for a password and none is known.
    pub(crate) fn wants_password(&self) -> bool {
        // The library has no other sign of it.
        let SqlError::Postgres(error) = self else { return false };
        std::error::Error::source(error)
            .is_some_and(|source| source.to_string() == "password missing")
    }

    /// Two transactions met: the whole one may be tried again.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self.sqlstate(), Some("40001" | "40P01"))
    }
}

/// Tells "no row" from an error.
pub(crate) trait Optional<T> {
    fn optional(self) -> Result<Option<T>, SqlError>;
}

impl<T> Optional<T> for Result<T, SqlError> {
    fn optional(self) -> Result<Option<T>, SqlError> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_no_row() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
