//! API tokens one by one: seeing and changing them.

use simsim_catalog::Catalog;

use super::{DAY_MS, TOKEN_DAYS_MAX, document, granted_of, token_view};
use crate::api::{ApiTokenNameRequest, ApiTokenView, ChangeApiTokenRequest};
use crate::clock::now_unix_ms;
use crate::people::second_person::{self, PeopleChange};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// One API token.
    pub async fn api_token(
        &self,
        who: &Principal,
        request: ApiTokenNameRequest,
    ) -> Result<ApiTokenView, ServerError> {
        self.may_see(who, Right::People, "see API tokens of", Object::Suite).await?;
        self.api_token_view(request.name).await
    }

    async fn api_token_view(&self, name: String) -> Result<ApiTokenView, ServerError> {
        let read =
            move |catalog: &Catalog| Ok((catalog.api_token(&name)?, catalog.approvals(true)?));
        let (token, approvals) = self.house.books.run(read).await?;
        token_view(token, &approvals)
    }

    /// Gives an API token other grants, another time, or both. Whoever does it could give all that it has and gets; what
    /// weighs and is nobody's waits for a second person, as where one is made.
    pub async fn change_api_token(
        &self,
        who: &Principal,
        request: ChangeApiTokenRequest,
    ) -> Result<ApiTokenView, ServerError> {
        let verb = "api-token.change";
        self.may_see(who, Right::People, verb, Object::Suite).await?;
        check(&request)?;
        let name = request.name.clone();
        let token = self.house.books.run(move |catalog| catalog.api_token(&name)).await?;
        if token.revoked_unix_ms.is_some() {
            return Err(ServerError::Refused(format!(
                "API token '{}' was revoked, and that is for good: make another one",
                token.name
            )));
        }
        let before = self.unfolded_as_kept(&token.grants).await?;
        let of = |change: &PeopleChange| change.token.as_ref() == Some(&request.name);
        let waiting = self.waiting_grants(of).await?;
        self.reaches(who, verb, &before, "the token has rights that you do not have").await?;
        let otherwise = "what waits for a second person would give it rights that you do not have";
        self.reaches(who, verb, &waiting, otherwise).await?;
        if let Some(user) = &token.user {
            self.grants_of_user(who, verb, user).await?;
            self.knows_not_who_approves(who, verb, user).await?;
        }
        let (granted, after) = match request.grants {
            Some(granted) => {
                let after = self.unfolded(&granted).await?;
                (granted, after)
            }
            None => (granted_of(&token.grants)?, before.clone()),
        };
        let expires_unix_ms = match request.expires_days {
            None => token.expires_unix_ms,
            Some(0) => None,
            Some(days) => Some(now_unix_ms().saturating_add(i64::from(days) * DAY_MS)),
        };
        let later = is_later(token.expires_unix_ms, expires_unix_ms);
        let waits = token.user.is_none() && second_person::more(&before, &after).is_some();
        // Two persons agreed to what it may until then, and not for longer.
        let mut allowed = if waits { before.clone() } else { after.clone() };
        allowed.extend(waiting);
        let weighty = second_person::weighty(&[], &allowed);
        if later && token.user.is_none() && !weighty.is_empty() {
            let refusal = ServerError::Refused(format!(
                "{verb}: API token '{}' may {}, and is nobody's: that it may for longer takes two persons, so make \
                 another one",
                token.name,
                weighty.join(", ")
            ));
            let told = refusal.to_string();
            self.write_down(who, verb, Object::Suite.to_string(), false, told).await?;
            return Err(refusal);
        }
        let until = match request.expires_days {
            None => String::new(),
            Some(0) => ", for ever".to_owned(),
            Some(days) => format!(", {days} days"),
        };
        let label = format!("API token '{}'{until}", token.name);
        self.may_give(who, verb, &after, &label, &granted).await?;
        let kept = if waits { token.grants.clone() } else { document(&granted)? };
        let name = token.name.clone();
        let change =
            move |catalog: &Catalog| catalog.change_api_token(&token, &kept, expires_unix_ms);
        if self.house.books.run(change).await?.is_none() {
            return Err(ServerError::Busy(format!(
                "API token '{name}' was changed just now: look at it again"
            )));
        }
        if waits {
            let change = PeopleChange {
                user: None,
                token: Some(name.clone()),
                grants: granted,
                disabled: false,
                removed: false,
            };
            self.change_people(who, verb, &before, change).await?;
        }
        self.api_token_view(name).await
    }
}

fn check(request: &ChangeApiTokenRequest) -> Result<(), ServerError> {
    if request.grants.is_none() && request.expires_days.is_none() {
        return Err(ServerError::invalid(
            "say what to change: what the token may, or when it expires",
        ));
    }
    if request.grants.as_ref().is_some_and(Vec::is_empty) {
        return Err(ServerError::invalid("say what the token may: at least one role or right"));
    }
    if request.expires_days.is_some_and(|days| days > TOKEN_DAYS_MAX) {
        return Err(ServerError::invalid(format!(
            "an API token is good for at most {TOKEN_DAYS_MAX} days; 0 is for ever"
        )));
    }
    Ok(())
}

/// Whether something ends later than before; `None`: never.
pub(in crate::desk) fn is_later(before: Option<i64>, after: Option<i64>) -> bool {
    match (before, after) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(before), Some(after)) => after > before,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_later_than_any_day() {
        assert!(is_later(Some(1), None) && is_later(Some(1), Some(2)));
        assert!(!is_later(None, Some(2)) && !is_later(None, None) && !is_later(Some(2), Some(2)));
    }
}
