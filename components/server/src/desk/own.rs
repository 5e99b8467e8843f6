//! What everybody may do with their own account, and shows the password of now for: a stolen session alone
//! changes nothing of it.

use simsim_catalog::{Catalog, User};
use zeroize::Zeroizing;

use crate::api::{OneTimeReply, OwnOneTimeRequest, OwnPasswordRequest};
use crate::clock::now_unix_ms;
use crate::people::{lock_out, name_of_user, passwords};
use crate::rights::{Object, Principal, person_of};
use crate::{Server, ServerError};

impl Server {
    /// Gives whoever asks another password. Sessions end.
    pub async fn set_own_password(
        &self,
        who: &Principal,
        request: OwnPasswordRequest,
    ) -> Result<(), ServerError> {
        let (old, new) = (Zeroizing::new(request.old), Zeroizing::new(request.password));
        passwords::check_new(&new)?;
        let user = self.proved(who, "me.password", old, "").await?;
        let hash = passwords::hash(new).await?;
        let (name, by) = (user.name.clone(), name_of_user(&user.name));
        self.house
            .books
            .run(move |catalog| catalog.set_password(&name, &hash, &by, now_unix_ms()))
            .await?;
        Ok(())
    }

    /// Gives whoever asks a new secret for one-time passwords, which is in the answer and nowhere else; or takes
    /// it away.
    pub async fn set_own_one_time(
        &self,
        who: &Principal,
        request: OwnOneTimeRequest,
    ) -> Result<OneTimeReply, ServerError> {
        let password = Zeroizing::new(request.password);
        let what = if request.on { ": new" } else { ": none" };
        let user = self.proved(who, "me.one-time", password, what).await?;
        self.keep_one_time(&user.name, request.on).await
    }

    /// The user who asks, and knows the password. Wrong ones hold up the next, as wrong log-ins do.
    async fn proved(
        &self,
        who: &Principal,
        verb: &'static str,
        password: Zeroizing<String>,
        what: &str,
    ) -> Result<User, ServerError> {
        let person = person_of(who.name()).and_then(|person| person.strip_prefix("user:"));
        let Some(name) = person.map(str::to_owned) else {
            return Err(ServerError::invalid(format!(
                "'{}' is no user, and only users have a password",
                who.name()
            )));
        };
        self.is_of_the_suite(&name, "has no password here").await?;
        let wanted = name.clone();
        let user = self.house.books.run(move |catalog| catalog.user(&wanted)).await?;
        let now = now_unix_ms();
        if let Some(until) = user.locked_until_unix_ms.filter(|until| *until > now) {
            return Err(ServerError::Refused(format!(
                "after wrong passwords of user '{name}' none is looked at for {} s",
                (until - now) / 1000 + 1
            )));
        }
        let fits = passwords::fits(password, user.password_hash.as_deref()).await?;
        let object = Object::Suite.to_string();
        self.write_down(who, verb, object, fits, format!("'{name}'{what}")).await?;
        if !fits {
            let wrong = move |catalog: &Catalog| {
                catalog.login_failed(&name, |failed| lock_out::locked_until(failed, now))
            };
            self.house.books.run(wrong).await?;
            return Err(ServerError::Refused("the password of now is wrong".to_owned()));
        }
        Ok(user)
    }
}
