//! A month in some minutes, with real daemons: a server, an RDS, twenty clients with ten tasks each, and
//! clocks that the test sets. Every task is backed up every third night, what is new is replicated each
//! night, what is expired is deleted and collected each morning. Daemons are killed at any moment, and each
//! host's clock jumps by ten years and back.
//!
//! GC12 and GC13: no job is lost or doubled, nothing goes too early, what stays is whole and restores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_testkit::{Rng, free_ports};

use crate::hosts::{Daemon, assert_done, differences};

const CLIENTS: usize = 20;
const TASKS_EACH: usize = 10;
const NIGHTS: u32 = 30;
/// A third of the tasks in each.
const GROUPS: usize = 3;
/// What the policy keeps of each task.
const KEPT: usize = 3;
/// Of the task that is locked: devices refuse to delete what is younger.
const LOCK_DAYS: i64 = 20;
const LOCKED: &str = "t000";
const DAY_MS: i64 = 86_400_000;
const MINUTE_MS: i64 = 60_000;
const TEN_YEARS_MS: i64 = 3_652 * DAY_MS;
const HOUR_OF_BACKUPS: i64 = 22;

/// A daemon with a clock of its own.
struct Host {
    daemon: Daemon,
    clock: PathBuf,
}

impl Host {
    fn start(role: &'static str, folder: &Path, name: &str, clock_ms: i64) -> Self {
        let clock = folder.join(format!("{name}.clock"));
        set(&clock, clock_ms);
        let state = folder.join(name);
        let http = if role == "client" { 0 } else { free_ports(1)[0] };
        let variables = [("SIMSIM_FAILPOINTS", &*armed(&clock))];
        let daemon = Daemon::start_at(role, &state, http, &variables);
        Self { daemon, clock }
    }

    /// SIGKILL, and a start half a moment later.
    fn dies_and_comes_back(&mut self) {
        self.daemon.process.kill();
        std::thread::sleep(Duration::from_millis(150));
        self.daemon.again_with(&[("SIMSIM_FAILPOINTS", &armed(&self.clock))]);
    }
}

fn armed(clock: &Path) -> String {
    format!("clock={}", clock.display())
}

/// In one step, so that nobody reads half of it.
fn set(clock: &Path, ms: i64) {
    let new = clock.with_extension("new");
    std::fs::write(&new, ms.to_string()).unwrap();
    std::fs::rename(new, clock).unwrap();
}

fn real_now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

struct Month {
    scratch: tempfile::TempDir,
    server: Host,
    far: Host,
    clients: Vec<Host>,
    rng: Rng,
    /// By how much all clocks are set, but one that jumps.
    shift_ms: i64,
    /// Midnight before the first night.
    begin_ms: i64,
    pokes: u32,
    /// When each saveset of a task came, in simulated milliseconds, oldest first.
    made: BTreeMap<String, Vec<(String, i64)>>,
    last_run: u64,
}

impl Month {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        for (name, drive) in [("server", 1), ("far", 2)] {
            let base = free_ports(1)[0] - drive;
            std::fs::create_dir_all(folder.join(name)).unwrap();
            let text = format!(
                "[listen]\ndrive = [\"127.0.0.1:{base}\"]\n[server]\ndrive_jobs_max = 8\nsilent_grace_s = 20\n"
            );
            let text = if name == "far" {
                text.split("[server]").next().unwrap().to_owned()
            } else {
                text
            };
            std::fs::write(folder.join(name).join("simsim.toml"), text).unwrap();
        }
        let begin_ms = (real_now_ms() / DAY_MS + 1) * DAY_MS;
        let server = Host::start("server", folder, "server", 0);
        let far = Host::start("rds", folder, "far", 0);
        let listens = |host: &Host| format!("127.0.0.1:{}", host.daemon.port);
        assert_done(&server.daemon.join("far", &far.daemon.state, &["--listen", &listens(&far)]));
        let clients: Vec<Host> = (0..CLIENTS)
            .map(|number| {
                let name = format!("c{number:02}");
                let host = Host::start("client", folder, &name, 0);
                let listens = listens(&host);
                assert_done(&server.daemon.join(
                    &name,
                    &host.daemon.state,
                    &["--listen", &listens],
                ));
                host
            })
            .collect();
        server.daemon.until_connected("far");
        let month = Self {
            rng: Rng::new(20_261_127),
            shift_ms: 0,
            begin_ms,
            pokes: 0,
            made: BTreeMap::new(),
            last_run: 0,
            server,
            far,
            clients,
            scratch,
        };
        month.furnish();
        month
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn must(&self, verb: &str, body: Value) -> Value {
        self.server.daemon.must(verb, body)
    }

    fn furnish(&self) {
        for (name, node) in [("main", None), ("copies", Some("far"))] {
            let store = json!({ "name": name, "node": node, "path": self.folder(name) });
            self.must("datastore.create", store);
        }
        self.must("pool.change", json!({ "name": "default", "policy": format!("last {KEPT}") }));
        let mut groups = vec![Vec::new(); GROUPS];
        for number in 0..CLIENTS * TASKS_EACH {
            let (name, client) = (task(number), format!("c{:02}", number / TASKS_EACH));
            self.write(number, 0);
            let lock = if name == LOCKED { LOCK_DAYS } else { 0 };
            self.must(
                "task.add",
                json!({
                    "name": name, "client": client, "sources": [self.tree(number)],
                    "datastore": "main", "eol_days": lock,
                }),
            );
            groups[number % GROUPS].push(name);
        }
        let date = |days: i64| {
            let at = jiff::Timestamp::from_millisecond(self.begin_ms + days * DAY_MS).unwrap();
            at.to_zoned(jiff::tz::TimeZone::UTC).date().to_string()
        };
        for (number, tasks) in groups.into_iter().enumerate() {
            let name = format!("g{number}");
            self.must("task-group.add", json!({ "name": name, "tasks": tasks }));
            let from = date(number as i64);
            let at = format!(
                "every {GROUPS} days {HOUR_OF_BACKUPS}:00 UTC within 2h missed skip from {from}"
            );
            let event = json!({ "name": name, "task_groups": [name], "at": at, "retries": 5 });
            self.must("event.add", event);
        }
        let relation = json!({ "name": "away", "source": "main", "target": "copies" });
        self.must("replication.add", relation);
        for (name, kind, subjects, hour) in [
            ("away", "replication", json!(["away"]), 1),
            ("collect", "garbage-collection", json!(["main", "copies"]), 3),
        ] {
            let from = date(1);
            let at = format!("daily 0{hour}:00 UTC within 2h missed skip from {from}");
            let event = json!({
                "name": name, "kind": kind, "subjects": subjects, "at": at, "retries": 5,
            });
            self.must("event.add", event);
        }
    }

    fn tree(&self, task: usize) -> PathBuf {
        self.folder(&format!("trees/t{task:03}"))
    }

    /// What a task has in a night: one file that stays, and one that is new.
    fn write(&self, task: usize, night: u32) {
        let tree = self.tree(task);
        std::fs::create_dir_all(&tree).unwrap();
        if night == 0 {
            let text = format!("task {task} ").repeat(600 + task);
            std::fs::write(tree.join("stays"), text).unwrap();
        }
        let mut rng = Rng::new(task as u64 * 1000 + u64::from(night));
        let length = 1000 + rng.below(30_000) as usize;
        std::fs::write(tree.join("changes"), rng.bytes(length)).unwrap();
    }

    fn now_ms(&self) -> i64 {
        real_now_ms() + self.shift_ms
    }

    /// Sets all clocks so that it is a second after this hour, and lets the server look.
    fn goes_to(&mut self, night: u32, hour: i64) {
        let at = self.begin_ms + i64::from(night) * DAY_MS + hour * 60 * MINUTE_MS + 1000;
        assert!(at >= self.now_ms(), "time goes on");
        self.shift_ms = at - real_now_ms();
        self.set_clocks();
        self.poke();
    }

    fn set_clocks(&self) {
        let hosts = self.clients.iter().chain([&self.server, &self.far]);
        hosts.for_each(|host| set(&host.clock, self.shift_ms));
    }

    /// Something changes, so that the events are looked at now.
    fn poke(&mut self) {
        self.pokes += 1;
        let name = format!("poke-{}", self.pokes);
        let _ =
            self.server.daemon.ask("calendar.add", json!({ "name": name, "days": "2026-12-25" }));
        let _ = self.server.daemon.ask("calendar.remove", json!({ "name": name }));
    }

    /// Waits until so many runs of events have come since the last time, and all of their jobs have ended
    /// well. Where one waits for another attempt, time goes on by minutes.
    fn runs_end_well(&mut self, what: &str, count: usize) -> Vec<Value> {
        let begun = Instant::now();
        let mut moved = Instant::now();
        loop {
            let runs = self.new_runs();
            let good = |run: &&Value| run["fate"] == "runs" && run["state"] == "finished";
            if runs.len() >= count && runs.iter().filter(good).count() == runs.len() {
                assert_eq!(runs.len(), count, "{what}: {runs:#?}");
                self.last_run = runs.iter().map(|run| run["run"].as_u64().unwrap()).max().unwrap();
                return runs;
            }
            let bad: Vec<&Value> = runs.iter().filter(|run| !good(run)).collect();
            assert!(begun.elapsed() < Duration::from_secs(240), "{what}: {bad:#?}");
            if moved.elapsed() > Duration::from_millis(1500) {
                moved = Instant::now();
                self.shift_ms += MINUTE_MS;
                self.set_clocks();
                self.poke();
            }
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    /// Runs that came since the last time.
    fn new_runs(&self) -> Vec<Value> {
        let Ok(runs) = self.server.daemon.ask("run.list", json!({ "limit": 400 })) else {
            return Vec::new();
        };
        let runs = runs.as_array().unwrap().iter();
        runs.filter(|run| run["run"].as_u64().unwrap() > self.last_run).cloned().collect()
    }

    /// One of the hosts dies while they work.
    fn somebody_dies(&mut self, night: u32) {
        let wait = 30 + self.rng.below(700);
        std::thread::sleep(Duration::from_millis(wait));
        match night % 8 {
            0 => self.server.dies_and_comes_back(),
            1 | 5 => self.far.dies_and_comes_back(),
            _ => {
                let number = self.rng.below(CLIENTS as u64) as usize;
                self.clients[number].dies_and_comes_back();
            }
        }
    }

    /// The savesets that the server lists, by task and datastore, oldest first.
    fn savesets(&self) -> BTreeMap<String, Vec<String>> {
        let listed = self.must("saveset.list", json!({ "limit": 100_000 }));
        let mut of_tasks: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in listed.as_array().unwrap().iter().rev() {
            let (task, id) = (one["task"].as_str().unwrap(), one["saveset"].as_str().unwrap());
            of_tasks.entry(task.to_owned()).or_default().push(id.to_owned());
        }
        of_tasks
    }

    /// Takes down what came in this night, of exactly these tasks.
    fn note(&mut self, tasks: &BTreeSet<String>) {
        let now = self.now_ms();
        for (task, listed) in self.savesets() {
            let known = self.made.entry(task.clone()).or_default();
            let is_new = |id: &&String| known.iter().all(|(one, _)| one != *id);
            let new: Vec<String> = listed.iter().filter(is_new).cloned().collect();
            // An attempt that was cut off after its commit leaves a saveset, too.
            match tasks.contains(&task) {
                true => assert!(!new.is_empty(), "task {task} was not backed up"),
                false => assert_eq!(new, [""; 0], "task {task} was backed up on the wrong night"),
            }
            known.extend(new.into_iter().map(|id| (id, now)));
        }
    }

    /// Nothing that the policy or a lock keeps is gone; and what is kept no more does go.
    fn nothing_went_too_early(&self, collected: bool) {
        let listed = self.savesets();
        for (task, made) in &self.made {
            let there = listed.get(task).cloned().unwrap_or_default();
            let newest = &made[made.len().saturating_sub(KEPT)..];
            for (id, _) in newest {
                assert!(
                    there.contains(id),
                    "the newest of task {task} are gone: {there:?} of {made:?}"
                );
            }
            let young = |at: i64| task == LOCKED && self.now_ms() - at < LOCK_DAYS * DAY_MS;
            for (id, at) in made {
                assert!(!young(*at) || there.contains(id), "locked, and gone: {id} of {made:?}");
            }
            let kept = made.iter().filter(|(_, at)| young(*at)).count().max(KEPT);
            assert!(
                !collected || there.len() <= kept + 1,
                "task {task} keeps {there:?} of {made:?}"
            );
        }
    }

    /// One host's clock is ten years off for a moment. Nothing runs and nothing goes by it.
    fn a_clock_jumps(&mut self, night: u32) {
        let by = if night.is_multiple_of(2) { TEN_YEARS_MS } else { -TEN_YEARS_MS };
        let host = match night % 3 {
            0 => &self.server,
            1 => &self.far,
            _ => &self.clients[usize::try_from(night).unwrap() % CLIENTS],
        };
        let before = self.savesets();
        set(&host.clock, self.shift_ms + by);
        self.poke();
        // A person looks what would go, and lets it go: nothing may.
        let run = self.server.daemon.ask("retention.run", json!({ "over_budget": true }));
        std::thread::sleep(Duration::from_millis(400));
        let host = match night % 3 {
            0 => &self.server,
            1 => &self.far,
            _ => &self.clients[usize::try_from(night).unwrap() % CLIENTS],
        };
        set(&host.clock, self.shift_ms);
        self.poke();
        assert_eq!(self.savesets(), before, "night {night}: {run:?}");
        let runs = self.new_runs();
        assert!(runs.is_empty(), "night {night}: a jump of the clock starts nothing: {runs:#?}");
    }
}

fn task(number: usize) -> String {
    format!("t{number:03}")
}

#[test]
fn gc12_gc13_a_month_of_backups_replication_collections_deaths_and_jumping_clocks_loses_and_doubles_nothing()
 {
    let mut month = Month::new();
    let begun = Instant::now();
    for night in 0..NIGHTS {
        let group = night as usize % GROUPS;
        let tasks: Vec<usize> =
            (0..CLIENTS * TASKS_EACH).filter(|number| number % GROUPS == group).collect();
        for task in &tasks {
            if night > 0 && task % 4 != 3 {
                month.write(*task, night);
            }
        }
        month.goes_to(night, HOUR_OF_BACKUPS);
        month.somebody_dies(night);
        let runs = month.runs_end_well(&format!("backups of night {night}"), tasks.len());
        let subjects: BTreeSet<String> =
            runs.iter().map(|run| run["subject"].as_str().unwrap().to_owned()).collect();
        assert_eq!(subjects, tasks.iter().map(|number| task(*number)).collect(), "each once");
        month.note(&subjects);
        month.nothing_went_too_early(false);

        month.goes_to(night + 1, 1);
        if night % 5 == 1 {
            month.far.dies_and_comes_back();
        }
        month.runs_end_well(&format!("replication after night {night}"), 1);
        month.goes_to(night + 1, 3);
        if night % 7 == 2 {
            month.server.dies_and_comes_back();
        }
        month.runs_end_well(&format!("collections after night {night}"), 2);
        month.nothing_went_too_early(true);
        if night % 2 == 1 {
            month.goes_to(night + 1, 12);
            month.a_clock_jumps(night);
        }
    }
    println!("{NIGHTS} nights in {} s", begun.elapsed().as_secs());

    // No job is left over, and what stays is whole in both places.
    let open = month.must("job.list", json!({ "open_only": true }));
    assert_eq!(open, json!([]));
    for store in ["main", "copies"] {
        let check = json!({ "datastore": store, "depth": "bytes" });
        let job = month.must("datastore.verify", check);
        let ended = month.server.daemon.ended(&job);
        assert_eq!(ended["state"], "finished", "{ended:#}");
    }
    for number in (0..CLIENTS * TASKS_EACH).step_by(17) {
        let target = month.folder(&format!("back/{number}"));
        let restore = json!({ "task": task(number), "target": target });
        let job = month.must("restore", restore);
        let ended = month.server.daemon.ended(&job);
        assert_eq!(ended["state"], "finished", "{ended:#}");
        assert_eq!(differences(&month.tree(number), &target), [""; 0], "task {number}");
    }
    // All of them stop in order.
    for client in &mut month.clients {
        assert_eq!(client.daemon.stop(), 0);
    }
    assert_eq!((month.far.daemon.stop(), month.server.daemon.stop()), (0, 0));
}

/// The saveset is there, and its transfer was never closed: found by the month above.
#[test]
fn a_client_that_dies_after_its_commit_holds_up_no_collection() {
    let scratch = tempfile::tempdir().unwrap();
    let server = Daemon::start("server", &scratch.path().join("server"));
    let store = json!({ "name": "main", "path": scratch.path().join("store") });
    server.must("datastore.create", store);
    let mut client = Daemon::start_with(
        "client",
        &scratch.path().join("client"),
        &[("SIMSIM_FAILPOINTS", "mover.committed=kill")],
    );
    let listens = format!("127.0.0.1:{}", client.port);
    assert_done(&server.join("web", &client.state, &["--listen", &listens]));
    server.until_connected("web");
    server.add_task("home", "web", &crate::hosts::tree(scratch.path()));
    let job = server.must("task.run", json!({ "task": "home" }));
    assert!(client.process.wait(crate::hosts::PATIENCE).is_some(), "it died");
    client.again();
    let ended = server.ended(&job);
    assert_eq!(ended["state"], "finished", "the device shows its saveset: {ended:#}");
    let job = server.must("datastore.collect", json!({ "datastore": "main" }));
    assert_eq!(server.ended(&job)["state"], "finished");
}
