//! A month of a suite, as fast as it can be decided on: 20 clients, 200 tasks, on a clock that jumps by ten
//! years in both directions, with a server that is off for hours. What ran is held against the plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use simsim_catalog::{
    Catalog, CatalogOptions, CatalogPlace, Datastore, DatastoreState, JobEnd, JobStart, JobState,
    NewClient, NewEvent, Put, Replication, RunFate, RunFilter, TaskSettings,
};
use simsim_model::{Kind, Level, Outcome, StoreId, TargetKind};
use simsim_schedule::{
    Considered, Event, EventKind, Fate, FollowUps, Priority, Resource, Subject, plan,
};
use simsim_testkit::Rng;

use super::programme::{EventDocument, Setup};
use super::{after_absence, round_of_all};

mod plan;

const STORES: [StoreId; 2] = [StoreId([1; 16]), StoreId([2; 16])];
/// 2026-10-12T00:00:00Z: two weeks before the clocks of Europe go back.
const BEGIN_S: i64 = 1_791_763_200;
const DAYS: i64 = 31;
const TEN_YEARS_MS: i64 = 3652 * 86_400_000;

struct World {
    folder: tempfile::TempDir,
    catalog: Catalog,
}

fn open(folder: &std::path::Path) -> Catalog {
    let place = CatalogPlace::File(folder.join("catalog.db"));
    Catalog::open(&CatalogOptions { place, audit_key: [7; 32], now_unix_ms: 1 }).unwrap()
}

impl World {
    fn new(clients: usize, tasks_each: usize) -> Self {
        let shm = std::path::Path::new("/dev/shm");
        let folder = match shm.is_dir() {
            true => tempfile::tempdir_in(shm).unwrap(),
            false => tempfile::tempdir().unwrap(),
        };
        let catalog = open(folder.path());
        let mut device = None;
        for number in 0..clients {
            let new = NewClient {
                name: format!("c{number:02}"),
                host_key: format!("key {number}"),
                addresses: vec!["host".to_owned()],
                listen_port: 7,
                suite_version: "0".to_owned(),
            };
            let client = catalog.enrol_self(&new, 1).unwrap();
            device.get_or_insert(client.id);
            if number == 0 {
                for (store, name) in STORES.iter().zip(["main", "copy"]) {
                    let datastore = Datastore {
                        store: *store,
                        name: name.to_owned(),
                        device: client.id,
                        path: format!("/{name}").into_bytes(),
                        state: DatastoreState::Active,
                        created_unix_ms: 1,
                    };
                    catalog.add_datastore(&datastore).unwrap();
                    catalog.add_drive(*store, None, 4).unwrap();
                }
            }
            for task in 0..tasks_each {
                let settings = TaskSettings {
                    name: format!("t{number:02}-{task}"),
                    client: new.name.clone(),
                    kind: TargetKind::Path,
                    sources: vec![b"/data".to_vec()],
                    excludes: Vec::new(),
                    options: "{}".to_owned(),
                    store: STORES[0],
                    drive_group: None,
                    drive: None,
                    pool: None,
                    eol_days: 0,
                };
                catalog.add_task(&settings, 1).unwrap();
            }
        }
        let replication = Replication {
            name: "away".to_owned(),
            source: STORES[0],
            target: STORES[1],
            pull: false,
            drive: 2,
            client_name: None,
            task_name: None,
            rates: Vec::new(),
            created_unix_ms: 1,
        };
        catalog.put_replication(Put::Add, &replication).unwrap();
        Self { folder, catalog }
    }

    /// The server dies and starts again.
    fn restart(&mut self) {
        let path = self.folder.path().to_owned();
        let there = std::mem::replace(&mut self.catalog, open(&self.folder.path().join("aside")));
        drop(there);
        self.catalog = open(&path);
    }

    fn add(&self, event: Event, line: &str, more: impl FnOnce(&mut EventDocument)) {
        let now = at(0);
        let schedule = (!line.is_empty()).then(|| event.name.clone());
        if let Some(name) = &schedule {
            self.catalog.put_schedule(Put::Add, name, line, &[], 1).unwrap();
        }
        let mut document = EventDocument {
            event: Event { schedule: schedule.clone(), ..event },
            task_groups: Vec::new(),
            locations: Vec::new(),
            all: false,
            retries: 0,
            retry_after_s: 0,
            timeout_s: None,
            depth: None,
            scrub: None,
            drill: None,
        };
        more(&mut document);
        let new = NewEvent {
            name: document.event.name.clone(),
            kind: document.event.kind.as_str().to_owned(),
            schedule,
            own_schedule: None,
            enabled: true,
            document: serde_json::to_string(&document).unwrap(),
            uses: Vec::new(),
            considered: Some(serde_json::to_string(&Considered::until(now)).unwrap()),
        };
        self.catalog.put_event(Put::Add, &new, 1).unwrap();
    }

    /// Ends jobs that wait, as far as they may start; every one with `likely` of 100.
    fn work(&self, rng: &mut Rng, now_ms: i64, likely: u64) {
        for job in self.catalog.queued_jobs().unwrap() {
            let early = job.waiting.not_before_unix_ms.is_some_and(|at| at > now_ms);
            if early || rng.below(100) >= likely {
                continue;
            }
            let outcome = match rng.below(100) {
                0..4 => Outcome::Failed,
                4..8 => Outcome::FinishedWithErrors,
                _ => Outcome::Finished,
            };
            let start =
                JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
            self.catalog.start_job(job.number, &start, now_ms).unwrap();
            let mut end = JobEnd::because(outcome, Kind::Internal, "so");
            if outcome != Outcome::Failed {
                end.error = None;
            }
            self.catalog.end_job(job.number, &end, now_ms).unwrap();
        }
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(BEGIN_S + seconds).unwrap()
}

fn subjects(names: &[&str]) -> Vec<Subject> {
    names.iter().map(|name| Subject { name: (*name).to_owned(), expected_s: 0 }).collect()
}

fn usual_events(world: &World) {
    let nightly = Event {
        follow_ups: FollowUps {
            success: vec!["away".to_owned()],
            warning: vec!["away".to_owned()],
            failure: Vec::new(),
        },
        ..Event::new("nightly", EventKind::Backup)
    };
    world.add(nightly, "daily 22:00 Europe/Berlin", |document| {
        document.all = true;
        document.retries = 2;
    });
    let full = Event {
        priority: Priority::new(50).unwrap(),
        level: Some(Level::Full),
        ..Event::new("weekly", EventKind::Backup)
    };
    world.add(full, "sat 22:30 Europe/Berlin missed all 3", |document| document.all = true);
    let often =
        Event { subjects: subjects(&["t00-0", "t01-1"]), ..Event::new("often", EventKind::Backup) };
    world.add(often, "every 1h 08:00-18:00 Europe/Berlin missed skip", |_| {});
    let collect = Event {
        subjects: subjects(&["main", "copy"]),
        priority: Priority::ALWAYS,
        ..Event::new("collect", EventKind::GarbageCollection)
    };
    world.add(collect, "daily 06:00 UTC", |_| {});
    let away =
        Event { subjects: subjects(&["away"]), ..Event::new("away", EventKind::Replication) };
    world.add(away, "", |_| {});
    world.add(Event::new("day", EventKind::BackupDayChange), "daily 08:00 Europe/Berlin", |_| {});
}

/// All runs, and what holds for them whatever happened.
fn sound(world: &World) -> Vec<simsim_catalog::Run> {
    let runs = world.catalog.runs(&RunFilter::default()).unwrap();
    let mut seen = BTreeSet::new();
    for run in &runs {
        let identity = (run.event.clone(), run.cause.clone(), run.subject.clone());
        assert!(seen.insert(identity), "twice: {run:?}");
        let has_job = run.job.is_some();
        let is_change = run.kind == "backup-day-change";
        assert_eq!(has_job, run.fate == RunFate::Runs && !is_change, "{run:?}");
    }
    // Every job belongs to a run, by itself or as an earlier attempt, and none is lost.
    let jobs = world.catalog.jobs(&simsim_catalog::JobFilter::default()).unwrap();
    let of_runs: BTreeSet<u64> = runs.iter().filter_map(|run| run.job).collect();
    let earlier: BTreeSet<u64> = jobs.iter().filter_map(|job| job.waiting.retry_of).collect();
    for job in &jobs {
        let known = of_runs.contains(&job.number) || earlier.contains(&job.number);
        assert!(known, "job {} belongs to no run", job.number);
        assert!(job.state.is_ended(), "job {} is {}", job.number, job.state);
    }
    assert_eq!(jobs.len(), of_runs.len() + earlier.len(), "one job for each attempt");
    runs
}

#[test]
fn a_month_on_a_good_clock_is_what_the_plan_says() {
    let world = World::new(20, 10);
    usual_events(&world);
    let mut rng = Rng::new(1);
    let mut seconds = 0;
    while seconds < DAYS * 86_400 {
        seconds += 300 + rng.below(2_400) as i64;
        let now = at(seconds).as_millisecond();
        round_of_all(&world.catalog, now).unwrap();
        world.work(&mut rng, now, 100);
    }
    for _ in 0..8 {
        seconds += 7 * 3600;
        let now = at(seconds).as_millisecond();
        // Nothing more is decided on; other attempts and follow-ups run out.
        for job in world.catalog.unfollowed_jobs().unwrap() {
            let setup = Setup::read(&world.catalog).unwrap();
            let open = super::open_runs(&world.catalog).unwrap();
            let follow =
                super::follow::follow(&world.catalog, &setup, &job, &open, at(seconds)).unwrap();
            world.catalog.follow_job(job.number, &follow.runs, follow.retry.as_ref(), now).unwrap();
        }
        world.work(&mut rng, now, 100);
    }
    let runs = sound(&world);
    let setup = Setup::read(&world.catalog).unwrap();
    let planned = plan(&setup.programme, &setup.almanac, at(1), at(DAYS * 86_400)).unwrap();
    let mut fates: BTreeMap<(String, String, i64), RunFate> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.occurrence_unix_ms.is_some()) {
        let occurrence = run.occurrence_unix_ms.unwrap();
        fates.insert((run.event.clone(), run.subject.clone(), occurrence), run.fate);
    }
    let (mut ran, mut suppressed) = (0, 0);
    for entry in &planned.entries {
        let key = (entry.event.clone(), entry.subject.clone(), entry.at.as_millisecond());
        let fate = fates.remove(&key).unwrap_or_else(|| panic!("not decided on: {entry:?}"));
        match (&entry.fate, fate) {
            (Fate::Runs, RunFate::Runs) => ran += 1,
            (Fate::Suppressed { .. }, RunFate::Suppressed) => suppressed += 1,
            other => panic!("{other:?} for {entry:?}"),
        }
    }
    assert_eq!(fates.len(), 0, "decided on and not planned: {fates:?}");
    // 31 nights of which some belong to the weekly one; it suppresses the nightly one of its backup day.
    assert!(ran > 200 * 31 && suppressed >= 200 * 4, "{ran} {suppressed}");
    // The replication follows each night that did not fail, once.
    let nights: BTreeSet<&str> = runs
        .iter()
        .filter(|run| run.event == "nightly" && run.fate == RunFate::Runs)
        .map(|run| run.cause.as_str())
        .collect();
    let copies = runs.iter().filter(|run| run.event == "away").count();
    let failed_nights = nights
        .iter()
        .filter(|night| {
            let of_night = runs.iter().filter(|run| run.event == "nightly" && run.cause == **night);
            of_night.filter_map(|run| run.job).any(|job| {
                world.catalog.job(job).unwrap().state == JobState::Ended(Outcome::Failed)
            })
        })
        .count();
    assert_eq!(copies, nights.len() - failed_nights, "{} nights", nights.len());
}

#[test]
fn nothing_is_lost_or_doubled_by_deaths_absences_and_clocks_that_jump_by_ten_years() {
    for seed in [2, 3] {
        let mut world = World::new(5, 3);
        usual_events(&world);
        let mut rng = Rng::new(seed);
        let (mut seconds, mut jump_ms, mut jumped) = (0, 0, false);
        // Instants at which somebody looked with a good clock.
        let mut looked: Vec<i64> = vec![at(0).as_millisecond()];
        while seconds < DAYS * 86_400 {
            seconds += match rng.below(40) {
                // The server is off for hours or days.
                0 => 6 * 3600 + rng.below(200_000) as i64,
                _ => 120 + rng.below(2_400) as i64,
            };
            let was = jump_ms;
            if rng.below(60) == 0 {
                jump_ms = [0, TEN_YEARS_MS, -TEN_YEARS_MS][rng.below(3) as usize];
                jumped |= jump_ms != 0;
            }
            let now = at(seconds).as_millisecond() + jump_ms;
            if was != jump_ms {
                world.catalog.shift_waiting(jump_ms - was, now).unwrap();
            }
            if rng.below(15) == 0 {
                world.restart();
                let (late, not) = after_absence(&world.catalog, now).unwrap();
                assert!(late.iter().all(|job| !not.contains(job)));
                world.catalog.start_later(&late, now + 3_600_000).unwrap();
            }
            if jump_ms == 0 {
                looked.push(now);
            }
            round_of_all(&world.catalog, now).unwrap();
            world.work(&mut rng, now, 80);
        }
        assert!(jumped);
        // The clock is right again, and everything that waits runs out.
        for _ in 0..40 {
            seconds += 7 * 3600;
            let now = at(seconds).as_millisecond();
            looked.push(now);
            round_of_all(&world.catalog, now).unwrap();
            world.work(&mut rng, now, 100);
        }
        for _ in 0..10 {
            for job in world.catalog.unfollowed_jobs().unwrap() {
                world.catalog.follow_job(job.number, &[], None, 1).unwrap();
            }
            world.work(&mut rng, i64::MAX, 100);
        }
        let runs = sound(&world);
        // Whatever the clock did: between two looks with a good one, a `missed once` event whose time came ran
        // or says why not.
        let setup = Setup::read(&world.catalog).unwrap();
        let end = looked.last().copied().unwrap();
        let schedule = &setup.programme.schedules["collect"];
        let decided: BTreeSet<i64> = runs
            .iter()
            .filter(|run| run.event == "collect")
            .filter_map(|run| run.occurrence_unix_ms)
            .collect();
        for pair in looked.windows(2) {
            let [from, to] = [pair[0], pair[1]];
            let due: Vec<i64> = simsim_schedule::occurrences(
                schedule,
                &setup.almanac,
                super::instant(from + 1),
                super::instant(to + 1),
            )
            .unwrap()
            .map(|at| at.as_millisecond())
            .collect();
            if due.is_empty() || to > end {
                continue;
            }
            let any = due.iter().any(|occurrence| decided.contains(occurrence));
            assert!(any, "seed {seed}: of {due:?} none was decided on");
        }
        // No month has more runs of an event and subject than occurrences and jumps allow.
        let ten_years_on = BEGIN_S * 1000 + TEN_YEARS_MS - 86_400_000;
        let far = runs.iter().filter(|run| run.occurrence_unix_ms > Some(ten_years_on)).count();
        assert!(far < runs.len() / 2, "{far} of {} runs are of the far future", runs.len());
    }
}

#[test]
fn what_suppresses_or_holds_up_a_run_is_said() {
    let world = World::new(1, 1);
    let high = Event {
        priority: Priority::new(9).unwrap(),
        blocking: true,
        subjects: subjects(&["t00-0"]),
        ..Event::new("window", EventKind::Backup)
    };
    world.add(high, "daily 12:00 UTC", |_| {});
    let low = Event { subjects: subjects(&["t00-0"]), ..Event::new("low", EventKind::Backup) };
    world.add(low, "daily 22:00 UTC", |_| {});
    let free = Event {
        subjects: subjects(&["t00-0", "gone"]),
        priority: Priority::ALWAYS,
        blocking_dates: Default::default(),
        ..Event::new("free", EventKind::Backup)
    };
    world.add(free, "every 30m UTC", |_| {});
    let mut now = 0;
    while now < 86_400 {
        round_of_all(&world.catalog, at(now).as_millisecond()).unwrap();
        now += 600;
    }
    let of = |event: &str| {
        let filter = RunFilter { event: Some(event.to_owned()), ..RunFilter::default() };
        let mut runs = world.catalog.runs(&filter).unwrap();
        runs.reverse();
        runs
    };
    assert_eq!(of("window")[0].fate, RunFate::Blocks);
    let low = &of("low")[0];
    assert_eq!(low.fate, RunFate::Suppressed);
    assert!(low.why.as_deref().unwrap().contains("event 'window' has priority 9"), "{low:?}");
    let free = of("free");
    assert_eq!((free[0].fate, free[0].job.is_some()), (RunFate::Runs, true));
    assert_eq!(free[1].fate, RunFate::Refused);
    assert!(free[1].why.as_deref().unwrap().contains("there is no task 'gone'"), "{free:?}");
    // Nobody works here, so the next ones of the same subject wait for the first.
    assert_eq!(free[2].fate, RunFate::Missed);
    assert!(free[2].why.as_deref().unwrap().contains("has not ended"), "{:?}", free[2]);
    let queued = world.catalog.queued_jobs().unwrap();
    assert_eq!(queued.len(), 1, "{queued:?}");
    assert_eq!(queued[0].waiting.rank, 100);
    let by = queued[0].waiting.start_by_unix_ms.unwrap();
    assert_eq!(by - free[0].occurrence_unix_ms.unwrap(), 3_600_000, "the window of an hour");
}

#[test]
fn a_failed_job_is_tried_again_later_each_time_and_not_for_ever() {
    let world = World::new(1, 1);
    let event = Event {
        subjects: subjects(&["t00-0"]),
        follow_ups: FollowUps { failure: vec!["alarm".to_owned()], ..FollowUps::default() },
        ..Event::new("one", EventKind::Backup)
    };
    world.add(event, "daily 01:00 UTC", |document| {
        document.retries = 2;
        document.retry_after_s = 600;
    });
    let alarm =
        Event { subjects: subjects(&["main"]), ..Event::new("alarm", EventKind::Verification) };
    world.add(alarm, "", |_| {});
    let fail = |number: u64, now: i64| {
        let start =
            JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
        world.catalog.start_job(number, &start, now).unwrap();
        let end = JobEnd::because(Outcome::Failed, Kind::Unreachable, "away");
        world.catalog.end_job(number, &end, now).unwrap();
    };
    let mut now = at(3_600).as_millisecond();
    round_of_all(&world.catalog, now).unwrap();
    let mut waits = Vec::new();
    for attempt in 1..=3 {
        let queued = world.catalog.queued_jobs().unwrap();
        assert_eq!(queued.len(), 1, "{queued:?}");
        assert_eq!(queued[0].waiting.attempt, attempt);
        waits.extend(queued[0].waiting.not_before_unix_ms.map(|at| (at - now) / 1000));
        now += 60_000;
        fail(queued[0].number, now);
        round_of_all(&world.catalog, now).unwrap();
    }
    assert_eq!(waits, [600, 1200]);
    let queued = world.catalog.queued_jobs().unwrap();
    assert_eq!(queued.len(), 1, "only what follows a failure");
    assert_eq!(queued[0].waiting.event, "alarm");
    let after = now + SignedDuration::from_hours(1).as_millis() as i64;
    round_of_all(&world.catalog, after).unwrap();
    assert_eq!(world.catalog.queued_jobs().unwrap().len(), 1, "once");
}
