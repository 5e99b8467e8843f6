//! One look: jobs that ended, and once a minute what is missing.

use std::sync::Weak;
use std::time::Duration;

use serde_json::Value;
use simsim_catalog::{Absence, Job, JobState, NoticeRound, NoticeTold};
use simsim_model::Outcome;

use super::facts::{Facts, gather};
use super::missing::missing;
use super::request_of;
use crate::Server;
use crate::ServerError;
use crate::api::{Notice, NoticeKind, NotificationRequest};
use crate::clock::{lasting_ms, now_unix_ms};
use crate::house::House;
use crate::report::{self, Due};

const LOOK_INTERVAL: Duration = Duration::from_secs(3);
/// How often it is looked what is missing.
const MISSING_INTERVAL_MS: i64 = 60_000;
/// What is still missing is said again after a day.
const AGAIN_MS: i64 = 86_400_000;
/// What comes so shortly after the first notice of a message goes with it.
const GATHER_MS: i64 = 5_000;
/// So many ends are looked at in one transaction.
const JOBS_MAX: u32 = 500;

/// Looks until the server ends.
pub(crate) async fn look_on(house: Weak<House>) {
    let mut missing_at = None;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(house) = house.upgrade() else { return };
        if let Err(error) = look(&house, &mut missing_at).await {
            let error = error.full_message();
            tracing::warn!(%error, "what is to be told could not be looked up; it is tried again");
        }
    }
}

async fn look(
    house: &std::sync::Arc<House>,
    missing_at: &mut Option<i64>,
) -> Result<(), ServerError> {
    let now = now_unix_ms();
    let seen = house
        .books
        .run(|catalog| Ok((catalog.notifications()?, catalog.unnoticed_jobs(JOBS_MAX)?)));
    let (rows, jobs) = seen.await?;
    let mut requests = Vec::new();
    for row in &rows {
        match request_of(row) {
            Ok(request) if request.enabled => requests.push(request),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a notification tells nothing"),
        }
    }
    let mut told: Vec<NoticeTold> =
        requests.iter().map(|request| outcomes(request, &jobs, now)).collect::<Result<_, _>>()?;
    let due = missing_at.is_none_or(|at| !(0..MISSING_INTERVAL_MS).contains(&(now - at)));
    if due && requests.iter().any(|request| !request.watch.is_empty()) {
        let facts = gather(house, &requests, now).await?;
        for (request, told) in requests.iter().zip(&mut told) {
            let name = request.name.clone();
            let known = house.books.run(move |catalog| catalog.absences(&name)).await?;
            absences(request, &facts, &known, now, told)?;
        }
    }
    if due {
        for (request, told) in requests.iter().zip(&mut told) {
            let row = rows.iter().find(|row| row.name == request.name);
            if let (Some(line), Some(row)) = (&request.report, row) {
                reports(house, line, row.reported_unix_ms, now, told).await?;
            }
        }
        *missing_at = Some(now);
    }
    told.retain(|one| {
        let quiet = one.notices.is_empty() && one.absent.is_empty() && one.back.is_empty();
        !quiet || one.reported_unix_ms.is_some()
    });
    if told.is_empty() && jobs.is_empty() {
        return Ok(());
    }
    let jobs = jobs.iter().map(|job| job.number).collect();
    let round = NoticeRound { told, jobs, not_before_unix_ms: now.saturating_add(GATHER_MS) };
    house.books.run(move |catalog| catalog.keep_notices(&round, now)).await
}

/// What a notification is told of jobs that ended.
fn outcomes(
    request: &NotificationRequest,
    jobs: &[Job],
    now: i64,
) -> Result<NoticeTold, ServerError> {
    let mut told = NoticeTold { notification: request.name.clone(), ..NoticeTold::default() };
    for job in jobs {
        let JobState::Ended(outcome) = job.state else { continue };
        let fits =
            |list: &[String], word: &str| list.is_empty() || list.iter().any(|one| one == word);
        if request.outcomes.contains(&outcome)
            && fits(&request.kinds, job.kind.as_str())
            && fits(&request.tasks, &job.task_name)
            && fits(&request.clients, &job.client_name)
        {
            told.notices.push(value(&ended(job, outcome, now))?);
        }
    }
    Ok(told)
}

fn ended(job: &Job, outcome: Outcome, now: i64) -> Notice {
    let (kind, number) = (job.kind.as_str(), job.number);
    let of = match job.task_name.as_str() {
        "" => String::new(),
        name => format!(" of '{name}'"),
    };
    let mut text = format!("{kind}{of} on '{}' (job {number}): {outcome}", job.client_name);
    if let Some(error) = &job.error {
        text.push_str(": ");
        text.push_str(&error.message);
    }
    match job.problems_total {
        0 => {}
        1 => text.push_str("; 1 problem"),
        problems => text.push_str(&format!("; {problems} problems")),
    }
    if outcome != Outcome::Finished {
        text.push_str(&format!(". See 'simsim job show {number}'"));
    }
    Notice {
        notice: NoticeKind::Outcome,
        text,
        at_unix_ms: job.ended_unix_ms.unwrap_or(now),
        subject: None,
        again: false,
        job: Some(number),
        kind: Some(kind.to_owned()),
        task: Some(job.task_name.clone()).filter(|name| !name.is_empty()),
        client: Some(job.client_name.clone()),
        outcome: Some(outcome),
        report: None,
    }
}

/// What is new, what is still missing after a day, and what is back.
fn absences(
    request: &NotificationRequest,
    facts: &Facts,
    known: &[Absence],
    now: i64,
    told: &mut NoticeTold,
) -> Result<(), ServerError> {
    let found = missing(request, facts, now);
    for one in &found {
        let before = known.iter().find(|known| known.subject == one.subject);
        // A clock that was set back must not silence anything for years.
        let said = before.is_some_and(|before| (now - before.told_unix_ms).abs() < AGAIN_MS);
        if said {
            continue;
        }
        let since_unix_ms = before.map_or(one.since_unix_ms, |before| before.since_unix_ms);
        told.notices.push(value(&about(
            NoticeKind::Absence,
            &one.subject,
            one.text.clone(),
            before.is_some(),
            now,
        ))?);
        told.absent.push(Absence {
            subject: one.subject.clone(),
            text: one.text.clone(),
            since_unix_ms,
            told_unix_ms: now,
        });
    }
    for gone in known {
        if found.iter().any(|one| one.subject == gone.subject) || facts.is_unsure(&gone.subject) {
            continue;
        }
        let since = lasting_ms(now - gone.told_unix_ms);
        let text = format!("no longer so (said {since} ago): {}", gone.text);
        told.notices.push(value(&about(NoticeKind::Recovery, &gone.subject, text, false, now))?);
        told.back.push(gone.subject.clone());
    }
    Ok(())
}

/// The report, where it is due.
async fn reports(
    house: &std::sync::Arc<House>,
    line: &str,
    before: Option<i64>,
    now: i64,
    told: &mut NoticeTold,
) -> Result<(), ServerError> {
    let (from, until) = match report::due(line, before, now)? {
        Due::NotYet => return Ok(()),
        Due::From(at) => {
            told.reported_unix_ms = Some(at);
            return Ok(());
        }
        Due::Tell(from, until) => (from, until),
    };
    let server = Server { house: std::sync::Arc::clone(house) };
    let report = report::gather(&server, from, until).await?;
    let mut notice = about(NoticeKind::Report, "report", report.headline.clone(), false, now);
    notice.subject = None;
    notice.report = Some(Box::new(report));
    told.notices.push(value(&notice)?);
    told.reported_unix_ms = Some(until);
    Ok(())
}

fn about(notice: NoticeKind, subject: &str, text: String, again: bool, now: i64) -> Notice {
    Notice {
        notice,
        text,
        at_unix_ms: now,
        subject: Some(subject.to_owned()),
        again,
        job: None,
        kind: None,
        task: None,
        client: None,
        outcome: None,
        report: None,
    }
}

fn value(notice: &Notice) -> Result<Value, ServerError> {
    serde_json::to_value(notice).map_err(|error| ServerError::Lost(error.to_string()))
}
