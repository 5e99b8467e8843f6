//! Jobs whose data goes past the server: the device gets the key for one transfer, the caller is sent to
//! the device, and the server watches what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use simsim_catalog::{ClientId, Datastore, Job, Severity};
use simsim_control::verbs::{
    Event, JobError, JobResult, SavesetNames, TransferState, TransferStateReply,
};
use simsim_model::interface::{Interface, Scheme};
use simsim_model::{Direction, Kind, Level, Outcome, ProgressSnapshot, TransferId};
use simsim_transfer::gate::SecretText;
use simsim_transfer::stream_ticket;
use tokio::time::Instant;

use super::arrivals::{Arrival, Given};
use super::store::Prepared;
use crate::ServerError;
use crate::house::House;
use crate::jobs::{BackupGrant, BackupWish, CallEnd, Granted, Running, TransferWish, grant};

/// How often the device is asked how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// One wait for a line to the device.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

/// Sends the caller to the device with its stream.
pub(super) async fn store(
    house: &House,
    job: &Job,
    wish: &BackupWish,
    ready: Prepared,
    arrival: Arrival,
    running: &Arc<Running>,
) -> CallEnd {
    let names = SavesetNames { client: job.client_name.clone(), task: job.task_name.clone() };
    let stream = Some((ready.key.clone(), names));
    let backup =
        BackupGrant { level: Level::Full, base: None, eol_days: wish.eol_days, first_s: 0, stream };
    let interfaces = [Scheme::Https.as_str().to_owned()];
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
        by_server: false,
        stream_key: None,
        seen_from: arrival.address,
    };
    send_there(house, job, &wanted, Some(backup), &ready.datastore, arrival, running).await
}

/// Makes the device expect the caller, sends the caller there, and sees it through.
pub(super) async fn send_there(
    house: &House,
    job: &Job,
    wanted: &TransferWish<'_>,
    backup: Option<BackupGrant>,
    datastore: &Datastore,
    arrival: Arrival,
    running: &Arc<Running>,
) -> CallEnd {
    let granted = async {
        is_reachable(house, datastore).await?;
        // The caller is whoever has the ticket: how the suite steers its host says nothing here.
        grant(house, wanted, backup, house.nodes.own()).await
    };
    let granted = match granted.await {
        Ok(granted) => granted,
        Err(error) => return CallEnd::Refused(error),
    };
    running.takes(&granted);
    simsim_model::failpoint::hit("server.transfer_granted");
    let Some(url) = url_of(&granted, &job.task_name) else {
        return CallEnd::Refused(ServerError::Lost("no address of the device".to_owned()));
    };
    let there = granted.urls.first().cloned().unwrap_or_default();
    let line = format!(
        "raw stream of task '{}': {} is sent to {there}, drive {} of '{}'",
        job.task_name, arrival.from, running.drive, datastore.name
    );
    running.log(Severity::Info, line).await;
    if arrival.answer.send(Given::Elsewhere(url)).is_err() {
        let text = "its caller went away before its turn".to_owned();
        return CallEnd::Refused(ServerError::Refused(text));
    }
    watch(house, job, datastore.device, wanted.transfer, running).await
}

/// Strangers' tools check names in certificates, and only an administrator puts names there.
async fn is_reachable(house: &House, datastore: &Datastore) -> Result<(), ServerError> {
    let device = datastore.device;
    let (given, client) = house
        .books
        .run(move |catalog| Ok((catalog.interfaces(device)?, catalog.client_numbered(device)?)))
        .await?;
    let https =
        |url: &String| url.parse::<Interface>().is_ok_and(|one| one.scheme == Scheme::Https);
    if given.iter().any(https) {
        return Ok(());
    }
    Err(ServerError::Refused(format!(
        "streams of this task are redirected, and '{0}' has no HTTPS interface to send callers to: 'simsim \
         interface set {0} https://NAME', with the name that they reach it by; or relay them: 'simsim task \
         change TASK --redirect=false'",
        client.name
    )))
}

fn url_of(granted: &Granted, task: &str) -> Option<SecretText> {
    let base = granted.urls.first()?;
    let ticket = stream_ticket(&granted.ticket);
    Some(SecretText::new(format!("{base}/v1/streams/{task}/{}", ticket.reveal())))
}

/// Goes on watching after a restart of the server.
pub(super) async fn follow(house: &House, job: &Job, running: &Arc<Running>) -> CallEnd {
    let store = job.store;
    let device = house.books.run(move |catalog| Ok(catalog.datastore_with_id(store)?.device)).await;
    match (job.transfer, device) {
        (Some(transfer), Ok(device)) if device != house.nodes.own() => {
            watch(house, job, device, transfer, running).await
        }
        _ => broken_off(),
    }
}

/// What went through a server that ended.
pub(super) fn broken_off() -> CallEnd {
    let text = "the server ended while the stream ran through it; send it again";
    CallEnd::Forgotten(ServerError::Refused(text.to_owned()))
}

/// Asks the device until the transfer is over.
async fn watch(
    house: &House,
    job: &Job,
    device: ClientId,
    transfer: TransferId,
    running: &Arc<Running>,
) -> CallEnd {
    let stores = job.kind == simsim_catalog::JobKind::Backup;
    let begun = Instant::now();
    let unused = Duration::from_secs(u64::from(house.config.ticket_minutes) * 60);
    let mut silent_since = None;
    loop {
        if running.cancel.is_cancelled() {
            let error = JobError { kind: Kind::Cancelled, message: "cancelled".to_owned() };
            let result = result(Outcome::Cancelled, Some(error), running.progress());
            return CallEnd::Told(Box::new(result));
        }
        let asked = async {
            let line = house.nodes.line(device, LINE_PATIENCE).await?;
            line.call(TransferState { transfer }).await
        };
        match asked.await {
            Ok(state) => {
                silent_since = None;
                let snapshot = snapshot_of(&state, stores);
                running.heard(Event::Progress(snapshot.clone()));
                if let Some(end) = end_of(&state, stores, snapshot) {
                    return end;
                }
                if !state.opened && begun.elapsed() >= unused {
                    let text = "its caller did not come to the device; it must follow redirects \
                                (curl -L), and be able to reach it";
                    return CallEnd::Refused(ServerError::Refused(text.to_owned()));
                }
            }
            Err(error) if error.kind() == Kind::NotFound => {
                let text = "the device does not know the transfer: it was restarted meanwhile";
                return CallEnd::Forgotten(ServerError::Refused(text.to_owned()));
            }
            Err(error) => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= house.silence_max {
                    return CallEnd::Lost(error);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
            () = running.cancel.cancelled() => {}
        }
    }
}

fn end_of(state: &TransferStateReply, stores: bool, snapshot: ProgressSnapshot) -> Option<CallEnd> {
    if stores && state.committed {
        return Some(CallEnd::Told(Box::new(result(Outcome::Finished, None, snapshot))));
    }
    let why = state.ended.as_ref()?;
    let result = match stores {
        true => {
            let message = format!("the stream did not come to its end at the device: {why}");
            let error = JobError { kind: Kind::Cancelled, message };
            result(Outcome::Failed, Some(error), snapshot)
        }
        false => result(Outcome::Finished, None, snapshot),
    };
    Some(CallEnd::Told(Box::new(result)))
}

fn snapshot_of(state: &TransferStateReply, stores: bool) -> ProgressSnapshot {
    ProgressSnapshot {
        files_done: u64::from(stores && state.committed),
        bytes_done: state.stream_bytes,
        bytes_read: state.stream_bytes,
        bytes_wire: state.bytes_put,
        ..ProgressSnapshot::default()
    }
}

fn result(outcome: Outcome, error: Option<JobError>, snapshot: ProgressSnapshot) -> JobResult {
    JobResult {
        outcome,
        error,
        snapshot,
        problems: Vec::new(),
        problems_total: 0,
        commit: None,
        started_unix_ns: 0,
        finished_unix_ns: crate::clock::now_unix_ms().saturating_mul(1_000_000),
        checked: None,
        drilled: None,
        proven: None,
    }
}
