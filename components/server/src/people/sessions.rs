//! Browsers that are logged in.
//!
//! A session's secret is in a cookie that no script can read. A text that derives from it goes along
//! with everything that changes something: only our own pages know it, so no page of others can make a
//! browser ask for them.

use std::net::IpAddr;
use std::time::Duration;

use simsim_catalog::{ConsoleSession, Places, User};
use zeroize::Zeroizing;

use super::credentials::{Unknown, grants_of, hash_of, is_old, name_of_user, new_secret};
use super::{lock_out, one_time, passwords};
use crate::api::SessionView;
use crate::clock::now_unix_ms;
use crate::rights::{Grant, Principal};
use crate::{Server, ServerError};

const PREFIX: &str = "simsim_session_";
/// A session that is not used ends.
pub(super) const IDLE_MS: i64 = 30 * 60_000;
/// And any ends.
pub(super) const LONGEST_MS: i64 = 12 * 3_600_000;
/// When a log-in that is not good is answered, whatever took time on the way: so that the time does not
/// tell whether there is such a user.
const ANSWERED_AFTER: Duration = Duration::from_secs(1);
/// Of one user; a further one ends the one that was used longest ago.
const SESSIONS_MAX: u32 = 16;

/// A session that began.
pub struct Begun {
    pub secret: Zeroizing<String>,
    pub session: SessionView,
}

/// Who shows a session.
pub struct Known {
    pub principal: Principal,
    pub session: SessionView,
}

impl Server {
    /// Logs a user in. A user who does not exist, a wrong password, one that comes too early after
    /// wrong ones: one answer, and the same time.
    pub async fn log_in(
        &self,
        user: &str,
        password: Zeroizing<String>,
        code: Option<&str>,
        from: IpAddr,
    ) -> Result<Begun, Unknown> {
        let (now, begun) = (now_unix_ms(), tokio::time::Instant::now());
        let name = user.to_owned();
        let found = self
            .house
            .books
            .run(move |catalog| {
                let users = catalog.users()?;
                Ok(users.into_iter().find(|user| user.name == name))
            })
            .await?;
        let kept = found.as_ref().and_then(|user| user.password_hash.as_deref());
        let fits = passwords::fits(password, kept).await?;
        let step = match &found {
            Some(user) => self.step_of(user, code, now)?,
            None => Step::NotNeeded,
        };
        let user = match found {
            Some(user) if fits && !user.disabled && !is_locked(&user, now) && step.fits() => user,
            found => {
                let refusal = self.wrong_log_in(found, now, from).await?;
                tokio::time::sleep_until(begun + ANSWERED_AFTER).await;
                return Err(refusal);
            }
        };
        let taken = match step {
            Step::Of(step) => Some(step),
            Step::NotNeeded | Step::Wrong => None,
        };
        match self.begin_as(&user, taken, from, "").await? {
            Some(begun) => Ok(begun),
            None => {
                let refusal = self.wrong_log_in(Some(user), now, from).await?;
                tokio::time::sleep_until(begun + ANSWERED_AFTER).await;
                Err(refusal)
            }
        }
    }

    /// A session of a user who proved who that is in another way. `by`: which, for the audit log.
    pub(super) async fn begin_session(
        &self,
        user: &User,
        from: IpAddr,
        by: &str,
    ) -> Result<Begun, ServerError> {
        let begun = self.begin_as(user, None, from, by).await?;
        begun.ok_or_else(|| {
            let why = "the user or the identity provider was changed meanwhile: sign in again";
            ServerError::Refused(why.to_owned())
        })
    }

    /// Begins a session; `None`: the one-time password was taken before, or the user has changed.
    async fn begin_as(
        &self,
        user: &User,
        taken: Option<i64>,
        from: IpAddr,
        by: &str,
    ) -> Result<Option<Begun>, ServerError> {
        let now = now_unix_ms();
        let (secret, hash) = new_secret(PREFIX)?;
        let session = ConsoleSession {
            user: user.name.clone(),
            address: from.to_canonical().to_string(),
            created_unix_ms: now,
            used_unix_ms: now,
        };
        let (new, seen) = (session.clone(), user.clone());
        self.note_log_in(&user.name, from, by).await?;
        let (good, places) = self
            .house
            .books
            .run(move |catalog| {
                catalog.forget_console_sessions(now - IDLE_MS, now - LONGEST_MS)?;
                // A one-time password serves once, however many show it at the same moment.
                let good =
                    catalog.begin_console_session(&seen, taken, &hash, &new, SESSIONS_MAX)?;
                Ok((good, catalog.places()?))
            })
            .await?;
        if !good {
            return Ok(None);
        }
        let known = known(user, &places, &session, &secret)?;
        Ok(Some(Begun { secret, session: known.session }))
    }

    /// Who shows this session. `csrf`: what came along; it is looked at where something `changes`.
    pub async fn with_session(
        &self,
        secret: &str,
        csrf: Option<&str>,
        changes: bool,
        from: IpAddr,
    ) -> Result<Known, Unknown> {
        let now = now_unix_ms();
        let hash = hash_of(secret);
        let found = self
            .house
            .books
            .run(move |catalog| {
                let Some(session) = catalog.console_session(&hash)? else { return Ok(None) };
                if !is_good(&session, now) {
                    catalog.end_console_session(&hash)?;
                    return Ok(None);
                }
                let user = catalog.user(&session.user)?;
                if is_old(Some(session.used_unix_ms), now) {
                    catalog.console_session_is_used(&hash, now)?;
                }
                Ok(Some((session, user, catalog.places()?)))
            })
            .await?;
        let Some((session, user, places)) = found else {
            return Err(match secret.starts_with(PREFIX) {
                // One that has ended: whoever shows it has done nothing wrong.
                true => Unknown::NotProved,
                false => self.not_proved("no session", from).await,
            });
        };
        if user.disabled {
            return Err(Unknown::NotProved);
        }
        let shown = csrf.map(|csrf| blake3::hash(csrf.as_bytes()));
        if changes && shown != Some(blake3::hash(csrf_token(secret).as_bytes())) {
            let text = "what changes something needs the session's own 'X-CSRF-Token'";
            return Err(Unknown::Failed(ServerError::Refused(text.to_owned())));
        }
        Ok(known(&user, &places, &session, secret)?)
    }

    /// Ends a session; one that is unknown has ended before.
    pub async fn log_out(&self, secret: &str) -> Result<(), ServerError> {
        let hash = hash_of(secret);
        self.house.books.run(move |catalog| catalog.end_console_session(&hash)).await
    }

    /// What a session allows now; `None`: it has ended. Asking does not count as use of it.
    pub async fn session_now(&self, secret: &str) -> Result<Option<Vec<Grant>>, ServerError> {
        let hash = hash_of(secret);
        let found = self
            .house
            .books
            .run(move |catalog| {
                let Some(session) = catalog.console_session(&hash)? else { return Ok(None) };
                let user = catalog.user(&session.user)?;
                Ok(Some((session, user, catalog.places()?)))
            })
            .await?;
        let now = now_unix_ms();
        let Some((session, user, places)) = found else { return Ok(None) };
        if user.disabled || !is_good(&session, now) {
            return Ok(None);
        }
        Ok(Some(grants_of(&user.grants, &places)?.1))
    }

    fn step_of(&self, user: &User, code: Option<&str>, now: i64) -> Result<Step, ServerError> {
        let Some(sealed) = &user.totp_sealed else { return Ok(Step::NotNeeded) };
        let code = code.unwrap_or_default();
        let step = one_time::step_of(code, &user.name, sealed, &self.house.master, now)?;
        Ok(step.map_or(Step::Wrong, Step::Of))
    }

    /// A wrong log-in is counted for the user, if there is one, and for the address.
    async fn wrong_log_in(
        &self,
        found: Option<User>,
        now: i64,
        from: IpAddr,
    ) -> Result<Unknown, ServerError> {
        let mut why = "a wrong log-in".to_owned();
        if let Some(user) = found {
            why = format!("a wrong log-in as '{}'", user.name);
            // What comes while the user is locked out counts no further: it was not looked at.
            if !is_locked(&user, now) {
                self.house
                    .books
                    .run(move |catalog| {
                        let until = |failed| lock_out::locked_until(failed, now);
                        catalog.login_failed(&user.name, until)
                    })
                    .await?;
            }
        }
        Ok(self.not_proved(&why, from).await)
    }

    async fn note_log_in(&self, user: &str, from: IpAddr, by: &str) -> Result<(), ServerError> {
        let detail = format!("from {} {by}", from.to_canonical());
        let entry = simsim_catalog::AuditEntry {
            principal: name_of_user(user),
            verb: "session.begin".to_owned(),
            object: "the console".to_owned(),
            allowed: true,
            detail: detail.trim_end().to_owned(),
        };
        self.house.books.audit(entry).await
    }
}

/// What came of a one-time password.
enum Step {
    /// The user has none.
    NotNeeded,
    Of(i64),
    Wrong,
}

impl Step {
    fn fits(&self) -> bool {
        !matches!(self, Step::Wrong)
    }
}

/// Whether a session has not ended yet.
fn is_good(session: &ConsoleSession, now_unix_ms: i64) -> bool {
    session.used_unix_ms > now_unix_ms - IDLE_MS
        && session.created_unix_ms > now_unix_ms - LONGEST_MS
}

fn is_locked(user: &User, now_unix_ms: i64) -> bool {
    user.locked_until_unix_ms.is_some_and(|until| until > now_unix_ms)
}

fn known(
    user: &User,
    places: &Places,
    session: &ConsoleSession,
    secret: &str,
) -> Result<Known, ServerError> {
    let (_, grants) = grants_of(&user.grants, places)?;
    let view = SessionView {
        user: user.name.clone(),
        provider: user.provider.clone(),
        grants: grants.clone(),
        csrf_token: csrf_token(secret),
        idle_until_unix_ms: session.used_unix_ms.saturating_add(IDLE_MS),
        until_unix_ms: session.created_unix_ms.saturating_add(LONGEST_MS),
    };
    let principal = Principal::with_grants(name_of_user(&user.name), grants);
    Ok(Known { principal, session: view })
}

fn csrf_token(secret: &str) -> String {
    let key =
        blake3::derive_key("simsim server v1: text that goes with a session", secret.as_bytes());
    blake3::Hash::from_bytes(key).to_hex().to_string()
}
