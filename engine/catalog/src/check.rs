//! Whether all that the database holds can be read, and every reference leads somewhere.

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::sql::{Optional, Session};

/// Every reference of a table: its name, its columns, the table it refers to and the columns there.
const REFERENCES: &str = "
    SELECT CAST(c.conrelid::regclass AS TEXT), CAST(c.confrelid::regclass AS TEXT),
        string_agg(format('there.%I = here.%I', b.attname, a.attname), ' AND '),
        string_agg(format('here.%I IS NOT NULL', a.attname), ' AND ')
    FROM pg_constraint c
    CROSS JOIN generate_subscripts(c.conkey, 1) AS at
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[at]
    JOIN pg_attribute b ON b.attrelid = c.confrelid AND b.attnum = c.confkey[at]
    WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace
    GROUP BY c.oid, c.conrelid, c.confrelid ORDER BY 1, 2";

impl Catalog {
    /// Looks at every page and every reference of the database; on PostgreSQL at every row, which
    /// reads every page that is in use. Errors: `Corrupt`.
    pub fn check(&self) -> Result<(), CatalogError> {
        self.read("check itself", |catalog| {
            if let Some(what) = damage(catalog)? {
                return Err(CatalogError::BadCell {
                    table: "(pages)",
                    column: "(structure)",
                    what,
                });
            }
            match orphan(catalog)? {
                None => Ok(()),
                Some(table) => Err(CatalogError::BadCell {
                    table: "(references)",
                    column: "(any)",
                    what: format!("a row of table {table} refers to one that is not there"),
                }),
            }
        })
    }
}

fn damage(session: &Session<'_>) -> Result<Option<String>, CatalogError> {
    if let Session::Sqlite(_) = session {
        let word: String = session.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        return Ok((word != "ok").then_some(word));
    }
    let tables = "SELECT CAST(format('%I', tablename) AS TEXT) FROM pg_tables
        WHERE schemaname = current_schema() ORDER BY 1";
    let tables: Vec<String> = session
        .prepare_cached(tables)?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for table in tables {
        // Every value is made a text, so that long ones are read too. What is damaged is an error
        // of the database's own.
        let whole = format!("SELECT COALESCE(SUM(length(CAST(t AS TEXT))), 0) >= 0 FROM {table} t");
        session.query_row(&whole, [], |row| row.get::<bool>(0))?;
    }
    Ok(None)
}

/// A table with a row that refers to one that is not there.
pub(crate) fn orphan(session: &Session<'_>) -> Result<Option<String>, CatalogError> {
    if let Session::Sqlite(_) = session {
        return Ok(session
            .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
            .optional()?);
    }
    let references: Vec<(String, String, String, String)> = session
        .prepare_cached(REFERENCES)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<Result<_, _>>()?;
    for (table, other, same, is_set) in references {
        let ask = format!(
            "SELECT EXISTS (SELECT 1 FROM {table} here WHERE {is_set}
                 AND NOT EXISTS (SELECT 1 FROM {other} there WHERE {same}))"
        );
        if session.query_row(&ask, [], |row| row.get::<bool>(0))? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}
