//! Identity providers: by whom people sign in with OpenID Connect, and the users who do. The catalog judges
//! neither what a provider says nor what its users may.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::{Catalog, next_number};
use crate::cells::Cells;
use crate::notifications::NewSecret;
use crate::sql::Session;
use crate::users::{User, all_users, change, end_sessions, user_by_name};

/// One provider.
#[derive(Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    pub name: String,
    /// A JSON document of the Server's own.
    pub document: String,
    /// Sealed by the Server.
    pub secret: Option<Vec<u8>>,
    pub enabled: bool,
    /// Who set alone by whom it trusts, as a person's name; `None`: two persons did.
    pub alone: Option<String>,
    pub created_unix_ms: i64,
}

impl std::fmt::Debug for IdentityProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdentityProvider").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A provider to be added.
#[derive(Clone, PartialEq, Eq)]
pub struct NewProvider {
    pub name: String,
    pub document: String,
    pub secret: NewSecret,
    pub enabled: bool,
    pub alone: Option<String>,
}

/// What becomes of a provider, and of the grants of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderChange {
    pub name: String,
    pub document: String,
    pub enabled: bool,
    pub alone: Option<String>,
    /// Users and what they may now.
    pub grants: Vec<(String, String)>,
}

/// Somebody whom a provider vouches for, who signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIdentity {
    pub provider: String,
    /// The provider's document, by which the grants were found.
    pub document: String,
    pub subject: String,
    /// The user's name here, where the subject is not known yet.
    pub name: String,
    pub groups: String,
    pub grants: String,
}

impl Catalog {
    /// Adds a provider. Errors: exists.
    pub fn add_identity_provider(
        &self,
        new: &NewProvider,
        now_unix_ms: i64,
    ) -> Result<IdentityProvider, CatalogError> {
        self.write("add an identity provider", |transaction| {
            if by_name(transaction, &new.name)?.is_some() {
                return Err(CatalogError::exists("identity provider", &new.name));
            }
            let secret = match &new.secret {
                NewSecret::Sealed(sealed) => Some(sealed),
                NewSecret::Keep | NewSecret::None => None,
            };
            transaction.execute(
                "INSERT INTO identity_providers (name, document, secret, enabled, alone, created_unix_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    new.name,
                    new.document,
                    secret,
                    i64::from(new.enabled),
                    new.alone,
                    now_unix_ms
                ],
            )?;
            there(transaction, &new.name)
        })
    }

    /// Gives a provider another secret, or none. Errors: `NotFound`.
    pub fn set_provider_secret(&self, name: &str, secret: &NewSecret) -> Result<(), CatalogError> {
        let sealed = match secret {
            NewSecret::Keep => return Ok(()),
            NewSecret::None => None,
            NewSecret::Sealed(sealed) => Some(sealed),
        };
        self.write("keep the secret of an identity provider", |transaction| {
            there(transaction, name)?;
            transaction.execute(
                "UPDATE identity_providers SET secret = ?2 WHERE name = ?1",
                params![name, sealed],
            )?;
            Ok(())
        })
    }

    /// All providers, by name.
    pub fn identity_providers(&self) -> Result<Vec<IdentityProvider>, CatalogError> {
        self.read("list identity providers", all_providers)
    }

    /// One of them. Errors: `NotFound`.
    pub fn identity_provider(&self, name: &str) -> Result<IdentityProvider, CatalogError> {
        self.read("look up an identity provider", |catalog| there(catalog, name))
    }

    /// Removes a provider. Errors: `NotFound`; `StillUsed` while users sign in by it.
    pub fn delete_identity_provider(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove an identity provider", |transaction| {
            there(transaction, name)?;
            let users = users_of(transaction, name)?;
            if !users.is_empty() {
                let by = users.iter().map(|user| format!("user '{}'", user.name));
                return Err(CatalogError::StillUsed {
                    noun: "identity provider",
                    name: name.to_owned(),
                    by: by.collect::<Vec<_>>().join(", "),
                });
            }
            transaction.execute("DELETE FROM identity_providers WHERE name = ?1", [name])?;
            Ok(())
        })
    }

    /// Adds a user without a password, who signs in by a provider. Errors: exists, `NotFound` without such a
    /// provider.
    pub fn add_user_of_provider(
        &self,
        name: &str,
        provider: &str,
        now_unix_ms: i64,
    ) -> Result<User, CatalogError> {
        self.write("add a user", |transaction| {
            there(transaction, provider)?;
            if user_by_name(transaction, name).is_ok() {
                return Err(CatalogError::exists("user", name));
            }
            add_user(transaction, name, provider, now_unix_ms)
        })
    }

    /// The user whom a provider calls by this subject; `None`: there is none.
    pub fn user_of_subject(
        &self,
        provider: &str,
        subject: &str,
    ) -> Result<Option<User>, CatalogError> {
        self.read("look up a user of a provider", |catalog| {
            let users = users_of(catalog, provider)?;
            Ok(users.into_iter().find(|user| user.subject.as_deref() == Some(subject)))
        })
    }

    /// Writes down what a provider said of somebody who signs in: the user's groups and grants, and at the first time
    /// the subject. `create`: a user that is not there is made. Errors: `NotFound` for a user who is not there;
    /// exists for a name that is somebody else's;
    /// `Invalid` where the provider is off, or was changed since it was asked.
    pub fn identity_signs_in(
        &self,
        new: &NewIdentity,
        create: bool,
        now_unix_ms: i64,
    ) -> Result<User, CatalogError> {
        self.write("note who a provider vouches for", |transaction| {
            let provider = there(transaction, &new.provider)?;
            if !provider.enabled || provider.document != new.document {
                return Err(CatalogError::invalid(format!(
                    "identity provider '{}' was changed meanwhile",
                    new.provider
                )));
            }
            let users = users_of(transaction, &new.provider)?;
            let known = users.iter().find(|user| user.subject.as_ref() == Some(&new.subject));
            let name = match known {
                Some(user) => user.name.clone(),
                None => match user_by_name(transaction, &new.name) {
                    Ok(user)
                        if user.provider.as_ref() == Some(&new.provider)
                            && user.subject.is_none() =>
                    {
                        user.name
                    }
                    Ok(user) => return Err(CatalogError::exists("user", &user.name)),
                    Err(CatalogError::NotFound { .. }) if create => {
                        add_user(transaction, &new.name, &new.provider, now_unix_ms)?.name
                    }
                    Err(error) => return Err(error),
                },
            };
            transaction.execute(
                "UPDATE users SET subject = ?2, provider_groups = ?3, grants = ?4 WHERE name = ?1",
                params![name, new.subject, new.groups, new.grants],
            )?;
            user_by_name(transaction, &name)
        })
    }
}

fn add_user(
    transaction: &Session<'_>,
    name: &str,
    provider: &str,
    now_unix_ms: i64,
) -> Result<User, CatalogError> {
    transaction.execute(
        "INSERT INTO users (account, name, grants, disabled, password_hash, totp_step, failed_attempts,
             created_unix_ms, provider)
         VALUES (?1, ?2, '[]', 0, '', 0, 0, ?3, ?4)",
        params![next_number(transaction, "account")?, name, now_unix_ms, provider],
    )?;
    user_by_name(transaction, name)
}

/// Changes a provider. Sessions of its users end where it is not enabled any more.
pub(crate) fn apply(transaction: &Session<'_>, new: &ProviderChange) -> Result<(), CatalogError> {
    there(transaction, &new.name)?;
    transaction.execute(
        "UPDATE identity_providers SET document = ?2, enabled = ?3, alone = ?4 WHERE name = ?1",
        params![new.name, new.document, i64::from(new.enabled), new.alone],
    )?;
    for (user, grants) in &new.grants {
        let there = user_by_name(transaction, user)?;
        change(transaction, user, grants, there.disabled)?;
    }
    if !new.enabled {
        for user in users_of(transaction, &new.name)? {
            end_sessions(transaction, &user.name)?;
        }
    }
    Ok(())
}

fn users_of(catalog: &Session<'_>, provider: &str) -> Result<Vec<User>, CatalogError> {
    let users = all_users(catalog)?;
    Ok(users.into_iter().filter(|user| user.provider.as_deref() == Some(provider)).collect())
}

pub(crate) fn all_providers(catalog: &Session<'_>) -> Result<Vec<IdentityProvider>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM identity_providers ORDER BY name")?;
    let mut rows = ask.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(from_row(&Cells::new("identity_providers", row))?);
    }
    Ok(found)
}

fn by_name(catalog: &Session<'_>, name: &str) -> Result<Option<IdentityProvider>, CatalogError> {
    let mut ask = catalog.prepare_cached("SELECT * FROM identity_providers WHERE name = ?1")?;
    let mut rows = ask.query([name])?;
    rows.next()?.map(|row| from_row(&Cells::new("identity_providers", row))).transpose()
}

pub(crate) fn there(catalog: &Session<'_>, name: &str) -> Result<IdentityProvider, CatalogError> {
    by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("identity provider", name))
}

fn from_row(cells: &Cells<'_>) -> Result<IdentityProvider, CatalogError> {
    Ok(IdentityProvider {
        name: cells.get("name")?,
        document: cells.get("document")?,
        secret: cells.get("secret")?,
        enabled: cells.get::<i64>("enabled")? != 0,
        alone: cells.get("alone")?,
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
