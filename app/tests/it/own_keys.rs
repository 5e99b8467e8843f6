//! A client that holds the key of its savesets alone, through the command line on both hosts.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::cli::documents::check;
use crate::hosts::{Daemon, assert_done, simsim, tree};

fn run(state: &Path, arguments: &[&str]) -> Output {
    simsim().arg("--state").arg(state).args(arguments).output().unwrap()
}

/// Standard output and standard error of a verb that ends with this status.
#[track_caller]
fn ends_with(status: i32, state: &Path, arguments: &[&str]) -> (String, String) {
    let output = run(state, arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

/// The groups that are asked for on this client, from the page that its owner printed.
fn groups_asked(client: &Path, page: &str) -> Vec<String> {
    let (_, err) = ends_with(2, client, &["key", "kit", "prove"]);
    let line = page.lines().find_map(|line| line.strip_prefix("In one line: ")).unwrap();
    let groups: Vec<&str> = line.split('-').collect();
    err.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse::<usize>().ok())
        .map(|number| groups[number - 1].to_owned())
        .collect()
}

#[test]
fn a_client_that_holds_its_key_alone_lists_its_savesets_and_the_server_says_so() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| scratch.path().join(name);
    let tree = tree(scratch.path());
    let server = Daemon::start("server", &folder("server"));
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    let client = Daemon::start("client", &folder("client"));
    assert_done(&server.join("web", &client.state, &[]));
    server.until_connected("web");
    let (at_server, at_client) = (server.state.as_path(), client.state.as_path());

    // Set up: pages on the client, and who must do what.
    let create = ["key", "domain", "create", "web", "--held-by", "client"];
    let (out, err) = ends_with(0, at_server, &create);
    let pages = at_client.join("client/keys/recovery-kit.txt");
    assert!(out.contains(pages.to_str().unwrap()) && out.contains("simsim key kit prove"), "{out}");
    assert!(err.contains("not shown yet"), "{err}");
    let page = std::fs::read_to_string(&pages).unwrap();
    assert!(page.contains("Client       web") && page.contains("simsim key recover"), "{page}");
    assert!(pages.with_extension("html").exists());
    let (out, _) = ends_with(0, at_server, &["status"]);
    assert!(out.contains("recovery kit of client 'web'"), "{out}");
    let (out, _) = ends_with(0, at_server, &["key", "domain", "list"]);
    assert!(out.contains("not shown to be kept"), "{out}");

    // The proof, where the kit is.
    ends_with(4, at_client, &["key", "kit", "prove", "AAAAAA", "BBBBBB"]);
    let groups = groups_asked(at_client, &page);
    let (out, _) = ends_with(0, at_client, &["key", "kit", "prove", &groups[0], &groups[1]]);
    assert!(out.contains("is kept"), "{out}");
    let (out, _) = ends_with(0, at_server, &["status"]);
    assert!(!out.contains("recovery kit of client"), "{out}");

    server.add_task("home", "web", &tree);
    assert_eq!(server.backup("home")["state"], "finished");
    let at = tree.to_str().unwrap();
    let (_, err) = ends_with(4, at_server, &["ls", "home", at]);
    assert!(err.contains("only client 'web' holds") && err.contains("simsim ls"), "{err}");
    let (out, _) = ends_with(0, at_client, &["savesets"]);
    assert!(out.contains("home"), "{out}");
    let (out, _) = ends_with(0, at_client, &["ls", "latest", at]);
    assert_eq!(out, "a/\n");
    let (out, _) = ends_with(0, at_client, &["find", "small", "home"]);
    assert_eq!(out, format!("{at}/a/b/small\n"));
    std::fs::write(tree.join("a/new"), "new").unwrap();
    assert_eq!(server.backup("home")["state"], "finished");
    let listed = run(at_client, &["savesets", "--json"]);
    let listed: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
    let older = listed[1]["saveset"].as_str().unwrap();
    let (out, _) = ends_with(0, at_client, &["diff", older, "home"]);
    assert!(out.contains(&format!("+ {at}/a/new")), "{out}");
    ends_with(0, at_client, &["saveset", "home"]);

    // What only the server can do is asked there.
    let (_, err) = ends_with(2, at_client, &["status"]);
    assert!(err.contains("on the server's host") && err.contains("'web'"), "{err}");
    // One saveset cannot be checked without its key, wherever its device is: no hint that leads nowhere.
    let (_, err) = ends_with(4, at_server, &["verify", "home"]);
    assert!(err.contains("does not hold the key") && !err.contains("--keys-to-device"), "{err}");

    // The host is lost with its keys; a new one brings them back with the page.
    std::fs::remove_dir_all(at_client.join("client/keys")).unwrap();
    let (_, err) = ends_with(4, at_client, &["ls", "home"]);
    assert!(err.contains("simsim key recover"), "{err}");
    let kit = folder("kit.txt");
    std::fs::write(&kit, page).unwrap();
    let kit = kit.to_str().unwrap();
    let (_, err) = ends_with(2, at_server, &["key", "recover", "--kit", kit]);
    assert!(err.contains("on the client that lost its keys"), "{err}");
    let (out, _) = ends_with(0, at_client, &["key", "recover", "--kit", kit]);
    assert_eq!(out, "1 key brought back\n");
    let again = run(at_client, &["key", "recover", "--kit", kit, "--json"]);
    let again: Value = serde_json::from_slice(&again.stdout).unwrap();
    check("Recovered", &again);
    assert_eq!((&again["brought"], &again["held"]), (&0.into(), &1.into()));
    let domains = run(at_server, &["key", "domain", "list", "--json"]);
    check("Domain[]", &serde_json::from_slice(&domains.stdout).unwrap());
    ends_with(0, at_client, &["ls", "home"]);
    // A mislaid page is replaced by a new kit; the old page opens nothing more.
    let (out, err) = ends_with(0, at_client, &["key", "kit", "new", "--yes"]);
    assert!(out.contains("It opens 1 domain") && err.contains("skipped (--yes)"), "{out}{err}");
    ends_with(4, at_client, &["key", "recover", "--kit", kit]);

    // Without a server there is nobody to ask, and it is said at once.
    drop(server);
    let (_, err) = ends_with(8, at_client, &["ls", "home"]);
    assert!(err.contains("the server does not reach this host"), "{err}");
}
