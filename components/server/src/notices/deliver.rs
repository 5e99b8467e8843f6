//! The outbox goes out. Each notification has at most one delivery at a time, beside those of the others; a message is tried
//! until somebody takes it, ever more seldom, and given up only after a week.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{Message, MessageState};
use simsim_model::failpoint;
use simsim_notice::{Letter, Mail, NoticeError, Post, Protection, run_program};
use zeroize::Zeroizing;

use super::{letter_of, purpose, request_of};
use crate::ServerError;
use crate::api::{MailSecurity, NotificationRequest, Via};
use crate::clock::now_unix_ms;
use crate::house::House;

const LOOK_INTERVAL: Duration = Duration::from_secs(2);
const FIRST_PAUSE_MS: i64 = 30_000;
const PAUSE_MS_MAX: i64 = 3_600_000;
/// Given up when both are reached: a clock that jumps gives nothing up.
const GIVEN_UP_AFTER_MS: i64 = 7 * 86_400_000;
const GIVEN_UP_AFTER_ATTEMPTS: u64 = 50;
/// So many failed attempts are worth a word on another way.
const UNDELIVERED_ATTEMPTS: u64 = 3;

/// Whether a message waits because nobody takes it.
pub(crate) fn is_undelivered(message: &Message) -> bool {
    message.state == MessageState::Waiting
        && message.attempts >= UNDELIVERED_ATTEMPTS
        && message.last_error.is_some()
}

/// Delivers until the server ends.
pub(crate) async fn deliver_on(house: Weak<House>) {
    let under_way: Arc<Mutex<HashSet<String>>> = Arc::default();
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(house) = house.upgrade() else { return };
        let messages = match house.books.run(|catalog| catalog.next_messages()).await {
            Ok(messages) => messages,
            Err(error) => {
                let error = error.full_message();
                tracing::warn!(%error, "the outbox could not be read; it is tried again");
                continue;
            }
        };
        let now = now_unix_ms();
        for message in messages {
            let wait = message.not_before_unix_ms.saturating_sub(now);
            // One that should wait longer than any does was given its time by a wrong clock.
            let is_due = wait <= 0 || wait > PAUSE_MS_MAX;
            if !is_due || !under_way.lock().insert(message.notification.clone()) {
                continue;
            }
            let (house, under_way) = (Arc::clone(&house), Arc::clone(&under_way));
            let (stop, tasks) = (house.stop.clone(), house.tasks.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    done = deliver(&house, &message) => if let Err(error) = done {
                        let error = error.full_message();
                        tracing::warn!(%error, "a message could not be seen to");
                    }
                }
                under_way.lock().remove(&message.notification);
            });
        }
    }
}

async fn deliver(house: &House, message: &Message) -> Result<(), ServerError> {
    let name = message.notification.clone();
    let row = house.books.run(move |catalog| catalog.notification(&name)).await?;
    let request = request_of(&row)?;
    if !request.enabled {
        return Ok(());
    }
    let number = message.number;
    let begun = house.books.run(move |catalog| catalog.message_begun(number)).await?;
    let Some(message) = begun else { return Ok(()) };
    let letter = letter_of(&house.name, &message)?;
    let sent = send(house, &request, row.secret.as_deref(), &letter).await;
    failpoint::hit("notice.sent");
    let now = now_unix_ms();
    let Err(error) = sent else {
        house.books.run(move |catalog| catalog.message_ended(number, None, now)).await?;
        return Ok(());
    };
    let why = error.to_string();
    let age = now.saturating_sub(message.made_unix_ms);
    let is_over = age > GIVEN_UP_AFTER_MS && message.attempts >= GIVEN_UP_AFTER_ATTEMPTS;
    let again = (!is_over).then(|| now.saturating_add(pause_ms(message.attempts)));
    let (notification, attempts) = (&message.notification, message.attempts);
    tracing::warn!(notification, attempts, error = why, "nobody took a message");
    house.books.run(move |catalog| catalog.message_ended(number, Some((&why, again)), now)).await
}

/// How long after so many failed attempts.
fn pause_ms(attempts: u64) -> i64 {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    (FIRST_PAUSE_MS << doublings).min(PAUSE_MS_MAX)
}

/// Sends a letter by a notification, once.
pub(crate) async fn send(
    house: &House,
    request: &NotificationRequest,
    sealed: Option<&[u8]>,
    letter: &Letter,
) -> Result<(), NoticeError> {
    let secret = match sealed {
        None if request.has_secret => {
            return Err(NoticeError::Invalid(format!(
                "its secret was not given: 'simsim notification change {} --secret-file FILE'",
                request.name
            )));
        }
        None => None,
        Some(sealed) => {
            let opened = house.master.open(&purpose(&request.name), sealed);
            let opened = opened.map_err(|error| NoticeError::Invalid(error.to_string()))?;
            let text = String::from_utf8(opened.to_vec());
            let text =
                text.map_err(|_| NoticeError::Invalid("the secret is no text".to_owned()))?;
            Some(Zeroizing::new(text))
        }
    };
    let secret = secret.as_ref().map(|secret| secret.as_str());
    match &request.via {
        Via::Program { local_name } => match house.config.notify_programs.get(local_name) {
            Some(line) => run_program(line, letter).await,
            None => Err(NoticeError::Invalid(format!(
                "the server's settings name no program '{local_name}': add it to [server.notify_programs]"
            ))),
        },
        Via::Webhook { .. } => match post_of(&request.via, secret) {
            Some(post) => post.send(letter).await,
            None => Ok(()),
        },
        Via::Mail { .. } => match mail_of(&request.via, secret, &house.name) {
            Some(mail) => mail.send(letter).await,
            None => Ok(()),
        },
    }
}

pub(crate) fn post_of<'a>(via: &'a Via, key: Option<&'a str>) -> Option<Post<'a>> {
    let Via::Webhook { url, authority } = via else { return None };
    Some(Post { url, authority: authority.as_deref(), key })
}

pub(crate) fn mail_of<'a>(
    via: &'a Via,
    password: Option<&'a str>,
    greets_as: &'a str,
) -> Option<Mail<'a>> {
    let Via::Mail { server, port, security, authority, user, from, to } = via else { return None };
    let protection = match security {
        MailSecurity::Tls => Protection::Tls,
        MailSecurity::Starttls => Protection::StartTls,
        MailSecurity::None => Protection::Nothing,
    };
    Some(Mail {
        server,
        port: port.unwrap_or(protection.usual_port()),
        protection,
        authority: authority.as_deref(),
        user: user.as_deref(),
        password,
        from,
        to,
        greets_as,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses = [1, 2, 3, 8, 60, u64::MAX].map(|attempts| pause_ms(attempts) / 1000);
        assert_eq!(pauses, [30, 60, 120, 3600, 3600, 3600]);
    }
}
