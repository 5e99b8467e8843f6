//! The job of a stream that is read: opens it, lets handles read, and ends a moment after the last.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use simsim_catalog::{Job, JobStart, JobState, SavesetState, Severity};
use simsim_control::verbs::{Event, JobError, JobResult};
use simsim_format::{DomainKey, random_bytes};
use simsim_model::interface::Scheme;
use simsim_model::{Direction, Kind, Outcome, ProgressSnapshot, SessionError, TransferId};
use simsim_mover::StreamFile;
use simsim_transfer::HttpTransfer;
use tokio::runtime::Handle;

use super::arrivals::Given;
use super::guest::facts_of;
use super::redirect::send_there;
use super::source::OpenStream;
use super::store::caller;
use super::{onward, refuse_held_key, spare_own_ports};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{CallEnd, ReadWish, Running, TransferWish, grant, withdraw_transfer};

/// A reader of many ranges comes again within this time; then they are one job.
const LINGER: Duration = Duration::from_secs(5);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Runs the job.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &ReadWish,
    running: &Arc<Running>,
) -> CallEnd {
    match read(house, job, wish, running).await {
        Ok(end) => end,
        Err(error) => CallEnd::Refused(error),
    }
}

async fn read(
    house: &House,
    job: &Job,
    wish: &ReadWish,
    running: &Arc<Running>,
) -> Result<CallEnd, ServerError> {
    let Some(mut callers) = house.streams.callers(job.number) else {
        return Err(ServerError::Lost("its caller was taken before".to_owned()));
    };
    let id = job.saveset.ok_or_else(|| ServerError::invalid("a read needs a saveset"))?;
    let (client_id, store) = (job.client, job.store);
    let (client, datastore, saveset, domain) = house
        .books
        .run(move |catalog| {
            let saveset = catalog.saveset(id)?;
            let domain = catalog.domain(saveset.domain)?;
            let datastore = catalog.datastore_with_id(store)?;
            Ok((catalog.client_numbered(client_id)?, datastore, saveset, domain))
        })
        .await?;
    if !client.is_enrolled() {
        return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
    }
    if saveset.state == SavesetState::Missing {
        return Err(ServerError::not_found("manifest of saveset", saveset.saveset));
    }
    refuse_held_key(&client.name, &datastore, Some(&domain))?;
    let key = house.domain_keys.open(&domain)?.ok_or_else(|| {
        ServerError::Key(format!("nobody has brought the key of domain {}", domain.domain))
    })?;
    let transfer = TransferId(random_bytes()?);
    let start = JobStart {
        drive: Some(running.drive),
        transfer: Some(transfer),
        domain: Some(domain.domain),
        saveset: None,
        level: None,
    };
    let number = job.number;
    house.books.run(move |catalog| catalog.start_job(number, &start, now_unix_ms())).await?;
    running.tell_state(JobState::Running);
    let arrival = caller(house, &mut callers, running).await?;
    let redirected = wish.redirect && datastore.device != house.nodes.own() && arrival.follows;
    let interfaces = match redirected {
        true => vec![Scheme::Https.as_str().to_owned()],
        false => onward(house, &datastore, &[]),
    };
    let wanted = TransferWish {
        transfer,
        job: job.number,
        client: &client.name,
        drive: running.drive,
        datastore: &datastore,
        domain: domain.domain,
        direction: Direction::Restore,
        saveset: id,
        bytes_max: 0,
        interfaces: &interfaces,
        by_server: !redirected,
        stream_key: redirected.then_some(&key),
        seen_from: arrival.address,
    };
    if redirected {
        return Ok(send_there(house, job, &wanted, None, &datastore, arrival, running).await);
    }
    let mut granted = grant(house, &wanted, None, house.nodes.own()).await?;
    if let Err(error) = spare_own_ports(&mut granted, &datastore.name, &arrival) {
        withdraw_transfer(house, datastore.device, transfer).await;
        return Err(error);
    }
    running.takes(&granted);
    let line = format!("raw stream of saveset {} is read by {}", id.short(), arrival.from);
    running.log(Severity::Info, line).await;
    let routes = granted.routes(&house.data_ports)?;
    let (handle, ticket, key) = (Handle::current(), granted.ticket, DomainKey::new(&key));
    let opened = tokio::task::spawn_blocking(move || {
        let transfer = Arc::new(HttpTransfer::open(handle, routes, ticket)?);
        let file = StreamFile::open(Arc::clone(&transfer) as Arc<_>, key, id)
            .map_err(|error| SessionError::new(error.kind(), error.to_string()));
        match file {
            Ok(file) => Ok((transfer, file)),
            Err(error) => {
                let _ = transfer.abort(&error.message);
                Err(error)
            }
        }
    });
    let opened = opened.await.map_err(|error| ServerError::Lost(error.to_string()))?;
    let (transfer, file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let error = JobError { kind: error.kind, message: error.message };
            return Ok(ended(Outcome::Failed, Some(error), 0));
        }
    };
    let mut facts = facts_of(&saveset);
    facts.bytes = file.bytes();
    let open = OpenStream::new(job.number, file, facts, running.cancel.clone());
    if arrival.answer.send(Given::Source(Arc::clone(&open))).is_ok() {
        lend(&open, running).await;
    }
    let closed = tokio::task::spawn_blocking(move || transfer.close()).await;
    if let Ok(Err(error)) = closed {
        tracing::debug!(%error, "the end of a transfer was not heard");
    }
    let bytes = open.read_bytes.load(Relaxed);
    let trouble = open.trouble.lock().clone();
    if running.cancel.is_cancelled() {
        let error = JobError { kind: Kind::Cancelled, message: "cancelled".to_owned() };
        return Ok(ended(Outcome::Cancelled, Some(error), bytes));
    }
    Ok(match trouble {
        Some(error) => {
            let error = JobError { kind: error.kind, message: error.message };
            ended(Outcome::Failed, Some(error), bytes)
        }
        None => ended(Outcome::Finished, None, bytes),
    })
}

/// Waits until nobody has read for a while.
async fn lend(open: &Arc<OpenStream>, running: &Running) {
    let mut handles = open.watch();
    let mut tick = tokio::time::interval(PROGRESS_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut idle_since: Option<tokio::time::Instant> = None;
    loop {
        match *handles.borrow_and_update() {
            Some(0) => {
                idle_since.get_or_insert_with(tokio::time::Instant::now);
            }
            _ => idle_since = None,
        }
        if idle_since.is_some_and(|since| since.elapsed() >= LINGER) && open.close_if_idle() {
            return;
        }
        tokio::select! {
            _ = handles.changed() => {}
            _ = tick.tick() => {
                running.heard(Event::Progress(snapshot(open.read_bytes.load(Relaxed))));
            }
            () = running.cancel.cancelled() => return,
        }
    }
}

fn snapshot(bytes: u64) -> ProgressSnapshot {
    ProgressSnapshot { bytes_done: bytes, bytes_read: bytes, ..ProgressSnapshot::default() }
}

fn ended(outcome: Outcome, error: Option<JobError>, bytes: u64) -> CallEnd {
    let mut snapshot = snapshot(bytes);
    snapshot.files_done = u64::from(error.is_none());
    CallEnd::Told(Box::new(JobResult {
        outcome,
        error,
        snapshot,
        problems: Vec::new(),
        problems_total: 0,
        commit: None,
        started_unix_ns: 0,
        finished_unix_ns: now_unix_ms().saturating_mul(1_000_000),
        checked: None,
        drilled: None,
        proven: None,
    }))
}
