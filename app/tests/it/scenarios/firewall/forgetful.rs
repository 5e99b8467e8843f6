//! A firewall between the hosts that forgets a connection on which nothing moved for [`FORGETS`], and
//! drops what comes later: as cheap routers, translators of addresses and clouds do.
//!
//! Each kind of connection of the suite stands idle for much longer, all at the same time, and goes
//! on. A connection of nobody in particular, which does nothing for itself, does not.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use simsim_model::port_registry::{CTRL, DRIVE, FTP, HTTPS, SMSSH};
use simsim_testkit::{ChildProcess, Connection, MIDDLE, has_program, skip};
use simsim_transfer::DataPorts;

use super::{FAR, SECOND, STRANGER, Site, VAULT, WEB, Wish};
use crate::hosts::{PATIENCE, until};

/// Twice the silence after which a keep-alive is sent.
const FORGETS: Duration = Duration::from_secs(30);
/// Nothing of the tools' or the tasks' own is said for so long.
const PAUSE: Duration = Duration::from_secs(75);
/// What a tool sends before the pause, and after it.
const HALF_BYTES: usize = 700_000;

/// The server steers the RDS "far" over CTRL, the RDS "second" over SMSSH, and the client calls it.
/// One transfer at a time by FTP to "far".
fn site() -> Result<Site, String> {
    let of_server = "https = [\"[::]\"]\nftp = [\"[::]\"]\n";
    let (first, _) = DataPorts::default().range();
    let of_far = format!(
        "[listen]\nctrl = [\"::\"]\nftp = [\"::\"]\ndrive = [\"::\"]\n\
         [ftp]\ndata_ports = \"{first}-{}\"\n",
        first + 1
    );
    let wish = Wish {
        server: of_server,
        device: &of_far,
        web_joins: &["--outbound"],
        second: Some(""),
        ..Wish::default()
    };
    let site = Site::build(&wish)?;
    site.server.must("client.set", json!({ "name": FAR, "access_mode": "ctrl" }));
    let own = site.scratch.path().join("own");
    site.server.must("datastore.create", json!({ "name": "own", "node": VAULT, "path": own }));
    let address = site.network.address(VAULT);
    let both = [format!("https://{address}"), format!("ftpes://{address}")];
    site.server.must("interface.set", json!({ "host": VAULT, "interfaces": both }));
    Ok(site)
}

/// What stands still until a file is there.
struct Held<'s> {
    site: &'s Site,
    go: PathBuf,
}

impl Held<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.site.scratch.path().join(name)
    }

    /// A shell's loop until the file is there.
    fn until_go(&self, then: &str) -> String {
        format!("while [ ! -e {} ]; do {then}; done", self.go.display())
    }

    /// Tasks of "second" whose data comes from these scripts, by an interface of "far".
    fn tasks(&self, tasks: &[(&str, &str, String)]) {
        let state = &self.site.second.as_ref().unwrap().state;
        let mut policy = String::new();
        for (name, _, script) in tasks {
            policy += &format!("[commands.{name}]\nrun = [\"/bin/sh\", \"-c\", {script:?}]\n");
        }
        std::fs::create_dir_all(state.join("client")).unwrap();
        std::fs::write(state.join("client/policy.toml"), policy).unwrap();
        for (name, interface, _) in tasks {
            let options = json!({ "stream_command": name, "interfaces": [interface] });
            let task = json!({
                "name": name, "client": SECOND, "kind": "stream", "sources": [name],
                "datastore": "main", "options": options
            });
            self.site.server.must("task.add", task);
        }
    }

    /// An external task into a datastore, and the settings of curl that open it.
    fn external(&self, name: &str, datastore: &str, url: &str) -> Command {
        let task = json!({
            "name": name, "client": WEB, "kind": "stream", "sources": [name],
            "datastore": datastore, "options": { "external": true }
        });
        self.site.server.must("task.add", task);
        let request = json!({ "name": name, "task": name, "allow": "both" });
        let made = self.site.server.must("token.create", request);
        let secret = made["secret"].as_str().unwrap();
        let config = self.file(&format!("{name}.conf"));
        std::fs::write(&config, format!("user = \"tool:{secret}\"\n")).unwrap();
        let authority = self.site.server.must("interface.authority", Value::Null);
        let certificate = authority["certificate"].as_str().unwrap();
        std::fs::write(self.file("ca.pem"), certificate).unwrap();
        let mut curl = Command::new("curl");
        // The tool's own keep-alives prove nothing.
        curl.args(["-sS", "--fail-with-body", "--ssl-reqd", "--no-keepalive", "--config"]);
        curl.arg(config).arg("--cacert").arg(self.file("ca.pem"));
        curl.args(["-T", "-", &format!("{url}/{name}")]);
        curl
    }

    /// curl on the client's host, which stores what a script prints.
    fn curl(&self, producer: &str, curl: &Command) -> ChildProcess {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{{ {producer}; }} | \"$@\""), "sh"]);
        shell.arg(curl.get_program()).args(curl.get_args());
        ChildProcess::start(&mut self.site.network.on(WEB, &shell))
    }

    /// The newest job of a task.
    fn job(&self, task: &str) -> Value {
        let jobs = self.site.server.must("job.list", json!({ "task": task, "limit": 1 }));
        jobs[0].clone()
    }

    fn until_moving(&self, task: &str) {
        until(&format!("data of '{task}' moves"), || {
            self.job(task)["progress"]["bytes_read"].as_u64() > Some(0)
        });
    }
}

/// A way on which connections are open now.
struct Way {
    from: &'static str,
    to: &'static str,
    ports: RangeInclusive<u16>,
    open: BTreeSet<(SocketAddr, SocketAddr)>,
}

impl Way {
    /// Connections that `from` has dialled; at least `least` of them.
    fn new(
        site: &Site,
        from: &'static str,
        to: &'static str,
        ports: RangeInclusive<u16>,
        least: usize,
    ) -> Self {
        let mut way = Self { from, to, ports, open: BTreeSet::new() };
        until(&format!("{from} has {least} connections to {to}, {:?}", way.ports), || {
            way.open = way.now(site).iter().map(|one| (one.local, one.remote)).collect();
            way.open.len() >= least
        });
        way
    }

    fn now(&self, site: &Site) -> Vec<Connection> {
        let to = IpAddr::V4(site.network.address(self.to));
        let is_it =
            |one: &Connection| one.remote.ip() == to && self.ports.contains(&one.remote.port());
        site.network.connections(self.from).into_iter().filter(is_it).collect()
    }

    /// The same connections, and on each one end has heard the other since the firewall would have
    /// forgotten it. An end that only answers keep-alives hears nothing by its own count.
    fn held(&self, site: &Site) {
        let now = self.now(site);
        let there = site.network.connections(self.to);
        let title = format!("{} to {}, {:?}", self.from, self.to, self.ports);
        for (local, remote) in &self.open {
            let same = now.iter().find(|one| (&one.local, &one.remote) == (local, remote));
            let same = same.unwrap_or_else(|| panic!("{title}: lost {local} of {now:#?}"));
            let other = there.iter().find(|one| (&one.local, &one.remote) == (remote, local));
            let other = other.unwrap_or_else(|| panic!("{title}: {local} has one end: {there:#?}"));
            assert!(same.heard.min(other.heard) < FORGETS, "{title}: {same:?}, {other:?}");
        }
    }
}

/// A connection of nobody in particular, from a stranger to the client's host.
struct Plain {
    from: TcpStream,
    to: TcpStream,
}

impl Plain {
    /// The port is opened beside the plan's on both firewalls that are in the way.
    fn new(site: &Site) -> Self {
        let bind = || TcpListener::bind("0.0.0.0:0").unwrap();
        let listener = site.network.inside(WEB, bind);
        let port = listener.local_addr().unwrap().port();
        for (place, chain) in [(MIDDLE, "forward"), (WEB, "input")] {
            let rule =
                format!("insert rule inet simsim {chain} tcp dport {port} ct state new accept\n");
            site.network.load(place, &rule).unwrap();
        }
        let address = SocketAddr::new(IpAddr::V4(site.network.address(WEB)), port);
        let connect = || TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        let from = site.network.inside(STRANGER, connect);
        let (to, _) = listener.accept().unwrap();
        let mut plain = Self { from, to };
        assert_eq!(plain.carries(b'a', PATIENCE), Ok(b'a'));
        plain
    }

    /// Sends a byte, and answers what arrives within this time.
    fn carries(&mut self, byte: u8, patience: Duration) -> Result<u8, ErrorKind> {
        self.from.write_all(&[byte]).map_err(|error| error.kind())?;
        self.arrives(patience)
    }

    fn arrives(&mut self, patience: Duration) -> Result<u8, ErrorKind> {
        self.to.set_read_timeout(Some(patience)).unwrap();
        let mut read = [0];
        self.to.read_exact(&mut read).map_err(|error| error.kind())?;
        Ok(read[0])
    }
}

fn half(path: &Path, skip: usize) -> String {
    format!("tail -c +{} {} | head -c {HALF_BYTES}", skip + 1, path.display())
}

#[test]
fn firewall_that_forgets_idle_connections() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let site = match site() {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let held = Held { site: &site, go: site.scratch.path().join("go") };
    let idle = held.until_go("sleep 0.1");
    // The classic failure: data moves all the time, and the control connection beside it is silent.
    let busy = held.until_go("head -c 65536 /dev/urandom; sleep 0.25");
    held.tasks(&[
        ("busy", "ftp", format!("{busy}; echo done")),
        ("turn", "ftp", "echo done".to_owned()),
        ("slow", "drive", format!("head -c 300000 /dev/urandom; {idle}; echo done")),
    ]);
    let address = site.network.address(VAULT);
    let https = format!("https://{address}:{}/v1/streams", HTTPS.ports.first());
    let ftp = format!("ftp://{address}:{}", FTP.ports.first());
    let by_https = held.external("by-https", "main", &https);
    let by_ftp = held.external("by-ftp", "own", &ftp);
    let long = held.external("long", "own", &ftp);
    site.apply();
    site.settle();
    for (name, value) in [("timeout_established", FORGETS.as_secs()), ("loose", 0)] {
        let name = format!("net.netfilter.nf_conntrack_tcp_{name}");
        site.network.sysctl(MIDDLE, &name, &value.to_string()).unwrap();
    }

    let dump = held.file("dump");
    let noise = simsim_testkit::Rng::new(5).bytes(2 * HALF_BYTES);
    std::fs::write(&dump, &noise).unwrap();
    let halves = format!("{}; {idle}; {}", half(&dump, 0), half(&dump, HALF_BYTES));
    let mut tools =
        [held.curl(&halves, &by_https), held.curl(&halves, &by_ftp), held.curl(&busy, &long)];
    let run = |task: &str| site.server.must("task.run", json!({ "task": task }));
    let busy = run("busy");
    held.until_moving("busy");
    let (turn, slow) = (run("turn"), run("slow"));
    for task in ["slow", "by-https", "by-ftp", "long"] {
        held.until_moving(task);
    }
    until("a transfer waits for its turn", || {
        let shown = site.server.must("job.show", json!({ "job": turn["job"] }));
        shown["waits"].as_str().is_some_and(|waits| waits.contains("data ports are in use"))
    });

    let mut plain = Plain::new(&site);
    let one = |row: &simsim_model::port_registry::Listen| row.ports.first()..=row.ports.first();
    let range = DataPorts::default().range();
    let (data, drive) = (range.0..=range.1, DRIVE.ports.for_drive(1).unwrap());
    let control = [
        Way::new(&site, VAULT, FAR, one(&CTRL), 1),
        Way::new(&site, VAULT, SECOND, one(&SMSSH), 1),
    ];
    let jobs = [
        // The call of the client, and a tool.
        Way::new(&site, WEB, VAULT, one(&HTTPS), 2),
        Way::new(&site, WEB, VAULT, one(&FTP), 2),
        Way::new(&site, WEB, VAULT, data.clone(), 2),
        // A pipe has two of each; another one waits for its data ports.
        Way::new(&site, SECOND, FAR, one(&FTP), 3),
        Way::new(&site, SECOND, FAR, data, 2),
    ];
    std::thread::sleep(PAUSE);
    for way in control.iter().chain(&jobs) {
        way.held(&site);
    }
    // So it does forget.
    assert_eq!(plain.carries(b'b', Duration::from_secs(2)), Err(ErrorKind::WouldBlock));

    std::fs::write(&held.go, "").unwrap();
    for job in [&busy, &turn, &slow] {
        let ended = site.server.ended(job);
        assert_eq!(ended["state"], "finished", "{ended:#}");
    }
    for tool in &mut tools {
        let status = tool.wait(PATIENCE);
        assert!(status.is_some_and(|status| status.success()), "{status:?}: {}", tool.output());
    }
    for (task, datastore) in [("by-https", "main"), ("by-ftp", "own"), ("long", "own")] {
        let job = held.job(task);
        assert_eq!(job["state"], "finished", "{datastore}: {job:#}");
        if task != "long" {
            let savesets = site.server.must("saveset.list", json!({ "task": task }));
            assert_eq!(savesets[0]["bytes"], noise.len(), "{savesets:#}");
        }
    }
    // No transfer had to go on with another line than it began with.
    let second = site.second.as_ref().unwrap();
    let log = second.process.output();
    assert!(!log.contains("the pipe has ended"), "{log}");
    assert!(site.device.process.output().contains("door=\"drive\""), "port {drive}");
    // The way of control is that of before, and everything goes on upon it.
    site.works();
    for way in control.iter().chain(&jobs[..1]) {
        let title = format!("{} to {}", way.from, way.to);
        let now: BTreeSet<_> = way.now(&site).iter().map(|one| (one.local, one.remote)).collect();
        assert!(way.open.intersection(&now).count() >= 1, "{title}: {:?}, {now:?}", way.open);
    }
    assert_eq!(plain.arrives(Duration::from_millis(1)), Err(ErrorKind::WouldBlock));
}
