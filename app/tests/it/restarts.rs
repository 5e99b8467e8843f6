//! Daemons end and start again, and nothing is forgotten.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hosts::{Daemon, assert_done, differences, tree, until};

/// A task at `client` whose command waits for a file and then says one line.
fn waiting_task(server: &Daemon, client: &str, state: &Path, go: &Path) {
    let begun = begun(go);
    let wait = format!("while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let script = format!("touch {}; echo begun; {wait}; echo done", begun.display());
    let policy = format!("[commands.wait]\nrun = [\"/bin/sh\", \"-c\", {script:?}]\n");
    std::fs::create_dir_all(state.join("client")).unwrap();
    std::fs::write(state.join("client/policy.toml"), policy).unwrap();
    let options = json!({ "stream_command": "wait" });
    let task = json!({ "name": "waits", "client": client, "kind": "stream", "sources": ["/wait"], "options": options });
    server.must("task.add", task);
}

/// Made by the command when it runs.
fn begun(go: &Path) -> PathBuf {
    go.with_extension("begun")
}

fn until_running(server: &Daemon, job: &Value, go: &Path) {
    until("the job runs at the client", || begun(go).exists());
    until("the server knows", || {
        server.must("job.show", json!({ "job": job["job"] }))["state"] == "running"
    });
}

#[test]
fn every_daemon_restarts_with_its_enrolment_datastores_and_tasks() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let mut server = Daemon::start("server", &folder("server"));
    let mut rds = Daemon::start("rds", &folder("rds"));
    let mut client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("far", &rds.state, &[]));
    assert_done(&server.join("web", &client.state, &[]));
    server.until_connected("far");
    server.until_connected("web");
    server.must(
        "datastore.create",
        json!({ "name": "main", "node": "far", "path": folder("store") }),
    );
    server.add_task("home", "web", &tree);
    let first = server.backup("home");
    assert_eq!(first["state"], "finished", "{first:#}");

    for _ in 0..2 {
        for daemon in [&mut client, &mut rds, &mut server] {
            assert_eq!(daemon.stop(), 0, "{}", daemon.process.output());
            daemon.again();
        }
        let again = server.backup("home");
        assert_eq!(again["state"], "finished", "{again:#}");
        assert_eq!(again["progress"]["bytes_new"], 0, "{again:#}");
        assert_ne!(again["saveset"], first["saveset"]);
    }
    let target = folder("restored");
    let request = json!({ "saveset": first["saveset"], "target": target, "specials": true });
    let restore = server.must("restore", request);
    assert_eq!(server.ended(&restore)["state"], "finished");
    assert_eq!(differences(&tree, &target), Vec::<String>::new());
}

#[test]
fn a_server_that_is_stopped_during_a_backup_of_its_own_host_says_so_after_its_start() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let mut server = Daemon::start("server", &folder("server"));
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    let own = server.own_name();
    waiting_task(&server, &own, &folder("server"), &folder("go"));
    let job = server.must("task.run", json!({ "task": "waits" }));
    until_running(&server, &job, &folder("go"));
    assert_eq!(server.stop(), 0, "{}", server.process.output());
    server.again();
    let ended = server.ended(&job);
    assert_eq!(ended["state"], "interrupted", "{ended:#}");
    // And the next run goes well.
    std::fs::write(folder("go"), "").unwrap();
    let next = server.backup("waits");
    assert_eq!(next["state"], "finished", "{next:#}");
}

#[test]
fn a_job_between_other_hosts_goes_on_while_the_server_restarts_or_is_killed() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let mut server = Daemon::start("server", &folder("server"));
    let rds = Daemon::start("rds", &folder("rds"));
    let client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("far", &rds.state, &[]));
    assert_done(&server.join("web", &client.state, &[]));
    server.until_connected("far");
    server.must(
        "datastore.create",
        json!({ "name": "main", "node": "far", "path": folder("store") }),
    );
    waiting_task(&server, "web", &client.state, &folder("go"));
    for kill in [false, true] {
        let _ = std::fs::remove_file(folder("go"));
        let _ = std::fs::remove_file(begun(&folder("go")));
        let job = server.must("task.run", json!({ "task": "waits" }));
        until_running(&server, &job, &folder("go"));
        if !kill {
            assert_eq!(server.stop(), 0, "{}", server.process.output());
        }
        server.again();
        std::fs::write(folder("go"), "").unwrap();
        let ended = server.ended(&job);
        assert_eq!(ended["state"], "finished", "{ended:#}\n{}", server.process.output());
        let savesets = server.must("saveset.list", json!({ "task": "waits" }));
        assert!(savesets.as_array().unwrap().iter().any(|one| one["saveset"] == ended["saveset"]));
    }
}

#[test]
fn a_client_that_ends_during_its_backup_makes_it_interrupted() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let server = Daemon::start("server", &folder("server"));
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    let mut client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("web", &client.state, &[]));
    waiting_task(&server, "web", &client.state, &folder("go"));
    let job = server.must("task.run", json!({ "task": "waits" }));
    until_running(&server, &job, &folder("go"));
    assert_eq!(client.stop(), 0, "{}", client.process.output());
    client.again();
    let ended = server.ended(&job);
    assert_eq!(ended["state"], "interrupted", "{ended:#}");
    std::fs::write(folder("go"), "").unwrap();
    assert_eq!(server.backup("waits")["state"], "finished");
}
