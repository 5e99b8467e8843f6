//! Events and what they name; rounds and runs; the order of the queue.

use simsim_catalog::{
    Catalog, Client, DATASTORE_OR_TASK, DatastoreState, JobEnd, JobStart, JobState, NewEvent,
    NewJob, NewRun, OwnSchedule, Put, Round, RunFate, RunFilter, Use, Waiting,
};
use simsim_model::{Kind, Outcome};

use super::on;
use crate::fixture::*;

fn event(name: &str, uses: Vec<Use>) -> NewEvent {
    NewEvent {
        name: name.to_owned(),
        kind: "backup".to_owned(),
        schedule: Some("nightly".to_owned()),
        own_schedule: None,
        enabled: true,
        document: "{}".to_owned(),
        uses,
        considered: Some("[]".to_owned()),
    }
}

fn run(event: &str, cause: &str, subject: &str, job: Option<NewJob>) -> NewRun {
    NewRun {
        event: event.to_owned(),
        cause: cause.to_owned(),
        subject: subject.to_owned(),
        kind: "backup".to_owned(),
        occurrence_unix_ms: Some(7),
        backup_day: "2026-11-26".to_owned(),
        fate: RunFate::Runs,
        why: None,
        job,
    }
}

fn of(event: &str, client: &Client) -> NewJob {
    let waiting = Waiting { event: event.to_owned(), rank: 5, ..Waiting::default() };
    NewJob { waiting, ..backup_job(client) }
}

fn end(catalog: &Catalog, job: u64, outcome: Outcome) {
    let start = JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
    catalog.start_job(job, &start, 20).unwrap();
    let end = JobEnd::because(outcome, Kind::Internal, "so");
    catalog.end_job(job, &end, 30).unwrap();
}

#[test]
fn what_something_names_cannot_be_removed_and_the_refusal_says_who_names_it() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    catalog.add_task(&task_settings("home"), 1).unwrap();
    catalog.put_calendar(Put::Add, "holidays", "2026-12-25", 1).unwrap();
    let calendars = ["holidays".to_owned()];
    let unknown = catalog.put_schedule(Put::Add, "x", "daily 1:00", &["none".to_owned()], 1);
    assert_eq!(unknown.unwrap_err().to_string(), "there is no calendar 'none'");
    assert_eq!(catalog.schedules().unwrap(), [], "a refusal leaves nothing");
    catalog.put_schedule(Put::Add, "nightly", "daily 22:00", &calendars, 1).unwrap();
    catalog.put_task_group(Put::Add, "all", &["home".to_owned()], 1).unwrap();
    catalog.add_drive_group("fast", &[1], 1).unwrap();
    let after = NewEvent { schedule: None, ..event("after", Vec::new()) };
    catalog.put_event(Put::Add, &after, 1).unwrap();
    let uses = vec![
        Use::new("subject", "task group", "all"),
        Use::new("follow-up", "event", "after"),
        Use::new("place", "drive group", "fast"),
        Use::new("blocking date", "calendar", "holidays"),
    ];
    catalog.put_event(Put::Add, &event("one", uses.clone()), 1).unwrap();
    let two = vec![Use::new("subject", "task", "home")];
    catalog.put_event(Put::Add, &event("two", two), 1).unwrap();

    let used = |refused: Result<(), simsim_catalog::CatalogError>| {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), Kind::Busy, "{error}");
        error.to_string()
    };
    assert!(used(catalog.delete_schedule("nightly")).ends_with("event 'one', event 'two'"));
    assert!(used(catalog.delete_calendar("holidays")).ends_with("event 'one', schedule 'nightly'"));
    assert!(used(catalog.delete_task_group("all")).ends_with("event 'one'"));
    assert!(used(catalog.delete_event("after")).ends_with("event 'one'"));
    assert!(used(catalog.delete_drive_group("fast", &[]).map(drop)).ends_with("event 'one'"));
    let both = used(catalog.delete_task("home", &[]));
    assert!(both.contains("event 'two'") && both.contains("task group 'all'"), "{both}");
    catalog.delete_event("two").unwrap();
    assert!(used(catalog.delete_task("home", &[])).ends_with("task group 'all'"));
    assert_eq!(catalog.users_of("task group", "all").unwrap(), ["event 'one'"]);

    // A changed event names other things; what it named before is free.
    catalog.put_event(Put::Change, &event("one", Vec::new()), 2).unwrap();
    catalog.delete_event("after").unwrap();
    catalog.delete_task_group("all").unwrap();
    catalog.delete_event("one").unwrap();
    catalog.delete_schedule("nightly").unwrap();
    catalog.delete_calendar("holidays").unwrap();
    catalog.delete_task("home", &[]).unwrap();
    let gone = catalog.put_event(Put::Change, &after, 3).unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    assert_eq!(catalog.events().unwrap(), []);
}

#[test]
fn what_may_be_a_datastore_or_a_task_is_one_of_them_and_holds_it() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    catalog.add_task(&task_settings("home"), 1).unwrap();
    let check = |name: &str| {
        let subject = Use::new("subject", DATASTORE_OR_TASK, name);
        let new = NewEvent { schedule: None, ..event("check", vec![subject]) };
        let put = if catalog.events().unwrap().is_empty() { Put::Add } else { Put::Change };
        catalog.put_event(put, &new, 1)
    };
    let refused = check("none").unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    assert_eq!(refused.to_string(), "there is no datastore or task 'none'");
    check("home").unwrap();
    assert_eq!(catalog.users_of("task", "home").unwrap(), ["event 'check'"]);
    let used = catalog.delete_task("home", &[]).unwrap_err().to_string();
    assert!(used.ends_with("still used by event 'check'"), "{used}");

    check("main").unwrap();
    catalog.delete_task("home", &[]).unwrap();
    let main = catalog.datastore("main").unwrap();
    let out = DatastoreState::Detached;
    catalog.move_datastore(main.store, client.id, &main.path, out).unwrap();
    let used = catalog.remove_datastore("main", 2).unwrap_err().to_string();
    assert!(used.ends_with("still used by event 'check'"), "{used}");
    catalog.delete_event("check").unwrap();
    catalog.remove_datastore("main", 2).unwrap();
    assert_eq!(check("main").unwrap_err().kind(), Kind::NotFound, "it was removed");
}

#[test]
fn a_schedule_of_an_event_comes_and_goes_with_it_and_takes_no_other_ones_place() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    let at = |name: &str, line: &str, uses: Vec<Use>| NewEvent {
        schedule: Some(name.to_owned()),
        own_schedule: Some(OwnSchedule { line: line.to_owned(), calendars: Vec::new() }),
        ..event(name, uses)
    };
    let lines = || -> Vec<(String, String)> {
        let all = catalog.schedules().unwrap().into_iter();
        all.map(|one| (one.name, one.text)).collect()
    };
    let line = |name: &str, line: &str| (name.to_owned(), line.to_owned());
    let gone = vec![Use::new("subject", "task group", "gone")];
    let refused = catalog.put_event(Put::Add, &at("night", "daily 1:00", gone), 1);
    assert_eq!(refused.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(lines(), [], "a refusal leaves nothing");
    catalog.put_event(Put::Add, &at("night", "daily 1:00", Vec::new()), 1).unwrap();
    catalog.put_event(Put::Change, &at("night", "daily 2:00", Vec::new()), 1).unwrap();
    assert_eq!(lines(), [line("night", "daily 2:00")]);
    let again = catalog.put_event(Put::Add, &at("night", "daily 3:00", Vec::new()), 1);
    assert!(again.unwrap_err().to_string().contains("an event 'night' exists"));

    // Another one runs by it: it is not the event's alone any more, and outlives it.
    let other = NewEvent { schedule: Some("night".to_owned()), ..event("other", Vec::new()) };
    catalog.put_event(Put::Add, &other, 1).unwrap();
    let shared = catalog.put_event(Put::Change, &at("night", "daily 3:00", Vec::new()), 1);
    let shared = shared.unwrap_err().to_string();
    assert!(shared.contains("event 'other' runs by it too"), "{shared}");
    catalog.delete_event("night").unwrap();
    catalog.delete_event("other").unwrap();
    assert_eq!(lines(), [line("night", "daily 2:00")]);
    // Now it is as one that somebody added.
    let refused = catalog.put_event(Put::Add, &at("night", "daily 3:00", Vec::new()), 1);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("added by itself"), "{refused}");
    assert_eq!(lines(), [line("night", "daily 2:00")]);
    assert_eq!(catalog.events().unwrap(), []);
    // The line that it has already is no other one, and does not make it the event's.
    catalog.put_event(Put::Add, &at("night", "daily 2:00", Vec::new()), 1).unwrap();
    catalog.delete_event("night").unwrap();
    assert_eq!(lines(), [line("night", "daily 2:00")]);
    let by_it = NewEvent { schedule: Some("night".to_owned()), ..event("night", Vec::new()) };
    catalog.put_event(Put::Add, &by_it, 1).unwrap();
    catalog.delete_event("night").unwrap();
    assert_eq!(lines(), [line("night", "daily 2:00")], "it was not the event's");
    catalog.delete_schedule("night").unwrap();

    catalog.put_event(Put::Add, &at("night", "daily 3:00", Vec::new()), 1).unwrap();
    catalog.delete_event("night").unwrap();
    assert_eq!(lines(), [], "it goes with its event");
}

#[test]
fn a_round_is_kept_whole_or_not_at_all_and_an_occurrence_once() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    catalog.put_schedule(Put::Add, "nightly", "daily 22:00", &[], 1).unwrap();
    catalog.put_event(Put::Add, &event("one", Vec::new()), 1).unwrap();
    let round = |before: &str, after: &str, cause: &str| Round {
        event: "one".to_owned(),
        before: Some(before.to_owned()),
        after: after.to_owned(),
        runs: vec![
            run("one", cause, "home", Some(of("one", &client))),
            run("one", cause, "etc", Some(of("one", &client))),
        ],
    };
    let jobs = catalog.keep_round(&round("[]", "[1]", "at 1"), 5).unwrap().unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0].waiting.event, "one");

    // A round that looked at the time before the first one was kept comes to nothing.
    assert_eq!(catalog.keep_round(&round("[]", "[2]", "at 2"), 6).unwrap(), None);
    // One that decides on the same occurrence again starts nothing twice.
    let jobs = catalog.keep_round(&round("[1]", "[3]", "at 1"), 7).unwrap();
    assert_eq!(jobs, Some(Vec::new()));
    assert_eq!(catalog.event("one").unwrap().considered.as_deref(), Some("[3]"));
    let open = catalog.open_runs().unwrap();
    assert_eq!(open.len(), 2, "{open:?}");

    // A job that cannot be queued takes all of its round back, also what was considered.
    let nobody = NewJob { client: simsim_catalog::ClientId(99), ..of("one", &client) };
    let bad = Round {
        runs: vec![
            run("one", "at 4", "home", Some(of("one", &client))),
            run("one", "at 4", "etc", Some(nobody)),
        ],
        ..round("[3]", "[4]", "")
    };
    catalog.keep_round(&bad, 8).unwrap_err();
    assert_eq!(catalog.event("one").unwrap().considered.as_deref(), Some("[3]"));
    assert_eq!(catalog.runs(&RunFilter::default()).unwrap().len(), 2);
    assert_eq!(catalog.queued_jobs().unwrap().len(), 2);
    drop(catalog);
    let catalog = place.open();
    assert_eq!(catalog.open_runs().unwrap(), open, "it is all there after the next start");
}

#[test]
fn what_follows_a_job_is_started_once_and_another_attempt_stands_for_the_first() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    catalog.put_schedule(Put::Add, "nightly", "daily 22:00", &[], 1).unwrap();
    catalog.put_event(Put::Add, &event("one", Vec::new()), 1).unwrap();
    let runs = [
        run("one", "at 1", "home", Some(of("one", &client))),
        run("one", "at 1", "etc", Some(of("one", &client))),
    ];
    let jobs = catalog.keep_runs(&runs, 1).unwrap();
    assert_eq!(catalog.unfollowed_jobs().unwrap(), [], "nothing has ended");
    end(&catalog, jobs[0].number, Outcome::Failed);
    let unfollowed = catalog.unfollowed_jobs().unwrap();
    assert_eq!(unfollowed.len(), 1);
    let retry = of("one", &client);
    let again = catalog.follow_job(jobs[0].number, &[], Some(&retry), 40).unwrap();
    assert_eq!(catalog.follow_job(jobs[0].number, &[], Some(&retry), 41).unwrap(), []);
    assert_eq!(catalog.unfollowed_jobs().unwrap(), []);

    let beside = catalog.runs_beside(jobs[1].number).unwrap();
    let of_them: Vec<_> = beside.iter().map(|one| one.job.unwrap()).collect();
    assert_eq!(of_them[0].job, again[0].number, "the run has its last attempt");
    assert_eq!((of_them[0].state, of_them[0].followed), (JobState::Queued, false));
    end(&catalog, jobs[1].number, Outcome::Finished);
    end(&catalog, again[0].number, Outcome::Finished);
    catalog.follow_job(jobs[1].number, &[], None, 50).unwrap();
    let next = run("two", "after run 1", "home", Some(of("two", &client)));
    let started = catalog.follow_job(again[0].number, std::slice::from_ref(&next), None, 51);
    assert_eq!(started.unwrap().len(), 1);
    assert_eq!(catalog.follow_job(again[0].number, &[next], None, 52).unwrap(), []);
    // What a person started follows nothing.
    let by_hand = catalog.queue_job(&backup_job(&client), 60).unwrap();
    end(&catalog, by_hand.number, Outcome::Failed);
    assert_eq!(catalog.unfollowed_jobs().unwrap(), []);
}

#[test]
fn the_queue_has_an_order_and_what_waits_can_be_held_and_follows_a_clock_that_jumps() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let queue = |rank: u8| {
        let waiting = Waiting {
            rank,
            start_by_unix_ms: Some(1_000),
            not_before_unix_ms: (rank == 5).then_some(500),
            ..Waiting::default()
        };
        let new = NewJob { waiting, ..backup_job(&client) };
        catalog.queue_job(&new, 1).unwrap().number
    };
    let (low, high, also_high, first) = (queue(5), queue(50), queue(50), queue(100));
    let order =
        || -> Vec<u64> { catalog.queued_jobs().unwrap().iter().map(|job| job.number).collect() };
    assert_eq!(order(), [first, high, also_high, low]);

    // The clock was at 400 and is at -99,600: what was set before moves along, what is of now stays.
    let late = queue(4);
    catalog.start_later(&[late], -99_000).unwrap();
    catalog.shift_waiting(-100_000, -99_600).unwrap();
    let job = catalog.job(low).unwrap();
    assert_eq!(job.waiting.start_by_unix_ms, Some(-99_000));
    assert_eq!(job.waiting.not_before_unix_ms, Some(-99_500));
    assert_eq!(catalog.job(late).unwrap().waiting.start_by_unix_ms, Some(-99_000));
    catalog.shift_waiting(100_000, 500).unwrap();
    assert_eq!(catalog.job(low).unwrap().waiting.start_by_unix_ms, Some(1_000), "and back");
    catalog.shift_waiting(-100_000, -99_400).unwrap();
    assert_eq!(catalog.job(high).unwrap().waiting.not_before_unix_ms, None);
    catalog.start_later(&[high], 77).unwrap();
    assert_eq!(catalog.job(high).unwrap().waiting.start_by_unix_ms, Some(77));

    let held = catalog.hold_job(low, Some("anna")).unwrap();
    assert_eq!(held.waiting.held_by.as_deref(), Some("anna"));
    assert_eq!(held.waiting.start_by_unix_ms, None, "whoever holds it decides when");
    assert_eq!(catalog.hold_job(low, None).unwrap().waiting.held_by, None);
    end(&catalog, low, Outcome::Finished);
    let ended = catalog.hold_job(low, Some("anna")).unwrap_err();
    assert_eq!(ended.kind(), Kind::Invalid, "{ended}");

    catalog.limit_client("alpha", Some(2)).unwrap();
    let limits = catalog.job_limits().unwrap();
    assert_eq!(limits.clients.get(&client.id), Some(&2));
    catalog.limit_client("alpha", None).unwrap();
    assert_eq!(catalog.job_limits().unwrap().clients.len(), 0);
    assert_eq!(catalog.limit_client("nobody", None).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(catalog.limit_drive_group("none", None).unwrap_err().kind(), Kind::NotFound);
}
