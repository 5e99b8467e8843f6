//! Task groups: many tasks under one name, for one event.

use rusqlite::params;

use crate::CatalogError;
use crate::catalog::Catalog;
use crate::cells::Cells;
use crate::schedules::Put;
use crate::sql::{Optional, Session};
use crate::tasks::task_by_name;
use crate::uses::refuse_used;

/// One group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskGroup {
    pub name: String,
    /// Names of its tasks, sorted; none is allowed.
    pub tasks: Vec<String>,
    pub created_unix_ms: i64,
}

impl Catalog {
    /// Makes a group of these tasks, or gives one these and no others. Errors: exists, `NotFound`, as
    /// `put` says; `NotFound` for a task; `Invalid` for a task of the same name.
    pub fn put_task_group(
        &self,
        put: Put,
        name: &str,
        tasks: &[String],
        now_unix_ms: i64,
    ) -> Result<TaskGroup, CatalogError> {
        self.write("keep a task group", |transaction| {
            match (put, by_name(transaction, name)?) {
                (Put::Add, Some(_)) => return Err(CatalogError::exists("task group", name)),
                (Put::Change, None) => return Err(CatalogError::not_found("task group", name)),
                (Put::Add, None) => {
                    transaction.execute(
                        "INSERT INTO task_groups (name, created_unix_ms) VALUES (?1, ?2)",
                        params![name, now_unix_ms],
                    )?;
                }
                (Put::Change, Some(_)) => {
                    transaction
                        .execute("DELETE FROM task_group_tasks WHERE task_group = ?1", [name])?;
                }
            }
            let mut ids = Vec::new();
            for task in tasks {
                ids.push(task_by_name(transaction, task)?.id.0);
            }
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                transaction.execute(
                    "INSERT INTO task_group_tasks (task_group, task) VALUES (?1, ?2)",
                    params![name, id],
                )?;
            }
            there(transaction, name)
        })
    }

    /// All groups, by name.
    pub fn task_groups(&self) -> Result<Vec<TaskGroup>, CatalogError> {
        self.read("list task groups", |catalog| {
            let mut ask = catalog.prepare_cached("SELECT name FROM task_groups ORDER BY name")?;
            let names: Vec<String> =
                ask.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            names.iter().map(|name| there(catalog, name)).collect()
        })
    }

    /// One group. Errors: `NotFound`.
    pub fn task_group(&self, name: &str) -> Result<TaskGroup, CatalogError> {
        self.read("look up a task group", |catalog| there(catalog, name))
    }

    /// Removes a group; its tasks stay. Errors: `NotFound`; `Busy` while an event names it.
    pub fn delete_task_group(&self, name: &str) -> Result<(), CatalogError> {
        self.write("remove a task group", |transaction| {
            there(transaction, name)?;
            refuse_used(transaction, "task group", name)?;
            transaction.execute("DELETE FROM task_group_tasks WHERE task_group = ?1", [name])?;
            transaction.execute("DELETE FROM task_groups WHERE name = ?1", [name])?;
            Ok(())
        })
    }
}

/// The groups that a task is in, by name.
pub(crate) fn groups_of(catalog: &Session<'_>, task: i64) -> Result<Vec<String>, CatalogError> {
    let mut ask = catalog.prepare_cached(
        "SELECT task_group FROM task_group_tasks WHERE task = ?1 ORDER BY task_group",
    )?;
    let names = ask.query_map([task], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

fn by_name(catalog: &Session<'_>, name: &str) -> Result<Option<TaskGroup>, CatalogError> {
    let created: Option<i64> = catalog
        .query_row("SELECT created_unix_ms FROM task_groups WHERE name = ?1", [name], |row| {
            row.get(0)
        })
        .optional()?;
    let Some(created_unix_ms) = created else { return Ok(None) };
    let mut ask = catalog.prepare_cached(
        "SELECT tasks.name AS name FROM task_group_tasks
         JOIN tasks ON tasks.task = task_group_tasks.task
         WHERE task_group = ?1 ORDER BY tasks.name",
    )?;
    let mut rows = ask.query([name])?;
    let mut tasks = Vec::new();
    while let Some(row) = rows.next()? {
        tasks.push(Cells::new("tasks", row).get("name")?);
    }
    Ok(Some(TaskGroup { name: name.to_owned(), tasks, created_unix_ms }))
}

fn there(catalog: &Session<'_>, name: &str) -> Result<TaskGroup, CatalogError> {
    by_name(catalog, name)?.ok_or_else(|| CatalogError::not_found("task group", name))
}
