//! Raw streams as other people's tools send and read them: real curl, Python and PostgreSQL against real
//! daemons.

mod ftp;
mod postgres;
mod reading;
mod redirect;
mod secrets;
mod storing;
mod tickets;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use simsim_testkit::Rng;

use crate::hosts::{Daemon, assert_done, simsim, until};

/// A server that listens for HTTPS, with a datastore on its own device and the external task "db".
pub struct Desk {
    pub scratch: tempfile::TempDir,
    pub server: Daemon,
    pub own: String,
    pub https: u16,
}

/// What curl came to.
pub struct Curled {
    /// Its exit status: 0, or 22 for an HTTP status of refusal, or what else went wrong.
    pub exit: i32,
    pub status: u16,
    pub body: Vec<u8>,
    pub errors: String,
}

impl Curled {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn is(&self, exit: i32, status: u16) -> &Self {
        assert_eq!((self.exit, self.status), (exit, status), "{}\n{}", self.text(), self.errors);
        self
    }

    /// It says these words.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Self {
        assert!(self.text().contains(words), "{words}\n{}", self.text());
        self
    }
}

impl Desk {
    pub fn new() -> Self {
        Self::listening("")
    }

    /// With further settings, the first of them listeners.
    pub fn listening(more: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let https = simsim_testkit::free_ports(1)[0];
        let state = scratch.path().join("server");
        listens_for_https(&state, https);
        let settings = state.join("simsim.toml");
        let all = std::fs::read_to_string(&settings).unwrap() + more;
        std::fs::write(&settings, all).unwrap();
        let server = Daemon::start("server", &state);
        let own = server.own_name();
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "path": store }));
        let desk = Self { scratch, server, own, https };
        desk.external("db", "main");
        desk.trusts_authority();
        desk
    }

    pub fn external(&self, name: &str, datastore: &str) {
        let task = json!({
            "name": name, "client": self.own, "kind": "stream", "sources": [name],
            "datastore": datastore, "options": { "external": true }
        });
        self.server.must("task.add", task);
    }

    /// Keeps the authority's certificate for curl, and waits until the server shows one of its own.
    fn trusts_authority(&self) {
        let view = self.server.must("interface.authority", Value::Null);
        std::fs::write(self.authority(), view["certificate"].as_str().unwrap()).unwrap();
        self.until_trusted(self.https);
    }

    pub fn until_trusted(&self, port: u16) {
        until("the port shows a certificate of the authority", || {
            let probe = self.curl(&[&format!("https://localhost:{port}/")], None);
            probe.exit != 60 && probe.exit != 35
        });
    }

    pub fn authority(&self) -> PathBuf {
        self.scratch.path().join("simsim-ca.pem")
    }

    pub fn url(&self, task: &str) -> String {
        format!("https://localhost:{}/v1/streams/{task}", self.https)
    }

    /// A token's secret, and a file with the header for curl.
    pub fn token(&self, name: &str, task: &str, allow: &str) -> (String, String) {
        let request = json!({ "name": name, "task": task, "allow": allow });
        let made = self.server.must("token.create", request);
        let secret = made["secret"].as_str().unwrap().to_owned();
        let header = self.header(name, &secret);
        (secret, header)
    }

    /// The argument of `-H` for a secret.
    pub fn header(&self, name: &str, secret: &str) -> String {
        let file = self.scratch.path().join(format!("{name}.header"));
        std::fs::write(&file, format!("Authorization: Bearer {secret}\n")).unwrap();
        format!("@{}", file.display())
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--max-time", "300"]);
        curl.arg("--cacert").arg(self.authority()).args(["-w", "\n%{http_code}"]).args(arguments);
        curl
    }

    /// Runs curl, with something on its standard input.
    pub fn curl(&self, arguments: &[&str], input: Option<&[u8]>) -> Curled {
        let mut command = self.command(arguments);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // curl may be refused before it has read all.
                scope.spawn(move || drop(stdin.write_all(input)));
            }
            curled(&child.wait_with_output().unwrap())
        })
    }

    /// Stores bytes as a stream of "db", and answers the saveset.
    #[track_caller]
    pub fn stored(&self, header: &str, task: &str, bytes: &[u8]) -> String {
        let done = self.curl(&["-H", header, "-T", "-", &self.url(task)], Some(bytes));
        done.is(0, 201);
        let text = done.text();
        let saveset = text.strip_prefix("saveset ").unwrap().split(',').next().unwrap();
        saveset.to_owned()
    }

    /// Begins a stream that stays open until its standard input is closed, and waits until the job has
    /// taken some of it.
    pub fn begun(&self, header: &str, task: &str, first: &[u8]) -> (Child, u64) {
        let before = self.newest_job();
        let mut command = self.command(&["-N", "-H", header, "-T", "-", &self.url(task)]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(first).unwrap();
        let mut job = Value::Null;
        until("the stream's job reads", || {
            let jobs = self.server.must("job.list", json!({ "limit": 1 }));
            job = jobs[0].clone();
            job["job"].as_u64() > before && job["progress"]["bytes_read"].as_u64() > Some(0)
        });
        (child, job["job"].as_u64().unwrap())
    }

    pub fn newest_job(&self) -> Option<u64> {
        self.server.must("job.list", json!({ "limit": 1 }))[0]["job"].as_u64()
    }

    pub fn job(&self, job: u64) -> Value {
        self.server.ended(&json!({ "job": job }))
    }

    pub fn savesets(&self, task: &str) -> Vec<Value> {
        let listed = self.server.must("saveset.list", json!({ "task": task }));
        listed.as_array().unwrap().clone()
    }

    pub fn cli(&self, arguments: &[&str]) -> Output {
        simsim().arg("--state").arg(&self.server.state).args(arguments).output().unwrap()
    }
}

/// Settings of a host that opens the port for HTTPS.
pub fn listens_for_https(state: &Path, port: u16) {
    std::fs::create_dir_all(state).unwrap();
    let settings = format!("[listen]\nhttps = [\"127.0.0.1:{port}\"]\n");
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
}

/// Ends a curl that was begun: closes its standard input and reads what it says.
pub fn ended(mut child: Child) -> Curled {
    drop(child.stdin.take());
    curled(&child.wait_with_output().unwrap())
}

pub fn curled(output: &Output) -> Curled {
    let at = output.stdout.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let (body, status) = output.stdout.split_at(at);
    let status = String::from_utf8_lossy(status).trim().parse().unwrap_or(0);
    Curled {
        exit: output.status.code().unwrap_or(-1),
        status,
        body: body.to_vec(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    Rng::new(seed).bytes(length)
}

/// A restore by the suite itself, of the one file.
#[track_caller]
pub fn restored(desk: &Desk, saveset: &str, task: &str) -> Vec<u8> {
    let target = desk.scratch.path().join(format!("restored-{saveset}"));
    let text = target.display().to_string();
    assert_done(&desk.cli(&["restore", saveset, "--to", &text]));
    std::fs::read(target.join(task)).unwrap()
}
