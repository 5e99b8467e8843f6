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
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("server");
        std::fs::create_dir_all(&state).unwrap();
        let ftp = format!("{}:{}", own_loopback(), simsim_testkit::free_ports(1)[0]);
        let settings = format!("[listen]\nftp = [{ftp:?}]\n[ftp]\ndata_ports = {RANGE:?}\n");
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

    /// A task whose data comes when `go` is there, and the job that runs it.
    fn hold(&self, go: &Path) -> Value {
        let begun = go.with_extension("begun");
        let script = format!(
            "touch {}; while [ ! -e {} ]; do sleep 0.05; done; echo done",
            begun.display(),
            go.display()
        );
        let policy = format!("[commands.wait]\nrun = [\"/bin/sh\", \"-c\", {script:?}]\n");
        std::fs::create_dir_all(self.server.state.join("client")).unwrap();
        std::fs::write(self.server.state.join("client/policy.toml"), policy).unwrap();
        let options = json!({ "stream_command": "wait" });
        let task = json!({
            "name": "holds", "client": self.own, "kind": "stream", "sources": ["/wait"],
            "options": options
        });
        self.server.must("task.add", task);
        let job = self.server.must("task.run", json!({ "task": "holds" }));
        until("the job that holds the ports runs", || begun.exists());
        job
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
    let waits = |job: &Value| {
        let shown = desk.server.must("job.show", json!({ "job": job["job"] }));
        assert!(shown["ended_unix_ms"].is_null(), "it does not wait: {shown:#}");
        shown["waits"].as_str().unwrap_or_default().to_owned()
    };
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
