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
            site.trusts_server(&file) && site.trusts_far(&file)
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
        curl(authority, "localhost", self.server_https).status.success()
    }

    pub fn trusts_far(&self, authority: &Path) -> bool {
        curl(authority, FAR, self.far_https).status.success()
    }
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
    let line = "for data with TLS: good for 89 days";
    assert!(said.contains(line) && said.contains("the server renews it"), "{said}");
}
