//! The job of a stream that is stored: waits for its caller, and takes the stream to its end.
//!
//! Relayed, the pipeline of a client runs here, at the server: it cuts, names and seals, asks the device
//! what it has, and puts the rest by an ordinary transfer.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use simsim_catalog::{
    Client, Datastore, DatastoreState, Domain, Job, JobStart, JobState, Severity,
};
use simsim_control::verbs::{Event, JobError, JobResult};
use simsim_format::{DomainKey, ManifestDetails, random_bytes};
use simsim_model::{
    Direction, Kind, Level, Outcome, Progress, SavesetId, Secret, SessionError, TransferId,
};
use simsim_mover::{BackupJob, BackupReport, backup_stream, stream_name};
use simsim_transfer::{HttpTransfer, pipe};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::arrivals::{Arrival, Given};
use super::sink::ServerSink;
use super::{onward, redirect, refuse_held_key, spare_own_ports};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{
    BackupGrant, BackupWish, CallEnd, Running, TransferWish, grant, withdraw_transfer,
};
use crate::recovery::{SELF_BACKUP_SOURCE, ServerStream};

/// A caller that made its job is there within this time.
const CALLER_PATIENCE: Duration = Duration::from_secs(30);
/// How often a job looks whether its caller may still come.
const CALLER_INTERVAL: Duration = Duration::from_millis(500);
/// How often counters are told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// As a client and a device have it where nothing else is set.
const ZSTD_LEVEL: i32 = 3;

/// Everything but the caller.
pub(super) struct Prepared {
    pub client: Client,
    pub datastore: Datastore,
    pub domain: Domain,
    pub key: Secret,
    pub transfer: TransferId,
    pub saveset: SavesetId,
}

/// Runs the job.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &BackupWish,
    running: &Arc<Running>,
) -> CallEnd {
    if crate::recovery::is_self_backup(wish.kind, &wish.options) {
        return of_server(house, job, wish, running).await;
    }
    let Some(mut callers) = house.streams.callers(job.number) else {
        return CallEnd::Refused(ServerError::Lost("its caller was taken before".to_owned()));
    };
    let ready = match prepare(house, job, running).await {
        Ok(ready) => ready,
        Err(error) => return CallEnd::Refused(error),
    };
    let arrival = match caller(house, &mut callers, running).await {
        Ok(arrival) => arrival,
        Err(error) => return CallEnd::Refused(error),
    };
    let elsewhere = wish.options.redirect && ready.datastore.device != house.nodes.own();
    match elsewhere && arrival.follows {
        true => redirect::store(house, job, wish, ready, arrival, running).await,
        false => relay(house, job, wish, ready, Origin::Caller(arrival), running).await,
    }
}

/// The backup of the server itself: its stream is made here.
async fn of_server(house: &House, job: &Job, wish: &BackupWish, running: &Arc<Running>) -> CallEnd {
    let ready = match prepare(house, job, running).await {
        Ok(ready) => ready,
        Err(error) => return CallEnd::Refused(error),
    };
    let kit = match house.kit.wrapping_key(&house.books).await {
        Ok(kit) => kit,
        Err(error) => return CallEnd::Refused(error),
    };
    let end = match crate::recovery::stream_of(house).await {
        Ok(stream) => relay(house, job, wish, ready, Origin::Server(stream), running).await,
        Err(error) => return CallEnd::Refused(error),
    };
    if let (CallEnd::Told(result), Some(kit)) = (&end, kit)
        && result.outcome == Outcome::Finished
    {
        crate::recovery::let_old_kit_go(house, &kit, &job.task_name).await;
    }
    end
}

async fn prepare(
    house: &House,
    job: &Job,
    running: &Arc<Running>,
) -> Result<Prepared, ServerError> {
    let (client_id, store) = (job.client, job.store);
    let (client, datastore, domain) = house
        .books
        .run(move |catalog| {
            Ok((
                catalog.client_numbered(client_id)?,
                catalog.datastore_with_id(store)?,
                catalog.domain_of(store, client_id)?,
            ))
        })
        .await?;
    if !client.is_enrolled() {
        return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
    }
    if datastore.state != DatastoreState::Active {
        return Err(ServerError::Refused(format!(
            "datastore '{}' is out of service: attach it first",
            datastore.name
        )));
    }
    refuse_held_key(&client.name, &datastore, domain.as_ref())?;
    let (domain, key) = house.domain_keys.for_backup(house, &datastore, &client).await?;
    let key =
        key.ok_or_else(|| ServerError::Lost("a key of the server is not there".to_owned()))?;
    let (transfer, saveset) = (TransferId(random_bytes()?), SavesetId(random_bytes()?));
    let start = JobStart {
        drive: Some(running.drive),
        transfer: Some(transfer),
        domain: Some(domain.domain),
        saveset: Some(saveset),
        level: Some(Level::Full),
    };
    let number = job.number;
    house.books.run(move |catalog| catalog.start_job(number, &start, now_unix_ms())).await?;
    running.tell_state(JobState::Running);
    simsim_model::failpoint::hit("server.job_started");
    Ok(Prepared { client, datastore, domain, key, transfer, saveset })
}

/// Waits for the one whose stream it is.
pub(super) async fn caller(
    house: &House,
    callers: &mut mpsc::Receiver<Arrival>,
    running: &Arc<Running>,
) -> Result<Arrival, ServerError> {
    let begun = tokio::time::Instant::now();
    let left = || ServerError::Refused("its caller went away before its turn".to_owned());
    let mut said = false;
    loop {
        // A ticket may be issued a moment after its job was queued.
        let until = house.streams.expected_until(running.number);
        if until.is_some() && !said {
            said = true;
            running.log(Severity::Info, "waiting for a caller with the ticket").await;
        }
        match until {
            Some(until) if until <= now_unix_ms() => {
                let text = "nobody came with the ticket before it expired: start anew";
                return Err(ServerError::Refused(text.to_owned()));
            }
            None if begun.elapsed() >= CALLER_PATIENCE => return Err(left()),
            _ => {}
        }
        tokio::select! {
            arrival = callers.recv() => return match arrival {
                Some(arrival) if !arrival.answer.is_closed() => Ok(arrival),
                _ => Err(left()),
            },
            () = running.cancel.cancelled() => {
                let text = "cancelled before its stream began";
                return Err(ServerError::Refused(text.to_owned()));
            }
            () = tokio::time::sleep(CALLER_INTERVAL) => {}
        }
    }
}

/// Where a stream comes from.
enum Origin {
    Caller(Arrival),
    Server(ServerStream),
}

/// Takes the stream here and puts it by a transfer of this process.
async fn relay(
    house: &House,
    job: &Job,
    wish: &BackupWish,
    ready: Prepared,
    origin: Origin,
    running: &Arc<Running>,
) -> CallEnd {
    let interfaces = onward(house, &ready.datastore, &wish.options.interfaces);
    let wanted = TransferWish {
        transfer: ready.transfer,
        job: job.number,
        client: &ready.client.name,
        drive: running.drive,
        datastore: &ready.datastore,
        domain: ready.domain.domain,
        direction: Direction::Backup,
        saveset: ready.saveset,
        bytes_max: house.config.backup_bytes_max,
        interfaces: &interfaces,
        by_server: true,
        stream_key: None,
        seen_from: match &origin {
            Origin::Caller(arrival) => arrival.address,
            Origin::Server(_) => None,
        },
    };
    let backup = BackupGrant {
        level: Level::Full,
        base: None,
        eol_days: wish.eol_days,
        first_s: 0,
        stream: None,
    };
    let mut granted = match grant(house, &wanted, Some(backup), house.nodes.own()).await {
        Ok(granted) => granted,
        Err(error) => return CallEnd::Refused(error),
    };
    if let Origin::Caller(arrival) = &origin
        && let Err(error) = spare_own_ports(&mut granted, &ready.datastore.name, arrival)
    {
        withdraw_transfer(house, ready.datastore.device, ready.transfer).await;
        return CallEnd::Refused(error);
    }
    running.takes(&granted);
    simsim_model::failpoint::hit("server.transfer_granted");
    let what = match &origin {
        Origin::Caller(arrival) => {
            format!("raw stream of task '{}' from {}", job.task_name, arrival.from)
        }
        Origin::Server(_) => "this server's catalog, keys and settings".to_owned(),
    };
    let line =
        format!("{what} into '{}' by drive {}, sealed here", ready.datastore.name, running.drive);
    running.log(Severity::Info, line).await;
    let routes = match granted.routes(&house.data_ports) {
        Ok(routes) => routes,
        Err(error) => return CallEnd::Refused(error),
    };
    let name = match &origin {
        Origin::Caller(_) => stream_name(&job.task_name),
        Origin::Server(_) => SELF_BACKUP_SOURCE.to_owned(),
    };
    let inner: Box<dyn Read + Send> = match origin {
        Origin::Server(stream) => Box::new(stream),
        Origin::Caller(arrival) => {
            let (writer, reader) = pipe();
            let ended = house.streams.end_of(job.number);
            let sink = ServerSink::new(job.number, writer, ended, running.cancel.clone());
            if arrival.answer.send(Given::Sink(sink)).is_err() {
                let text = "its caller went away before its turn".to_owned();
                return CallEnd::Refused(ServerError::Refused(text));
            }
            Box::new(reader)
        }
    };
    let progress = Arc::new(Progress::new());
    let now = simsim_model::failpoint::shifted(SystemTime::now())
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let (handle, ticket, key) = (Handle::current(), granted.ticket, DomainKey::new(&ready.key));
    let details = ManifestDetails {
        client: job.client_name.clone(),
        task: job.task_name.clone(),
        sources: vec![name.clone().into_bytes()],
        problems: Vec::new(),
    };
    let counted = Arc::clone(&progress);
    let taken = Arc::new(AtomicU64::new(0));
    let reader = Taken { inner, bytes: Arc::clone(&taken) };
    let work = move || {
        let saveset = ticket.saveset;
        let domain = ticket.domain;
        let transfer = Arc::new(HttpTransfer::open(handle, routes, ticket)?);
        let pipeline = BackupJob {
            session: Arc::clone(&transfer) as Arc<_>,
            base: None,
            key,
            domain,
            saveset,
            level: Level::Full,
            details,
            scan_started_unix_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
            zstd_level: ZSTD_LEVEL,
            threads: 0,
            progress: counted,
            on_problem: Arc::new(|_| ()),
        };
        through(pipeline, &name, reader, &transfer)
    };
    let mut work = tokio::task::spawn_blocking(work);
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = false;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = tick.tick() => {
                // The pipeline counts whole blocks; people see what came.
                let mut snapshot = progress.snapshot();
                snapshot.bytes_read = taken.load(Relaxed);
                snapshot.bytes_done = snapshot.bytes_read;
                running.heard(Event::Progress(snapshot));
            }
            () = running.cancel.cancelled(), if !told => {
                told = true;
                progress.cancel();
            }
        }
    };
    let done = done.unwrap_or_else(|error| {
        Err(SessionError::new(Kind::Internal, format!("the work on the stream was lost: {error}")))
    });
    CallEnd::Told(Box::new(result(done, &progress, running)))
}

/// Counts what came.
struct Taken {
    inner: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Taken {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// The pipeline, and the end of its transfer.
fn through(
    pipeline: BackupJob,
    name: &str,
    mut reader: Taken,
    transfer: &HttpTransfer,
) -> Result<BackupReport, SessionError> {
    let done = backup_stream(pipeline, name, &mut reader);
    // Who sends on hears at once that nobody reads, and not after the transfer's end.
    drop(reader);
    let ended = match &done {
        Ok(_) => transfer.close(),
        Err(error) => transfer.abort(&error.to_string()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "the end of a transfer was not heard");
    }
    match done {
        Ok((report, _)) => Ok(report),
        Err(error) => Err(SessionError::new(error.kind(), error.to_string())),
    }
}

fn result(
    done: Result<BackupReport, SessionError>,
    progress: &Progress,
    running: &Running,
) -> JobResult {
    let (outcome, error, report) = match done {
        Ok(report) if report.problems_total > 0 => {
            (Outcome::FinishedWithErrors, None, Some(report))
        }
        Ok(report) => (Outcome::Finished, None, Some(report)),
        Err(error) => {
            let outcome = match running.cancel.is_cancelled() {
                true => Outcome::Cancelled,
                false => Outcome::Failed,
            };
            (outcome, Some(JobError { kind: error.kind, message: error.message }), None)
        }
    };
    let mut snapshot = progress.snapshot();
    snapshot.current.clear();
    JobResult {
        outcome,
        error,
        snapshot,
        problems: report.as_ref().map(|report| report.problems.clone()).unwrap_or_default(),
        problems_total: report.as_ref().map_or(0, |report| report.problems_total),
        commit: report.map(|report| report.commit),
        started_unix_ns: 0,
        finished_unix_ns: now_unix_ms().saturating_mul(1_000_000),
        checked: None,
        drilled: None,
        proven: None,
    }
}
