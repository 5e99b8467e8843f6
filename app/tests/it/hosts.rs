//! Hosts of the suite as real processes, each on a state folder and ports of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_console::{ConsoleError, LocalClient};
use simsim_testkit::ChildProcess;

/// A step may take so long on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn simsim() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simsim"));
    command.env_remove("SIMSIM_LOG").env_remove("NOTIFY_SOCKET");
    command
}

pub fn output(arguments: &[&str]) -> Output {
    simsim().args(arguments).output().unwrap()
}

/// A daemon. Its control port stays the same over restarts.
pub struct Daemon {
    pub process: ChildProcess,
    pub state: PathBuf,
    pub port: u16,
    /// For data; 0: another one at each start.
    pub http: u16,
    /// Of a server: where it listens for browsers when it is started anew; 0: anywhere.
    pub console: u16,
    role: &'static str,
}

impl Daemon {
    pub fn start(role: &'static str, state: &Path) -> Self {
        Self::start_with(role, state, &[])
    }

    /// With further environment.
    pub fn start_with(role: &'static str, state: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_at(role, state, 0, variables)
    }

    /// With a port for data that stays the same over restarts, too.
    pub fn start_at(
        role: &'static str,
        state: &Path,
        http: u16,
        variables: &[(&str, &str)],
    ) -> Self {
        let port = simsim_testkit::free_ports(1)[0];
        let process = Self::spawn_with(role, state, (port, http, 0), variables);
        let mut daemon = Self { process, state: state.to_owned(), port, http, console: 0, role };
        daemon.ready();
        daemon
    }

    /// One that a test started in its own way.
    pub fn of(process: ChildProcess, role: &'static str, state: &Path, port: u16) -> Self {
        Self { process, state: state.to_owned(), port, http: 0, console: 0, role }
    }

    /// One whose server knows it at this address.
    pub fn start_again_at(role: &'static str, state: &Path, address: &str) -> Self {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();
        let process = Self::spawn_with(role, state, (port, 0, 0), &[]);
        let mut daemon = Self { process, state: state.to_owned(), port, http: 0, console: 0, role };
        daemon.ready();
        daemon
    }

    fn spawn_with(
        role: &str,
        state: &Path,
        (port, http, console): (u16, u16, u16),
        more: &[(&str, &str)],
    ) -> ChildProcess {
        let mut command = simsim();
        command.envs(more.iter().copied());
        command.arg("--state").arg(state).arg(role);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        if role != "client" {
            command.args(["--http", &format!("127.0.0.1:{http}")]);
        }
        if role == "server" {
            command.args(["--console", &format!("127.0.0.1:{console}")]);
        }
        ChildProcess::start(&mut command)
    }

    fn ready(&mut self) {
        self.process.wait_for_line("is ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> i32 {
        self.process.terminate();
        let status = self.process.wait(PATIENCE).unwrap_or_else(|| {
            panic!("{} does not end:\n{}", self.role, self.process.output());
        });
        status.code().unwrap_or_else(|| panic!("{status}:\n{}", self.process.output()))
    }

    /// Starts it anew, after it was stopped or killed.
    pub fn again(&mut self) {
        self.again_with(&[]);
    }

    /// As [`Daemon::again`], with further environment.
    pub fn again_with(&mut self, variables: &[(&str, &str)]) {
        self.process.kill();
        self.process = Self::spawn_with(
            self.role,
            &self.state,
            (self.port, self.http, self.console),
            variables,
        );
        self.ready();
    }

    /// Asks the server that runs here.
    pub fn ask(&self, verb: &str, body: Value) -> Result<Value, ConsoleError> {
        let client = LocalClient::new(self.state.join("console.sock"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.call(verb, &body))
    }

    #[track_caller]
    pub fn must(&self, verb: &str, body: Value) -> Value {
        self.ask(verb, body).unwrap_or_else(|error| {
            panic!("{verb}: {error}\n{}", self.process.output());
        })
    }

    /// Waits until a job has ended and answers it with its problems.
    pub fn ended(&self, job: &Value) -> Value {
        let mut shown = Value::Null;
        until("the job ends", || {
            shown = self.must("job.show", json!({ "job": job["job"] }));
            !shown["ended_unix_ms"].is_null()
        });
        shown
    }

    /// Backs a task up and answers the job.
    pub fn backup(&self, task: &str) -> Value {
        let job = self.must("task.run", json!({ "task": task }));
        self.ended(&job)
    }

    /// A task of one path at a client.
    pub fn add_task(&self, name: &str, client: &str, path: &Path) {
        let task = json!({ "name": name, "client": client, "sources": [path] });
        self.must("task.add", task);
    }

    pub fn join_code(&self, name: &str) -> String {
        let reply = self.must("client.join-code", json!({ "name": name }));
        reply["code"].as_str().unwrap().to_owned()
    }

    /// A code for a host that calls.
    pub fn outbound_code(&self, name: &str) -> String {
        let reply = self.must("client.join-code", json!({ "name": name, "outbound": true }));
        reply["code"].as_str().unwrap().to_owned()
    }

    /// `simsim client join` on the host with this state.
    pub fn join(&self, name: &str, state: &Path, more: &[&str]) -> Output {
        let code = match more.iter().any(|one| one.starts_with("--outbound")) {
            true => self.outbound_code(name),
            false => self.join_code(name),
        };
        let server = format!("127.0.0.1:{}", self.port);
        simsim()
            .args(["client", "join", &server, "--code", &code, "--name", name, "--state"])
            .arg(state)
            .args(more)
            .output()
            .unwrap()
    }

    pub fn is_connected(&self, name: &str) -> bool {
        let clients = self.must("client.list", Value::Null);
        let found = clients.as_array().unwrap().iter().find(|client| client["name"] == name);
        found.is_some_and(|client| client["connected"] == true)
    }

    pub fn until_connected(&self, name: &str) {
        until(&format!("{name} is reached"), || self.is_connected(name));
    }

    /// The name under which the server's own host is enrolled.
    pub fn own_name(&self) -> String {
        self.must("status", Value::Null)["name"].as_str().unwrap().to_owned()
    }
}

#[track_caller]
/// A server, and an RDS "far" that has joined it, in folders of these names; each has a port for its drive. The
/// server's drive has this number, the RDS's the other one of 1 and 2.
pub fn server_and_rds(folder: &Path, server_drive: u16) -> (Daemon, Daemon) {
    for (name, drive) in [("server", server_drive), ("far", 3 - server_drive)] {
        // The drive's number is added to the base.
        let base = simsim_testkit::free_ports(1)[0] - drive;
        std::fs::create_dir_all(folder.join(name)).unwrap();
        let settings = format!("[listen]\ndrive = [\"127.0.0.1:{base}\"]\n");
        std::fs::write(folder.join(name).join("simsim.toml"), settings).unwrap();
    }
    let server = Daemon::start("server", &folder.join("server"));
    let far = Daemon::start("rds", &folder.join("far"));
    assert_done(&server.join("far", &far.state, &[]));
    server.until_connected("far");
    (server, far)
}

pub fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[track_caller]
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    until_within(what, PATIENCE, holds);
}

#[track_caller]
pub fn until_within(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder with a few files.
pub fn tree(root: &Path) -> PathBuf {
    let tree = root.join("tree");
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::write(tree.join("a/text"), "a line of text\n".repeat(20_000)).unwrap();
    std::fs::write(tree.join("a/b/small"), "small").unwrap();
    std::os::unix::fs::symlink("../text", tree.join("a/b/link")).unwrap();
    // Past the margin within which files count as too new to be trusted next time.
    std::thread::sleep(Duration::from_millis(80));
    tree
}

/// What differs between a tree and its restored copy beneath `target`.
pub fn differences(tree: &Path, target: &Path) -> Vec<String> {
    let copy = target.join(tree.strip_prefix("/").unwrap());
    let found = simsim_source::compare(tree, &copy).unwrap();
    found.iter().map(ToString::to_string).collect()
}
