//! Searching over all savesets, and the history of one file, with real daemons.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::hosts::{Daemon, assert_done, simsim, until};

/// A server that looks every second which savesets the index lacks, with a datastore and a task.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
}

impl Site {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(variables: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("server");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("simsim.toml"), "[server]\nsearch_interval_s = 1\n").unwrap();
        let server = Daemon::start_with("server", &state, variables);
        let site = Self { scratch, server };
        let store = site.path("store");
        site.server.must("datastore.create", json!({ "name": "main", "path": store }));
        std::fs::create_dir_all(site.path("tree/sub")).unwrap();
        site.write("sub/report.txt", "one");
        site.write("sub/Old.TXT", "old");
        let odd = site.path("tree").join(std::ffi::OsStr::from_bytes(b"o\xffdd.txt"));
        std::fs::write(odd, "odd").unwrap();
        let own = site.server.own_name();
        site.server.add_task("home", &own, &site.path("tree"));
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path("tree").join(name), content).unwrap();
        // Past the margin within which files count as too new to be trusted next time.
        std::thread::sleep(std::time::Duration::from_millis(80));
    }

    fn backup(&self) {
        let job = self.server.backup("home");
        assert_eq!(job["state"], "finished", "{job:#}");
    }

    fn until_indexed(&self, savesets: u64) {
        until("the savesets are in the search index", || {
            let status = self.server.must("status", Value::Null);
            status["search"]["savesets"] == savesets && status["search"]["waiting"] == 0
        });
    }

    /// Paths beneath the tree with their sizes and in how many savesets they are, as found.
    fn found(&self, body: Value) -> Vec<(String, u64, u64)> {
        let reply = self.server.must("search", body);
        assert_eq!(reply["not_indexed"], json!([]), "{reply:#}");
        let tree = format!("{}/", self.path("tree").display());
        let one = |found: &Value| {
            let path = found["path"].as_str().unwrap();
            let path = path.strip_prefix(&tree).unwrap_or(path).to_owned();
            (path, found["bytes"].as_u64().unwrap(), found["savesets"].as_u64().unwrap())
        };
        reply["found"].as_array().unwrap().iter().map(one).collect()
    }

    /// Sizes and counts of savesets of a path, the oldest first; no size: it was not there.
    fn history(&self, path: &str) -> Vec<(Option<u64>, u64)> {
        let path = self.path("tree").join(path);
        let reply = self.server.must("search.history", json!({ "of": "home", "path": path }));
        let versions = reply["histories"][0]["versions"].as_array().cloned().unwrap_or_default();
        let one = |version: &Value| {
            assert_eq!(version["present"] == true, version["bytes"].is_u64(), "{version:#}");
            (version["bytes"].as_u64(), version["savesets"].as_u64().unwrap())
        };
        versions.iter().map(one).collect()
    }
}

#[test]
fn what_was_changed_renamed_and_deleted_is_found_with_its_savesets() {
    let site = Site::new();
    site.backup();
    site.write("sub/report.txt", "three");
    std::fs::rename(site.path("tree/sub/Old.TXT"), site.path("tree/sub/moved.txt")).unwrap();
    site.backup();
    std::fs::remove_file(site.path("tree/sub/report.txt")).unwrap();
    site.backup();
    site.until_indexed(3);

    let report = |bytes| ("sub/report.txt".to_owned(), bytes, 1);
    assert_eq!(site.found(json!({ "pattern": "report" })), [report(5), report(3)]);
    assert_eq!(site.history("sub/report.txt"), [(Some(3), 1), (Some(5), 1), (None, 1)]);
    assert_eq!(site.history("sub/moved.txt"), [(None, 1), (Some(3), 2)]);
    assert_eq!(site.history("sub/never"), []);
    // As listings print it: no byte of a name is lost.
    let odd = ("o\\xffdd.txt".to_owned(), 3, 3);
    assert_eq!(site.found(json!({ "pattern": "o\\xffdd" })), std::slice::from_ref(&odd));
    let all = site.found(json!({ "pattern": "*.txt", "ignore_case": true }));
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(all.contains(&odd) && all.contains(&("sub/Old.TXT".to_owned(), 3, 1)), "{all:?}");
    let folders = site.found(json!({ "pattern": "sub", "kind": "directory" }));
    assert!(!folders.is_empty() && folders.iter().all(|one| one.0 == "sub"), "{folders:?}");
    assert!(site.found(json!({ "pattern": "report", "until_unix_ms": 1 })).is_empty());

    // Pages of one.
    let first = site.server.must("search", json!({ "pattern": "*.txt", "limit": 1 }));
    let more = json!({ "pattern": "*.txt", "limit": 1, "after": first["next"] });
    assert_ne!(site.server.must("search", more)["found"], first["found"]);
    let refused = site.server.ask("search", json!({ "pattern": "a", "task": "hom" }));
    assert!(refused.unwrap_err().to_string().contains("hom"));

    // For people.
    let state = site.server.state.to_str().unwrap().to_owned();
    let said = |arguments: &[&str]| {
        let output = simsim().args(["--state", &state]).args(arguments).output().unwrap();
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let text = said(&["search", "REPORT", "-i"]);
    assert_eq!(text.matches("sub/report.txt").count(), 2, "{text}");
    let path = site.path("tree/sub/report.txt");
    let text = said(&["history", "home", path.to_str().unwrap()]);
    assert!(text.contains("not there"), "{text}");

    // The first saveset goes, and what only it had is not found any more.
    let savesets = site.server.must("saveset.list", json!({ "task": "home" }));
    let oldest = savesets.as_array().unwrap().last().unwrap()["saveset"].clone();
    site.server.must("pool.change", json!({ "name": "default", "policy": "last 2" }));
    site.server.must("retention.run", json!({}));
    until("the oldest saveset is deleted", || {
        let list = site.server.must("saveset.list", json!({ "task": "home" }));
        list.as_array().unwrap().iter().all(|one| one["saveset"] != oldest)
    });
    site.until_indexed(2);
    assert_eq!(site.found(json!({ "pattern": "report" })), [report(5)]);
    assert!(site.found(json!({ "pattern": "Old.TXT" })).is_empty());

    // Made anew it answers the same.
    site.server.must("search.rebuild", json!({}));
    site.until_indexed(2);
    assert_eq!(site.found(json!({ "pattern": "report" })), [report(5)]);
    assert_eq!(site.history("sub/moved.txt"), [(Some(3), 2)]);
}

#[test]
fn a_server_that_is_killed_while_it_brings_a_saveset_in_does_it_again() {
    for point in ["server.search_read", "server.search_committed"] {
        let mut site = Site::with(&[("SIMSIM_FAILPOINTS", &format!("{point}=kill"))]);
        let job = site.server.must("task.run", json!({ "task": "home" }));
        until("the server is gone", || site.server.process.try_wait().is_some());
        site.server.again();
        site.server.ended(&job);
        site.until_indexed(1);
        assert_eq!(site.found(json!({ "pattern": "report" })).len(), 1, "{point}");
    }
}

#[test]
fn a_damaged_index_is_made_anew_and_a_lost_one_is_no_loss() {
    let mut site = Site::new();
    site.backup();
    site.until_indexed(1);
    let folder = site.server.state.join("server/search");
    let run = |folder: &Path| {
        let mut files = std::fs::read_dir(folder).unwrap().map(|one| one.unwrap().path());
        files.find(|path| path.extension().is_some_and(|ending| ending == "run")).unwrap()
    };
    let run = run(&folder);
    let mut bytes = std::fs::read(&run).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0x10);
    std::fs::write(&run, bytes).unwrap();
    let error = site.server.ask("search", json!({ "pattern": "report" })).unwrap_err().to_string();
    assert!(error.contains("made anew"), "{error}");
    site.until_indexed(1);
    assert_eq!(site.found(json!({ "pattern": "report" })).len(), 1);
    site.server.stop();
    std::fs::remove_dir_all(&folder).unwrap();
    site.server.again();
    site.until_indexed(1);
    assert_eq!(site.found(json!({ "pattern": "report" })).len(), 1);
}

#[test]
fn what_a_client_holds_the_key_of_is_said_to_be_not_searchable_here() {
    let site = Site::new();
    site.backup();
    let state = site.path("web");
    let web = Daemon::start("client", &state);
    assert_done(&site.server.join(
        "web",
        &state,
        &["--listen", &format!("127.0.0.1:{}", web.port)],
    ));
    site.server.until_connected("web");
    let create = json!({ "client": "web", "datastore": "main", "held_by_client": true });
    site.server.must("key.domain", create);
    site.server.add_task("sealed", "web", &site.path("tree"));
    let job = site.server.backup("sealed");
    assert_eq!(job["state"], "finished", "{job:#}");
    site.until_indexed(1);
    let reply = site.server.must("search", json!({ "pattern": "report" }));
    assert_eq!(reply["found"].as_array().unwrap().len(), 1, "{reply:#}");
    let sentence = reply["not_searchable"][0].as_str().unwrap();
    assert!(sentence.contains("client 'web' holds its key alone"), "{sentence}");
    let reply = site.server.must("search", json!({ "pattern": "report", "client": "web" }));
    assert_eq!(reply["found"], json!([]), "{reply:#}");
    let own = site.server.own_name();
    let reply = site.server.must("search", json!({ "pattern": "report", "client": own }));
    assert_eq!(reply["not_searchable"], json!([]), "{reply:#}");
}

#[test]
fn a_saveset_that_is_not_there_yet_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("server");
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(state.join("simsim.toml"), "[server]\nsearch_interval_s = 3600\n").unwrap();
    let server = Daemon::start("server", &state);
    server.must("datastore.create", json!({ "name": "main", "path": scratch.path().join("s") }));
    until("the first look is over", || server.ask("search", json!({ "pattern": "x" })).is_ok());
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.add_task("home", &server.own_name(), &crate::hosts::tree(scratch.path()));
    server.backup("home");
    let reply = server.must("search", json!({ "pattern": "small" }));
    assert_eq!(reply["found"], json!([]));
    assert_eq!(reply["not_indexed"][0]["task"], "home", "{reply:#}");
    server.must("search.rebuild", json!({}));
    until("it is found", || {
        server
            .ask("search", json!({ "pattern": "small" }))
            .is_ok_and(|reply| reply["found"].as_array().is_some_and(|found| found.len() == 1))
    });
}
