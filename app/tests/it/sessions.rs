//! Many chunk sessions at once on the port of one drive, with real daemons: within the memory that
//! docs/internals/memory.md says, none is lost, and one too many waits for its turn.

use std::path::PathBuf;

use serde_json::{Value, json};
use simsim_testkit::{Rng, free_ports};

use crate::hosts::{Daemon, assert_done, differences, until, until_within};
use crate::memory::most_mib;

/// A long step with all sessions, on two busy cores.
const LONG: std::time::Duration = std::time::Duration::from_secs(180);

/// A server, an RDS "far" with datastore "main" at one drive, and clients that go by its port.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    far: Daemon,
    clients: Vec<Daemon>,
    /// Of the drive.
    port: u16,
}

impl Site {
    /// `more` goes into the settings of the RDS, below `[device]`.
    fn new(clients: usize, more: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let write = |name: &str, settings: String| {
            std::fs::create_dir_all(folder(name)).unwrap();
            std::fs::write(folder(name).join("simsim.toml"), settings).unwrap();
        };
        // The drive's number is added to the base.
        let port = free_ports(1)[0];
        let base = port - 1;
        write("far", format!("[listen]\ndrive = [\"127.0.0.1:{base}\"]\n\n[device]\n{more}\n"));
        let server = Daemon::start("server", &folder("server"));
        let far = Daemon::start("rds", &folder("far"));
        assert_done(&server.join("far", &far.state, &[]));
        server.until_connected("far");
        let store = json!({
            "name": "main", "node": "far", "path": folder("main"), "drive": 1, "jobs_max": 500
        });
        server.must("datastore.create", store);
        let clients = (0..clients).map(|at| {
            let name = format!("c{at}");
            write(&name, "[client]\njobs_max = 150\nthreads = 1\nzstd_level = 1\n".to_owned());
            let client = Daemon::start("client", &folder(&name));
            assert_done(&server.join(&name, &client.state, &[]));
            server.until_connected(&name);
            server.must("interface.choose", json!({ "client": name, "choices": ["drive"] }));
            client
        });
        let clients = clients.collect();
        Self { scratch, server, far, clients, port }
    }

    fn source(&self, task: &str) -> PathBuf {
        self.scratch.path().join("sources").join(task)
    }

    /// A task of files that no other one has: a folder of small ones, and a large one.
    fn add_task(&self, task: &str, client: &str, seed: u64) {
        let source = self.source(task);
        std::fs::create_dir_all(source.join("small")).unwrap();
        let mut rng = Rng::new(seed);
        for number in 0..30 {
            let path = source.join(format!("small/{number}"));
            std::fs::write(path, rng.bytes(500 + number * 50)).unwrap();
        }
        std::fs::write(source.join("large"), rng.bytes(2_500_000)).unwrap();
        self.server.add_task(task, client, &source);
    }

    /// From now on data goes so slowly that nobody comes to an end; the limit's number.
    fn hold(&self) -> Value {
        let added = self.server.must("rate.add", json!({ "rates": ["30KB/s"] }));
        assert_eq!(added["untold"], json!([]), "{added:#}");
        added["number"].clone()
    }

    fn let_go(&self, limit: &Value) {
        self.server.must("rate.remove", json!({ "number": limit }));
    }

    fn run(&self, task: &str) -> Value {
        self.server.must("task.run", json!({ "task": task }))
    }

    /// Chunk sessions that are open at the drive's port now.
    fn open_sessions(&self) -> usize {
        let log = self.far.process.output();
        let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
        let gone = lines("transfer closed") + lines("transfer aborted") + lines("was revoked");
        let opened = |line: &&str| line.contains("transfer opened") && line.contains("drive");
        log.lines().filter(opened).count() - gone
    }

    /// Connections of clients to the drive's port, as the system sees them.
    fn connections(&self) -> usize {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let local = format!("0100007F:{:04X}", self.port);
        let established = |line: &&str| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(&local) && fields.nth(1) == Some("01")
        };
        table.lines().filter(established).count()
    }

    fn waits(&self, job: &Value) -> String {
        let shown = self.server.must("job.show", json!({ "job": job["job"] }));
        assert!(shown["ended_unix_ms"].is_null(), "it does not wait: {shown:#}");
        shown["waits"].as_str().unwrap_or_default().to_owned()
    }

    fn finished(&self, job: &Value) {
        let mut shown = Value::Null;
        until_within("the job ends", LONG, || {
            shown = self.server.must("job.show", json!({ "job": job["job"] }));
            !shown["ended_unix_ms"].is_null()
        });
        assert_eq!(shown["state"], "finished", "{shown:#}");
    }

    fn verified(&self) {
        let check = json!({ "datastore": "main", "depth": "bytes", "keys_to_device": true });
        let job = self.server.must("datastore.verify", check);
        self.finished(&job);
    }

    fn restored(&self, task: &str, client: &str) {
        let target = self.scratch.path().join(format!("back-{task}"));
        let request = json!({ "task": task, "client": client, "target": target });
        self.finished(&self.server.must("restore", request));
        assert_eq!(differences(&self.source(task), &target), [""; 0], "{task}");
    }

    fn kept(&self) -> usize {
        self.server.must("saveset.list", json!({ "limit": 500 })).as_array().unwrap().len()
    }
}

/// Resident at a device at most: docs/internals/memory.md.
const DEVICE_MIB_MAX: u64 = 128;
const SESSIONS: usize = 200;
/// A client works on 64 orders of its server at once.
const CLIENTS: usize = 4;

#[test]
fn two_hundred_sessions_at_one_drive_port_keep_to_the_memory_of_a_device() {
    let mut site = Site::new(CLIENTS + 1, "");
    let tasks: Vec<(String, String)> =
        (0..SESSIONS).map(|at| (format!("t{at}"), format!("c{}", at % CLIENTS))).collect();
    for (at, (task, client)) in tasks.iter().enumerate() {
        site.add_task(task, client, at as u64 + 1);
    }
    let doomed = format!("c{CLIENTS}");
    for at in 0..4 {
        site.add_task(&format!("dies{at}"), &doomed, 1000 + at);
    }
    let limit = site.hold();
    let dying: Vec<Value> = (0..4).map(|at| site.run(&format!("dies{at}"))).collect();
    let jobs: Vec<Value> = tasks.iter().map(|(task, _)| site.run(task)).collect();
    until_within("all sessions are open", LONG, || site.open_sessions() == SESSIONS + 4);
    // At one time, and not one after the other.
    assert!(site.connections() >= SESSIONS, "{} connections", site.connections());
    let open = site.server.must("job.list", json!({ "open_only": true, "limit": 500 }));
    assert_eq!(open.as_array().unwrap().len(), SESSIONS + 4, "{open:#}");
    let held = most_mib(&site.far);

    // Some die with what they hold; the others get it.
    site.clients[CLIENTS].process.kill();
    site.let_go(&limit);
    jobs.iter().for_each(|job| site.finished(job));
    let most = most_mib(&site.far);
    println!("{SESSIONS} sessions: {held} MiB while all were open, {most} MiB at most");
    assert!(most <= DEVICE_MIB_MAX, "{most} MiB, {held} MiB of them while all were open");
    site.clients[CLIENTS].again();
    site.server.until_connected(&doomed);
    dying.iter().for_each(|job| drop(site.server.must("job.cancel", json!({ "job": job["job"] }))));

    assert!(site.kept() >= SESSIONS);
    site.verified();
    site.restored("t0", "c0");
    site.restored("t199", "c3");
    let most = most_mib(&site.far);
    println!("after verification and restore {most} MiB");
    assert!(most <= DEVICE_MIB_MAX, "{most} MiB");
}

#[test]
fn one_session_too_many_names_the_setting_and_waits_for_its_turn() {
    let site = Site::new(1, "transfers_max = 2");
    for (at, task) in ["first", "second", "third", "fourth"].iter().enumerate() {
        site.add_task(task, "c0", at as u64 + 1);
    }
    let limit = site.hold();
    let jobs = [site.run("first"), site.run("second")];
    until("two sessions are open", || site.open_sessions() == 2);
    let third = site.run("third");
    until("the third one says what it waits for", || {
        let what = site.waits(&third);
        what.contains("2 transfers are open") && what.contains("device.transfers_max")
    });
    // One that is cancelled while it waits ends at once.
    let fourth = site.run("fourth");
    until("the fourth one waits too", || site.waits(&fourth).contains("device.transfers_max"));
    site.server.must("job.cancel", json!({ "job": fourth["job"] }));
    assert_eq!(site.server.ended(&fourth)["state"], "cancelled");
    assert_eq!(site.open_sessions(), 2);
    site.let_go(&limit);
    jobs.iter().chain([&third]).for_each(|job| site.finished(job));
    assert_eq!(site.kept(), 3);
    site.restored("third", "c0");
}
