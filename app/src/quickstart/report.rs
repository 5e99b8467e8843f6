//! What a walk through the suite has shown: for people, and as one document.

use std::path::PathBuf;

use simsim_model::{Outcome, SavesetId};
use simsim_server::api::DatastoreView;
use simsim_source::Difference;

use super::Say;
use super::names::{program, shell_word};
use super::tour::Ended;
use crate::cli::words::size;
use crate::exit::{self, Failure};
use crate::kit::KitFiles;

/// All that is said about a walk, once it is done.
pub struct Report {
    pub folder: PathBuf,
    pub state: PathBuf,
    pub task: String,
    pub saveset: SavesetId,
    pub backup: Ended,
    pub restore: Ended,
    pub differences: Vec<Difference>,
    pub store: DatastoreView,
    pub console: String,
    pub skipped: Option<String>,
}

impl Report {
    /// The outcome of it all.
    pub fn outcome(&self) -> Outcome {
        worse(self.backup.outcome(), self.restore.outcome(), !self.differences.is_empty())
    }

    pub fn document(&self, outcome: Outcome) -> serde_json::Value {
        let side = |ended: &Ended| {
            serde_json::json!({
                "job": ended.detail.job.job,
                "seconds": ended.time.as_secs_f64(),
                "counters": ended.counters(),
            })
        };
        let problems = self.backup.detail.problem_list.iter();
        let kit = KitFiles::in_folder(&self.state);
        serde_json::json!({
            "folder": self.folder.to_string_lossy(),
            "state": self.state.to_string_lossy(),
            "task": self.task,
            "saveset": self.saveset,
            "outcome": outcome.as_str(),
            "backup": side(&self.backup),
            "restore": side(&self.restore),
            "problems": problems.chain(&self.restore.detail.problem_list).collect::<Vec<_>>(),
            "differences": self.differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "datastore": self.store.path,
            "datastore_bytes": self.store.device.as_ref().map(|device| device.packs_bytes),
            "recovery_kit": kit.text.to_string_lossy(),
            "skipped": self.skipped.iter().collect::<Vec<_>>(),
            "console": self.console,
        })
    }

    pub fn closing(&self, say: Say<'_>) -> Result<(), Failure> {
        let kit = KitFiles::in_folder(&self.state);
        let (simsim, state) = (program(), shell_word(&self.state));
        let bytes = self.store.device.as_ref().map_or(0, |device| device.packs_bytes);
        say.line(format!("\nSaveset {} of task '{}'", self.saveset, self.task))?;
        say.line(format!("  datastore    {} ({})", self.store.path, size(bytes)))?;
        say.line(format!("  state        {}", self.state.display()))?;
        say.line(format!("  recovery kit {}", kit.text.display()))?;
        if let Some(skipped) = &self.skipped {
            say.line(format!("  skipped      {skipped}"))?;
        }
        say.line("\nNext. Run it again, and only what changed is read and stored:")?;
        say.line(format!("  {simsim} --state {state} quickstart {}", shell_word(&self.folder)))?;
        say.line("Or go on with what was made, as a server that stays:")?;
        say.line(format!("  {simsim} --state {state} server"))?;
        say.line("and, while it runs, in another terminal:")?;
        say.line(format!("  {simsim} --state {state} status"))?;
        say.line(format!("  {simsim} --state {state} savesets"))?;
        say.line(format!("  {simsim} --state {state} backup {}", self.task))
    }
}

fn worse(one: Outcome, two: Outcome, different: bool) -> Outcome {
    let rank = |outcome: &Outcome| exit::of_outcome(*outcome) != exit::DONE;
    let outcome = [one, two].into_iter().find(rank).unwrap_or(Outcome::Finished);
    if different && outcome == Outcome::Finished { Outcome::FinishedWithErrors } else { outcome }
}
