//! Settings: what the Server keeps of itself, by name. Secrets among them come sealed.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::sql::{Optional, Session};

impl Catalog {
    /// The bytes kept under a name.
    pub fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        self.read("look up a setting", |catalog| setting(catalog, name))
    }

    /// Keeps bytes under a name, in place of what was there.
    pub fn set_setting(&self, name: &str, value: &[u8]) -> Result<(), CatalogError> {
        self.write("keep a setting", |transaction| put_setting(transaction, name, value))
    }

    /// Forgets what is kept under a name, if anything is.
    pub fn remove_setting(&self, name: &str) -> Result<(), CatalogError> {
        self.write("forget a setting", |transaction| {
            transaction.execute("DELETE FROM settings WHERE name = ?1", [name])?;
            Ok(())
        })
    }
}

pub(crate) fn setting(catalog: &Session<'_>, name: &str) -> Result<Option<Vec<u8>>, CatalogError> {
    Ok(catalog
        .query_row("SELECT value FROM settings WHERE name = ?1", [name], |row| row.get(0))
        .optional()?)
}

pub(crate) fn put_setting(
    transaction: &Session<'_>,
    name: &str,
    value: &[u8],
) -> Result<(), CatalogError> {
    transaction.execute(
        "INSERT INTO settings (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )?;
    Ok(())
}
