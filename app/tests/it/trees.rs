//! Hard trees through the real daemons: server, RDS and client, each a process of its own.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use simsim_testkit::{Privileges, RandomTree, Scratch, compare_trees, nasty_tree};

use crate::hosts::{Daemon, assert_done, until_within};

const PATIENCE: Duration = Duration::from_secs(300);

/// A server, an RDS that keeps the data, and a client "web" with the task "tree".
struct Site {
    server: Daemon,
    _rds: Daemon,
    _client: Daemon,
}

impl Site {
    fn new(scratch: &Scratch, tree: &Path) -> Self {
        let folder = |name: &str| scratch.path().join(name);
        let server = Daemon::start("server", &folder("server"));
        let rds = Daemon::start("rds", &folder("rds"));
        let client = Daemon::start("client", &folder("client"));
        assert_done(&server.join("vault2", &rds.state, &[]));
        assert_done(&server.join("web", &client.state, &[]));
        server.until_connected("vault2");
        server.until_connected("web");
        let far = json!({ "name": "far", "node": "vault2", "path": folder("store") });
        server.must("datastore.create", far);
        server.add_task("tree", "web", tree);
        Self { server, _rds: rds, _client: client }
    }

    fn ended(&self, job: &Value) -> Value {
        let show = || self.server.must("job.show", json!({ "job": job["job"] }));
        until_within("the job ends", PATIENCE, || !show()["ended_unix_ms"].is_null());
        show()
    }

    fn backup(&self, level: &str) -> Value {
        let asked = json!({ "task": "tree", "level": level });
        let ended = self.ended(&self.server.must("task.run", asked));
        assert_eq!(ended["state"], "finished", "{ended:#}");
        ended
    }

    /// Restores the newest saveset and holds it against the tree, by a walk that shares no code
    /// with the product.
    fn comes_back(&self, tree: &Path, target: &Path, note: &str) {
        let wanted = json!({ "task": "tree", "client": "web", "target": target, "specials": true });
        let restore = self.ended(&self.server.must("restore", wanted));
        assert_eq!(restore["state"], "finished", "{note}: {restore:#}");
        let found = compare_trees(tree, &target.join(tree.strip_prefix("/").unwrap()));
        let some: Vec<_> = found.iter().take(10).collect();
        assert!(found.is_empty(), "{note}: {} differences: {some:#?}", found.len());
    }

    fn verifies(&self) {
        let verify = self.ended(&self.server.must("datastore.verify", json!({ "depth": "bytes" })));
        assert_eq!(verify["state"], "finished", "{verify:#}");
    }
}

/// Past the margin within which files count as too new to be trusted next time.
fn settle() {
    std::thread::sleep(Duration::from_millis(80));
}

#[test]
fn every_case_of_the_nasty_tree_comes_back_and_is_not_read_twice() {
    let scratch = Scratch::new();
    let tree = scratch.folder("tree");
    let made = nasty_tree(&tree, Privileges::of_process()).unwrap();
    for part in &made.left_out {
        println!("left out: {}: {}", part.part, part.reason);
    }
    settle();
    let site = Site::new(&scratch, &tree);
    let full = site.backup("full");
    assert!(full["progress"]["bytes_read"].as_u64() > Some(1 << 20), "{full:#}");
    site.comes_back(&tree, &scratch.path().join("from-full"), "FULL");
    let incr = site.backup("incr");
    assert_eq!(incr["level"], "incr");
    // Three files of four bytes have times of the future: such a file may change and look the same.
    let future = made.cases.contains(&"times").then_some(12);
    assert_eq!(incr["progress"]["bytes_read"].as_u64(), future, "{incr:#}");
    assert_eq!(incr["progress"]["bytes_new"].as_u64(), Some(0), "{incr:#}");
    site.comes_back(&tree, &scratch.path().join("from-incr"), "INCR");
    site.verifies();
}

#[test]
fn fid18_random_trees_come_back_after_each_of_several_backups() {
    for seed in [1, 2] {
        let scratch = Scratch::new();
        let root = scratch.folder("tree");
        let mut tree = RandomTree::new(&root, seed);
        tree.grow(150).unwrap();
        settle();
        let site = Site::new(&scratch, &root);
        for (round, level) in ["full", "incr", "incr", "diff", "incr"].into_iter().enumerate() {
            site.backup(level);
            let last = &tree.log[tree.log.len().saturating_sub(40)..];
            let note = format!("seed {seed}, round {round}, {level}: {last:#?}");
            site.comes_back(&root, &scratch.path().join(format!("back-{round}")), &note);
            tree.edit(40).unwrap();
            settle();
        }
        site.verifies();
    }
}
