//! Changes of people that take two of them: who may more than before, and who is shut out that could have been
//! the second person.
//!
//! A second person is somebody else who may approve. Where there is nobody else, one is enough, and the audit
//! log says that it was one: a suite begins with one person, and of two one can shut the other one out. Nobody is the second person for their own
//! rights, and nobody is a second person by a password or token that the first one knows.

use serde::{Deserialize, Serialize};
use simsim_catalog::{LifeBooks, LifeChange};

use super::credentials::{grants_of, name_of_user};
use super::providers::person;
use super::roles::{Granted, in_words, unfold};
use crate::ServerError;
use crate::rights::{Grant, Object, Principal, Right, common, person_of};

/// Rights with which somebody can give others rights, or take data away from those whose it is.
const WEIGHTY: [Right; 6] = [
    Right::Administer,
    Right::People,
    Right::Keys,
    Right::RestoreToOther,
    Right::Delete,
    Right::Approve,
];

/// A user or an API token, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PeopleChange {
    /// Either this
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// or this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// All that it may then.
    pub grants: Vec<Granted>,
    #[serde(default)]
    pub disabled: bool,
    #[serde(default)]
    pub removed: bool,
}

/// Who approves something, and since when it waits for that.
pub(crate) struct Second<'a> {
    pub by: &'a str,
    pub asked_unix_ms: i64,
}

/// A change that was weighed.
pub(crate) struct WeighedChange {
    pub change: LifeChange,
    /// Why it takes a second person; empty: it does not.
    pub needs: Vec<String>,
    pub about: String,
}

impl PeopleChange {
    /// As people call whose rights change.
    fn holder(&self) -> String {
        match (&self.user, &self.token) {
            (Some(user), _) => format!("user '{user}'"),
            (None, token) => format!("API token '{}'", token.as_deref().unwrap_or_default()),
        }
    }

    pub(crate) fn verb(&self) -> &'static str {
        match (&self.user, self.removed) {
            (Some(_), true) => "user.remove",
            (Some(_), false) => "user.change",
            (None, _) => "api-token.create",
        }
    }

    /// Refuses what was asked for another one of that name.
    fn is_of_then(
        &self,
        created_unix_ms: i64,
        second: Option<&Second<'_>>,
    ) -> Result<(), ServerError> {
        match second {
            Some(second) if created_unix_ms > second.asked_unix_ms => {
                Err(ServerError::Refused(format!(
                    "{} was made after this was asked for, and is another one: ask again",
                    self.holder()
                )))
            }
            _ => Ok(()),
        }
    }

    /// What it would do, and whether one person is enough. `second`: who approves it, if it was asked for.
    pub(crate) fn weigh(
        &self,
        books: &LifeBooks,
        asked_by: &str,
        second: Option<&Second<'_>>,
    ) -> Result<WeighedChange, ServerError> {
        let grants = serde_json::to_string(&self.grants)
            .map_err(|error| ServerError::Lost(error.to_string()))?;
        let (kept, change) = match (&self.user, &self.token) {
            (Some(name), _) => {
                let user = books.users.iter().find(|user| user.name == *name);
                let user = user.ok_or_else(|| ServerError::not_found("user", name))?;
                self.is_of_then(user.created_unix_ms, second)?;
                let change = match self.removed {
                    true => LifeChange::RemoveUser(name.clone()),
                    false => {
                        LifeChange::User { name: name.clone(), grants, disabled: self.disabled }
                    }
                };
                (
                    if user.disabled {
                        Vec::new()
                    } else {
                        grants_of(&user.grants, &books.places)?.1
                    },
                    change,
                )
            }
            (None, token) => {
                let name = token.clone().unwrap_or_default();
                let token = books.api_tokens.iter().find(|token| token.name == name);
                let token = token.ok_or_else(|| ServerError::not_found("API token", &name))?;
                self.is_of_then(token.created_unix_ms, second)?;
                if token.revoked_unix_ms.is_some() {
                    return Err(ServerError::Refused(format!("{} was revoked", self.holder())));
                }
                let kept = grants_of(&token.grants, &books.places)?.1;
                (kept, LifeChange::Token { name, grants })
            }
        };
        let after = match self.removed || self.disabled {
            true => Vec::new(),
            false => unfold(&self.grants, &books.places)?,
        };
        let mut reasons: Vec<String> = more(&kept, &after).into_iter().collect();
        let gives = !reasons.is_empty();
        let own = self.user.as_deref().map(name_of_user);
        if may_approve(&kept) && !may_approve(&after) && own.as_deref() != person_of(asked_by) {
            reasons.push("somebody who may approve is shut out".to_owned());
        }
        if let Some(second) = second
            && gives
            && own.as_deref().is_some_and(|own| person_of(second.by) == Some(own))
        {
            return Err(ServerError::Refused(format!(
                "{} gets rights by this: somebody else is the second person",
                self.holder()
            )));
        }
        // There has to be a third one: whom it is about may agree, but need not be asked.
        let others = others(books, asked_by, own.as_slice())?;
        Ok(WeighedChange {
            change,
            needs: if others { reasons } else { Vec::new() },
            about: match self.removed {
                true => format!("remove {}", self.holder()),
                false if self.disabled => format!("disable {}", self.holder()),
                false => format!("let {} do: {}", self.holder(), in_words(&self.grants)),
            },
        })
    }
}

pub(crate) fn may_approve(grants: &[Grant]) -> bool {
    Principal::with_grants("", grants.to_vec()).may(Right::Approve, Object::Suite)
}

/// Whether there is somebody who could agree, beside who asks and whom it is about. Who signs in by a provider that is not
/// enabled cannot.
pub(crate) fn others(
    books: &LifeBooks,
    asked_by: &str,
    about: &[String],
) -> Result<bool, ServerError> {
    let comes_in = |user: &&simsim_catalog::User| {
        let off = |one: &simsim_catalog::IdentityProvider| {
            !one.enabled && user.provider.as_ref() == Some(&one.name)
        };
        !user.disabled && !books.providers.iter().any(off)
    };
    for user in books.users.iter().filter(comes_in) {
        let name = name_of_user(&user.name);
        let is_of_it = person_of(asked_by) == Some(&name) || about.contains(&name);
        if !is_of_it && may_approve(&grants_of(&user.grants, &books.places)?.1) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rights that weigh, of those that somebody gets; `None`: nothing of the kind.
pub(crate) fn more(before: &[Grant], after: &[Grant]) -> Option<String> {
    let weighty = weighty(before, after);
    (!weighty.is_empty()).then(|| format!("new rights: {}", weighty.join(", ")))
}

/// These rights themselves, each once.
pub(crate) fn weighty(before: &[Grant], after: &[Grant]) -> Vec<&'static str> {
    let had = Principal::with_grants("", before.to_vec());
    let more = after.iter().filter(|grant| !had.covers(std::slice::from_ref(grant)));
    let mut weighty: Vec<&'static str> = Vec::new();
    for grant in more {
        if WEIGHTY.contains(&grant.right) && !weighty.contains(&grant.right.as_str()) {
            weighty.push(grant.right.as_str());
        }
    }
    weighty
}

/// Why somebody who asked for an act cannot have it any more; `None`: it is as it was then. `right`: what the act asks for, and whether for the whole suite.
pub(crate) fn lost(
    books: &LifeBooks,
    approval: &simsim_catalog::Approval,
    (right, of_suite): (Right, bool),
    now_unix_ms: i64,
) -> Result<Option<String>, ServerError> {
    let asked_by = approval.asked_by.as_str();
    let gone = |why: &str| Ok(Some(format!("{asked_by} asked for it, and {why}")));
    let (person, token) = match asked_by.split_once("/api-token:") {
        Some((person, token)) => (person, Some(token)),
        None => (asked_by, None),
    };
    let Some(name) = person.strip_prefix("user:") else { return Ok(None) };
    let Some(user) = books.users.iter().find(|user| user.name == name) else {
        return gone("is no user any more");
    };
    let off = |one: &simsim_catalog::IdentityProvider| {
        !one.enabled && user.provider.as_ref() == Some(&one.name)
    };
    if user.disabled || books.providers.iter().any(off) {
        return gone("may not come in any more");
    }
    let mut grants = grants_of(&user.grants, &books.places)?.1;
    if let Some(token) = token {
        let token = books.api_tokens.iter().find(|one| one.name == token);
        let is_it = |one: &&simsim_catalog::ApiToken| {
            one.is_valid(now_unix_ms)
                && one.user.as_deref() == Some(name)
                && one.created_unix_ms <= approval.asked_unix_ms
        };
        let Some(token) = token.filter(is_it) else {
            return gone("that API token is not valid any more");
        };
        grants = common(&grants, &grants_of(&token.grants, &books.places)?.1);
    }
    let who = Principal::with_grants("", grants);
    match who.holds(right) && (!of_suite || who.may(right, Object::Suite)) {
        true => Ok(None),
        false => gone(&format!("does not hold the right '{}' any more", right.as_str())),
    }
}

/// Why who asked for an act could speak as the one who approves it; `None`: could not.
pub(crate) fn speaks_for(books: &LifeBooks, asked_by: &str, second: &str) -> Option<String> {
    let asked = person_of(asked_by)?;
    if let Some((_, token)) = second.split_once("/api-token:") {
        let token = books.api_tokens.iter().find(|one| one.name == token)?;
        if person(books, &token.created_by) == asked {
            return Some(format!(
                "{asked} made the API token '{}' and knows it: take another one",
                token.name
            ));
        }
    }
    let user = person_of(second)?.strip_prefix("user:")?;
    let user = books.users.iter().find(|one| one.name == user)?;
    if let Some(provider) = &user.provider {
        let alone = books.providers.iter().find(|one| one.name == *provider)?.alone.as_deref()?;
        return (alone == asked).then(|| {
            format!(
                "{asked} alone set up the identity provider '{provider}', whose word says who '{}' is: somebody else who \
                 does not sign in by it looks at it and keeps it ('simsim identity-provider change {provider}')",
                user.name
            )
        });
    }
    // Whoever knows the password could have made the token, too.
    let (user, by) = (&user.name, user.password_by.as_deref()?);
    (person(books, by) == asked).then(|| {
        format!(
            "{asked} set the password of user '{user}' and knows it: {user} changes it first, with 'simsim \
             user password' or in the browser"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(right: Right, client: Option<&str>) -> Grant {
        Grant { client: client.map(str::to_owned), ..Grant::of(right) }
    }

    #[test]
    fn who_gets_more_weighs_and_who_gets_less_or_the_same_does_not() {
        let view = [grant(Right::View, None)];
        let one = [grant(Right::Administer, Some("web")), grant(Right::View, None)];
        let all = [grant(Right::Administer, None)];
        assert_eq!(more(&[], &view), None);
        assert_eq!(more(&view, &one).as_deref(), Some("new rights: administer"));
        assert!(more(&one, &all).is_some(), "wider than before");
        assert_eq!(more(&all, &one), None);
        assert_eq!(more(&all, &all), None);
    }
}
