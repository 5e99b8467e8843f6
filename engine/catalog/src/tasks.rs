//! Tasks: what to back up, from which client, into which datastore.

use rusqlite::params;
use serde::{Deserialize, Serialize};
use simsim_model::{StoreId, TargetKind, escape_path, unescape_path};

use crate::catalog::{Catalog, next_number};
use crate::cells::{Cells, json_cell};
use crate::clients::{client_by_id, client_by_name};
use crate::pools::pool_cell;
use crate::sql::{Optional, Session};
use crate::task_groups::groups_of;
use crate::uses::{add_named, add_open_jobs, refuse_held, users};
use crate::{CatalogError, ClientId};

/// The number of a task row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub i64);

/// What a person decides about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSettings {
    pub name: String,
    /// Name of the client that reads.
    pub client: String,
    pub kind: TargetKind,
    /// Absolute paths of any bytes; for a stream the name it is stored under.
    pub sources: Vec<Vec<u8>>,
    /// In the syntax of gitignore.
    pub excludes: Vec<String>,
    /// Further options, a JSON object that the Server understands.
    pub options: String,
    /// With a drive group: where its last job went, else one of the group's.
    pub store: StoreId,
    /// Any drive of this group, in place of one datastore's.
    pub drive_group: Option<String>,
    /// Only this drive; `None`: any drive of the datastore.
    pub drive: Option<u32>,
    /// The media pool of its savesets; `None`: the default one.
    pub pool: Option<String>,
    /// Days from its commit for which a saveset cannot be removed; 0: no lock.
    pub eol_days: u32,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub client_id: ClientId,
    pub settings: TaskSettings,
    pub created_unix_ms: i64,
}

const COLUMNS: &str =
    "task, tasks.name AS name, tasks.client AS client, clients.name AS client_name, kind, sources,
    excludes, options, store, drive_group, drive, pool, eol_days, created_unix_ms
    FROM tasks JOIN clients ON clients.client = tasks.client";

impl Catalog {
    /// Adds a task. Errors: `Invalid` for a name that is taken or a drive of another datastore,
    /// `NotFound` for a client that is not enrolled.
    pub fn add_task(
        &self,
        settings: &TaskSettings,
        now_unix_ms: i64,
    ) -> Result<Task, CatalogError> {
        self.write("add a task", |transaction| {
            let taken: Option<i64> = transaction
                .query_row("SELECT task FROM tasks WHERE name = ?1", [&settings.name], |row| {
                    row.get(0)
                })
                .optional()?;
            if taken.is_some() {
                return Err(CatalogError::exists("task", &settings.name));
            }
            let client = client_by_name(transaction, &settings.client)?;
            drive_belongs(transaction, settings)?;
            let id = next_number(transaction, "task")?;
            transaction.execute(
                "INSERT INTO tasks (task, name, client, kind, sources, excludes, options, store,
                     drive, eol_days, created_unix_ms, drive_group, pool)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                params![
                    id,
                    settings.name,
                    client.id.0,
                    kind_cell(settings.kind),
                    sources_cell(&settings.sources)?,
                    json_cell(&settings.excludes)?,
                    settings.options,
                    settings.store.as_bytes(),
                    settings.drive,
                    settings.eol_days,
                    now_unix_ms,
                    settings.drive_group,
                    pool_cell(transaction, settings.pool.as_deref())?
                ],
            )?;
            task_by_name(transaction, &settings.name)
        })
    }

    /// Changes everything of a task but its name and its client, which its savesets bear.
    pub fn change_task(&self, settings: &TaskSettings) -> Result<Task, CatalogError> {
        self.write("change a task", |transaction| {
            let task = task_by_name(transaction, &settings.name)?;
            let client = client_by_id(transaction, task.client_id)?;
            if client.name != settings.client {
                return Err(CatalogError::invalid(format!(
                    "task '{}' belongs to client '{}': add another task for client '{}'",
                    settings.name, client.name, settings.client
                )));
            }
            drive_belongs(transaction, settings)?;
            transaction.execute(
                "UPDATE tasks SET kind = ?2, sources = ?3, excludes = ?4, options = ?5, store = ?6,
                     drive = ?7, eol_days = ?8, drive_group = ?9, pool = ?10
                 WHERE task = ?1",
                params![
                    task.id.0,
                    kind_cell(settings.kind),
                    sources_cell(&settings.sources)?,
                    json_cell(&settings.excludes)?,
                    settings.options,
                    settings.store.as_bytes(),
                    settings.drive,
                    settings.eol_days,
                    settings.drive_group,
                    pool_cell(transaction, settings.pool.as_deref())?
                ],
            )?;
            task_by_name(transaction, &settings.name)
        })
    }

    /// Removes a task. Its jobs and savesets stay. `held`: who uses it besides those that the catalog knows. Errors:
    /// `Busy` with all of them while an event, a task group, a replication or a migration names it, or a job of it has
    /// not ended.
    pub fn delete_task(&self, name: &str, held: &[String]) -> Result<(), CatalogError> {
        self.write("delete a task", |transaction| {
            let task = task_by_name(transaction, name)?;
            let mut by = users(transaction, "task", name)?;
            let groups = groups_of(transaction, task.id.0)?;
            by.extend(groups.iter().map(|group| format!("task group '{group}'")));
            for (noun, table) in [("replication", "replications"), ("migration", "migrations")] {
                let ask = format!("SELECT name FROM {table} WHERE task_name = ?1 ORDER BY name");
                add_named(transaction, &mut by, noun, &ask, &name)?;
            }
            by.extend_from_slice(held);
            add_open_jobs(transaction, &mut by, "task", &task.id.0)?;
            refuse_held("task", name, by)?;
            transaction.execute("DELETE FROM tasks WHERE task = ?1", [task.id.0])?;
            Ok(())
        })
    }

    /// One task. Errors: `NotFound`.
    pub fn task(&self, name: &str) -> Result<Task, CatalogError> {
        self.read("look up a task", |catalog| task_by_name(catalog, name))
    }

    /// All tasks by name.
    pub fn tasks(&self) -> Result<Vec<Task>, CatalogError> {
        self.read("list tasks", |catalog| {
            let mut ask =
                catalog.prepare_cached(&format!("SELECT {COLUMNS} ORDER BY tasks.name"))?;
            let mut rows = ask.query([])?;
            let mut tasks = Vec::new();
            while let Some(row) = rows.next()? {
                tasks.push(from_row(&Cells::new("tasks", row))?);
            }
            Ok(tasks)
        })
    }
}

fn drive_belongs(catalog: &Session<'_>, settings: &TaskSettings) -> Result<(), CatalogError> {
    if let Some(group) = &settings.drive_group {
        if settings.drive.is_some() {
            return Err(CatalogError::invalid("a task has a drive group or a drive, not both"));
        }
        let known: Option<String> = catalog
            .query_row("SELECT name FROM drive_groups WHERE name = ?1", [group], |row| row.get(0))
            .optional()?;
        return match known {
            Some(_) => Ok(()),
            None => Err(CatalogError::not_found("drive group", group)),
        };
    }
    let Some(drive) = settings.drive else { return Ok(()) };
    let store: Option<Vec<u8>> = catalog
        .query_row(
            "SELECT store FROM drives WHERE drive = ?1 AND removed_unix_ms IS NULL",
            [drive],
            |row| row.get(0),
        )
        .optional()?;
    match store {
        None => Err(CatalogError::not_found("drive", drive)),
        Some(store) if store == settings.store.as_bytes() => Ok(()),
        Some(_) => Err(CatalogError::invalid(format!(
            "drive {drive} leads to another datastore than the task's"
        ))),
    }
}

pub(crate) fn task_by_name(catalog: &Session<'_>, name: &str) -> Result<Task, CatalogError> {
    let mut ask = catalog.prepare_cached(&format!("SELECT {COLUMNS} WHERE tasks.name = ?1"))?;
    let mut rows = ask.query([name])?;
    match rows.next()? {
        Some(row) => from_row(&Cells::new("tasks", row)),
        None => Err(CatalogError::not_found("task", name)),
    }
}

fn kind_cell(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Path => "path",
        TargetKind::Stream => "stream",
    }
}

fn kind_from_cell(text: &str) -> Option<TargetKind> {
    [TargetKind::Path, TargetKind::Stream].into_iter().find(|kind| kind_cell(*kind) == text)
}

/// Paths of any bytes as a JSON array of escaped texts.
fn sources_cell(sources: &[Vec<u8>]) -> Result<String, CatalogError> {
    json_cell(&sources.iter().map(|path| escape_path(path)).collect::<Vec<_>>())
}

fn from_row(cells: &Cells<'_>) -> Result<Task, CatalogError> {
    let sources = cells
        .json::<Vec<String>>("sources")?
        .iter()
        .map(|text| unescape_path(text).ok_or_else(|| cells.bad("sources", text)))
        .collect::<Result<_, _>>()?;
    Ok(Task {
        id: TaskId(cells.get("task")?),
        client_id: ClientId(cells.get("client")?),
        settings: TaskSettings {
            name: cells.get("name")?,
            client: cells.get("client_name")?,
            kind: cells.word("kind", kind_from_cell)?,
            sources,
            excludes: cells.json("excludes")?,
            options: cells.get("options")?,
            store: cells.id("store")?,
            drive_group: cells.get("drive_group")?,
            drive: cells.get("drive")?,
            pool: cells.get("pool")?,
            eol_days: cells.get("eol_days")?,
        },
        created_unix_ms: cells.get("created_unix_ms")?,
    })
}
