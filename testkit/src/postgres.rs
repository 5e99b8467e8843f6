//! A server of PostgreSQL, where its programs are installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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
        let options = format!("-F -c listen_addresses='' -k {}", postgres.folder.path().display());
        let started = postgres
            .run("pg_ctl")
            .args(["-w", "-t", "60", "-o", &options, "-l"])
            .arg(postgres.folder.path().join("log"))
            .arg("-D")
            .arg(&data)
            .arg("start")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| error.to_string())?;
        match started.success() {
            true => Ok(postgres),
            false => Err("PostgreSQL does not start here".to_owned()),
        }
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
