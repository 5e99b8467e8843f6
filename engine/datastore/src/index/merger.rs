//! When runs are merged, and by whom: a thread beside the backups. A merge of a hundred million
//! entries takes a minute, and no backup waits for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::merge::merge;
use super::run_writer::run_key;
use super::{Index, RUNS_MAX};
use crate::DatastoreError;
use crate::sync::Mutex;

impl Index {
    fn has_many_runs(&self) -> bool {
        self.state.read().runs.len() > RUNS_MAX
    }

    /// Merges until there are few runs. What cannot be merged stays as it is.
    pub fn merge_or_warn(&self) {
        let _merging = self.merging.lock();
        while self.has_many_runs() && !self.closing.load(Ordering::Relaxed) {
            if let Err(error) = self.merge_once() {
                if !self.closing.load(Ordering::Relaxed) {
                    tracing::warn!(%error, "index runs could not be merged; they stay as they are");
                }
                return;
            }
        }
    }

    /// Merges the smallest runs, and with them each next larger one that is not more than twice
    /// their sum: every entry is rewritten a number of times that grows with the logarithm.
    fn merge_once(&self) -> Result<(), DatastoreError> {
        let mut runs = self.state.read().runs.clone();
        runs.sort_by_key(|run| run.counts.entries);
        let least = (runs.len() + 1).saturating_sub(RUNS_MAX);
        let (mut count, mut sum) = (0, 0u64);
        for run in &runs {
            if count >= least && run.counts.entries > sum.saturating_mul(2) {
                break;
            }
            count += 1;
            sum = sum.saturating_add(run.counts.entries);
        }
        runs.truncate(count);
        // The merged run does not tell of packs that are gone.
        if self.has_unsaved_losses() && runs.iter().any(|run| !run.bad_packs.is_empty()) {
            return Err(DatastoreError::invalid("lost packs could not be written down yet"));
        }
        let number = self.free_number()?;
        merge(&*self.storage, self.store, number, &runs, &self.closing, None)?;
        let merged = Arc::new(self.open_run(number)?);
        let old: HashSet<u64> = runs.iter().map(|run| run.number).collect();
        {
            let mut state = self.state.write();
            state.runs.retain(|run| !old.contains(&run.number));
            state.runs.push(merged);
        }
        drop(runs);
        self.fit_filters_or_warn();
        for number in old {
            self.storage.delete(&run_key(number))?;
        }
        Ok(())
    }
}

/// The thread that merges the runs of an index. When this is dropped, it has ended.
pub struct Merger {
    index: Arc<Index>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Merger {
    pub fn new(index: Arc<Index>) -> Self {
        Self { index, thread: Mutex::new(None) }
    }

    /// Starts merging where there is something to merge; does not wait.
    pub fn nudge(&self) {
        let mut thread = self.thread.lock();
        if thread.as_ref().is_some_and(|thread| !thread.is_finished())
            || !self.index.has_many_runs()
        {
            return;
        }
        let index = self.index.clone();
        let spawned = std::thread::Builder::new()
            .name("index-merge".into())
            .spawn(move || index.merge_or_warn());
        match spawned {
            Ok(started) => *thread = Some(started),
            Err(error) => tracing::warn!(%error, "no thread to merge index runs"),
        }
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.index.closing.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.get_mut().take() {
            let _ = thread.join();
        }
    }
}
