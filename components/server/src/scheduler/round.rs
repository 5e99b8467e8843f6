//! One round over one event: what is due now, and what becomes of it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use simsim_catalog::{Catalog, CatalogError, NewRun, Round, RunFate, Waiting};
use simsim_schedule::{Event, EventKind, Fate, Plan, Priority, Run, ScheduleError, due, plan};

use super::follow::after_refusal;
use super::orders;
use super::programme::{EventDocument, Loaded, Setup};

/// What was considered is written down at least this often, though nothing was due.
const KEEP_CONSIDERED_S: i64 = 600;

/// Jobs of events that have not ended yet, by event and subject.
pub(crate) type Open = HashMap<(String, String), u64>;

/// What a round decided.
#[derive(Debug)]
pub(crate) struct Decided {
    /// To be kept; `None`: nothing was due, and what was considered need not be written down yet.
    pub round: Option<Round>,
    /// Occurrences that were passed over, for the log.
    pub missed: usize,
    /// The clock stands where everything was considered before.
    pub waits_until: Option<Timestamp>,
}

/// Decides on one event at `now`.
///
/// # Errors
/// A zone or calendar is unknown; nothing was considered then.
pub(crate) fn decide(
    catalog: &Catalog,
    setup: &Setup,
    number: usize,
    open: &Open,
    now: Timestamp,
) -> Result<Decided, DecideError> {
    let none = |waits_until| Decided { round: None, missed: 0, waits_until };
    let loaded = &setup.loaded[number];
    let event = &setup.programme.events[number];
    let Some(schedule) = setup.schedule(event).filter(|_| event.enabled) else {
        return Ok(none(None));
    };
    let considered = loaded.considered(now);
    let found = due(schedule, &setup.almanac, &considered, now)?;
    let is_first = loaded.row.considered.is_none();
    if found.runs.is_empty() && found.skipped == 0 && !is_first {
        let moved = found.considered != considered;
        let old = considered.last().is_none_or(|last| far(last, now));
        if !moved || !old {
            return Ok(none(found.waits_until));
        }
    }
    let mut runs = Vec::new();
    if found.skipped > 0 {
        runs.push(missed(setup, event, &found.runs, found.skipped, found.skipped_more, now)?);
    }
    let mut follow_ups = Vec::new();
    for run in &found.runs {
        let of_run = runs_of(catalog, setup, loaded, event, run, open)?;
        // Of several occurrences that were refused in one round the newest is followed: they are one trouble.
        let follow = after_refusal(catalog, setup, loaded, &of_run, open)?;
        if !follow.is_empty() {
            follow_ups = follow;
        }
        runs.extend(of_run);
    }
    runs.extend(follow_ups);
    let after = serde_json::to_string(&found.considered)?;
    Ok(Decided {
        missed: found.skipped,
        waits_until: found.waits_until,
        round: Some(Round {
            event: event.name.clone(),
            before: loaded.row.considered.clone(),
            after,
            runs,
        }),
    })
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecideError {
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("what was considered cannot be written: {0}")]
    Text(#[from] serde_json::Error),
}

fn far(last: Timestamp, now: Timestamp) -> bool {
    now.duration_since(last).abs() >= SignedDuration::from_secs(KEEP_CONSIDERED_S)
}

/// The row that says what was passed over.
fn missed(
    setup: &Setup,
    event: &Event,
    runs: &[Run],
    count: usize,
    more: bool,
    now: Timestamp,
) -> Result<NewRun, ScheduleError> {
    let until = runs.first().map_or(now, |run| run.occurrence);
    let more = if more { "more than " } else { "" };
    Ok(NewRun {
        event: event.name.clone(),
        cause: format!("missed until {until}"),
        subject: String::new(),
        kind: event.kind.as_str().to_owned(),
        occurrence_unix_ms: None,
        backup_day: setup.programme.backup_days.of(now, &setup.almanac)?.date.to_string(),
        fate: RunFate::Missed,
        why: Some(format!(
            "{more}{count} occurrences had passed when the server looked, and the schedule makes up for no more"
        )),
        job: None,
    })
}

/// The runs of one occurrence, one for each subject.
fn runs_of(
    catalog: &Catalog,
    setup: &Setup,
    loaded: &Loaded,
    event: &Event,
    run: &Run,
    open: &Open,
) -> Result<Vec<NewRun>, DecideError> {
    let at = run.occurrence;
    let soon = at.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
    // What cannot be worked out suppresses nothing: another event's unknown zone stops no backup.
    let laid_out = plan(&setup.programme, &setup.almanac, at, soon).unwrap_or_default();
    let day = setup.programme.backup_days.of(at, &setup.almanac)?;
    let base = NewRun {
        event: event.name.clone(),
        cause: format!("at {at}"),
        subject: String::new(),
        kind: event.kind.as_str().to_owned(),
        occurrence_unix_ms: Some(at.as_millisecond()),
        backup_day: day.date.to_string(),
        fate: RunFate::Runs,
        why: run.late.then(|| "late: its time had passed when the server looked".to_owned()),
        job: None,
    };
    let waiting = Waiting {
        start_by_unix_ms: Some(run.start_by.as_millisecond()),
        ..waiting_of(&loaded.document)
    };
    if event.kind == EventKind::BackupDayChange {
        return Ok(vec![base]);
    }
    let mut runs = Vec::new();
    for subject in &event.subjects {
        let new = NewRun { subject: subject.name.clone(), ..base.clone() };
        runs.push(match fate_of(&laid_out, event, &subject.name, at) {
            Some((fate, why)) => NewRun { fate, why: Some(why), ..new },
            None => queued(catalog, &loaded.document, new, waiting.clone(), open)?,
        });
    }
    Ok(runs)
}

/// Why an occurrence does not run, if it does not.
fn fate_of(plan: &Plan, event: &Event, subject: &str, at: Timestamp) -> Option<(RunFate, String)> {
    match plan.fate(&event.name, subject, at)? {
        Fate::Runs => None,
        Fate::Suppressed { by, priority } => Some((
            RunFate::Suppressed,
            format!("event '{by}' has priority {} on this backup day", priority.number()),
        )),
        Fate::Blocked { by } => Some((RunFate::Blocked, format!("{by} is a blocking date"))),
        Fate::Blocks => {
            Some((RunFate::Blocks, "the event blocks others and never runs".to_owned()))
        }
    }
}

/// How the jobs of an event wait.
pub(crate) fn waiting_of(document: &EventDocument) -> Waiting {
    let priority = document.event.priority;
    Waiting {
        event: document.event.name.clone(),
        rank: match priority {
            Priority::ALWAYS => simsim_catalog::RANK_FIRST,
            other => other.number(),
        },
        timeout_s: document.timeout_s,
        ..Waiting::default()
    }
}

/// The run with its job, or with why there is none.
pub(crate) fn queued(
    catalog: &Catalog,
    document: &EventDocument,
    new: NewRun,
    waiting: Waiting,
    open: &Open,
) -> Result<NewRun, CatalogError> {
    if let Some(job) = open.get(&(new.event.clone(), new.subject.clone())) {
        return Ok(NewRun {
            fate: RunFate::Missed,
            why: Some(format!("job {job} of the event before it has not ended")),
            ..new
        });
    }
    match orders::order(catalog, document, &new.subject, waiting) {
        Ok(job) => Ok(NewRun { job: Some(job), ..new }),
        Err(orders::OrderError::Catalog(error)) => Err(error),
        Err(orders::OrderError::Refused(why)) => {
            Ok(NewRun { fate: RunFate::Refused, why: Some(why), ..new })
        }
    }
}
