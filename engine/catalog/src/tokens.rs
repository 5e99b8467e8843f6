//! Access tokens: secrets with which other people's tools store and read the streams of one task.
//!
//! A token has 256 random bits, so a plain hash of it gives nothing away and needs no salt. Who has
//! the catalog has no token.

use rusqlite::params;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, next_number};
use crate::cells::Cells;
use crate::sql::Session;
use crate::tasks::task_by_name;
use crate::{CatalogError, TaskId};

/// A use is written down at most this often.
const USED_INTERVAL_MS: i64 = 60_000;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenAllows {
    Store,
    Read,
    Both,
}

impl TokenAllows {
    pub const ALL: [TokenAllows; 3] = [TokenAllows::Store, TokenAllows::Read, TokenAllows::Both];

    pub const fn as_str(self) -> &'static str {
        match self {
            TokenAllows::Store => "store",
            TokenAllows::Read => "read",
            TokenAllows::Both => "both",
        }
    }

    pub const fn may_store(self) -> bool {
        matches!(self, TokenAllows::Store | TokenAllows::Both)
    }

    pub const fn may_read(self) -> bool {
        matches!(self, TokenAllows::Read | TokenAllows::Both)
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|allows| allows.as_str() == text)
    }
}

/// A token that is being made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewToken {
    pub name: String,
    /// The task by name.
    pub task: String,
    pub allows: TokenAllows,
    pub secret_hash: [u8; 32],
    pub expires_unix_ms: Option<i64>,
}

/// A token as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: String,
    pub task: TaskId,
    pub task_name: String,
    pub allows: TokenAllows,
    pub created_unix_ms: i64,
    /// `None`: never.
    pub expires_unix_ms: Option<i64>,
    pub revoked_unix_ms: Option<i64>,
    /// The last use, to the minute.
    pub used_unix_ms: Option<i64>,
}

impl Token {
    pub fn is_valid(&self, now_unix_ms: i64) -> bool {
        self.revoked_unix_ms.is_none() && !self.is_expired(now_unix_ms)
    }

    pub fn is_expired(&self, now_unix_ms: i64) -> bool {
        self.expires_unix_ms.is_some_and(|expires| expires <= now_unix_ms)
    }
}

const COLUMNS: &str = "tokens.name AS name, tokens.task AS task, tasks.name AS task_name, allows,
    tokens.created_unix_ms AS created_unix_ms, expires_unix_ms, revoked_unix_ms, used_unix_ms
    FROM tokens JOIN tasks ON tasks.task = tokens.task";

impl Catalog {
    /// Keeps a new token. One of the same name that was revoked or has expired makes way. Errors:
    /// `Invalid` for a name that is taken, `NotFound` without such a task.
    pub fn add_token(&self, new: &NewToken, now_unix_ms: i64) -> Result<Token, CatalogError> {
        self.write("keep a token", |transaction| {
            if let Some(there) = token_named(transaction, &new.name)? {
                if there.is_valid(now_unix_ms) {
                    return Err(CatalogError::exists("token", &new.name));
                }
                transaction.execute("DELETE FROM tokens WHERE name = ?1", [&new.name])?;
            }
            let task = task_by_name(transaction, &new.task)?;
            transaction.execute(
                "INSERT INTO tokens (token, name, task, allows, secret_hash, created_unix_ms,
                     expires_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    next_number(transaction, "token")?,
                    new.name,
                    task.id.0,
                    new.allows.as_str(),
                    new.secret_hash,
                    now_unix_ms,
                    new.expires_unix_ms
                ],
            )?;
            token_named(transaction, &new.name)?
                .ok_or_else(|| CatalogError::not_found("token", &new.name))
        })
    }

    /// All tokens by name, also those that are good for nothing any more.
    pub fn tokens(&self) -> Result<Vec<Token>, CatalogError> {
        self.read("list tokens", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} ORDER BY tokens.name"))?;
            let mut rows = ask.query([])?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                tokens.push(from_row(&Cells::new("tokens", row))?);
            }
            Ok(tokens)
        })
    }

    /// The token with this hash, valid or not; `None`: there is none.
    pub fn token_with_hash(&self, hash: &[u8; 32]) -> Result<Option<Token>, CatalogError> {
        self.read("look up a token", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} WHERE secret_hash = ?1"))?;
            let mut rows = ask.query([hash])?;
            rows.next()?.map(|row| from_row(&Cells::new("tokens", row))).transpose()
        })
    }

    /// Writes down that a token is used.
    pub fn token_is_used(&self, name: &str, now_unix_ms: i64) -> Result<(), CatalogError> {
        self.write("note the use of a token", |transaction| {
            transaction.execute(
                "UPDATE tokens SET used_unix_ms = ?2
                 WHERE name = ?1 AND COALESCE(used_unix_ms, 0) <= ?3",
                params![name, now_unix_ms, now_unix_ms - USED_INTERVAL_MS],
            )?;
            Ok(())
        })
    }

    /// Changes what a token allows and until when it is good. `None`: it is not any more as it was `seen`, or was
    /// revoked; then nothing is changed.
    pub fn change_token(
        &self,
        seen: &Token,
        allows: TokenAllows,
        expires_unix_ms: Option<i64>,
    ) -> Result<Option<Token>, CatalogError> {
        self.write("change a token", |transaction| {
            let changed = transaction.execute(
                "UPDATE tokens SET allows = ?2, expires_unix_ms = ?3
                 WHERE name = ?1 AND revoked_unix_ms IS NULL AND task = ?4 AND allows = ?5
                     AND created_unix_ms = ?6 AND COALESCE(expires_unix_ms, -1) = ?7",
                params![
                    seen.name,
                    allows.as_str(),
                    expires_unix_ms,
                    seen.task.0,
                    seen.allows.as_str(),
                    seen.created_unix_ms,
                    seen.expires_unix_ms.unwrap_or(-1)
                ],
            )?;
            if changed == 0 {
                return Ok(None);
            }
            token_named(transaction, &seen.name)
        })
    }

    /// Takes a token's right, for good. Errors: `NotFound`; revoked before, it stays as it was.
    pub fn revoke_token(&self, name: &str, now_unix_ms: i64) -> Result<Token, CatalogError> {
        self.write("revoke a token", |transaction| {
            transaction.execute(
                "UPDATE tokens SET revoked_unix_ms = ?2
                 WHERE name = ?1 AND revoked_unix_ms IS NULL",
                params![name, now_unix_ms],
            )?;
            token_named(transaction, name)?.ok_or_else(|| CatalogError::not_found("token", name))
        })
    }
}

fn token_named(catalog: &Session<'_>, name: &str) -> Result<Option<Token>, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!("SELECT {COLUMNS} WHERE tokens.name = ?1"))?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("tokens", row))).transpose()
}

fn from_row(cells: &Cells<'_>) -> Result<Token, CatalogError> {
    Ok(Token {
        name: cells.get("name")?,
        task: TaskId(cells.get("task")?),
        task_name: cells.get("task_name")?,
        allows: cells.word("allows", TokenAllows::parse)?,
        created_unix_ms: cells.get("created_unix_ms")?,
        expires_unix_ms: cells.get("expires_unix_ms")?,
        revoked_unix_ms: cells.get("revoked_unix_ms")?,
        used_unix_ms: cells.get("used_unix_ms")?,
    })
}
