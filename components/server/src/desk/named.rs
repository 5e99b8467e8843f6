//! Names by which lists are asked for. One that nothing has, nor ever had, is a slip of the pen, and said; what was
//! removed still has its jobs and savesets.

use simsim_catalog::{Catalog, CatalogError, JobFilter, RunFilter, SavesetFilter};

use crate::ServerError;

/// Whether anything is or was called like this task; else the error that says so.
pub(crate) fn check_task(
    catalog: &Catalog,
    name: &str,
) -> Result<Option<ServerError>, CatalogError> {
    let tasks = catalog.tasks()?;
    if tasks.iter().any(|task| task.settings.name == name) {
        return Ok(None);
    }
    let task_name = Some(name.to_owned());
    let jobs = JobFilter { task_name: task_name.clone(), limit: 1, ..JobFilter::default() };
    let savesets = SavesetFilter {
        task_name,
        missing_too: true,
        deleted_too: true,
        limit: 1,
        ..SavesetFilter::default()
    };
    if !catalog.jobs(&jobs)?.is_empty() || !catalog.savesets(&savesets)?.is_empty() {
        return Ok(None);
    }
    let names = tasks.into_iter().map(|task| task.settings.name);
    Ok(Some(ServerError::not_found_near("task", name, names)))
}

/// Whether anything is or was called like this event; else the error that says so.
pub(crate) fn check_event(
    catalog: &Catalog,
    name: &str,
) -> Result<Option<ServerError>, CatalogError> {
    let events = catalog.events()?;
    if events.iter().any(|event| event.name == name) {
        return Ok(None);
    }
    let event = Some(name.to_owned());
    let jobs = JobFilter { event: event.clone(), limit: 1, ..JobFilter::default() };
    let runs = RunFilter { event, limit: 1, ..RunFilter::default() };
    if !catalog.jobs(&jobs)?.is_empty() || !catalog.runs(&runs)?.is_empty() {
        return Ok(None);
    }
    let names = events.into_iter().map(|event| event.name);
    Ok(Some(ServerError::not_found_near("event", name, names)))
}

/// At most three names that are near enough to be what was meant, the best first.
pub(crate) fn nearest_names(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let mut near: Vec<(f64, String)> = names
        .map(|name| (strsim::jaro_winkler(wanted, &name), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|one, other| other.0.total_cmp(&one.0));
    near.into_iter().take(3).map(|(_, name)| name).collect()
}
