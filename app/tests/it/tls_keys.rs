//! TLS keys of hosts are changed by a verb: what is under way goes on, what comes next works, whoever was
//! away comes back, and a death in the middle leaves one whole pair. Control keys are not changed by a verb;
//! what SECURITY.md says about a stolen one is done here step by step.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use simsim_testkit::{ChildProcess, CutProxy, Rng};

use crate::certificates::serial;
use crate::hosts::{Daemon, PATIENCE, assert_done, differences, simsim, tree, until};

/// A server, an RDS "vault" with the datastore, a client "web" that is dialled and a client "far" that
/// calls. All data doors of the RDS are reached through lines that can be cut.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    server_https: u16,
    vault: Daemon,
    vault_https: u16,
    https: CutProxy,
    drive: CutProxy,
    #[allow(dead_code, reason = "it runs until the end")]
    web: Daemon,
    far: ChildProcess,
}

impl Site {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let ports = quiet_ports(3);
        let (server_https, vault_https, drive) = (ports[0], ports[1], ports[2]);
        let host = |name: &str, listen: String| {
            let state = scratch.path().join(name);
            std::fs::create_dir_all(&state).unwrap();
            std::fs::write(state.join("simsim.toml"), format!("[listen]\n{listen}\n")).unwrap();
            state
        };
        let at = |row: &str, port: u16| format!("{row} = [\"127.0.0.1:{port}\"]\n");
        let server = Daemon::start("server", &host("server", at("https", server_https)));
        let listen = at("https", vault_https) + &at("drive", drive - 1);
        let vault = Daemon::start("rds", &host("vault", listen));
        assert_done(&server.join("vault", &vault.state, &[]));
        let web = Daemon::start("client", &host("web", String::new()));
        assert_done(&server.join("web", &web.state, &[]));
        let outbound = format!("--outbound=127.0.0.1:{server_https}");
        let state = host("far", String::new());
        assert_done(&server.join("far", &state, &[&outbound]));
        let far = calls(&state);
        for name in ["vault", "web", "far"] {
            server.until_connected(name);
        }
        let store = json!({
            "name": "main", "node": "vault", "path": scratch.path().join("main"), "drive": 1
        });
        server.must("datastore.create", store);
        let line = |port: u16| CutProxy::start(([127, 0, 0, 1], port).into());
        let (https, drive) = (line(vault_https), line(drive));
        let doors =
            [format!("https://{}", https.address()), format!("drive://{}", drive.address())];
        server.must("interface.set", json!({ "host": "vault", "interfaces": doors }));
        let source = tree(scratch.path());
        for client in ["web", "far"] {
            server.add_task(client, client, &source);
        }
        std::fs::write(source.join("large"), Rng::new(5).bytes(3_000_000)).unwrap();
        Self { scratch, server, server_https, vault, vault_https, https, drive, web, far }
    }

    fn choose(&self, client: &str, door: &str) {
        self.server.must("interface.choose", json!({ "client": client, "choices": [door] }));
    }

    /// A backup that gets no further than a little, until it is let go.
    fn held(&self, task: &str, line: &CutProxy) -> (Value, Value) {
        let limit = self.server.must("rate.add", json!({ "rates": ["30KB/s"] }));
        assert_eq!(limit["untold"], json!([]), "{limit:#}");
        let before = line.bytes(simsim_testkit::Direction::Up);
        let job = self.server.must("task.run", json!({ "task": task }));
        until("data is on its way", || line.bytes(simsim_testkit::Direction::Up) > before + 50_000);
        (job, limit["number"].clone())
    }

    fn let_go(&self, limit: &Value) {
        self.server.must("rate.remove", json!({ "number": limit }));
    }

    #[track_caller]
    fn finished(&self, job: &Value) {
        let ended = self.server.ended(job);
        assert_eq!(ended["state"], "finished", "{ended:#}\n{}", self.vault.process.output());
    }

    #[track_caller]
    fn rotate(&self, host: &str) -> String {
        let reply = self.server.must("client.rotate-key", json!({ "name": host }));
        assert_ne!(reply["tls_key"], reply["former_tls_key"], "{reply:#}");
        reply["tls_key"].as_str().unwrap().to_owned()
    }

    /// Backs up, restores and checks, by one door of the RDS.
    #[track_caller]
    fn works(&self, client: &str, door: &str, name: &str) {
        self.choose(client, door);
        self.finished(&self.server.must("task.run", json!({ "task": client })));
        let target = self.scratch.path().join(name);
        let wish = json!({ "task": client, "target": target });
        self.finished(&self.server.must("restore", wish));
        assert_eq!(differences(&self.scratch.path().join("tree"), &target), [""; 0]);
        self.finished(&self.server.must("datastore.verify", json!({})));
    }
}

const STRETCH: u32 = 16;

/// Ports that are free, and that the system gives to nobody by itself: a drive's is opened late, when a
/// daemon that asked for any free one could have it. Tests that run side by side have process numbers close
/// to each other, so each has a stretch of its own.
fn quiet_ports(count: usize) -> Vec<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let first: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    let (low, high) = (first / 2, first);
    let stretches = u32::from(high - low) / STRETCH;
    let begin = low + (std::process::id() % stretches * STRETCH) as u16;
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports: Vec<u16> = (begin..high).chain(low..begin).filter(free).take(count).collect();
    assert_eq!(ports.len(), count, "no port is free below {high}");
    ports
}

fn calls(state: &Path) -> ChildProcess {
    let mut command = simsim();
    command.arg("--state").arg(state).arg("client");
    let process = ChildProcess::start(&mut command);
    process.wait_for_line("is ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    process
}

/// The files of a pair, and no trace of a change.
fn pair_files(state: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(state)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("tls."))
        .collect();
    files.sort();
    files
}

#[test]
fn keys_change_while_backups_run_and_every_door_works_before_and_after() {
    let site = Site::new();
    // By the port of a drive both ends show keys, and both keys change while the backup runs.
    for (door, line) in [("drive", &site.drive), ("https", &site.https)] {
        site.choose("web", door);
        let (job, limit) = site.held("web", line);
        let shown = serial(site.vault_https);
        for host in ["vault", "web"] {
            site.rotate(host);
        }
        site.rotate(&site.server.own_name());
        assert_ne!(serial(site.vault_https), shown, "strangers see the new one at once");
        let connections = line.connections();
        line.cut_now();
        until("the transfer comes back with the old keys", || line.connections() > connections);
        site.let_go(&limit);
        site.finished(&job);
        std::fs::write(site.scratch.path().join("tree/large"), Rng::new(6).bytes(3_000_000))
            .unwrap();
    }
    for (client, door) in [("web", "drive"), ("web", "https"), ("far", "drive"), ("far", "https")] {
        site.works(client, door, &format!("{client}-{door}"));
    }
    for state in [&site.vault.state, &site.server.state] {
        assert_eq!(pair_files(state), [state.join("tls.crt"), state.join("tls.key")]);
    }
    let audit = site.server.must("audit.list", Value::Null).to_string();
    assert!(audit.contains("client.rotate-key"), "{audit}");
}

#[test]
fn hosts_that_call_go_on_when_the_servers_key_changes_and_come_back_when_they_were_away() {
    let mut site = Site::new();
    let other = site.scratch.path().join("away");
    std::fs::create_dir_all(&other).unwrap();
    let outbound = format!("--outbound=127.0.0.1:{}", site.server_https);
    assert_done(&site.server.join("away", &other, &[&outbound]));
    let mut away = calls(&other);
    site.server.until_connected("away");
    site.server.add_task("away", "away", &site.scratch.path().join("tree"));
    away.terminate();
    away.wait(PATIENCE).unwrap();
    until("it is away", || !site.server.is_connected("away"));

    // One is connected, with a backup under way; the other one is not there.
    site.choose("far", "https");
    let (job, limit) = site.held("far", &site.https);
    let shown = serial(site.server_https);
    site.rotate(&site.server.own_name());
    site.rotate("vault");
    site.rotate("far");
    assert_ne!(serial(site.server_https), shown);
    site.https.cut_now();
    site.let_go(&limit);
    site.finished(&job);

    let _away = calls(&other);
    site.server.until_connected("away");
    site.works("away", "drive", "away-drive");
    site.works("away", "https", "away-https");
    // The one that stayed calls anew.
    site.far.terminate();
    site.far.wait(PATIENCE).unwrap();
    site.far = calls(&site.scratch.path().join("far"));
    site.server.again();
    site.server.until_connected("far");
    site.server.until_connected("vault");
    site.works("far", "drive", "far-drive");
}

#[test]
fn a_device_killed_between_the_two_files_has_the_new_pair_whole() {
    let mut site = Site::new();
    site.vault.stop();
    let mut command = simsim();
    command.env("SIMSIM_FAILPOINTS", "net.tls_certificate_taken=kill");
    command.arg("--state").arg(&site.vault.state).arg("rds");
    command.args(["--listen", &format!("127.0.0.1:{}", site.vault.port)]);
    command.args(["--http", "127.0.0.1:0"]);
    site.vault.process = ChildProcess::start(&mut command);
    site.vault.process.wait_for_line("is ready", PATIENCE).unwrap();
    site.server.until_connected("vault");
    let shown = serial(site.vault_https);
    site.server.ask("client.rotate-key", json!({ "name": "vault" })).unwrap_err();
    site.vault.process.wait(PATIENCE).expect("it was killed");
    assert_eq!(pair_files(&site.vault.state).len(), 3, "the new key is beside the old one");
    site.vault.again();
    site.server.until_connected("vault");
    let state = &site.vault.state;
    assert_eq!(pair_files(state), [state.join("tls.crt"), state.join("tls.key")]);
    assert_ne!(serial(site.vault_https), shown);
    site.works("web", "drive", "after");
    site.rotate("vault");
    site.works("web", "https", "again");
}

#[test]
fn a_pair_of_the_administrator_is_not_touched() {
    let mut site = Site::new();
    site.vault.stop();
    let state = site.vault.state.clone();
    let shell = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
                 -subj /CN=yours -keyout tls.key -out tls.crt 2>/dev/null";
    let made = std::process::Command::new("sh").args(["-c", shell]).current_dir(&state).status();
    assert!(made.unwrap().success());
    let files = || ["tls.key", "tls.crt"].map(|name| std::fs::read(state.join(name)).unwrap());
    let before = files();
    site.vault.again();
    site.server.until_connected("vault");
    let refused = site.server.ask("client.rotate-key", json!({ "name": "vault" }));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("the administrator's") && refused.contains("restart"), "{refused}");
    assert_eq!(files(), before);
    site.works("web", "https", "back");
    assert_eq!(files(), before);
}

#[test]
fn after_a_stolen_control_key_hosts_join_again_under_their_names() {
    let scratch = tempfile::tempdir().unwrap();
    let mut server = Daemon::start("server", &scratch.path().join("server"));
    let mut web = Daemon::start("client", &scratch.path().join("web"));
    assert_done(&server.join("web", &web.state, &[]));
    server.until_connected("web");
    let store = scratch.path().join("store");
    server.must("datastore.create", json!({ "name": "main", "path": store }));
    server.add_task("home", "web", &tree(scratch.path()));
    assert_eq!(server.backup("home")["state"], "finished");
    let fingerprint = |server: &Daemon, name: &str| {
        let clients = server.must("client.list", Value::Null);
        let found = clients.as_array().unwrap().iter().find(|one| one["name"] == name);
        found.unwrap()["fingerprint"].clone()
    };

    // That of a client.
    let stolen = fingerprint(&server, "web");
    server.must("client.revoke", json!({ "name": "web" }));
    web.stop();
    for file in ["identity", "enrolment.json"] {
        std::fs::remove_file(web.state.join(file)).unwrap();
    }
    web.again();
    assert_done(&server.join("web", &web.state, &[]));
    server.until_connected("web");
    assert_ne!(fingerprint(&server, "web"), stolen);
    assert_eq!(server.backup("home")["state"], "finished");

    // That of the server.
    let own = server.own_name();
    let stolen = fingerprint(&server, &own);
    server.stop();
    web.stop();
    std::fs::remove_file(web.state.join("enrolment.json")).unwrap();
    std::fs::remove_file(server.state.join("server/identity")).unwrap();
    server.again();
    web.again();
    server.until_connected(&own);
    assert_ne!(fingerprint(&server, &own), stolen);
    assert_done(&server.join("web", &web.state, &[]));
    server.until_connected("web");
    assert_eq!(server.backup("home")["state"], "finished");
    let savesets = server.must("saveset.list", json!({}));
    assert_eq!(savesets.as_array().unwrap().len(), 3, "nothing that was saved is lost");
}
