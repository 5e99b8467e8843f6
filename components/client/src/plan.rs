//! A restore that writes nothing: counts what would be written, and notes what is in the way.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use simsim_model::{Overwrite, Problem, ProblemKind};
use simsim_mover::tree::Tree;
use simsim_mover::{MoverError, RestoreJob};

use crate::ClientError;

/// Walks what is selected. Counters say how much it is; each existing file gets a note.
pub fn run(job: &RestoreJob, target: &Path, overwrite: Overwrite) -> Result<(), ClientError> {
    let patterns = compile(&job.selection.patterns)?;
    let tree = Tree::open(Arc::clone(&job.session), job.key.clone(), job.saveset)?;
    let everything = job.selection.paths.is_empty() && patterns.is_none();
    let count = |path: &[u8], entry: &simsim_format::Entry| {
        if entry.is_dir() {
            job.progress.add(|p| &p.dirs_done, 1);
            return;
        }
        job.progress.add(|p| &p.files_done, 1);
        job.progress.add(|p| &p.bytes_done, entry.size);
        job.progress.set_current(path);
        let relative = Path::new(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
        if target.join(relative).symlink_metadata().is_ok() {
            (job.on_problem)(&Problem::new(path, ProblemKind::Note, in_the_way(overwrite)));
        }
    };
    let walk = |from: &[u8], wanted: &dyn Fn(&[u8]) -> bool| {
        tree.walk(from, &mut |found| {
            if wanted(&found.path) {
                count(&found.path, &found.entry);
            }
            !job.progress.is_cancelled()
        })
    };
    if everything {
        walk(b"/", &|_| true)?;
    }
    for path in &job.selection.paths {
        walk(path, &|_| true)?;
    }
    if let Some(patterns) = &patterns {
        walk(b"/", &|path| {
            !job.selection.paths.iter().any(|chosen| is_at_or_below(path, chosen))
                && patterns.is_match(Path::new(OsStr::from_bytes(path)))
        })?;
    }
    if job.progress.is_cancelled() { Err(ClientError::Cancelled) } else { Ok(()) }
}

fn compile(patterns: &[String]) -> Result<Option<GlobSet>, ClientError> {
    let bad = |error: globset::Error| MoverError::Target(format!("pattern: {error}"));
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(GlobBuilder::new(pattern).literal_separator(true).build().map_err(bad)?);
    }
    let set = set.build().map_err(bad)?;
    Ok((!set.is_empty()).then_some(set))
}

fn is_at_or_below(path: &[u8], above: &[u8]) -> bool {
    let above = above.strip_suffix(b"/").unwrap_or(above);
    path.strip_prefix(above).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

fn in_the_way(overwrite: Overwrite) -> &'static str {
    match overwrite {
        Overwrite::Never => "is there already and would be left as it is",
        Overwrite::IfChanged => "is there already and would be replaced where it differs",
        Overwrite::IfNewer => "is there already and would be replaced where it is older",
        Overwrite::Always => "is there already and would be replaced",
    }
}
