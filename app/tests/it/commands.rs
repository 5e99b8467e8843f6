//! Commands of a client's owner: before and after backups, and by themselves. Real daemons; what ran when is
//! written by the commands into a journal.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use crate::hosts::{Daemon, PATIENCE, assert_done, simsim, tree, until};

/// A server with a datastore, and a client with a policy and a task.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    client: Daemon,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let server = Daemon::start("server", &folder("server"));
        server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
        let client = Daemon::start("client", &folder("client"));
        let port = format!("127.0.0.1:{}", client.port);
        assert_done(&server.join("web", &client.state, &["--listen", &port]));
        server.until_connected("web");
        let site = Self { server, client, scratch };
        site.policy(&[]);
        site.server.add_task("home", "web", &tree(site.scratch.path()));
        site
    }

    fn journal_file(&self) -> PathBuf {
        self.scratch.path().join("journal")
    }

    /// What ran: phase, task and outcome, a line for each.
    fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.journal_file()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The owner's policy: 'freeze' and 'thaw', and these scripts.
    fn policy(&self, more: &[(&str, &str)]) {
        let journal = self.journal_file();
        let note = format!(
            "echo \"$SIMSIM_PHASE ${{SIMSIM_TASK:-$SIMSIM_COMMAND}} $SIMSIM_OUTCOME\" >> {}",
            journal.display()
        );
        let both = [("freeze", "echo it stands still"), ("thaw", "echo it goes on >&2")];
        let mut text = String::new();
        for (name, script) in both.iter().chain(more) {
            let script = format!("{note}; {script}");
            text.push_str(&format!(
                "[commands.{name}]\nrun = [\"/bin/sh\", \"-c\", '''{script}''']\n"
            ));
        }
        std::fs::create_dir_all(self.client.state.join("client")).unwrap();
        std::fs::write(self.client.state.join("client/policy.toml"), text).unwrap();
    }

    fn change_task(&self, options: Value) {
        let mut task = self.server.must("task.show", json!({ "name": "home" }));
        let request = json!({
            "name": "home", "client": "web", "sources": task["sources"].take(), "options": options,
        });
        self.server.must("task.change", request);
    }

    fn around(&self, pre: &str, post: &str) {
        self.change_task(json!({ "pre_command": pre, "post_command": post }));
    }

    fn savesets(&self) -> usize {
        self.server.must("saveset.list", json!({})).as_array().unwrap().len()
    }

    fn owed(&self) -> usize {
        std::fs::read_dir(self.client.state.join("client/owed")).map_or(0, Iterator::count)
    }

    /// The client again, to die at a point.
    fn client_dies_at(&mut self, point: &str) {
        self.client.process.kill();
        let mut command = simsim();
        command
            .env("SIMSIM_FAILPOINTS", point)
            .arg("--state")
            .arg(&self.client.state)
            .arg("client");
        command.args(["--listen", &format!("127.0.0.1:{}", self.client.port)]);
        self.client.process = ChildProcess::start(&mut command);
        self.client.process.wait_for_line("is ready", PATIENCE).unwrap();
        self.server.until_connected("web");
    }

    fn cli(&self, arguments: &[&str]) -> std::process::Output {
        simsim().arg("--state").arg(&self.server.state).args(arguments).output().unwrap()
    }

    fn jobs(&self, filter: Value) -> Vec<Value> {
        self.server.must("job.list", filter).as_array().unwrap().clone()
    }
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn notes(job: &Value) -> String {
    job["problem_list"].to_string()
}

#[test]
fn a_backup_reads_between_the_two_and_says_what_they_said() {
    let site = Site::new();
    let dump = site.scratch.path().join("tree/dump");
    let make = format!("echo made > {}", dump.display());
    let drop = format!("rm {}", dump.display());
    site.policy(&[("make", &make), ("drop", &drop)]);
    site.around("make", "drop");
    let job = site.server.backup("home");
    assert_eq!(job["state"], "finished", "{job:#}");
    assert_eq!(site.journal(), ["before home ", "after home finished"]);
    assert!(!dump.exists());
    let target = site.scratch.path().join("back");
    let restored = site.server.must("restore", json!({ "task": "home", "target": target }));
    assert_eq!(site.server.ended(&restored)["state"], "finished");
    let back = target.join(dump.strip_prefix("/").unwrap());
    assert_eq!(std::fs::read_to_string(back).unwrap(), "made\n");
    assert_eq!(site.owed(), 0);

    site.around("freeze", "thaw");
    let job = site.server.backup("home");
    assert_eq!(job["state"], "finished", "{job:#}");
    assert!(
        notes(&job).contains("it stands still") && notes(&job).contains("it goes on"),
        "{job:#}"
    );
}

#[test]
fn a_pre_command_that_fails_lets_nothing_be_read_and_the_post_command_puts_things_right() {
    let site = Site::new();
    site.policy(&[("broken", "echo the database is away; exit 3")]);
    site.around("broken", "thaw");
    let job = site.server.backup("home");
    assert_eq!(job["state"], "failed", "{job:#}");
    let error = job["error"]["message"].as_str().unwrap();
    assert!(error.contains("'broken' ended with exit status 3"), "{error}");
    assert!(
        error.contains("nothing was read") && error.contains("the database is away"),
        "{error}"
    );
    assert_eq!(site.journal(), ["before home ", "after home failed"]);
    assert_eq!((site.savesets(), site.owed()), (0, 0));

    // What cannot be found is told before anything runs.
    site.around("freeze", "not-there");
    let job = site.server.backup("home");
    let error = job["error"]["message"].as_str().unwrap();
    assert!(error.contains("[commands.not-there]") && error.contains("policy.toml"), "{error}");
    assert_eq!(site.journal().len(), 2, "{:?}", site.journal());
}

#[test]
fn a_post_command_that_fails_is_an_error_of_a_job_whose_saveset_is_whole() {
    let site = Site::new();
    site.policy(&[("broken", "echo it does not thaw; exit 1")]);
    site.around("freeze", "broken");
    let job = site.server.backup("home");
    assert_eq!(job["state"], "finished_with_errors", "{job:#}");
    assert!(
        notes(&job).contains("it does not thaw") && notes(&job).contains("\"command\""),
        "{job:#}"
    );
    assert_eq!((site.savesets(), site.owed()), (1, 0));
}

#[test]
fn a_job_that_is_cancelled_or_late_in_its_pre_command_ends_it_and_runs_the_other() {
    let site = Site::new();
    let alive = site.scratch.path().join("alive");
    let long = format!("while :; do : > {}; sleep 0.05; done", alive.display());
    site.policy(&[("long", &long)]);
    site.around("long", "thaw");
    let job = site.server.must("task.run", json!({ "task": "home" }));
    until("the pre-command runs", || alive.exists());
    let shown = site.server.must("job.show", json!({ "job": job["job"] }));
    let waits = || {
        let shown = site.server.must("job.show", json!({ "job": job["job"] }));
        shown["waits"].as_str().is_some_and(|waits| waits.contains("pre-command 'long'"))
    };
    until("the job says what it waits for", waits);
    site.server.must("job.cancel", json!({ "job": job["job"] }));
    assert_eq!(site.server.ended(&job)["state"], "cancelled", "{shown:#}");
    assert_eq!(site.journal(), ["before home ", "after home cancelled"]);
    std::fs::remove_file(&alive).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(!alive.exists(), "the pre-command lives on");

    site.change_task(json!({
        "pre_command": "long", "post_command": "thaw", "command_timeout_s": 1,
    }));
    let job = site.server.backup("home");
    assert_eq!(job["state"], "failed");
    assert!(job["error"]["message"].as_str().unwrap().contains("1 s, its limit"), "{job:#}");
    assert_eq!(site.journal()[3..], ["after home failed"]);
    assert_eq!(site.owed(), 0);
}

/// A client that is killed between the two owes the second, and the server's job does not hang.
#[test]
fn what_a_killed_client_owes_runs_at_its_next_start_and_the_next_job_says_so() {
    for (point, before) in [
        ("client.post_command_owed=kill", 0),
        ("client.pre_command_done=kill", 1),
        ("mover.before_commit=kill", 1),
    ] {
        let mut site = Site::new();
        site.around("freeze", "thaw");
        site.client_dies_at(point);
        let job = site.server.must("task.run", json!({ "task": "home" }));
        assert!(site.client.process.wait(PATIENCE).is_some(), "{point}");
        assert_eq!(site.journal().len(), before, "{point}: {:?}", site.journal());
        assert_eq!(site.owed(), 1, "{point}");
        site.client.again();
        let ended = site.server.ended(&job);
        assert!(ended["state"] != "finished", "{point}: {ended:#}");
        until("what was owed has run", || site.owed() == 0);
        assert_eq!(site.journal()[before..], ["after home interrupted"], "{point}");
        // And once only.
        site.client.again();
        site.server.until_connected("web");
        let job = site.server.backup("home");
        assert_eq!(job["state"], "finished", "{point}: {job:#}");
        assert_eq!(
            site.journal()[before + 1..],
            ["before home ", "after home finished"],
            "{point}"
        );
    }
}

#[test]
fn a_job_after_a_death_waits_for_what_is_owed_and_reports_it() {
    let mut site = Site::new();
    site.policy(&[("slow", "sleep 2; echo slowly put right")]);
    site.around("freeze", "slow");
    site.client_dies_at("client.pre_command_done=kill");
    let job = site.server.must("task.run", json!({ "task": "home" }));
    assert!(site.client.process.wait(PATIENCE).is_some());
    site.client.again();
    site.server.until_connected("web");
    site.server.ended(&job);
    let job = site.server.backup("home");
    assert_eq!(job["state"], "finished", "{job:#}");
    assert!(notes(&job).contains("slowly put right"), "{job:#}");
    let order = ["before home ", "after home interrupted", "before home ", "after home finished"];
    assert_eq!(site.journal(), order);
}

#[test]
fn commands_by_themselves_run_by_hand_and_by_events_and_only_by_the_owners_leave() {
    let site = Site::new();
    site.policy(&[("sweep", "echo swept"), ("broken", "exit 7"), ("long", "sleep 60")]);
    assert_done(&site.cli(&["command", "add", "sweep", "--client", "web"]));
    let run = site.cli(&["command", "run", "sweep"]);
    assert_done(&run);
    assert_eq!(site.journal(), ["command sweep "]);
    let job = &site.jobs(json!({}))[0];
    assert_eq!(
        (&job["kind"], &job["datastore"], &job["drive"]),
        (&"command".into(), &"".into(), &Value::Null)
    );
    let shown = site.server.must("job.show", json!({ "job": job["job"] }));
    assert!(notes(&shown).contains("swept"), "{shown:#}");

    // Twenty lines of shell are no name, and a name that the owner did not write runs nothing.
    let wrong = site.cli(&["command", "add", "x", "--client", "web", "--local-name", "rm -rf /"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert_done(&site.cli(&[
        "command",
        "add",
        "other",
        "--client",
        "web",
        "--local-name",
        "not-there",
    ]));
    let refused = site.cli(&["command", "run", "other"]);
    assert!(said(&refused).contains("[commands.not-there]"), "{refused:?}");
    assert_ne!(refused.status.code(), Some(0));

    assert_done(&site.cli(&["command", "add", "broken", "--client", "web"]));
    let event =
        site.cli(&["event", "add", "clean", "broken", "--kind", "command", "--retries", "1"]);
    assert_done(&event);
    assert_done(&site.cli(&["event", "run", "clean"]));
    until("its job has failed", || {
        site.jobs(json!({ "event": "clean" })).iter().any(|job| job["state"] == "failed")
    });
    until("another attempt waits", || {
        site.jobs(json!({ "event": "clean" })).iter().any(|job| job["attempt"] == 2)
    });
    let used = site.cli(&["command", "remove", "broken"]);
    assert!(said(&used).contains("event 'clean'"), "{used:?}");
    assert_done(&site.cli(&["event", "remove", "clean"]));
    assert_done(&site.cli(&["command", "remove", "broken"]));

    assert_done(&site.cli(&["command", "add", "long", "--client", "web", "--timeout", "1"]));
    let late = site.cli(&["command", "run", "long"]);
    assert!(said(&late).contains("1 s, its limit"), "{late:?}");
    assert_done(&site.cli(&["command", "change", "long", "--timeout", "0"]));
    let job = site.server.must("command.run", json!({ "name": "long" }));
    until("it runs", || site.journal().last().is_some_and(|line| line == "command long "));
    site.server.must("job.cancel", json!({ "job": job["job"] }));
    assert_eq!(site.server.ended(&job)["state"], "cancelled");
}

/// Jobs without a datastore are picked up like all others.
#[test]
fn a_command_goes_on_while_its_server_is_killed_and_its_end_is_known() {
    let mut site = Site::new();
    let go_on = site.scratch.path().join("go-on");
    let wait = format!("while ! [ -e {} ]; do sleep 0.05; done; echo gone on", go_on.display());
    site.policy(&[("wait", &wait)]);
    assert_done(&site.cli(&["command", "add", "wait", "--client", "web"]));
    let job = site.server.must("command.run", json!({ "name": "wait" }));
    until("it runs", || site.journal() == ["command wait "]);
    site.server.again();
    std::fs::write(&go_on, "").unwrap();
    let ended = site.server.ended(&job);
    assert_eq!(ended["state"], "finished", "{ended:#}");
    assert!(notes(&ended).contains("gone on"), "{ended:#}");
    assert_eq!(site.journal().len(), 1);
}

#[test]
fn a_configuration_has_its_commands() {
    let site = Site::new();
    assert_done(&site.cli(&["command", "add", "sweep", "--client", "web", "--timeout", "60"]));
    site.around("freeze", "thaw");
    let file = site.scratch.path().join("configuration.toml");
    let exported = site.cli(&["config", "export"]);
    assert_done(&exported);
    std::fs::write(&file, &exported.stdout).unwrap();
    let path = Path::new(&file).to_str().unwrap();
    assert_done(&site.cli(&["command", "remove", "sweep"]));
    let applied = site.cli(&["config", "apply", path]);
    assert_done(&applied);
    let there = site.server.must("command.show", json!({ "name": "sweep" }));
    assert_eq!((&there["client"], &there["timeout_s"]), (&"web".into(), &60.into()));
    let again = site.cli(&["config", "diff", path]);
    assert_done(&again);
    let task = site.server.must("task.show", json!({ "name": "home" }));
    assert_eq!(task["options"]["post_command"], "thaw");
}
