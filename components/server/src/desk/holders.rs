//! Who names an object where only the server can read it: rights that somebody holds for it, and notifications. With
//! what the catalog knows they are all that is said when it cannot be removed.

use simsim_catalog::{Catalog, CatalogError};

use crate::api::NotificationRequest;
use crate::notices;
use crate::people::{Scope, granted_for};

/// Who holds rights for a task, and which notifications are of it.
pub(super) fn of_task(catalog: &Catalog, name: &str) -> Result<Vec<String>, CatalogError> {
    let mut by = granted_for(catalog, Scope::Task(name))?;
    by.extend(told(catalog, |request| request.tasks.iter().any(|one| one == name))?);
    Ok(by)
}

/// What belongs to a client: its tasks and commands, and the datastores that it serves.
pub(super) fn belongings_of(catalog: &Catalog, name: &str) -> Result<Vec<String>, CatalogError> {
    let client = catalog.client(name)?.id;
    let mut by = Vec::new();
    let tasks = catalog.tasks()?.into_iter().filter(|task| task.client_id == client);
    by.extend(tasks.map(|task| format!("task '{}'", task.settings.name)));
    let commands = catalog.commands()?.into_iter().filter(|one| one.client_id == client);
    by.extend(commands.map(|one| format!("command '{}'", one.name)));
    let datastores = catalog.datastores()?.into_iter().filter(|one| one.device == client);
    by.extend(datastores.map(|one| format!("datastore '{}'", one.name)));
    Ok(by)
}

/// What names a client besides: events, replications, migrations, notifications, and who holds rights for it.
pub(super) fn of_client(catalog: &Catalog, name: &str) -> Result<Vec<String>, CatalogError> {
    let mut by = catalog.users_of("client", name)?;
    let is_it = |named: &Option<String>| named.as_deref() == Some(name);
    let relations = catalog.replications()?.into_iter().filter(|one| is_it(&one.client_name));
    by.extend(relations.map(|one| format!("replication '{}'", one.name)));
    let migrations = catalog.migrations()?.into_iter().filter(|one| is_it(&one.client_name));
    by.extend(migrations.map(|one| format!("migration '{}'", one.name)));
    by.extend(told(catalog, |request| request.clients.iter().any(|one| one == name))?);
    by.extend(granted_for(catalog, Scope::Client(name))?);
    Ok(by)
}

/// The notifications that name something, by name.
fn told(
    catalog: &Catalog,
    names: impl Fn(&NotificationRequest) -> bool,
) -> Result<Vec<String>, CatalogError> {
    let rows = catalog.notifications()?.into_iter();
    let naming = rows.filter(|row| notices::request_of(row).is_ok_and(|request| names(&request)));
    Ok(naming.map(|row| format!("notification '{}'", row.name)).collect())
}
