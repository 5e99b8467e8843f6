//! The queue: starts jobs when a drive has a free place, by rank and then the oldest first.
//!
//! A job of a drive group takes a drive that leads where its task's last saveset is, so that it has
//! something to compare with. Only a FULL or a COPY goes elsewhere while those drives are full.
//!
//! A job that must wait (its drives are full, or another backup of its task runs) does not hold
//! up those behind it that need not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{Catalog, Client, ClientId, Drive, Job, JobEnd, JobKind, Severity};
use simsim_model::{Kind, Outcome, ProgressSnapshot, StoreId};
use simsim_transfer::throttle::Party;
use tokio::sync::Notify;

use super::announce::{Announcer, JobEventKind};
use super::clock_watch::ClockWatch;
use super::long_call::{CallEnd, LongVerb, see_through};
use super::places::Places;
use super::running::Running;
use super::wish::Wish;
use super::{backup, command, device_call, drill, finish, migrate, replicate, restore};
use crate::ServerError;
use crate::books::Books;
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::wake::Woken;
use crate::{scheduler, streams};

/// The queue is looked at anew after this time, whatever happens.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// Stands where a job takes no drive: drives are counted from 1.
const NO_DRIVE: u32 = 0;
/// So long a job may still start that waited while the server was off.
const LATE_WINDOW_MS: i64 = 3_600_000;

/// Running jobs and the queue before them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Jobs {
    shared: Arc<Shared>,
}

struct Shared {
    books: Books,
    announcer: Announcer,
    running: Mutex<HashMap<u64, Arc<Running>>>,
    /// Why jobs that wait do, as of the last look at the queue.
    waiting: Mutex<HashMap<u64, String>>,
    /// How often what jobs wait for was changed by a person: what an earlier look found is not told after that.
    changes: AtomicU64,
    clock: Mutex<ClockWatch>,
    woken: Mutex<Woken>,
    wake: Notify,
}

impl Jobs {
    pub(crate) fn new(books: Books, announcer: Announcer) -> Self {
        let shared = Shared {
            books,
            announcer,
            running: Mutex::default(),
            waiting: Mutex::default(),
            changes: AtomicU64::new(0),
            clock: Mutex::new(ClockWatch::begin(now_unix_ms())),
            woken: Mutex::default(),
            wake: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.shared.announcer
    }

    /// Something changed: look at the queue.
    pub(crate) fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// A person changed what holds jobs up: what they waited for is not said again before the next look.
    pub(crate) fn look_anew(&self) {
        let mut waiting = self.shared.waiting.lock();
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
        waiting.clear();
        drop(waiting);
        self.wake();
    }

    /// The counters of a running job, newer than the catalog's.
    pub(crate) fn progress(&self, number: u64) -> Option<ProgressSnapshot> {
        self.running(number).map(|running| running.progress())
    }

    /// What a job waits for now, if it does.
    pub(crate) fn waits(&self, number: u64) -> Option<String> {
        match self.running(number) {
            Some(running) => running.waits(),
            None => self.shared.waiting.lock().get(&number).cloned(),
        }
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
        let now = now_unix_ms();
        let changes = self.shared.changes.load(Ordering::Relaxed);
        let jump = self.shared.clock.lock().jump(now);
        if let Some(jump_ms) = jump {
            tracing::warn!(
                jump_ms,
                "the clock jumped; jobs that wait go on waiting as long as they had to"
            );
            self.shared.books.run(move |catalog| catalog.shift_waiting(jump_ms, now)).await?;
        }
        let read = move |catalog: &Catalog| {
            let queued = catalog.queued_jobs()?;
            let places = Places::read(catalog, &queued, now)?;
            let clients = if queued.is_empty() { Vec::new() } else { catalog.clients()? };
            Ok((queued, places, clients))
        };
        let (queued, places, clients) = self.shared.books.run(read).await?;
        let mut waiting = HashMap::new();
        for mut job in queued {
            let reached = house
                .nodes
                .status(job.client)
                .is_none_or(|status| status.line.is_some_and(|line| !line.is_lost()));
            let (drive, store) = match self.place_for(&job, &places, reached) {
                Ok(place) => place,
                Err(why) => {
                    let expired = job.waiting.start_by_unix_ms.is_some_and(|by| by < now);
                    if expired && job.waiting.held_by.is_none() && !self.is_running(job.number) {
                        self.expire(house, &job, &why).await?;
                    } else {
                        let woken = match reached {
                            false => self.wake_client(&clients, &job, now),
                            true => None,
                        };
                        waiting.insert(job.number, why + &woken.unwrap_or_default());
                    }
                    continue;
                }
            };
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
        let mut told = self.shared.waiting.lock();
        // Else whoever changed something since has woken the queue, and the next look says it.
        if self.shared.changes.load(Ordering::Relaxed) == changes {
            *told = waiting;
        }
        Ok(())
    }

    /// Wakes the client of a job that waits for it, where it is known how, and nothing else is in the way.
    fn wake_client(&self, clients: &[Client], job: &Job, now_unix_ms: i64) -> Option<String> {
        let early = job.waiting.not_before_unix_ms.is_some_and(|at| at > now_unix_ms);
        if early || job.waiting.held_by.is_some() {
            return None;
        }
        let client =
            clients.iter().find(|client| client.id == job.client && client.is_enrolled())?;
        self.shared.woken.lock().wake(client, now_unix_ms)
    }

    /// A job whose start window has passed does not run.
    async fn expire(&self, house: &House, job: &Job, why: &str) -> Result<(), ServerError> {
        let message = format!("it did not start within its start window: {why}");
        tracing::warn!(job = job.number, "{message}");
        let end = JobEnd::because(Outcome::Failed, Kind::Busy, message);
        let number = job.number;
        let ended = self
            .shared
            .books
            .run(move |catalog| catalog.end_job(number, &end, now_unix_ms()))
            .await?;
        self.announcer().tell(number, JobEventKind::State { state: ended.state });
        house.scheduler.wake();
        Ok(())
    }

    fn is_running(&self, number: u64) -> bool {
        self.shared.running.lock().contains_key(&number)
    }

    /// A drive with a free place, and its datastore; the emptiest of those that the job may take. Else what
    /// it waits for.
    fn place_for(
        &self,
        job: &Job,
        places: &Places,
        reached: bool,
    ) -> Result<(u32, StoreId), String> {
        let running = self.shared.running.lock();
        if running.contains_key(&job.number) {
            return Err("it is about to end".to_owned());
        }
        places.may_start(job, reached)?;
        let twin = |other: &&Arc<Running>| {
            other.is_backup && other.task_name == job.task_name && other.client == job.client
        };
        // Raw streams are compared with nothing: those of one task may run side by side.
        let is_raw = || Wish::of(job).is_ok_and(|wish| wish.is_raw() && !wish.is_self_backup());
        if job.kind == JobKind::Backup
            && let Some(twin) = running.values().find(twin)
            && !is_raw()
        {
            return Err(format!("job {} backs the same task up", twin.number));
        }
        let of_client = running.values().filter(|one| one.client == job.client).count();
        places.has_room(job, running.len(), of_client)?;
        if job.kind == JobKind::Command {
            return Ok((NO_DRIVE, job.store));
        }
        let taken = |drive: &Drive| running.values().filter(|r| r.drive == drive.number).count();
        let in_group = |group: &str| {
            running.values().filter(|one| places.group_of_drive(one.drive) == Some(group)).count()
        };
        let full = |drive: &Drive| {
            taken(drive) >= drive.jobs_max as usize || places.group_is_full(drive, &in_group)
        };
        let drives = places.drives_for(job, &full);
        let may = drives.iter().copied().filter(|drive| !full(drive));
        match may.min_by_key(|drive| (taken(drive), drive.number)) {
            Some(emptiest) => Ok((emptiest.number, emptiest.store)),
            None => Err(Places::why_full(&drives)),
        }
    }

    fn spawn(&self, house: &Arc<House>, job: Job, running: Arc<Running>, pick_up: bool) {
        let weak = Arc::downgrade(house);
        let (stop, jobs) = (house.stop.clone(), self.clone());
        house.tasks.spawn(async move {
            tokio::select! {
                // A Server that stops leaves its jobs *running* in the catalog: the clients work
                // on, and the next start picks them up.
                () = stop.cancelled() => {}
                () = within_time(&job, &running, work(weak.clone(), &job, &running, pick_up)) => {}
            }
            jobs.shared.running.lock().remove(&job.number);
            jobs.wake();
            if let Some(house) = weak.upgrade() {
                house.scheduler.wake();
            }
        });
    }

    /// Jobs whose start window passed while the server was off.
    async fn after_absence(&self, house: &House) -> Result<(), ServerError> {
        let books = house.books.clone();
        let asked = tokio::task::spawn_blocking(move || {
            scheduler::after_absence(books.catalog(), now_unix_ms())
        });
        let late = asked.await.map_err(|error| ServerError::Lost(error.to_string()))?;
        let (late, not) = late.map_err(ServerError::from)?;
        if !late.is_empty() || !not.is_empty() {
            tracing::warn!(
                ?late,
                ?not,
                "jobs waited while the server was off: these start late, those do not start"
            );
        }
        let by = now_unix_ms().saturating_add(LATE_WINDOW_MS);
        self.shared.books.run(move |catalog| catalog.start_later(&late, by)).await
    }

    /// Follows every job that the catalog still holds for running.
    async fn pick_up(&self, house: &Arc<House>) -> Result<(), ServerError> {
        self.after_absence(house).await?;
        // Tickets of jobs that have ended, and whose devices could not be told before.
        let left = self.shared.books.run(|catalog| catalog.tickets_left()).await?;
        house.unrevoked.lock().extend(left);
        let jobs = self.shared.books.run(|catalog| catalog.recover_jobs()).await?;
        for job in jobs {
            let drive = job.drive.unwrap_or(NO_DRIVE);
            let running =
                Running::new(&job, drive, self.shared.books.clone(), self.announcer().clone());
            self.shared.running.lock().insert(job.number, Arc::clone(&running));
            self.spawn(house, job, running, true);
        }
        Ok(())
    }
}

/// Tells a job to end that works longer than it may.
async fn within_time(job: &Job, running: &Arc<Running>, work: impl Future<Output = ()>) {
    let Some(timeout_s) = job.waiting.timeout_s else { return work.await };
    let whole_ms = u64::from(timeout_s) * 1000;
    let since = job.started_unix_ms.map_or(0, |started| now_unix_ms().saturating_sub(started));
    let left = whole_ms.saturating_sub(u64::try_from(since).unwrap_or(0));
    let mut work = std::pin::pin!(work);
    tokio::select! {
        () = &mut work => {}
        () = tokio::time::sleep(Duration::from_millis(left)) => {
            running.time_out(timeout_s).await;
            work.await;
        }
    }
}

async fn work(house: Weak<House>, job: &Job, running: &Arc<Running>, pick_up: bool) {
    let Some(house) = house.upgrade() else { return };
    let is_raw = Wish::of(job).is_ok_and(|wish| wish.is_raw());
    let end = if pick_up {
        running
            .log(Severity::Warning, "the server was restarted; asking what became of the job")
            .await;
        let end = match Wish::of(job) {
            Ok(Wish::Migrate(wish)) => migrate::go_on(&house, job, &wish, running).await,
            Ok(Wish::Heal(wish)) => replicate::heal_on(&house, job, &wish, running).await,
            Ok(Wish::Scrub(_)) => {
                let end = follow(&house, job, running).await;
                device_call::after_scrub(&house, job, running, &end).await;
                end
            }
            _ => follow(&house, job, running).await,
        };
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
            Ok(Wish::Scrub(wish)) => device_call::scrub(&house, job, &wish, running).await,
            Ok(Wish::Rebuild) => device_call::rebuild(&house, job, running).await,
            Ok(Wish::Collect(wish)) => device_call::collect(&house, job, &wish, running).await,
            Ok(Wish::Replicate(wish)) => replicate::run(&house, job, &wish, running).await,
            Ok(Wish::Migrate(wish)) => migrate::run(&house, job, &wish, running).await,
            Ok(Wish::Heal(wish)) => replicate::heal(&house, job, &wish, running).await,
            Ok(Wish::Drill(wish)) => drill::run(&house, job, &wish, running).await,
            Ok(Wish::Command(wish)) => command::run(&house, job, &wish, running).await,
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
    let device = match job.kind {
        JobKind::Command => job.client,
        _ => match house.books.run(move |catalog| catalog.datastore_with_id(store)).await {
            Ok(datastore) => datastore.device,
            Err(_) => return,
        },
    };
    for id in [device, job.client] {
        if id == job.client && id != device && !client_works {
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
