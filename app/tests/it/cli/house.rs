//! A server of its own for a test, and what a test asks of the command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use simsim_testkit::ChildProcess;

pub struct House {
    pub scratch: tempfile::TempDir,
    server: ChildProcess,
}

/// The binary, with an environment that is the same everywhere.
pub fn simsim(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simsim"));
    command.arg("--state").arg(state).env("TZ", "UTC").env("TERM", "xterm-256color");
    command.env_remove("NO_COLOR").env_remove("SIMSIM_LOG").env_remove("XDG_STATE_HOME");
    command
}

impl House {
    pub fn start() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let server = serve(&scratch.path().join("state"));
        Self { scratch, server }
    }

    /// Ends the server in order and starts another one on its state.
    pub fn restart(&mut self) {
        self.server.terminate();
        assert!(self.server.wait(Duration::from_secs(20)).is_some(), "the server does not end");
        self.server = serve(&self.state());
    }

    /// With a datastore, a task "home" on a small tree, and one saveset of it.
    pub fn with_saveset() -> Self {
        let house = Self::start();
        let (store, tree) = (house.path("store"), house.tree());
        house.good(&["datastore", "create", "main", &store]);
        house.good(&["task", "add", "home", &tree]);
        house.good(&["backup", "home"]);
        house
    }

    pub fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// A folder with a few files, one of them with a name that would steer a terminal.
    pub fn tree(&self) -> String {
        let tree = self.scratch.path().join("tree");
        std::fs::create_dir_all(tree.join("sub/deeper")).unwrap();
        std::fs::write(tree.join("hello.txt"), "open sesame").unwrap();
        std::fs::write(tree.join("sub/lines"), "a line of text\n".repeat(20_000)).unwrap();
        std::fs::write(tree.join("sub/deeper/empty"), "").unwrap();
        std::fs::write(tree.join(EVIL), "evil").unwrap();
        std::os::unix::fs::symlink("hello.txt", tree.join("link")).unwrap();
        tree.to_str().unwrap().to_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = simsim(&self.state());
        command.args(arguments).current_dir(self.scratch.path());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output of a verb that ends well.
    pub fn good(&self, arguments: &[&str]) -> String {
        self.ends_with(0, arguments).0
    }

    /// Standard output and standard error of a verb that ends with this status.
    pub fn ends_with(&self, status: i32, arguments: &[&str]) -> (String, String) {
        let output = self.run(arguments);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        let told = self.server.output();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}\n{told}");
        (out, err)
    }

    /// The document of a verb that ends well.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        let (out, err) = self.ends_with(0, &all);
        assert!(err.is_empty(), "beside the document: {err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// Allows a command to stream tasks: name and shell text.
    pub fn allow_command(&self, name: &str, shell: &str) {
        let policy = format!("[commands.{name}]\nrun = [\"/bin/sh\", \"-c\", {shell:?}]\n");
        std::fs::create_dir_all(self.state().join("client")).unwrap();
        std::fs::write(self.state().join("client/policy.toml"), policy).unwrap();
    }

    /// Ends the server and removes all that it knew.
    pub fn lose_server(mut self) -> tempfile::TempDir {
        self.server.terminate();
        assert!(self.server.wait(Duration::from_secs(20)).is_some(), "the server does not end");
        std::fs::remove_dir_all(self.state()).unwrap();
        self.scratch
    }
}

fn serve(state: &Path) -> ChildProcess {
    let mut command = simsim(state);
    command.arg("server");
    for option in ["--listen", "--http", "--console"] {
        command.args([option, "127.0.0.1:0"]);
    }
    let server = ChildProcess::start(&mut command);
    server.wait_for_line("is ready", Duration::from_secs(60)).unwrap();
    server
}

/// A name with a colour and a line break.
pub const EVIL: &str = "evil\u{1b}[31m\nname";
/// As it is printed.
pub const EVIL_SHOWN: &str = "evil\\x1b[31m\\x0aname";

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
