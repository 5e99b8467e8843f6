//! By which interface data goes: chosen, given, tried one after the other, and never another one.

use std::path::Path;

use serde_json::{Value, json};

use crate::hosts::{Daemon, differences, tree};

/// A server with HTTPS open, a datastore, and a task.
struct Desk {
    scratch: tempfile::TempDir,
    server: Daemon,
    own: String,
    https: u16,
    /// The port of drive 0, if there were one.
    base: u16,
}

impl Desk {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join("server");
        std::fs::create_dir_all(&state).unwrap();
        let https = simsim_testkit::free_ports(1)[0];
        let base = simsim_testkit::free_ports(1)[0].min(65_000);
        let settings =
            format!("[listen]\nhttps = [\"127.0.0.1:{https}\"]\ndrive = [\"127.0.0.1:{base}\"]\n");
        std::fs::write(state.join("simsim.toml"), settings).unwrap();
        let server = Daemon::start("server", &state);
        let own = server.own_name();
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "path": store }));
        server.add_task("home", &own, &tree(scratch.path()));
        Self { scratch, server, own, https, base }
    }

    fn backup(&self) -> Value {
        self.server.backup("home")
    }

    fn source(&self) -> std::path::PathBuf {
        self.scratch.path().join("tree")
    }

    fn doors(&self) -> Vec<String> {
        let log = self.server.process.output();
        let opened = log.lines().filter(|line| line.contains("transfer opened"));
        let door = |line: &str| {
            let (_, rest) = line.split_once("door=").unwrap_or_default();
            rest.trim_matches('"').split([' ', '"']).next().unwrap_or_default().to_owned()
        };
        opened.map(door).collect()
    }

    fn address(&self, row: &str) -> String {
        let log = self.server.process.output();
        let line = log.lines().find(|line| line.contains(&format!("row={row:?}")));
        let line = line.unwrap_or_else(|| panic!("no listener {row}: {log}"));
        let at = line.find("127.0.0.1:").unwrap();
        line[at..].split([' ', ',']).next().unwrap().to_owned()
    }
}

#[test]
fn data_goes_by_what_was_chosen_for_job_task_and_client() {
    let desk = Desk::new();
    assert_eq!(desk.backup()["state"], "finished");
    assert_eq!(desk.doors(), ["http"], "where nobody chooses");

    let choose = json!({ "client": desk.own, "choices": ["https"] });
    desk.server.must("interface.choose", choose);
    assert_eq!(desk.backup()["state"], "finished");
    assert_eq!(desk.doors(), ["http", "https"]);

    let target = desk.scratch.path().join("back");
    let restore = json!({ "task": "home", "target": target, "interfaces": ["http"] });
    let ended = desk.server.ended(&desk.server.must("restore", restore));
    assert_eq!(ended["state"], "finished", "{ended:#}");
    assert_eq!(desk.doors().last().unwrap(), "http", "the job's own choice comes first");
    assert_eq!(differences(&desk.source(), &target), [""; 0]);
}

#[test]
fn interfaces_are_tried_in_their_order_and_no_other_is_taken() {
    let desk = Desk::new();
    let closed = simsim_testkit::free_ports(1)[0];
    let (dead, alive) =
        (format!("https://127.0.0.1:{closed}"), format!("https://127.0.0.1:{}", desk.https));
    let set = json!({ "host": desk.own, "interfaces": [dead, alive] });
    desk.server.must("interface.set", set);
    assert_eq!(desk.backup()["state"], "finished");
    assert_eq!(desk.doors(), ["https"]);

    // HTTP is open and would work, and nobody chose it.
    let set = json!({ "host": desk.own, "interfaces": [dead] });
    desk.server.must("interface.set", set);
    let failed = desk.backup();
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains(&format!("127.0.0.1:{closed}")) && why.contains("https"), "{why}");
    assert_eq!(desk.doors(), ["https"]);

    let choose = json!({ "client": desk.own, "choices": ["http"] });
    desk.server.must("interface.choose", choose);
    assert_eq!(desk.backup()["state"], "finished", "a protocol, and whatever the device has");
    assert_eq!(desk.doors(), ["https", "http"]);
}

#[test]
fn each_drive_has_a_port_that_only_a_granted_host_enters() {
    let mut desk = Desk::new();
    let choose = json!({ "client": desk.own, "choices": ["drive"] });
    desk.server.must("interface.choose", choose);
    let saved = desk.backup();
    assert_eq!(saved["state"], "finished", "{saved:#}");
    assert_eq!(desk.doors(), ["drive"]);
    assert_eq!(saved["drive"], 1);
    let look = json!({ "saveset": saved["saveset"], "path": desk.source() });
    desk.server.must("saveset.ls", look);
    assert_eq!(desk.doors(), ["drive", "http"], "the server itself has no key for these ports");

    // A stranger with a key of its own, while nothing is granted.
    let port = desk.base + 1;
    let stranger = desk.scratch.path().join("stranger");
    std::fs::create_dir_all(&stranger).unwrap();
    let shell = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x \
         -keyout {0}/k -out {0}/c 2>/dev/null; \
         (printf 'GET / HTTP/1.0\r\n\r\n'; sleep 1) | \
         openssl s_client -connect 127.0.0.1:{port} -cert {0}/c -key {0}/k 2>&1",
        stranger.display()
    );
    let output = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("alert"), "{said}");
    assert!(!said.contains("HTTP/1."), "{said}");

    // The number stays with the drive over a restart, and a new drive gets a port at once.
    desk.server.must("drive.add", json!({ "datastore": "main" }));
    let new = |log: &str| log.contains("drive=2");
    crate::hosts::until("the new drive listens", || new(&desk.server.process.output()));
    desk.server.again();
    assert!(new(&desk.server.process.output()), "{}", desk.server.process.output());
    desk.server.until_connected(&desk.own);
    let again = desk.backup();
    assert_eq!(again["state"], "finished", "{again:#}");
}

#[test]
fn an_interface_in_use_cannot_be_taken_away() {
    let desk = Desk::new();
    let url = format!("https://127.0.0.1:{}", desk.https);
    let set = |interfaces: Value| {
        desk.server.ask("interface.set", json!({ "host": desk.own, "interfaces": interfaces }))
    };
    let choose = |choices: Value| {
        desk.server.ask("interface.choose", json!({ "client": desk.own, "choices": choices }))
    };
    let unknown = choose(json!([url])).unwrap_err().to_string();
    assert!(unknown.contains("no host has the interface"), "{unknown}");
    set(json!([url, "http://127.0.0.1"])).unwrap();
    choose(json!([url])).unwrap();
    let refused = set(json!(["http://127.0.0.1"])).unwrap_err().to_string();
    assert!(refused.contains(&url) && refused.contains(&desk.own), "{refused}");
    set(json!([url])).expect("another one may go");
    choose(json!([])).unwrap();
    // An event that names it is in the way as well.
    let event = |interface: Value| {
        let event = json!({ "name": "blk", "all": true, "interface": interface });
        let verb = if interface.is_null() { "event.change" } else { "event.add" };
        desk.server.must(verb, event);
    };
    event(json!(url));
    let shown = desk.server.must("interface.list", Value::Null);
    let shown = shown.as_array().unwrap().iter().find(|one| one["host"] == desk.own).unwrap();
    assert_eq!(shown["interfaces"][0]["chosen_by"], json!(["event 'blk'"]), "{shown:#}");
    let refused = set(json!(["http://127.0.0.1"])).unwrap_err().to_string();
    assert!(refused.contains("in use by event 'blk'"), "{refused}");
    event(Value::Null);
    set(json!([])).expect("nobody uses it any more");
    let wrong = set(json!(["gopher://x"])).unwrap_err().to_string();
    assert!(wrong.contains("gopher://x") && wrong.contains("https://host:port"), "{wrong}");
}

#[test]
fn another_host_at_the_address_is_found_out_by_its_key() {
    let desk = Desk::new();
    // The console has TLS too, and another key.
    let console = desk.address("console");
    let set = json!({ "host": desk.own, "interfaces": [format!("https://{console}")] });
    desk.server.must("interface.set", set);
    let failed = desk.backup();
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains("another key") && why.contains(&console), "{why}");
}

#[test]
fn tls_is_what_strangers_expect_and_nothing_older() {
    let desk = Desk::new();
    let talk = |options: &[&str]| {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["s_client", "-connect", &format!("127.0.0.1:{}", desk.https)]);
        let output = openssl.args(options).stdin(std::process::Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(talk(&["-tls1_3"]).contains("TLSv1.3"));
    assert!(!talk(&["-tls1_2"]).contains("Cipher    : ECDHE"));
    let state: &Path = &desk.server.state;
    let key = std::fs::metadata(state.join("tls.key")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);
}

#[test]
fn strangers_trust_every_host_by_the_one_authority() {
    let desk = Desk::new();
    crate::hosts::until("a certificate is given", || {
        desk.server.process.output().contains("a certificate was given")
    });
    let authority = desk.server.must("interface.authority", Value::Null);
    let file = desk.scratch.path().join("authority.pem");
    std::fs::write(&file, authority["certificate"].as_str().unwrap()).unwrap();
    let curl = |options: &[&str]| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--show-error", &format!("https://localhost:{}/", desk.https)]);
        curl.args(options).output().unwrap()
    };
    let trusted = curl(&["--cacert", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&trusted.stdout).into_owned();
    assert!(said.contains("simsim data port"), "{trusted:?}");
    assert!(!curl(&[]).status.success(), "nobody else vouches for it");
    // What was given is kept over a restart, and not given again.
    let mut desk = desk;
    desk.server.again();
    desk.server.until_connected(&desk.own);
    assert_eq!(desk.backup()["state"], "finished");
    assert!(!desk.server.process.output().contains("a certificate was given"));
}

#[test]
fn a_certificate_names_only_what_an_administrator_gave_a_host() {
    let desk = Desk::new();
    let far = Daemon::start("rds", &desk.scratch.path().join("rds"));
    crate::hosts::assert_done(&desk.server.join("localhost", &far.state, &[]));
    desk.server.until_connected("localhost");
    let given = || {
        let log = desk.server.process.output();
        log.lines().filter(|line| line.contains("a certificate was given")).count()
    };
    crate::hosts::until("the server's own host has one", || given() == 1);
    let interfaces = json!(["https://far.example.org"]);
    desk.server.must("interface.set", json!({ "host": "localhost", "interfaces": interfaces }));
    assert_eq!(given(), 2, "{}", desk.server.process.output());
    let shown = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName", "-in"])
        .arg(far.state.join("tls.crt"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("DNS:far.example.org"), "{shown}");
    assert!(!shown.contains("localhost") && !shown.contains("127.0.0.1"), "{shown}");
}
