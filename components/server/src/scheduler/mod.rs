//! The scheduler: decides what runs now, and what the end of a job starts.
//!
//! ```text
//! programme   the catalog's rows as values of `ground/schedule`
//! round       what is due of one event, and what becomes of it
//! orders      the job of one subject
//! bounds      where runs go and what they count against, for the plan
//! follow      another attempt, or the events that follow
//! ```
//!
//! It owns no state but the catalog's. A round reads all of it, decides, and writes what it decided, the
//! jobs and the time that it looked at in one step for each event. So a server that dies in the middle has
//! lost nothing and doubled nothing, whatever the clock did meanwhile; `ground/schedule` says why.

mod bounds;
mod follow;
mod orders;
mod programme;
mod round;
#[cfg(test)]
mod tests;

use std::sync::Weak;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use simsim_catalog::{Catalog, CatalogError, Job};
use simsim_schedule::{Missed, next_after};
use tokio::sync::Notify;

pub(crate) use self::bounds::Wheres;
pub(crate) use self::follow::started;
pub(crate) use self::programme::{EventDocument, Loaded, Setup, SetupError, almanac};
pub(crate) use self::round::Open;

use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::JobEventKind;

/// The events are looked at anew after this time, whatever happens: also a clock that jumps is noticed so.
const LOOK_INTERVAL: Duration = Duration::from_secs(20);

/// What the verbs and the loop share.
#[derive(Default)]
pub(crate) struct Scheduler {
    wake: Notify,
    trouble: Mutex<Vec<String>>,
    looked: Mutex<Option<Instant>>,
}

impl Scheduler {
    /// Something changed: look at the events.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether a round was ended well so lately.
    pub(crate) fn looked_within(&self, age: Duration) -> bool {
        self.looked.lock().is_some_and(|at| at.elapsed() < age)
    }

    /// What somebody should act on, as of the last round.
    pub(crate) fn trouble(&self) -> Vec<String> {
        self.trouble.lock().clone()
    }
}

/// What a round did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub jobs: Vec<Job>,
    /// When something is due next.
    pub next: Option<Timestamp>,
    pub trouble: Vec<String>,
}

/// Looks at the events until the Server stops.
pub(crate) async fn run(house: Weak<House>) {
    loop {
        let pause = match house.upgrade() {
            Some(house) => look(&house).await,
            None => return,
        };
        let Some(there) = house.upgrade() else { return };
        tokio::select! {
            () = there.scheduler.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One round; says how long nothing is due.
async fn look(house: &House) -> Duration {
    let done = match once(house).await {
        Ok(done) => done,
        Err(error) => {
            let error = error.full_message();
            tracing::error!(%error, "the events could not be looked at");
            *house.scheduler.trouble.lock() = vec![format!("no event runs: {error}")];
            return LOOK_INTERVAL;
        }
    };
    *house.scheduler.looked.lock() = Some(Instant::now());
    for job in &done.jobs {
        house.jobs.announcer().tell(job.number, JobEventKind::State { state: job.state });
    }
    if !done.jobs.is_empty() {
        house.jobs.wake();
    }
    let mut trouble = house.scheduler.trouble.lock();
    for line in done.trouble.iter().filter(|line| !trouble.contains(line)) {
        tracing::warn!("{line}");
    }
    *trouble = done.trouble;
    let wait_ms = done.next.map(|next| next.as_millisecond().saturating_sub(now_unix_ms()));
    match wait_ms {
        Some(ms) => LOOK_INTERVAL.min(Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
        None => LOOK_INTERVAL,
    }
}

async fn once(house: &House) -> Result<Done, ServerError> {
    let books = house.books.clone();
    let asked = tokio::task::spawn_blocking(move || round_of_all(books.catalog(), now_unix_ms()));
    let done = asked.await.map_err(|error| ServerError::Lost(error.to_string()))?;
    done.map_err(ServerError::from)
}

/// Follows what has ended, then decides on every event. One event's trouble is no other's.
pub(crate) fn round_of_all(catalog: &Catalog, now_unix_ms: i64) -> Result<Done, SetupError> {
    let now = instant(now_unix_ms);
    let setup = Setup::read(catalog)?;
    let mut open = open_runs(catalog)?;
    let mut done = Done::default();
    for job in catalog.unfollowed_jobs()? {
        let follow = follow::follow(catalog, &setup, &job, &open, now)?;
        simsim_model::failpoint::hit("server.before_follow");
        let jobs =
            catalog.follow_job(job.number, &follow.runs, follow.retry.as_ref(), now_unix_ms)?;
        simsim_model::failpoint::hit("server.after_follow");
        done.jobs.extend(jobs);
        open = open_runs(catalog)?;
    }
    for number in 0..setup.loaded.len() {
        let name = &setup.loaded[number].row.name;
        match round::decide(catalog, &setup, number, &open, now) {
            Ok(decided) => {
                done.trouble.extend(decided.waits_until.map(|until| {
                    format!(
                        "event '{name}' waits until {until}: the clock was there before, and what was due then has run"
                    )
                }));
                if decided.missed > 0 {
                    tracing::warn!(event = %name, missed = decided.missed, "occurrences were missed");
                }
                let Some(round) = decided.round else { continue };
                simsim_model::failpoint::hit("server.before_round");
                let kept = catalog.keep_round(&round, now_unix_ms)?;
                simsim_model::failpoint::hit("server.after_round");
                take(&mut done, &mut open, kept.unwrap_or_default(), &round.runs);
            }
            Err(error) => done.trouble.push(format!("event '{name}' does not run: {error}")),
        }
    }
    for event in setup.programme.events.iter().filter(|event| event.enabled) {
        let Some(schedule) = setup.schedule(event) else { continue };
        let next = next_after(schedule, &setup.almanac, now).ok().flatten();
        done.next = [done.next, next].into_iter().flatten().min();
    }
    Ok(done)
}

pub(crate) fn open_runs(catalog: &Catalog) -> Result<Open, CatalogError> {
    let open = catalog.open_runs()?.into_iter();
    Ok(open.map(|(event, subject, job)| ((event, subject), job)).collect())
}

/// Jobs that were queued are open: what comes after in the same round sees them.
fn take(done: &mut Done, open: &mut Open, jobs: Vec<Job>, runs: &[simsim_catalog::NewRun]) {
    let mut queued = jobs.iter();
    for run in runs.iter().filter(|run| run.job.is_some()) {
        if let Some(job) = queued.next() {
            open.insert((run.event.clone(), run.subject.clone()), job.number);
        }
    }
    done.jobs.extend(jobs);
}

/// Jobs that waited when the server ended, and whose start window passed while it was off: as with an
/// occurrence that was missed, the schedule says whether they still run. Returns which of them may, and which may not.
pub(crate) fn after_absence(
    catalog: &Catalog,
    now_unix_ms: i64,
) -> Result<(Vec<u64>, Vec<u64>), SetupError> {
    let passed = |job: &Job| job.waiting.start_by_unix_ms.is_some_and(|by| by < now_unix_ms);
    let passed: Vec<Job> = catalog.queued_jobs()?.into_iter().filter(passed).collect();
    let (mut run, mut not) = (Vec::new(), Vec::new());
    if passed.is_empty() {
        return Ok((run, not));
    }
    let setup = Setup::read(catalog)?;
    for job in passed {
        let event = setup.programme.events.iter().find(|one| one.name == job.waiting.event);
        let missed = event.and_then(|event| setup.schedule(event)).map(|one| one.missed());
        match missed {
            Some(Missed::Skip) => not.push(job.number),
            _ => run.push(job.number),
        }
    }
    Ok((run, not))
}

/// An instant of the Server's clock; one beyond all calendars is the end of time.
pub(crate) fn instant(unix_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(unix_ms).unwrap_or(Timestamp::MAX)
}
