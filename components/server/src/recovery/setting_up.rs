//! The task and the event by which a server backs itself up each day: made by itself, once, as soon as there is
//! a recovery kit and a datastore. From then on they are an administrator's like any others.

use serde_json::json;
use simsim_catalog::{Catalog, CatalogError, DatastoreState, SavesetFilter, Task};
use simsim_format::{KitProof, WrappingKey};
use simsim_model::{Level, TargetKind};

use super::{SELF_BACKUP_SOURCE, is_self_backup};
use crate::api::{AddPoolRequest, EventRequest, TaskOptions, TaskRequest};
use crate::clock::lasting_ms;
use crate::house::House;
use crate::jobs::backup_of;
use crate::keys::wrap_for_kits;
use crate::rights::Principal;
use crate::{Server, ServerError};

/// The name of pool, task and event.
const NAME: &str = "self-backup";
/// Remembers that they were made, so that what somebody removed stays removed.
const DONE: &str = "self-backup.set-up";
/// How long they are kept: small, and the newest counts.
const POLICY: &str = "last 7, daily 14, weekly 8, monthly 12";
const WHEN: &str = "daily 05:00 within 12h";
/// A server that was not backed up for so long says so.
const OVERDUE_MS: i64 = 2 * 86_400_000;

/// Makes pool, task and event, where there is a kit and a datastore and they were not made before. What goes
/// wrong is said in the log, and tried again with the next occasion.
pub(crate) async fn set_up(server: &Server) {
    if let Err(error) = try_set_up(server).await {
        let error = error.full_message();
        tracing::warn!(%error, "that the server backs itself up could not be set up");
    }
}

async fn try_set_up(server: &Server) -> Result<(), ServerError> {
    let house = &server.house;
    let own = house.nodes.own();
    let (done, mut datastores, tasks) = house
        .books
        .run(|catalog| {
            Ok((catalog.setting(DONE)?.is_some(), catalog.datastores()?, self_tasks(catalog)?))
        })
        .await?;
    if done || house.kit.wrapping_key(&house.books).await?.is_none() {
        return Ok(());
    }
    datastores.retain(|one| one.state == DatastoreState::Active);
    // On another host, where there is one: what is lost with this host does not bring it back.
    let chosen = datastores.iter().find(|one| one.device != own).or(datastores.first());
    let Some(datastore) = chosen else { return Ok(()) };
    let all = Principal::local_root().grants().to_vec();
    let who = Principal::with_grants("server", all);
    if tasks.is_empty() {
        let pool = AddPoolRequest {
            name: NAME.to_owned(),
            policy: POLICY.to_owned(),
            datastore: None,
            drive: None,
            drive_group: None,
        };
        unless_there(server.add_pool(&who, pool).await.map(drop))?;
        let task = TaskRequest {
            name: NAME.to_owned(),
            client: house.own_name.clone(),
            kind: TargetKind::Stream,
            sources: vec![SELF_BACKUP_SOURCE.to_owned()],
            excludes: Vec::new(),
            options: TaskOptions { self_backup: true, ..TaskOptions::default() },
            datastore: Some(datastore.name.clone()),
            drive: None,
            drive_group: None,
            pool: Some(NAME.to_owned()),
            eol_days: 0,
        };
        server.add_task(&who, task).await?;
        let event = json!({ "name": NAME, "subjects": [NAME], "at": WHEN, "retries": 3 });
        let event: EventRequest = serde_json::from_value(event).map_err(|error| {
            ServerError::Lost(format!("the event of the server's backup: {error}"))
        })?;
        unless_there(server.add_event(&who, event).await.map(drop))?;
        tracing::info!(datastore = %datastore.name, "from now on the server backs itself up: {WHEN}");
    }
    house.books.run(|catalog| catalog.set_setting(DONE, b"yes")).await
}

/// Queues a backup of the server by each task that is one. What goes wrong is said in the log: the event of
/// that task comes all the same.
pub(crate) async fn back_up_now(server: &Server) {
    let queued = async {
        for task in server.house.books.run(self_tasks).await? {
            server.queue(backup_of(task, Level::Incr, "server".to_owned(), &[])?).await?;
        }
        Ok::<(), ServerError>(())
    };
    if let Err(error) = queued.await {
        let error = error.full_message();
        tracing::warn!(%error, "the backup of the server for its new kit could not be queued");
    }
}

/// After a backup of the server for this kit: the one before opens nothing any more that is needed, once somebody has shown
/// that this one is kept. Until then whoever has the one before only gets everything back by an older backup of the server.
pub(crate) async fn let_old_kit_go(house: &House, kit: &WrappingKey, task: &str) {
    let gone = async {
        let Some(KitProof::Proven { unix_ms }) = house.kit.proof(&house.books).await? else {
            return Ok(());
        };
        let kits = house.kit.wrapping_keys(&house.books).await?;
        if kits.first() != Some(kit) || kits.len() < 2 {
            return Ok(());
        }
        // Another datastore may hold backups of the server too, which only the kit before opens.
        let task = task.to_owned();
        if !house.books.run(move |catalog| others_are_since(catalog, &task, unix_ms)).await? {
            return Ok(());
        }
        wrap_for_kits(house, std::slice::from_ref(kit)).await?;
        house.kit.forget_before(&house.books).await?;
        tracing::info!("the recovery kit before the one of now opens nothing any more");
        Ok::<(), ServerError>(())
    };
    if let Err(error) = gone.await {
        let error = error.full_message();
        tracing::warn!(%error, "the keys could not be wrapped for the kit of now alone");
    }
}

/// Whether every task that backs up the server, beside one that has just done so, has done it since.
fn others_are_since(
    catalog: &Catalog,
    beside: &str,
    since_unix_ms: i64,
) -> Result<bool, CatalogError> {
    for task in self_tasks(catalog)?.into_iter().filter(|one| one.settings.name != beside) {
        let newest = newest_of(catalog, task)?;
        if newest.is_some_and(|newest| newest < since_unix_ms) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A name that is taken is somebody's, or of a try that ended early.
fn unless_there(made: Result<(), ServerError>) -> Result<(), ServerError> {
    match made {
        Err(ServerError::Catalog(CatalogError::Exists { .. })) => Ok(()),
        other => other,
    }
}

fn self_tasks(catalog: &Catalog) -> Result<Vec<Task>, CatalogError> {
    let is_own = |task: &Task| {
        let options = serde_json::from_str(&task.settings.options).unwrap_or_default();
        is_self_backup(task.settings.kind, &options)
    };
    Ok(catalog.tasks()?.into_iter().filter(is_own).collect())
}

/// When the newest backup of the server was made that has no problems.
pub(crate) fn newest_self_backup(catalog: &Catalog) -> Result<Option<i64>, CatalogError> {
    let mut newest = None;
    for task in self_tasks(catalog)? {
        newest = newest.max(newest_of(catalog, task)?);
    }
    Ok(newest)
}

fn newest_of(catalog: &Catalog, task: Task) -> Result<Option<i64>, CatalogError> {
    let filter = SavesetFilter {
        client_name: Some(task.settings.client),
        task_name: Some(task.settings.name),
        limit: 1,
        ..SavesetFilter::default()
    };
    let newest = catalog.savesets(&filter)?.into_iter().next();
    Ok(newest.map(|saveset| saveset.committed_unix_ns.div_euclid(1_000_000)))
}

/// What somebody should act on. Of a server that has datastores and a kit.
pub(crate) fn self_backup_warning(
    catalog: &Catalog,
    now_unix_ms: i64,
) -> Result<Option<String>, CatalogError> {
    let tasks = self_tasks(catalog)?;
    let Some(since) = tasks.iter().map(|task| task.created_unix_ms).min() else {
        return Ok((!catalog.datastores()?.is_empty()).then(|| {
            "this server does not back itself up: 'simsim task add self-backup --self-backup', and an event \
             for it"
                .to_owned()
        }));
    };
    let newest = newest_self_backup(catalog)?;
    let ago = now_unix_ms.saturating_sub(newest.unwrap_or(since));
    if ago <= OVERDUE_MS {
        return Ok(None);
    }
    let run = format!("simsim backup {}", tasks.first().map_or(NAME, |task| &task.settings.name));
    Ok(Some(match newest {
        Some(_) => format!("this server was backed up {} ago last: '{run}'", lasting_ms(ago)),
        None => format!("this server itself was never backed up: '{run}'"),
    }))
}
