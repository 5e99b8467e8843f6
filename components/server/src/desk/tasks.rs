//! Tasks.

use std::collections::HashMap;

use simsim_catalog::{
    Catalog, DEFAULT_POOL, Datastore, JobFilter, JobKind, SavesetFilter, StoreNames, Task,
    TaskSettings,
};
use simsim_model::{TargetKind, escape_path};

use super::commands::check_commands;
use super::datastores::check_name;
use super::holders;
use super::interfaces::CHOOSING;
use super::pools::PoolPlace;
use crate::api::{TaskHealth, TaskNameRequest, TaskOptions, TaskRequest, TaskView};
use crate::clock::now_unix_ms;
use crate::jobs::paths_of;
use crate::recovery::SELF_BACKUP_SOURCE;
use crate::rights::{Grant, Object, Principal, Right};
use crate::streams::{is_external, refuse_held_key};
use crate::{Server, ServerError, health};

/// Sources and patterns of one task, so that the order to the client stays one message.
const ITEMS_MAX: usize = 1000;
const ITEMS_BYTES_MAX: usize = 256 * 1024;

/// What a change of days or of the pool comes to.
const KEEPS: &str = "change how long is kept what was saved by";

impl Server {
    /// Adds a task.
    pub async fn add_task(
        &self,
        who: &Principal,
        request: TaskRequest,
    ) -> Result<TaskView, ServerError> {
        let _choosing = CHOOSING.lock().await;
        let settings = self.settings_of(&request, None).await?;
        let object = Object::Client(&request.client);
        // What an earlier task of this name left goes by the new days.
        if settings.eol_days != 0 {
            let filter = SavesetFilter {
                client_name: Some(request.client.clone()),
                task_name: Some(request.name.clone()),
                limit: 1,
                ..SavesetFilter::default()
            };
            let left = self.house.books.run(move |catalog| catalog.savesets(&filter)).await?;
            if !left.is_empty() {
                let object = Object::task(&settings);
                self.may_see(who, Right::Delete, KEEPS, object).await?;
            }
        }
        let pool = settings.pool.as_deref().unwrap_or(DEFAULT_POOL);
        let as_task = Object::task(&settings);
        self.gains_nothing(who, "task.add", &Grant::of_pool(pool), as_task).await?;
        self.may_do(who, Right::Administer, "task.add", object, request.name.clone()).await?;
        let task =
            self.house.books.run(move |catalog| catalog.add_task(&settings, now_unix_ms())).await?;
        self.task_view(task).await
    }

    /// Changes a task; everything but its name and client is replaced.
    pub async fn change_task(
        &self,
        who: &Principal,
        request: TaskRequest,
    ) -> Result<TaskView, ServerError> {
        let _choosing = CHOOSING.lock().await;
        let name = request.name.clone();
        let there = self.house.books.run(move |catalog| catalog.task(&name)).await;
        // What cannot be a task is refused whether it is there or not.
        let settings =
            self.settings_of(&request, there.as_ref().ok().map(|task| &task.settings)).await?;
        let there = there?.settings;
        self.may_see(who, Right::Administer, "task.change", Object::task(&there)).await?;
        let object = Object::task(&settings);
        // Savesets of before go by the new days and the new pool too.
        if (there.eol_days, &there.pool) != (settings.eol_days, &settings.pool) {
            self.may_see(who, Right::Delete, KEEPS, object).await?;
        }
        if there.pool != settings.pool {
            let pool = settings.pool.as_deref().unwrap_or(DEFAULT_POOL);
            self.gains_nothing(who, "task.change", &Grant::of_pool(pool), object).await?;
        }
        self.may_do(who, Right::Administer, "task.change", object, request.name.clone()).await?;
        let task = self.house.books.run(move |catalog| catalog.change_task(&settings)).await?;
        self.task_view(task).await
    }

    /// The tasks of clients that the caller may see, by name.
    pub async fn tasks(&self, who: &Principal) -> Result<Vec<TaskView>, ServerError> {
        self.tasks_that(who, |_| true).await
    }

    /// Those of them that are wanted.
    pub(super) async fn tasks_that(
        &self,
        who: &Principal,
        wanted: impl Fn(&TaskSettings) -> bool + Send,
    ) -> Result<Vec<TaskView>, ServerError> {
        let mut tasks = self.house.books.run(|catalog| catalog.tasks()).await?;
        tasks.retain(|task| who.may(Right::View, Object::task(&task.settings)));
        if tasks.is_empty() {
            self.may_see(who, Right::View, "list tasks", Object::Suite).await?;
        }
        tasks.retain(|task| wanted(&task.settings));
        let health = self.health().await?;
        let mut views = Vec::new();
        for task in tasks {
            views.push(self.task_view_with(task, &health).await?);
        }
        Ok(views)
    }

    /// One task.
    pub async fn task(
        &self,
        who: &Principal,
        request: TaskNameRequest,
    ) -> Result<TaskView, ServerError> {
        let task = self.house.books.run(move |catalog| catalog.task(&request.name)).await?;
        let object = Object::task(&task.settings);
        self.may_see(who, Right::View, "see a task of", object).await?;
        self.task_view(task).await
    }

    /// Removes a task. Its savesets and the history of its jobs stay.
    pub async fn delete_task(
        &self,
        who: &Principal,
        request: TaskNameRequest,
    ) -> Result<(), ServerError> {
        let name = request.name.clone();
        let task = self.house.books.run(move |catalog| catalog.task(&name)).await?;
        let object = Object::task(&task.settings);
        if task.settings.eol_days != 0 {
            self.may_see(who, Right::Delete, KEEPS, object).await?;
        }
        self.may_do(who, Right::Administer, "task.delete", object, request.name.clone()).await?;
        self.house
            .books
            .run(move |catalog| {
                let held = holders::of_task(catalog, &request.name)?;
                catalog.delete_task(&request.name, &held)
            })
            .await
    }

    /// Refuses to bring something to a place for which whoever does it holds rights that they do not hold for it.
    pub(super) async fn gains_nothing(
        &self,
        who: &Principal,
        verb: &'static str,
        place: &Grant,
        object: Object<'_>,
    ) -> Result<(), ServerError> {
        let gained = who.gained_by(place, object);
        let Some(right) = gained.first() else { return Ok(()) };
        let refusal = ServerError::Refused(format!(
            "{verb}: you hold '{}' for what belongs there, and not for {object}: somebody else brings it there",
            right.as_str()
        ));
        self.write_down(who, verb, object.to_string(), false, refusal.to_string()).await?;
        Err(refusal)
    }

    /// `there`: the task that is changed. Where nothing says otherwise it goes where it went, whatever other datastores
    /// there are by now: the same request once more changes nothing.
    async fn settings_of(
        &self,
        request: &TaskRequest,
        there: Option<&TaskSettings>,
    ) -> Result<TaskSettings, ServerError> {
        check_name(&request.name)?;
        let sources = sources_of(&request.sources, request.kind)?;
        if sources.is_empty() {
            return Err(ServerError::invalid(format!(
                "task '{}' needs at least one source",
                request.name
            )));
        }
        check_size(&sources, &request.excludes)?;
        check_commands(&request.options)?;
        self.check_choices(&request.options.interfaces).await?;
        let place = PoolPlace {
            datastore: request.datastore.clone(),
            drive: request.drive,
            drive_group: request.drive_group.clone(),
        };
        let place = self.place_in_pool(request.pool.as_deref(), place).await?;
        let request = &TaskRequest {
            datastore: place.datastore,
            drive: place.drive,
            drive_group: place.drive_group,
            ..request.clone()
        };
        let store = match &request.drive_group {
            Some(group) => {
                self.check_group(request, group)?;
                self.store_of_group(group, &request.client, &request.name).await?
            }
            None => {
                let stays = there
                    .filter(|there| request.datastore.is_none() && there.drive_group.is_none())
                    .map(|there| there.store);
                let datastore = match stays {
                    Some(store) => {
                        let read = move |catalog: &Catalog| catalog.datastore_with_id(store);
                        self.house.books.run(read).await?
                    }
                    None => self.house.datastore(request.datastore.clone()).await?,
                };
                self.check_external(request, &datastore).await?;
                datastore.store
            }
        };
        Ok(TaskSettings {
            name: request.name.clone(),
            client: request.client.clone(),
            kind: request.kind,
            sources,
            excludes: request.excludes.clone(),
            options: serde_json::to_string(&request.options)
                .map_err(|error| ServerError::Lost(error.to_string()))?,
            store,
            drive_group: request.drive_group.clone(),
            drive: request.drive,
            pool: request.pool.clone(),
            eol_days: request.eol_days,
        })
    }

    /// What cannot stand beside a drive group.
    fn check_group(&self, request: &TaskRequest, group: &str) -> Result<(), ServerError> {
        refuse_beside_group(group, request.datastore.as_deref(), request.drive)?;
        let options = &request.options;
        if options.self_backup {
            return Err(ServerError::invalid(
                "a backup of the server itself goes into one datastore, so that it is found there when \
                 nothing else is left: name the datastore in place of a drive group",
            ));
        }
        if options.external || options.redirect {
            return Err(ServerError::invalid(
                "an external task goes into one datastore, so that its callers find one host: name \
                 the datastore in place of a drive group",
            ));
        }
        Ok(())
    }

    /// What an external task cannot have, and what only such a one can.
    async fn check_external(
        &self,
        request: &TaskRequest,
        datastore: &Datastore,
    ) -> Result<(), ServerError> {
        let options = &request.options;
        if options.self_backup {
            return self.check_self_backup(request);
        }
        if !is_external(request.kind, options) {
            return match options.external || options.redirect {
                true => Err(ServerError::invalid(
                    "'external' and 'redirect' are for tasks of kind 'stream' that are external",
                )),
                false => Ok(()),
            };
        }
        if options.stream_command.is_some() || !request.excludes.is_empty() {
            return Err(ServerError::invalid(
                "an external task has no command and leaves nothing out: its streams come from outside",
            ));
        }
        let (client, store) = (request.client.clone(), datastore.store);
        let domain = self
            .house
            .books
            .run(move |catalog| catalog.domain_of(store, catalog.client(&client)?.id))
            .await?;
        refuse_held_key(&request.client, datastore, domain.as_ref())
    }

    /// What a task that backs the server up cannot have.
    fn check_self_backup(&self, request: &TaskRequest) -> Result<(), ServerError> {
        let options = &request.options;
        if request.kind != TargetKind::Stream || request.sources != [SELF_BACKUP_SOURCE] {
            return Err(ServerError::invalid(format!(
                "'self_backup' is for tasks of kind 'stream' with the one source '{SELF_BACKUP_SOURCE}': \
                 'simsim task add NAME --self-backup'"
            )));
        }
        let plain = TaskOptions {
            self_backup: true,
            interfaces: options.interfaces.clone(),
            ..TaskOptions::default()
        };
        if *options != plain || !request.excludes.is_empty() {
            return Err(ServerError::invalid(
                "a backup of the server itself has no command, no streams from outside, and leaves nothing out",
            ));
        }
        if request.client != self.house.own_name {
            return Err(ServerError::invalid(format!(
                "the server itself is backed up as a task of its own host, '{}', and not of '{}'",
                self.house.own_name, request.client
            )));
        }
        Ok(())
    }

    async fn health(&self) -> Result<Vec<TaskHealth>, ServerError> {
        self.house.books.run(|catalog| health::of_tasks(catalog, now_unix_ms())).await
    }

    async fn task_view(&self, task: Task) -> Result<TaskView, ServerError> {
        let health = self.health().await?;
        self.task_view_with(task, &health).await
    }

    async fn task_view_with(
        &self,
        task: Task,
        health: &[TaskHealth],
    ) -> Result<TaskView, ServerError> {
        let health = health.iter().find(|one| one.task == task.settings.name);
        let health = health
            .map(|one| one.health.clone())
            .ok_or_else(|| ServerError::not_found("task", &task.settings.name))?;
        let (name, client) = (task.settings.name.clone(), task.client_id);
        let (last, stores): (_, HashMap<_, _>) = self
            .house
            .books
            .run(move |catalog| {
                // A restore of its files, or a try of one, says nothing about how it is saved.
                let filter = JobFilter {
                    kind: Some(JobKind::Backup),
                    task_name: Some(name),
                    client: Some(client),
                    limit: 1,
                    ..JobFilter::default()
                };
                let stores: StoreNames = catalog.datastore_names()?;
                Ok((catalog.jobs(&filter)?.into_iter().next(), stores))
            })
            .await?;
        let settings = task.settings;
        Ok(TaskView {
            options: options_of(&settings.options)?,
            datastore: stores
                .get(&settings.store)
                .cloned()
                .unwrap_or_else(|| settings.store.to_string()),
            name: settings.name,
            client: settings.client,
            kind: settings.kind,
            sources: settings.sources.iter().map(|path| escape_path(path)).collect(),
            excludes: settings.excludes,
            drive: settings.drive,
            drive_group: settings.drive_group,
            pool: settings.pool,
            eol_days: settings.eol_days,
            created_unix_ms: task.created_unix_ms,
            last_job: last.as_ref().map(|job| job.number),
            last_state: last.map(|job| job.state.as_str().to_owned()),
            health,
        })
    }
}

/// A drive group stands in place of a datastore and of a drive.
pub(crate) fn refuse_beside_group(
    group: &str,
    datastore: Option<&str>,
    drive: Option<u32>,
) -> Result<(), ServerError> {
    match (datastore, drive) {
        (None, None) => Ok(()),
        _ => Err(ServerError::invalid(format!(
            "name drive group '{group}', or a datastore and its drive, not both: any drive of the \
             group is used"
        ))),
    }
}

/// The sources of a backup from their escaped texts, fit for its kind.
pub(crate) fn sources_of(texts: &[String], kind: TargetKind) -> Result<Vec<Vec<u8>>, ServerError> {
    let sources = paths_of(texts)?;
    if kind == TargetKind::Stream {
        if sources.len() != 1 {
            return Err(ServerError::invalid(
                "a stream task has one source: the name under which the stream is kept",
            ));
        }
        return Ok(sources);
    }
    for source in &sources {
        if source.first() != Some(&b'/') {
            return Err(ServerError::invalid(format!(
                "source '{}' is not absolute: it must begin with '/'",
                escape_path(source)
            )));
        }
        if source.contains(&0) {
            return Err(ServerError::invalid(format!(
                "source '{}' holds a NUL",
                escape_path(source)
            )));
        }
    }
    Ok(sources)
}

/// Keeps the order to the client one message.
pub(crate) fn check_size(sources: &[Vec<u8>], excludes: &[String]) -> Result<(), ServerError> {
    let items = sources.len() + excludes.len();
    let bytes = sources.iter().map(Vec::len).sum::<usize>()
        + excludes.iter().map(String::len).sum::<usize>();
    if items > ITEMS_MAX || bytes > ITEMS_BYTES_MAX {
        return Err(ServerError::invalid(format!(
            "sources and excludes of one task: at most {ITEMS_MAX} items and {ITEMS_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// A task's options out of their kept text.
pub(crate) fn options_of(text: &str) -> Result<TaskOptions, ServerError> {
    serde_json::from_str(text)
        .map_err(|error| ServerError::invalid(format!("the options of a task: {error}")))
}
