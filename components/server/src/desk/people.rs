//! Users, roles and API tokens. Nobody gives more than they have, and nobody changes who has more.

mod tokens;

pub(super) use tokens::is_later;

use simsim_catalog::{ApiToken, Approval, Catalog, NewApiToken, User};
use zeroize::Zeroizing;

use super::datastores::check_name;
use crate::api::{
    ApiTokenNameRequest, ApiTokenView, CreateApiTokenReply, CreateApiTokenRequest, OneTimeReply,
    OneTimeRequest, PasswordRequest, RoleView, UserNameRequest, UserRequest, UserView, WhoView,
};
use crate::clock::now_unix_ms;
use crate::people::second_person::{self, PeopleChange};
use crate::people::{
    Granted, Role, check_scopes, in_words, is_user_name, name_of_user, new_secret, one_time,
    passwords, unfold,
};
use crate::retention::{self, Act, Came};
use crate::rights::{Grant, LOCAL_ROOT, Object, Principal, Right, person_of};
use crate::{Server, ServerError};

/// Ten years.
const TOKEN_DAYS_MAX: u32 = 3650;
const DAY_MS: i64 = 86_400_000;
const TOKEN_PREFIX: &str = "simsim_api_";

impl Server {
    /// Who asks, and what that allows. Everybody who is known may ask it.
    pub async fn who(&self, who: &Principal) -> Result<WhoView, ServerError> {
        Ok(WhoView { name: who.name().to_owned(), grants: who.grants().to_vec() })
    }

    /// Adds a user.
    pub async fn add_user(
        &self,
        who: &Principal,
        request: UserRequest,
    ) -> Result<UserView, ServerError> {
        if request.provider.is_some() {
            return self.add_user_of_provider(who, request).await;
        }
        check_name(&request.name)?;
        let grants = self.unfolded(&request.grants).await?;
        let Some(password) = request.password.map(Zeroizing::new) else {
            return Err(ServerError::invalid("a new user needs a password"));
        };
        passwords::check_new(&password)?;
        self.may_give(who, "user.add", &grants, &request.name, &request.grants).await?;
        let hash = passwords::hash(password).await?;
        // What weighs is given in a second step, which may have to wait for a second person.
        let waits = second_person::more(&[], &grants).is_some();
        let document = document(if waits { &[] } else { &request.grants })?;
        let (name, disabled, by) = (request.name.clone(), request.disabled, setter(who));
        self.house
            .books
            .run(move |catalog| {
                let user = catalog.add_user(&name, &document, &hash, &by, now_unix_ms())?;
                match disabled {
                    true => catalog.change_user(&name, &document, true),
                    false => Ok(user),
                }
            })
            .await?;
        if waits {
            let change = PeopleChange {
                user: Some(request.name.clone()),
                token: None,
                grants: request.grants,
                disabled: request.disabled,
                removed: false,
            };
            self.change_people(who, "user.add", &[], change).await?;
        }
        self.user_view(&request.name).await
    }

    /// Adds a user who signs in by an identity provider. The name is bound to the first who comes with it from there.
    async fn add_user_of_provider(
        &self,
        who: &Principal,
        request: UserRequest,
    ) -> Result<UserView, ServerError> {
        self.may_see(who, Right::People, "user.add", Object::Suite).await?;
        if !is_user_name(&request.name) {
            return Err(ServerError::invalid(format!(
                "'{}' cannot be a name: use letters, digits, dots, dashes, underscores and at signs",
                request.name.escape_debug()
            )));
        }
        if request.password.is_some() || !request.grants.is_empty() {
            return Err(ServerError::invalid(
                "who signs in by an identity provider has no password here, and may what the groups there are given",
            ));
        }
        let provider = request.provider.unwrap_or_default();
        let detail = format!("{}: signs in by '{provider}'", request.name);
        self.may_do(who, Right::People, "user.add", Object::Suite, detail).await?;
        let (name, disabled) = (request.name.clone(), request.disabled);
        self.house
            .books
            .run(move |catalog| {
                let user = catalog.add_user_of_provider(&name, &provider, now_unix_ms())?;
                match disabled {
                    true => catalog.change_user(&name, &user.grants, true),
                    false => Ok(user),
                }
            })
            .await?;
        self.user_view(&request.name).await
    }

    /// Refuses for who signs in by an identity provider what is the provider's to decide.
    pub(super) async fn is_of_the_suite(&self, name: &str, what: &str) -> Result<(), ServerError> {
        let user = name.to_owned();
        let user = self.house.books.run(move |catalog| catalog.user(&user)).await?;
        match user.provider {
            None => Ok(()),
            Some(provider) => Err(ServerError::invalid(format!(
                "user '{name}' signs in by the identity provider '{provider}', and {what}"
            ))),
        }
    }

    /// All users, by name.
    pub async fn users(&self, who: &Principal) -> Result<Vec<UserView>, ServerError> {
        self.may_see(who, Right::People, "list users of", Object::Suite).await?;
        let all = |catalog: &Catalog| Ok((catalog.users()?, catalog.approvals(true)?));
        let (users, approvals) = self.house.books.run(all).await?;
        users.into_iter().map(|user| view(user, &approvals)).collect()
    }

    /// One user.
    pub async fn user(
        &self,
        who: &Principal,
        request: UserNameRequest,
    ) -> Result<UserView, ServerError> {
        self.may_see(who, Right::People, "see users of", Object::Suite).await?;
        self.user_view(&request.name).await
    }

    /// Gives a user these grants and no others, and where there is one, another password. Who is
    /// disabled is out at once, with all tokens and sessions.
    pub async fn change_user(
        &self,
        who: &Principal,
        request: UserRequest,
    ) -> Result<UserView, ServerError> {
        let grants = self.unfolded(&request.grants).await?;
        if let Some(password) = &request.password {
            passwords::check_new(password)?;
        }
        let before = self.grants_of_user(who, "user.change", &request.name).await?;
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.user(&name)).await?;
        if request.provider.is_some() && request.provider != there.provider {
            return Err(ServerError::invalid(
                "how a user signs in stays: remove the user, and add one with the same name",
            ));
        }
        if request.password.is_some() {
            self.knows_not_who_approves(who, "user.change", &request.name).await?;
        }
        if request.password.is_some() || granted_of(&there.grants)? != request.grants {
            self.is_of_the_suite(
                &request.name,
                "has no password here, and may what the groups there are given ('simsim identity-provider change')",
            )
            .await?;
        }
        self.may_give(who, "user.change", &grants, &request.name, &request.grants).await?;
        if request.disabled {
            let detail = format!("'{}' is disabled", request.name);
            self.may_do(who, Right::People, "user.change", Object::Suite, detail).await?;
        }
        if let Some(password) = request.password {
            let hash = passwords::hash(Zeroizing::new(password)).await?;
            let (name, by) = (request.name.clone(), setter(who));
            self.house
                .books
                .run(move |catalog| catalog.set_password(&name, &hash, &by, now_unix_ms()))
                .await?;
        }
        let change = PeopleChange {
            user: Some(request.name.clone()),
            token: None,
            grants: request.grants,
            disabled: request.disabled,
            removed: false,
        };
        self.change_people(who, "user.change", &before, change).await?;
        self.user_view(&request.name).await
    }

    /// Gives a user another password. Sessions end, and wrong log-ins are forgotten.
    pub async fn set_password(
        &self,
        who: &Principal,
        request: PasswordRequest,
    ) -> Result<UserView, ServerError> {
        let password = Zeroizing::new(request.password);
        passwords::check_new(&password)?;
        self.grants_of_user(who, "user.password", &request.name).await?;
        self.knows_not_who_approves(who, "user.password", &request.name).await?;
        self.is_of_the_suite(&request.name, "has no password here").await?;
        let detail = format!("'{}'", request.name);
        self.may_do(who, Right::People, "user.password", Object::Suite, detail).await?;
        let hash = passwords::hash(password).await?;
        let (name, by) = (request.name.clone(), setter(who));
        self.house
            .books
            .run(move |catalog| catalog.set_password(&name, &hash, &by, now_unix_ms()))
            .await?;
        self.user_view(&request.name).await
    }

    /// Gives a user a new secret for one-time passwords, which is in the answer and nowhere else; or takes it
    /// away.
    pub async fn set_one_time(
        &self,
        who: &Principal,
        request: OneTimeRequest,
    ) -> Result<OneTimeReply, ServerError> {
        self.grants_of_user(who, "user.one-time", &request.name).await?;
        self.knows_not_who_approves(who, "user.one-time", &request.name).await?;
        self.is_of_the_suite(&request.name, "a second proof is asked for there").await?;
        let detail = format!("'{}': {}", request.name, if request.on { "new" } else { "none" });
        self.may_do(who, Right::People, "user.one-time", Object::Suite, detail).await?;
        self.keep_one_time(&request.name, request.on).await
    }

    /// A new secret, or none.
    pub(super) async fn keep_one_time(
        &self,
        name: &str,
        on: bool,
    ) -> Result<OneTimeReply, ServerError> {
        let made = match on {
            true => Some(one_time::new(name, &self.house.master)?),
            false => None,
        };
        let (secret, sealed) = made.unzip();
        let owner = name.to_owned();
        let set = move |catalog: &Catalog| catalog.set_totp(&owner, sealed.as_deref());
        self.house.books.run(set).await?;
        let uri = secret.as_ref().map(|secret| one_time::uri(name, &self.house.name, secret));
        let secret = secret.map(|secret| secret.to_string());
        Ok(OneTimeReply { user: self.user_view(name).await?, secret, uri })
    }

    /// Removes a user, with the user's tokens and sessions.
    pub async fn delete_user(
        &self,
        who: &Principal,
        request: UserNameRequest,
    ) -> Result<UserView, ServerError> {
        let before = self.grants_of_user(who, "user.remove", &request.name).await?;
        let detail = format!("'{}'", request.name);
        self.may_do(who, Right::People, "user.remove", Object::Suite, detail).await?;
        let there = self.user_view(&request.name).await?;
        let change = PeopleChange {
            user: Some(request.name.clone()),
            token: None,
            grants: Vec::new(),
            disabled: false,
            removed: true,
        };
        match self.change_people(who, "user.remove", &before, change).await? {
            // It stays until a second person agrees.
            Some(_) => self.user_view(&request.name).await,
            None => Ok(there),
        }
    }

    /// All roles with what they allow.
    pub async fn roles(&self, who: &Principal) -> Result<Vec<RoleView>, ServerError> {
        self.may_see(who, Right::View, "list roles of", Object::Suite).await?;
        let view = |role: Role| RoleView { role, rights: role.rights().to_vec() };
        Ok(Role::ALL.into_iter().map(view).collect())
    }

    /// Makes an API token. Its secret is in the answer and nowhere else.
    pub async fn create_api_token(
        &self,
        who: &Principal,
        request: CreateApiTokenRequest,
    ) -> Result<CreateApiTokenReply, ServerError> {
        check_name(&request.name)?;
        if request.expires_days > TOKEN_DAYS_MAX {
            return Err(ServerError::invalid(format!(
                "an API token is good for at most {TOKEN_DAYS_MAX} days; 0 is for ever"
            )));
        }
        if request.grants.is_empty() {
            return Err(ServerError::invalid("say what the token may: at least one role or right"));
        }
        let grants = self.unfolded(&request.grants).await?;
        if let Some(user) = &request.user {
            // It may not do more than the user, so nobody gets more by it; but who makes it has it.
            self.grants_of_user(who, "api-token.create", user).await?;
            self.knows_not_who_approves(who, "api-token.create", user).await?;
        }
        let label = format!("API token '{}'", request.name);
        self.may_give(who, "api-token.create", &grants, &label, &request.grants).await?;
        // One of a user may nothing that the user does not; anything else that weighs may have to wait.
        let waits = request.user.is_none() && second_person::more(&[], &grants).is_some();
        let (secret, secret_hash) = new_secret(TOKEN_PREFIX)?;
        let now = now_unix_ms();
        let new = NewApiToken {
            name: request.name,
            user: request.user,
            grants: document(if waits { &[] } else { &request.grants })?,
            secret_hash,
            created_by: who.name().to_owned(),
            expires_unix_ms: match request.expires_days {
                0 => None,
                days => Some(now.saturating_add(i64::from(days) * DAY_MS)),
            },
        };
        let token = self.house.books.run(move |catalog| catalog.add_api_token(&new, now)).await?;
        if waits {
            let change = PeopleChange {
                user: None,
                token: Some(token.name.clone()),
                grants: request.grants,
                disabled: false,
                removed: false,
            };
            self.change_people(who, "api-token.create", &[], change).await?;
        }
        let name = token.name;
        let again =
            move |catalog: &Catalog| Ok((catalog.api_token(&name)?, catalog.approvals(true)?));
        let (token, approvals) = self.house.books.run(again).await?;
        Ok(CreateApiTokenReply {
            token: token_view(token, &approvals)?,
            secret: secret.to_string(),
        })
    }

    /// All API tokens, by name.
    pub async fn api_tokens(&self, who: &Principal) -> Result<Vec<ApiTokenView>, ServerError> {
        self.may_see(who, Right::People, "list API tokens of", Object::Suite).await?;
        let all = |catalog: &Catalog| Ok((catalog.api_tokens()?, catalog.approvals(true)?));
        let (tokens, approvals) = self.house.books.run(all).await?;
        tokens.into_iter().map(|token| token_view(token, &approvals)).collect()
    }

    /// Takes an API token's right, now.
    pub async fn revoke_api_token(
        &self,
        who: &Principal,
        request: ApiTokenNameRequest,
    ) -> Result<ApiTokenView, ServerError> {
        let detail = format!("'{}'", request.name);
        self.may_do(who, Right::People, "api-token.revoke", Object::Suite, detail).await?;
        let revoked = move |catalog: &simsim_catalog::Catalog| {
            catalog.revoke_api_token(&request.name, now_unix_ms())
        };
        token_view(self.house.books.run(revoked).await?, &[])
    }

    /// What a user may, for somebody who may change that: no one reaches above themselves.
    pub(super) async fn grants_of_user(
        &self,
        who: &Principal,
        verb: &'static str,
        name: &str,
    ) -> Result<Vec<Grant>, ServerError> {
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        let user = name.to_owned();
        let user = self.house.books.run(move |catalog| catalog.user(&user)).await?;
        let grants = self.unfolded_as_kept(&user.grants).await?;
        self.reaches(who, verb, &grants, &format!("user '{name}' has rights that you do not have"))
            .await?;
        // Whoever could take the account now would have what comes.
        let of = |change: &PeopleChange| change.user.as_deref() == Some(name);
        let waiting = self.waiting_grants(of).await?;
        let otherwise =
            format!("what waits for a second person gives '{name}' rights that you do not have");
        self.reaches(who, verb, &waiting, &otherwise).await?;
        Ok(grants)
    }

    /// What open approvals give to whom they are about.
    async fn waiting_grants(
        &self,
        is_its: impl Fn(&PeopleChange) -> bool,
    ) -> Result<Vec<Grant>, ServerError> {
        let all = |catalog: &Catalog| Ok((catalog.approvals(true)?, catalog.places()?));
        let (approvals, places) = self.house.books.run(all).await?;
        let now = now_unix_ms();
        let mut waiting = Vec::new();
        for approval in approvals.iter().filter(|one| one.expires_unix_ms > now) {
            if let Ok(Act::People(change)) = retention::read_act(approval)
                && is_its(&change)
            {
                waiting.extend(unfold(&change.grants, &places)?);
            }
        }
        Ok(waiting)
    }

    /// Refuses to come to know by what somebody who may approve proves who that is: one person could be two then. Root on
    /// the server's own host may, and could do anything there.
    async fn knows_not_who_approves(
        &self,
        who: &Principal,
        verb: &'static str,
        name: &str,
    ) -> Result<(), ServerError> {
        if who.name() == LOCAL_ROOT || person_of(who.name()) == Some(&*name_of_user(name)) {
            return Ok(());
        }
        let user = name.to_owned();
        let user = self.house.books.run(move |catalog| catalog.user(&user)).await?;
        let mut grants = self.unfolded_as_kept(&user.grants).await?;
        let of = |change: &PeopleChange| change.user.as_deref() == Some(name);
        grants.extend(self.waiting_grants(of).await?);
        if !second_person::may_approve(&grants) {
            return Ok(());
        }
        let refusal = ServerError::Refused(format!(
            "{verb}: user '{name}' may approve what others ask for, so nobody else knows by what '{name}' signs in: \
             '{name}' changes it alone, or root does on the server's own host"
        ));
        self.write_down(who, verb, Object::Suite.to_string(), false, refusal.to_string()).await?;
        Err(refusal)
    }

    /// Checks that somebody may give this, and writes it down.
    async fn may_give(
        &self,
        who: &Principal,
        verb: &'static str,
        after: &[Grant],
        to: &str,
        granted: &[Granted],
    ) -> Result<(), ServerError> {
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        self.reaches(who, verb, after, "nobody gives rights that they do not have").await?;
        let detail = format!("{to}: {}", in_words(granted));
        self.may_do(who, Right::People, verb, Object::Suite, detail).await
    }

    /// Does a change of people, or keeps it for a second person: then its number. `before`: what was allowed.
    async fn change_people(
        &self,
        who: &Principal,
        verb: &'static str,
        before: &[Grant],
        change: PeopleChange,
    ) -> Result<Option<u64>, ServerError> {
        let after = match change.removed || change.disabled {
            true => Vec::new(),
            false => self.unfolded(&change.grants).await?,
        };
        let weighs = second_person::more(before, &after);
        let (number, line) = match retention::perform(&self.house, who, Act::People(change)).await?
        {
            Came::Done(_) => (None, weighs.map(|why| format!("one person alone, {why}"))),
            Came::Asked(number) => {
                (Some(number), Some(format!("waits for a second person: approval {number}")))
            }
        };
        if let Some(line) = line {
            self.write_down(who, verb, Object::Suite.to_string(), true, line).await?;
        }
        Ok(number)
    }

    pub(super) async fn user_view(&self, name: &str) -> Result<UserView, ServerError> {
        let name = name.to_owned();
        let read = move |catalog: &Catalog| Ok((catalog.user(&name)?, catalog.approvals(true)?));
        let (user, approvals) = self.house.books.run(read).await?;
        view(user, &approvals)
    }

    /// What grants allow now; those for something that is not there are refused.
    async fn unfolded(&self, granted: &[Granted]) -> Result<Vec<Grant>, ServerError> {
        let places = self.house.books.run(|catalog| catalog.places()).await?;
        check_scopes(granted, &places)?;
        unfold(granted, &places)
    }

    async fn unfolded_as_kept(&self, document: &str) -> Result<Vec<Grant>, ServerError> {
        let places = self.house.books.run(|catalog| catalog.places()).await?;
        unfold(&granted_of(document)?, &places)
    }

    pub(super) async fn reaches(
        &self,
        who: &Principal,
        verb: &'static str,
        grants: &[Grant],
        otherwise: &str,
    ) -> Result<(), ServerError> {
        if who.covers(grants) {
            return Ok(());
        }
        let refusal = ServerError::Refused(format!("{verb}: {otherwise}"));
        self.write_down(who, verb, Object::Suite.to_string(), false, refusal.to_string()).await?;
        Err(refusal)
    }
}

fn document(granted: &[Granted]) -> Result<String, ServerError> {
    serde_json::to_string(granted).map_err(|error| ServerError::Lost(error.to_string()))
}

fn granted_of(document: &str) -> Result<Vec<Granted>, ServerError> {
    serde_json::from_str(document)
        .map_err(|error| ServerError::Key(format!("grants in the catalog cannot be read: {error}")))
}

/// Who sets a password, as it is kept with it.
fn setter(who: &Principal) -> String {
    person_of(who.name()).unwrap_or_else(|| who.name()).to_owned()
}

/// The newest act that waits and is about this user or token.
fn waits_for(approvals: &[Approval], is_its: impl Fn(&PeopleChange) -> bool) -> Option<u64> {
    let now = now_unix_ms();
    approvals.iter().filter(|one| one.expires_unix_ms > now).find_map(|approval| {
        match retention::read_act(approval) {
            Ok(Act::People(change)) if is_its(&change) => Some(approval.number),
            _ => None,
        }
    })
}

fn view(user: User, approvals: &[Approval]) -> Result<UserView, ServerError> {
    Ok(UserView {
        waits_for: waits_for(approvals, |change| change.user.as_ref() == Some(&user.name)),
        grants: granted_of(&user.grants)?,
        name: user.name,
        disabled: user.disabled,
        provider: user.provider,
        one_time_passwords: user.totp_sealed.is_some(),
        created_unix_ms: user.created_unix_ms,
        seen_unix_ms: user.seen_unix_ms,
        locked_until_unix_ms: user.locked_until_unix_ms.filter(|until| *until > now_unix_ms()),
    })
}

fn token_view(token: ApiToken, approvals: &[Approval]) -> Result<ApiTokenView, ServerError> {
    let waits_for = waits_for(approvals, |change| change.token.as_ref() == Some(&token.name));
    let state = match (token.revoked_unix_ms, token.is_expired(now_unix_ms())) {
        (Some(_), _) => "revoked",
        (None, true) => "expired",
        (None, false) => "valid",
    };
    Ok(ApiTokenView {
        grants: granted_of(&token.grants)?,
        name: token.name,
        user: token.user,
        state: state.to_owned(),
        created_by: token.created_by,
        created_unix_ms: token.created_unix_ms,
        expires_unix_ms: token.expires_unix_ms,
        revoked_unix_ms: token.revoked_unix_ms,
        used_unix_ms: token.used_unix_ms,
        waits_for,
    })
}
