//! Devices are told of locks that were extended, and tell which they hold.
//!
//! A manifest is written once, so a lock that is set later is known to the server at first. It is owed to
//! the device of each datastore with the saveset or a copy of it, and told until that has it: at once where
//! it is reached, else when it is reached again. From then on the device keeps the saveset until that
//! instant, whoever asks; it has no verb that shortens a lock.
//!
//! What a device says that it holds counts for the saveset in its own datastore only: one that claims
//! what it likes keeps nothing elsewhere.

use std::collections::HashMap;

use simsim_catalog::{Catalog, CatalogError, DatastoreState, HeldLock};
use simsim_control::verbs::{DELETE_SAVESETS_MAX, ExtendLocks, ListLocks, SavesetLock};
use simsim_model::{Kind, SavesetId, StoreId};

use crate::ServerError;
use crate::house::House;
use crate::jobs::DEVICE_PATIENCE;
use crate::nodes::Line;

/// Tells every device the locks that it is owed. One that is away is told when it is back.
pub(crate) async fn tell_locks(house: &House) -> Result<(), ServerError> {
    for store in house.books.run(|catalog| catalog.stores_with_owed_locks()).await? {
        if let Err(error) = tell_locks_in(house, store).await {
            let error = error.full_message();
            tracing::debug!(%store, %error, "locks could not be told to their device");
        }
    }
    Ok(())
}

/// Tells the device of one datastore. What stands against it is written down.
pub(crate) async fn tell_locks_in(house: &House, store: StoreId) -> Result<(), ServerError> {
    let mut after: Option<SavesetId> = None;
    loop {
        let from = after;
        let owed = house
            .books
            .run(move |catalog| catalog.owed_locks(store, from, DELETE_SAVESETS_MAX))
            .await?;
        let Some((last, _)) = owed.last() else { return Ok(()) };
        after = Some(*last);
        if let Err(error) = tell(house, store, &owed).await {
            let (error, savesets) = (error, owed.iter().map(|(one, _)| *one).collect::<Vec<_>>());
            let trouble = match error.kind() {
                // It did nothing: a device of an older version, which does not know the verb.
                Kind::Invalid => "its version of the suite does not know such locks".to_owned(),
                _ => error.full_message(),
            };
            house
                .books
                .run(move |catalog| catalog.keep_lock_trouble(store, &savesets, &trouble))
                .await?;
            return Err(error);
        }
    }
}

async fn tell(house: &House, store: StoreId, owed: &[(SavesetId, u64)]) -> Result<(), ServerError> {
    let datastore = house.books.run(move |catalog| catalog.datastore_with_id(store)).await?;
    if datastore.state != DatastoreState::Active {
        return Err(ServerError::Refused(format!(
            "datastore '{}' is out of service",
            datastore.name
        )));
    }
    let line = house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
    simsim_model::failpoint::hit("server.locks_owed");
    let lock = |(saveset, until_unix_s): &(SavesetId, u64)| SavesetLock {
        saveset: *saveset,
        until_unix_s: *until_unix_s,
    };
    let locks = owed.iter().map(lock).collect();
    let reply = line.call_slow(ExtendLocks { store, locks }).await?;
    let answers: HashMap<SavesetId, u64> =
        reply.held.iter().map(|held| (held.saveset, held.until_unix_s)).collect();
    let mut held = Vec::new();
    for (saveset, until) in owed {
        let now = answers.get(saveset).copied();
        let trouble = match now {
            Some(now) if now >= *until => None,
            Some(_) => Some("it answered with an earlier date".to_owned()),
            None if reply.unknown.contains(saveset) => {
                Some("it does not have the saveset".to_owned())
            }
            None => Some("it did not answer for it".to_owned()),
        };
        match &trouble {
            None => {
                tracing::info!(%saveset, datastore = %datastore.name, until, "its device holds the lock")
            }
            Some(why) => {
                tracing::warn!(%saveset, datastore = %datastore.name, why, "its device does not hold the lock")
            }
        }
        held.push((*saveset, HeldLock { until_unix_s: now.unwrap_or(0), trouble }));
    }
    house.books.run(move |catalog| catalog.keep_held_locks(store, &held)).await
}

/// Asks a device which locks it holds: a catalog that was lost, or is of an older day, has them again, and
/// a device that lost them is owed them anew.
pub(crate) async fn hear_locks(
    house: &House,
    line: &Line,
    store: StoreId,
) -> Result<(), ServerError> {
    let mut held: HashMap<SavesetId, u64> = HashMap::new();
    let mut after = None;
    loop {
        let page = line.call(ListLocks { store, after }).await?;
        let last = page.locks.last().map(|lock| lock.saveset);
        held.extend(page.locks.iter().map(|lock| (lock.saveset, lock.until_unix_s)));
        match last {
            // A device that repeats itself would keep us here for ever.
            Some(last) if page.more && after.is_none_or(|after| last > after) => after = Some(last),
            _ => break,
        }
    }
    let heard = move |catalog: &Catalog| -> Result<(), CatalogError> {
        let known = catalog.held_locks_in(store)?;
        let mut news = Vec::new();
        for (saveset, until_unix_s) in &held {
            let is_news = known.get(saveset).is_none_or(|one| one.until_unix_s != *until_unix_s);
            // Nothing is kept of what nobody here knows.
            if is_news && catalog.saveset(*saveset).is_ok() {
                news.push((*saveset, HeldLock { until_unix_s: *until_unix_s, trouble: None }));
            }
        }
        for (saveset, lock) in known {
            if lock.until_unix_s > 0 && !held.contains_key(&saveset) {
                let trouble = Some("it held the lock before, and does not any more".to_owned());
                news.push((saveset, HeldLock { until_unix_s: 0, trouble }));
            }
        }
        catalog.keep_held_locks(store, &news)
    };
    house.books.run(heard).await
}
