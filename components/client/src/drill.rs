//! A restore drill: some of a saveset, or all of it, restored into a scratch place, compared with the saveset
//! there, and removed. Nothing is ever restored anywhere else.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use simsim_control::Job;
use simsim_control::verbs::RunDrill;
use simsim_model::{
    Direction, Drilled, Kind, Overwrite, Problem, ProblemKind, escape_path, failpoint,
};
use simsim_mover::tree::Tree;
use simsim_mover::{Chosen, Proof, RestoreJob, Sampler, Selection, can_be_drilled, prove};
use simsim_source::{Beneath, FsSink, SinkOptions};

use crate::reading::Reading;
use crate::{Client, ClientError};

pub(crate) fn run(client: &Client, request: &RunDrill, job: &Arc<Job>) -> Result<(), ClientError> {
    let restore = &request.restore;
    let ticket = &restore.ticket;
    if ticket.direction != Direction::Restore || ticket.saveset != restore.saveset {
        return Err(ClientError::Request(
            "the ticket of a restore drill must be one to read its saveset",
        ));
    }
    let policy = client.policy()?;
    let key = client.domain_key(restore.domain_key.as_ref(), ticket.store, ticket.domain)?;
    let scratch = client.scratches.make(ticket.job, &restore.target, &policy)?;
    let reading = Reading::open(client, restore, job)?;
    let done = (|| {
        let progress = job.progress();
        let tree = Tree::open(reading.session(), key.clone(), restore.saveset)?;
        let (selection, mut drilled) = sample(&tree, request, job)?;
        let chosen = Chosen::new(&selection)?;
        let root = rustix::process::geteuid().is_root();
        let options = SinkOptions { overwrite: Overwrite::Never, owners: root, specials: false };
        let sink = FsSink::open(&scratch.path, options)?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&told);
        let began = Instant::now();
        let work = RestoreJob {
            session: reading.session(),
            key: key.clone(),
            saveset: restore.saveset,
            selection,
            strip: b"/".to_vec(),
            threads: client.options.threads,
            progress: job.progress(),
            on_problem: Arc::new(move |problem: &Problem| hear.lock().push(problem.clone())),
        };
        let report = simsim_mover::restore(work, &sink)?;
        drop(sink);
        drilled.restore_ms = ms(began.elapsed());
        failpoint::hit("client.drill_restored");
        for problem in told.lock().drain(..) {
            told_by_restore(&tree, &problem, &mut drilled, job);
        }
        drilled.files = report.files;
        drilled.bytes = report.bytes;
        let began = Instant::now();
        progress.set_waits("comparing what was restored with the saveset");
        let may =
            |path: &[u8]| policy.may_read(path).is_ok() && policy.may_read_place(path).is_ok();
        let beneath = Beneath::open(&scratch.path)
            .map_err(ClientError::file("open", scratch.path.clone()))?;
        let proof = Proof {
            tree: &tree,
            key: &key,
            chosen: &chosen,
            scratch: &beneath,
            owners: root,
            source: request.compare_source.then_some(&may as &dyn Fn(&[u8]) -> bool),
            progress: &progress,
        };
        prove(&proof, &mut drilled)?;
        progress.set_waits("");
        drilled.compare_ms = ms(began.elapsed());
        Ok(drilled)
    })();
    reading.end(job, done.as_ref().err().map(|error: &ClientError| error.to_string()));
    let place = scratch.path.clone();
    let removed = scratch.remove();
    let drilled = done?;
    if let Err(error) = removed {
        let text = format!(
            "the scratch place cannot be removed: {error}; it is tried again at the next start"
        );
        job.problem(Problem::new(place.as_os_str().as_bytes(), ProblemKind::Note, text));
    }
    let (total, first) = (drilled.differences_total, drilled.differences.first().cloned());
    for line in &drilled.differences {
        job.problem(Problem::new(b"drill".to_vec(), ProblemKind::MissingData, line.clone()));
    }
    job.drilled(drilled);
    match first {
        None => Ok(()),
        Some(first) if total == 1 => Err(ClientError::DrillFailed(first)),
        Some(first) => {
            Err(ClientError::DrillFailed(format!("{total} things differ, first {first}")))
        }
    }
}

/// What is restored. All that is wanted is counted, whatever is taken of it.
fn sample(
    tree: &Tree,
    request: &RunDrill,
    job: &Arc<Job>,
) -> Result<(Selection, Drilled), ClientError> {
    let progress = job.progress();
    progress.set_waits("choosing what to restore");
    let mut sampler = Sampler::new(request.seed, request.files_max, request.bytes_max);
    tree.walk(b"/", &mut |found| {
        sampler.see(&found.path, &found.entry);
        !progress.is_cancelled()
    })?;
    progress.set_waits("");
    if progress.is_cancelled() {
        return Err(ClientError::Cancelled);
    }
    let sample = sampler.chosen();
    let drilled =
        Drilled { files_of: sample.files_of, bytes_of: sample.bytes_of, ..Drilled::default() };
    let all = request.files_max == 0 && request.bytes_max == 0;
    let paths = if all { Vec::new() } else { sample.paths };
    if paths.is_empty() && !all {
        return Err(ClientError::Refused {
            kind: Kind::NotFound,
            message: "the saveset holds no file that could be restored".to_owned(),
        });
    }
    Ok((Selection { paths, patterns: Vec::new() }, drilled))
}

/// What the restore had to say: notes are passed on, and what could not be restored for it was never in the
/// saveset is no failure of the drill.
fn told_by_restore(tree: &Tree, problem: &Problem, drilled: &mut Drilled, job: &Arc<Job>) {
    let left_out =
        || tree.entry(&problem.path).is_ok_and(|entry| !entry.is_dir() && !can_be_drilled(&entry));
    // Attributes are compared one by one, those that can be set here.
    let is_compared = matches!(problem.kind, ProblemKind::Note | ProblemKind::Attribute);
    if is_compared || left_out() {
        let kind = ProblemKind::Note;
        job.problem(Problem { kind, ..problem.clone() });
        return;
    }
    drilled.differs(format!("{}: {}", escape_path(&problem.path), problem.message));
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
