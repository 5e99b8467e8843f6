//! The server is lost. What is left is a copy of a datastore, and the recovery kit.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use simsim_model::Kind;

use crate::hosts::{Daemon, assert_done, differences, tree};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).output().unwrap();
    assert!(copied.status.success(), "{copied:?}");
}

#[test]
fn a_copy_of_the_datastore_and_the_kit_restore_on_a_host_that_never_saw_the_server() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let groups = {
        let mut lost = Daemon::start("server", &folder("lost"));
        let client = Daemon::start("client", &folder("client"));
        assert_done(&lost.join("web", &client.state, &[]));
        lost.until_connected("web");
        let kit = lost.must("key.kit", json!({}));
        lost.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
        lost.add_task("home", "web", &tree);
        assert_eq!(lost.backup("home")["state"], "finished");
        assert_eq!(lost.stop(), 0);
        kit["groups"].as_array().unwrap().clone()
    };
    // Room kept for bad times, where there was enough; a copy need not have it.
    let _ = std::fs::remove_file(folder("store").join("reserve"));
    copy(&folder("store"), &folder("copy"));
    std::fs::remove_dir_all(folder("lost")).unwrap();
    std::fs::remove_dir_all(folder("store")).unwrap();

    let server = Daemon::start("server", &folder("new"));
    server.must("datastore.attach", json!({ "path": folder("copy") }));
    let mut kit: Vec<String> =
        groups.iter().map(|group| group.as_str().unwrap().to_owned()).collect();
    let whole = kit.join("-");
    // Its check letter: one letter in 32 would fit another group's other letters by chance.
    let typo = &mut kit[4];
    let other = if typo.ends_with('A') { "B" } else { "A" };
    typo.replace_range(5.., other);
    let refused = server.ask("catalog.rebuild", json!({ "kit": kit.join("-") })).unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid, "{refused}");
    assert!(refused.to_string().contains("group 5"), "the group is named: {refused}");
    server.must("catalog.rebuild", json!({ "kit": whole }));
    let savesets = server.must("saveset.list", json!({}));
    assert_eq!(savesets.as_array().unwrap().len(), 1, "{savesets:#}");
    assert_eq!(savesets[0]["task"], "home", "{savesets:#}");

    let target = folder("restored");
    let request = json!({
        "saveset": savesets[0]["saveset"],
        "client": server.own_name(),
        "target": target,
        "specials": true,
    });
    let restore = server.ended(&server.must("restore", request));
    assert_eq!(restore["state"], "finished", "{restore:#}");
    assert_eq!(differences(&tree, &target), Vec::<String>::new());
}
