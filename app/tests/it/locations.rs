//! Where hosts stand and what follows from it; hosts that sleep. Real daemons, and a network card of our own.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hosts::{Daemon, assert_done, simsim, tree, until};

/// A server with a datastore and the clients 'web' and 'db'.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    web: Daemon,
    db: Daemon,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| scratch.path().join(name);
        let server = Daemon::start("server", &folder("server"));
        server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
        let join = |name: &str| {
            let client = Daemon::start("client", &folder(name));
            let port = format!("127.0.0.1:{}", client.port);
            assert_done(&server.join(name, &client.state, &["--listen", &port]));
            server.until_connected(name);
            client
        };
        let (web, db) = (join("web"), join("db"));
        let tree = tree(scratch.path());
        server.add_task("of-web", "web", &tree);
        server.add_task("of-db", "db", &tree);
        Self { scratch, server, web, db }
    }

    #[track_caller]
    fn cli(&self, arguments: &[&str]) -> String {
        let output =
            simsim().arg("--state").arg(&self.server.state).args(arguments).output().unwrap();
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, verb: &str, body: Value, words: &str) {
        let error = self.server.ask(verb, body).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn locations_are_a_tree_that_clients_stand_in_and_that_rights_follow() {
    let mut site = Site::new();
    site.cli(&["location", "add", "germany"]);
    site.cli(&["location", "add", "berlin", "--in", "germany", "--note", "Unter den Linden 1"]);
    site.cli(&["location", "add", "rack-7", "--in", "berlin"]);
    site.fails("location.add", json!({ "name": "x", "parent": "nowhere" }), "nowhere");
    let circle = json!({ "name": "germany", "parent": "rack-7" });
    site.fails("location.change", circle, "inside itself");
    site.cli(&["client", "place", "web", "rack-7"]);
    site.fails("client.place", json!({ "name": "db", "location": "paris" }), "paris");
    let tree = site.cli(&["location", "list"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[1].starts_with("germany"), "{tree}");
    assert!(lines[2].starts_with("  berlin") && lines[3].starts_with("    rack-7"), "{tree}");
    assert!(lines[3].contains("web"), "{tree}");
    let germany = site.server.must("location.show", json!({ "name": "germany" }));
    assert_eq!((&germany["clients"], &germany["clients_in_all"]), (&json!([]), &1.into()));

    // A token for a place reaches who stands there, and who comes and goes.
    let grants = json!([{ "role": "backup", "location": "germany" }]);
    let made = site.server.must("api-token.create", json!({ "name": "de", "grants": grants }));
    let secret = site.scratch.path().join("secret");
    std::fs::write(&secret, made["secret"].as_str().unwrap()).unwrap();
    std::os::unix::fs::chown(&secret, None, None).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&secret, permissions).unwrap();
    let lock = std::fs::read_to_string(site.server.state.join("lock")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    let rows = lock["listening"].as_array().unwrap();
    let console = rows.iter().find(|row| row["row"] == "console").unwrap();
    let console = format!("https://{}", console["address"].as_str().unwrap());
    let pin = simsim_console::pin_of_file(&site.server.state.join("console.crt")).unwrap();
    let run = |task: &str| {
        let output = simsim()
            .args(["--server", &console, "--server-pin", &pin, "--token-file"])
            .arg(&secret)
            .args(["task", "run", task, "--detach"])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run("of-web"), (Some(0), String::new()));
    let (code, said) = run("of-db");
    assert_eq!(code, Some(4), "{said}");
    site.cli(&["client", "place", "db", "berlin"]);
    site.cli(&["client", "place", "web", "none"]);
    assert_eq!(run("of-db").0, Some(0));
    assert_eq!(run("of-web").0, Some(4));

    // What is in use stays.
    site.fails("location.remove", json!({ "name": "germany" }), "API token 'de'");
    site.cli(&["api-token", "revoke", "de"]);
    site.fails("location.remove", json!({ "name": "germany" }), "location 'berlin'");
    site.fails("location.remove", json!({ "name": "berlin" }), "client 'db'");
    site.cli(&["location", "change", "rack-7", "--in", "none"]);

    // All of it is in the configuration.
    let file = site.scratch.path().join("configuration.toml");
    std::fs::write(&file, site.cli(&["config", "export"])).unwrap();
    let file = file.to_str().unwrap();
    site.cli(&["client", "place", "db", "none"]);
    site.cli(&["location", "remove", "berlin"]);
    site.cli(&["location", "remove", "germany"]);
    site.cli(&["config", "apply", file]);
    let berlin = site.server.must("location.show", json!({ "name": "berlin" }));
    assert_eq!((&berlin["parent"], &berlin["clients"]), (&"germany".into(), &json!(["db"])));
    assert_eq!(berlin["note"], "Unter den Linden 1");
    site.server.again();
    let again = site.cli(&["config", "diff", file]);
    assert_eq!(again, "", "nothing differs");
    assert_eq!((site.web.stop(), site.db.stop()), (0, 0));
}

/// The host's network card: it hears packets for it, and starts the client.
#[test]
fn a_host_that_sleeps_is_woken_for_its_job_which_waits_for_it() {
    let mut site = Site::new();
    let card = UdpSocket::bind("127.0.0.1:0").unwrap();
    card.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let to = card.local_addr().unwrap().to_string();
    let wake = json!({ "name": "web", "wake": { "card": "ff:ff:ff:ff:ff:ff" } });
    site.fails("client.set-wake", wake, "not the address of a network card");
    site.fails("client.wake", json!({ "name": "web" }), "nobody said how 'web' is woken");
    site.cli(&["client", "wake", "web", "--card", "00:1B:44:11:3A:B7", "--to", &to]);
    let mut packet = [0; 200];
    site.cli(&["client", "wake", "web"]);
    let hears = |packet: &mut [u8; 200]| {
        let (length, _) = card.recv_from(packet).unwrap();
        assert_eq!(length, 102);
        assert_eq!(packet[96..102], [0, 0x1b, 0x44, 0x11, 0x3a, 0xb7]);
    };
    for _ in 0..3 {
        hears(&mut packet);
    }

    assert_eq!(site.web.stop(), 0);
    until("it is away", || !site.server.is_connected("web"));
    let job = site.server.must("task.run", json!({ "task": "of-web" }));
    hears(&mut packet);
    let waits = || {
        let shown = site.server.must("job.show", json!({ "job": job["job"] }));
        shown["waits"].as_str().is_some_and(|waits| waits.contains("it was woken"))
    };
    until("the job says so", waits);
    site.web.again();
    assert_eq!(site.server.ended(&job)["state"], "finished");

    // Who is not woken is found away at once.
    site.cli(&["client", "wake", "web", "--card", "none"]);
    assert_eq!(site.web.stop(), 0);
    until("it is away", || !site.server.is_connected("web"));
    assert_eq!(site.server.backup("of-web")["state"], "failed");
}
