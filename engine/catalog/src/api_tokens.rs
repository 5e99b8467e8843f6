//! API tokens: secrets with which programs ask the Server over its console port. (Access tokens, for
//! raw streams, are another thing: `tokens`.)
//!
//! A token has 256 random bits, so a plain hash of it gives nothing away and needs no salt.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::{Catalog, next_number};
use crate::cells::Cells;
use crate::sql::Session;
use crate::users::account_of;

/// A use is written down at most this often.
const USED_INTERVAL_MS: i64 = 60_000;

/// A token that is being made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewApiToken {
    pub name: String,
    /// Whose it is, by name; `None`: nobody's, it stands for itself.
    pub user: Option<String>,
    /// What it may: a document of the Server's own.
    pub grants: String,
    pub secret_hash: [u8; 32],
    pub created_by: String,
    pub expires_unix_ms: Option<i64>,
}

/// A token as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiToken {
    pub name: String,
    pub user: Option<String>,
    pub grants: String,
    pub created_by: String,
    pub created_unix_ms: i64,
    /// `None`: never.
    pub expires_unix_ms: Option<i64>,
    pub revoked_unix_ms: Option<i64>,
    /// The last use, to the minute.
    pub used_unix_ms: Option<i64>,
}

impl ApiToken {
    pub fn is_valid(&self, now_unix_ms: i64) -> bool {
        self.revoked_unix_ms.is_none() && !self.is_expired(now_unix_ms)
    }

    pub fn is_expired(&self, now_unix_ms: i64) -> bool {
        self.expires_unix_ms.is_some_and(|expires| expires <= now_unix_ms)
    }
}

const COLUMNS: &str = "api_tokens.name AS name, users.name AS user_name,
    api_tokens.grants AS grants, created_by, api_tokens.created_unix_ms AS created_unix_ms,
    expires_unix_ms, revoked_unix_ms, used_unix_ms
    FROM api_tokens LEFT JOIN users ON users.account = api_tokens.account";

impl Catalog {
    /// Keeps a new token. One of the same name that was revoked or has expired makes way. Errors:
    /// `Invalid` for a name that is taken, `NotFound` without such a user.
    pub fn add_api_token(
        &self,
        new: &NewApiToken,
        now_unix_ms: i64,
    ) -> Result<ApiToken, CatalogError> {
        self.write("keep an API token", |transaction| {
            if let Some(there) = token_named(transaction, &new.name)? {
                if there.is_valid(now_unix_ms) {
                    return Err(CatalogError::exists("API token", &new.name));
                }
                transaction.execute("DELETE FROM api_tokens WHERE name = ?1", [&new.name])?;
            }
            let account = match &new.user {
                Some(user) => Some(account_of(transaction, user)?),
                None => None,
            };
            transaction.execute(
                "INSERT INTO api_tokens (token, name, account, grants, secret_hash, created_by,
                     created_unix_ms, expires_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    next_number(transaction, "api_token")?,
                    new.name,
                    account,
                    new.grants,
                    new.secret_hash,
                    new.created_by,
                    now_unix_ms,
                    new.expires_unix_ms
                ],
            )?;
            token_named(transaction, &new.name)?
                .ok_or_else(|| CatalogError::not_found("API token", &new.name))
        })
    }

    /// All tokens by name, also those that are good for nothing any more.
    pub fn api_tokens(&self) -> Result<Vec<ApiToken>, CatalogError> {
        self.read("list API tokens", all_tokens)
    }

    /// One token by name. Errors: `NotFound`.
    pub fn api_token(&self, name: &str) -> Result<ApiToken, CatalogError> {
        self.read("look up an API token", |catalog| {
            token_named(catalog, name)?.ok_or_else(|| CatalogError::not_found("API token", name))
        })
    }

    /// The token with this hash, valid or not; `None`: there is none.
    pub fn api_token_with_hash(&self, hash: &[u8; 32]) -> Result<Option<ApiToken>, CatalogError> {
        self.read("look up an API token", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} WHERE secret_hash = ?1"))?;
            let mut rows = ask.query([hash])?;
            rows.next()?.map(|row| from_row(&Cells::new("api_tokens", row))).transpose()
        })
    }

    /// Writes down that a token is used.
    pub fn api_token_is_used(&self, name: &str, now_unix_ms: i64) -> Result<(), CatalogError> {
        self.write("note the use of an API token", |transaction| {
            transaction.execute(
                "UPDATE api_tokens SET used_unix_ms = ?2
                 WHERE name = ?1 AND COALESCE(used_unix_ms, 0) <= ?3",
                params![name, now_unix_ms, now_unix_ms - USED_INTERVAL_MS],
            )?;
            Ok(())
        })
    }

    /// Changes what a token may and until when it is good. `None`: it is not any more as it was `seen`, or was
    /// revoked; then nothing is changed.
    pub fn change_api_token(
        &self,
        seen: &ApiToken,
        grants: &str,
        expires_unix_ms: Option<i64>,
    ) -> Result<Option<ApiToken>, CatalogError> {
        self.write("change an API token", |transaction| {
            let changed = transaction.execute(
                "UPDATE api_tokens SET grants = ?2, expires_unix_ms = ?3
                 WHERE name = ?1 AND revoked_unix_ms IS NULL AND grants = ?4 AND created_by = ?5
                     AND created_unix_ms = ?6 AND COALESCE(expires_unix_ms, -1) = ?7",
                params![
                    seen.name,
                    grants,
                    expires_unix_ms,
                    seen.grants,
                    seen.created_by,
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
    pub fn revoke_api_token(&self, name: &str, now_unix_ms: i64) -> Result<ApiToken, CatalogError> {
        self.write("revoke an API token", |transaction| {
            transaction.execute(
                "UPDATE api_tokens SET revoked_unix_ms = ?2
                 WHERE name = ?1 AND revoked_unix_ms IS NULL",
                params![name, now_unix_ms],
            )?;
            token_named(transaction, name)?
                .ok_or_else(|| CatalogError::not_found("API token", name))
        })
    }
}

pub(crate) fn all_tokens(catalog: &Session<'_>) -> Result<Vec<ApiToken>, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!("SELECT {COLUMNS} ORDER BY api_tokens.name"))?;
    let mut rows = ask.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(from_row(&Cells::new("api_tokens", row))?);
    }
    Ok(tokens)
}

/// Gives a token that is there these grants.
pub(crate) fn grant(
    transaction: &Session<'_>,
    name: &str,
    grants: &str,
) -> Result<(), CatalogError> {
    transaction
        .execute("UPDATE api_tokens SET grants = ?2 WHERE name = ?1", params![name, grants])?;
    Ok(())
}

fn token_named(catalog: &Session<'_>, name: &str) -> Result<Option<ApiToken>, CatalogError> {
    let mut ask =
        catalog.prepare_cached(&format!("SELECT {COLUMNS} WHERE api_tokens.name = ?1"))?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("api_tokens", row))).transpose()
}

fn from_row(cells: &Cells<'_>) -> Result<ApiToken, CatalogError> {
    Ok(ApiToken {
        name: cells.get("name")?,
        user: cells.get("user_name")?,
        grants: cells.get("grants")?,
        created_by: cells.get("created_by")?,
        created_unix_ms: cells.get("created_unix_ms")?,
        expires_unix_ms: cells.get("expires_unix_ms")?,
        revoked_unix_ms: cells.get("revoked_unix_ms")?,
        used_unix_ms: cells.get("used_unix_ms")?,
    })
}
