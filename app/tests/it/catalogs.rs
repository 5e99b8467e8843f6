//! A server whose catalog is in PostgreSQL, and one that moves.

use std::path::Path;

use serde_json::{Value, json};
use simsim_model::Kind;
use simsim_testkit::{Postgres, skip};

use crate::hosts::{Daemon, assert_done, differences, output, tree, until};

/// Writes the settings of a server: where its catalog is.
fn set(state: &Path, catalog: &str) {
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join("simsim.toml"), format!("[server]\ncatalog = {catalog:?}\n"))
        .unwrap();
}

fn restores(server: &Daemon, tree: &Path, target: &Path) {
    let request = json!({ "task": "home", "client": "web", "target": target, "specials": true });
    let restore = server.ended(&server.must("restore", request));
    assert_eq!(restore["state"], "finished", "{restore:#}");
    assert_eq!(differences(tree, target), Vec::<String>::new());
}

#[test]
fn a_server_works_on_postgresql_over_restarts_of_both_and_moves_to_a_file_and_back() {
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(why) => return skip(&why),
    };
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let state = folder("server");
    let url = postgres.url("postgres");
    set(&state, &url);
    let mut server = Daemon::start("server", &state);
    let client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("web", &client.state, &[]));
    server.until_connected("web");
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    server.add_task("home", "web", &tree);
    assert_eq!(server.backup("home")["state"], "finished");
    assert!(!state.join("server/catalog.db").exists());
    assert_eq!(postgres.sql("postgres", "SELECT COUNT(*) FROM savesets").trim(), "1");

    // The server is killed, and finds everything again.
    server.again();
    server.until_connected("web");
    restores(&server, &tree, &folder("restored"));

    // Its database is killed: verbs say so, and go on when it is back.
    postgres.kill();
    let refused = server.ask("task.list", Value::Null).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unreachable, "{refused}");
    postgres.start_again();
    until("the server is back on its database", || server.ask("task.list", Value::Null).is_ok());
    assert_eq!(server.backup("home")["state"], "finished");

    // It moves to a file, once it does not run.
    let state_text = state.to_str().unwrap();
    let moving = |to: &str| output(&["--state", state_text, "catalog", "move", "--to", to]);
    let refused = moving("file");
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert_eq!(server.stop(), 0, "{}", server.process.output());
    let moved = moving("file");
    assert_done(&moved);
    let said = String::from_utf8_lossy(&moved.stdout).into_owned();
    assert!(said.contains("are the same in") && said.contains("take this line out"), "{said}");
    let start = || {
        output(&[
            "--state",
            state_text,
            "server",
            "--listen",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--console",
            "127.0.0.1:0",
        ])
    };
    let refused = start();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("was moved to"), "{said}");
    set(&state, "");
    server.again();
    server.until_connected("web");
    restores(&server, &tree, &folder("restored from a file"));
    let verified = server.must("audit.verify", Value::Null);
    assert_eq!(server.must("saveset.list", json!({})).as_array().unwrap().len(), 2);
    assert_eq!(verified["holds"], true, "{verified:#}");

    // And into another database; the settings alone do not make an empty one its catalog.
    assert_eq!(server.stop(), 0);
    assert_done(&postgres.shell("createdb second"));
    let second = postgres.url("second");
    set(&state, &second);
    let refused = start();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("catalog move --to"), "{said}");
    set(&state, "");
    let moved = output(&["--state", state_text, "catalog", "move", "--to", &second, "--json"]);
    assert_done(&moved);
    let document: Value = serde_json::from_slice(&moved.stdout).unwrap();
    crate::cli::documents::check("CatalogMoved", &document);
    assert_eq!(document["to"], "postgresql://backup@/second", "{document:#}");
    set(&state, &second);
    server.again();
    server.until_connected("web");
    restores(&server, &tree, &folder("restored from the second"));
}
