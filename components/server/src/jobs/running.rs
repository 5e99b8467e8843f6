//! A job that runs, as the Server holds it in memory: what it told so far, and how to end it.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use simsim_catalog::{ClientId, Job, JobState, Severity};
use simsim_control::verbs::Event;
use simsim_model::{PROBLEMS_KEPT_MAX, Problem, ProgressSnapshot};
use simsim_transfer::throttle::Party;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::announce::{Announcer, JobEventKind};
use super::transfer::Granted;
use crate::books::Books;
use crate::clock::now_unix_ms;
use crate::way::Way;

/// How often counters are written into the catalog.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// What the problems that were told may take in memory, of one job; further ones are counted.
const PROBLEMS_BYTES_MAX: usize = 1 << 20;
/// Whoever listens hears of those further ones in short.
const SHORT_BYTES: usize = 256;

/// One running job. Shared between its own task and whoever asks or cancels.
pub(crate) struct Running {
    pub number: u64,
    pub client: ClientId,
    pub client_name: String,
    pub task_name: String,
    pub is_backup: bool,
    pub drive: u32,
    /// Somebody asked it to end.
    pub cancel: CancellationToken,
    /// It was told to end because it worked longer than it may.
    timed_out: OnceLock<u32>,
    books: Books,
    announcer: Announcer,
    told: Mutex<Told>,
    way: OnceLock<Way>,
    party: OnceLock<Party>,
}

struct Told {
    progress: ProgressSnapshot,
    problems: Problems,
    written: Instant,
    /// The last warning since it was heard of.
    waits: Option<String>,
}

/// The problems of one job: the first ones, up to a number and to so many bytes, and how many there
/// were. A node may tell what it likes, as often as it likes.
#[derive(Default)]
struct Problems {
    kept: Vec<Problem>,
    bytes: usize,
    total: u64,
}

impl Problems {
    /// Takes one in, and says what of it to tell to others: all, or little of it when there was too
    /// much.
    fn take(&mut self, mut problem: Problem) -> Problem {
        self.total += 1;
        let bytes = size_of::<Problem>() + problem.path.len() + problem.message.len();
        if self.kept.len() < PROBLEMS_KEPT_MAX && self.bytes + bytes <= PROBLEMS_BYTES_MAX {
            self.bytes += bytes;
            self.kept.push(problem.clone());
            return problem;
        }
        if problem.path.len() > SHORT_BYTES {
            problem.path.truncate(SHORT_BYTES);
            problem.path.extend_from_slice("…".as_bytes());
        }
        if problem.message.len() > SHORT_BYTES {
            let ends = |end: &usize| problem.message.is_char_boundary(*end);
            let end = (0..=SHORT_BYTES).rev().find(ends).unwrap_or(0);
            problem.message.truncate(end);
            problem.message.push('…');
        }
        problem.path.shrink_to_fit();
        problem.message.shrink_to_fit();
        problem
    }
}

impl Running {
    pub(crate) fn new(job: &Job, drive: u32, books: Books, announcer: Announcer) -> Arc<Self> {
        let running = Self {
            number: job.number,
            client: job.client,
            client_name: job.client_name.clone(),
            task_name: job.task_name.clone(),
            is_backup: job.kind == simsim_catalog::JobKind::Backup,
            drive,
            cancel: CancellationToken::new(),
            timed_out: OnceLock::new(),
            books,
            announcer,
            told: Mutex::new(Told {
                progress: job.progress.clone(),
                problems: Problems::default(),
                written: Instant::now(),
                waits: None,
            }),
            way: OnceLock::new(),
            party: OnceLock::new(),
        };
        if job.cancel_asked_unix_ms.is_some() {
            running.cancel.cancel();
        }
        Arc::new(running)
    }

    /// The transfer of the job's data.
    pub(crate) fn takes(&self, granted: &Granted) {
        let _ = self.way.set(granted.way.clone());
        let _ = self.party.set(granted.party.clone());
    }

    /// Whose rate limits count for it; unknown of a job that an earlier server started.
    pub(crate) fn party(&self) -> Option<&Party> {
        self.party.get()
    }

    /// The way that the job's data takes; unknown of a job that an earlier server started.
    pub(crate) fn way(&self) -> Option<&Way> {
        self.way.get()
    }

    /// Takes in an event of the node that works.
    pub(crate) fn heard(&self, event: Event) {
        match event {
            Event::Progress(progress) => {
                let write = {
                    let mut told = self.told.lock();
                    told.progress = progress.clone();
                    told.waits = Some(progress.waits.clone()).filter(|waits| !waits.is_empty());
                    let due = told.written.elapsed() >= PROGRESS_INTERVAL;
                    if due {
                        told.written = Instant::now();
                    }
                    due
                };
                if write {
                    self.keep(progress.clone());
                }
                self.announcer.tell(self.number, JobEventKind::Progress { progress });
            }
            Event::Problem(problem) => {
                let problem = self.told.lock().problems.take(problem);
                self.announcer.tell(self.number, JobEventKind::Problem { problem });
            }
        }
    }

    /// Writes counters without making anybody wait; a write that fails is followed by another.
    fn keep(&self, progress: ProgressSnapshot) {
        let (books, number) = (self.books.clone(), self.number);
        tokio::spawn(async move {
            let kept = books.run(move |catalog| catalog.set_job_progress(number, &progress)).await;
            if let Err(error) = kept {
                tracing::warn!(job = number, %error, "could not keep a job's progress");
            }
        });
    }

    pub(crate) fn progress(&self) -> ProgressSnapshot {
        self.told.lock().progress.clone()
    }

    /// What it waits for, as far as it was written into its log.
    pub(crate) fn waits(&self) -> Option<String> {
        self.told.lock().waits.clone()
    }

    /// The problems that were told, and how many there were.
    pub(crate) fn problems(&self) -> (Vec<Problem>, u64) {
        let told = self.told.lock();
        (told.problems.kept.clone(), told.problems.total)
    }

    /// Tells the job to end, because it worked for longer than these seconds.
    pub(crate) async fn time_out(&self, timeout_s: u32) {
        let _ = self.timed_out.set(timeout_s);
        self.log(Severity::Warning, format!("it works for {timeout_s} s, its limit: ending it"))
            .await;
        self.cancel.cancel();
    }

    /// The limit beyond which it worked.
    pub(crate) fn timed_out(&self) -> Option<u32> {
        self.timed_out.get().copied()
    }

    /// Adds a line to the job's log.
    pub(crate) async fn log(&self, severity: Severity, line: impl Into<String>) {
        let line = line.into();
        if severity >= Severity::Warning {
            self.told.lock().waits = Some(line.clone());
        }
        tracing::info!(job = self.number, severity = severity.as_str(), "{line}");
        self.announcer.tell(self.number, JobEventKind::Log { severity, line: line.clone() });
        let number = self.number;
        let kept = self
            .books
            .run(move |catalog| catalog.add_log_line(number, severity, &line, now_unix_ms()))
            .await;
        if let Err(error) = kept {
            tracing::warn!(job = number, %error, "could not keep a line of a job's log");
        }
    }

    pub(crate) fn tell_state(&self, state: JobState) {
        self.announcer.tell(self.number, JobEventKind::State { state });
    }
}

#[cfg(test)]
mod tests {
    use simsim_model::ProblemKind;

    use super::*;

    /// As long as the control channel lets them be: a path of 32 KiB, a sentence of 4 KiB.
    #[test]
    fn problems_of_a_job_are_kept_up_to_a_number_and_to_so_many_bytes_and_all_are_counted() {
        let of = |path: usize, message: usize| {
            Problem::new(vec![b'p'; path], ProblemKind::Unreadable, "ü".repeat(message / 2))
        };
        let mut small = Problems::default();
        for _ in 0..=PROBLEMS_KEPT_MAX {
            assert_eq!(small.take(of(10, 10)), of(10, 10));
        }
        assert_eq!(
            (small.kept.len(), small.total),
            (PROBLEMS_KEPT_MAX, 1 + PROBLEMS_KEPT_MAX as u64)
        );

        let mut large = Problems::default();
        let mut told = 0;
        for _ in 0..PROBLEMS_KEPT_MAX {
            let problem = large.take(of(32 << 10, 4096));
            told += problem.path.len() + problem.message.len();
        }
        let bytes: usize = large.kept.iter().map(|p| p.path.len() + p.message.len()).sum();
        assert!(bytes <= PROBLEMS_BYTES_MAX && bytes > PROBLEMS_BYTES_MAX * 9 / 10, "{bytes}");
        assert!(told < 2 * PROBLEMS_BYTES_MAX, "{told} bytes were told to others");
        assert_eq!(large.total, PROBLEMS_KEPT_MAX as u64);
    }
}
