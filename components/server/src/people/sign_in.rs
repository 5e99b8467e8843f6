//! Signing in by an identity provider: a browser is led there, and comes back.
//!
//! What belongs to one sign-in (state, nonce, the secret of PKCE, where the person wanted to go) is sealed into a cookie of
//! that browser: strangers cannot fill the Server's memory, and what comes back counts in the browser only that went.

use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use simsim_catalog::{CatalogError, IdentityProvider, NewIdentity, User};
use simsim_format::random_bytes;
use simsim_openid::{Asked, Identity, OpenIdError, Returned};
use tokio::sync::Semaphore;
use zeroize::{Zeroize, Zeroizing};

use super::credentials::Unknown;
use super::providers::{GROUPS_MAX, grants_for, request_of, to_text};
use super::roles::in_words;
use super::sessions::Begun;
use crate::api::IdentityProviderRequest;
use crate::clock::now_unix_ms;
use crate::{Server, ServerError};

/// So long a person may take at the provider.
const GOOD_FOR_MS: i64 = 10 * 60_000;
const PURPOSE: &[u8] = b"sign-in of a browser";
/// A longer place is not gone back to.
const PLACE_BYTES_MAX: usize = 1024;
const COOKIE_BYTES_MAX: usize = 4096;
const NAME_CHARS_MAX: usize = 64;
const GROUP_BYTES_MAX: usize = 1024;

/// Answers that are looked at with their providers at once.
static PLACES: Semaphore = Semaphore::const_new(32);

/// A browser that is led to a provider.
pub struct LedAway {
    pub url: String,
    /// For the cookie of this sign-in.
    pub secret: Zeroizing<String>,
}

/// What a browser brings back from a provider.
#[derive(Debug, Clone, Copy, Default)]
pub struct SignInAnswer<'a> {
    pub state: Option<&'a str>,
    pub code: Option<&'a str>,
    pub issuer: Option<&'a str>,
    pub error: Option<&'a str>,
    pub error_description: Option<&'a str>,
}

/// Why somebody is not signed in.
#[derive(Debug)]
pub enum SignInRefusal {
    /// There is no such provider, or it is not enabled.
    NoProvider,
    /// It took too long, or came back to another browser.
    Expired,
    /// The person or the provider said no.
    SaidNo(String),
    /// The provider does not answer as it should.
    Provider(OpenIdError),
    /// What it says of the person is of no use here.
    Unfit(String),
    NoUser(String),
    NameTaken(String),
    NoRole(String),
    Disabled(String),
    TooOften {
        seconds: u32,
    },
    Failed(ServerError),
}

impl From<ServerError> for SignInRefusal {
    fn from(error: ServerError) -> Self {
        SignInRefusal::Failed(error)
    }
}

/// What the cookie holds.
#[derive(Serialize, Deserialize)]
struct Kept {
    provider: String,
    state: String,
    nonce: String,
    verifier: String,
    redirect: String,
    to: String,
    until_unix_ms: i64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.verifier.zeroize();
    }
}

/// Where a provider sends browsers back to.
pub(crate) fn way_back(provider: &str) -> String {
    format!("/sign-in/{provider}/back")
}

impl Server {
    /// The providers by which somebody can sign in, by name.
    pub async fn sign_in_ways(&self) -> Result<Vec<String>, ServerError> {
        let rows = self.house.books.run(|catalog| catalog.identity_providers()).await?;
        Ok(rows.into_iter().filter(|row| row.enabled).map(|row| row.name).collect())
    }

    /// Leads a browser to a provider. `host`: as the browser calls this one. `to`: where it wanted to go, a path of ours.
    pub async fn begin_sign_in(
        &self,
        provider: &str,
        host: &str,
        to: &str,
    ) -> Result<LedAway, SignInRefusal> {
        let (row, _) = self.enabled_provider(provider).await?;
        let kept = Kept {
            provider: row.name.clone(),
            state: secret()?,
            nonce: secret()?,
            verifier: secret()?,
            redirect: format!("https://{host}{}", way_back(&row.name)),
            to: if to.len() <= PLACE_BYTES_MAX { to } else { "/" }.to_owned(),
            until_unix_ms: now_unix_ms().saturating_add(GOOD_FOR_MS),
        };
        let other_end = self.house.people.providers.of(&row, &self.house.master)?;
        let url = other_end.begin(&kept.asked()).await.map_err(SignInRefusal::Provider)?;
        let text = Zeroizing::new(to_text(&kept)?);
        let sealed = self.house.master.seal(PURPOSE, text.as_bytes()).map_err(ServerError::from)?;
        Ok(LedAway { url, secret: Zeroizing::new(BASE64URL_NOPAD.encode(&sealed)) })
    }

    /// Takes what a browser brings back: a session, and where the person wanted to go.
    pub async fn finish_sign_in(
        &self,
        provider: &str,
        answer: SignInAnswer<'_>,
        cookie: Option<&str>,
        from: IpAddr,
    ) -> Result<(Begun, String), SignInRefusal> {
        let kept = self.kept(cookie).ok_or(SignInRefusal::Expired)?;
        let shown = answer.state.map(|state| blake3::hash(state.as_bytes()));
        let own = shown == Some(blake3::hash(kept.state.as_bytes())) && kept.provider == provider;
        if !own || kept.until_unix_ms <= now_unix_ms() {
            return Err(SignInRefusal::Expired);
        }
        let (row, request) = self.enabled_provider(provider).await?;
        if let Some(error) = answer.error {
            let said = format!("{error} {}", answer.error_description.unwrap_or_default());
            let said = simsim_openid::one_line(&said);
            return Err(self.refused(&row, SignInRefusal::SaidNo(said), from).await);
        }
        let returned = Returned { code: answer.code.unwrap_or_default(), issuer: answer.issuer };
        let lacks = |claims: &Map<String, Value>| {
            [&request.name_claim, &request.groups_claim]
                .iter()
                .any(|name| claim(claims, name).is_none())
        };
        let other_end = self.house.people.providers.of(&row, &self.house.master)?;
        let _place =
            PLACES.acquire().await.map_err(|error| ServerError::Lost(error.to_string()))?;
        let now_unix_s = now_unix_ms().div_euclid(1000);
        let found = other_end.finish(&kept.asked(), returned, lacks, now_unix_s).await;
        let identity = match found {
            Ok(identity) => identity,
            Err(error) => {
                return Err(self.refused(&row, SignInRefusal::Provider(error), from).await);
            }
        };
        match self.user_of(&row, &request, &identity).await {
            Ok((user, detail)) => {
                let begun = self.begin_session(&user, from, &detail).await?;
                Ok((begun, kept.to.clone()))
            }
            Err(refusal) => Err(self.refused(&row, refusal, from).await),
        }
    }

    async fn enabled_provider(
        &self,
        name: &str,
    ) -> Result<(IdentityProvider, IdentityProviderRequest), SignInRefusal> {
        let rows = self.house.books.run(|catalog| catalog.identity_providers()).await?;
        let row = rows.into_iter().find(|row| row.name == name && row.enabled);
        let row = row.ok_or(SignInRefusal::NoProvider)?;
        let request = request_of(&row)?;
        if request.has_secret && row.secret.is_none() {
            let error = OpenIdError::Invalid(format!(
                "the secret of identity provider '{name}' was not given yet"
            ));
            return Err(SignInRefusal::Provider(error));
        }
        Ok((row, request))
    }

    fn kept(&self, cookie: Option<&str>) -> Option<Kept> {
        let cookie = cookie.filter(|cookie| cookie.len() <= COOKIE_BYTES_MAX)?;
        let sealed = BASE64URL_NOPAD.decode(cookie.as_bytes()).ok()?;
        let text = Zeroizing::new(self.house.master.open(PURPOSE, &sealed).ok()?);
        serde_json::from_slice(&text).ok()
    }

    /// Who that is here, with what the groups give now; and a line for the audit log.
    async fn user_of(
        &self,
        row: &IdentityProvider,
        request: &IdentityProviderRequest,
        identity: &Identity,
    ) -> Result<(User, String), SignInRefusal> {
        let (provider, subject) = (row.name.clone(), identity.subject.clone());
        let known = self
            .house
            .books
            .run(move |catalog| catalog.user_of_subject(&provider, &subject))
            .await?;
        let groups = groups_of(&identity.claims, &request.groups_claim)?;
        let grants = grants_for(&request.groups, &groups);
        let name = match &known {
            Some(user) => user.name.clone(),
            None => name_of(&identity.claims, &request.name_claim)?,
        };
        // Only those that mean something here are kept.
        let mut kept: Vec<&str> = groups.iter().map(String::as_str).collect();
        kept.retain(|group| request.groups.iter().any(|one| one.group == *group));
        let detail = match kept.is_empty() {
            true => format!("by '{}'", row.name),
            false => format!("by '{}', of {}: {}", row.name, kept.join(", "), in_words(&grants)),
        };
        if grants.is_empty() && known.is_none() {
            return Err(SignInRefusal::NoRole(name));
        }
        let new = NewIdentity {
            provider: row.name.clone(),
            document: row.document.clone(),
            subject: identity.subject.clone(),
            name: name.clone(),
            // All of them: another one may mean something later.
            groups: to_text(&groups)?,
            grants: to_text(&grants)?,
        };
        let creates = request.creates_users;
        let signed = move |catalog: &simsim_catalog::Catalog| match catalog.identity_signs_in(
            &new,
            creates,
            now_unix_ms(),
        ) {
            Ok(user) => Ok(Ok(user)),
            Err(
                error @ (CatalogError::NotFound { .. }
                | CatalogError::Exists { .. }
                | CatalogError::Invalid { .. }),
            ) => Ok(Err(error)),
            Err(error) => Err(error),
        };
        match self.house.books.run(signed).await? {
            Err(CatalogError::NotFound { .. }) => Err(SignInRefusal::NoUser(name)),
            // Whoever comes again is looked at by what holds now.
            Err(CatalogError::Invalid { .. }) => Err(SignInRefusal::Expired),
            Err(_) => Err(SignInRefusal::NameTaken(name)),
            Ok(user) if user.disabled => Err(SignInRefusal::Disabled(user.name)),
            Ok(user) if grants.is_empty() => Err(SignInRefusal::NoRole(user.name)),
            Ok(user) => Ok((user, detail)),
        }
    }

    /// Writes a refusal down, within bounds: strangers cannot fill the audit log.
    async fn refused(
        &self,
        row: &IdentityProvider,
        refusal: SignInRefusal,
        from: IpAddr,
    ) -> SignInRefusal {
        let why = match &refusal {
            SignInRefusal::SaidNo(said) => format!("the provider said no: {said}"),
            SignInRefusal::Provider(error) => error.to_string(),
            SignInRefusal::Unfit(why) => why.clone(),
            SignInRefusal::NoUser(name) => format!("there is no user '{name}' of it"),
            SignInRefusal::NameTaken(name) => format!("user '{name}' is somebody else"),
            SignInRefusal::NoRole(name) => format!("'{name}' is in no group that may anything"),
            SignInRefusal::Disabled(name) => format!("user '{name}' is disabled"),
            SignInRefusal::NoProvider
            | SignInRefusal::Expired
            | SignInRefusal::TooOften { .. }
            | SignInRefusal::Failed(_) => return refusal,
        };
        let why = format!("a sign-in by '{}': {why}", row.name);
        match self.not_proved(&why, from).await {
            Unknown::TooOften { seconds } => SignInRefusal::TooOften { seconds },
            Unknown::NotProved | Unknown::Failed(_) => refusal,
        }
    }
}

impl Kept {
    fn asked(&self) -> Asked<'_> {
        Asked {
            redirect: &self.redirect,
            state: &self.state,
            nonce: &self.nonce,
            verifier: &self.verifier,
        }
    }
}

/// 256 random bits.
fn secret() -> Result<String, ServerError> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes()?);
    Ok(BASE64URL_NOPAD.encode(&*bytes))
}

/// A claim by its name, or by the names that lead to it.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

fn groups_of(claims: &Map<String, Value>, name: &str) -> Result<Vec<String>, SignInRefusal> {
    let unfit = |why: &str| Err(SignInRefusal::Unfit(format!("the claim '{name}' {why}")));
    let groups: Vec<String> = match claim(claims, name) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) if all.len() <= GROUPS_MAX => {
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::Array(_)) => return unfit(&format!("names more than {GROUPS_MAX} groups")),
        Some(_) => return unfit("is no list of groups"),
    };
    Ok(groups.into_iter().filter(|group| group.len() <= GROUP_BYTES_MAX).collect())
}

/// The name of a user here. It may be a mail address, and is never cut: else two people could become one.
fn name_of(claims: &Map<String, Value>, name: &str) -> Result<String, SignInRefusal> {
    let Some(text) = claim(claims, name).and_then(Value::as_str) else {
        return Err(SignInRefusal::Unfit(format!(
            "the provider does not say the claim '{name}', which is the name here"
        )));
    };
    if name == "email"
        && claims.get("email_verified").is_some_and(|verified| verified == &Value::Bool(false))
    {
        return Err(SignInRefusal::Unfit("the mail address was not verified".to_owned()));
    }
    match is_user_name(text) {
        true => Ok(text.to_owned()),
        false => Err(SignInRefusal::Unfit(format!(
            "'{}' cannot be the name of a user here: use letters, digits, dots, dashes, underscores and at signs",
            simsim_openid::one_line(text)
        ))),
    }
}

/// Whether a text may be the name of a user of a provider.
pub(crate) fn is_user_name(text: &str) -> bool {
    text.len() <= NAME_CHARS_MAX && simsim_control::join::is_name(&text.replace('@', "_"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn groups_are_read_where_they_stand_and_nowhere_else() {
        let all = claims(json!({
            "groups": ["ops", 7, "admins"], "one": "ops", "realm": {"roles": ["a"]}, "a.b": ["dotted"], "n": 1, "no": null,
        }));
        let of = |name: &str| groups_of(&all, name).unwrap();
        assert_eq!(of("groups"), ["ops", "admins"]);
        assert_eq!(of("one"), ["ops"]);
        assert_eq!(of("realm.roles"), ["a"]);
        assert_eq!(of("a.b"), ["dotted"]);
        assert!(of("no").is_empty() && of("none").is_empty() && of("realm.none.x").is_empty());
        assert!(groups_of(&all, "n").is_err());
        let many = claims(json!({ "groups": vec!["x"; GROUPS_MAX + 1] }));
        assert!(groups_of(&many, "groups").is_err());
    }

    #[test]
    fn names_are_taken_whole_or_not_at_all() {
        let of = |name: &str| name_of(&claims(json!({ "n": name })), "n").ok();
        for good in ["anna", "anna@corp.example", "Anna_1.x-y"] {
            assert_eq!(of(good).as_deref(), Some(good));
        }
        for bad in ["", "an na", "anna/api-token:x", "x:y", "ä", "../x", &"x".repeat(65)] {
            assert_eq!(of(bad), None, "{bad}");
        }
        let mail = |verified: Value| {
            name_of(&claims(json!({ "email": "a@b", "email_verified": verified })), "email")
        };
        assert!(mail(json!(true)).is_ok() && mail(json!(false)).is_err());
    }
}
