//! Data by FTP: the interfaces that mean it, and jobs that wait for their turn.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hosts::{Daemon, differences, simsim, tree, until};

/// A pair of ports for FTP data, at a loopback address that no other test has.
const RANGE: &str = "20102-20103";

struct Desk {
    scratch: tempfile::TempDir,
    server: Daemon,
    own: String,
    /// `host:port` of FTP.
    ftp: String,
}

fn own_loopback() -> Ipv4Addr {
    let [a, b, c, d] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 1 + (c ^ d) % 250, b, a.clamp(2, 250))
}

impl Desk {
    fn new() -> Self {
        Self::with_range(RANGE)
    }

    fn with_range(range: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("server");
        std::fs::create_dir_all(&state).unwrap();
        let ftp = format!("{}:{}", own_loopback(), simsim_testkit::free_ports(1)[0]);
        let settings = format!("[listen]\nftp = [{ftp:?}]\n[ftp]\ndata_ports = {range:?}\n");
        std::fs::write(state.join("simsim.toml"), settings).unwrap();
        let server = Daemon::start("server", &state);
        let own = server.own_name();
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "path": store }));
        server.add_task("home", &own, &tree(scratch.path()));
        Self { scratch, server, own, ftp }
    }

    fn set(&self, interface: &str) -> Value {
        let set = json!({ "host": self.own, "interfaces": [interface] });
        self.server.must("interface.set", set)
    }

    fn source(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    fn round_trip(&self) {
        let saved = self.server.backup("home");
        assert_eq!(saved["state"], "finished", "{saved:#}");
        let look = json!({ "saveset": saved["saveset"], "path": self.source() });
        self.server.must("saveset.ls", look);
        let target = self.scratch.path().join("back");
        let _ = std::fs::remove_dir_all(&target);
        let restore = json!({ "task": "home", "target": target });
        let ended = self.server.ended(&self.server.must("restore", restore));
        assert_eq!(ended["state"], "finished", "{ended:#}");
        assert_eq!(differences(&self.source(), &target), [""; 0]);
        let log = self.server.process.output();
        let mut opened = log.lines().filter(|line| line.contains("transfer opened"));
        assert!(opened.all(|line| line.contains("ftp")), "{log}");
    }

    fn jobs(&self) -> String {
        let output = simsim().arg("--state").arg(&self.server.state).arg("jobs").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Tasks whose data comes when `go` is there.
    fn tasks_that_wait(&self, go: &Path, names: &[&str]) {
        let mut policy = String::new();
        for name in names {
            let script = format!(
                "touch {}; while [ ! -e {} ]; do sleep 0.05; done; echo done",
                go.with_extension(name).display(),
                go.display()
            );
            let run = format!("run = [\"/bin/sh\", \"-c\", {script:?}]");
            policy.push_str(&format!("[commands.{name}]\n{run}\n"));
        }
        std::fs::create_dir_all(self.server.state.join("client")).unwrap();
        std::fs::write(self.server.state.join("client/policy.toml"), policy).unwrap();
        for name in names {
            let task = json!({
                "name": name, "client": self.own, "kind": "stream", "sources": ["/wait"],
                "options": { "stream_command": name }
            });
            self.server.must("task.add", task);
        }
    }

    /// A job whose data comes when `go` is there.
    fn hold(&self, go: &Path) -> Value {
        self.tasks_that_wait(go, &["holds"]);
        let job = self.server.must("task.run", json!({ "task": "holds" }));
        until("the job that holds the ports runs", || go.with_extension("holds").exists());
        job
    }

    /// What a job that has not ended waits for.
    fn waits(&self, job: &Value) -> String {
        let shown = self.server.must("job.show", json!({ "job": job["job"] }));
        assert!(shown["ended_unix_ms"].is_null(), "it does not wait: {shown:#}");
        shown["waits"].as_str().unwrap_or_default().to_owned()
    }
}

#[test]
fn data_goes_by_ftp_in_each_of_its_forms() {
    let desk = Desk::new();
    for form in ["ftp://HOST", "ftp://HOST?mode=active", "ftpes://HOST", "ftpes://HOST?mode=active"]
    {
        let reply = desk.set(&form.replace("HOST", &desk.ftp));
        assert_eq!(reply["warnings"], json!([]), "{form}");
        desk.round_trip();
    }
    // A bare host means FTP, and somebody should know.
    let reply = desk.set(&desk.ftp);
    let warning = reply["warnings"][0].as_str().unwrap();
    assert!(warning.contains("means FTP") && warning.contains("https://"), "{warning}");
    assert_eq!(reply["view"]["interfaces"][0]["url"], format!("ftp://{}", desk.ftp));
    desk.round_trip();
    let plan = desk.server.must("ports.plan", Value::Null);
    let rows = plan["rows"].as_array().unwrap();
    let data = rows.iter().find(|row| row["row"] == "ftp-data").unwrap();
    let ports = format!("{}-{}", data["first_port"], data["last_port"]);
    assert_eq!(ports, RANGE, "the range that the host told of");
}

#[test]
fn a_job_that_waits_for_ports_says_so_and_is_done_when_it_is_its_turn() {
    let desk = Desk::new();
    desk.set(&format!("ftp://{}", desk.ftp));
    let go = desk.scratch.path().join("go");
    let held = desk.hold(&go);
    let waiting = desk.server.must("task.run", json!({ "task": "home" }));
    let waits = |job: &Value| desk.waits(job);
    until("the job says what it waits for", || waits(&waiting).contains("data ports are in use"));
    let jobs = desk.jobs();
    let line = format!("job {}: All 1 pairs of data ports are in use", waiting["job"]);
    assert!(jobs.contains(&line), "{jobs}");

    // One that is cancelled while it waits ends at once, and takes no turn.
    desk.server.add_task("again", &desk.own, &desk.source());
    let cancelled = desk.server.must("task.run", json!({ "task": "again" }));
    until("the second one waits too", || waits(&cancelled).contains("data ports are in use"));
    desk.server.must("job.cancel", json!({ "job": cancelled["job"] }));
    assert_eq!(desk.server.ended(&cancelled)["state"], "cancelled");

    std::fs::write(&go, "").unwrap();
    let ended = desk.server.ended(&held);
    assert_eq!(ended["state"], "finished", "{ended:#}");
    let ended = desk.server.ended(&waiting);
    assert_eq!(ended["state"], "finished", "{ended:#}");
    assert!(ended["waits"].is_null(), "{ended:#}");
}

/// Ports from 22000 to 22099 that connections of this host have at either end.
fn data_ports() -> Vec<u16> {
    let mut ports = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = std::fs::read_to_string(table).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ends = fields[1..3].iter().filter_map(|end| end.rsplit(':').next());
            // Established: neither one that waits for a connection nor one that is over.
            if fields[3] == "01" {
                ports.extend(ends.map(|port| u16::from_str_radix(port, 16).unwrap()));
            }
        }
    }
    ports.retain(|port| (22_000..22_100).contains(port));
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn three_jobs_through_six_ports_and_the_fourth_waits(range: std::ops::Range<u16>, query: &str) {
    let desk = Desk::with_range(&format!("{}-{}", range.start, range.end - 1));
    desk.set(&format!("ftp://{}{query}", desk.ftp));
    let go = desk.scratch.path().join("go");
    let names = ["first", "second", "third", "fourth"];
    desk.tasks_that_wait(&go, &names);
    let run = |name: &str| desk.server.must("task.run", json!({ "task": name }));
    let mut jobs: Vec<Value> = names[..3].iter().map(|name| run(name)).collect();
    let of_this_test = || {
        let mut ports = data_ports();
        ports.retain(|port| range.contains(port));
        ports
    };
    let exactly: Vec<u16> = range.clone().collect();
    until("three jobs have two ports each", || of_this_test() == exactly);
    let fourth = run("fourth");
    until("the fourth says what it waits for", || desk.waits(&fourth).contains("All 3 pairs of"));
    assert_eq!(desk.waits(&fourth).contains("this host's FTP data ports"), !query.is_empty());
    assert_eq!(of_this_test(), exactly);
    std::fs::write(&go, b"").unwrap();
    jobs.push(fourth);
    for job in &jobs {
        let ended = desk.server.ended(job);
        assert_eq!(ended["state"], "finished", "{ended:#}");
    }
    until("every port is free again", || of_this_test().is_empty());
}

#[test]
fn three_jobs_go_through_exactly_six_ports_of_the_device_and_the_fourth_waits() {
    three_jobs_through_six_ports_and_the_fourth_waits(22_002..22_008, "");
}

#[test]
fn three_jobs_go_through_exactly_six_ports_of_the_client_and_the_fourth_waits() {
    three_jobs_through_six_ports_and_the_fourth_waits(22_012..22_018, "?mode=active");
}
