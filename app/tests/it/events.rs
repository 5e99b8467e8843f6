//! What runs by itself: real daemons whose server's clock a test sets. Deaths at every point between an
//! occurrence and what follows its job, clocks that jump, and whatever holds a job up.

use std::path::PathBuf;

use serde_json::{Value, json};
use simsim_testkit::Rng;

use crate::hosts::{Daemon, PATIENCE, assert_done, tree, until};

/// A server with a datastore and a task, and a clock of its own.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    clock: PathBuf,
    pokes: std::cell::Cell<u32>,
}

impl Site {
    /// `points`: where it dies, behind a comma.
    fn new(points: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let clock = scratch.path().join("clock");
        std::fs::write(&clock, "0").unwrap();
        let server = start(&scratch.path().join("server"), &clock, points);
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "path": store }));
        let own = server.own_name();
        server.until_connected(&own);
        server.add_task("home", &own, &tree(scratch.path()));
        Self { scratch, server, clock, pokes: Default::default() }
    }

    /// Starts the server again after it died, and lets it die no more.
    fn again(&mut self) {
        self.server.process.wait(PATIENCE).expect("it died at the point");
        self.server = start(&self.scratch.path().join("server"), &self.clock, "");
    }

    /// Sets the server's clock off by so much, and lets it look.
    fn shift(&self, ms: i64) {
        std::fs::write(&self.clock, ms.to_string()).unwrap();
        self.poke();
    }

    /// Something changes, so that the events are looked at now and not within half a minute.
    fn poke(&self) {
        self.pokes.set(self.pokes.get() + 1);
        let name = format!("poke-{}", self.pokes.get());
        let _ = self.server.ask("calendar.add", json!({ "name": name, "days": "2026-12-25" }));
    }

    /// Sets the clock to a second after the next occurrence of an event.
    fn go_to_next(&self, event: &str) {
        let next = self.event(event)["next_unix_ms"].as_i64().unwrap();
        self.shift(next - real_now_ms() + 1000);
    }

    fn event(&self, name: &str) -> Value {
        self.server.must("event.show", json!({ "name": name }))
    }

    fn runs(&self, event: &str) -> Vec<Value> {
        self.server.must("run.list", json!({ "event": event })).as_array().unwrap().clone()
    }

    fn jobs(&self, filter: Value) -> Vec<Value> {
        self.server.must("job.list", filter).as_array().unwrap().clone()
    }

    /// Waits until so many runs of an event have a job that finished.
    #[track_caller]
    fn until_finished(&self, event: &str, count: usize) {
        until(&format!("{count} runs of '{event}' have finished"), || {
            let runs = self.runs(event);
            runs.iter().filter(|run| run["state"] == "finished").count() == count
        });
    }
}

fn start(state: &std::path::Path, clock: &std::path::Path, points: &str) -> Daemon {
    let points = format!("clock={}{points}", clock.display());
    Daemon::start_with("server", state, &[("SIMSIM_FAILPOINTS", &points)])
}

fn real_now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

#[test]
fn wherever_the_server_dies_an_occurrence_runs_once_and_what_follows_it_too() {
    for point in
        ["server.before_round", "server.after_round", "server.before_follow", "server.after_follow"]
    {
        let mut site = Site::new(&format!(",{point}=kill"));
        let server = &site.server;
        let check = json!({ "name": "check", "kind": "verification", "subjects": ["main"] });
        server.must("event.add", check);
        let hourly = json!({
            "name": "hourly", "subjects": ["home"], "at": "every 1h",
            "follow_ups": { "success": ["check"] }
        });
        server.must("event.add", hourly);
        site.go_to_next("hourly");
        site.again();
        site.poke();
        site.until_finished("hourly", 1);
        site.until_finished("check", 1);
        site.poke();
        let (runs, checks) = (site.runs("hourly"), site.runs("check"));
        assert_eq!((runs.len(), checks.len()), (1, 1), "{point}: {runs:#?} {checks:#?}");
        assert_eq!(checks[0]["cause"], format!("after run {}", runs[0]["run"]), "{point}");
        let jobs = site.jobs(json!({}));
        assert_eq!(jobs.len(), 2, "{point}: {jobs:#?}");
        assert_eq!(jobs[1]["requested_by"], "event:hourly");
        assert_eq!(jobs[1]["event"], "hourly");
    }
}

#[test]
fn a_clock_that_jumps_by_ten_years_and_comes_back_loses_and_doubles_nothing() {
    let site = Site::new("");
    let server = &site.server;
    server.must("event.add", json!({ "name": "hourly", "all": true, "at": "every 1h" }));
    site.go_to_next("hourly");
    site.until_finished("hourly", 1);
    let here = std::fs::read_to_string(&site.clock).unwrap().parse::<i64>().unwrap();
    let ten_years = 3652 * 86_400_000_i64;
    site.shift(here + ten_years);
    // Of 87,648 occurrences the newest runs, and how many did not is said.
    site.until_finished("hourly", 2);
    let missed = site.runs("hourly");
    let missed: Vec<&Value> = missed.iter().filter(|run| run["fate"] == "missed").collect();
    assert_eq!(missed.len(), 1, "{missed:#?}");
    assert!(missed[0]["why"].as_str().unwrap().contains("more than 999"), "{missed:#?}");

    site.shift(here);
    site.poke();
    let jobs = site.jobs(json!({}));
    assert_eq!(jobs.len(), 2, "what was decided on is not decided on again: {jobs:#?}");
    site.go_to_next("hourly");
    site.until_finished("hourly", 3);
    let job = server.must("datastore.verify", json!({ "depth": "bytes" }));
    assert_eq!(server.ended(&job)["state"], "finished");
    assert_eq!(server.must("saveset.list", json!({})).as_array().unwrap().len(), 3);
}

#[test]
fn what_waits_says_for_what_and_can_be_held_paused_limited_and_put_in_order() {
    let site = Site::new("");
    let server = &site.server;
    server.must("queue.pause", json!({ "why": "the roof leaks" }));
    let status = server.must("status", Value::Null).to_string();
    assert!(status.contains("the queue is paused by local:root"), "{status}");
    let first = server.must("task.run", json!({ "task": "home" }));
    let waits = |job: &Value| {
        let queue = server.must("queue.show", Value::Null);
        let waiting = queue["waiting"].as_array().unwrap().clone();
        let found = waiting.into_iter().find(|one| one["job"] == job["job"]);
        found.map(|one| one["waits"].as_str().unwrap_or_default().to_owned())
    };
    until("it says that the queue is paused", || {
        waits(&first)
            .is_some_and(|waits| waits == "the queue is paused by local:root: the roof leaks")
    });
    let held = server.must("task.run", json!({ "task": "home" }));
    server.must("job.hold", json!({ "job": held["job"], "hold": true }));
    server.must("queue.resume", Value::Null);
    assert_eq!(server.ended(&first)["state"], "finished");
    until("it says who holds it", || {
        waits(&held).is_some_and(|waits| waits.starts_with("it is held by local:root"))
    });
    server.must("job.hold", json!({ "job": held["job"], "hold": false }));
    assert_eq!(server.ended(&held)["state"], "finished");
    let ended = server.ask("job.hold", json!({ "job": held["job"], "hold": true })).unwrap_err();
    assert!(ended.to_string().contains("it cannot be held or released any more"), "{ended}");

    // One job at once in all: a second one waits and says so, and a person's goes before an event's.
    server.must("queue.limit", json!({ "jobs_max": 1 }));
    let own = server.own_name();
    let other = site.scratch.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("large"), Rng::new(3).bytes(3_000_000)).unwrap();
    server.add_task("other", &own, &other);
    let event = json!({ "name": "low", "subjects": ["home"], "priority": 5, "at": "every 1h" });
    server.must("event.add", event);
    let limit = server.must("rate.add", json!({ "rates": ["300KB/s"] }));
    let slow = server.must("task.run", json!({ "task": "other" }));
    until("it runs", || {
        server.must("job.show", json!({ "job": slow["job"] }))["state"] == "running"
    });
    site.go_to_next("low");
    until("the event's job waits", || {
        let queue = server.must("queue.show", Value::Null);
        queue["waiting"].as_array().unwrap().iter().any(|job| job["event"] == "low")
    });
    let person = server.must("task.run", json!({ "task": "home" }));
    until("it says that one job may run", || {
        waits(&person).is_some_and(|waits| waits == "1 jobs run, as many as may run at once")
    });
    let queue = server.must("queue.show", Value::Null);
    let order: Vec<&Value> =
        queue["waiting"].as_array().unwrap().iter().map(|job| &job["rank"]).collect();
    assert_eq!(order, [&json!(100), &json!(5)]);
    server.must("rate.remove", json!({ "number": limit["number"] }));
    for job in [&slow, &person] {
        assert_eq!(server.ended(job)["state"], "finished");
    }
    site.until_finished("low", 1);
    let low = site.jobs(json!({ "event": "low" }));
    let started = |job: &Value| {
        server.must("job.show", json!({ "job": job["job"] }))["started_unix_ms"].as_i64().unwrap()
    };
    assert!(started(&low[0]) >= started(&person), "the person's went before");
    let nothing = server.ask("queue.limit", json!({ "jobs_max": 0 })).unwrap_err();
    assert!(nothing.to_string().contains("pause the queue"), "{nothing}");
}

#[test]
fn a_job_that_works_too_long_is_ended_and_tried_again() {
    let site = Site::new("");
    let server = &site.server;
    std::fs::write(site.scratch.path().join("tree/large"), Rng::new(4).bytes(4_000_000)).unwrap();
    let limit = server.must("rate.add", json!({ "rates": ["50KB/s"] }));
    let event = json!({
        "name": "once", "subjects": ["home"], "timeout_s": 2, "retries": 1, "retry_after_s": 1
    });
    server.must("event.add", event);
    let started = server.must("event.run", json!({ "name": "once" }));
    let run = &started["runs"][0];
    assert_eq!(run["cause"], "by hand 1");
    // A body that the limit would hold up for more than a minute is not waited for.
    let begun = std::time::Instant::now();
    let first = server.ended(run);
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(first["state"], "failed", "{first:#}");
    let why = first["error"]["message"].as_str().unwrap();
    assert!(why.contains("it worked for 2 s, its limit"), "{why}");
    server.must("rate.remove", json!({ "number": limit["number"] }));
    until("another attempt is there", || site.jobs(json!({ "event": "once" })).len() == 2);
    let again = site.jobs(json!({ "event": "once" }))[0].clone();
    assert_eq!((&again["attempt"], &again["retry_of"]), (&json!(2), &first["job"]));
    // It waits its second at least, and the queue looks within a quarter of a minute.
    assert_eq!(server.ended(&again)["state"], "finished");
    let runs = site.runs("once");
    assert_eq!((runs.len(), &runs[0]["job"]), (1, &again["job"]));
}

#[test]
fn a_client_that_is_away_is_waited_for_until_the_start_window_closes() {
    let site = Site::new("");
    let server = &site.server;
    let mut web = Daemon::start("client", &site.scratch.path().join("web"));
    assert_done(&server.join("web", &web.state, &[]));
    server.until_connected("web");
    server.add_task("web", "web", &site.scratch.path().join("tree"));
    let event = json!({ "name": "hourly", "subjects": ["web"], "at": "every 1h within 10m" });
    server.must("event.add", event);
    web.stop();
    until("it is away", || !server.is_connected("web"));
    site.go_to_next("hourly");
    let waits = || {
        let queue = server.must("queue.show", Value::Null);
        queue["waiting"][0]["waits"].as_str().unwrap_or_default().to_owned()
    };
    until("it waits for its client", || waits() == "'web' is not reached");
    let here = std::fs::read_to_string(&site.clock).unwrap().parse::<i64>().unwrap();
    site.shift(here + 11 * 60_000);
    let job = site.jobs(json!({ "event": "hourly" }))[0].clone();
    // The queue looks when something changes, and every quarter of a minute.
    let ended = server.ended(&job);
    assert_eq!(ended["state"], "failed");
    let why = ended["error"]["message"].as_str().unwrap();
    assert!(why.contains("within its start window"), "{why}");

    // The next one waits, its client comes, and it runs.
    site.go_to_next("hourly");
    until("it waits for its client", || waits() == "'web' is not reached");
    web.again();
    site.until_finished("hourly", 1);
}

#[test]
fn a_garbage_collection_deletes_what_is_expired_first() {
    let site = Site::new("");
    let server = &site.server;
    for round in 0..3 {
        std::fs::write(site.scratch.path().join("tree/large"), Rng::new(round).bytes(900_000))
            .unwrap();
        assert_eq!(server.backup("home")["state"], "finished");
    }
    server.must("pool.change", json!({ "name": "default", "policy": "last 1" }));
    let event =
        json!({ "name": "gc", "kind": "garbage-collection", "all": true, "at": "every 1h" });
    server.must("event.add", event);
    assert_eq!(server.must("saveset.list", json!({})).as_array().unwrap().len(), 3);
    let stored = |server: &Daemon| {
        server.must("datastore.list", Value::Null)[0]["device"]["packs_bytes"].as_u64().unwrap()
    };
    let before = stored(server);
    site.go_to_next("gc");
    site.until_finished("gc", 1);
    assert_eq!(server.must("saveset.list", json!({})).as_array().unwrap().len(), 1);
    let job = site.runs("gc")[0]["job"].clone();
    let log = server.must("job.log", json!({ "job": job })).to_string();
    assert!(log.contains("2 of 3 savesets are expired; 2 were deleted, 0 wait"), "{log}");
    let audit = server.must("audit.list", json!({})).to_string();
    assert!(audit.contains("event:gc"), "{audit}");
    let after = stored(server);
    // The first of them shares a segment with what still lives, and stays.
    assert!(after + 800_000 < before, "{before} bytes were stored, {after} are");
    let job = server.must("datastore.verify", json!({ "depth": "bytes" }));
    assert_eq!(server.ended(&job)["state"], "finished");
}

#[test]
fn an_event_acts_on_a_location_and_says_in_which_pool_its_backups_live() {
    let site = Site::new("");
    let server = &site.server;
    for (name, parent) in [("europe", None), ("berlin", Some("europe")), ("lima", None)] {
        server.must("location.add", json!({ "name": name, "parent": parent }));
    }
    server.must("client.place", json!({ "name": server.own_name(), "location": "berlin" }));
    server.must("pool.add", json!({ "name": "short", "policy": "last 2" }));
    let at = |name: &str, location: &str| {
        let event = json!({ "name": name, "locations": [location], "pool": "short" });
        server.must("event.add", event)["acts_on"].clone()
    };
    assert_eq!(at("here", "europe"), json!(["home"]), "what stands beneath it counts");
    assert_eq!(at("there", "lima"), json!([]));
    // Also what comes later.
    server.add_task("mail", &server.own_name(), site.scratch.path());
    assert_eq!(site.event("here")["acts_on"], json!(["home", "mail"]));
    server.must("task.delete", json!({ "name": "mail" }));
    let started = server.must("event.run", json!({ "name": "here" }));
    let job = server.ended(&json!({ "job": started["runs"][0]["job"] }));
    assert_eq!(job["state"], "finished", "{job:#}");
    let list = server.must("saveset.list", json!({}));
    let why = server.must("saveset.why", json!({ "saveset": list[0]["saveset"] }));
    assert_eq!(why["lives"][0]["pool"], "short", "{why:#}");
    for (verb, name) in [("location.remove", "lima"), ("pool.remove", "short")] {
        let refused = server.ask(verb, json!({ "name": name })).unwrap_err().to_string();
        assert!(refused.contains("event 'there'"), "{refused}");
    }
    for (event, why) in [
        (json!({ "name": "x", "locations": ["nowhere"] }), "no location 'nowhere'"),
        (json!({ "name": "x", "all": true, "pool": "gone" }), "no media pool 'gone'"),
        (json!({ "name": "x", "kind": "verification", "all": true, "pool": "short" }), "pool"),
        (json!({ "name": "x", "kind": "replication", "locations": ["lima"] }), "locations"),
    ] {
        let refused = server.ask("event.add", event).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    // A pool with a place of its own decides where its backups go.
    let other = site.scratch.path().join("other");
    server.must("datastore.create", json!({ "name": "other", "path": other }));
    let pool = json!({ "name": "away", "policy": "last 2", "datastore": "other" });
    server.must("pool.add", pool);
    let both = json!({ "name": "x", "all": true, "pool": "away", "drive": 1 });
    let refused = server.ask("event.add", both).unwrap_err().to_string();
    assert!(refused.contains("says where its backups go"), "{refused}");
    server
        .must("event.add", json!({ "name": "far", "all": true, "pool": "away", "level": "full" }));
    let started = server.must("event.run", json!({ "name": "far" }));
    assert_eq!(server.ended(&json!({ "job": started["runs"][0]["job"] }))["state"], "finished");
    let there = server.must("saveset.list", json!({ "datastore": "other" }));
    assert_eq!(there.as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_an_event_is_refused_with_what_to_do() {
    let site = Site::new("");
    let server = &site.server;
    let refused = |event: Value| server.ask("event.add", event).unwrap_err().to_string();
    for (event, why) in [
        (json!({ "name": "a", "subjects": ["gone"] }), "there is no task 'gone'"),
        (json!({ "name": "a" }), "needs a subject"),
        (json!({ "name": "a", "all": true, "schedule": "none" }), "'none', which is not there"),
        (json!({ "name": "a", "all": true, "at": "dayly 1:00" }), "did you mean 'daily'?"),
        (json!({ "name": "a", "all": true, "at": "daily 1:00 Europe/Berlinn" }), "Berlinn"),
        (json!({ "name": "a", "all": true, "priority": 100 }), "a priority is 0 to 99"),
        (json!({ "name": "a", "all": true, "drive": 9 }), "there is no drive '9'"),
        (json!({ "name": "a", "all": true, "blocking_dates": "calendar:x" }), "calendar 'x'"),
        (json!({ "name": "a", "all": true, "follow_ups": { "success": ["a"] } }), "circle"),
        (json!({ "name": "a", "kind": "migration", "subjects": ["gone"] }), "no migration 'gone'"),
        (
            json!({ "name": "a", "kind": "garbage-collection", "all": true, "level": "full" }),
            "level",
        ),
        (json!({ "name": "a/b", "all": true }), "cannot be a name"),
        (json!({ "name": "a", "all": true, "subject": "x" }), "unknown field `subject`"),
    ] {
        let said = refused(event.clone());
        assert!(said.contains(why), "{event}: {said}");
    }
    assert_eq!(server.must("event.list", Value::Null), json!([]));
    assert_eq!(server.must("schedule.list", Value::Null), json!([]));
    server.must("event.add", json!({ "name": "a", "subjects": ["home"], "at": "daily 22:00" }));
    let used = server.ask("task.delete", json!({ "name": "home" })).unwrap_err().to_string();
    assert!(used.contains("still used by event 'a'"), "{used}");
    let preview = server.must("schedule.preview", json!({ "days": 3 }));
    let entries = preview["entries"].as_array().unwrap();
    assert!((2..=4).contains(&entries.len()), "{preview:#}");
    assert_eq!((&entries[0]["subject"], &entries[0]["fate"]), (&json!("home"), &json!("runs")));
    assert_eq!(entries[0]["place"], "drive 1 of 'main'");
    server.must("event.remove", json!({ "name": "a" }));
    assert_eq!(server.must("schedule.list", Value::Null), json!([]), "it was the event's own");
    // What was refused leaves nothing, and the schedule of a person stays as it is.
    let said = refused(json!({ "name": "a", "task_groups": ["gone"], "at": "daily 22:00" }));
    assert!(said.contains("no task group 'gone'"), "{said}");
    assert_eq!(server.must("schedule.list", Value::Null), json!([]));
    server.must("schedule.add", json!({ "name": "s", "line": "last sun of month 03:00" }));
    let said = refused(json!({ "name": "s", "subjects": ["home"], "at": "daily 05:00" }));
    assert!(said.contains("schedule 's' that was added by itself"), "{said}");
    let kept = server.must("schedule.list", Value::Null);
    assert_eq!(kept[0]["line"], "last sun of month 03:00", "{kept:#}");
    server.must("event.add", json!({ "name": "s", "subjects": ["home"], "schedule": "s" }));
    server.must("event.remove", json!({ "name": "s" }));
    server.must("schedule.remove", json!({ "name": "s" }));
    // Events that nothing would ever start, or that name what is not there.
    server.must("event.add", json!({ "name": "z", "all": true }));
    let after_day = json!({ "success": ["z"] });
    for (event, why) in [
        (
            json!({ "name": "v", "kind": "verification", "subjects": ["nix"] }),
            "no datastore or task 'nix'",
        ),
        (
            json!({ "name": "day", "kind": "backup-day-change", "follow_ups": after_day }),
            "nothing would start its follow-ups",
        ),
    ] {
        let said = refused(event.clone());
        assert!(said.contains(why), "{event}: {said}");
    }
    server.must("event.add", json!({ "name": "v", "kind": "verification", "subjects": ["home"] }));
    let used = server.ask("task.delete", json!({ "name": "home" })).unwrap_err().to_string();
    assert!(used.contains("still used by event 'v'"), "{used}");
    for name in ["v", "z"] {
        server.must("event.remove", json!({ "name": name }));
    }
    server.must("task.delete", json!({ "name": "home" }));
}
