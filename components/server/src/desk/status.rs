//! How the suite is.

use simsim_catalog::{DatastoreState, JobFilter, JobState};

use crate::api::{KitState, Status};
use crate::keys::KitCondition;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Counts, states, and what somebody should act on.
    pub async fn status(&self, who: &Principal) -> Result<Status, ServerError> {
        self.may_see(who, Right::View, "status", Object::Suite).await?;
        let house = &self.house;
        let (clients, datastores, tasks, savesets, open) = house
            .books
            .run(|catalog| {
                let datastores = catalog.datastores()?;
                let mut savesets = 0;
                for datastore in &datastores {
                    savesets += catalog.saveset_count(datastore.store)?;
                }
                let open = catalog.jobs(&JobFilter {
                    states: vec![JobState::Queued, JobState::Running],
                    ..JobFilter::default()
                })?;
                Ok((catalog.clients()?, datastores, catalog.tasks()?.len(), savesets, open))
            })
            .await?;
        let mut warnings = Vec::new();
        let enrolled: Vec<_> = clients.iter().filter(|client| client.is_enrolled()).collect();
        let mut connected = 0;
        for client in &enrolled {
            match house.nodes.status(client.id) {
                Some(status) if status.line.is_some() => connected += 1,
                Some(status) => {
                    let why =
                        status.last_error.map_or("not dialled yet".to_owned(), |(_, why)| why);
                    warnings.push(format!("client '{}' is not reached: {why}", client.name));
                }
                None => {}
            }
        }
        let kit = match house.kit.condition(&house.books).await? {
            KitCondition::None => {
                warnings.push(
                    "there is no recovery kit: with this server all its keys would be lost; make \
                     one with 'simsim key kit new'"
                        .to_owned(),
                );
                KitState::None
            }
            KitCondition::Unproven => {
                warnings.push(
                    "nobody has shown that the recovery kit was kept: do it with 'simsim key kit prove'"
                        .to_owned(),
                );
                KitState::Unproven
            }
            KitCondition::Proven { unix_ms } => KitState::Proven { proven_unix_ms: unix_ms },
        };
        for datastore in &datastores {
            if datastore.state == DatastoreState::Detached {
                warnings.push(format!("datastore '{}' is out of service", datastore.name));
            }
        }
        let count = |state| open.iter().filter(|job| job.state == state).count() as u64;
        Ok(Status {
            name: house.name.clone(),
            own_client: house.own_name.clone(),
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: house.started_unix_ms,
            fingerprint: house.identity.fingerprint(),
            clients_enrolled: enrolled.len() as u64,
            clients_connected: connected,
            datastores: datastores.len() as u64,
            tasks: tasks as u64,
            savesets,
            jobs_queued: count(JobState::Queued),
            jobs_running: count(JobState::Running),
            kit,
            warnings,
        })
    }
}
