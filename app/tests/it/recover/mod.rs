//! The server is lost, and comes back as the same one: `simsim recover`.

mod damage;
mod deaths;
mod drill;
mod setting_up;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::hosts::{Daemon, simsim, tree};

/// A server with a datastore "main" of its own, a client "web", the task "home" of it, and a kit.
struct World {
    scratch: tempfile::TempDir,
    server: Daemon,
    client: Daemon,
    kit: PathBuf,
    tree: PathBuf,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let tree = tree(scratch.path());
        let server = Daemon::start("server", &folder("server"));
        let client = Daemon::start("client", &folder("client"));
        crate::hosts::assert_done(&server.join("web", &client.state, &[]));
        server.until_connected("web");
        server.must("datastore.create", json!({ "name": "main", "path": folder("main") }));
        server.add_task("home", "web", &tree);
        let kit = folder("kit.txt");
        let mut world = Self { scratch, server, client, kit, tree };
        world.new_kit();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn new_kit(&mut self) {
        let made = self.server.must("key.kit", json!({}));
        let groups = made["groups"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
        std::fs::write(&self.kit, groups.collect::<Vec<_>>().join("-")).unwrap();
    }

    fn saved(&self, task: &str) -> Value {
        let job = self.server.backup(task);
        assert_eq!(job["state"], "finished", "{task}: {job:#}\n{}", self.server.process.output());
        job
    }

    /// The server's host burns; its datastores are on other disks.
    fn lose_server(&mut self) {
        self.server.process.kill();
        std::fs::remove_dir_all(&self.server.state).unwrap();
    }

    fn command(&self, state: &Path, arguments: &[&str]) -> Command {
        let mut command = simsim();
        command.arg("--state").arg(state).arg("recover").arg("--kit").arg(&self.kit);
        command.args(arguments);
        command
    }

    /// `simsim recover` into the lost server's state folder.
    fn recover(&self, arguments: &[&str]) -> Output {
        self.command(&self.server.state, arguments).output().unwrap()
    }

    fn recovered(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let output = self.recover(&all);
        assert_eq!(output.status.code(), Some(0), "{}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A person has looked.
    fn confirm(&self) {
        self.server.must("queue.resume", Value::Null);
        self.server.must("retention.confirm-clock", Value::Null);
    }

    fn restores(&self, request: Value, tree: &Path, target: &Path) {
        let mut request = request;
        request["target"] = json!(target);
        request["specials"] = json!(true);
        let restore = self.server.ended(&self.server.must("restore", request));
        assert_eq!(restore["state"], "finished", "{restore:#}");
        assert_eq!(crate::hosts::differences(tree, target), Vec::<String>::new());
    }

    fn savesets(&self) -> Vec<Value> {
        self.server.must("saveset.list", json!({})).as_array().unwrap().clone()
    }

    fn warnings(&self) -> String {
        self.server.must("status", Value::Null)["warnings"].to_string()
    }
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
