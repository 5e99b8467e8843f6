//! What other people's tools are shown at port `https`: renewed, and trusted by the one authority.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::hosts::{Daemon, assert_done, until};

/// A server and a remote device server, each with port `https`. The latter has a name that an
/// administrator gave it.
pub struct Site {
    pub scratch: tempfile::TempDir,
    pub server: Daemon,
    pub far: Daemon,
    pub server_https: u16,
    pub far_https: u16,
}

/// The name of the remote device server in its certificate.
const FAR: &str = "far.example.org";

impl Site {
    pub fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let (server, server_https) = host("server", &scratch.path().join("server"));
        let (far, far_https) = host("rds", &scratch.path().join("far"));
        assert_done(&server.join("far", &far.state, &[]));
        server.until_connected("far");
        let url = format!("https://{FAR}:{far_https}");
        server.must("interface.set", json!({ "host": "far", "interfaces": [url] }));
        let site = Self { scratch, server, far, server_https, far_https };
        let file = site.authority("ca");
        until("both hosts have certificates", || {
            let shown = |name: &str, port: u16| curl(&file, name, port).status.success();
            shown("localhost", server_https) && shown(FAR, far_https)
        });
        site
    }

    /// What the authority's verb prints, in a file.
    pub fn authority(&self, name: &str) -> PathBuf {
        let file = self.scratch.path().join(name);
        let view = self.server.must("interface.authority", Value::Null);
        std::fs::write(&file, view["certificate"].as_str().unwrap()).unwrap();
        file
    }

    pub fn trusts_server(&self, authority: &Path) -> bool {
        trusts(authority, "localhost", self.server_https)
    }

    pub fn trusts_far(&self, authority: &Path) -> bool {
        trusts(authority, FAR, self.far_https)
    }

    /// The first certificate of what the authority's verb prints: the authority that signs.
    fn newest(&self, name: &str) -> PathBuf {
        let file = self.authority(name);
        let bundle = std::fs::read_to_string(&file).unwrap();
        let end = "-----END CERTIFICATE-----\n";
        let (first, _) = bundle.split_once(end).unwrap();
        std::fs::write(&file, format!("{first}{end}")).unwrap();
        file
    }

    /// Both hosts, by tools that trust this and nothing else.
    #[track_caller]
    fn assert_trusted(&self, authority: &Path, trusted: bool) {
        let told = (self.trusts_server(authority), self.trusts_far(authority));
        assert_eq!(told, (trusted, trusted), "{}: server, far", authority.display());
    }
}

/// Whether tools that trust only this authority get an answer there. They are built on three ways to
/// judge a chain: OpenSSL's, GnuTLS's, and OpenSSL's as Python sets it up.
#[track_caller]
fn trusts(authority: &Path, name: &str, port: u16) -> bool {
    let by_curl = curl(authority, name, port).status.success();
    let mut gnutls = Command::new("wget");
    gnutls.args(["-q", "-O", "-", "--timeout=30", "--tries=1", "--content-on-error"]);
    gnutls.arg(format!("--ca-certificate={}", authority.display()));
    let mut others = Vec::new();
    if name == "localhost" {
        // It asks the system's names, and exits with 8 for any answer but a good one.
        let output = gnutls.arg(format!("https://{name}:{port}/")).output().unwrap();
        others.push(("wget", matches!(output.status.code(), Some(0 | 8))));
    }
    let script = "import socket, ssl, sys\n\
                  context = ssl.create_default_context(cafile=sys.argv[1])\n\
                  plain = socket.create_connection(('127.0.0.1', int(sys.argv[3])), 30)\n\
                  try:\n\
                  \x20   context.wrap_socket(plain, server_hostname=sys.argv[2])\n\
                  except ssl.SSLCertVerificationError:\n\
                  \x20   sys.exit(7)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(authority).args([name, &port.to_string()]);
    let output = python.output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 7)), "{output:?}");
    others.push(("python", output.status.success()));
    for (tool, by_tool) in others {
        assert_eq!(by_tool, by_curl, "{tool} and curl, {name}, {}", authority.display());
    }
    by_curl
}

fn host(role: &'static str, state: &Path) -> (Daemon, u16) {
    std::fs::create_dir_all(state).unwrap();
    let https = simsim_testkit::free_ports(1)[0];
    let settings = format!("[listen]\nhttps = [\"127.0.0.1:{https}\"]\n");
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    (Daemon::start(role, state), https)
}

fn curl(authority: &Path, name: &str, port: u16) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "30", "--cacert"]).arg(authority);
    curl.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
    curl.arg(format!("https://{name}:{port}/")).output().unwrap()
}

/// The serial number of the certificate that a new connection is shown.
pub fn serial(port: u16) -> String {
    let shell = format!(
        "openssl s_client -connect 127.0.0.1:{port} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    );
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(output.stdout.starts_with(b"serial="), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Lets all certificates that were given be so much older.
fn set_back(server: &Daemon, days: u32) {
    let script = "import json, sqlite3, sys\n\
                  catalog = sqlite3.connect(sys.argv[1], timeout=30)\n\
                  rows = list(catalog.execute(\"SELECT name, value FROM settings WHERE name GLOB 'tls.certificate.*'\"))\n\
                  assert rows\n\
                  for name, value in rows:\n\
                  \x20   given = json.loads(value)\n\
                  \x20   given['issued_unix_ms'] -= int(sys.argv[2]) * 86400000\n\
                  \x20   value = json.dumps(given).encode()\n\
                  \x20   catalog.execute('UPDATE settings SET value = ? WHERE name = ?', (value, name))\n\
                  catalog.commit()\n";
    let catalog = server.state.join("server/catalog.db");
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(catalog).arg(days.to_string());
    let output = python.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_certificate_that_ran_out_is_renewed_when_its_host_is_reached_and_shown_without_a_restart() {
    let mut site = Site::new();
    let (far, own) = (serial(site.far_https), serial(site.server_https));
    let ca = site.authority("ca");
    let warned = |server: &Daemon| {
        let status = server.must("status", Value::Null);
        status["warnings"].to_string().contains("the certificate that 'far' shows")
    };
    assert!(!warned(&site.server));
    set_back(&site.server, 100);
    assert!(warned(&site.server), "{}", site.server.must("status", Value::Null));
    let check = site.server.must("ports.hosts", Value::Null);
    let until_unix_ms = |check: &Value| {
        let found = check.as_array().unwrap().iter().find(|one| one["name"] == "far");
        found.unwrap()["certificate_until_unix_ms"].as_i64().unwrap()
    };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    assert!(until_unix_ms(&check) < now, "{check:#}");

    // Only the server is started again; the other host goes on and is reached.
    site.server.again();
    until("both are renewed", || serial(site.far_https) != far && serial(site.server_https) != own);
    until("it is written down", || !warned(&site.server));
    assert!(site.trusts_far(&ca) && site.trusts_server(&ca));
    // On the host itself.
    let mut check = crate::hosts::simsim();
    check.args(["ports", "check", "--state"]).arg(&site.far.state);
    let said = String::from_utf8(check.output().unwrap().stdout).unwrap();
    let line = |days: u32| format!("for data with TLS: good for {days} days");
    assert!(said.contains(&line(89)) || said.contains(&line(90)), "{said}");
    assert!(said.contains("the server renews it"), "{said}");
}

#[test]
fn the_authority_is_rotated_while_tools_trust_the_old_one_or_the_new_one() {
    let mut site = Site::new();
    let old = site.authority("old");
    // One of the hosts is away when it happens.
    site.far.stop();
    until("it is away", || !site.server.is_connected("far"));
    let view = site.server.must("authority.rotate", Value::Null);
    assert_eq!(view["behind"], json!(["far"]), "{view:#}");
    assert!(view["transition"]["ends_unix_ms"].is_i64(), "{view:#}");
    let (new, both) = (site.newest("new"), site.authority("both"));
    assert_ne!(std::fs::read(&old).unwrap(), std::fs::read(&new).unwrap());
    assert!(site.trusts_server(&old) && site.trusts_server(&new) && site.trusts_server(&both));
    let early = site.server.ask("authority.finish", Value::Null).unwrap_err().to_string();
    assert!(early.contains("far") && early.contains("--now"), "{early}");
    let twice = site.server.ask("authority.rotate", Value::Null).unwrap_err().to_string();
    assert!(twice.contains("finish"), "{twice}");

    site.far.again();
    let behind =
        |site: &Site| site.server.must("interface.authority", Value::Null)["behind"].clone();
    until("it has another certificate", || behind(&site) == json!([]));
    for file in [&old, &new, &both] {
        site.assert_trusted(file, true);
    }
    site.server.again();
    site.server.until_connected("far");
    for file in [&old, &new, &both] {
        site.assert_trusted(file, true);
    }
    assert_eq!(site.authority("again"), site.scratch.path().join("again"));
    assert_eq!(
        std::fs::read(site.scratch.path().join("again")).unwrap(),
        std::fs::read(&both).unwrap(),
        "the stage is kept over a restart"
    );

    let view = site.server.must("authority.finish", Value::Null);
    assert!(view["transition"].is_null() && view["behind"] == json!([]), "{view:#}");
    let shown = serial(site.far_https);
    site.server.again();
    site.server.until_connected("far");
    site.assert_trusted(&old, false);
    site.assert_trusted(&new, true);
    assert_eq!(serial(site.far_https), shown, "nothing is signed anew for nothing");
    assert_eq!(std::fs::read(site.authority("after")).unwrap(), std::fs::read(&new).unwrap());
    let nothing = site.server.ask("authority.finish", Value::Null).unwrap_err().to_string();
    assert!(nothing.contains("rotate"), "{nothing}");

    let audit = site.server.must("audit.list", Value::Null).to_string();
    assert!(audit.contains("authority.rotate") && audit.contains("authority.finish"), "{audit}");
}

#[test]
fn a_stolen_authority_is_replaced_at_once() {
    let site = Site::new();
    let old = site.authority("old");
    let view = site.server.must("authority.rotate", json!({ "now": true }));
    assert!(view["transition"].is_null() && view["behind"] == json!([]), "{view:#}");
    let second = site.authority("second");
    site.assert_trusted(&old, false);
    site.assert_trusted(&second, true);
    // Also in the middle of a transition, whose authority was stolen.
    site.server.must("authority.rotate", Value::Null);
    let third = site.newest("third");
    site.assert_trusted(&second, true);
    site.assert_trusted(&third, true);
    site.server.must("authority.rotate", json!({ "now": true }));
    let fourth = site.authority("fourth");
    for (file, trusted) in [(&old, false), (&second, false), (&third, false), (&fourth, true)] {
        site.assert_trusted(file, trusted);
    }
}

#[test]
fn a_server_killed_in_a_rotation_has_one_authority_with_its_key() {
    let mut site = Site::new();
    let old = site.authority("old");
    site.server.stop();
    let armed = [("SIMSIM_FAILPOINTS", "server.authority_kept=kill")];
    let state = site.server.state.clone();
    site.server = Daemon::start_with("server", &state, &armed);
    site.server.ask("authority.rotate", Value::Null).unwrap_err();
    site.server.process.wait(crate::hosts::PATIENCE).expect("it was killed");
    site.server.again();
    let new = site.newest("new");
    assert_ne!(std::fs::read(&old).unwrap(), std::fs::read(&new).unwrap());
    // One tool alone is asked meanwhile: between two the certificate may change.
    until("its own certificate is by the new one", || {
        curl(&new, "localhost", site.server_https).status.success()
    });
    assert!(site.trusts_server(&new) && site.trusts_server(&old));
}

#[test]
fn a_host_that_gets_no_certificate_any_more_holds_no_rotation_up() {
    let site = Site::new();
    let view = site.server.must("authority.rotate", Value::Null);
    assert_eq!(view["behind"], json!([]), "{view:#}");
    site.server.must("authority.finish", Value::Null);
    site.server.must("interface.set", json!({ "host": "far", "interfaces": [] }));
    let view = site.server.must("authority.rotate", Value::Null);
    assert_eq!(view["behind"], json!([]), "{view:#}");
    site.server.must("authority.finish", Value::Null);
}
