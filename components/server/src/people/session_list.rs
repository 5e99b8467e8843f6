//! Looking at sessions, and ending them. Everybody sees and ends their own; whoever holds the right
//! `people`, those of all. A session is named by a text that derives from the hash of its secret: it leads to
//! neither.

use simsim_catalog::ConsoleSession;

use super::sessions::{IDLE_MS, LONGEST_MS};
use crate::api::{ConsoleSessionRequest, ConsoleSessionView, LoggedOut, UserNameRequest};
use crate::clock::now_unix_ms;
use crate::rights::{Object, Principal, Right, person_of};
use crate::{Server, ServerError};

type Listed = ([u8; 32], ConsoleSession);

impl Server {
    /// The sessions that whoever asks may end, those that were used last first.
    pub async fn sessions(&self, who: &Principal) -> Result<Vec<ConsoleSessionView>, ServerError> {
        let all = self.good_sessions().await?;
        let mine = |one: &Listed| who.may(Right::People, Object::Suite) || is_own(who, &one.1.user);
        Ok(all.into_iter().filter(mine).map(|(hash, session)| view(&hash, session)).collect())
    }

    /// Ends one session, at once.
    pub async fn end_session(
        &self,
        who: &Principal,
        request: ConsoleSessionRequest,
    ) -> Result<ConsoleSessionView, ServerError> {
        let all = self.good_sessions().await?;
        let found = all.into_iter().find(|(hash, _)| name_of(hash) == request.session);
        let user = found.as_ref().map(|(_, session)| session.user.clone());
        self.may_end(who, "session.end", user.as_deref(), &request.session).await?;
        let Some((hash, session)) = found else {
            return Err(ServerError::not_found("session", &request.session));
        };
        self.house.books.run(move |catalog| catalog.end_console_session(&hash)).await?;
        Ok(view(&hash, session))
    }

    /// Ends every session of a user, at once.
    pub async fn log_out_user(
        &self,
        who: &Principal,
        request: UserNameRequest,
    ) -> Result<LoggedOut, ServerError> {
        let user = request.name;
        self.may_end(who, "user.log-out", Some(&user), &user).await?;
        let name = user.clone();
        let ended = self.house.books.run(move |catalog| catalog.end_console_sessions(&name));
        Ok(LoggedOut { sessions: ended.await?, user })
    }

    async fn good_sessions(&self) -> Result<Vec<Listed>, ServerError> {
        let now = now_unix_ms();
        let mut all = self.house.books.run(|catalog| catalog.console_sessions()).await?;
        all.retain(|(_, one)| {
            one.used_unix_ms > now - IDLE_MS && one.created_unix_ms > now - LONGEST_MS
        });
        Ok(all)
    }

    /// Writes it down, and refuses who may not. `user`: whose session it is.
    async fn may_end(
        &self,
        who: &Principal,
        verb: &'static str,
        user: Option<&str>,
        detail: &str,
    ) -> Result<(), ServerError> {
        let detail = format!("'{detail}'");
        if user.is_some_and(|user| is_own(who, user)) {
            return self.write_down(who, verb, Object::Suite.to_string(), true, detail).await;
        }
        self.may_do(who, Right::People, verb, Object::Suite, detail).await
    }
}

/// Also where a user's token asks.
fn is_own(who: &Principal, user: &str) -> bool {
    person_of(who.name()).and_then(|person| person.strip_prefix("user:")) == Some(user)
}

fn name_of(hash: &[u8; 32]) -> String {
    let name = blake3::derive_key("simsim server v1: name of a session", hash);
    blake3::Hash::from_bytes(name).to_hex().chars().take(16).collect()
}

fn view(hash: &[u8; 32], session: ConsoleSession) -> ConsoleSessionView {
    ConsoleSessionView {
        session: name_of(hash),
        idle_until_unix_ms: session.used_unix_ms.saturating_add(IDLE_MS),
        until_unix_ms: session.created_unix_ms.saturating_add(LONGEST_MS),
        user: session.user,
        address: session.address,
        created_unix_ms: session.created_unix_ms,
        used_unix_ms: session.used_unix_ms,
    }
}
