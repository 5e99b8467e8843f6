//! What a job has to report: problems, kept up to a limit and counted beyond it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use simsim_model::{PROBLEMS_KEPT_MAX, Problem, ProblemKind, Progress};

/// Called for every problem as it happens.
pub type OnProblem = Arc<dyn Fn(&Problem) + Send + Sync>;

pub(crate) struct Report {
    kept: Mutex<Vec<Problem>>,
    errors: AtomicU64,
    progress: Arc<Progress>,
    on_problem: OnProblem,
}

impl Report {
    pub(crate) fn new(progress: Arc<Progress>, on_problem: OnProblem) -> Self {
        Self { kept: Mutex::default(), errors: AtomicU64::new(0), progress, on_problem }
    }

    pub(crate) fn add(&self, problem: Problem) {
        if problem.kind != ProblemKind::Note {
            self.errors.fetch_add(1, Relaxed);
            self.progress.add(|p| &p.problems, 1);
        }
        (self.on_problem)(&problem);
        let mut kept = self.kept.lock();
        if kept.len() < PROBLEMS_KEPT_MAX {
            kept.push(problem);
        }
    }

    pub(crate) fn add_all(&self, problems: Vec<Problem>) {
        problems.into_iter().for_each(|problem| self.add(problem));
    }

    /// Problems that make the outcome *finished with errors*.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    pub(crate) fn take(&self) -> Vec<Problem> {
        std::mem::take(&mut self.kept.lock())
    }
}
