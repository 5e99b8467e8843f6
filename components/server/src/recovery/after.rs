//! A recovered server: what it knew is some hours old, and another one with its name may still be there.
//!
//! Until a person has looked, its queue is paused and nothing expires: holds, locks, pools and deletions that
//! were decided since the backup are lost. Each of its datastores is looked through once, when its device is
//! reached, for savesets and domains that the backup did not know yet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use simsim_catalog::{CLOCK, Catalog, CatalogError, DatastoreState};
use simsim_model::{SavesetId, StoreId};

use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{Paused, QueueRules};
use crate::retention::Known;
use crate::{Server, ServerError};

/// The setting by which a catalog says that it came back.
pub(super) const MARK: &str = "recovery";
/// Said by whoever looks why nothing runs.
const WHY: &str = "it came back from a backup of itself";

/// What is kept of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub saveset: SavesetId,
    pub made_unix_ms: i64,
    pub recovered_unix_ms: i64,
}

pub(crate) type Recovery = Mark;

/// The last recovery of this server, if there was one.
pub(crate) fn recovery(catalog: &Catalog) -> Result<Option<Recovery>, CatalogError> {
    Mark::read(catalog)
}

impl Mark {
    pub(super) fn read(catalog: &Catalog) -> Result<Option<Self>, CatalogError> {
        Ok(catalog.setting(MARK)?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, ServerError> {
        serde_json::to_vec(self).map_err(|error| ServerError::Lost(error.to_string()))
    }
}

/// Leaves a catalog that was taken in so that nothing runs and nothing expires, and notes which datastores
/// are to be looked through. A second time it changes nothing.
pub(super) fn quieten(
    catalog: &Catalog,
    mark: &Mark,
    moved: &[(StoreId, String)],
) -> Result<(), ServerError> {
    let mut rules = QueueRules::read(catalog)?;
    rules.paused = Some(Paused {
        by: "recover".to_owned(),
        since_unix_ms: mark.recovered_unix_ms,
        why: WHY.to_owned(),
    });
    rules.keep(catalog)?;
    catalog.set_setting(CLOCK, &Known::in_doubt().encode()?)?;
    for datastore in catalog.datastores()? {
        catalog.set_setting(&to_look_through(datastore.store), b"yes")?;
        if let Some((store, path)) = moved.iter().find(|(store, _)| *store == datastore.store) {
            let path = path.as_bytes();
            catalog.move_datastore(*store, datastore.device, path, DatastoreState::Active)?;
        }
    }
    Ok(())
}

fn to_look_through(store: StoreId) -> String {
    format!("recovery.look-through.{store}")
}

/// Looks a datastore through once after a recovery. Domains that came since the backup have a slot for the
/// master key, which came back with it.
pub(crate) async fn look_again(house: &Arc<House>, store: StoreId) -> Result<(), ServerError> {
    let name = to_look_through(store);
    let wanted = name.clone();
    let wanted = house.books.run(move |catalog| catalog.setting(&wanted)).await?;
    if wanted.is_none_or(|wanted| wanted.is_empty()) {
        return Ok(());
    }
    let datastore = house.books.run(move |catalog| catalog.datastore_with_id(store)).await?;
    let server = Server { house: Arc::clone(house) };
    let rebuilt = server.rebuild_one(datastore, None).await?;
    tracing::info!(
        datastore = %rebuilt.datastore,
        report = ?rebuilt.rows,
        domains_found = rebuilt.domains_found,
        damaged = rebuilt.damaged.len(),
        "looked through after the recovery"
    );
    house.books.run(move |catalog| catalog.set_setting(&name, b"")).await
}

/// Why the clock is in doubt, where it is because of a recovery.
pub(crate) fn doubt_after(mark: &Recovery) -> String {
    let age = crate::clock::lasting_ms(now_unix_ms().saturating_sub(mark.made_unix_ms));
    format!(
        "this server came back from a backup of itself, made {age} ago; holds, locks, pools and deletions \
         decided since then are lost: set them again, then confirm"
    )
}
