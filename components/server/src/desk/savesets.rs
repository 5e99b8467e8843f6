//! Savesets: listing and showing.

use simsim_catalog::{Saveset, SavesetFilter, StoreNames};

use crate::api::{ResultView, SavesetDetail, SavesetListRequest, SavesetRequest, SavesetView};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// The savesets of clients that the caller may see, newest first.
    pub async fn savesets(
        &self,
        who: &Principal,
        request: SavesetListRequest,
    ) -> Result<Vec<SavesetView>, ServerError> {
        if !who.may(Right::View, Object::Suite) {
            let object = request.client.as_deref().map_or(Object::Suite, Object::Client);
            self.may_see(who, Right::View, "list savesets of", object).await?;
        }
        let store = match request.datastore {
            Some(name) => Some(self.house.datastore(Some(name)).await?.store),
            None => None,
        };
        let filter = SavesetFilter {
            client_name: request.client,
            task_name: request.task,
            store,
            missing_too: request.missing_too,
            limit: if request.limit == 0 { 1000 } else { request.limit },
        };
        let (savesets, stores) = self
            .house
            .books
            .run(move |catalog| Ok((catalog.savesets(&filter)?, catalog.datastore_names()?)))
            .await?;
        Ok(savesets.iter().map(|saveset| view(saveset, &stores)).collect())
    }

    /// One saveset with the jobs that made and read it.
    pub async fn saveset(
        &self,
        who: &Principal,
        request: SavesetRequest,
    ) -> Result<SavesetDetail, ServerError> {
        let saveset = self.house.saveset(&request.saveset, None).await?;
        let object = Object::Client(&saveset.client_name);
        self.may_see(who, Right::View, "see a saveset of", object).await?;
        let id = saveset.saveset;
        let (results, stores) = self
            .house
            .books
            .run(move |catalog| Ok((catalog.results(Some(id), 100)?, catalog.datastore_names()?)))
            .await?;
        let results = results
            .into_iter()
            .map(|result| ResultView {
                job: result.job,
                kind: result.kind,
                outcome: result.outcome,
                ended_unix_ms: result.ended_unix_ms,
                problems: result.problems,
            })
            .collect();
        Ok(SavesetDetail { saveset: view(&saveset, &stores), results })
    }
}

fn view(saveset: &Saveset, stores: &StoreNames) -> SavesetView {
    SavesetView {
        saveset: saveset.saveset,
        client: saveset.client_name.clone(),
        task: saveset.task_name.clone(),
        datastore: stores.get(&saveset.store).cloned().unwrap_or_else(|| saveset.store.to_string()),
        domain: saveset.domain,
        sequence: saveset.sequence,
        level: saveset.level,
        base: saveset.base,
        outcome: saveset.outcome(),
        scan_started_unix_ms: saveset.scan_started_unix_ns.div_euclid(1_000_000),
        committed_unix_ms: saveset.committed_unix_ns.div_euclid(1_000_000),
        lock_until_unix_s: saveset.lock_until_unix_s,
        files: saveset.files,
        dirs: saveset.dirs,
        bytes: saveset.bytes,
        bytes_new: saveset.bytes_new,
        bytes_stored: saveset.bytes_stored,
        problems: saveset.problems,
        state: saveset.state.as_str().to_owned(),
    }
}
