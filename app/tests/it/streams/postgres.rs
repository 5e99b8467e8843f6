//! A database that is dumped into the suite and restored out of it: `pg_dump | curl`, `curl | psql`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use simsim_testkit::skip;

use super::Desk;
use crate::hosts::assert_done;

/// A server of PostgreSQL on a socket of its own. It refuses to run as root.
struct Postgres {
    folder: tempfile::TempDir,
    bin: PathBuf,
}

impl Postgres {
    fn start() -> Result<Self, String> {
        let bin = programs().ok_or("initdb and pg_ctl of PostgreSQL are not here")?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let postgres = Self { folder, bin };
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
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
        let mut command = match rustix::process::geteuid().is_root() {
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

    /// The environment of its clients.
    fn shell(&self, script: &str) -> Output {
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap_or_default());
        let host = self.folder.path();
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("PATH", path).env("PGHOST", host).env("PGUSER", "backup");
        shell.output().unwrap()
    }

    fn sql(&self, database: &str, text: &str) -> String {
        let output =
            self.shell(&format!("psql -qAtX -v ON_ERROR_STOP=1 -d {database} -c \"{text}\""));
        assert_done(&output);
        String::from_utf8(output.stdout).unwrap()
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

#[test]
fn a_database_is_dumped_into_the_suite_and_comes_back_out_of_it() {
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(why) => return skip(&why),
    };
    let desk = Desk::new();
    let (_, header) = desk.token("db", "db", "both");
    postgres.sql("postgres", "CREATE DATABASE shop");
    postgres.sql(
        "shop",
        "CREATE TABLE orders AS SELECT n, md5(n::text) AS what, n * 1.5 AS price \
         FROM generate_series(1, 20000) AS n",
    );
    let digest = "SELECT count(*), sum(price), md5(string_agg(what, ',' ORDER BY n)) FROM orders";
    let before = postgres.sql("shop", digest);
    let curl = format!(
        "curl -sS --fail-with-body --cacert '{}' -H '{header}'",
        desk.authority().display()
    );
    let url = desk.url("db");
    let dump = postgres.shell(&format!("pg_dump shop | {curl} -T - {url}"));
    assert_done(&dump);
    assert!(String::from_utf8_lossy(&dump.stdout).starts_with("saveset "), "{dump:?}");
    // Dumped again it is the same text, and hardly anything is new.
    assert_done(&postgres.shell(&format!("pg_dump shop | {curl} -T - {url}")));
    postgres.sql("postgres", "CREATE DATABASE again");
    let back = format!("{curl} {url} | psql -qX -v ON_ERROR_STOP=1 -d again");
    assert_done(&postgres.shell(&back));
    assert_eq!(postgres.sql("again", digest), before);
    assert_eq!(desk.savesets("db").len(), 2);

    // The way that 'raw streams' recommends: a dump that fails is no backup, although its pipe ends.
    let careful = |database: &str| {
        format!(
            "dir=$(mktemp -d)\n\
             mkfifo \"$dir/pipe\"\n\
             {curl} -T - {url} < \"$dir/pipe\" &\n\
             curl=$!\n\
             exec 3> \"$dir/pipe\"\n\
             if pg_dump {database} >&3; then exec 3>&-; wait $curl\n\
             else kill $curl; exec 3>&-; rm -r \"$dir\"; exit 1; fi\n\
             rm -r \"$dir\"\n"
        )
    };
    assert_eq!(postgres.shell(&careful("nothing")).status.code(), Some(1));
    crate::hosts::until("no job is open", || {
        let open = desk.server.must("job.list", serde_json::json!({ "open_only": true }));
        open.as_array().unwrap().is_empty()
    });
    assert_eq!(desk.savesets("db").len(), 2, "a dump that failed is not kept");
    assert_done(&postgres.shell(&careful("shop")));
    assert_eq!(desk.savesets("db").len(), 3);
}
