//! A restore: from the wish to the call that makes the target client work.

use std::sync::Arc;

use simsim_catalog::{
    Client, ClientId, Job, JobKind, JobStart, JobState, KeyHolder, Saveset, SavesetState, Severity,
};
use simsim_control::verbs::{DomainKeyHeld, OtherCopy, StartRestore};
use simsim_format::random_bytes;
use simsim_model::{Direction, TransferId};

use super::long_call::{CallEnd, see_through};
use super::running::Running;
use super::transfer::{
    COPY_TICKET_S, DEVICE_PATIENCE, TransferWish, grant, grant_for, withdraw_ticket,
};
use super::wish::{RestoreWish, paths_of};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;

/// Other copies of one restore at most.
const OTHERS_MAX: usize = 3;

/// Prepares the transfer, starts the client and sees it through.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &RestoreWish,
    running: &Arc<Running>,
) -> CallEnd {
    match prepare(house, job, wish, running).await {
        Ok((verb, spare)) => {
            let silence_max = house.silence_max;
            let end = see_through(&house.nodes, running, job.client, Some(verb), silence_max).await;
            withdraw(house, spare).await;
            end
        }
        Err(error) => CallEnd::Refused(error),
    }
}

/// Transfers of other copies, each at its device.
pub(super) type Spare = Vec<(ClientId, TransferId)>;

/// Nobody needs the tickets of other copies any more.
pub(super) async fn withdraw(house: &House, spare: Spare) {
    for (device, transfer) in spare {
        withdraw_ticket(house, device, transfer).await;
    }
}

/// Other copies that the client may go on with: those whose device is there now. What is named by a person stands
/// alone.
async fn others(
    house: &House,
    job: &Job,
    saveset: &Saveset,
    client: &Client,
    interfaces: &[String],
    running: &Arc<Running>,
) -> Result<(Vec<OtherCopy>, Spare), ServerError> {
    let mut stores = house.stores_for(saveset, &client.name).await?;
    stores.retain(|one| one.store != job.store && house.is_served(one));
    stores.truncate(OTHERS_MAX);
    let drives = house.books.run(|catalog| catalog.drives()).await?;
    let (mut others, mut spare) = (Vec::new(), Spare::new());
    for datastore in &stores {
        let own = drives.iter().filter(|drive| drive.store == datastore.store);
        let Some(drive) = own.map(|drive| drive.number).min() else { continue };
        let wish = TransferWish {
            transfer: TransferId(random_bytes()?),
            job: job.number,
            client: &client.name,
            drive,
            datastore,
            domain: saveset.domain,
            direction: Direction::Restore,
            saveset: saveset.saveset,
            bytes_max: 0,
            interfaces,
            by_server: false,
            stream_key: None,
            seen_from: None,
        };
        let (number, device, transfer) = (job.number, datastore.device, wish.transfer);
        house.books.run(move |catalog| catalog.remember_ticket(number, device, transfer)).await?;
        spare.push((device, transfer));
        match grant_for(house, &wish, None, client.id, Some(COPY_TICKET_S)).await {
            Ok(granted) => {
                others.push(OtherCopy {
                    datastore: datastore.name.clone(),
                    ticket: granted.ticket,
                    device_addresses: granted.urls,
                    device_keys: granted.device_keys,
                    outbound: granted.outbound,
                    client_keys: granted.client_keys,
                });
            }
            Err(error) => {
                let line = format!(
                    "the copy in '{}' is not there to go on with: {}",
                    datastore.name,
                    error.full_message()
                );
                running.log(Severity::Info, line).await;
            }
        }
    }
    Ok((others, spare))
}

/// The order to the client, with a transfer that the device expects, and those of other copies.
pub(super) async fn prepare(
    house: &House,
    job: &Job,
    wish: &RestoreWish,
    running: &Arc<Running>,
) -> Result<(StartRestore, Spare), ServerError> {
    let saveset =
        job.saveset.ok_or_else(|| ServerError::invalid("a restore needs a saveset to read"))?;
    let (client_id, store) = (job.client, job.store);
    let (client, datastore, saveset) = house
        .books
        .run(move |catalog| {
            Ok((
                catalog.client_numbered(client_id)?,
                catalog.datastore_with_id(store)?,
                catalog.saveset(saveset)?,
            ))
        })
        .await?;
    if !client.is_enrolled() {
        return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
    }
    if saveset.store == store && saveset.state == SavesetState::Missing {
        return Err(ServerError::not_found("manifest of saveset", saveset.saveset));
    }
    let domain_id = saveset.domain;
    let domain = house.books.run(move |catalog| catalog.domain(domain_id)).await?;
    let key = house.domain_keys.open(&domain)?;
    if key.is_none() {
        if domain.key_held_by == KeyHolder::Nobody {
            return Err(ServerError::Key(format!(
                "nobody has brought the key of domain {}: give the recovery kit to 'simsim datastore rebuild-catalog'",
                domain.domain
            )));
        }
        let line = house.nodes.line(client.id, DEVICE_PATIENCE).await?;
        let held =
            line.call(DomainKeyHeld { store: domain.store, domain: domain.domain }).await?.held;
        if !held {
            return Err(ServerError::Refused(format!(
                "saveset {} is sealed with a key that only its owner holds, and client '{}' does not hold it",
                saveset.saveset, client.name
            )));
        }
    }
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
    simsim_model::failpoint::hit("server.job_started");
    let wanted = TransferWish {
        transfer,
        job: job.number,
        client: &client.name,
        drive: running.drive,
        datastore: &datastore,
        domain: domain.domain,
        direction: Direction::Restore,
        saveset: saveset.saveset,
        bytes_max: 0,
        interfaces: &wish.interfaces,
        by_server: false,
        stream_key: None,
        seen_from: None,
    };
    let granted = grant(house, &wanted, None, client.id).await?;
    running.takes(&granted);
    let (what, place) = match (job.kind, wish.target.as_deref()) {
        (JobKind::Drill, None) => ("restore drill", "a scratch place of its own".to_owned()),
        (JobKind::Drill, Some(at)) => ("restore drill", format!("a scratch place in '{at}'")),
        (_, None) => ("restore", "its place".to_owned()),
        (_, Some(at)) => ("restore", format!("'{at}'")),
    };
    running
        .log(
            Severity::Info,
            format!(
                "{what} of saveset {} ('{}' of '{}') to '{}', into {place}",
                saveset.saveset.short(),
                saveset.task_name,
                saveset.client_name,
                client.name
            ),
        )
        .await;
    if saveset.store != store {
        let line = format!("from its copy in datastore '{}'", datastore.name);
        running.log(Severity::Info, line).await;
    }
    let target = match &wish.target {
        Some(target) => paths_of(std::slice::from_ref(target))?.into_iter().next(),
        None => None,
    };
    let (other_copies, spare) = match wish.only_copy {
        true => (Vec::new(), Spare::new()),
        false => others(house, job, &saveset, &client, &wish.interfaces, running).await?,
    };
    simsim_model::failpoint::hit("server.restore_granted");
    let verb = StartRestore {
        other_copies,
        datastore: datastore.name,
        device_addresses: granted.urls,
        device_keys: granted.device_keys,
        client_keys: granted.client_keys,
        outbound: granted.outbound,
        ticket: granted.ticket,
        saveset: saveset.saveset,
        domain_key: key,
        selection: paths_of(&wish.paths)?,
        patterns: wish.patterns.clone(),
        target: target.unwrap_or_default(),
        overwrite: wish.overwrite,
        specials: wish.specials,
        owners: wish.owners,
        dry_run: wish.dry_run,
    };
    Ok((verb, spare))
}
