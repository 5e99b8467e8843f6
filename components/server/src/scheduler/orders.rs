//! From an event and one of its subjects to the job that is queued for it.

use simsim_catalog::{Catalog, CatalogError, Client, DatastoreState, JobKind, NewJob, Waiting};
use simsim_format::random_bytes;
use simsim_model::{Kind, Level};
use simsim_schedule::{EventKind, Place};

use super::programme::EventDocument;
use crate::ServerError;
use crate::api::VerifyDepth;
use crate::house::newest_of_task;
use crate::jobs::{
    CollectWish, ReplicateWish, ScrubWish, VerifyWish, Wish, backup_of, command_job, drill_job,
    migration_job, whole_datastore,
};

/// Why there is no job.
#[derive(Debug)]
pub(crate) enum OrderError {
    /// It cannot run as things are: written down with the run.
    Refused(String),
    /// The catalog could not be asked: the round is tried again.
    Catalog(CatalogError),
}

impl From<CatalogError> for OrderError {
    fn from(error: CatalogError) -> Self {
        match error.kind() {
            Kind::NotFound | Kind::Invalid => OrderError::Refused(error.to_string()),
            _ => OrderError::Catalog(error),
        }
    }
}

impl From<ServerError> for OrderError {
    fn from(error: ServerError) -> Self {
        OrderError::Refused(error.full_message())
    }
}

/// The job of one subject.
pub(crate) fn order(
    catalog: &Catalog,
    document: &EventDocument,
    subject: &str,
    waiting: Waiting,
) -> Result<NewJob, OrderError> {
    let by = format!("event:{}", document.event.name);
    match document.event.kind {
        EventKind::Backup => backup(catalog, document, subject, waiting, by),
        EventKind::Replication => {
            let relation = catalog.replication(subject)?;
            let wish = Wish::Replicate(ReplicateWish { replication: subject.to_owned() });
            Ok(NewJob {
                kind: JobKind::Replicate,
                task: None,
                task_name: relation.name.clone(),
                client: catalog.datastore_with_id(relation.dialler())?.device,
                store: relation.dialled(),
                domain: None,
                drive: Some(relation.drive),
                level: None,
                saveset: None,
                pool: None,
                request: wish.to_text()?,
                requested_by: by,
                waiting,
            })
        }
        EventKind::Verification => verification(catalog, document, subject, waiting, by),
        EventKind::GarbageCollection => {
            let wish = Wish::Collect(CollectWish { over_budget: false, expire: true });
            whole(catalog, JobKind::Collect, subject, &wish, waiting, by)
        }
        EventKind::Command => {
            let command = catalog.command(subject)?;
            enrolled(catalog.client_numbered(command.client_id)?)?;
            Ok(command_job(command, by, waiting)?)
        }
        EventKind::RestoreDrill => {
            let seed = u64::from_le_bytes(random_bytes().map_err(ServerError::from)?) >> 12;
            let options = document.drill.clone().unwrap_or_default();
            Ok(drill_job(catalog, subject, None, &options, seed, by, waiting)?)
        }
        EventKind::Migration => Ok(migration_job(catalog, subject, by, waiting)?),
        EventKind::BackupDayChange => Err(OrderError::Refused(format!(
            "events of kind {} have no jobs in this version",
            document.event.kind.as_str()
        ))),
    }
}

fn enrolled(client: Client) -> Result<Client, OrderError> {
    match client.is_enrolled() {
        true => Ok(client),
        false => Err(OrderError::Refused(format!("client '{}' is revoked", client.name))),
    }
}

fn backup(
    catalog: &Catalog,
    document: &EventDocument,
    subject: &str,
    waiting: Waiting,
    by: String,
) -> Result<NewJob, OrderError> {
    let event = &document.event;
    let mut task = catalog.task(subject)?;
    enrolled(catalog.client_numbered(task.client_id)?)?;
    let mut place = event.place.clone();
    if let Some(name) = &event.pool {
        let pool = catalog.pool(name)?;
        task.settings.pool = Some(name.clone());
        if pool.has_place() && place.is_none() {
            match (pool.drive_group, pool.drive, pool.store) {
                (Some(group), _, _) => place = Some(Place::Group(group)),
                (None, Some(drive), _) => place = u16::try_from(drive).ok().map(Place::Drive),
                (None, None, Some(store)) => {
                    (task.settings.drive, task.settings.drive_group) = (None, None);
                    task.settings.store = store;
                }
                (None, None, None) => {}
            }
        }
    }
    match &place {
        None => {}
        Some(Place::Drive(number)) => {
            let number = u32::from(*number);
            let drives = catalog.drives()?;
            let drive = drives.iter().find(|drive| drive.number == number);
            let drive =
                drive.ok_or_else(|| OrderError::Refused(format!("drive {number} is not there")))?;
            task.settings.drive_group = None;
            task.settings.drive = Some(number);
            task.settings.store = drive.store;
        }
        Some(Place::Group(name)) => {
            let group = catalog.drive_group(name)?;
            let drives = catalog.drives()?;
            let stores: Vec<_> = drives
                .iter()
                .filter(|drive| group.drives.contains(&drive.number))
                .map(|drive| drive.store)
                .collect();
            let last = catalog.last_store_of(&task.settings.client, &task.settings.name)?;
            let store = last.filter(|last| stores.contains(last)).or(stores.first().copied());
            task.settings.store = store
                .ok_or_else(|| OrderError::Refused(format!("drive group '{name}' has no drive")))?;
            task.settings.drive = None;
            task.settings.drive_group = Some(name.clone());
        }
    }
    let level = event.level.unwrap_or(Level::Incr);
    let mut new = backup_of(task, level, by, event.interface.as_slice())?;
    new.waiting = waiting;
    Ok(new)
}

/// A datastore, or the newest saveset of a task.
fn verification(
    catalog: &Catalog,
    document: &EventDocument,
    subject: &str,
    waiting: Waiting,
    by: String,
) -> Result<NewJob, OrderError> {
    let wish = Wish::Verify(VerifyWish {
        depth: document.depth.unwrap_or(VerifyDepth::Bytes),
        keys_to_device: false,
    });
    if catalog.datastores()?.iter().any(|one| one.name == subject) {
        if let Some(budget) = document.scrub {
            let wish = Wish::Scrub(ScrubWish { budget });
            return whole(catalog, JobKind::Scrub, subject, &wish, waiting, by);
        }
        return whole(catalog, JobKind::Verify, subject, &wish, waiting, by);
    }
    if document.scrub.is_some() {
        return Err(OrderError::Refused(format!(
            "a scrub is of a datastore, and there is none '{subject}'"
        )));
    }
    let Some(saveset) = newest_of_task(catalog, subject)? else {
        return Err(OrderError::Refused(format!("task '{subject}' has no saveset yet")));
    };
    let datastore = catalog.datastore_with_id(saveset.store)?;
    let mut new = whole(catalog, JobKind::Verify, &datastore.name, &wish, waiting, by)?;
    new.saveset = Some(saveset.saveset);
    new.task_name = subject.to_owned();
    Ok(new)
}

/// A job that a device does on all of a datastore.
fn whole(
    catalog: &Catalog,
    kind: JobKind,
    name: &str,
    wish: &Wish,
    waiting: Waiting,
    by: String,
) -> Result<NewJob, OrderError> {
    let datastore = catalog.datastore(name)?;
    if datastore.state != DatastoreState::Active {
        return Err(OrderError::Refused(format!("datastore '{name}' is out of service")));
    }
    Ok(whole_datastore(&datastore, kind, wish, by, waiting)?)
}
