//! Copies between datastores: from the relation to the call that makes the device work which dials.
//!
//! ```text
//! savesets of the source ─► by domain ─► key slots to the target ─► a ticket each, told to the
//! device that is dialled ─► the other one copies ─► rows of the copies, asked of the target
//! ```
//! Healing goes the same way, with the damaged datastore as target, and ends with a check of it that
//! puts back what came again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use simsim_catalog::{
    Client, ClientId, Datastore, DatastoreState, Domain, Job, JobStart, JobState, Replication,
    Saveset, Severity,
};
use simsim_control::verbs::{
    GetKeySlots, PutKeySlots, REPLICATE_SAVESETS_MAX, Replicate, ReplicatePart, VerifyDatastore,
    VerifyMode,
};
use simsim_format::random_bytes;
use simsim_model::port_registry::DRIVE;
use simsim_model::{Direction, DomainId, Kind, Outcome, SavesetId, StoreId, TransferId};

use super::long_call::{CallEnd, see_through};
use super::running::Running;
use super::transfer::{DEVICE_PATIENCE, TransferWish, grant, withdraw_ticket};
use super::wish::{HealWish, ReplicateWish};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::reconcile::list_new;

/// From where to where one job copies.
pub(super) struct Way {
    pub(super) relation: Replication,
    pub(super) source: Datastore,
    pub(super) target: Datastore,
    /// The device that works.
    pub(super) dialler: Client,
}

/// Savesets to copy, by domain, in the order of the source.
pub(super) type Meant = BTreeMap<DomainId, Vec<SavesetId>>;

impl Way {
    /// `target`: another datastore than the relation's, to heal it.
    pub(super) async fn of(
        house: &House,
        relation: &str,
        target: Option<StoreId>,
    ) -> Result<Self, ServerError> {
        let name = relation.to_owned();
        let way = house
            .books
            .run(move |catalog| {
                let relation = catalog.replication(&name)?;
                let target = target.unwrap_or(relation.target);
                let source = match target == relation.source {
                    true => relation.target,
                    false => relation.source,
                };
                let dialler = catalog.datastore_with_id(relation.dialler())?.device;
                Ok(Way {
                    source: catalog.datastore_with_id(source)?,
                    target: catalog.datastore_with_id(target)?,
                    dialler: catalog.client_numbered(dialler)?,
                    relation,
                })
            })
            .await?;
        for datastore in [&way.source, &way.target] {
            if datastore.state != DatastoreState::Active {
                return Err(ServerError::Refused(format!(
                    "datastore '{}' is out of service: attach it first",
                    datastore.name
                )));
            }
        }
        if !way.dialler.is_enrolled() {
            return Err(ServerError::Refused(format!("host '{}' is revoked", way.dialler.name)));
        }
        Ok(way)
    }

    /// The datastore whose device is dialled.
    fn dialled(&self) -> &Datastore {
        match self.source.store == self.relation.dialled() {
            true => &self.source,
            false => &self.target,
        }
    }

    /// The datastore of the device that works.
    fn own(&self) -> &Datastore {
        match self.source.store == self.relation.dialled() {
            true => &self.target,
            false => &self.source,
        }
    }

    fn direction(&self) -> Direction {
        match self.dialled().store == self.source.store {
            true => Direction::CopyOut,
            false => Direction::CopyIn,
        }
    }

    /// What the relation is about, by domain, in the order of the source.
    async fn savesets(&self, house: &House, heals: bool) -> Result<Meant, ServerError> {
        let (source, target) = (self.source.store, self.target.store);
        let (found, there) = house
            .books
            .run(move |catalog| Ok((catalog.savesets_in(source)?, catalog.savesets_in(target)?)))
            .await?;
        let there: HashSet<SavesetId> = there.into_iter().map(|(_, one)| one.saveset).collect();
        // What was deleted in the target does not come there again by itself.
        let deleted = house.books.run(move |catalog| catalog.deleted_in(target)).await?;
        let deleted: HashSet<SavesetId> = deleted.into_iter().collect();
        let mut domains = Meant::new();
        for (_, saveset) in found {
            let is_meant = match heals {
                true => there.contains(&saveset.saveset),
                false => is_about(&self.relation, &saveset) && !deleted.contains(&saveset.saveset),
            };
            if is_meant {
                domains.entry(saveset.domain).or_default().push(saveset.saveset);
            }
        }
        Ok(domains)
    }
}

/// Is a saveset of the source one of those that a relation copies?
pub(crate) fn is_about(relation: &Replication, saveset: &Saveset) -> bool {
    let fits = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|it| it == name);
    fits(&relation.client_name, &saveset.client_name)
        && fits(&relation.task_name, &saveset.task_name)
}

/// Copies what the relation is about.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &ReplicateWish,
    running: &Arc<Running>,
) -> CallEnd {
    let end = match Way::of(house, &wish.replication, None).await {
        Ok(way) => match way.savesets(house, false).await {
            Ok(meant) => copy(house, job, &way, meant, running).await,
            Err(error) => CallEnd::Refused(error),
        },
        Err(error) => CallEnd::Refused(error),
    };
    after(house, &wish.replication, running).await;
    end
}

/// Brings what a datastore has lost, then checks it and puts back what came again.
pub(crate) async fn heal(
    house: &House,
    job: &Job,
    wish: &HealWish,
    running: &Arc<Running>,
) -> CallEnd {
    let way = match Way::of(house, &wish.replication, Some(wish.damaged)).await {
        Ok(way) => way,
        Err(error) => return CallEnd::Refused(error),
    };
    let done = |outcome| matches!(outcome, Outcome::Finished | Outcome::FinishedWithErrors);
    let meant = match way.savesets(house, true).await {
        Ok(meant) => meant,
        Err(error) => return CallEnd::Refused(error),
    };
    match copy(house, job, &way, meant, running).await {
        CallEnd::Told(result) if done(result.outcome) => {}
        end => return end,
    }
    simsim_model::failpoint::hit("server.heal_copied");
    let line =
        format!("checking datastore '{}', and putting back what came again", way.target.name);
    running.log(Severity::Info, line).await;
    let verb = VerifyDatastore {
        store: way.target.store,
        job: job.number,
        mode: VerifyMode::Structure,
        domain_keys: Vec::new(),
        saveset: None,
        mend: true,
    };
    see_through(&house.nodes, running, way.target.device, Some(verb), house.silence_max).await
}

/// After a restart of the server: what a device still does for the job is waited for, then the healing is done from
/// its beginning, which finds most of it done, and comes to its check.
pub(crate) async fn heal_on(
    house: &House,
    job: &Job,
    wish: &HealWish,
    running: &Arc<Running>,
) -> CallEnd {
    let way = match Way::of(house, &wish.replication, Some(wish.damaged)).await {
        Ok(way) => way,
        Err(error) => return CallEnd::Refused(error),
    };
    let devices = [way.dialler.id, way.target.device];
    match wait_for(house, running, &devices).await {
        Some(end) => end,
        None => heal(house, job, wish, running).await,
    }
}

/// Waits until none of these devices works for the job any more. `Some`: one is silent, or the job was cancelled.
pub(super) async fn wait_for(
    house: &House,
    running: &Arc<Running>,
    devices: &[ClientId],
) -> Option<CallEnd> {
    let mut asked: Vec<ClientId> = Vec::new();
    for device in devices {
        if asked.contains(device) {
            continue;
        }
        asked.push(*device);
        let none: Option<Replicate> = None;
        match see_through(&house.nodes, running, *device, none, house.silence_max).await {
            CallEnd::Lost(error) => return Some(CallEnd::Lost(error)),
            _ if running.cancel.is_cancelled() => {
                return Some(CallEnd::Refused(ServerError::Refused(
                    "cancelled; what was copied stays, and the next run goes on with it".to_owned(),
                )));
            }
            _ => {}
        }
    }
    None
}

/// The rows of what was copied, before the job's end is told.
pub(crate) async fn after(house: &House, relation: &str, running: &Running) {
    let listed = async {
        let way = Way::of(house, relation, None).await?;
        listed(house, &way).await
    };
    if let Err(error) = listed.await {
        let line = format!(
            "the copies are listed as soon as the device of the target is reached again ({})",
            error.full_message()
        );
        running.log(Severity::Warning, line).await;
    }
}

/// Brings the rows of copies in the target up to date.
pub(super) async fn listed(house: &House, way: &Way) -> Result<usize, ServerError> {
    let line = house.nodes.line(way.target.device, DEVICE_PATIENCE).await?;
    list_new(house, &line, way.target.store).await
}

/// Copies these savesets. The job is started, unless it runs already.
pub(super) async fn copy(
    house: &House,
    job: &Job,
    way: &Way,
    meant: Meant,
    running: &Arc<Running>,
) -> CallEnd {
    let mut granted = Vec::new();
    let end = match prepare(house, job, way, meant, running, &mut granted).await {
        Ok(verb) => {
            let silence_max = house.silence_max;
            see_through(&house.nodes, running, way.dialler.id, Some(verb), silence_max).await
        }
        Err(error) => CallEnd::Refused(error),
    };
    // The tickets live long, since one domain waits for the others: none outlives the job.
    let device = way.dialled().device;
    for transfer in granted {
        withdraw_ticket(house, device, transfer).await;
    }
    end
}

async fn prepare(
    house: &House,
    job: &Job,
    way: &Way,
    mut domains: Meant,
    running: &Arc<Running>,
    granted: &mut Vec<TransferId>,
) -> Result<Replicate, ServerError> {
    let first = TransferId(random_bytes()?);
    let start = JobStart {
        drive: Some(running.drive),
        transfer: Some(first),
        domain: None,
        saveset: None,
        level: None,
    };
    if job.state == JobState::Queued {
        let number = job.number;
        house.books.run(move |catalog| catalog.start_job(number, &start, now_unix_ms())).await?;
        running.tell_state(JobState::Running);
        simsim_model::failpoint::hit("server.job_started");
    }
    let all: usize = domains.values().map(Vec::len).sum();
    let line = format!(
        "{all} savesets of datastore '{}' into '{}'; '{}' dials '{}' by drive {}",
        way.source.name,
        way.target.name,
        way.dialler.name,
        way.dialled().name,
        running.drive
    );
    running.log(Severity::Info, line).await;
    if all > REPLICATE_SAVESETS_MAX {
        cut(house, way, &mut domains).await?;
        let line = format!(
            "more savesets than one job takes: the oldest {REPLICATE_SAVESETS_MAX} that are \
             missing go now, run it again for the others"
        );
        running.log(Severity::Warning, line).await;
    }
    let mut verb = Replicate {
        job: job.number,
        store: way.own().store,
        parts: Vec::new(),
        device_addresses: Vec::new(),
        device_keys: Vec::new(),
        client_keys: Vec::new(),
        rates: way.relation.rates.clone(),
    };
    let door = [DRIVE.id.to_owned()];
    for (domain, savesets) in domains {
        let row = house.books.run(move |catalog| catalog.domain(domain)).await?;
        bring_slots(house, way, &row).await?;
        let transfer = match verb.parts.is_empty() {
            true => first,
            false => TransferId(random_bytes()?),
        };
        let wish = TransferWish {
            transfer,
            job: job.number,
            client: &way.dialler.name,
            drive: running.drive,
            datastore: way.dialled(),
            domain,
            direction: way.direction(),
            saveset: SavesetId::ZERO,
            bytes_max: 0,
            interfaces: &door,
            by_server: false,
            stream_key: None,
            seen_from: None,
        };
        let (number, device) = (job.number, way.dialled().device);
        house.books.run(move |catalog| catalog.remember_ticket(number, device, transfer)).await?;
        granted.push(transfer);
        let told = grant(house, &wish, None, way.dialler.id).await?;
        if told.outbound {
            let text = format!(
                "host '{}' is one that calls (access mode OUTBOUND) and dials no port of a drive: \
                 make the replication the other way round, with or without --pull",
                way.dialler.name
            );
            return Err(ServerError::Refused(text));
        }
        running.takes(&told);
        verb.device_addresses = told.urls;
        verb.device_keys = told.device_keys;
        verb.client_keys = told.client_keys;
        verb.parts.push(ReplicatePart { ticket: told.ticket, savesets });
    }
    simsim_model::failpoint::hit("server.transfer_granted");
    Ok(verb)
}

/// Leaves out what the catalog knows to be in the target, then what is too much for one request.
async fn cut(house: &House, way: &Way, domains: &mut Meant) -> Result<(), ServerError> {
    let target = way.target.store;
    let there = house.books.run(move |catalog| catalog.savesets_in(target)).await?;
    let there: HashSet<SavesetId> = there.into_iter().map(|(_, one)| one.saveset).collect();
    let mut room = REPLICATE_SAVESETS_MAX;
    for savesets in domains.values_mut() {
        savesets.retain(|saveset| !there.contains(saveset));
        savesets.truncate(room);
        room -= savesets.len();
    }
    domains.retain(|_, savesets| !savesets.is_empty());
    Ok(())
}

/// A copy opens with the same kits as its original: the slots come first.
async fn bring_slots(house: &House, way: &Way, domain: &Domain) -> Result<(), ServerError> {
    let (id, store) = (domain.domain, way.target.store);
    let slots = match &domain.slots {
        Some(slots) => slots.clone(),
        None => {
            let source: ClientId = way.source.device;
            let line = house.nodes.line(source, DEVICE_PATIENCE).await?;
            line.call(GetKeySlots { store: way.source.store, domain: id }).await?.slots
        }
    };
    let line = house.nodes.line(way.target.device, DEVICE_PATIENCE).await?;
    let there = match line.call(GetKeySlots { store, domain: id }).await {
        Ok(reply) => reply.slots == slots,
        Err(error) if error.kind() == Kind::NotFound => false,
        Err(error) => return Err(error),
    };
    if !there {
        line.call(PutKeySlots { store, domain: id, slots }).await?;
    }
    Ok(())
}
