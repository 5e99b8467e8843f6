//! One-time codes of enrolment. Each serves once, for a short time, and dies of wrong guesses.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::sql::{Optional, Session};

/// After this many wrong proofs a code is locked for good.
pub const WRONG_ATTEMPTS_MAX: u32 = 10;

/// A code as kept: never in clear.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinCode {
    /// Hash of the code's secret; its identity.
    pub hash: [u8; 32],
    /// The secret, sealed by the caller's key: the proof of a joining host is checked with it.
    pub sealed_secret: Vec<u8>,
    /// The only name that may join with it; `None`: any name that is free.
    pub client_name: Option<String>,
    /// Only a host that calls (access mode OUTBOUND) may join with it.
    pub outbound: bool,
    pub created_unix_ms: i64,
    pub expires_unix_ms: i64,
    pub used_unix_ms: Option<i64>,
    pub wrong_attempts: u32,
}

impl std::fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinCode")
            .field("client_name", &self.client_name)
            .field("expires_unix_ms", &self.expires_unix_ms)
            .field("wrong_attempts", &self.wrong_attempts)
            .finish_non_exhaustive()
    }
}

/// Codes that can still be used by this name at this moment.
const OPEN: &str = "used_unix_ms IS NULL AND expires_unix_ms > ?2
    AND (client_name IS NULL OR client_name = ?1) AND wrong_attempts < 10";
const _: () = assert!(WRONG_ATTEMPTS_MAX == 10);

impl Catalog {
    /// Keeps a new code, and forgets those that expired more than a day ago.
    pub fn add_join_code(&self, code: &JoinCode) -> Result<(), CatalogError> {
        self.write("keep a join code", |transaction| {
            transaction.execute(
                "DELETE FROM join_codes WHERE expires_unix_ms < ?1 AND used_by IS NULL",
                [code.created_unix_ms - 86_400_000],
            )?;
            transaction.execute(
                "INSERT INTO join_codes (code_hash, sealed_secret, client_name, created_unix_ms,
                     expires_unix_ms, wrong_attempts, outbound)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6)",
                params![
                    code.hash,
                    code.sealed_secret,
                    code.client_name,
                    code.created_unix_ms,
                    code.expires_unix_ms,
                    code.outbound
                ],
            )?;
            Ok(())
        })
    }

    /// The codes with which `name` could join now.
    pub fn open_join_codes(
        &self,
        name: &str,
        now_unix_ms: i64,
    ) -> Result<Vec<JoinCode>, CatalogError> {
        self.read("look up join codes", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT * FROM join_codes WHERE {OPEN}"))?;
            let mut rows = ask.query(params![name, now_unix_ms])?;
            let mut codes = Vec::new();
            while let Some(row) = rows.next()? {
                codes.push(from_row(&Cells::new("join_codes", row))?);
            }
            Ok(codes)
        })
    }

    /// Whether anybody could join now.
    pub fn joins_open(&self, now_unix_ms: i64) -> Result<bool, CatalogError> {
        self.read("look up join codes", |catalog| {
            Ok(catalog.query_row(
                "SELECT EXISTS (SELECT 1 FROM join_codes WHERE used_unix_ms IS NULL
                     AND expires_unix_ms > ?1 AND wrong_attempts < 10)",
                [now_unix_ms],
                |row| row.get(0),
            )?)
        })
    }

    /// Names that valid codes are bound to, and whether only hosts that call may use them; `None` for
    /// a code that any host may use.
    pub fn names_joining(
        &self,
        now_unix_ms: i64,
    ) -> Result<Vec<(Option<String>, bool)>, CatalogError> {
        self.read("look up join codes", |catalog| {
            let mut ask = catalog.prepare_cached(
                "SELECT DISTINCT client_name, outbound FROM join_codes WHERE used_unix_ms IS NULL
                     AND expires_unix_ms > ?1 AND wrong_attempts < 10
                 ORDER BY client_name NULLS FIRST, outbound",
            )?;
            let names = ask.query_map([now_unix_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(names.collect::<Result<_, _>>()?)
        })
    }

    /// Counts a wrong proof against every code that `name` could have meant. Returns how many
    /// codes are locked by it.
    pub fn count_wrong_join(&self, name: &str, now_unix_ms: i64) -> Result<usize, CatalogError> {
        self.write("count a wrong join", |transaction| {
            let before = open_codes(transaction, name, now_unix_ms)?;
            transaction.execute(
                &format!("UPDATE join_codes SET wrong_attempts = wrong_attempts + 1 WHERE {OPEN}"),
                params![name, now_unix_ms],
            )?;
            Ok(before.saturating_sub(open_codes(transaction, name, now_unix_ms)?))
        })
    }
}

/// Spends a code. Answers whether it was made for this very name.
pub(crate) fn spend(
    transaction: &Session<'_>,
    hash: &[u8; 32],
    name: &str,
    now_unix_ms: i64,
) -> Result<bool, CatalogError> {
    let bound: Option<Option<String>> = transaction
        .query_row(
            &format!("SELECT client_name FROM join_codes WHERE {OPEN} AND code_hash = ?3"),
            params![name, now_unix_ms, hash],
            |row| row.get(0),
        )
        .optional()?;
    let Some(bound) = bound else {
        return Err(CatalogError::not_found("usable join code for the name", name));
    };
    transaction.execute(
        "UPDATE join_codes SET used_unix_ms = ?2 WHERE code_hash = ?1",
        params![hash, now_unix_ms],
    )?;
    Ok(bound.is_some())
}

fn open_codes(
    transaction: &Session<'_>,
    name: &str,
    now_unix_ms: i64,
) -> Result<usize, CatalogError> {
    let count: i64 = transaction.query_row(
        &format!("SELECT COUNT(*) FROM join_codes WHERE {OPEN}"),
        params![name, now_unix_ms],
        |row| row.get(0),
    )?;
    Ok(usize::try_from(count).unwrap_or(0))
}

fn from_row(cells: &Cells<'_>) -> Result<JoinCode, CatalogError> {
    Ok(JoinCode {
        hash: cells.get("code_hash")?,
        sealed_secret: cells.get("sealed_secret")?,
        client_name: cells.get("client_name")?,
        outbound: cells.get("outbound")?,
        created_unix_ms: cells.get("created_unix_ms")?,
        expires_unix_ms: cells.get("expires_unix_ms")?,
        used_unix_ms: cells.get("used_unix_ms")?,
        wrong_attempts: cells.get("wrong_attempts")?,
    })
}
