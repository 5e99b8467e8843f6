//! The whole suite under attack by its surroundings: a server, an RDS and a client as real
//! processes, and one of them dies, freezes, or runs out of space.

mod cuts;
mod deletions;
mod firewall;
mod full_disk;
mod kills;
mod locks;
pub mod points;
mod silence;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use simsim_testkit::{ChildProcess, compare_trees};

use crate::hosts::{Daemon, PATIENCE, assert_done, simsim, until};

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Server,
    Device,
    Client,
    /// The short process `simsim client join`.
    Joiner,
}

/// A saveset that was acknowledged, and what the source was then.
struct Kept {
    saveset: Value,
    copy: PathBuf,
}

/// Three hosts: the server, the RDS "far" with the datastore, the client "web" with the source.
pub struct World {
    pub scratch: tempfile::TempDir,
    pub server: Daemon,
    pub device: Daemon,
    pub client: Daemon,
    pub store: PathBuf,
    pub source: PathBuf,
    /// The data port stays, so that a client finds a device that was started again.
    http: u16,
    round: u64,
    kept: Vec<Kept>,
    /// The newest job that was looked at.
    last_job: u64,
}

impl World {
    pub fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = scratch.path().join("store");
        Self::with_store(scratch, store)
    }

    pub fn with_store(scratch: tempfile::TempDir, store: PathBuf) -> Self {
        let folder = |name: &str| scratch.path().join(name);
        let server = Daemon::start("server", &folder("server"));
        let device = Daemon::start("rds", &folder("rds"));
        let client = Daemon::start("client", &folder("client"));
        assert_done(&server.join("far", &device.state, &[]));
        assert_done(&server.join("web", &client.state, &[]));
        let http = simsim_testkit::free_ports(1)[0];
        let source = folder("source");
        let (round, kept, last_job) = (0, Vec::new(), 0);
        let mut world =
            Self { store, source, scratch, server, device, client, http, round, kept, last_job };
        world.again(Who::Device);
        world.until_connected();
        world.prepare();
        world
    }

    fn prepare(&self) {
        let (server, source, store) = (&self.server, &self.source, &self.store);
        let create = json!({ "name": "main", "node": "far", "path": store });
        server.must("datastore.create", create);
        std::fs::create_dir_all(source.join("sub/empty")).unwrap();
        std::fs::write(source.join("sub/text"), "a line of text\n".repeat(3000)).unwrap();
        std::os::unix::fs::symlink("sub/text", source.join("link")).unwrap();
        server.add_task("home", "web", source);
    }

    pub fn daemon(&mut self, who: Who) -> &mut Daemon {
        match who {
            Who::Server => &mut self.server,
            Who::Device => &mut self.device,
            Who::Client | Who::Joiner => &mut self.client,
        }
    }

    /// Starts a daemon anew with failpoints armed, and does not wait.
    pub fn arm(&mut self, who: Who, points: &str) {
        let role = match who {
            Who::Server => "server",
            Who::Device => "rds",
            Who::Client | Who::Joiner => "client",
        };
        let http = match who {
            Who::Device => self.http,
            _ => 0,
        };
        let daemon = self.daemon(who);
        daemon.process.kill();
        let mut command = simsim();
        command.env("SIMSIM_FAILPOINTS", points).arg("--state").arg(&daemon.state).arg(role);
        command.args(["--listen", &format!("127.0.0.1:{}", daemon.port)]);
        if role != "client" {
            command.args(["--http", &format!("127.0.0.1:{http}")]);
        }
        if role == "server" {
            command.args(["--console", "127.0.0.1:0"]);
        }
        daemon.process = ChildProcess::start(&mut command);
    }

    /// Starts a daemon anew, with nothing armed.
    pub fn again(&mut self, who: Who) {
        self.arm(who, "");
        let ready = self.daemon(who).process.wait_for_line("is ready", PATIENCE);
        ready.unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn until_connected(&self) {
        self.server.until_connected("far");
        self.server.until_connected("web");
    }

    /// Gives the source new content of several segments.
    pub fn change(&mut self, bytes: usize) {
        self.round += 1;
        std::fs::write(self.source.join("sub/large"), noise(bytes, self.round)).unwrap();
        std::fs::write(self.source.join("small"), format!("round {}", self.round)).unwrap();
    }

    fn copy(&self) -> PathBuf {
        let copy = self.scratch.path().join(format!("copy-{}", self.kept.len()));
        let mut cp = std::process::Command::new("cp");
        assert!(cp.arg("-a").arg(&self.source).arg(&copy).status().unwrap().success());
        copy
    }

    /// The newest job, when it has ended.
    pub fn last_job_ended(&self) -> Value {
        let jobs = self.server.must("job.list", json!({ "limit": 1 }));
        self.server.ended(&jobs[0])
    }

    /// What must hold after any death: a job that says that it finished has a saveset, one that
    /// does not has none, and the catalog lists exactly what the datastore holds.
    pub fn settled(&mut self, what: &str) {
        self.until_connected();
        let ended = self.last_job_ended();
        // A server that died before it wrote the job down has none to tell of.
        let number = ended["job"].as_u64().unwrap();
        let there = number > self.last_job;
        self.last_job = number;
        let state = ended["state"].as_str().unwrap().to_owned();
        let clear = ["finished", "failed", "interrupted", "cancelled"];
        assert!(clear.contains(&state.as_str()), "{what}: {ended:#}");
        until(&format!("{what}: rows and manifests agree"), || {
            self.listed().len() == self.manifests()
        });
        let known: Vec<&Value> = self.kept.iter().map(|kept| &kept.saveset).collect();
        let listed = self.listed();
        assert!(known.iter().all(|kept| listed.contains(kept)), "{what}: one is lost");
        let new: Vec<Value> = listed.iter().filter(|one| !known.contains(one)).cloned().collect();
        assert!(new.len() <= 1, "{what}: {new:?}");
        if there && state == "finished" && ended["kind"] == "backup" {
            assert_eq!(new, [ended["saveset"].clone()], "{what}: {ended:#}");
        }
        // A saveset that is there although its job could not tell is complete as well.
        for saveset in new {
            let copy = self.copy();
            self.kept.push(Kept { saveset, copy });
        }
    }

    fn listed(&self) -> Vec<Value> {
        let savesets = self.server.must("saveset.list", json!({}));
        savesets.as_array().unwrap().iter().map(|one| one["saveset"].clone()).collect()
    }

    fn manifests(&self) -> usize {
        std::fs::read_dir(self.store.join("manifests")).map_or(0, Iterator::count)
    }

    /// A backup that must succeed.
    pub fn saved(&mut self, what: &str) {
        let ended = self.server.backup("home");
        assert_eq!(ended["state"], "finished", "{what}: {ended:#}");
        self.last_job = ended["job"].as_u64().unwrap();
        let copy = self.copy();
        self.kept.push(Kept { saveset: ended["saveset"].clone(), copy });
    }

    /// Restores into an own folder and compares.
    pub fn restored(&self, kept: usize, what: &str) {
        let target = self.scratch.path().join("restored");
        let _ = std::fs::remove_dir_all(&target);
        let Kept { saveset, copy } = &self.kept[kept];
        let request = json!({ "saveset": saveset, "target": target });
        let ended = self.server.ended(&self.server.must("restore", request));
        assert_eq!(ended["state"], "finished", "{what}: {ended:#}");
        self.compare(copy, &target, what);
    }

    pub fn compare(&self, copy: &Path, target: &Path, what: &str) {
        let restored = target.join(self.source.strip_prefix("/").unwrap());
        assert_eq!(compare_trees(copy, &restored), [], "{what}");
    }

    pub fn newest(&self) -> (Value, PathBuf) {
        let kept = self.kept.last().expect("a saveset");
        (kept.saveset.clone(), kept.copy.clone())
    }

    /// Every acknowledged saveset comes back as it was, and every byte of the datastore is sound.
    pub fn all_restored(&self) {
        for kept in 0..self.kept.len() {
            self.restored(kept, &format!("saveset {kept} of {}", self.kept.len()));
        }
        let check = json!({ "datastore": "main", "depth": "structure" });
        let ended = self.server.ended(&self.server.must("datastore.verify", check));
        assert_eq!(ended["state"], "finished", "{ended:#}");
    }

    pub fn log(&self, job: &Value) -> String {
        let log = self.server.must("job.log", json!({ "job": job["job"] }));
        log["lines"].as_array().unwrap().iter().map(|line| format!("{}\n", line["line"])).collect()
    }
}

/// Waits for the death of an armed process; false when it lives on.
pub fn dies(process: &mut ChildProcess, patience: Duration) -> bool {
    process.wait(patience).is_some_and(|status| status.code().is_none())
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    simsim_testkit::Rng::new(seed).bytes(length)
}

/// A task "waits" at the client, whose command says one line and then waits for the file that is
/// answered.
pub fn waiting_task(world: &World) -> PathBuf {
    let go = world.scratch.path().join("go");
    let script =
        format!("echo begun; while [ ! -e {} ]; do sleep 0.05; done; echo done", go.display());
    let policy = format!("[commands.wait]\nrun = [\"/bin/sh\", \"-c\", {script:?}]\n");
    std::fs::create_dir_all(world.client.state.join("client")).unwrap();
    std::fs::write(world.client.state.join("client/policy.toml"), policy).unwrap();
    let options = json!({ "stream_command": "wait" });
    let task = json!({
        "name": "waits", "client": "web", "kind": "stream", "sources": ["/wait"],
        "options": options
    });
    world.server.must("task.add", task);
    go
}

/// Longest time in which a silent peer is noticed, with room for a busy machine.
pub const NOTICED: Duration = Duration::from_secs(45);

pub fn must_end(process: &mut ChildProcess, what: &str) {
    assert!(dies(process, PATIENCE), "{what}: it lives on:\n{}", process.output());
}
