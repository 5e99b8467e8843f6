//! What an identity provider is to the Server: a row of the catalog, what its users may, and changing that.
//!
//! Who sets up by whom the suite trusts can let anybody in with what the groups are given. So a provider that gives what
//! weighs is set up by two persons, each time when more people could get it than before.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use simsim_catalog::{
    Catalog, CatalogError, IdentityProvider, LifeBooks, LifeChange, ProviderChange,
};
use simsim_format::WrappingKey;
use simsim_openid::{Provider, Settings};
use zeroize::Zeroizing;

use super::credentials::{grants_of, name_of_user};
use super::roles::{Granted, Scope, in_words, names, unfold};
use super::second_person::{self, Second, WeighedChange, others};
use crate::ServerError;
use crate::api::{GroupGrants, IdentityProviderRequest};
use crate::clock::now_unix_ms;
use crate::rights::{Grant, person_of};

/// Groups of one person that are looked at.
pub(crate) const GROUPS_MAX: usize = 1000;

/// A provider as it is to be; without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProviderAct {
    pub verb: String,
    pub provider: IdentityProviderRequest,
}

impl ProviderAct {
    pub(crate) fn verb(&self) -> &'static str {
        match self.verb.as_str() {
            "identity-provider.add" => "identity-provider.add",
            _ => "identity-provider.change",
        }
    }

    /// What it would do, and whether one person is enough. `second`: who approves it, if it was asked for.
    pub(crate) fn weigh(
        &self,
        books: &LifeBooks,
        asked_by: &str,
        second: Option<&Second<'_>>,
    ) -> Result<WeighedChange, ServerError> {
        let after = &self.provider;
        let there = books.providers.iter().find(|one| one.name == after.name);
        let there =
            there.ok_or_else(|| ServerError::not_found("identity provider", &after.name))?;
        let before = request_of(there)?;
        if before.issuer != after.issuer {
            return Err(other_issuer());
        }
        let mut needs = Vec::new();
        if let Some(more) = widened(&before, after, books)? {
            needs.push(format!("whoever '{}' vouches for gets {more}", after.issuer));
        }
        let widens = !needs.is_empty();
        let asker = person(books, asked_by);
        let (grants, shut_out) = grants_after(&before, after, books)?;
        if shut_out.iter().any(|person| *person != asker) {
            needs.push("somebody who may approve is shut out".to_owned());
        }
        if !others(books, asked_by, &shut_out)? {
            needs.clear();
        }
        let alone = match (&there.alone, second) {
            (_, Some(_)) => None,
            // Of somebody who does not speak by the word of this provider.
            (Some(alone), None) if *alone != asker && !signs_in_by(books, &asker, &after.name) => {
                Some(asker)
            }
            _ if widens || trust(&before) != trust(after) => Some(asker),
            (alone, None) => alone.clone(),
        };
        let change = LifeChange::Provider(ProviderChange {
            name: after.name.clone(),
            document: to_text(after)?,
            enabled: after.enabled,
            alone,
            grants,
        });
        let off = if after.enabled { "" } else { " (not enabled)" };
        let about = format!(
            "let people sign in by '{}' of {}{off}: {}",
            after.name,
            after.issuer,
            groups_in_words(&after.groups)
        );
        Ok(WeighedChange { change, needs, about })
    }
}

pub(crate) fn other_issuer() -> ServerError {
    ServerError::invalid(
        "the issuer stays: what its users are called there means others elsewhere. Add another identity provider for it",
    )
}

/// The person behind a principal; behind a token of nobody whoever made it.
pub(super) fn person(books: &LifeBooks, name: &str) -> String {
    if let Some(person) = person_of(name) {
        return person.to_owned();
    }
    let token = name.strip_prefix("api-token:").unwrap_or_default();
    let made = books.api_tokens.iter().find(|one| one.name == token);
    made.and_then(|one| person_of(&one.created_by)).unwrap_or(name).to_owned()
}

fn signs_in_by(books: &LifeBooks, person: &str, provider: &str) -> bool {
    books.users.iter().any(|user| {
        name_of_user(&user.name) == person && user.provider.as_deref() == Some(provider)
    })
}

/// What decides who is believed, beside the issuer.
fn trust(of: &IdentityProviderRequest) -> (&str, Option<&str>, &str, &str) {
    (&of.client_id, of.authority.as_deref(), &of.name_claim, &of.groups_claim)
}

/// What weighs of that which more people could get than before.
fn widened(
    before: &IdentityProviderRequest,
    after: &IdentityProviderRequest,
    books: &LifeBooks,
) -> Result<Option<String>, ServerError> {
    if !after.enabled {
        return Ok(None);
    }
    let anew = !before.enabled
        || trust(before) != trust(after)
        || (after.creates_users && !before.creates_users);
    let mut rights: Vec<String> = Vec::new();
    for one in &after.groups {
        let had = match anew {
            true => Vec::new(),
            false => grants_for(&before.groups, std::slice::from_ref(&one.group)),
        };
        let (had, gets) = (unfold(&had, &books.places)?, unfold(&one.grants, &books.places)?);
        let weighs = second_person::weighty(&had, &gets);
        rights.extend(weighs.into_iter().map(str::to_owned));
    }
    rights.sort_unstable();
    rights.dedup();
    Ok((!rights.is_empty()).then(|| rights.join(", ")))
}

/// A user, and the document of what the user may.
type UserGrants = (String, String);

/// What each user of a provider may then; and who could approve, and cannot any more.
fn grants_after(
    before: &IdentityProviderRequest,
    after: &IdentityProviderRequest,
    books: &LifeBooks,
) -> Result<(Vec<UserGrants>, Vec<String>), ServerError> {
    let (mut grants, mut shut_out) = (Vec::new(), Vec::new());
    for user in books.users.iter().filter(|user| user.provider.as_ref() == Some(&after.name)) {
        let groups = groups_of(user.provider_groups.as_deref())?;
        let then = grants_for(&after.groups, &groups);
        let approves = |granted: &[Grant]| second_person::may_approve(granted);
        let could = before.enabled
            && !user.disabled
            && approves(&grants_of(&user.grants, &books.places)?.1);
        if could && !(after.enabled && approves(&unfold(&then, &books.places)?)) {
            shut_out.push(name_of_user(&user.name));
        }
        grants.push((user.name.clone(), to_text(&then)?));
    }
    Ok((grants, shut_out))
}

/// What somebody in these groups may.
pub(crate) fn grants_for(groups: &[GroupGrants], of: &[String]) -> Vec<Granted> {
    let mut grants: Vec<Granted> = Vec::new();
    for granted in groups.iter().filter(|one| of.contains(&one.group)).flat_map(|one| &one.grants) {
        if !grants.contains(granted) {
            grants.push(granted.clone());
        }
    }
    grants
}

/// All that is given to anybody.
pub(crate) fn all_grants(
    groups: &[GroupGrants],
    places: &simsim_catalog::Places,
) -> Result<Vec<Grant>, ServerError> {
    let mut all = Vec::new();
    for one in groups {
        all.extend(unfold(&one.grants, places)?);
    }
    Ok(all)
}

/// For the audit log: `ops: operator; admins: administrator`.
pub(crate) fn groups_in_words(groups: &[GroupGrants]) -> String {
    if groups.is_empty() {
        return "nobody may anything".to_owned();
    }
    let words =
        groups.iter().map(|one| format!("group '{}': {}", one.group, in_words(&one.grants)));
    words.collect::<Vec<_>>().join("; ")
}

fn groups_of(document: Option<&str>) -> Result<Vec<String>, ServerError> {
    let Some(document) = document else { return Ok(Vec::new()) };
    serde_json::from_str(document)
        .map_err(|error| ServerError::Key(format!("groups in the catalog cannot be read: {error}")))
}

pub(crate) fn to_text<T: Serialize>(of: &T) -> Result<String, ServerError> {
    serde_json::to_string(of).map_err(|error| ServerError::Lost(error.to_string()))
}

pub(crate) fn request_of(row: &IdentityProvider) -> Result<IdentityProviderRequest, ServerError> {
    serde_json::from_str(&row.document).map_err(|error| {
        ServerError::Lost(format!("identity provider '{}' cannot be read: {error}", row.name))
    })
}

/// Who holds rights for this, such as `user 'kim'`.
pub(crate) fn granted_for(
    catalog: &Catalog,
    scope: Scope<'_>,
) -> Result<Vec<String>, CatalogError> {
    let named = |grants: &str| names(grants, scope);
    let mut by: Vec<String> = Vec::new();
    by.extend(
        catalog
            .users()?
            .iter()
            .filter(|user| named(&user.grants))
            .map(|user| format!("user '{}'", user.name)),
    );
    by.extend(
        catalog
            .identity_providers()?
            .iter()
            .filter(|one| gives_for(one, scope))
            .map(|one| format!("identity provider '{}'", one.name)),
    );
    by.extend(
        catalog
            .api_tokens()?
            .iter()
            .filter(|token| token.is_valid(now_unix_ms()) && named(&token.grants))
            .map(|token| format!("API token '{}'", token.name)),
    );
    Ok(by)
}

/// Whether a provider's groups are given something for this.
fn gives_for(row: &IdentityProvider, scope: Scope<'_>) -> bool {
    let Ok(request) = request_of(row) else { return false };
    let mut grants = request.groups.iter().flat_map(|one| &one.grants);
    grants.any(|granted| granted.scope().is_ok_and(|of| of == scope))
}

/// Binds a sealed secret to its provider.
pub(crate) fn purpose(name: &str) -> Vec<u8> {
    [b"secret of identity provider ".as_slice(), name.as_bytes()].concat()
}

pub(crate) fn settings_of(
    request: &IdentityProviderRequest,
    secret: Option<Zeroizing<String>>,
) -> Settings {
    Settings {
        issuer: request.issuer.clone(),
        client_id: request.client_id.clone(),
        secret,
        scopes: request.scopes.clone(),
        authority: request.authority.clone(),
    }
}

/// The other ends of providers, each with what it said of itself.
#[derive(Default)]
pub(crate) struct Providers(Mutex<HashMap<String, (blake3::Hash, Arc<Provider>)>>);

impl Providers {
    /// The one of a row; another one than before where the row has changed.
    pub(crate) fn of(
        &self,
        row: &IdentityProvider,
        master: &WrappingKey,
    ) -> Result<Arc<Provider>, ServerError> {
        let request = request_of(row)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(row.document.as_bytes()).update(&[0]);
        hasher.update(row.secret.as_deref().unwrap_or_default());
        let hash = hasher.finalize();
        if let Some((kept, provider)) = self.0.lock().get(&row.name)
            && *kept == hash
        {
            return Ok(Arc::clone(provider));
        }
        let secret = match &row.secret {
            None => None,
            Some(sealed) => {
                let bytes = Zeroizing::new(master.open(&purpose(&row.name), sealed)?);
                let text = std::str::from_utf8(&bytes);
                let text = text.map_err(|error| ServerError::Key(error.to_string()))?;
                Some(Zeroizing::new(text.to_owned()))
            }
        };
        let provider = Provider::new(settings_of(&request, secret));
        let provider = provider.map_err(|error| ServerError::invalid(error.to_string()))?;
        let provider = Arc::new(provider);
        self.0.lock().insert(row.name.clone(), (hash, Arc::clone(&provider)));
        Ok(provider)
    }
}

#[cfg(test)]
mod tests {
    use simsim_catalog::User;

    use super::*;
    use crate::people::Role;

    fn request(groups: &[(&str, Role)]) -> IdentityProviderRequest {
        let groups = groups.iter().map(|(group, role)| GroupGrants {
            group: (*group).to_owned(),
            grants: vec![Granted { role: Some(*role), ..Granted::default() }],
        });
        IdentityProviderRequest {
            name: "corp".to_owned(),
            enabled: true,
            issuer: "https://idp".to_owned(),
            client_id: "simsim".to_owned(),
            secret: None,
            has_secret: false,
            scopes: Vec::new(),
            name_claim: "name".to_owned(),
            groups_claim: "groups".to_owned(),
            groups: groups.collect(),
            creates_users: false,
            authority: None,
        }
    }

    fn user(name: &str, role: &str, provider: Option<&str>) -> User {
        User {
            name: name.to_owned(),
            grants: format!(r#"[{{"role":"{role}"}}]"#),
            disabled: false,
            password_hash: None,
            password_by: None,
            provider: provider.map(str::to_owned),
            subject: None,
            provider_groups: Some(r#"["ops"]"#.to_owned()),
            totp_sealed: None,
            totp_step: 0,
            failed_attempts: 0,
            locked_until_unix_ms: None,
            created_unix_ms: 0,
            seen_unix_ms: None,
        }
    }

    fn books(of: &IdentityProviderRequest, alone: Option<&str>) -> LifeBooks {
        LifeBooks {
            users: vec![
                user("anna", "administrator", None),
                user("bert", "administrator", None),
                user("kim", "operator", Some("corp")),
            ],
            providers: vec![IdentityProvider {
                name: "corp".to_owned(),
                document: to_text(of).unwrap(),
                secret: None,
                enabled: of.enabled,
                alone: alone.map(str::to_owned),
                created_unix_ms: 0,
            }],
            ..LifeBooks::default()
        }
    }

    fn weigh(
        before: &IdentityProviderRequest,
        after: IdentityProviderRequest,
        second: Option<&str>,
    ) -> (bool, ProviderChange) {
        let act = ProviderAct { verb: String::new(), provider: after };
        let second = second.map(|by| Second { by, asked_unix_ms: 1 });
        let weighed = act.weigh(&books(before, None), "user:anna", second.as_ref()).unwrap();
        let LifeChange::Provider(change) = weighed.change else { panic!("another change") };
        (!weighed.needs.is_empty(), change)
    }

    #[test]
    fn what_lets_more_people_do_what_weighs_takes_two_persons() {
        let before = request(&[("ops", Role::Operator), ("admins", Role::Administrator)]);
        let waits = |after: IdentityProviderRequest| weigh(&before, after, None).0;
        assert!(!waits(before.clone()));
        assert!(!waits(request(&[("ops", Role::Backup)])), "less");
        assert!(!waits(IdentityProviderRequest { enabled: false, ..before.clone() }));
        assert!(waits(request(&[("ops", Role::Administrator), ("admins", Role::Administrator)])));
        assert!(waits(request(&[("others", Role::Administrator)])), "other people");
        for wider in [
            IdentityProviderRequest { creates_users: true, ..before.clone() },
            IdentityProviderRequest { client_id: "x".to_owned(), ..before.clone() },
            IdentityProviderRequest { authority: Some("x".to_owned()), ..before.clone() },
            IdentityProviderRequest { name_claim: "x".to_owned(), ..before.clone() },
            IdentityProviderRequest { groups_claim: "x".to_owned(), ..before.clone() },
        ] {
            assert!(waits(wider));
        }
        let off = IdentityProviderRequest { enabled: false, ..before.clone() };
        assert!(weigh(&off, before.clone(), None).0, "letting in again is letting in");
        let small = request(&[("ops", Role::Operator)]);
        let other = IdentityProviderRequest { client_id: "x".to_owned(), ..small.clone() };
        assert!(!weigh(&small, other, None).0, "nothing that weighs");
    }

    #[test]
    fn who_set_it_up_alone_is_kept_until_somebody_else_stands_for_it() {
        let before = request(&[("ops", Role::Operator)]);
        let wider = IdentityProviderRequest { client_id: "x".to_owned(), ..before.clone() };
        assert_eq!(weigh(&before, wider.clone(), None).1.alone.as_deref(), Some("user:anna"));
        assert_eq!(weigh(&before, wider, Some("user:bert")).1.alone, None);
        assert_eq!(weigh(&before, before.clone(), None).1.alone, None);
        let act = ProviderAct { verb: String::new(), provider: before.clone() };
        for (by, alone) in [
            ("user:anna", "user:bert"),
            ("user:bert/api-token:x", "user:bert"),
            ("user:kim", "user:anna"),
        ] {
            let kept = if by == "user:anna" { "user:bert" } else { "user:anna" };
            let weighed = act.weigh(&books(&before, Some(kept)), by, None).unwrap();
            let LifeChange::Provider(change) = weighed.change else { panic!("another change") };
            let expected = if by == "user:anna" { "user:anna" } else { alone };
            assert_eq!(change.alone.as_deref(), Some(expected), "{by}");
        }
    }

    #[test]
    fn what_its_users_may_follows_at_once() {
        let before = request(&[("ops", Role::Operator)]);
        let (_, change) = weigh(&before, request(&[("ops", Role::Backup)]), None);
        assert_eq!(change.grants, [("kim".to_owned(), r#"[{"role":"backup"}]"#.to_owned())]);
        let (_, change) = weigh(&before, request(&[]), None);
        assert_eq!(change.grants, [("kim".to_owned(), "[]".to_owned())]);
    }

    #[test]
    fn to_shut_out_who_could_approve_takes_two_persons_where_there_is_a_third() {
        let before = request(&[("ops", Role::Administrator)]);
        let off = IdentityProviderRequest { enabled: false, ..before.clone() };
        let act = |of: &IdentityProviderRequest| ProviderAct {
            verb: String::new(),
            provider: of.clone(),
        };
        let mut books = books(&before, None);
        books.users[2].grants = r#"[{"role":"administrator"}]"#.to_owned();
        let waits = |books: &LifeBooks, of: &IdentityProviderRequest| {
            !act(of).weigh(books, "user:anna", None).unwrap().needs.is_empty()
        };
        assert!(waits(&books, &off));
        assert!(waits(&books, &request(&[("ops", Role::Operator)])));
        assert!(!waits(&books, &before));
        // There are only those two: the one who is left decides, and can let the other one in again.
        books.users.remove(1);
        assert!(!waits(&books, &off));
        books.providers[0].enabled = false;
        books.providers[0].document = to_text(&off).unwrap();
        assert!(!waits(&books, &before), "nobody is there to agree");
    }

    #[test]
    fn nobody_is_the_second_person_by_the_word_of_a_provider_that_the_first_one_set_up_alone() {
        let of = request(&[("ops", Role::Operator)]);
        let speaks = |alone: Option<&str>, second: &str| {
            second_person::speaks_for(&books(&of, alone), "user:anna", second).is_some()
        };
        assert!(speaks(Some("user:anna"), "user:kim"));
        assert!(!speaks(Some("user:bert"), "user:kim"));
        assert!(!speaks(None, "user:kim"));
        assert!(!speaks(Some("user:anna"), "user:bert"), "by a password of his own");
    }
}
