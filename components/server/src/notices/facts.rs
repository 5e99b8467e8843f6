//! What is known of what may be missing: the results in the catalog, the nodes, the clock.

use std::collections::HashSet;
use std::sync::Arc;

use simsim_catalog::{Catalog, CatalogError, Client, Datastore, DatastoreState, Message, Task};

use super::deliver::is_undelivered;
use crate::api::{NotificationRequest, TaskHealth, WatchSubject};
use crate::house::House;
use crate::recovery::newest_self_backup;
use crate::rights::Principal;
use crate::{Server, ServerError, health};

/// A host that is reached is written down as seen so often.
const SEEN_INTERVAL_MS: i64 = 600_000;

/// All of one look.
#[derive(Default)]
pub(crate) struct Facts {
    pub tasks: Vec<Task>,
    /// Task, client, and when its newest good backup ended.
    pub backups: Vec<(String, String, i64)>,
    pub stores: Vec<Datastore>,
    pub verified: Vec<(String, i64)>,
    /// Tasks whose data no drill of the suite restores.
    pub external: HashSet<String>,
    /// Client, task, and when its newest drill ended that passed.
    pub drilled: Vec<(String, String, i64)>,
    /// Tasks that are not green; read where somebody watches it.
    pub not_green: Vec<TaskHealth>,
    /// The newest backup of the server itself, and since when there should be one.
    pub self_backup: Option<(Option<i64>, i64)>,
    /// Hosts that are enrolled, and whether each is reached now.
    pub hosts: Vec<(Client, bool)>,
    /// Datastore, percent that are free; `None`: its device did not say.
    pub space: Vec<(String, Option<u8>)>,
    pub not_run: Vec<(String, String, String, i64)>,
    pub doubt: Option<String>,
    /// Number and what it would do.
    pub approvals: Vec<(u64, String, i64)>,
    pub undelivered: Vec<Message>,
}

impl Facts {
    /// Whether nobody could say this time: then what was missing is neither so nor otherwise.
    pub(crate) fn is_unsure(&self, subject: &str) -> bool {
        let name = subject.strip_prefix("space ");
        name.is_some_and(|name| self.space.iter().any(|(one, free)| one == name && free.is_none()))
    }
}

pub(crate) async fn gather(
    house: &Arc<House>,
    requests: &[NotificationRequest],
    now: i64,
) -> Result<Facts, ServerError> {
    let watched = |subject| {
        requests.iter().any(|request| request.watch.iter().any(|watch| watch.subject == subject))
    };
    let green = watched(WatchSubject::Green);
    let read = move |catalog: &Catalog| -> Result<Facts, CatalogError> {
        let mut stores = catalog.datastores()?;
        stores.retain(|store| store.state == DatastoreState::Active);
        let approvals = catalog.approvals(true)?;
        let waiting = catalog.waiting_messages()?;
        let tasks = catalog.tasks()?;
        let is_external = |task: &&Task| {
            let options = serde_json::from_str(&task.settings.options).unwrap_or_default();
            crate::streams::is_external(task.settings.kind, &options)
        };
        let external = tasks.iter().filter(is_external);
        let passed = catalog.last_drills()?.into_iter().filter(|one| one.2 && one.3 <= now);
        let first = stores.iter().map(|store| store.created_unix_ms).min();
        let newest = newest_self_backup(catalog)?.filter(|at| *at <= now);
        Ok(Facts {
            external: external.map(|task| task.settings.name.clone()).collect(),
            drilled: passed.map(|(client, task, _, at)| (client, task, at)).collect(),
            not_green: match green {
                true => health::not_green(catalog, now)?,
                false => Vec::new(),
            },
            self_backup: first.map(|since| (newest, since)),
            tasks,
            backups: catalog.last_good("backup", now)?,
            stores,
            verified: catalog.last_verified(now)?,
            hosts: catalog
                .clients()?
                .into_iter()
                .filter(Client::is_enrolled)
                .map(|client| (client, false))
                .collect(),
            not_run: catalog.not_run()?,
            approvals: approvals
                .into_iter()
                .filter(|one| one.expires_unix_ms > now)
                .map(|one| (one.number, one.about, one.asked_unix_ms))
                .collect(),
            undelivered: waiting.into_iter().filter(is_undelivered).collect(),
            ..Facts::default()
        })
    };
    let mut facts = house.books.run(read).await?;
    let mut seen = Vec::new();
    for (client, reached) in &mut facts.hosts {
        *reached = house.nodes.status(client.id).is_some_and(|status| status.line.is_some());
        let age = client.last_seen_unix_ms.map_or(i64::MAX, |last| now.saturating_sub(last));
        if *reached && !(0..SEEN_INTERVAL_MS).contains(&age) {
            seen.push(client.id);
        }
    }
    if !seen.is_empty() {
        let note = move |catalog: &Catalog| {
            seen.iter().try_for_each(|id| catalog.client_seen(*id, None, now))
        };
        house.books.run(note).await?;
    }
    let server = Server { house: Arc::clone(house) };
    if watched(WatchSubject::Clock) {
        facts.doubt = server.clock_view().await?.doubt;
    }
    if watched(WatchSubject::Space) {
        for view in server.datastores(&Principal::local_root()).await? {
            let free = view.device.filter(|device| device.capacity_bytes > 0).map(|device| {
                let percent =
                    u128::from(device.free_bytes) * 100 / u128::from(device.capacity_bytes);
                u8::try_from(percent).unwrap_or(100)
            });
            facts.space.push((view.name, free));
        }
    }
    Ok(facts)
}
