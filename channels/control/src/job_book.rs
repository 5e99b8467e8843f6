//! The jobs of a node: started once, watched by anybody who follows, remembered when they are done.
//!
//! A job runs on a thread of its own and outlives the session that asked for it. Counters are read
//! four times a second by whoever follows; problems are kept for the result, up to a number, and
//! told at once, up to a rate. Nothing here waits for a follower, so a slow line never slows a job.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use simsim_model::{
    Checked, CommitReply, Drilled, Kind, Outcome, PROBLEMS_KEPT_MAX, Problem, ProblemKind,
    Progress, ProgressSnapshot,
};
use tokio::sync::{broadcast, watch};

use crate::verbs::{
    CancelJobReply, Event, FINISHED_JOBS_KEPT, JobError, JobKind, JobPhase, JobResult,
    JobStateReply, ProvenSavesets, RunningJob,
};

/// How often a follower hears the counters.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Problems told per interval; the result has the others.
const PROBLEM_EVENTS_PER_INTERVAL: u32 = 32;
/// Problems that a slow follower may lag behind.
const PROBLEM_EVENTS_QUEUED: usize = 256;

/// Running jobs, and the last [`FINISHED_JOBS_KEPT`] finished ones.
pub struct JobBook {
    inner: Mutex<Inner>,
    jobs_max: usize,
}

#[derive(Default)]
struct Inner {
    running: HashMap<u64, Arc<Job>>,
    finished: VecDeque<(u64, JobKind, JobResult)>,
    closed: bool,
}

/// One running job.
pub struct Job {
    number: u64,
    kind: JobKind,
    progress: Arc<Progress>,
    started_unix_ns: i64,
    problems: Mutex<Vec<Problem>>,
    problems_total: AtomicU64,
    errors_total: AtomicU64,
    interrupted: AtomicBool,
    told: broadcast::Sender<Problem>,
    pace: Mutex<(Option<Instant>, u32)>,
    checked: Mutex<Option<Checked>>,
    drilled: Mutex<Option<Drilled>>,
    proven: Mutex<Option<ProvenSavesets>>,
    result: watch::Sender<Option<JobResult>>,
}

impl JobBook {
    /// A book that refuses more than `jobs_max` running jobs.
    pub fn new(jobs_max: usize) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), jobs_max })
    }

    /// Starts `work` on a thread of its own. Its answer becomes the job's result: an error of kind
    /// `Cancelled` ends it *cancelled* (or *interrupted* after [`JobBook::close`]), another error
    /// *failed*, and problems other than notes *finished with errors*.
    ///
    /// # Errors
    /// `Busy` when the number is running, when too many jobs run, or when the node ends.
    pub fn start(
        self: &Arc<Self>,
        number: u64,
        kind: JobKind,
        work: impl FnOnce(&Arc<Job>) -> Result<Option<CommitReply>, JobError> + Send + 'static,
    ) -> Result<Arc<Job>, JobError> {
        let busy = |message: String| JobError { kind: Kind::Busy, message };
        let job = Arc::new(Job::new(number, kind));
        {
            let mut inner = lock(&self.inner);
            if inner.closed {
                return Err(busy("this host is shutting down; start the job again later".into()));
            }
            if inner.running.contains_key(&number) {
                return Err(busy(format!("job {number} is running here already; follow it")));
            }
            if inner.running.len() >= self.jobs_max {
                let max = self.jobs_max;
                return Err(busy(format!("{max} jobs are running here; wait until one ends")));
            }
            inner.running.insert(number, Arc::clone(&job));
        }
        let (book, running) = (Arc::clone(self), Arc::clone(&job));
        let spawned = std::thread::Builder::new().name(format!("job-{number}")).spawn(move || {
            // A panic ends the job as failed, not as running for ever.
            let done = catch_unwind(AssertUnwindSafe(|| work(&running))).unwrap_or_else(|_| {
                Err(JobError {
                    kind: Kind::Internal,
                    message: "the job ended by a defect here; the log of this host says where"
                        .into(),
                })
            });
            book.finish(&running, done);
        });
        if let Err(error) = spawned {
            let message = format!("no thread for job {number}: {error}; wait until others end");
            let error = JobError { kind: Kind::Busy, message };
            self.finish(&job, Err(error.clone()));
            return Err(error);
        }
        Ok(job)
    }

    fn finish(&self, job: &Arc<Job>, done: Result<Option<CommitReply>, JobError>) {
        let result = job.result_of(done);
        let mut inner = lock(&self.inner);
        inner.running.remove(&job.number);
        inner.finished.retain(|(number, ..)| *number != job.number);
        while inner.finished.len() >= FINISHED_JOBS_KEPT {
            inner.finished.pop_front();
        }
        inner.finished.push_back((job.number, job.kind, result.clone()));
        drop(inner);
        job.result.send_replace(Some(result));
    }

    /// The running job with this number.
    pub fn running_job(&self, number: u64) -> Option<Arc<Job>> {
        lock(&self.inner).running.get(&number).cloned()
    }

    /// What runs, for `NodeState`.
    pub fn running(&self) -> Vec<RunningJob> {
        let mut jobs: Vec<_> = lock(&self.inner)
            .running
            .values()
            .map(|job| RunningJob { job: job.number, kind: job.kind })
            .collect();
        jobs.sort_by_key(|job| job.job);
        jobs
    }

    /// Cancels; `None` for a job that this book does not know.
    pub fn cancel(&self, number: u64) -> Option<CancelJobReply> {
        let inner = lock(&self.inner);
        if let Some(job) = inner.running.get(&number) {
            job.progress.cancel();
            return Some(CancelJobReply { was_running: true });
        }
        let known = inner.finished.iter().any(|(finished, ..)| *finished == number);
        known.then_some(CancelJobReply { was_running: false })
    }

    /// What became of a job; `None` for one that this book does not know.
    pub fn state(&self, number: u64) -> Option<JobStateReply> {
        let inner = lock(&self.inner);
        if let Some(job) = inner.running.get(&number) {
            return Some(JobStateReply {
                phase: JobPhase::Running,
                kind: job.kind,
                snapshot: Some(job.snapshot()),
                result: None,
            });
        }
        let (_, kind, result) = inner.finished.iter().find(|(finished, ..)| *finished == number)?;
        Some(JobStateReply {
            phase: JobPhase::Finished,
            kind: *kind,
            snapshot: None,
            result: Some(result.clone()),
        })
    }

    /// Tells the events of a job until it ends; `None` for one that this book does not know.
    pub async fn follow(
        &self,
        number: u64,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Option<JobResult> {
        if let Some(job) = self.running_job(number) {
            return Some(job.follow(events).await);
        }
        self.state(number)?.result
    }

    /// Refuses new jobs and ends the running ones as *interrupted*; returns when they have ended
    /// or after `patience`.
    pub async fn close(&self, patience: Duration) {
        let jobs: Vec<_> = {
            let mut inner = lock(&self.inner);
            inner.closed = true;
            inner.running.values().cloned().collect()
        };
        for job in &jobs {
            job.interrupted.store(true, Ordering::Relaxed);
            job.progress.cancel();
        }
        let ended = async {
            for job in &jobs {
                let _ = job.result.subscribe().wait_for(Option::is_some).await;
            }
        };
        let _ = tokio::time::timeout(patience, ended).await;
    }
}

impl Job {
    fn new(number: u64, kind: JobKind) -> Self {
        Self {
            number,
            kind,
            progress: Arc::new(Progress::new()),
            started_unix_ns: now_unix_ns(),
            problems: Mutex::default(),
            problems_total: AtomicU64::new(0),
            errors_total: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            told: broadcast::channel(PROBLEM_EVENTS_QUEUED).0,
            pace: Mutex::new((None, 0)),
            checked: Mutex::default(),
            drilled: Mutex::default(),
            proven: Mutex::default(),
            result: watch::Sender::new(None),
        }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn kind(&self) -> JobKind {
        self.kind
    }

    /// The counters; cancelling them cancels the job.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Says what a verification looked at; it stands in the result.
    pub fn checked(&self, checked: Checked) {
        *lock(&self.checked) = Some(checked);
    }

    /// Says what a restore drill came to; it stands in the result.
    pub fn drilled(&self, drilled: Drilled) {
        *lock(&self.drilled) = Some(drilled);
    }

    /// Which savesets a check found whole.
    pub fn proven(&self, proven: ProvenSavesets) {
        *lock(&self.proven) = Some(proven);
    }

    /// Reports a problem. Every kind but a note makes the outcome *finished with errors*.
    pub fn problem(&self, problem: Problem) {
        self.problems_total.fetch_add(1, Ordering::Relaxed);
        if problem.kind != ProblemKind::Note {
            self.errors_total.fetch_add(1, Ordering::Relaxed);
        }
        if self.may_tell() {
            // Nobody may be listening; the result has it.
            let _ = self.told.send(problem.clone());
        }
        let mut problems = lock(&self.problems);
        if problems.len() < PROBLEMS_KEPT_MAX {
            problems.push(problem);
        } else if problem.kind != ProblemKind::Note {
            // Notes give way to what is missing.
            if let Some(note) = problems.iter_mut().find(|kept| kept.kind == ProblemKind::Note) {
                *note = problem;
            }
        }
    }

    fn may_tell(&self) -> bool {
        let mut pace = lock(&self.pace);
        let now = Instant::now();
        match pace.0 {
            Some(since) if now.duration_since(since) < PROGRESS_INTERVAL => pace.1 += 1,
            _ => *pace = (Some(now), 1),
        }
        pace.1 <= PROBLEM_EVENTS_PER_INTERVAL
    }

    /// Problems other than notes so far.
    pub fn errors_total(&self) -> u64 {
        self.errors_total.load(Ordering::Relaxed)
    }

    pub fn snapshot(&self) -> ProgressSnapshot {
        let mut snapshot = self.progress.snapshot();
        snapshot.problems = snapshot.problems.max(self.errors_total());
        snapshot
    }

    fn result_of(&self, done: Result<Option<CommitReply>, JobError>) -> JobResult {
        let (outcome, commit, error) = match done {
            Ok(commit) if self.errors_total() > 0 => (Outcome::FinishedWithErrors, commit, None),
            Ok(commit) => (Outcome::Finished, commit, None),
            Err(error) if error.kind == Kind::Cancelled || self.progress.is_cancelled() => {
                if self.interrupted.load(Ordering::Relaxed) {
                    (Outcome::Interrupted, None, Some(error))
                } else {
                    (Outcome::Cancelled, None, Some(error))
                }
            }
            Err(error) => (Outcome::Failed, None, Some(error)),
        };
        let mut result = JobResult {
            outcome,
            error,
            snapshot: self.snapshot(),
            problems: lock(&self.problems).clone(),
            problems_total: self.problems_total.load(Ordering::Relaxed),
            commit,
            started_unix_ns: self.started_unix_ns,
            finished_unix_ns: now_unix_ns(),
            checked: *lock(&self.checked),
            drilled: lock(&self.drilled).clone(),
            proven: lock(&self.proven).clone(),
        };
        result.snapshot.current.clear();
        result.fit();
        result
    }

    /// Tells counters and problems from now on, until the job ends.
    pub async fn follow(&self, events: &(dyn Fn(Event) + Send + Sync)) -> JobResult {
        let mut told = self.told.subscribe();
        let mut result = self.result.subscribe();
        let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let ended = result.borrow_and_update().clone();
            if let Some(result) = ended {
                while let Ok(problem) = told.try_recv() {
                    events(Event::Problem(problem));
                }
                events(Event::Progress(result.snapshot.clone()));
                return result;
            }
            tokio::select! {
                biased;
                // The sender lives in `self`, so this cannot end early.
                _ = result.changed() => {}
                problem = told.recv() => {
                    if let Ok(problem) = problem {
                        events(Event::Problem(problem));
                    }
                }
                _ = tick.tick() => events(Event::Progress(self.snapshot())),
            }
        }
    }
}

fn now_unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Nothing here is left half done by a panic, so a poisoned lock is as good as another.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(kind: Kind) -> JobError {
        JobError { kind, message: kind.to_string() }
    }

    #[tokio::test]
    async fn outcomes_follow_problems_errors_and_cancels() {
        let book = JobBook::new(8);
        let problem = |kind| Problem::new(*b"/a", kind, "x");
        type Work = Box<dyn FnOnce(&Arc<Job>) -> Result<Option<CommitReply>, JobError> + Send>;
        let cases: Vec<(Work, Outcome)> = vec![
            (Box::new(|_| Ok(None)), Outcome::Finished),
            (
                Box::new(move |job| {
                    job.problem(problem(ProblemKind::Note));
                    Ok(None)
                }),
                Outcome::Finished,
            ),
            (
                Box::new(move |job| {
                    job.problem(problem(ProblemKind::MissingSource));
                    Ok(None)
                }),
                Outcome::FinishedWithErrors,
            ),
            (Box::new(|_| Err(failed(Kind::Full))), Outcome::Failed),
            (Box::new(|_| Err(failed(Kind::Cancelled))), Outcome::Cancelled),
            (Box::new(|_| panic!("a defect")), Outcome::Failed),
        ];
        for (number, (work, outcome)) in cases.into_iter().enumerate() {
            let job = book.start(number as u64, JobKind::Backup, work).unwrap();
            assert_eq!(job.follow(&|_| ()).await.outcome, outcome, "case {number}");
            let state = book.state(number as u64).unwrap();
            assert_eq!(state.result.unwrap().outcome, outcome);
        }
        assert!(book.state(99).is_none() && book.cancel(99).is_none());
    }

    #[tokio::test]
    async fn a_running_number_is_refused_and_cancelled_by_number_and_by_close() {
        let book = JobBook::new(2);
        let wait = |job: &Arc<Job>| {
            while !job.progress.is_cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(failed(Kind::Cancelled))
        };
        let first = book.start(1, JobKind::Backup, wait).unwrap();
        assert_eq!(book.start(1, JobKind::Backup, wait).err().unwrap().kind, Kind::Busy);
        let second = book.start(2, JobKind::Verify, wait).unwrap();
        assert_eq!(book.start(3, JobKind::Backup, wait).err().unwrap().kind, Kind::Busy);
        assert!(book.cancel(1).unwrap().was_running);
        assert_eq!(first.follow(&|_| ()).await.outcome, Outcome::Cancelled);
        book.close(Duration::from_secs(10)).await;
        assert_eq!(second.follow(&|_| ()).await.outcome, Outcome::Interrupted);
        assert_eq!(book.start(4, JobKind::Backup, wait).err().unwrap().kind, Kind::Busy);
    }

    #[tokio::test]
    async fn many_problems_are_counted_kept_and_told_within_bounds() {
        let book = JobBook::new(1);
        let (go, start) = std::sync::mpsc::channel::<()>();
        let job = book
            .start(7, JobKind::Backup, move |job| {
                let _ = start.recv();
                for _ in 0..2000 {
                    job.problem(Problem::new(*b"/a", ProblemKind::Note, "n"));
                }
                job.problem(Problem::new(*b"/b", ProblemKind::Unreadable, "u"));
                Ok(None)
            })
            .unwrap();
        let told = AtomicU64::new(0);
        let count = |event| {
            if matches!(event, Event::Problem(_)) {
                told.fetch_add(1, Ordering::Relaxed);
            }
        };
        let follow = job.follow(&count);
        go.send(()).unwrap();
        let result = follow.await;
        assert_eq!(result.problems_total, 2001);
        assert_eq!(result.problems.len(), PROBLEMS_KEPT_MAX);
        assert!(result.problems.iter().any(|problem| problem.kind == ProblemKind::Unreadable));
        assert_eq!(result.outcome, Outcome::FinishedWithErrors);
        assert!(told.load(Ordering::Relaxed) < 500);
    }

    #[tokio::test]
    async fn the_last_hundred_results_are_remembered() {
        let book = JobBook::new(4);
        for number in 0..=FINISHED_JOBS_KEPT as u64 {
            book.start(number, JobKind::Backup, |_| Ok(None)).unwrap().follow(&|_| ()).await;
        }
        assert!(book.state(0).is_none());
        assert!(book.state(1).is_some());
        let followed = book.follow(1, &|_| ()).await.unwrap();
        assert_eq!(followed.outcome, Outcome::Finished);
    }
}
