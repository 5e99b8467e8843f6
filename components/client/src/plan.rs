//! A restore that writes nothing: counts what would be written, and notes what is in the way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use simsim_model::{Overwrite, Problem, ProblemKind};
use simsim_mover::tree::Tree;
use simsim_mover::{Chosen, RestoreJob};

use crate::ClientError;

/// Walks what is selected. Counters say how much it is; each existing file gets a note. Errors:
/// as the restore's, for paths that are not there and patterns that match nothing.
pub fn run(job: &RestoreJob, target: &Path, overwrite: Overwrite) -> Result<(), ClientError> {
    let chosen = Chosen::new(&job.selection)?;
    let tree = Tree::open(Arc::clone(&job.session), job.key.clone(), job.saveset)?;
    for path in &job.selection.paths {
        tree.entry(path)?;
    }
    let mut met = 0;
    for start in chosen.starts() {
        tree.walk(start, &mut |found| {
            if chosen.wants(&found.path) {
                met += 1;
                count(job, target, overwrite, &found);
            }
            !job.progress.is_cancelled()
        })?;
    }
    if job.progress.is_cancelled() {
        return Err(ClientError::Cancelled);
    }
    Ok(chosen.met(met)?)
}

fn count(job: &RestoreJob, target: &Path, overwrite: Overwrite, found: &simsim_mover::tree::Found) {
    let (path, entry) = (&found.path, &found.entry);
    if entry.is_dir() {
        job.progress.add(|p| &p.dirs_done, 1);
        return;
    }
    job.progress.add(|p| &p.files_done, 1);
    job.progress.add(|p| &p.bytes_done, entry.size);
    job.progress.set_current(path);
    let relative = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
    if target.join(relative).symlink_metadata().is_ok() {
        (job.on_problem)(&Problem::new(&**path, ProblemKind::Note, in_the_way(overwrite)));
    }
}

fn in_the_way(overwrite: Overwrite) -> &'static str {
    match overwrite {
        Overwrite::Never => "is there already and would be left as it is",
        Overwrite::IfChanged => "is there already and would be replaced where it differs",
        Overwrite::IfNewer => "is there already and would be replaced where it is older",
        Overwrite::Always => "is there already and would be replaced",
    }
}
