//! What follows what could not be queued, where runs go, and what they wait for.

use super::*;

/// Jobs of an event that wait, and what its runs say.
fn runs_of(world: &World, event: &str) -> Vec<simsim_catalog::Run> {
    let filter = RunFilter { event: Some(event.to_owned()), ..RunFilter::default() };
    let mut runs = world.catalog.runs(&filter).unwrap();
    runs.reverse();
    runs
}

#[test]
fn what_follows_a_failure_starts_once_when_no_run_of_an_occurrence_could_be_queued() {
    let world = World::new(1, 2);
    // A verification of tasks that have no saveset; then an event that is refused as well, with a follow-up.
    let check = Event {
        subjects: subjects(&["t00-0", "t00-1"]),
        follow_ups: FollowUps {
            success: vec!["never".to_owned()],
            warning: vec!["never".to_owned()],
            failure: vec!["alarm".to_owned(), "again".to_owned()],
        },
        ..Event::new("check", EventKind::Verification)
    };
    world.add(check, "daily 01:00 UTC", |_| {});
    let of = |name: &str, subject: &str, kind: EventKind, failure: &[&str]| Event {
        subjects: subjects(&[subject]),
        follow_ups: FollowUps {
            failure: failure.iter().map(|name| (*name).to_owned()).collect(),
            ..FollowUps::default()
        },
        ..Event::new(name, kind)
    };
    world.add(of("alarm", "main", EventKind::Verification, &[]), "", |_| {});
    world.add(of("again", "t00-1", EventKind::RestoreDrill, &["last"]), "", |_| {});
    world.add(of("last", "copy", EventKind::Verification, &[]), "", |_| {});
    world.add(of("never", "copy", EventKind::GarbageCollection, &[]), "", |_| {});
    let now = at(3_601).as_millisecond();
    let done = round_of_all(&world.catalog, now).unwrap();
    assert_eq!(done.jobs.len(), 2, "{:?}", done.jobs);
    let checks = runs_of(&world, "check");
    assert!(checks.iter().all(|run| run.fate == RunFate::Refused), "{checks:?}");
    let alarm = runs_of(&world, "alarm");
    assert_eq!(alarm.len(), 1, "once, not for each subject: {alarm:?}");
    assert_eq!(alarm[0].cause, "after 'check' at 2026-10-12T01:00:00Z");
    assert!(alarm[0].job.is_some());
    let (again, last) = (runs_of(&world, "again"), runs_of(&world, "last"));
    assert_eq!((again.len(), again[0].fate), (1, RunFate::Refused));
    assert_eq!((last.len(), last[0].job.is_some()), (1, true), "what follows a refused follow-up");
    assert!(runs_of(&world, "never").is_empty());
    // Decided on again nothing starts anew.
    round_of_all(&world.catalog, now + 60_000).unwrap();
    assert_eq!(world.catalog.queued_jobs().unwrap().len(), 2);

    // Where one of the runs has a job, its end is waited for.
    let mixed = Event {
        subjects: subjects(&["gone", "t00-0"]),
        follow_ups: FollowUps { failure: vec!["never".to_owned()], ..FollowUps::default() },
        ..Event::new("mixed", EventKind::Backup)
    };
    world.add(mixed, "daily 02:00 UTC", |_| {});
    round_of_all(&world.catalog, at(7_201).as_millisecond()).unwrap();
    assert_eq!(runs_of(&world, "mixed").len(), 2);
    assert!(runs_of(&world, "never").is_empty(), "its end is not there yet");
}

#[test]
fn a_plan_says_where_each_run_goes_and_which_limit_it_waits_for() {
    let world = World::new(1, 2);
    let catalog = &world.catalog;
    // One task in 'main' by its only drive, one in 'copy'.
    let moved = catalog.task("t00-1").unwrap().settings;
    catalog.change_task(&TaskSettings { store: STORES[1], ..moved }).unwrap();
    let gold = simsim_catalog::Pool {
        name: "gold".to_owned(),
        policy: "forever".to_owned(),
        store: Some(STORES[1]),
        drive: None,
        drive_group: None,
        created_unix_ms: 1,
    };
    catalog.add_pool(&gold).unwrap();
    let both = |name: &str| Event {
        subjects: subjects(&["t00-0", "t00-1"]),
        ..Event::new(name, EventKind::Backup)
    };
    world.add(both("both"), "daily 22:00 UTC", |_| {});
    let pooled = Event { pool: Some("gold".to_owned()), ..both("pooled") };
    world.add(pooled, "daily 23:00 UTC", |_| {});
    let of = |name: &str, subject: &str, kind: EventKind| Event {
        subjects: subjects(&[subject]),
        ..Event::new(name, kind)
    };
    world.add(of("away", "away", EventKind::Replication), "daily 01:00 UTC", |_| {});
    world.add(of("check", "main", EventKind::Verification), "daily 02:00 UTC", |_| {});
    world.add(of("collect", "copy", EventKind::GarbageCollection), "daily 03:00 UTC", |_| {});
    // A task without a saveset cannot be verified now.
    world.add(of("newest", "t00-0", EventKind::Verification), "daily 04:00 UTC", |_| {});
    let look = || {
        let mut setup = Setup::read(catalog).unwrap();
        let wheres = setup.look_ahead(catalog).unwrap();
        let laid_out = plan(&setup.programme, &setup.almanac, at(1), at(86_400)).unwrap();
        (wheres, laid_out)
    };
    let (wheres, laid_out) = look();
    let place = |event: &str, subject: &str| wheres.of(event, subject).unwrap().place.clone();
    let (main, copy) = (Some("drive 1 of 'main'".to_owned()), Some("drive 2 of 'copy'".to_owned()));
    assert_eq!((place("both", "t00-0"), place("both", "t00-1")), (main.clone(), copy.clone()));
    assert_eq!(place("pooled", "t00-0"), copy.clone(), "the pool of the event counts");
    assert_eq!((place("away", "away"), place("check", "main")), (copy.clone(), main));
    assert_eq!((place("collect", "copy"), place("newest", "t00-0")), (copy, None));
    let refused = wheres.of("newest", "t00-0").unwrap().refused.as_deref().unwrap();
    assert!(refused.contains("has no saveset yet"), "{refused}");
    assert_eq!(laid_out.collisions, [], "two drives, each with room");

    // Each limit by itself holds the second of the two backups up, wherever it goes.
    let waits = || -> Vec<String> {
        let (_, plan) = look();
        let collisions = plan.collisions.iter();
        collisions
            .map(|one| {
                let entry = &plan.entries[one.entry];
                assert_eq!(one.with.len(), 1);
                match &one.resource {
                    Resource::Bound { bound, most } => {
                        format!("{} {}: {bound}, {most}", entry.event, entry.subject)
                    }
                    Resource::Subject(subject) => panic!("{subject}"),
                }
            })
            .collect()
    };
    catalog.limit_client("c00", Some(1)).unwrap();
    let by_client = ["both t00-1: client 'c00', 1", "pooled t00-1: client 'c00', 1"];
    assert_eq!(waits(), by_client);
    catalog.limit_client("c00", None).unwrap();
    let rules = crate::jobs::QueueRules { jobs_max: Some(1), paused: None };
    rules.keep(catalog).unwrap();
    assert_eq!(waits(), ["both t00-1: the queue, 1", "pooled t00-1: the queue, 1"]);
    crate::jobs::QueueRules::default().keep(catalog).unwrap();
    catalog.add_drive_group("fast", &[1, 2], 1).unwrap();
    catalog.limit_drive_group("fast", Some(1)).unwrap();
    let by_group = ["both t00-1: drive group 'fast', 1", "pooled t00-1: drive group 'fast', 1"];
    assert_eq!(waits(), by_group);
    catalog.limit_drive_group("fast", None).unwrap();
    // A third drive, into 'copy', which takes one job: both of its drives are open to what goes there.
    catalog.add_drive(STORES[1], None, 1).unwrap();
    let (wheres, laid_out) = look();
    let place = wheres.of("both", "t00-1").unwrap().place.as_deref();
    assert_eq!(place, Some("datastore 'copy'"));
    assert_eq!(laid_out.collisions, [], "five at once");
}

#[test]
fn more_runs_than_a_drive_takes_collide_on_it_also_where_their_event_goes_to_two_places() {
    let world = World::new(1, 6);
    let catalog = &world.catalog;
    let moved = catalog.task("t00-5").unwrap().settings;
    catalog.change_task(&TaskSettings { store: STORES[1], ..moved }).unwrap();
    let all = Event::new("nightly", EventKind::Backup);
    world.add(all, "daily 22:00 UTC", |document| document.all = true);
    let mut setup = Setup::read(catalog).unwrap();
    setup.look_ahead(catalog).unwrap();
    let plan = plan(&setup.programme, &setup.almanac, at(1), at(86_400)).unwrap();
    assert_eq!(plan.entries.len(), 6);
    // Five go to the drive of 'main', which takes four; the sixth goes elsewhere.
    let [collision] = plan.collisions.as_slice() else { panic!("{:?}", plan.collisions) };
    let bound = simsim_schedule::Bound::Drive(1);
    assert_eq!(collision.resource, Resource::Bound { bound, most: 4 });
    assert_eq!(collision.with.len(), 4);
}
