//! Identity providers: adding, changing, showing, trying and removing them.

use simsim_catalog::{Approval, Catalog, IdentityProvider, NewProvider, NewSecret};
use simsim_openid::Provider;
use zeroize::Zeroizing;

use super::datastores::check_name;
use crate::api::{IdentityProviderRequest, IdentityProviderView, NameRequest};
use crate::clock::now_unix_ms;
use crate::people::check_scopes;
use crate::people::providers::{
    self, ProviderAct, all_grants, groups_in_words, other_issuer, purpose, request_of, settings_of,
    to_text,
};
use crate::retention::{self, Act, Came};
use crate::rights::{Grant, Object, Principal, Right};
use crate::{Server, ServerError};

const SECRET_BYTES_MAX: usize = 4096;
const AUTHORITY_BYTES_MAX: usize = 256 * 1024;
const TEXT_BYTES_MAX: usize = 1024;
const LIST_MAX: usize = 256;

impl Server {
    /// Adds an identity provider. Where it gives what weighs, nobody signs in by it before a second person agrees.
    pub async fn add_identity_provider(
        &self,
        who: &Principal,
        mut request: IdentityProviderRequest,
    ) -> Result<IdentityProviderView, ServerError> {
        let verb = "identity-provider.add";
        let given = request.secret.take().map(Zeroizing::new);
        self.may_set_provider(who, verb, &request, None, given.is_some()).await?;
        let secret = self.sealed_secret(&mut request, given, None)?;
        // What it lets people do is given in a second step, which may have to wait for a second person.
        let bare =
            IdentityProviderRequest { enabled: false, groups: Vec::new(), ..request.clone() };
        let new = NewProvider {
            name: request.name.clone(),
            document: to_text(&bare)?,
            secret,
            enabled: false,
            alone: None,
        };
        self.house
            .books
            .run(move |catalog| catalog.add_identity_provider(&new, now_unix_ms()))
            .await?;
        let name = request.name.clone();
        if let Err(error) = self.set_provider(who, verb, request).await {
            // Nothing of it stays.
            self.house.books.run(move |catalog| catalog.delete_identity_provider(&name)).await?;
            return Err(error);
        }
        self.provider_view(&name).await
    }

    /// Replaces all of an identity provider but its name and its issuer, and its secret where the request has none.
    pub async fn change_identity_provider(
        &self,
        who: &Principal,
        mut request: IdentityProviderRequest,
    ) -> Result<IdentityProviderView, ServerError> {
        let verb = "identity-provider.change";
        let given = request.secret.take().map(Zeroizing::new);
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.identity_provider(&name)).await?;
        self.may_set_provider(who, verb, &request, Some(&there), given.is_some()).await?;
        let secret = self.sealed_secret(&mut request, given, Some(&there))?;
        let name = request.name.clone();
        let named = name.clone();
        self.house.books.run(move |catalog| catalog.set_provider_secret(&named, &secret)).await?;
        self.set_provider(who, verb, request).await?;
        self.provider_view(&name).await
    }

    /// All identity providers, by name.
    pub async fn identity_providers(
        &self,
        who: &Principal,
    ) -> Result<Vec<IdentityProviderView>, ServerError> {
        self.may_see(who, Right::View, "list identity providers of", Object::Suite).await?;
        let rows = self.house.books.run(|catalog| catalog.identity_providers()).await?;
        let mut views = Vec::new();
        for row in rows {
            views.push(self.provider_view(&row.name).await?);
        }
        Ok(views)
    }

    /// One identity provider.
    pub async fn identity_provider(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<IdentityProviderView, ServerError> {
        self.may_see(who, Right::View, "see identity providers of", Object::Suite).await?;
        self.provider_view(&request.name).await
    }

    /// Asks an identity provider what it says of itself, and for its keys, now; what went wrong is the error, in words.
    pub async fn test_identity_provider(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<IdentityProviderView, ServerError> {
        let name = request.name.clone();
        self.may_do(who, Right::People, "identity-provider.test", Object::Suite, name).await?;
        let name = request.name.clone();
        let row = self.house.books.run(move |catalog| catalog.identity_provider(&name)).await?;
        let settings = settings_of(&request_of(&row)?, None);
        let node = format!("identity provider '{}'", row.name);
        let failed = |error: simsim_openid::OpenIdError| {
            ServerError::node(&node, error.kind(), error.to_string())
        };
        // A new one, which has no answers of before.
        Provider::new(settings).map_err(failed)?.is_there().await.map_err(failed)?;
        self.provider_view(&request.name).await
    }

    /// Removes an identity provider by which nobody signs in any more.
    pub async fn delete_identity_provider(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let verb = "identity-provider.remove";
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.identity_provider(&name)).await?;
        self.reaches_provider(who, verb, &request_of(&there)?).await?;
        let name = request.name.clone();
        self.may_do(who, Right::People, verb, Object::Suite, name).await?;
        self.house.books.run(move |catalog| catalog.delete_identity_provider(&request.name)).await
    }

    /// Checks all that can be checked before something is changed, and writes it down.
    async fn may_set_provider(
        &self,
        who: &Principal,
        verb: &'static str,
        request: &IdentityProviderRequest,
        there: Option<&IdentityProvider>,
        secret_given: bool,
    ) -> Result<(), ServerError> {
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        check_name(&request.name)?;
        check(request)?;
        let rows = self.house.books.run(|catalog| catalog.identity_providers()).await?;
        if let Some(there) = there {
            let before = request_of(there)?;
            if before.issuer != request.issuer {
                return Err(other_issuer());
            }
            let same =
                before.authority == request.authority && before.client_id == request.client_id;
            if there.secret.is_some() && !same && !secret_given {
                return Err(ServerError::Refused(
                    "the secret would go over another line, or for another client, than the one it was given for: give it \
                     again (--secret-file), or none (an empty one)"
                        .to_owned(),
                ));
            }
            self.reaches_provider(who, verb, &before).await?;
        }
        for row in rows.iter().filter(|row| row.name != request.name) {
            if request_of(row)?.issuer == request.issuer {
                return Err(ServerError::invalid(format!(
                    "'{}' is the identity provider of that issuer already: one person would be two users here",
                    row.name
                )));
            }
        }
        let places = self.house.books.run(|catalog| catalog.places()).await?;
        for one in &request.groups {
            check_scopes(&one.grants, &places)?;
        }
        self.reaches_provider(who, verb, request).await?;
        let off = if request.enabled { "" } else { ", not enabled" };
        let detail = format!(
            "{}: {}{off}; {}",
            request.name,
            request.issuer,
            groups_in_words(&request.groups)
        );
        self.may_do(who, Right::People, verb, Object::Suite, detail).await
    }

    /// Nobody gives rights that they do not have, nor decides on those of who has more.
    async fn reaches_provider(
        &self,
        who: &Principal,
        verb: &'static str,
        request: &IdentityProviderRequest,
    ) -> Result<(), ServerError> {
        let places = self.house.books.run(|catalog| catalog.places()).await?;
        let grants: Vec<Grant> = all_grants(&request.groups, &places)?;
        self.reaches(who, verb, &grants, "its groups are given rights that you do not have").await
    }

    /// What becomes of the secret.
    fn sealed_secret(
        &self,
        request: &mut IdentityProviderRequest,
        given: Option<Zeroizing<String>>,
        there: Option<&IdentityProvider>,
    ) -> Result<NewSecret, ServerError> {
        match given {
            Some(secret) if secret.is_empty() => {
                request.has_secret = false;
                Ok(NewSecret::None)
            }
            Some(secret) if secret.len() > SECRET_BYTES_MAX => Err(ServerError::invalid(format!(
                "the secret has at most {SECRET_BYTES_MAX} bytes"
            ))),
            Some(secret) => {
                request.has_secret = true;
                let sealed = self.house.master.seal(&purpose(&request.name), secret.as_bytes())?;
                Ok(NewSecret::Sealed(sealed))
            }
            None => {
                request.has_secret |= there.is_some_and(|there| there.secret.is_some());
                Ok(NewSecret::Keep)
            }
        }
    }

    /// Makes a provider what was asked for, or keeps that for a second person.
    async fn set_provider(
        &self,
        who: &Principal,
        verb: &'static str,
        request: IdentityProviderRequest,
    ) -> Result<(), ServerError> {
        let name = request.name.clone();
        let act = ProviderAct { verb: verb.to_owned(), provider: request };
        match retention::perform(&self.house, who, Act::Provider(act)).await? {
            Came::Asked(number) => {
                let line = format!("'{name}' waits for a second person: approval {number}");
                self.write_down(who, verb, Object::Suite.to_string(), true, line).await
            }
            Came::Done(_) => {
                let row =
                    self.house.books.run(move |catalog| catalog.identity_provider(&name)).await?;
                let Some(alone) = row.alone else { return Ok(()) };
                let line = format!("'{}': one person alone, {alone}", row.name);
                self.write_down(who, verb, Object::Suite.to_string(), true, line).await
            }
        }
    }

    async fn provider_view(&self, name: &str) -> Result<IdentityProviderView, ServerError> {
        let name = name.to_owned();
        let read = move |catalog: &Catalog| {
            Ok((catalog.identity_provider(&name)?, catalog.users()?, catalog.approvals(true)?))
        };
        let (row, users, approvals) = self.house.books.run(read).await?;
        let request = request_of(&row)?;
        let console = self.house.config.console.as_deref().unwrap_or_default();
        Ok(IdentityProviderView {
            redirect: format!("{console}{}", crate::people::way_back(&row.name)),
            users: users.iter().filter(|user| user.provider.as_ref() == Some(&row.name)).count()
                as u64,
            waits_for: waits_for(&approvals, &row.name),
            has_secret: row.secret.is_some() || request.has_secret,
            secret_missing: request.has_secret && row.secret.is_none(),
            enabled: row.enabled,
            name: row.name,
            issuer: request.issuer,
            client_id: request.client_id,
            scopes: request.scopes,
            name_claim: request.name_claim,
            groups_claim: request.groups_claim,
            groups: request.groups,
            creates_users: request.creates_users,
            authority: request.authority,
            alone: row.alone,
            created_unix_ms: row.created_unix_ms,
        })
    }
}

fn waits_for(approvals: &[Approval], name: &str) -> Option<u64> {
    let now = now_unix_ms();
    approvals.iter().filter(|one| one.expires_unix_ms > now).find_map(|approval| {
        match retention::read_act(approval) {
            Ok(Act::Provider(act)) if act.provider.name == name => Some(approval.number),
            _ => None,
        }
    })
}

fn check(request: &IdentityProviderRequest) -> Result<(), ServerError> {
    if request.authority.as_ref().is_some_and(|pem| pem.len() > AUTHORITY_BYTES_MAX) {
        return Err(ServerError::invalid(format!(
            "the authority has at most {AUTHORITY_BYTES_MAX} bytes"
        )));
    }
    if request.groups.len() > LIST_MAX || request.scopes.len() > LIST_MAX {
        return Err(ServerError::invalid(format!("at most {LIST_MAX} groups, and as many scopes")));
    }
    let text = |what: &str, text: &str| match text.is_empty()
        || text.len() > TEXT_BYTES_MAX
        || text.chars().any(char::is_control)
    {
        true => Err(ServerError::invalid(format!(
            "'{}' cannot be {what}: it has 1 to {TEXT_BYTES_MAX} bytes, and no control characters",
            text.escape_debug()
        ))),
        false => Ok(()),
    };
    text("a client id", &request.client_id)?;
    text("the claim with the name", &request.name_claim)?;
    text("the claim with the groups", &request.groups_claim)?;
    request.scopes.iter().try_for_each(|scope| text("a scope", scope))?;
    for one in &request.groups {
        text("a group", &one.group)?;
        if request.groups.iter().filter(|other| other.group == one.group).count() > 1 {
            return Err(ServerError::invalid(format!("group '{}' stands there twice", one.group)));
        }
        if one.grants.is_empty() {
            return Err(ServerError::invalid(format!(
                "say what group '{}' may: at least one role or right",
                one.group
            )));
        }
    }
    Provider::new(settings_of(request, None))
        .map(drop)
        .map_err(|error| ServerError::invalid(error.to_string()))
}

/// What `status` says of those whose secret nobody gave.
pub(super) fn without_secret(rows: &[IdentityProvider]) -> Vec<String> {
    let lacks = rows.iter().filter(|row| {
        row.secret.is_none() && providers::request_of(row).is_ok_and(|request| request.has_secret)
    });
    lacks
        .map(|row| {
            format!(
                "nobody signs in by identity provider '{0}', because its secret was not given: 'simsim \
                 identity-provider change {0} --secret-file FILE'",
                row.name
            )
        })
        .collect()
}
