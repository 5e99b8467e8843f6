//! Notifications: adding, changing, showing, trying and removing them.

use simsim_catalog::{
    Catalog, CatalogError, JobKind, Message, MessageState, NewNotification, NewSecret,
    Notification, Put,
};
use simsim_notice::{check_mail, check_post};

use super::datastores::check_name;
use crate::api::{
    AbsenceView, MessageView, MessagesRequest, NameRequest, Notice, NoticeKind,
    NotificationRequest, NotificationView, Via, Watch, WatchSubject,
};
use crate::clock::now_unix_ms;
use crate::notices;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// Longest time of a watch: ten years.
const AFTER_H_MAX: u32 = 87_600;
const SECRET_BYTES_MAX: usize = 1024;
const MESSAGES_USUAL: u32 = 100;

impl Server {
    /// Adds a notification.
    pub async fn add_notification(
        &self,
        who: &Principal,
        request: NotificationRequest,
    ) -> Result<NotificationView, ServerError> {
        self.put_notification(who, "notification.add", Put::Add, request).await
    }

    /// Replaces all of a notification but its name, and its secret where the request has none. What waits goes the new
    /// way.
    pub async fn change_notification(
        &self,
        who: &Principal,
        request: NotificationRequest,
    ) -> Result<NotificationView, ServerError> {
        self.put_notification(who, "notification.change", Put::Change, request).await
    }

    async fn put_notification(
        &self,
        who: &Principal,
        verb: &'static str,
        put: Put,
        mut request: NotificationRequest,
    ) -> Result<NotificationView, ServerError> {
        check_name(&request.name)?;
        self.may_see(who, Right::Administer, verb, Object::Suite).await?;
        self.check_notification(&request)?;
        let (tasks, clients) = (request.tasks.clone(), request.clients.clone());
        self.house.books.run(move |catalog| check_names(catalog, &tasks, &clients)).await?;
        let name = request.name.clone();
        let rows = self.house.books.run(|catalog| catalog.notifications()).await?;
        let there = rows.into_iter().find(|row| row.name == name && put == Put::Change);
        let secret = match request.secret.take() {
            Some(secret) if secret.is_empty() => {
                request.has_secret = false;
                NewSecret::None
            }
            Some(secret) => {
                let secret = zeroize::Zeroizing::new(secret);
                let sealed = self.house.master.seal(&notices::purpose(&name), secret.as_bytes())?;
                NewSecret::Sealed(sealed)
            }
            None => {
                if let Some(there) = there.as_ref().filter(|there| there.secret.is_some()) {
                    stays_with_its_host(&notices::request_of(there)?, &request)?;
                }
                NewSecret::Keep
            }
        };
        request.has_secret |= match &secret {
            NewSecret::Sealed(_) => true,
            NewSecret::None => false,
            NewSecret::Keep => there.is_some_and(|there| there.secret.is_some()),
        };
        if matches!(&request.via, Via::Mail { user: Some(_), .. }) && !request.has_secret {
            return Err(ServerError::invalid(
                "a user of the mail server needs a password: give it as the secret (--secret-file)",
            ));
        }
        let detail = format!("'{name}': {}", goes_to(&request.via));
        self.may_do(who, Right::Administer, verb, Object::Suite, detail).await?;
        let document = serde_json::to_string(&request)
            .map_err(|error| ServerError::Lost(error.to_string()))?;
        let new = NewNotification { name, document, secret };
        let row = self
            .house
            .books
            .run(move |catalog| catalog.put_notification(put, &new, now_unix_ms()))
            .await?;
        self.notification_view(row).await
    }

    fn check_notification(&self, request: &NotificationRequest) -> Result<(), ServerError> {
        let invalid = |error: simsim_notice::NoticeError| ServerError::invalid(error.to_string());
        if let Some(mail) = notices::mail_of(&request.via, None, &self.house.name) {
            check_mail(&mail).map_err(invalid)?;
        }
        if let Some(post) = notices::post_of(&request.via, None) {
            check_post(&post).map_err(invalid)?;
        }
        if let Via::Program { local_name } = &request.via
            && !self.house.config.notify_programs.contains_key(local_name)
        {
            return Err(ServerError::invalid(format!(
                "the server's settings name no program '{}': its line stands in [server.notify_programs] there and \
                 nowhere else",
                local_name.escape_debug()
            )));
        }
        if request.secret.as_ref().is_some_and(|secret| secret.len() > SECRET_BYTES_MAX) {
            return Err(ServerError::invalid(format!(
                "the secret has at most {SECRET_BYTES_MAX} bytes"
            )));
        }
        let is_kind = |kind: &&String| {
            let word = serde_json::Value::String((*kind).clone());
            serde_json::from_value::<JobKind>(word).is_ok()
        };
        if let Some(kind) = request.kinds.iter().find(|kind| !is_kind(kind)) {
            return Err(ServerError::invalid(format!(
                "'{}' is no kind of job: write it as 'simsim jobs --json' does, such as backup, restore, verify, replicate",
                kind.escape_debug()
            )));
        }
        if request.outcomes.is_empty() && request.watch.is_empty() && request.report.is_none() {
            return Err(ServerError::invalid(
                "it would never tell anything: name outcomes, something to watch, or when it tells the report",
            ));
        }
        request.report.as_deref().map(crate::report::check).transpose()?;
        request.watch.iter().try_for_each(check_watch)
    }

    /// All notifications, by name.
    pub async fn notifications(
        &self,
        who: &Principal,
    ) -> Result<Vec<NotificationView>, ServerError> {
        self.may_see(who, Right::View, "list notifications", Object::Suite).await?;
        let mut views = Vec::new();
        for row in self.house.books.run(|catalog| catalog.notifications()).await? {
            views.push(self.notification_view(row).await?);
        }
        Ok(views)
    }

    /// One notification.
    pub async fn notification(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<NotificationView, ServerError> {
        self.may_see(who, Right::View, "see notifications of", Object::Suite).await?;
        let row = self.house.books.run(move |catalog| catalog.notification(&request.name)).await?;
        self.notification_view(row).await
    }

    /// Sends a test, once and at once; what went wrong is the error, in words.
    pub async fn test_notification(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<NotificationView, ServerError> {
        let name = request.name.clone();
        self.may_do(who, Right::Administer, "notification.test", Object::Suite, name).await?;
        let row = self.house.books.run(move |catalog| catalog.notification(&request.name)).await?;
        let wanted = notices::request_of(&row)?;
        let now = now_unix_ms();
        let notice = Notice {
            notice: NoticeKind::Test,
            text: format!("a test, asked for by {}: this way works", who.name()),
            at_unix_ms: now,
            subject: None,
            again: false,
            job: None,
            kind: None,
            task: None,
            client: None,
            outcome: None,
            report: None,
        };
        let notice =
            serde_json::to_value(notice).map_err(|error| ServerError::Lost(error.to_string()))?;
        let message = Message {
            number: 0,
            notification: row.name.clone(),
            notices: vec![notice],
            left_out: 0,
            made_unix_ms: now,
            not_before_unix_ms: now,
            attempts: 1,
            last_error: None,
            state: MessageState::Waiting,
            ended_unix_ms: None,
        };
        let letter = notices::letter_of(&self.house.name, &message)?;
        match notices::send(&self.house, &wanted, row.secret.as_deref(), &letter).await {
            Ok(()) => self.notification_view(row).await,
            Err(error) => {
                let node = format!("notification '{}'", row.name);
                Err(ServerError::node(&node, error.kind(), error.to_string()))
            }
        }
    }

    /// What was told and what waits, newest first.
    pub async fn messages(
        &self,
        who: &Principal,
        request: MessagesRequest,
    ) -> Result<Vec<MessageView>, ServerError> {
        self.may_see(who, Right::View, "list messages", Object::Suite).await?;
        let limit = if request.limit == 0 { MESSAGES_USUAL } else { request.limit };
        let of = request.notification;
        let rows =
            self.house.books.run(move |catalog| catalog.messages(of.as_deref(), limit)).await?;
        rows.into_iter().map(message_view).collect()
    }

    /// Removes a notification with all that it had to tell.
    pub async fn delete_notification(
        &self,
        who: &Principal,
        request: NameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name.clone();
        self.may_do(who, Right::Administer, "notification.remove", Object::Suite, name).await?;
        self.house.books.run(move |catalog| catalog.delete_notification(&request.name)).await
    }

    async fn notification_view(&self, row: Notification) -> Result<NotificationView, ServerError> {
        let request = notices::request_of(&row)?;
        let name = row.name.clone();
        let read = move |catalog: &Catalog| -> Result<_, CatalogError> {
            Ok((catalog.absences(&name)?, catalog.messages(Some(&name), 0)?))
        };
        let (absent, messages) = self.house.books.run(read).await?;
        let in_state = |state| messages.iter().filter(move |one| one.state == state);
        let oldest = in_state(MessageState::Waiting).next_back();
        Ok(NotificationView {
            name: row.name,
            enabled: request.enabled,
            via: request.via,
            has_secret: row.secret.is_some() || request.has_secret,
            secret_missing: request.has_secret && row.secret.is_none(),
            outcomes: request.outcomes,
            kinds: request.kinds,
            tasks: request.tasks,
            clients: request.clients,
            watch: request.watch,
            report: request.report,
            created_unix_ms: row.created_unix_ms,
            absent: absent
                .into_iter()
                .map(|one| AbsenceView {
                    subject: one.subject,
                    text: one.text,
                    since_unix_ms: one.since_unix_ms,
                    told_unix_ms: one.told_unix_ms,
                })
                .collect(),
            waiting: in_state(MessageState::Waiting).count() as u64,
            waiting_since_unix_ms: oldest.map(|one| one.made_unix_ms),
            last_error: oldest.and_then(|one| one.last_error.clone()),
            last_sent_unix_ms: in_state(MessageState::Sent)
                .next()
                .and_then(|one| one.ended_unix_ms),
        })
    }
}

/// A notification of what is not there would never tell anything. Jobs bear the names of replications, migrations and
/// commands where those of others bear the name of their task.
fn check_names(
    catalog: &Catalog,
    tasks: &[String],
    clients: &[String],
) -> Result<(), CatalogError> {
    for name in clients {
        catalog.client(name)?;
    }
    for name in tasks {
        let Err(missing) = catalog.task(name) else { continue };
        let is_other = catalog.replications()?.iter().any(|one| one.name == *name)
            || catalog.migrations()?.iter().any(|one| one.name == *name)
            || catalog.commands()?.iter().any(|one| one.name == *name);
        if !is_other {
            return Err(missing);
        }
    }
    Ok(())
}

fn message_view(message: Message) -> Result<MessageView, ServerError> {
    let notices = notices::notices(&message)?;
    Ok(MessageView {
        message: message.number,
        notification: message.notification,
        state: message.state.as_str().to_owned(),
        notices,
        left_out: message.left_out,
        made_unix_ms: message.made_unix_ms,
        attempts: message.attempts,
        not_before_unix_ms: message.not_before_unix_ms,
        last_error: message.last_error,
        ended_unix_ms: message.ended_unix_ms,
    })
}

fn check_watch(watch: &Watch) -> Result<(), ServerError> {
    let word = watch.subject.as_str();
    let wrong = match watch.subject {
        subject if subject.takes_hours() => {
            !matches!(watch.after_h, Some(1..=AFTER_H_MAX)) || watch.below_percent.is_some()
        }
        WatchSubject::Space => {
            !matches!(watch.below_percent, Some(1..=99)) || watch.after_h.is_some()
        }
        _ => watch.after_h.is_some() || watch.below_percent.is_some(),
    };
    if !wrong {
        return Ok(());
    }
    Err(ServerError::invalid(match watch.subject {
        subject if subject.takes_hours() => {
            format!("watch '{word}' needs hours (after_h, such as {word}=26h), from 1 to {AFTER_H_MAX}, and nothing else")
        }
        WatchSubject::Space => {
            "watch 'space' needs a part that is free (below_percent, such as space=10%), from 1 to 99, and nothing else"
                .to_owned()
        }
        _ => format!("watch '{word}' takes no figure"),
    }))
}

/// Where it goes, for the audit log.
fn goes_to(via: &Via) -> String {
    match via {
        Via::Mail { server, to, .. } => format!("mail by {server} to {}", to.join(", ")),
        Via::Webhook { url, .. } => format!("webhook {url}"),
        Via::Program { local_name } => format!("program {local_name}"),
    }
}

/// A secret that is kept does not go to another host than the one for which it was given: who may change a notification
/// must not learn it.
fn stays_with_its_host(
    there: &NotificationRequest,
    request: &NotificationRequest,
) -> Result<(), ServerError> {
    let target = |via: &Via| match via {
        Via::Mail { server, port, security, authority, user, .. } => {
            format!("{server} {port:?} {security:?} {authority:?} {user:?}")
        }
        Via::Webhook { url, authority } => format!("{url} {authority:?}"),
        Via::Program { local_name } => local_name.clone(),
    };
    if target(&there.via) == target(&request.via) {
        return Ok(());
    }
    Err(ServerError::Refused(
        "the secret would go to another host, or over another line, than the one it was given for: give it again \
         (--secret-file), or none (an empty one)"
            .to_owned(),
    ))
}

/// What `status` says of those whose secret nobody gave.
pub(super) fn without_secret(rows: &[Notification]) -> Vec<String> {
    let lacks = rows.iter().filter(|row| {
        row.secret.is_none() && notices::request_of(row).is_ok_and(|request| request.has_secret)
    });
    lacks
        .map(|row| {
            format!(
                "notification '{0}' tells nothing, because its secret was not given: 'simsim notification change {0} \
                 --secret-file FILE'",
                row.name
            )
        })
        .collect()
}

/// What `status` says of it.
pub(super) fn undelivered(messages: &[Message]) -> Vec<String> {
    let late = messages.iter().filter(|message| notices::is_undelivered(message));
    late.map(|message| {
        format!(
            "notification '{}' is not delivered: {}; see 'simsim notification messages', try it with 'simsim \
             notification test {}'",
            message.notification,
            message.last_error.as_deref().unwrap_or_default(),
            message.notification
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use simsim_model::Outcome;

    use super::*;

    #[test]
    fn a_figure_that_a_watch_does_not_take_is_refused() {
        let watch = |subject, after_h, below_percent| Watch { subject, after_h, below_percent };
        for good in [
            watch(WatchSubject::Backup, Some(26), None),
            watch(WatchSubject::Space, None, Some(10)),
            watch(WatchSubject::Clock, None, None),
        ] {
            check_watch(&good).unwrap();
        }
        for wrong in [
            watch(WatchSubject::Backup, None, None),
            watch(WatchSubject::Host, Some(0), None),
            watch(WatchSubject::Space, Some(1), Some(10)),
            watch(WatchSubject::Space, None, Some(100)),
            watch(WatchSubject::Missed, Some(1), None),
        ] {
            assert!(check_watch(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_told_by_itself_is_everything_but_success() {
        let told = crate::api::bad_outcomes();
        assert!(!told.contains(&Outcome::Finished), "{told:?}");
        assert!(told.contains(&Outcome::FinishedWithErrors), "RET05: never shown as success");
    }
}
