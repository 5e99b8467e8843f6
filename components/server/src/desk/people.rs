//! Users, roles and API tokens. Nobody gives more than they have, and nobody changes who has more.

use simsim_catalog::{ApiToken, NewApiToken, User};
use zeroize::Zeroizing;

use super::datastores::check_name;
use crate::api::{
    ApiTokenNameRequest, ApiTokenView, CreateApiTokenReply, CreateApiTokenRequest, OneTimeReply,
    OneTimeRequest, PasswordRequest, RoleView, UserNameRequest, UserRequest, UserView, WhoView,
};
use crate::clock::now_unix_ms;
use crate::people::{
    Granted, Role, in_words, new_secret, one_time, passwords, second_person, unfold,
};
use crate::rights::{Grant, Object, Principal, Right};
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
        check_name(&request.name)?;
        let grants = unfold(&request.grants)?;
        let Some(password) = request.password.map(Zeroizing::new) else {
            return Err(ServerError::invalid("a new user needs a password"));
        };
        passwords::check_new(&password)?;
        self.may_give(who, "user.add", &[], &grants, &request.name, &request.grants).await?;
        let hash = passwords::hash(password).await?;
        let document = document(&request.grants)?;
        let (name, disabled) = (request.name, request.disabled);
        let user = self
            .house
            .books
            .run(move |catalog| {
                let user = catalog.add_user(&name, &document, &hash, now_unix_ms())?;
                match disabled {
                    true => catalog.change_user(&name, &document, true),
                    false => Ok(user),
                }
            })
            .await?;
        view(user)
    }

    /// All users, by name.
    pub async fn users(&self, who: &Principal) -> Result<Vec<UserView>, ServerError> {
        self.may_see(who, Right::People, "list users of", Object::Suite).await?;
        let users = self.house.books.run(|catalog| catalog.users()).await?;
        users.into_iter().map(view).collect()
    }

    /// One user.
    pub async fn user(
        &self,
        who: &Principal,
        request: UserNameRequest,
    ) -> Result<UserView, ServerError> {
        self.may_see(who, Right::People, "see users of", Object::Suite).await?;
        view(self.house.books.run(move |catalog| catalog.user(&request.name)).await?)
    }

    /// Gives a user these grants and no others, and where there is one, another password. Who is
    /// disabled is out at once, with all tokens and sessions.
    pub async fn change_user(
        &self,
        who: &Principal,
        request: UserRequest,
    ) -> Result<UserView, ServerError> {
        let grants = unfold(&request.grants)?;
        if let Some(password) = &request.password {
            passwords::check_new(password)?;
        }
        let before = self.grants_of_user(who, "user.change", &request.name).await?;
        self.may_give(who, "user.change", &before, &grants, &request.name, &request.grants).await?;
        if request.disabled {
            let detail = format!("'{}' is disabled", request.name);
            self.may_do(who, Right::People, "user.change", Object::Suite, detail).await?;
        }
        let hash = match request.password {
            Some(password) => Some(passwords::hash(Zeroizing::new(password)).await?),
            None => None,
        };
        let document = document(&request.grants)?;
        let (name, disabled) = (request.name, request.disabled);
        let user = self
            .house
            .books
            .run(move |catalog| {
                if let Some(hash) = hash {
                    catalog.set_password(&name, &hash)?;
                }
                catalog.change_user(&name, &document, disabled)
            })
            .await?;
        view(user)
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
        let detail = format!("'{}'", request.name);
        self.may_do(who, Right::People, "user.password", Object::Suite, detail).await?;
        let hash = passwords::hash(password).await?;
        let name = request.name;
        view(self.house.books.run(move |catalog| catalog.set_password(&name, &hash)).await?)
    }

    /// Gives a user a new secret for one-time passwords, which is in the answer and nowhere else; or takes it
    /// away.
    pub async fn set_one_time(
        &self,
        who: &Principal,
        request: OneTimeRequest,
    ) -> Result<OneTimeReply, ServerError> {
        self.grants_of_user(who, "user.one-time", &request.name).await?;
        let detail = format!("'{}': {}", request.name, if request.on { "new" } else { "none" });
        self.may_do(who, Right::People, "user.one-time", Object::Suite, detail).await?;
        let made = match request.on {
            true => Some(one_time::new(&request.name, &self.house.master)?),
            false => None,
        };
        let (secret, sealed) = made.unzip();
        let name = request.name.clone();
        let user =
            self.house.books.run(move |catalog| catalog.set_totp(&name, sealed.as_deref())).await?;
        let uri =
            secret.as_ref().map(|secret| one_time::uri(&request.name, &self.house.name, secret));
        let secret = secret.map(|secret| secret.to_string());
        Ok(OneTimeReply { user: view(user)?, secret, uri })
    }

    /// Removes a user, with the user's tokens and sessions.
    pub async fn delete_user(
        &self,
        who: &Principal,
        request: UserNameRequest,
    ) -> Result<UserView, ServerError> {
        self.grants_of_user(who, "user.remove", &request.name).await?;
        let detail = format!("'{}'", request.name);
        self.may_do(who, Right::People, "user.remove", Object::Suite, detail).await?;
        view(self.house.books.run(move |catalog| catalog.delete_user(&request.name)).await?)
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
        let grants = unfold(&request.grants)?;
        if let Some(user) = &request.user {
            // It may not do more than the user, so nobody gets more by it; but who makes it has it.
            self.grants_of_user(who, "api-token.create", user).await?;
        }
        let label = format!("API token '{}'", request.name);
        self.may_give(who, "api-token.create", &[], &grants, &label, &request.grants).await?;
        let (secret, secret_hash) = new_secret(TOKEN_PREFIX)?;
        let now = now_unix_ms();
        let new = NewApiToken {
            name: request.name,
            user: request.user,
            grants: document(&request.grants)?,
            secret_hash,
            created_by: who.name().to_owned(),
            expires_unix_ms: match request.expires_days {
                0 => None,
                days => Some(now.saturating_add(i64::from(days) * DAY_MS)),
            },
        };
        let token = self.house.books.run(move |catalog| catalog.add_api_token(&new, now)).await?;
        Ok(CreateApiTokenReply { token: token_view(token)?, secret: secret.to_string() })
    }

    /// All API tokens, by name.
    pub async fn api_tokens(&self, who: &Principal) -> Result<Vec<ApiTokenView>, ServerError> {
        self.may_see(who, Right::People, "list API tokens of", Object::Suite).await?;
        let tokens = self.house.books.run(|catalog| catalog.api_tokens()).await?;
        tokens.into_iter().map(token_view).collect()
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
        token_view(self.house.books.run(revoked).await?)
    }

    /// What a user may, for somebody who may change that: no one reaches above themselves.
    async fn grants_of_user(
        &self,
        who: &Principal,
        verb: &'static str,
        name: &str,
    ) -> Result<Vec<Grant>, ServerError> {
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        let user = name.to_owned();
        let user = self.house.books.run(move |catalog| catalog.user(&user)).await?;
        let grants = unfold(&granted_of(&user.grants)?)?;
        self.reaches(who, verb, &grants, &format!("user '{name}' has rights that you do not have"))
            .await?;
        Ok(grants)
    }

    /// Checks that somebody may give this, and writes it down.
    async fn may_give(
        &self,
        who: &Principal,
        verb: &'static str,
        before: &[Grant],
        after: &[Grant],
        to: &str,
        granted: &[Granted],
    ) -> Result<(), ServerError> {
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        self.reaches(who, verb, after, "nobody gives rights that they do not have").await?;
        let mut detail = format!("{to}: {}", in_words(granted));
        if let Some(why) = second_person::weigh(before, after) {
            detail = format!("{detail}; one person alone, {why}");
        }
        self.may_do(who, Right::People, verb, Object::Suite, detail).await
    }

    async fn reaches(
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

fn view(user: User) -> Result<UserView, ServerError> {
    Ok(UserView {
        grants: granted_of(&user.grants)?,
        name: user.name,
        disabled: user.disabled,
        one_time_passwords: user.totp_sealed.is_some(),
        created_unix_ms: user.created_unix_ms,
        seen_unix_ms: user.seen_unix_ms,
        locked_until_unix_ms: user.locked_until_unix_ms.filter(|until| *until > now_unix_ms()),
    })
}

fn token_view(token: ApiToken) -> Result<ApiTokenView, ServerError> {
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
    })
}
