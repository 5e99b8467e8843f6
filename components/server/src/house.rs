//! What the rooms of the Server share.

use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{
    Catalog, CatalogError, ClientId, Datastore, DatastoreState, Domain, Saveset, SavesetFilter,
};
use simsim_control::Identity;
use simsim_format::WrappingKey;
use simsim_model::TransferId;
use simsim_transfer::DataPorts;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ServerError;
use crate::authority::AuthorityKeeper;
use crate::books::Books;
use crate::config::ServerConfig;
use crate::jobs::Jobs;
use crate::keys::{DomainKeys, KitStore};
use crate::metrics::Figures;
use crate::nodes::Nodes;
use crate::people::People;
use crate::readiness::Readiness;
use crate::scheduler::Scheduler;
use crate::search::Searching;
use crate::streams::Arrivals;

pub(crate) struct House {
    /// `<state>/server`.
    pub folder: PathBuf,
    pub config: ServerConfig,
    /// Where the daemon's settings lie, if they lie in a file.
    pub settings_file: Option<PathBuf>,
    /// The Server's name for people.
    pub name: String,
    /// The name under which its own host is enrolled.
    pub own_name: String,
    pub identity: Identity,
    pub books: Books,
    pub nodes: Nodes,
    pub jobs: Jobs,
    /// Decides what runs by the events.
    pub scheduler: Scheduler,
    /// The search index.
    pub search: Searching,
    /// Where callers with raw streams and their jobs meet.
    pub streams: Arrivals,
    /// Seals the secrets of join codes.
    pub master: WrappingKey,
    pub domain_keys: DomainKeys,
    pub kit: KitStore,
    /// Signs certificates for the tools of others.
    pub authority: AuthorityKeeper,
    /// Those who ask over the console port.
    pub people: People,
    /// For collectors.
    pub figures: Figures,
    pub readiness: Readiness,
    pub started_unix_ms: i64,
    /// How long a job waits for a silent node, from the first moment of silence.
    pub silence_max: Duration,
    /// Transfers of ended jobs whose device could not be told so. What it commits before it is
    /// reached again is found then.
    pub unrevoked: Mutex<Vec<(ClientId, TransferId)>>,
    /// For looks into savesets by FTP in active mode.
    pub data_ports: DataPorts,
    pub stop: CancellationToken,
    /// Everything that runs beside the verbs; ends after `stop`.
    pub tasks: TaskTracker,
}

impl House {
    /// A datastore by name; without a name the only one there is.
    pub(crate) async fn datastore(&self, name: Option<String>) -> Result<Datastore, ServerError> {
        if let Some(name) = name {
            return self.books.run(move |catalog| catalog.datastore(&name)).await;
        }
        let mut active = self.books.run(|catalog| catalog.datastores()).await?;
        active.retain(|datastore| datastore.state == DatastoreState::Active);
        match active.as_slice() {
            [] => Err(ServerError::Nothing { noun: "datastore" }),
            [only] => Ok(only.clone()),
            several => {
                let names: Vec<_> = several.iter().map(|one| one.name.as_str()).collect();
                Err(ServerError::invalid(format!("say which datastore: {}", names.join(", "))))
            }
        }
    }

    /// Where a saveset is read: its datastore, or one with a copy, its domain, and a drive that leads there.
    pub(crate) async fn place_of(
        &self,
        saveset: &Saveset,
    ) -> Result<(Datastore, Domain, u32), ServerError> {
        let datastore = self.store_to_read(saveset, None, None).await?;
        let domain = saveset.domain;
        self.books
            .run(move |catalog| {
                let drives = catalog.drives()?;
                let drive = drives.iter().find(|drive| drive.store == datastore.store);
                Ok((datastore, catalog.domain(domain)?, drive.map_or(0, |drive| drive.number)))
            })
            .await
    }

    /// A saveset by its id or the beginning of it, or the newest one of a task.
    pub(crate) async fn saveset(
        &self,
        id: &str,
        task: Option<&str>,
    ) -> Result<Saveset, ServerError> {
        if id.is_empty() {
            let Some(task) = task.map(str::to_owned) else {
                return Err(ServerError::invalid("say which saveset, or the newest of which task"));
            };
            let name = task.clone();
            let newest = self.books.run(move |catalog| newest_of_task(catalog, &name)).await?;
            return newest.ok_or_else(|| ServerError::not_found("saveset of task", task));
        }
        if id.len() < 4 {
            return Err(ServerError::invalid(format!(
                "'{id}' is too short for the beginning of a saveset's id: give at least 4 digits"
            )));
        }
        let digits = id.to_owned();
        let mut found = self.books.run(move |catalog| catalog.savesets_beginning(&digits)).await?;
        match (found.pop(), found.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(ServerError::not_found("saveset", id)),
            (Some(_), false) => Err(ServerError::invalid(format!(
                "several savesets begin with '{id}': give more digits"
            ))),
        }
    }
}

/// The newest saveset of a task: of its client, where there is such a task now. Another one may have had its name before.
pub(crate) fn newest_of_task(
    catalog: &Catalog,
    task: &str,
) -> Result<Option<Saveset>, CatalogError> {
    let client = catalog.tasks()?.into_iter().find(|one| one.settings.name == task);
    let filter = SavesetFilter {
        client_name: client.map(|one| one.settings.client),
        task_name: Some(task.to_owned()),
        limit: 1,
        ..SavesetFilter::default()
    };
    Ok(catalog.savesets(&filter)?.into_iter().next())
}
