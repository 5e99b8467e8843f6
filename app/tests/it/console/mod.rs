//! The console port as strangers, programs, browsers and command lines use it: real curl, real TLS, real
//! daemons, and other people's readers of the OpenAPI document.

mod command_line;
mod document;
mod people;
mod resources;
mod sessions;
mod tokens;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::hosts::Daemon;

/// A server and its console port.
pub struct Port {
    pub scratch: tempfile::TempDir,
    pub server: Daemon,
    /// On `localhost`.
    pub port: u16,
}

/// What curl was answered.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Told {
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text);
        self
    }

    /// A failure with this status, as a document of RFC 9457.
    #[track_caller]
    pub fn fails(self, status: u16, words: &str) -> Self {
        let told = self.is(status);
        let fields = told.json();
        assert_eq!(told.field("content-type"), Some("application/problem+json"), "{}", told.head);
        assert_eq!(fields["status"], status, "{fields}");
        let kind = fields["kind"].as_str().unwrap();
        assert_eq!(fields["type"], format!("urn:simsim:problem:{kind}"));
        assert!(fields["detail"].as_str().unwrap().contains(words), "{words}: {fields}");
        told
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}{}", self.head, self.text))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Port {
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let server = Daemon::start("server", &scratch.path().join("server"));
        Self::of(scratch, server)
    }

    /// Of a server that a test started in its own way.
    pub fn of(scratch: tempfile::TempDir, server: Daemon) -> Self {
        let port = port_of(&server);
        Self { scratch, server, port }
    }

    /// With a datastore "main", and a task "home" on a small tree.
    pub fn furnished() -> Self {
        let port = Self::start();
        let store = port.scratch.path().join("store");
        port.server.must("datastore.create", json!({ "name": "main", "path": store }));
        let tree = crate::hosts::tree(port.scratch.path());
        port.server.add_task("home", &port.server.own_name(), &tree);
        port
    }

    /// Starts the server anew.
    pub fn again(&mut self) {
        self.server.again();
        self.port = port_of(&self.server);
    }

    /// A new API token.
    pub fn token(&self, name: &str, grants: &Value) -> String {
        let request = json!({ "name": name, "grants": grants });
        let made = self.server.must("api-token.create", request);
        made["secret"].as_str().unwrap().to_owned()
    }

    pub fn superuser(&self) -> String {
        self.token("all", &json!([{ "role": "superuser" }]))
    }

    /// A file with a secret.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let file = self.scratch.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        file
    }

    pub fn certificate(&self) -> PathBuf {
        self.server.state.join("console.crt")
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// A request of curl.
    #[track_caller]
    pub fn curl(&self, method: &str, path: &str, arguments: &[&str]) -> Told {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--max-time", "50", "-X", method, "--cacert"]);
        curl.arg(self.certificate()).args(arguments).arg(self.url(path));
        let done = curl.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
        let (head, text) = text.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        Told { status, head: head.to_owned(), text: text.to_owned() }
    }

    /// A request with a token, and a body of JSON.
    #[track_caller]
    pub fn ask(&self, token: &str, method: &str, path: &str, body: &Value) -> Told {
        self.ask_if(token, method, path, body, &[])
    }

    /// With further fields.
    #[track_caller]
    pub fn ask_if(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
        more: &[&str],
    ) -> Told {
        let file = self.file("header", &format!("Authorization: Bearer {token}"));
        let header = format!("@{}", file.display());
        let text = body.to_string();
        let mut arguments = vec!["-H", &header];
        if !body.is_null() {
            arguments.extend(["-H", "Content-Type: application/json", "--data-binary", &text]);
        }
        for field in more {
            arguments.extend(["-H", field]);
        }
        self.curl(method, path, &arguments)
    }

    #[track_caller]
    pub fn get(&self, token: &str, path: &str) -> Told {
        self.ask(token, "GET", path, &Value::Null)
    }
}

fn port_of(server: &Daemon) -> u16 {
    let lock = std::fs::read_to_string(server.state.join("lock")).unwrap();
    let lock: Value = serde_json::from_str(&lock).unwrap();
    let rows = lock["listening"].as_array().unwrap();
    let row = rows.iter().find(|row| row["row"] == "console").unwrap();
    row["address"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
}

/// A program that `cargo xtask test` brings from PyPI, or that is installed.
pub fn python_tool(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let brought = root.join("target/python-tools/bin").join(name);
    if brought.exists() {
        return Some(brought);
    }
    simsim_testkit::has_program(name).then(|| PathBuf::from(name))
}
