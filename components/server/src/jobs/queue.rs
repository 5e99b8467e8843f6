//! The queue: starts jobs when a drive has a free place, oldest first.
//!
//! A job of a drive group takes a drive that leads where its task's last saveset is, so that it has
//! something to compare with. Only a FULL or a COPY goes elsewhere while those drives are full.
//!
//! A job that must wait (its drives are full, or another backup of its task runs) does not hold
//! up those behind it that need not.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{
    Catalog, CatalogError, ClientId, DatastoreState, Drive, Job, JobKind, Severity,
};
use simsim_model::{Level, ProgressSnapshot, StoreId};
use simsim_transfer::throttle::Party;
use tokio::sync::Notify;

use super::announce::Announcer;
use super::long_call::{CallEnd, LongVerb, see_through};
use super::running::Running;
use super::wish::Wish;
use super::{backup, device_call, finish, replicate, restore};
use crate::ServerError;
use crate::books::Books;
use crate::house::House;
use crate::streams;

/// The queue is looked at anew after this time, whatever happens.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Running jobs and the queue before them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    books: Books,
    announcer: Announcer,
    running: Mutex<HashMap<u64, Arc<Running>>>,
    wake: Notify,
}

/// What the jobs that wait may be given.
struct Places {
    drives: Vec<Drive>,
    /// Datastores in service.
    active: HashSet<StoreId>,
    /// Where the last saveset of a job's task is; for jobs of drive groups.
    last: HashMap<u64, StoreId>,
}

impl Places {
    fn read(catalog: &Catalog, queued: &[Job]) -> Result<Self, CatalogError> {
        let datastores = catalog.datastores()?;
        let active = datastores.iter().filter(|one| one.state == DatastoreState::Active);
        let mut last = HashMap::new();
        for job in queued {
            if group_of(job).is_some()
                && let Some(store) = catalog.last_store_of(&job.client_name, &job.task_name)?
            {
                last.insert(job.number, store);
            }
        }
        let active = active.map(|one| one.store).collect();
        Ok(Self { drives: catalog.drives()?, active, last })
    }

    /// The drives that a job may take; `full` are those without a free place.
    fn drives_for(&self, job: &Job, full: &dyn Fn(&Drive) -> bool) -> Vec<&Drive> {
        let Some(group) = group_of(job) else {
            let is_its = |drive: &&Drive| {
                drive.store == job.store && job.drive.is_none_or(|wanted| wanted == drive.number)
            };
            return self.drives.iter().filter(is_its).collect();
        };
        let all: Vec<&Drive> =
            self.drives.iter().filter(|drive| drive.group.as_ref() == Some(&group)).collect();
        // Where none is in service, the job is started and told so.
        let some: Vec<&Drive> =
            all.iter().copied().filter(|drive| self.active.contains(&drive.store)).collect();
        let all = if some.is_empty() { all } else { some };
        let near: Vec<&Drive> = match self.last.get(&job.number) {
            Some(last) => all.iter().copied().filter(|drive| drive.store == *last).collect(),
            None => Vec::new(),
        };
        let compares = !matches!(job.level, Some(Level::Full | Level::Copy));
        match near.is_empty() || (!compares && near.iter().all(|drive| full(drive))) {
            true => all,
            false => near,
        }
    }
}

fn group_of(job: &Job) -> Option<String> {
    Wish::of(job).ok()?.drive_group().map(str::to_owned)
}

impl Jobs {
    pub(crate) fn new(books: Books, announcer: Announcer) -> Self {
        let shared = Shared { books, announcer, running: Mutex::default(), wake: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.shared.announcer
    }

    /// Something changed: look at the queue.
    pub(crate) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// The counters of a running job, newer than the catalog's.
    pub(crate) fn progress(&self, number: u64) -> Option<ProgressSnapshot> {
        self.running(number).map(|running| running.progress())
    }

    /// What a job waits for now, if it does.
    pub(crate) fn waits(&self, number: u64) -> Option<String> {
        self.running(number)?.waits()
    }

    /// Whose rate limits count for a running job, where this server granted its transfer.
    pub(crate) fn party(&self, number: u64) -> Option<Party> {
        self.running(number)?.party().cloned()
    }

    /// Tells a running job to end; false when it does not run.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        self.running(number).map(|running| running.cancel.cancel()).is_some()
    }

    /// Numbers of the running jobs of one client.
    pub(crate) fn of_client(&self, client: ClientId) -> Vec<u64> {
        let running = self.shared.running.lock();
        let mut numbers: Vec<u64> = running
            .values()
            .filter(|running| running.client == client)
            .map(|running| running.number)
            .collect();
        numbers.sort_unstable();
        numbers
    }

    fn running(&self, number: u64) -> Option<Arc<Running>> {
        self.shared.running.lock().get(&number).map(Arc::clone)
    }

    /// Starts what may start, until the Server stops. First picks up the jobs that ran when it
    /// ended last.
    pub(crate) async fn run(self, house: Arc<House>) {
        if let Err(error) = self.pick_up(&house).await {
            tracing::error!(error = %error.full_message(), "interrupted jobs could not be picked up");
        }
        let house = Arc::downgrade(&house);
        loop {
            match house.upgrade() {
                Some(house) => {
                    if let Err(error) = self.start_what_may(&house).await {
                        tracing::error!(error = %error.full_message(), "the queue could not be read");
                    }
                }
                None => return,
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    async fn start_what_may(&self, house: &Arc<House>) -> Result<(), ServerError> {
        let read = |catalog: &Catalog| {
            let queued = catalog.queued_jobs()?;
            let places = Places::read(catalog, &queued)?;
            Ok((queued, places))
        };
        let (queued, places) = self.shared.books.run(read).await?;
        for mut job in queued {
            let Some((drive, store)) = self.place_for(&job, &places) else { continue };
            if store != job.store {
                let number = job.number;
                self.shared.books.run(move |catalog| catalog.place_job(number, store)).await?;
                job.store = store;
            }
            let running =
                Running::new(&job, drive, self.shared.books.clone(), self.announcer().clone());
            self.shared.running.lock().insert(job.number, Arc::clone(&running));
            self.spawn(house, job, running, false);
        }
        Ok(())
    }

    /// A drive with a free place, and its datastore; the emptiest of those that the job may take.
    fn place_for(&self, job: &Job, places: &Places) -> Option<(u32, StoreId)> {
        let running = self.shared.running.lock();
        if running.contains_key(&job.number) {
            return None;
        }
        let twin = |other: &Arc<Running>| {
            other.is_backup && other.task_name == job.task_name && other.client == job.client
        };
        // Raw streams are compared with nothing: those of one task may run side by side.
        let is_raw = || Wish::of(job).is_ok_and(|wish| wish.is_raw());
        if job.kind == JobKind::Backup && running.values().any(twin) && !is_raw() {
            return None;
        }
        let taken = |drive: &Drive| running.values().filter(|r| r.drive == drive.number).count();
        let full = |drive: &Drive| taken(drive) >= drive.jobs_max as usize;
        let may = places.drives_for(job, &full).into_iter().filter(|drive| !full(drive));
        let emptiest = may.min_by_key(|drive| (taken(drive), drive.number))?;
        Some((emptiest.number, emptiest.store))
    }

    fn spawn(&self, house: &Arc<House>, job: Job, running: Arc<Running>, pick_up: bool) {
        let weak = Arc::downgrade(house);
        let (stop, jobs) = (house.stop.clone(), self.clone());
        house.tasks.spawn(async move {
            tokio::select! {
                // A Server that stops leaves its jobs *running* in the catalog: the clients work
                // on, and the next start picks them up.
                () = stop.cancelled() => {}
                () = work(weak, &job, &running, pick_up) => {}
            }
            jobs.shared.running.lock().remove(&job.number);
            jobs.wake();
        });
    }

    /// Follows every job that the catalog still holds for running.
    async fn pick_up(&self, house: &Arc<House>) -> Result<(), ServerError> {
        let jobs = self.shared.books.run(|catalog| catalog.recover_jobs()).await?;
        for job in jobs {
            let drive = job.drive.unwrap_or(0);
            let running =
                Running::new(&job, drive, self.shared.books.clone(), self.announcer().clone());
            self.shared.running.lock().insert(job.number, Arc::clone(&running));
            self.spawn(house, job, running, true);
        }
        Ok(())
    }
}

async fn work(house: Weak<House>, job: &Job, running: &Arc<Running>, pick_up: bool) {
    let Some(house) = house.upgrade() else { return };
    let is_raw = Wish::of(job).is_ok_and(|wish| wish.is_raw());
    let end = if pick_up {
        running
            .log(Severity::Warning, "the server was restarted; asking what became of the job")
            .await;
        let end = follow(&house, job, running).await;
        if let Ok(Wish::Replicate(wish)) = Wish::of(job) {
            replicate::after(&house, &wish.replication, running).await;
        }
        end
    } else if running.cancel.is_cancelled() {
        CallEnd::Refused(ServerError::Refused("cancelled before it began".to_owned()))
    } else {
        tell_who_is_away(&house, job, running, !is_raw).await;
        match Wish::of(job) {
            Ok(Wish::Backup(wish)) if is_raw => {
                streams::run_store(&house, job, &wish, running).await
            }
            Ok(Wish::Read(wish)) => streams::run_read(&house, job, &wish, running).await,
            Ok(Wish::Backup(wish)) => backup::run(&house, job, &wish, running).await,
            Ok(Wish::Restore(wish)) => restore::run(&house, job, &wish, running).await,
            Ok(Wish::Verify(wish)) => device_call::verify(&house, job, &wish, running).await,
            Ok(Wish::Rebuild) => device_call::rebuild(&house, job, running).await,
            Ok(Wish::Collect(wish)) => device_call::collect(&house, job, &wish, running).await,
            Ok(Wish::Replicate(wish)) => replicate::run(&house, job, &wish, running).await,
            Ok(Wish::Heal(wish)) => replicate::heal(&house, job, &wish, running).await,
            Err(error) => CallEnd::Refused(error),
        }
    };
    finish::finish(&house, job, running, end).await;
    if is_raw {
        streams::tell_ended(&house, job.number).await;
    }
}

/// Says at once which host is being tried, before its patience runs out in silence.
async fn tell_who_is_away(house: &House, job: &Job, running: &Running, client_works: bool) {
    let store = job.store;
    let Ok(datastore) = house.books.run(move |catalog| catalog.datastore_with_id(store)).await
    else {
        return;
    };
    for id in [datastore.device, job.client] {
        if id == job.client && id != datastore.device && !client_works {
            continue;
        }
        let Some(status) = house.nodes.status(id) else { continue };
        if status.line.is_some_and(|line| !line.is_lost()) {
            continue;
        }
        let name = house.books.run(move |catalog| catalog.client_numbered(id)).await;
        let name = name.map_or_else(|_| "a host".to_owned(), |client| client.name);
        let why = status.last_error.map_or("not dialled yet".to_owned(), |(_, why)| why);
        let why = why.strip_prefix(&format!("{name}: ")).unwrap_or(&why);
        let line = format!("'{name}' is not reached now ({why}); trying again");
        running.log(Severity::Warning, line).await;
        if id == job.client {
            return;
        }
    }
}

async fn follow(house: &House, job: &Job, running: &Arc<Running>) -> CallEnd {
    fn none<V: LongVerb>() -> Option<V> {
        None
    }
    match Wish::of(job) {
        Ok(wish) if wish.is_raw() => return streams::follow(house, job, &wish, running).await,
        _ => {}
    }
    let begin = none::<simsim_control::verbs::StartBackup>();
    see_through(&house.nodes, running, job.client, begin, house.silence_max).await
}
