//! Where the figures come from.

use std::collections::BTreeMap;

use simsim_catalog::{
    Catalog, CatalogError, Client, DatastoreState, JobFilter, JobState, LastEnd, Saved,
};
use simsim_format::KitProof;

use super::book::{Book, seconds};
use super::families as f;
use crate::api::{DatastoreView, TaskHealth};
use crate::clock::now_unix_ms;
use crate::jobs::QueueRules;
use crate::readiness::PARTS;
use crate::recovery::newest_self_backup;
use crate::rights::Principal;
use crate::{Server, ServerError, audit_head, certificates, health};

/// What backups put in so long says how a datastore grows.
pub(crate) const GROWTH_MS: i64 = 7 * 86_400_000;

/// What takes a look at all savesets, or a question to each device.
pub(super) struct Looked {
    now_unix_ms: i64,
    tasks: Vec<TaskHealth>,
    stores: Vec<DatastoreView>,
    saved: Saved,
    collected: Vec<LastEnd>,
    verified: Vec<LastEnd>,
    /// Replication, savesets that wait, and since when.
    lags: Vec<(String, u64, Option<i64>)>,
}

impl Looked {
    pub(super) async fn look(server: &Server) -> Result<Self, ServerError> {
        let now = now_unix_ms();
        let stores = server.datastores(&Principal::local_root()).await?;
        let read = move |catalog: &Catalog| -> Result<Self, CatalogError> {
            let saved = catalog.saved(now.saturating_sub(GROWTH_MS))?;
            let mut lags = Vec::new();
            for relation in catalog.replications()? {
                let lag = catalog.replication_lag(&relation)?;
                lags.push((relation.name, lag.savesets, lag.since_unix_ms));
            }
            Ok(Self {
                now_unix_ms: now,
                tasks: health::with(catalog, &saved, now)?,
                stores,
                saved,
                collected: catalog.last_ends("collect")?,
                verified: catalog.last_ends("verify")?,
                lags,
            })
        };
        server.house.books.run(read).await
    }

    pub(super) fn write(&self, book: &mut Book) {
        for one in &self.tasks {
            let of = [one.task.as_str(), one.client.as_str()];
            book.flag(&f::TASK_GREEN, &of, one.health.green);
            book.flag(&f::TASK_OVERDUE, &of, one.health.overdue);
            for finding in &one.health.findings {
                let aspect = finding.aspect.as_str().replace(' ', "_");
                let of = [of[0], of[1], aspect.as_str()];
                book.flag(&f::TASK_GOOD, &of, finding.good);
                book.age(&f::TASK_AGE, &of, finding.last_unix_ms, self.now_unix_ms);
            }
        }
        for store in &self.stores {
            self.write_store(store, book);
        }
        for (name, savesets, since) in &self.lags {
            book.count(&f::REPLICATION_WAITING, &[name], *savesets);
            let since = since.unwrap_or(self.now_unix_ms);
            book.age(&f::REPLICATION_LAG, &[name], Some(since), self.now_unix_ms);
        }
    }

    fn write_store(&self, store: &DatastoreView, book: &mut Book) {
        let of = [store.name.as_str()];
        book.flag(&f::STORE_ACTIVE, &of, store.state == DatastoreState::Active.as_str());
        book.flag(&f::STORE_REACHED, &of, store.device.is_some());
        let stored = self.saved.stores.get(&store.store).copied().unwrap_or_default();
        book.count(&f::STORE_SAVESETS, &of, stored.savesets);
        book.count(&f::STORE_SAVED, &of, stored.bytes);
        book.count(&f::STORE_WEEK, &of, stored.recent_stored_bytes);
        if let Some(device) = &store.device {
            book.count(&f::STORE_CAPACITY, &of, device.capacity_bytes);
            book.count(&f::STORE_FREE, &of, device.free_bytes);
            book.count(&f::STORE_STORED, &of, device.packs_bytes);
            book.count(&f::STORE_CHUNKS, &of, device.chunks);
            if device.packs_bytes > 0 {
                book.add(&f::STORE_DEDUP, &of, by(stored.bytes, device.packs_bytes));
            }
            let full_in = match stored.recent_stored_bytes {
                0 => f64::INFINITY,
                put => by(device.free_bytes, put) * seconds(GROWTH_MS),
            };
            book.add(&f::STORE_FULL, &of, full_in);
        }
        let last = |ends: &[LastEnd]| {
            ends.iter().find(|one| one.store == store.store).map(|one| one.ended_unix_ms)
        };
        book.age(&f::STORE_COLLECTED, &of, last(&self.collected), self.now_unix_ms);
        book.age(&f::STORE_VERIFIED, &of, last(&self.verified), self.now_unix_ms);
    }
}

#[allow(clippy::cast_precision_loss, reason = "the format knows only such figures")]
fn by(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

/// What a few rows of the catalog and the state of this process say.
pub(super) async fn of_server(server: &Server, book: &mut Book) -> Result<(), ServerError> {
    let house = &server.house;
    let now = now_unix_ms();
    book.add(&f::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    book.add(&f::START_TIME, &[], seconds(house.started_unix_ms));
    let not_ready = server.not_ready().await;
    for part in PARTS {
        book.flag(&f::PART_READY, &[part], !not_ready.contains(&part));
    }
    let read = |catalog: &Catalog| -> Result<_, CatalogError> {
        let open =
            JobFilter { states: vec![JobState::Queued, JobState::Running], ..JobFilter::default() };
        let mut absent = BTreeMap::new();
        for row in catalog.notifications()? {
            let missing = catalog.absences(&row.name)?.len();
            absent.insert(row.name, missing);
        }
        Ok((
            (catalog.job_totals()?, catalog.jobs(&open)?, QueueRules::read(catalog)?),
            (catalog.waiting_messages()?, absent, catalog.approvals(true)?),
            (catalog.clients()?, catalog.audit_head()?, newest_self_backup(catalog)?),
            catalog.not_run()?.len(),
        ))
    };
    let (jobs, notices, (clients, head, self_backup), not_run) = house.books.run(read).await?;
    let (totals, open, rules) = jobs;
    let mut by_kind: BTreeMap<&str, [u64; 4]> = BTreeMap::new();
    for total in &totals {
        book.count(&f::JOBS_ENDED, &[&total.kind, total.outcome.as_str()], total.jobs);
        let sums = by_kind.entry(&total.kind).or_default();
        let more = [total.problems, total.bytes, total.bytes_new, total.bytes_wire];
        for (sum, more) in sums.iter_mut().zip(more) {
            *sum = sum.saturating_add(more);
        }
    }
    let sums = [&f::JOBS_PROBLEMS, &f::JOBS_READ, &f::JOBS_NEW, &f::JOBS_WIRE];
    for (kind, figures) in by_kind {
        for (family, figure) in sums.into_iter().zip(figures) {
            book.count(family, &[kind], figure);
        }
    }
    for (family, state) in
        [(&f::JOBS_RUNNING, JobState::Running), (&f::JOBS_QUEUED, JobState::Queued)]
    {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::from([("backup", 0)]);
        for job in open.iter().filter(|job| job.state == state) {
            *counts.entry(job.kind.as_str()).or_default() += 1;
        }
        for (kind, count) in counts {
            book.count(family, &[kind], count);
        }
    }
    let waiting = || open.iter().filter(|job| job.state == JobState::Queued);
    let held = waiting().filter(|job| job.waiting.held_by.is_some()).count();
    book.count(&f::JOBS_HELD, &[], held as u64);
    let free = waiting().filter(|job| job.waiting.held_by.is_none());
    let oldest = free.map(|job| job.queued_unix_ms).min().unwrap_or(now);
    book.age(&f::QUEUE_OLDEST, &[], Some(oldest), now);
    book.flag(&f::QUEUE_PAUSED, &[], rules.paused.is_some());
    book.count(&f::EVENTS_NOT_RUN, &[], not_run as u64);
    book.age(&f::SELF_BACKUP_AGE, &[], self_backup, now);
    let proof = house.kit.proof(&house.books).await?;
    book.flag(&f::KIT_PROVEN, &[], matches!(proof, Some(KitProof::Proven { .. })));
    let (messages, absent, approvals) = notices;
    for (name, missing) in &absent {
        let of = messages.iter().filter(|message| message.notification == *name);
        book.count(&f::NOTICES_WAITING, &[name], of.clone().count() as u64);
        let oldest = of.map(|message| message.made_unix_ms).min().unwrap_or(now);
        book.age(&f::NOTICES_OLDEST, &[name], Some(oldest), now);
        book.count(&f::NOTICES_ABSENT, &[name], *missing as u64);
    }
    let approvals = approvals.iter().filter(|one| one.expires_unix_ms > now).count();
    book.count(&f::APPROVALS, &[], approvals as u64);
    book.flag(&f::CLOCK_DOUBT, &[], server.clock_view().await?.doubt.is_some());
    book.count(&f::AUDIT_ROWS, &[], head.position);
    if let Some(kept) = audit_head::kept(house).await? {
        book.count(&f::AUDIT_KEPT, &[], kept.position);
    }
    for client in clients.iter().filter(|client| Client::is_enrolled(client)) {
        let line = house.nodes.status(client.id).and_then(|status| status.line);
        let connected = line.is_some_and(|line| !line.is_lost());
        book.flag(&f::HOST_CONNECTED, &[&client.name], connected);
        if let Some(until) = certificates::good_until(house, client.id).await? {
            book.add(&f::CERTIFICATE, &[&client.name], seconds(until));
        }
    }
    book.count(&f::SEARCH_WAITING, &[], server.search_state().waiting);
    Ok(())
}
