//! Each time a host is reached anew. Its device: are its datastores in service, do their key slots
//! agree, and has it savesets that the catalog does not know? Its client: does it still hold the keys
//! that it is to hold alone? Then what its owner asks is answered.
//!
//! A saveset whose row was lost to a crash, or whose device was away when its job ended, is listed
//! from here on.

use std::sync::{Arc, Weak};
use std::time::Duration;

use simsim_catalog::{ClientId, Datastore, DatastoreState, Saveset};
use simsim_control::verbs::{
    AttachDatastore, DatastoreState as AskState, ListManifests, ManifestEntry, SetDrives,
};
use simsim_format::{DomainKey, Manifest, ManifestDetails};
use simsim_model::{Kind, StoreId, escape_path};
use tokio::sync::mpsc;

use crate::ServerError;
use crate::certificates;
use crate::house::House;
use crate::jobs::saveset_of;
use crate::keys::bring_slots;
use crate::nodes::Line;

/// How long it takes until what could not be told is told again.
const AGAIN: Duration = Duration::from_secs(3);

/// Looks after every device that is reached, until the Server stops.
pub(crate) async fn run(house: Weak<House>, mut reached: mpsc::UnboundedReceiver<ClientId>) {
    let mut again = tokio::time::interval(AGAIN);
    let Some(every) = house.upgrade().map(|house| house.config.certificates_looked_at) else {
        return;
    };
    let mut renew = tokio::time::interval(every);
    loop {
        let device = tokio::select! {
            device = reached.recv() => device,
            _ = again.tick() => {
                let Some(house) = house.upgrade() else { return };
                make_up(&house);
                continue;
            }
            _ = renew.tick() => {
                let Some(house) = house.upgrade() else { return };
                renew_all(&house);
                continue;
            }
        };
        let (Some(device), Some(house)) = (device, house.upgrade()) else { return };
        house.jobs.wake();
        let (stop, weak, tasks) = (house.stop.clone(), Arc::downgrade(&house), house.tasks.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = client_reached(weak, device) => {}
            }
        });
        let stop = house.stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                looked = host_reached(&house, device) => {
                    if let Err(error) = looked {
                        let error = error.full_message();
                        tracing::warn!(%error, "a device could not be looked after");
                    }
                }
            }
        });
    }
}

/// Looks after the keys that a client holds alone, then answers what it asks while its line lasts.
async fn client_reached(house: Weak<House>, client: ClientId) {
    let looked = async {
        let Some(house) = house.upgrade() else { return Ok(()) };
        let client = house.books.run(move |catalog| catalog.client_numbered(client)).await?;
        crate::keys::look_after_held(&house, &client).await
    };
    if let Err(error) = looked.await {
        let error = error.full_message();
        tracing::warn!(%error, "the keys that a client holds could not be looked after");
    }
    crate::asks::serve(house, client).await;
}

/// Looks at the certificates of all hosts that are reached.
fn renew_all(house: &Arc<House>) {
    let (house, stop, tasks) = (Arc::clone(house), house.stop.clone(), house.tasks.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            looked = certificates::look_after_all(&house) => {
                if let Err(error) = looked {
                    let error = error.full_message();
                    tracing::warn!(%error, "certificates could not be looked after");
                }
            }
        }
    });
}

/// Tells devices, as soon as they can be told, which transfers are over; then looks at what they
/// committed before.
fn make_up(house: &Arc<House>) {
    let pending = std::mem::take(&mut *house.unrevoked.lock());
    if pending.is_empty() {
        return;
    }
    let (house, stop, tasks) = (Arc::clone(house), house.stop.clone(), house.tasks.clone());
    tasks.spawn(async move {
        let work = async {
            for (device, transfer) in pending {
                if !crate::jobs::revoke(&house, device, transfer).await {
                    house.unrevoked.lock().push((device, transfer));
                    continue;
                }
                crate::jobs::forget_ticket(&house, transfer).await;
                // A commit that was under way when it was told has come to its end by then.
                tokio::time::sleep(AGAIN).await;
                if let Err(error) = device_reached(&house, device).await {
                    let error = error.full_message();
                    tracing::warn!(%error, "a device could not be looked after");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}

async fn host_reached(house: &Arc<House>, host: ClientId) -> Result<(), ServerError> {
    if let Err(error) = certificates::certify(house, host).await {
        let error = error.full_message();
        tracing::warn!(%error, "no certificate could be given");
    }
    device_reached(house, host).await
}

async fn device_reached(house: &Arc<House>, device: ClientId) -> Result<(), ServerError> {
    let mut datastores = house.books.run(|catalog| catalog.datastores()).await?;
    datastores.retain(|one| one.device == device && one.state == DatastoreState::Active);
    if datastores.is_empty() {
        return Ok(());
    }
    let line = house.nodes.line(device, crate::jobs::DEVICE_PATIENCE).await?;
    if let Err(error) = crate::rates::tell(house, &line).await {
        let error = error.full_message();
        tracing::warn!(%error, "the device does not hold the rate limits");
    }
    for datastore in datastores {
        match line.call(AskState { store: datastore.store }).await {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::NotFound => {
                attach_again(&line, &datastore).await?;
            }
            Err(error) => return Err(error),
        }
        if let Err(error) = tell_drives(house, &line, datastore.store).await {
            // Drives are still served at the other ports; a device of an older version has no own
            // ports for them.
            let error = error.full_message();
            tracing::warn!(datastore = %datastore.name, %error, "the device does not know its drives");
        }
        bring_slots(house, &line, datastore.store).await?;
        let added = list_new(house, &line, datastore.store).await?;
        if added > 0 {
            tracing::info!(datastore = %datastore.name, added, "savesets found that were not listed");
        }
        // A device of an older version knows no such locks; what it is owed says so.
        if let Err(error) = crate::retention::hear_locks(house, &line, datastore.store).await {
            let error = error.full_message();
            tracing::debug!(datastore = %datastore.name, %error, "the device does not say which locks it holds");
        }
        if let Err(error) = crate::retention::tell_locks_in(house, datastore.store).await {
            let error = error.full_message();
            tracing::warn!(datastore = %datastore.name, %error, "locks could not be told to their device");
        }
        if let Err(error) = crate::recovery::look_again(house, datastore.store).await {
            let error = error.full_message();
            tracing::warn!(datastore = %datastore.name, %error, "it could not be looked through after the recovery");
        }
        // What was decided before this host was away, or this server was started, is finished now.
        if let Err(error) = crate::retention::carry_out(house, datastore.store).await {
            let error = error.full_message();
            tracing::warn!(datastore = %datastore.name, %error, "savesets could not be deleted");
        }
    }
    crate::recovery::set_up(&crate::Server { house: Arc::clone(house) }).await;
    Ok(())
}

/// Tells a device the numbers of a datastore's drives.
pub(crate) async fn tell_drives(
    house: &House,
    line: &Line,
    store: StoreId,
) -> Result<(), ServerError> {
    let drives = house.books.run(|catalog| catalog.drives()).await?;
    let drives = drives.iter().filter(|drive| drive.store == store).map(|drive| drive.number);
    line.call(SetDrives { store, drives: drives.collect() }).await.map(drop)
}

/// Lets a device have a datastore of its own that it does not know yet, and its drives.
pub(crate) async fn take_in(
    house: &House,
    line: &Line,
    datastore: &Datastore,
) -> Result<(), ServerError> {
    attach_again(line, datastore).await?;
    tell_drives(house, line, datastore.store).await
}

async fn attach_again(line: &Line, datastore: &Datastore) -> Result<(), ServerError> {
    let path = path_text(&datastore.path)?;
    let found = line.call_slow(AttachDatastore { path: path.clone() }).await?;
    if found.store != datastore.store {
        return Err(ServerError::node(
            &datastore.name,
            Kind::Corrupt,
            format!("another datastore ({}) lies at {path}", found.store),
        ));
    }
    Ok(())
}

/// A datastore's path as it travels: text.
pub(crate) fn path_text(path: &[u8]) -> Result<String, ServerError> {
    String::from_utf8(path.to_vec()).map_err(|_| {
        ServerError::invalid(format!(
            "a datastore's path must be UTF-8 text: {}",
            escape_path(path)
        ))
    })
}

/// Adds rows for the manifests after the last one that was looked at. Sequences grow with every
/// commit, so nothing can appear before that. Domains that the catalog does not know are left to
/// `catalog rebuild`.
pub(crate) async fn list_new(
    house: &House,
    line: &Line,
    store: StoreId,
) -> Result<usize, ServerError> {
    let setting = format!("listed.{store}");
    let name = setting.clone();
    let kept = house.books.run(move |catalog| catalog.setting(&name)).await?;
    let after = kept
        .and_then(|bytes| <[u8; 8]>::try_from(bytes.as_slice()).ok())
        .map_or(0, u64::from_le_bytes);
    let manifests = manifests_after(line, store, after).await?;
    let mut last = after;
    let (mut rows, mut copies) = (Vec::new(), Vec::new());
    for entry in manifests {
        last = last.max(entry.sequence);
        let Ok(manifest) = Manifest::decode(&entry.bytes) else { continue };
        if manifest.store != store {
            continue;
        }
        match row_of(house, &manifest).await? {
            Some(Row::Saveset(row)) => rows.push(row),
            Some(Row::Copy(row)) => copies.push(row),
            None => {}
        }
    }
    let count = house
        .books
        .run(move |catalog| {
            let before = catalog.saveset_count(store)?;
            if !rows.is_empty() {
                catalog.add_savesets(&rows)?;
            }
            // Only of savesets that are known, and where a replication leads: a device that lists what
            // it likes adds nothing to the catalog.
            let leads_here = catalog.replications()?.iter().any(|one| one.target == store);
            copies.retain(|copy| {
                let known = catalog.saveset(copy.saveset);
                leads_here && known.is_ok_and(|row| row.domain == copy.domain)
            });
            catalog.add_copies(&copies)?;
            if last > after {
                catalog.set_setting(&setting, &last.to_le_bytes())?;
            }
            Ok(catalog.saveset_count(store)?.saturating_sub(before))
        })
        .await?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// What a manifest is to the catalog.
pub(crate) enum Row {
    /// A saveset where its domain is at home.
    Saveset(Saveset),
    /// A copy of one in another datastore.
    Copy(Saveset),
}

/// The row of a manifest whose domain is known. The client's name is that of the domain's owner
/// and never what the details say: they were written by the client.
pub(crate) async fn row_of(house: &House, manifest: &Manifest) -> Result<Option<Row>, ServerError> {
    let id = manifest.domain;
    let found = house
        .books
        .run(move |catalog| {
            let domains = catalog.domains()?;
            let Some(domain) = domains.into_iter().find(|domain| domain.domain == id) else {
                return Ok(None);
            };
            let owner = domain.owner.map(|owner| catalog.client_numbered(owner)).transpose()?;
            Ok(Some((domain, owner.map(|owner| owner.name))))
        })
        .await?;
    let Some((domain, owner)) = found else { return Ok(None) };
    // What says of itself that it was made here, and is of a domain of another datastore, is no copy.
    if domain.store != manifest.store && manifest.origin.is_none() {
        return Ok(None);
    }
    let details = house.domain_keys.open(&domain)?.and_then(|key| {
        let key = DomainKey::new(&key);
        ManifestDetails::open(&key, manifest.domain, manifest.saveset, &manifest.sealed_details)
            .ok()
    });
    let details = details.unwrap_or_default();
    let client = owner.unwrap_or(details.client);
    let row = saveset_of(manifest, &client, &details.task);
    Ok(Some(match domain.store == manifest.store {
        true => Row::Saveset(row),
        false => Row::Copy(row),
    }))
}

/// All manifests of a datastore after a sequence number, page by page.
pub(crate) async fn manifests_after(
    line: &Line,
    store: StoreId,
    after_sequence: u64,
) -> Result<Vec<ManifestEntry>, ServerError> {
    let mut all: Vec<ManifestEntry> = Vec::new();
    let mut after = after_sequence;
    loop {
        let page = line.call(ListManifests { store, after_sequence: after, limit: 0 }).await?;
        let last = page.manifests.last().map(|entry| entry.sequence);
        all.extend(page.manifests);
        match last {
            // A device that repeats itself would keep us here for ever.
            Some(last) if page.more && last > after => after = last,
            _ => return Ok(all),
        }
    }
}
