//! Users: people who may ask the Server over its console port, what they may, and how they prove who
//! they are. The catalog keeps hashes of passwords and sealed secrets; it judges neither.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::{Catalog, next_number};
use crate::cells::Cells;
use crate::sql::Session;

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// What the user may: a document of the Server's own.
    pub grants: String,
    pub disabled: bool,
    /// In the form of PHC strings; `None`: the user has no password.
    pub password_hash: Option<String>,
    /// Who set the password last, as a principal's name: whoever did knows it. `None`: not known.
    pub password_by: Option<String>,
    /// The provider by which the user signs in; `None`: by a password.
    pub provider: Option<String>,
    /// What the provider calls the user for good; `None`: the user has not signed in yet.
    pub subject: Option<String>,
    /// The groups there, of the last time: a document of the Server's own.
    pub provider_groups: Option<String>,
    /// The secret of one-time passwords, sealed; `None`: there are none.
    pub totp_sealed: Option<Vec<u8>>,
    /// The time step of the last one-time password that was taken: none is taken twice.
    pub totp_step: i64,
    /// Wrong log-ins since the last good one.
    pub failed_attempts: u32,
    /// No log-in is looked at before.
    pub locked_until_unix_ms: Option<i64>,
    pub created_unix_ms: i64,
    /// The last log-in.
    pub seen_unix_ms: Option<i64>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Adds a user. Errors: `Invalid` for a name that is taken.
    pub fn add_user(
        &self,
        name: &str,
        grants: &str,
        password_hash: &str,
        by: &str,
        now_unix_ms: i64,
    ) -> Result<User, CatalogError> {
        self.write("add a user", |transaction| {
            if user_by_name(transaction, name).is_ok() {
                return Err(CatalogError::exists("user", name));
            }
            transaction.execute(
                "INSERT INTO users (account, name, grants, disabled, password_hash, totp_step,
                     failed_attempts, created_unix_ms, password_by)
                 VALUES (?1, ?2, ?3, 0, ?4, 0, 0, ?5, ?6)",
                params![
                    next_number(transaction, "account")?,
                    name,
                    grants,
                    password_hash,
                    now_unix_ms,
                    by
                ],
            )?;
            user_by_name(transaction, name)
        })
    }

    /// All users, by name.
    pub fn users(&self) -> Result<Vec<User>, CatalogError> {
        self.read("list users", all_users)
    }

    /// One user. Errors: `NotFound`.
    pub fn user(&self, name: &str) -> Result<User, CatalogError> {
        self.read("look up a user", |catalog| user_by_name(catalog, name))
    }

    /// Gives a user these grants, and lets the user in or not. Who is disabled loses every session
    /// at once. Errors: `NotFound`.
    pub fn change_user(
        &self,
        name: &str,
        grants: &str,
        disabled: bool,
    ) -> Result<User, CatalogError> {
        self.write("change a user", |transaction| change(transaction, name, grants, disabled))
    }

    /// Gives a user another password. Sessions end, wrong log-ins are forgotten. Errors: `NotFound`.
    pub fn set_password(
        &self,
        name: &str,
        password_hash: &str,
        by: &str,
        now_unix_ms: i64,
    ) -> Result<User, CatalogError> {
        self.write("change a password", |transaction| {
            let own = format!("user:{name}");
            let before = user_by_name(transaction, name).ok().and_then(|user| user.password_by);
            if by == own && before.is_some_and(|before| before != own) {
                transaction.execute(
                    "UPDATE api_tokens SET revoked_unix_ms = ?3
                     WHERE account IN (SELECT account FROM users WHERE name = ?1)
                         AND revoked_unix_ms IS NULL
                         AND (created_by = ?2 OR created_by LIKE ?2 || '/%')",
                    params![name, own, now_unix_ms],
                )?;
            }
            transaction.execute(
                "UPDATE users SET password_hash = ?2, failed_attempts = 0,
                     locked_until_unix_ms = NULL, password_by = ?3 WHERE name = ?1",
                params![name, password_hash, by],
            )?;
            end_sessions(transaction, name)?;
            user_by_name(transaction, name)
        })
    }

    /// Gives a user another secret for one-time passwords, or none. Errors: `NotFound`.
    pub fn set_totp(&self, name: &str, sealed: Option<&[u8]>) -> Result<User, CatalogError> {
        self.write("change a user's one-time passwords", |transaction| {
            transaction.execute(
                "UPDATE users SET totp_sealed = ?2, totp_step = 0 WHERE name = ?1",
                params![name, sealed],
            )?;
            user_by_name(transaction, name)
        })
    }

    /// Counts a wrong log-in, and holds up the next ones. Nobody of that name is no error.
    pub fn login_failed(
        &self,
        name: &str,
        locked_until: impl Fn(u32) -> Option<i64> + Send + Sync,
    ) -> Result<(), CatalogError> {
        self.write("count a wrong log-in", |transaction| {
            let Ok(user) = user_by_name(transaction, name) else { return Ok(()) };
            let failed = user.failed_attempts.saturating_add(1);
            transaction.execute(
                "UPDATE users SET failed_attempts = ?2, locked_until_unix_ms = ?3 WHERE name = ?1",
                params![name, failed, locked_until(failed)],
            )?;
            Ok(())
        })
    }

    /// Removes a user, with the user's tokens and sessions. Errors: `NotFound`.
    pub fn delete_user(&self, name: &str) -> Result<User, CatalogError> {
        self.write("remove a user", |transaction| remove(transaction, name))
    }
}

/// Notes a good log-in, with the time step of its one-time password where there was one. Answers false where that step
/// was taken before: then nothing is noted.
pub(crate) fn logged_in(
    transaction: &Session<'_>,
    name: &str,
    totp_step: Option<i64>,
    now_unix_ms: i64,
) -> Result<bool, CatalogError> {
    let user = user_by_name(transaction, name)?;
    let step = match totp_step {
        Some(step) if step <= user.totp_step => return Ok(false),
        Some(step) => step,
        None => user.totp_step,
    };
    transaction.execute(
        "UPDATE users SET failed_attempts = 0, locked_until_unix_ms = NULL,
             totp_step = ?2, seen_unix_ms = ?3 WHERE name = ?1",
        params![name, step, now_unix_ms],
    )?;
    Ok(true)
}

pub(crate) fn all_users(catalog: &Session<'_>) -> Result<Vec<User>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM users ORDER BY name")?;
    let mut rows = ask.query([])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(from_row(&Cells::new("users", row))?);
    }
    Ok(users)
}

pub(crate) fn change(
    transaction: &Session<'_>,
    name: &str,
    grants: &str,
    disabled: bool,
) -> Result<User, CatalogError> {
    transaction.execute(
        "UPDATE users SET grants = ?2, disabled = ?3 WHERE name = ?1",
        params![name, grants, i64::from(disabled)],
    )?;
    if disabled {
        end_sessions(transaction, name)?;
    }
    user_by_name(transaction, name)
}

pub(crate) fn remove(transaction: &Session<'_>, name: &str) -> Result<User, CatalogError> {
    let user = user_by_name(transaction, name)?;
    transaction.execute("DELETE FROM users WHERE name = ?1", [name])?;
    Ok(user)
}

pub(crate) fn user_by_name(catalog: &Session<'_>, name: &str) -> Result<User, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM users WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("users", row)),
        None => Err(CatalogError::not_found("user", name)),
    }
}

/// The number of a user's account, by which others refer to it. Errors: `NotFound`.
pub(crate) fn account_of(catalog: &Session<'_>, name: &str) -> Result<i64, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT account FROM users WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    match rows.next()? {
        Some(row) => Cells::new("users", row).get("account"),
        None => Err(CatalogError::not_found("user", name)),
    }
}

pub(crate) fn end_sessions(transaction: &Session<'_>, name: &str) -> Result<(), CatalogError> {
    transaction.execute(
        "DELETE FROM console_sessions
         WHERE account IN (SELECT account FROM users WHERE name = ?1)",
        [name],
    )?;
    Ok(())
}

pub(crate) fn from_row(cells: &Cells<'_>) -> Result<User, CatalogError> {
    let failed = cells.count("failed_attempts")?;
    Ok(User {
        name: cells.get("name")?,
        grants: cells.get("grants")?,
        disabled: cells.get::<i64>("disabled")? != 0,
        password_hash: Some(cells.get::<String>("password_hash")?).filter(|hash| !hash.is_empty()),
        password_by: cells.get("password_by")?,
        provider: cells.get("provider")?,
        subject: cells.get("subject")?,
        provider_groups: cells.get("provider_groups")?,
        totp_sealed: cells.get("totp_sealed")?,
        totp_step: cells.get("totp_step")?,
        failed_attempts: u32::try_from(failed).unwrap_or(u32::MAX),
        locked_until_unix_ms: cells.get("locked_until_unix_ms")?,
        created_unix_ms: cells.get("created_unix_ms")?,
        seen_unix_ms: cells.get("seen_unix_ms")?,
    })
}
