//! From what somebody shows to a principal.

use std::net::IpAddr;

use simsim_catalog::{AuditEntry, Catalog, Places, User};
use simsim_format::random_bytes;
use simsim_transfer::Counted;
use zeroize::Zeroizing;

use super::roles::{Granted, unfold};
use crate::clock::now_unix_ms;
use crate::rights::{Grant, Principal, common};
use crate::{Server, ServerError};

/// Tokens of somebody whom a provider vouches for are good for so long after the last sign-in: a provider
/// does not tell who has left.
const VOUCHED_FOR_MS: i64 = 30 * 86_400_000;
/// What API tokens begin with, so that scanners for leaks find them.
pub(crate) const API_TOKEN_PREFIX: &str = "simsim_api_";

/// Why somebody is not let in.
#[derive(Debug)]
pub enum Unknown {
    /// The one answer to who proved nothing.
    NotProved,
    TooOften {
        seconds: u32,
    },
    Failed(ServerError),
}

impl From<ServerError> for Unknown {
    fn from(error: ServerError) -> Self {
        Unknown::Failed(error)
    }
}

/// A new secret with 256 random bits, and what is kept of it.
pub(crate) fn new_secret(prefix: &str) -> Result<(Zeroizing<String>, [u8; 32]), ServerError> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random_bytes()?);
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 64));
    text.push_str(prefix);
    for byte in *bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    let hash = hash_of(&text);
    Ok((text, hash))
}

/// What is kept of a secret. It finds the row, so that no secret is compared byte by byte.
pub(crate) fn hash_of(text: &str) -> [u8; 32] {
    blake3::derive_key("simsim server v1: secrets for the console", text.as_bytes())
}

/// What a kept document of grants allows.
pub(crate) fn grants_of(
    document: &str,
    places: &Places,
) -> Result<(Vec<Granted>, Vec<Grant>), ServerError> {
    let damaged = |error: serde_json::Error| {
        ServerError::Key(format!("grants in the catalog cannot be read: {error}"))
    };
    let granted: Vec<Granted> = serde_json::from_str(document).map_err(damaged)?;
    let grants = unfold(&granted, places)?;
    Ok((granted, grants))
}

/// Whether a use is worth a write: uses are kept to the minute.
pub(super) fn is_old(used_unix_ms: Option<i64>, now_unix_ms: i64) -> bool {
    used_unix_ms.is_none_or(|used| used <= now_unix_ms.saturating_sub(60_000))
}

/// As a user stands in the audit log.
pub(crate) fn name_of_user(user: &str) -> String {
    format!("user:{user}")
}

impl Server {
    /// Who shows this API token, and what that allows: of a user's token what both may.
    pub async fn with_api_token(&self, secret: &str, from: IpAddr) -> Result<Principal, Unknown> {
        if !secret.starts_with(API_TOKEN_PREFIX) {
            return Err(self.not_proved("no API token", from).await);
        }
        let hash = hash_of(secret);
        let found = self
            .house
            .books
            .run(move |catalog| {
                let Some(token) = catalog.api_token_with_hash(&hash)? else { return Ok(None) };
                let user = match &token.user {
                    Some(user) => Some(catalog.user(user)?),
                    None => None,
                };
                let provider = user.as_ref().and_then(|user: &User| user.provider.as_deref());
                let provider = provider.map(|name| catalog.identity_provider(name)).transpose()?;
                Ok(Some((token, user, provider, catalog.places()?)))
            })
            .await?;
        let Some((token, user, provider, places)) = found else {
            return Err(self.not_proved("an unknown API token", from).await);
        };
        let now = now_unix_ms();
        let bad = match (&user, token.revoked_unix_ms) {
            (_, Some(_)) => Some("was revoked"),
            _ if token.is_expired(now) => Some("has expired"),
            (Some(User { disabled: true, .. }), _) => Some("is of a disabled user"),
            _ if provider.as_ref().is_some_and(|provider| !provider.enabled) => {
                Some("is of a user whose identity provider is not enabled")
            }
            (Some(User { provider: Some(_), seen_unix_ms, .. }), _)
                if seen_unix_ms.is_none_or(|seen| seen <= now.saturating_sub(VOUCHED_FOR_MS)) =>
            {
                Some("is of a user who has not signed in for 30 days")
            }
            _ => None,
        };
        if let Some(why) = bad {
            let why = format!("API token '{}' {why}", token.name);
            return Err(self.not_proved(&why, from).await);
        }
        let (_, mut grants) = grants_of(&token.grants, &places)?;
        let mut name = format!("api-token:{}", token.name);
        if let Some(user) = &user {
            grants = common(&grants_of(&user.grants, &places)?.1, &grants);
            name = format!("{}/{name}", name_of_user(&user.name));
        }
        if is_old(token.used_unix_ms, now) {
            let used = move |catalog: &Catalog| catalog.api_token_is_used(&token.name, now);
            if let Err(error) = self.house.books.run(used).await {
                tracing::warn!(%error, "the use of an API token could not be noted");
            }
        }
        Ok(Principal::with_grants(name, grants))
    }

    /// Counts a wrong secret of an address and writes it down, within bounds.
    pub(super) async fn not_proved(&self, why: &str, from: IpAddr) -> Unknown {
        let (line, answer) = match self.house.people.wrong.count(from) {
            Counted::Wrong => (Some(why.to_owned()), Unknown::NotProved),
            Counted::TooOften { seconds, first } => {
                let line = format!("too many wrong secrets; no more lines for {seconds} s");
                (first.then_some(line), Unknown::TooOften { seconds })
            }
        };
        if let Some(detail) = line {
            let entry = AuditEntry {
                principal: format!("stranger:{}", from.to_canonical()),
                verb: "console.admit".to_owned(),
                object: "the console".to_owned(),
                allowed: false,
                detail,
            };
            if let Err(error) = self.house.books.audit(entry).await {
                tracing::error!(%error, "a refused secret could not be written down");
            }
        }
        answer
    }
}
