//! Restore drills with real daemons: what they prove, what they find, and that nothing is left of them.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use crate::hosts::{Daemon, PATIENCE, assert_done, simsim, until};

/// A server with a datastore, a client with a task, and one saveset of it.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    client: Daemon,
    source: PathBuf,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let source = folder("source");
        std::fs::create_dir_all(source.join("many")).unwrap();
        for number in 0..60u32 {
            let text = format!("file {number}\n").repeat(50 + number as usize);
            std::fs::write(source.join(format!("many/{number:03}")), text).unwrap();
        }
        let large: Vec<u8> = (0..3_000_000u32).flat_map(|n| blake(n).to_le_bytes()).collect();
        std::fs::write(source.join("large"), &large[..6 << 20]).unwrap();
        std::fs::write(source.join("small"), "small").unwrap();
        std::os::unix::fs::symlink("many/001", source.join("link")).unwrap();
        std::fs::hard_link(source.join("small"), source.join("hard")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(80));
        let server = Daemon::start("server", &folder("server"));
        server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
        let client = Daemon::start("client", &folder("client"));
        let port = format!("127.0.0.1:{}", client.port);
        assert_done(&server.join("web", &client.state, &["--listen", &port]));
        server.until_connected("web");
        server.add_task("home", "web", &source);
        assert_eq!(server.backup("home")["state"], "finished");
        Self { scratch, server, client, source }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn drill(&self, options: Value) -> Value {
        let job = self.server.must("drill.run", json!({ "task": "home", "options": options }));
        self.server.ended(&job)
    }

    fn shown(&self, job: &Value) -> Value {
        self.server.must("drill.show", json!({ "drill": job["job"] }))
    }

    fn drills(&self) -> Vec<Value> {
        self.server.must("drill.list", json!({})).as_array().unwrap().clone()
    }

    fn finding(&self, aspect: &str) -> Value {
        let all = self.server.must("task.health", json!({}));
        let findings = all[0]["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|one| one["aspect"] == aspect).unwrap()
    }

    /// Names in the place where this client makes scratch places by itself.
    fn left(&self) -> Vec<String> {
        names(&self.client.state.join("client/drills"))
    }

    fn cli(&self, arguments: &[&str]) -> std::process::Output {
        simsim().arg("--state").arg(&self.server.state).args(arguments).output().unwrap()
    }

    fn armed(daemon: &mut Daemon, role: &str, point: &str) {
        daemon.process.kill();
        let mut command = simsim();
        command.env("SIMSIM_FAILPOINTS", point).arg("--state").arg(&daemon.state);
        command.args([role, "--listen", &format!("127.0.0.1:{}", daemon.port)]);
        if role == "server" {
            command.args(["--http", "127.0.0.1:0", "--console", "127.0.0.1:0"]);
        }
        daemon.process = ChildProcess::start(&mut command);
        daemon.process.wait_for_line("is ready", PATIENCE).unwrap();
    }
}

fn blake(number: u32) -> u32 {
    let mut x = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (x >> 32) as u32
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

fn largest_below(folder: &Path) -> PathBuf {
    let mut open = vec![folder.to_owned()];
    let mut largest = (0, PathBuf::new());
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            match metadata.is_dir() {
                true => open.push(entry.path()),
                false if metadata.len() > largest.0 => largest = (metadata.len(), entry.path()),
                false => {}
            }
        }
    }
    largest.1
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn a_drill_of_a_sample_passes_is_measured_leaves_nothing_and_its_evidence_holds() {
    let site = Site::new();
    assert_eq!(site.finding("restore-test")["good"], false);
    let job = site.drill(json!({ "files": 10, "compare_source": true }));
    assert_eq!((&job["state"], &job["kind"]), (&"finished".into(), &"drill".into()), "{job:#}");
    let shown = site.shown(&job);
    let (document, result) = (&shown["document"], &shown["document"]["result"]);
    assert_eq!((&shown["passed"], &document["task"]), (&true.into(), &"home".into()), "{shown:#}");
    // 60, large, small, hard, link.
    assert_eq!((&result["files"], &result["files_of"]), (&10.into(), &64.into()), "{shown:#}");
    assert!(result["bytes"].as_u64().unwrap() >= 6 << 20, "the largest is always there: {shown:#}");
    assert!(result["chunks"].as_u64().unwrap() > 1, "{shown:#}");
    let sources = (result["sources_same"].as_u64(), result["sources_changed"].as_u64());
    assert!(sources.0 >= Some(8) && sources.1 == Some(0), "{shown:#}");
    let all = document["restore_all_ms"].as_u64().unwrap();
    assert!(all >= result["restore_ms"].as_u64().unwrap());
    assert!(site.left().is_empty(), "{:?}", site.left());
    assert_eq!(site.finding("restore-test")["good"], true);

    // The same seed takes the same bytes, another one not for long.
    let again = |seed: u64| {
        let request = json!({ "task": "home", "seed": seed, "options": { "files": 10 } });
        let job = site.server.ended(&site.server.must("drill.run", request));
        site.shown(&job)["document"]["result"]["bytes"].clone()
    };
    assert_eq!(again(document["seed"].as_u64().unwrap()), result["bytes"]);
    assert!((1..6).any(|seed| again(seed) != result["bytes"]));

    let evidence = site.server.must("drill.evidence", json!({ "drill": job["job"] }));
    let verified = site.server.must("drill.verify", evidence.clone());
    assert_eq!(verified["holds"], true, "{verified:#}");
    let mut forged = evidence.clone();
    let text =
        evidence["document"].as_str().unwrap().replace("\"task\":\"home\"", "\"task\":\"work\"");
    forged["document"] = text.into();
    let verified = site.server.must("drill.verify", forged);
    assert_eq!((&verified["signed"], &verified["in_audit_log"]), (&false.into(), &false.into()));

    let file = site.path("evidence.json");
    let printed = site.cli(&["drill", "evidence", &job["job"].to_string()]);
    std::fs::write(&file, &printed.stdout).unwrap();
    let checked = site.cli(&["drill", "verify-evidence", file.to_str().unwrap()]);
    assert_done(&checked);
    assert!(said(&checked).contains("the evidence holds"), "{}", said(&checked));
    let text = std::fs::read_to_string(&file).unwrap().replace("home", "work");
    std::fs::write(&file, text).unwrap();
    let checked = site.cli(&["drill", "verify-evidence", file.to_str().unwrap()]);
    assert_ne!(checked.status.code(), Some(0));
    assert!(said(&checked).contains("does not hold"), "{}", said(&checked));
    let listed = site.cli(&["drill", "list", "--task", "home"]);
    assert!(said(&listed).contains("passed"), "{}", said(&listed));
}

#[test]
fn everything_is_restored_elsewhere_when_asked_for_and_a_changed_source_is_no_failure() {
    let site = Site::new();
    std::fs::write(site.source.join("small"), "other").unwrap();
    let own = site.server.own_name();
    let folder = site.path("place");
    let job = site.drill(json!({
        "all": true, "client": own, "folder": folder, "compare_source": true,
    }));
    assert_eq!(job["state"], "finished", "{job:#}");
    let shown = site.shown(&job);
    let (document, result) = (&shown["document"], &shown["document"]["result"]);
    assert_eq!(
        (&document["restored_on"], &result["files"]),
        (&own.into(), &64.into()),
        "{shown:#}"
    );
    // Both names of the file that was written.
    assert_eq!(result["sources_changed"], 2, "{shown:#}");
    assert!(names(&folder).is_empty(), "{:?}", names(&folder));
    assert_eq!(std::fs::read_to_string(site.source.join("small")).unwrap(), "other");
}

#[test]
fn a_drill_finds_what_the_datastore_has_lost_and_says_what_and_the_task_is_not_green() {
    let site = Site::new();
    assert_eq!(site.drill(json!({}))["state"], "finished");
    let pack = largest_below(&site.path("store/packs"));
    let file = std::fs::OpenOptions::new().write(true).open(&pack).unwrap();
    file.write_all_at(&[0x55; 4096], file.metadata().unwrap().len() / 2).unwrap();
    let job = site.drill(json!({}));
    assert_eq!(job["state"], "failed", "{job:#}");
    let shown = site.shown(&job);
    let differences = shown["document"]["result"]["differences"].to_string();
    assert!(differences.contains("/large"), "{shown:#}");
    assert_eq!(shown["passed"], false);
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("the restore drill found that"), "{job:#}");
    let found = site.finding("restore-test");
    assert!(found["words"].as_str().unwrap().contains("the last restore test failed"), "{found:#}");
    let status = site.server.must("status", Value::Null);
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("task 'home' is not green") && status["tasks_green"] == 0,
        "{status:#}"
    );
    let evidence = site.server.must("drill.evidence", json!({ "drill": job["job"] }));
    assert_eq!(site.server.must("drill.verify", evidence)["holds"], true);
    assert_eq!(
        site.server.must("drill.list", json!({ "passed": false })).as_array().unwrap().len(),
        1
    );
    assert!(site.left().is_empty(), "{:?}", site.left());
}

#[test]
fn a_drill_writes_over_nothing_and_where_the_owner_lets_it() {
    let site = Site::new();
    let folder = site.path("place");
    let next = site.server.must("job.list", json!({ "limit": 1 }))[0]["job"].as_u64().unwrap() + 1;
    let taken = folder.join(format!("simsim-drill-{next}"));
    std::fs::create_dir_all(&taken).unwrap();
    std::fs::write(taken.join("precious"), "precious").unwrap();
    let job = site.drill(json!({ "folder": folder }));
    assert_eq!((&job["job"], &job["state"]), (&next.into(), &"failed".into()), "{job:#}");
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("is there already"), "{message}");
    assert_eq!(std::fs::read_to_string(taken.join("precious")).unwrap(), "precious");

    std::fs::create_dir_all(site.client.state.join("client")).unwrap();
    let policy = format!("[restore]\ntargets = [{:?}]\n", site.path("allowed"));
    std::fs::write(site.client.state.join("client/policy.toml"), policy).unwrap();
    let job = site.drill(json!({ "folder": folder }));
    let message = job["error"]["message"].as_str().unwrap();
    assert!(message.contains("does not allow to restore into"), "{message}");
    assert_eq!(
        site.drill(json!({}))["state"],
        "failed",
        "and not in the client's own place either"
    );
    let job = site.drill(json!({ "folder": site.path("allowed") }));
    assert_eq!(job["state"], "finished", "{job:#}");
    let refused = |options: Value, with: &str| {
        let request = json!({ "task": "home", "options": options });
        let error = site.server.ask("drill.run", request).unwrap_err().to_string();
        assert!(error.contains(with), "{error}");
    };
    refused(json!({ "folder": "relative" }), "absolute");
    refused(json!({ "all": true, "files": 3 }), "not both");
    refused(json!({ "copy": "nowhere" }), "nowhere");
}

#[test]
fn a_drill_whose_client_is_killed_leaves_nothing_and_is_no_evidence() {
    let mut site = Site::new();
    for point in ["client.scratch_made=kill", "client.drill_restored=kill"] {
        Site::armed(&mut site.client, "client", point);
        site.server.until_connected("web");
        let drills = site.drills().len();
        let job = site.server.must("drill.run", json!({ "task": "home" }));
        until("the client is dead", || site.client.process.try_wait().is_some());
        assert!(!site.left().is_empty(), "{point}");
        site.client.again();
        until("what it left is swept", || site.left().is_empty());
        assert_eq!(site.server.ended(&job)["state"], "interrupted", "{point}");
        assert_eq!(site.drills().len(), drills, "{point}");
    }
    site.server.until_connected("web");
    assert_eq!(site.drill(json!({}))["state"], "finished");
}

#[test]
fn a_drill_outlives_its_server_and_has_one_evidence() {
    let mut site = Site::new();
    for point in ["server.before_evidence=kill", "server.after_evidence=kill"] {
        Site::armed(&mut site.server, "server", point);
        site.server.until_connected("web");
        let before = site.drills().len();
        let job = site.server.must("drill.run", json!({ "task": "home" }));
        until("the server is dead", || site.server.process.try_wait().is_some());
        site.server.again();
        let ended = site.server.ended(&job);
        assert_eq!(ended["state"], "finished", "{point}: {ended:#}");
        assert_eq!(site.drills().len(), before + 1, "{point}");
        let evidence = site.server.must("drill.evidence", json!({ "drill": job["job"] }));
        assert_eq!(site.server.must("drill.verify", evidence)["holds"], true, "{point}");
        let rows = site.server.must("audit.list", json!({}));
        let rows = rows["rows"].as_array().unwrap();
        let object = format!("drill {}", job["job"]);
        let of_drill = rows.iter().filter(|row| row["object"] == object.as_str()).count();
        assert_eq!(of_drill, 1, "{point}");
    }
}

#[test]
fn a_drill_that_is_cancelled_ends_and_leaves_nothing() {
    let site = Site::new();
    site.server.must("rate.add", json!({ "host": "web", "rates": ["100KB/s"] }));
    let job = site.server.must("drill.run", json!({ "task": "home" }));
    until("it restores", || !site.left().is_empty());
    site.server.must("job.cancel", json!({ "job": job["job"] }));
    assert_eq!(site.server.ended(&job)["state"], "cancelled");
    until("nothing is left", || site.left().is_empty());
    assert!(site.drills().is_empty());
}

#[test]
fn events_of_kind_restore_drill_test_their_tasks() {
    let site = Site::new();
    let event = json!({
        "name": "tests", "kind": "restore-drill", "all": true, "drill": { "files": 5, "saveset": "random" },
    });
    site.server.must("event.add", event);
    let started = site.server.must("event.run", json!({ "name": "tests" }));
    let run = &started["runs"][0];
    assert_eq!((&run["subject"], &run["fate"]), (&"home".into(), &"runs".into()), "{started:#}");
    assert_eq!(site.server.ended(run)["state"], "finished");
    assert_eq!(site.drills()[0]["document"]["event"], "tests");
    assert_eq!(site.server.must("event.show", json!({ "name": "tests" }))["drill"]["files"], 5);
    let wrong = json!({ "name": "b", "kind": "backup", "all": true, "drill": {} });
    assert!(
        site.server
            .ask("event.add", wrong)
            .unwrap_err()
            .to_string()
            .contains("only restore drills")
    );

    // Green takes all four, within what the task asks for.
    let all = || site.server.must("task.health", json!({}))[0].clone();
    assert_eq!(all()["green"], false, "nobody has verified it: {:#}", all());
    let check = site.server.must("datastore.verify", json!({ "depth": "bytes" }));
    assert_eq!(site.server.ended(&check)["state"], "finished");
    assert_eq!(all()["green"], true, "{:#}", all());
    assert_eq!(site.server.must("task.health", json!({ "not_green": true })), json!([]));
    let status = site.cli(&["status"]);
    assert!(said(&status).contains("all green"), "{}", said(&status));
    let task = site.cli(&["task", "change", "home", "--green-verification", "0"]);
    assert_done(&task);
    assert_eq!(all()["findings"].as_array().unwrap().len(), 2, "{:#}", all());
    let shown = site.server.must("task.show", json!({ "name": "home" }));
    assert_eq!(shown["options"]["green"]["verification_days"], 0);
    assert_eq!(shown["health"]["green"], true);
}
