//! A server of PostgreSQL, where its programs are installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::is_root;

/// A server of PostgreSQL on a socket of its own, without any network. It refuses to run as root, and
/// runs as `nobody` then. Stopped when dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

impl Postgres {
    /// Makes an empty one. The error says why there can be none: hand it to [`crate::skip`].
    pub fn start() -> Result<Self, String> {
        let bin = programs().ok_or("initdb and pg_ctl of PostgreSQL are not here")?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let postgres = Self { folder, bin };
        if is_root() {
            let chown = Command::new("chown").arg("nobody").arg(postgres.folder.path()).status();
            if !chown.is_ok_and(|status| status.success()) {
                return Err("the folder cannot be given to 'nobody'".to_owned());
            }
        }
        let data = postgres.data();
        let made = postgres
            .run("initdb")
            .args([
                "--auth=trust",
                "--no-sync",
                "--encoding=UTF8",
                "--locale=C",
                "-U",
                "backup",
                "-D",
            ])
            .arg(&data)
            .output()
            .map_err(|error| error.to_string())?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        postgres.launch("-c listen_addresses=''")?;
        Ok(postgres)
    }

    /// Starts the server with further options, once what is left of an earlier one is gone.
    fn launch(&self, options: &str) -> Result<(), String> {
        let options = format!("-F {options} -k {}", self.folder.path().display());
        let since = std::time::Instant::now();
        loop {
            let started = self
                .run("pg_ctl")
                .args(["-w", "-t", "60", "-o", &options, "-l"])
                .arg(self.folder.path().join("log"))
                .arg("-D")
                .arg(self.data())
                .arg("start")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map_err(|error| error.to_string())?;
            if started.success() {
                return Ok(());
            }
            if since.elapsed() > Duration::from_secs(60) {
                return Err("PostgreSQL does not start here".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the server's first process, as the kernel does when memory runs out; the others end by
    /// themselves. [`Postgres::start_again`] recovers the data.
    ///
    /// # Panics
    /// When no server runs.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid"))
            .expect("a server runs and says its number");
        let pid = pid.lines().next().unwrap_or_default().to_owned();
        let others = children(&pid);
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()), "process {pid} was not there");
        // They notice it by themselves, and until then they still answer.
        while others.iter().any(|child| parent(child).is_some()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts the server again on its data, after [`Postgres::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        self.launch("-c listen_addresses=''").expect("the server starts again");
    }

    /// Stops the server and starts it with a listener on 127.0.0.1 that takes only TLS, with this
    /// certificate and key in PEM, and asks for passwords there.
    ///
    /// # Panics
    /// When it does not start.
    pub fn listen_with_tls(&self, port: u16, certificate: &str, key: &str) {
        let file = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("the folder can be written");
            let set = Command::new("chmod").arg("600").arg(&path).status();
            assert!(set.is_ok_and(|status| status.success()));
            if is_root() {
                let given = Command::new("chown").arg("nobody").arg(&path).status();
                assert!(given.is_ok_and(|status| status.success()));
            }
            path.display().to_string()
        };
        let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={} -c ssl_key_file={} -c hba_file={}",
            file("server.crt", certificate),
            file("server.key", key),
            file("rules", rules),
        );
        let stopped =
            self.run("pg_ctl").args(["-m", "fast", "-D"]).arg(self.data()).arg("stop").output();
        assert!(stopped.is_ok_and(|stopped| stopped.status.success()));
        self.launch(&options).expect("the server starts with TLS");
    }

    /// The connection string of a database here, over the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://backup@/{database}?host={}", self.folder.path().display())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn run(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=nobody", "--clear-groups", "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs a script of the shell in the environment of its clients: `psql` and the like find the server.
    pub fn shell(&self, script: &str) -> Output {
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap_or_default());
        let host = self.folder.path();
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("PATH", path).env("PGHOST", host).env("PGUSER", "backup");
        shell.output().expect("a shell runs")
    }

    /// Runs statements, and answers the rows: values with `|` between them. All or none of them count.
    ///
    /// # Panics
    /// When the server refuses one; the message is its own.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let file = self.folder.path().join("statements.sql");
        std::fs::write(&file, text).expect("the folder can be written");
        let output = self.shell(&format!(
            "psql -qAtX -v ON_ERROR_STOP=1 -1 -d {database} -f '{}'",
            file.display()
        ));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stopped = self
            .run("pg_ctl")
            .args(["-m", "immediate", "-D"])
            .arg(self.data())
            .arg("stop")
            .output();
        if let Ok(stopped) = stopped
            && !stopped.status.success()
        {
            eprintln!("{stopped:?}");
        }
    }
}

/// The processes that a process has begun.
fn children(pid: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|child| parent(child).as_deref() == Some(pid))
        .collect()
}

/// The parent of a process that runs.
fn parent(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.next().map(str::to_owned),
    }
}

/// Where the programs of PostgreSQL lie: on the path, or where Debian keeps them.
fn programs() -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH")?;
    let mut folders: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let has = |folder: &Path| {
        ["initdb", "pg_ctl", "pg_dump", "psql"].iter().all(|one| folder.join(one).is_file())
    };
    folders.into_iter().find(|folder| has(folder))
}
