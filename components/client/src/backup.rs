//! A backup: the policy, the source, one transfer, and the mover between them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use simsim_control::Job;
use simsim_control::verbs::StartBackup;
use simsim_format::ManifestDetails;
use simsim_model::{
    CommitReply, Direction, Level, RestoreSession, SessionError, TargetKind, escape_path,
};
use simsim_mover::{BackupJob, Base};
use simsim_source::{FsSource, WalkOptions};
use simsim_transfer::{DialOptions, HttpTransfer, OnWait, Route};

use crate::addresses::routes_of;
use crate::around::Around;
use crate::client::on_problem;
use crate::{Client, ClientError, stream};

/// Threads that list directories ahead.
const WALK_THREADS: usize = 2;

/// Runs the job to its commit.
pub(crate) fn run(
    client: &Client,
    request: &StartBackup,
    job: &Arc<Job>,
) -> Result<Option<CommitReply>, ClientError> {
    if request.ticket.direction != Direction::Backup {
        return Err(ClientError::Request("the ticket of a backup must be one for a backup"));
    }
    let around = Around::begin(client, request, job)?;
    let done = match request.kind {
        TargetKind::Path => paths(client, request, job),
        TargetKind::Stream => stream::run(client, request, job),
    };
    around.end(job, done)
}

fn paths(
    client: &Client,
    request: &StartBackup,
    job: &Arc<Job>,
) -> Result<Option<CommitReply>, ClientError> {
    if request.sources.is_empty() {
        return Err(ClientError::Request("a backup of paths must name at least one"));
    }
    let policy = client.policy()?;
    for source in &request.sources {
        policy.may_read(source)?;
    }
    let ticket = &request.ticket;
    let key = client.domain_key(request.domain_key.as_ref(), ticket.store, ticket.domain)?;
    let (urls, keys) = (&request.device_addresses, &request.device_keys);
    let (own, outbound) = (&request.client_keys, request.outbound);
    let routes = routes_of(client, urls, request.ticket.drive, keys, own, outbound)?;
    let options = WalkOptions {
        excludes: request.excludes.clone(),
        exclude_caches: request.exclude_caches,
        one_file_system: request.one_file_system,
        file_bytes_max: request.file_bytes_max,
        threads: WALK_THREADS,
    };
    let scan_started_unix_ns = now_unix_ns();
    let mut source = FsSource::new(&request.sources, options)?;
    // Links on the way were followed again; from here on none is.
    for place in source.places() {
        policy.may_read_place(&place)?;
    }
    if !source.any_is_there() {
        let all: Vec<String> = request.sources.iter().map(|path| escape_path(path)).collect();
        return Err(ClientError::NoSource { all: all.join(", ") });
    }
    let transfer = open(client, routes, request, job)?;
    // FULL and COPY read everything again, so nothing is compared with a base.
    let base = request.base.filter(|_| matches!(request.level, Level::Diff | Level::Incr));
    let restore: Arc<dyn RestoreSession> = Arc::clone(&transfer) as _;
    let work = BackupJob {
        session: Arc::clone(&transfer) as _,
        base: base.map(|saveset| Base { session: restore, saveset }),
        key,
        domain: ticket.domain,
        saveset: ticket.saveset,
        level: request.level,
        details: ManifestDetails {
            client: request.names.client.clone(),
            task: request.names.task.clone(),
            sources: request.sources.clone(),
            problems: Vec::new(),
        },
        scan_started_unix_ns,
        zstd_level: client.options.zstd_level,
        threads: client.options.threads,
        progress: job.progress(),
        on_problem: on_problem(job),
    };
    let done = simsim_mover::backup(work, &mut source);
    end(&transfer, done.as_ref().err().map(ToString::to_string));
    Ok(Some(done?.commit))
}

pub(crate) fn open(
    client: &Client,
    routes: Vec<Route>,
    request: &StartBackup,
    job: &Job,
) -> Result<Arc<HttpTransfer>, ClientError> {
    let transfer = HttpTransfer::open_with(
        client.handle.clone(),
        routes,
        request.ticket.clone(),
        patient(client, job),
    );
    opened(job, transfer)
}

/// How a job dials: where it has to wait for its turn it says so, until it is cancelled.
pub(crate) fn patient(client: &Client, job: &Job) -> DialOptions {
    let (progress, wanted) = (job.progress(), job.progress());
    let on_wait = OnWait::new(move |what| {
        progress.set_waits(what);
        !progress.is_cancelled()
    });
    let on_wait = on_wait.while_wanted(move || !wanted.is_cancelled());
    DialOptions { on_wait, ..client.options.dial.clone() }
}

/// The transfer is open, or nobody waits for it any more.
pub(crate) fn opened(
    job: &Job,
    transfer: Result<HttpTransfer, SessionError>,
) -> Result<Arc<HttpTransfer>, ClientError> {
    let progress = job.progress();
    progress.set_waits("");
    match transfer {
        Ok(transfer) => Ok(Arc::new(transfer)),
        Err(_) if progress.is_cancelled() => Err(ClientError::Cancelled),
        Err(error) => Err(error.into()),
    }
}

/// Tells the device that the transfer is over. The outcome is decided before, so a device that
/// does not answer any more changes nothing: it notices the silence.
pub(crate) fn end(transfer: &HttpTransfer, failed: Option<String>) {
    let told = match failed {
        None => transfer.close(),
        Some(why) => transfer.abort(&why),
    };
    if let Err(error) = told {
        tracing::info!(%error, "the end of the transfer could not be told");
    }
}

fn now_unix_ns() -> i64 {
    let since = simsim_model::failpoint::shifted(SystemTime::now()).duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}
