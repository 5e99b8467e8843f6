//! A backup: from the wish to the call that makes the client work.

use std::sync::Arc;

use simsim_catalog::{Client, DatastoreState, Job, JobStart, Severity};
use simsim_control::ProtocolVersion;
use simsim_control::verbs::{SavesetNames, StartBackup};
use simsim_format::random_bytes;
use simsim_model::{Direction, Level, SavesetId, TargetKind, TransferId};

use super::long_call::{CallEnd, see_through};
use super::running::Running;
use super::transfer::{BackupGrant, DEVICE_PATIENCE, TransferWish, grant};
use super::wish::{BackupWish, paths_of};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;

/// So long a pre-command is waited for of which the task says nothing.
const COMMAND_S: u32 = 3600;

/// Prepares the transfer, starts the client and sees it through.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &BackupWish,
    running: &Arc<Running>,
) -> CallEnd {
    match prepare(house, job, wish, running).await {
        Ok(verb) => {
            let silence_max = house.silence_max;
            see_through(&house.nodes, running, job.client, Some(verb), silence_max).await
        }
        Err(error) => CallEnd::Refused(error),
    }
}

/// A client of an older version would pass the commands over and read what is not at rest.
async fn knows_commands(house: &House, client: &Client) -> Result<(), ServerError> {
    let protocol = house.nodes.line(client.id, DEVICE_PATIENCE).await?.protocol();
    if protocol >= ProtocolVersion::WITH_COMMANDS {
        return Ok(());
    }
    Err(ServerError::Refused(format!(
        "client '{}' speaks version {protocol} of the protocol, which knows no commands before and after a \
         backup: bring simsim up to date there",
        client.name
    )))
}

async fn prepare(
    house: &House,
    job: &Job,
    wish: &BackupWish,
    running: &Arc<Running>,
) -> Result<StartBackup, ServerError> {
    let (client_id, store) = (job.client, job.store);
    let (client, datastore) = house
        .books
        .run(move |catalog| {
            Ok((catalog.client_numbered(client_id)?, catalog.datastore_with_id(store)?))
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
    if wish.options.has_commands() {
        knows_commands(house, &client).await?;
    }
    let sources = paths_of(&wish.sources)?;
    let (domain, key) = house.domain_keys.for_backup(house, &datastore, &client).await?;

    let (domain_id, asked) = (domain.domain, wish.level);
    let (client_name, task_name) = (job.client_name.clone(), job.task_name.clone());
    let base = house
        .books
        .run(move |catalog| catalog.base_for(store, domain_id, &client_name, &task_name, asked))
        .await?;
    let level = match (asked, &base) {
        (Level::Diff | Level::Incr, None) => {
            let line = format!("no saveset to compare with: {} becomes full", asked.as_str());
            running.log(Severity::Info, line).await;
            Level::Full
        }
        _ => asked,
    };

    let transfer = TransferId(random_bytes()?);
    let saveset = SavesetId(random_bytes()?);
    // Written down before anything is granted: after a crash it tells what to ask for.
    let start = JobStart {
        drive: Some(running.drive),
        transfer: Some(transfer),
        domain: Some(domain.domain),
        saveset: Some(saveset),
        level: Some(level),
    };
    let number = job.number;
    house.books.run(move |catalog| catalog.start_job(number, &start, now_unix_ms())).await?;
    running.tell_state(simsim_catalog::JobState::Running);
    simsim_model::failpoint::hit("server.job_started");
    // From now on the job keeps its base from being deleted. A decision that came before is seen here.
    if let Some(base) = base.as_ref().map(|base| base.saveset) {
        let deletions = house.books.run(move |catalog| catalog.deletions_of(base)).await?;
        if deletions.iter().any(|one| one.store == store) {
            return Err(ServerError::Busy(format!(
                "saveset {}, which was to be compared with, is being deleted: run the backup again",
                base.short()
            )));
        }
    }

    let names = SavesetNames { client: job.client_name.clone(), task: job.task_name.clone() };
    let stream = match (wish.kind, &key) {
        (TargetKind::Stream, Some(key)) => Some((key.clone(), names.clone())),
        _ => None,
    };
    let wanted = TransferWish {
        transfer,
        job: job.number,
        client: &client.name,
        drive: running.drive,
        datastore: &datastore,
        domain: domain.domain,
        direction: Direction::Backup,
        saveset,
        bytes_max: house.config.backup_bytes_max,
        interfaces: &wish.options.interfaces,
        by_server: false,
        stream_key: None,
        seen_from: None,
    };
    let backup = BackupGrant {
        level,
        base: base.as_ref().map(|base| base.saveset),
        eol_days: wish.eol_days,
        first_s: match wish.options.pre_command {
            Some(_) => wish.options.command_timeout_s.unwrap_or(COMMAND_S),
            None => 0,
        },
        stream,
    };
    let granted = grant(house, &wanted, Some(backup), client.id).await?;
    running.takes(&granted);
    simsim_model::failpoint::hit("server.transfer_granted");
    let against = match &base {
        Some(base) => format!("compared with saveset {}", base.saveset.short()),
        None => "reading everything".to_owned(),
    };
    running
        .log(
            Severity::Info,
            format!(
                "{} backup of '{}' on '{}' into '{}' by drive {}, {against}",
                level.as_str(),
                job.task_name,
                client.name,
                datastore.name,
                running.drive
            ),
        )
        .await;
    Ok(StartBackup {
        device_addresses: granted.urls,
        device_keys: granted.device_keys,
        client_keys: granted.client_keys,
        outbound: granted.outbound,
        ticket: granted.ticket,
        names,
        kind: wish.kind,
        sources,
        excludes: wish.excludes.clone(),
        exclude_caches: wish.options.exclude_caches,
        one_file_system: wish.options.one_file_system,
        file_bytes_max: wish.options.file_bytes_max,
        stream_command: wish.options.stream_command.clone(),
        level,
        base: base.map(|base| base.saveset),
        domain_key: key,
        pre_command: wish.options.pre_command.clone(),
        post_command: wish.options.post_command.clone(),
        command_timeout_s: wish.options.command_timeout_s,
    })
}
