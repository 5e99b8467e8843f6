//! Replacing a damaged run from its packs' own tables (IDX05), while lookups and backups go on.
//!
//! The packs are read first and the run leaves afterwards: at no instant is a name unknown that
//! the run still tells. Whoever meets the same damage meanwhile waits and looks again.

use std::collections::HashSet;

use simsim_model::{Kind, Name};

use super::filter::Level;
use super::run_error::RunError;
use super::{Index, WHOLE_PACK};
use crate::DatastoreError;

impl Index {
    /// Runs a lookup; a damaged run that it meets is replaced, and the lookup repeated. A run
    /// that was merged away meanwhile is met as one that cannot be read.
    pub(super) fn healing<T>(
        &self,
        mut lookup: impl FnMut() -> Result<T, RunError>,
    ) -> Result<T, DatastoreError> {
        loop {
            match lookup() {
                Ok(found) => return Ok(found),
                Err(error) => self.replace_run(error)?,
            }
        }
    }

    /// Divides the memory for filters among the runs.
    fn fit_filters(&self) -> Result<(), RunError> {
        let _fitting = self.fitting.lock();
        let runs = self.state.read().runs.clone();
        let blocks: Vec<u64> = runs.iter().map(|run| run.blocks()).collect();
        let mut levels: Vec<_> =
            runs.iter().zip(Level::fit(&blocks, self.filter_bytes_max)).collect();
        // Those that give memory back first.
        levels.sort_by_key(|(_, level)| *level);
        levels.into_iter().try_for_each(|(run, level)| run.set_level(level))
    }

    /// As [`Self::fit_filters`]; a run that turns out damaged is replaced. Where that is not
    /// possible now, a filter stays on disk: lookups are slower, and nothing else.
    pub(super) fn fit_filters_or_warn(&self) {
        while let Err(error) = self.fit_filters() {
            if let Err(error) = self.replace_run(error) {
                tracing::warn!(%error, "a filter of the index could not be taken into memory");
                return;
            }
        }
    }

    /// Replaces the run that could not be read, if it is the run's fault. Any other error is
    /// handed back, and so is one that keeps a pack from being read: the run stays then.
    fn replace_run(&self, error: RunError) -> Result<(), DatastoreError> {
        let (number, why) = match error {
            RunError::Damaged { number, why } => (number, why),
            RunError::Storage(error) => return Err(error.into()),
        };
        let _replacing = self.replacing.lock();
        let packs: Vec<(Name, u64)> = {
            let state = self.state.read();
            let Some(run) = state.runs.iter().find(|run| run.number == number) else {
                return Ok(());
            };
            // What an earlier attempt has taken in need not be read again.
            let mut elsewhere: HashSet<Name> =
                state.tables().flat_map(|table| &table.packs).map(|(pack, _)| *pack).collect();
            for other in state.runs.iter().filter(|other| other.number != number) {
                elsewhere.extend(other.whole_packs());
            }
            let known = |pack: &&(Name, u64)| {
                state.packs.get(&pack.0) == Some(&pack.1) && !elsewhere.contains(&pack.0)
            };
            run.packs.iter().filter(known).copied().collect()
        };
        tracing::warn!(run = number, %why, "a damaged index run is rebuilt from its packs");
        for (pack, bytes) in packs {
            match self.load_pack(pack, bytes) {
                Ok(_) => {}
                Err(DatastoreError::Storage(error))
                    if !matches!(error.kind(), Kind::Corrupt | Kind::NotFound) =>
                {
                    return Err(error.into());
                }
                Err(error) => {
                    tracing::error!(%pack, %error, "a pack cannot be read into the index");
                    self.lose((pack, WHOLE_PACK));
                }
            }
        }
        self.state.write().runs.retain(|run| run.number != number);
        self.discard(number);
        Ok(())
    }
}
