//! The first user. Until there is one, nobody can log in; whoever owns the server's state makes a link
//! that serves once, and whoever opens it becomes the first superuser.

use std::net::IpAddr;

use super::credentials::{Unknown, hash_of, name_of_user, new_secret};
use super::{Granted, Role};
use crate::api::{UserRequest, WelcomeReply};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// So long a link serves.
const GOOD_FOR_MS: i64 = 60 * 60_000;

/// A link that was made and not used. It is kept in memory: after a restart another one is made.
pub(crate) struct Welcome {
    hash: [u8; 32],
    until_unix_ms: i64,
}

impl Server {
    /// Whether there is anybody who could log in.
    pub async fn has_people(&self) -> Result<bool, ServerError> {
        self.house.books.run(|catalog| catalog.has_users()).await
    }

    /// A link for the first user; the one before it serves no more. Errors: `Invalid` where there is
    /// a user already.
    pub async fn welcome(&self, who: &Principal) -> Result<WelcomeReply, ServerError> {
        self.may_do(who, Right::People, "user.welcome", Object::Suite, String::new()).await?;
        if self.has_people().await? {
            let text = "there are users already: they log in, and 'simsim user add' adds more";
            return Err(ServerError::invalid(text));
        }
        let (secret, hash) = new_secret("")?;
        let until_unix_ms = now_unix_ms().saturating_add(GOOD_FOR_MS);
        *self.house.people.welcome.lock().await = Some(Welcome { hash, until_unix_ms });
        let console = self.house.config.console.as_deref().unwrap_or_default();
        let url = format!("{console}/welcome?code={}", secret.as_str());
        Ok(WelcomeReply { url, expires_unix_ms: until_unix_ms })
    }

    /// Whether a link still serves.
    pub async fn is_welcome(&self, code: &str) -> bool {
        let kept = self.house.people.welcome.lock().await;
        kept.as_ref().is_some_and(|one| one.fits(code))
    }

    /// Makes the first user, with every right. A code that does not fit counts as a wrong secret of the
    /// address.
    pub async fn first_user(
        &self,
        code: &str,
        name: &str,
        password: &str,
        from: IpAddr,
    ) -> Result<(), Unknown> {
        let mut kept = self.house.people.welcome.lock().await;
        if !kept.as_ref().is_some_and(|one| one.fits(code)) || self.has_people().await? {
            drop(kept);
            return Err(self.not_proved("a wrong link for the first user", from).await);
        }
        let request = UserRequest {
            name: name.to_owned(),
            grants: vec![Granted { role: Some(Role::Superuser), ..Granted::default() }],
            disabled: false,
            password: Some(password.to_owned()),
            provider: None,
        };
        // By that person's own hand: nobody else knows the password.
        let grants = Principal::local_root().grants().to_vec();
        let who = Principal::with_grants(name_of_user(name), grants);
        self.add_user(&who, request).await?;
        *kept = None;
        Ok(())
    }
}

impl Welcome {
    fn fits(&self, code: &str) -> bool {
        self.hash == hash_of(code) && self.until_unix_ms > now_unix_ms()
    }
}
