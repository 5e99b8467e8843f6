//! The simsim side: the real binary, its real ports, sealed frames over loopback.
//!
//! A `server` process (with the device in it) and a `client` process run as daemons; verbs of the
//! command line start the jobs. All knowledge of the command line is in this file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use simsim_testkit::{Aspects, ChildProcess};

use super::Tool;
use super::measure::{self, Cost};
use super::wire::Wire;
use crate::step;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const TASK: &str = "measured";
const CLIENT: &str = "bench";

pub struct Simsim {
    binary: PathBuf,
    /// The protocol by which data goes.
    interface: String,
    name: String,
    running: Option<Running>,
}

struct Running {
    work: PathBuf,
    wire: Wire,
    server: ChildProcess,
    client: ChildProcess,
    has_task: bool,
}

impl Simsim {
    pub fn new(binary: PathBuf, interface: &str) -> Self {
        let name = match interface {
            "http" => "simsim".to_owned(),
            other => format!("simsim by {other}"),
        };
        Self { binary, interface: interface.to_owned(), name, running: None }
    }

    fn running(&mut self) -> Result<&mut Running> {
        self.running.as_mut().context("simsim is not running")
    }

    /// Runs one verb of the command line and measures both daemons over it.
    fn verb(&mut self, arguments: &[&str]) -> Result<Cost> {
        let binary = self.binary.clone();
        let running = self.running()?;
        let (server, client) = (running.server.id() as i32, running.client.id() as i32);
        for pid in [server, client] {
            measure::reset_high_water(pid)?;
        }
        let before =
            (measure::cpu_s(server, true)?, measure::cpu_s(client, true)?, running.wire.bytes()?);
        let mut command = running.cli(&binary);
        let cli = measure::command(command.args(arguments))
            .with_context(|| format!("server said:\n{}", tail(&running.server.output())))?;
        let mib = |pid| measure::high_water_kib(pid).unwrap_or(0) as f64 / 1024.0;
        Ok(Cost {
            wall_s: cli.wall_s,
            client_cpu_s: measure::cpu_s(client, true)? - before.1,
            device_cpu_s: Some(measure::cpu_s(server, true)? - before.0 + cli.client_cpu_s),
            client_mib: mib(client),
            device_mib: Some(mib(server)),
            wire_mb: Some((running.wire.bytes()? - before.2) as f64 / 1e6),
        })
    }
}

impl Running {
    fn cli(&self, binary: &Path) -> Command {
        let mut command = self.wire.command(binary);
        command.args(["--state"]).arg(self.work.join("server"));
        command
    }
}

impl Tool for Simsim {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> String {
        let asked = step::output(Command::new(&self.binary).arg("--version"));
        String::from_utf8_lossy(&asked.unwrap_or_default()).trim().to_owned()
    }

    fn prepare(&mut self, place: &Path) -> Result<()> {
        let work = place.to_path_buf();
        for folder in ["server", "client"] {
            std::fs::create_dir_all(work.join(folder))?;
        }
        let settings =
            "[listen]\nhttps = [\"127.0.0.1\"]\ndrive = [\"127.0.0.1\"]\nftp = [\"127.0.0.1\"]\n";
        std::fs::write(work.join("server/simsim.toml"), settings)?;
        let wire = Wire::new();
        let ports = simsim_testkit::free_ports(1);
        let mut server = wire.command(&self.binary);
        server.arg("server").arg("--state").arg(work.join("server"));
        let server = ChildProcess::start(&mut server);
        let mut client = wire.command(&self.binary);
        client.arg("client").arg("--state").arg(work.join("client"));
        client.args(["--listen", &format!("127.0.0.1:{}", ports[0])]);
        let client = ChildProcess::start(&mut client);
        let running = Running { work, wire, server, client, has_task: false };
        self.running = Some(running);
        let (binary, interface) = (self.binary.clone(), self.interface.clone());
        let running = self.running()?;
        wait_until_ready(running, &binary)?;
        enrol(running, &binary)?;
        let mut choose = running.cli(&binary);
        choose.args(["interface", "choose", CLIENT, &interface]);
        step::output(&mut choose)?;
        let mut create = running.cli(&binary);
        create.args(["datastore", "create", "measured"]).arg(running.work.join("store"));
        step::output(&mut create)?;
        Ok(())
    }

    fn backup(&mut self, source: &Path) -> Result<Cost> {
        let binary = self.binary.clone();
        let running = self.running()?;
        if !running.has_task {
            let mut add = running.cli(&binary);
            step::output(add.args(["task", "add", TASK, "--client", CLIENT]).arg(source))?;
            running.has_task = true;
        }
        self.verb(&["backup", TASK])
    }

    fn restore(&mut self, source: &Path, target: &Path) -> Result<(Cost, PathBuf)> {
        let target_text = target.to_str().context("the working place is not UTF-8")?;
        let cost = self.verb(&["restore", "latest", "--to", target_text])?;
        Ok((cost, target.join(source.strip_prefix("/").unwrap_or(source))))
    }

    fn verify(&mut self) -> Result<Option<Cost>> {
        self.verb(&["verify", "--bytes"]).map(Some)
    }

    /// Into another datastore of the same host, over the port of a drive. Once is enough: the way is the
    /// same whatever the backups went by.
    fn replicate(&mut self, ready: &dyn Fn() -> Result<()>) -> Result<Option<[Cost; 2]>> {
        if self.interface != "http" {
            return Ok(None);
        }
        let binary = self.binary.clone();
        let running = self.running()?;
        let mut create = running.cli(&binary);
        create.args(["datastore", "create", "copies"]).arg(running.work.join("copies"));
        step::output(&mut create)?;
        let mut add = running.cli(&binary);
        add.args(["replication", "add", "twice", "--from", "measured", "--to", "copies"]);
        step::output(&mut add)?;
        ready()?;
        let run = ["replication", "run", "twice"];
        Ok(Some([self.verb(&run)?, self.verb(&run)?]))
    }

    fn sent_mb(&mut self) -> Result<Option<f64>> {
        let binary = self.binary.clone();
        let jobs = step::output(self.running()?.cli(&binary).args(["jobs", "--json"]))?;
        let jobs: serde_json::Value = serde_json::from_slice(&jobs)?;
        let newest = jobs.get(0).context("`jobs` tells of no job")?;
        let sent = newest["progress"]["bytes_wire"].as_f64();
        Ok(Some(sent.context("`jobs` does not tell what a job sent")? / 1e6))
    }

    fn store(&self) -> PathBuf {
        self.running.as_ref().map(|running| running.work.join("store")).unwrap_or_default()
    }

    /// Everything: that is what simsim promises.
    fn promises(&self) -> Aspects {
        Aspects::ALL
    }

    fn finish(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.client.terminate();
            running.server.terminate();
            let _ = running.client.wait(Duration::from_secs(10));
            let _ = running.server.wait(Duration::from_secs(10));
        }
        Ok(())
    }
}

fn wait_until_ready(running: &mut Running, binary: &Path) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        // The client must listen before it joins: it tells the server where.
        if running.client.output().contains("simsim client is ready") {
            let asked = running.cli(binary).args(["status", "--json"]).output();
            if asked.is_ok_and(|output| output.status.success()) {
                return Ok(());
            }
        }
        for daemon in [&mut running.server, &mut running.client] {
            if let Some(status) = daemon.try_wait() {
                bail!("a daemon ended with {status}:\n{}", tail(&daemon.output()));
            }
        }
        if Instant::now() > deadline {
            let (server, client) = (running.server.output(), running.client.output());
            bail!("the daemons are not ready:\n{}\n{}", tail(&server), tail(&client));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn enrol(running: &Running, binary: &Path) -> Result<()> {
    let reply = step::output(running.cli(binary).args(["client", "code", CLIENT, "--json"]))?;
    let reply: serde_json::Value = serde_json::from_slice(&reply)?;
    let code = reply["code"].as_str().context("`client code` printed no code")?;
    let mut join = running.wire.command(binary);
    join.args(["client", "join", "127.0.0.1", "--name", CLIENT, "--code", code, "--state"]);
    step::output(join.arg(running.work.join("client")))?;
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
