//! What is missing, as one notification looks at it. A subject is a word and a name, such as `backup home`: as long as it is
//! found it is the same absence, whatever its text says.

use std::collections::BTreeMap;

use super::facts::Facts;
use crate::api::{NotificationRequest, Watch, WatchSubject};
use crate::clock::lasting_ms;
use crate::retention::instant;

const HOUR_MS: i64 = 3_600_000;

/// One thing that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub subject: String,
    pub text: String,
    pub since_unix_ms: i64,
}

pub(crate) fn missing(request: &NotificationRequest, facts: &Facts, now: i64) -> Vec<Missing> {
    let mut found = BTreeMap::new();
    for watch in &request.watch {
        for one in of_watch(request, *watch, facts, now) {
            found.entry(one.subject.clone()).or_insert(one);
        }
    }
    found.into_values().collect()
}

fn of_watch(request: &NotificationRequest, watch: Watch, facts: &Facts, now: i64) -> Vec<Missing> {
    let fits = |list: &[String], word: &str| list.is_empty() || list.iter().any(|one| one == word);
    let late = |last: i64| {
        let hours = i64::from(watch.after_h.unwrap_or(0));
        now.saturating_sub(last) > hours.saturating_mul(HOUR_MS)
    };
    let word = watch.subject.as_str();
    let one = |name: &str, text: String, since_unix_ms: i64| Missing {
        subject: format!("{word} {name}"),
        text,
        since_unix_ms,
    };
    let mut found = Vec::new();
    match watch.subject {
        WatchSubject::Backup => {
            for task in &facts.tasks {
                let (name, client) = (&task.settings.name, &task.settings.client);
                if !fits(&request.tasks, name) || !fits(&request.clients, client) {
                    continue;
                }
                let last = facts.backups.iter().find(|last| last.0 == *name && last.1 == *client);
                let since = last.map_or(task.created_unix_ms, |last| last.2);
                if late(since) {
                    let since_when = said(since, now, last.is_some());
                    let text =
                        format!("task '{name}' on '{client}' has no good backup {since_when}");
                    found.push(one(name, text, since));
                }
            }
        }
        WatchSubject::Verification => {
            for store in &facts.stores {
                let last = facts.verified.iter().find(|last| last.0 == store.name);
                let since = last.map_or(store.created_unix_ms, |last| last.1);
                if late(since) {
                    let since_when = said(since, now, last.is_some());
                    let text =
                        format!("datastore '{}' has no good verification {since_when}", store.name);
                    found.push(one(&store.name, text, since));
                }
            }
        }
        WatchSubject::Drill => {
            for task in &facts.tasks {
                let (name, client) = (&task.settings.name, &task.settings.client);
                let counts = fits(&request.tasks, name) && fits(&request.clients, client);
                if !counts || facts.external.contains(name) {
                    continue;
                }
                let last = facts.drilled.iter().find(|last| last.0 == *client && last.1 == *name);
                let since = last.map_or(task.created_unix_ms, |last| last.2);
                if late(since) {
                    let since_when = said(since, now, last.is_some());
                    let text = format!(
                        "task '{name}' on '{client}' has no restore drill that passed {since_when}"
                    );
                    found.push(one(name, text, since));
                }
            }
        }
        WatchSubject::Green => {
            for task in &facts.not_green {
                let counts =
                    fits(&request.tasks, &task.task) && fits(&request.clients, &task.client);
                let Some(since) = task.health.not_green_since_unix_ms.filter(|_| counts) else {
                    continue;
                };
                if late(since) {
                    let bad = task.health.findings.iter().filter(|finding| !finding.good);
                    let words: Vec<_> = bad.map(|finding| finding.words.as_str()).collect();
                    let text = format!(
                        "task '{}' on '{}' is not green since {}: {}",
                        task.task,
                        task.client,
                        when(since),
                        words.join("; ")
                    );
                    found.push(one(&task.task, text, since));
                }
            }
        }
        WatchSubject::SelfBackup => {
            if let Some((newest, first)) = facts.self_backup {
                let since = newest.unwrap_or(first);
                if late(since) {
                    let since_when = said(since, now, newest.is_some());
                    let text = format!("the server itself has no backup {since_when}");
                    found.push(one("server", text, since));
                }
            }
        }
        WatchSubject::Host => {
            for (client, reached) in &facts.hosts {
                if *reached || !fits(&request.clients, &client.name) {
                    continue;
                }
                // What was seen in the future was seen by a wrong clock.
                let last = client.last_seen_unix_ms.filter(|last| *last <= now);
                let since = last.unwrap_or(client.enrolled_unix_ms);
                if late(since) {
                    let since_when = said(since, now, last.is_some());
                    let text = format!("host '{}' was not reached {since_when}", client.name);
                    found.push(one(&client.name, text, since));
                }
            }
        }
        WatchSubject::Space => {
            let below = watch.below_percent.unwrap_or(0);
            for (name, free) in &facts.space {
                if let Some(free) = free.filter(|free| *free < below) {
                    let text = format!(
                        "datastore '{name}' fills up: {free} % are free, and it should be {below} %"
                    );
                    found.push(one(name, text, now));
                }
            }
        }
        WatchSubject::Missed => {
            for (event, subject, why, at) in &facts.not_run {
                let when = when(*at);
                let text =
                    format!("event '{event}' should have run for '{subject}' at {when}: {why}");
                found.push(one(&format!("{event} {subject}"), text, *at));
            }
        }
        WatchSubject::Clock => {
            if let Some(doubt) = &facts.doubt {
                let text = format!("the server's clock is in doubt, so nothing expires: {doubt}");
                found.push(one("server", text, now));
            }
        }
        WatchSubject::Approval => {
            for (number, about, asked) in &facts.approvals {
                let text = format!("approval {number} waits for a second person: {about}");
                found.push(one(&number.to_string(), text, *asked));
            }
        }
        WatchSubject::Delivery => {
            for message in &facts.undelivered {
                if message.notification == request.name {
                    continue;
                }
                let text = format!(
                    "nobody takes what notification '{}' tells since {}: {}",
                    message.notification,
                    when(message.made_unix_ms),
                    message.last_error.as_deref().unwrap_or("it was not tried to the end"),
                );
                found.push(one(&message.notification, text, message.made_unix_ms));
            }
        }
    }
    found
}

/// `ever`: whether there was one at all.
fn said(since: i64, now: i64, ever: bool) -> String {
    let lasting = lasting_ms(now.saturating_sub(since));
    match ever {
        true => format!("since {} ({lasting})", when(since)),
        false => format!("at all, and is there since {} ({lasting})", when(since)),
    }
}

pub(super) fn when(unix_ms: i64) -> String {
    instant(unix_ms).strftime("%Y-%m-%d %H:%M UTC").to_string()
}
