//! Hosts behind firewalls that drop by default and are opened by the output of `simsim ports plan`,
//! and by nothing else: one firewall between the hosts, and one on each host.
//!
//! A scenario is a configuration. [`Site::new`] makes the hosts and lets them join through the
//! firewalls; the scenario configures what it is about; [`Site::works`] is a backup, a look, a
//! restore and a check; [`Site::is_tight`] scans every port of every host; [`Site::each_rule_matters`]
//! closes one planned rule after the other, and reads the error that comes of it.

mod captures;
mod ctrl_ftp;
mod drive_port;
mod external_stream;
mod forgetful;
mod https_only;
mod ipv6;
mod outbound;
mod replication;
mod smssh_http;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use simsim_model::port_plan::{PlanRow, PortPlan};
use simsim_model::port_registry::{CTRL, FTP, FTP_DATA, HTTPS, Host as Role, LISTEN, SMSSH};
use simsim_testkit::{ChildProcess, MIDDLE, Network, compare_trees, open_ports};

use crate::hosts::{Daemon, PATIENCE, assert_done, simsim, until};

/// The server, the RDS with the datastore, the client with the source, and somebody else.
const VAULT: &str = "vault";
const FAR: &str = "far";
const WEB: &str = "web";
const STRANGER: &str = "stranger";
/// Another RDS, where a scenario has one.
const SECOND: &str = "second";

/// An open port answers at once; a closed one never.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
const CLOSED_PATIENCE: Duration = Duration::from_millis(1500);

/// What is special about a scenario. In texts `{vault}` and `{far}` stand for addresses.
#[derive(Default)]
pub struct Wish<'w> {
    /// Listeners of the server beside the usual ones.
    pub server: &'w str,
    /// Settings of the RDS and of the client.
    pub device: &'w str,
    pub client: &'w str,
    /// What the client says when it joins.
    pub web_joins: &'w [&'w str],
    /// Another RDS with these settings.
    pub second: Option<&'w str>,
    /// The suite knows addresses of IPv6 only.
    pub six: bool,
    /// The client is behind a translator of addresses.
    pub hidden: bool,
}

/// The hosts of a scenario.
pub struct Site {
    network: Network,
    six: bool,
    scratch: tempfile::TempDir,
    pub server: Daemon,
    pub device: Daemon,
    pub client: Daemon,
    pub second: Option<Daemon>,
    pub source: PathBuf,
}

impl Site {
    /// Every host has joined; the datastore "main" is on the RDS, the task "home" at the client.
    /// The firewalls are those of the plan. The error says why this cannot be here.
    pub fn new() -> Result<Self, String> {
        Self::build(&Wish::default())
    }

    /// With settings of the RDS.
    pub fn with_settings(device: &str) -> Result<Self, String> {
        Self::build(&Wish { device, ..Wish::default() })
    }

    /// With settings of the RDS and of the client.
    pub fn with(device: &str, client: &str) -> Result<Self, String> {
        Self::build(&Wish { device, client, ..Wish::default() })
    }

    /// With listeners of the server beside the usual ones, settings of the RDS, and what the client
    /// says when it joins.
    pub fn configured(server: &str, device: &str, web_joins: &[&str]) -> Result<Self, String> {
        Self::build(&Wish { server, device, web_joins, ..Wish::default() })
    }

    /// With another RDS and its settings.
    pub fn with_second(device: &str, second: &str) -> Result<Self, String> {
        Self::build(&Wish { device, second: Some(second), ..Wish::default() })
    }

    pub fn build(wish: &Wish<'_>) -> Result<Self, String> {
        let mut hosts = vec![VAULT, FAR, WEB, STRANGER];
        hosts.extend(wish.second.map(|_| SECOND));
        let mut network = Network::routed(&hosts)?;
        if wish.hidden {
            network.hide(WEB)?;
        }
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let folder = |name: &str| scratch.path().join(name);
        let at = |host: &str| address(&network, host, wish.six);
        let filled = |text: &str| {
            let url = |host: &str| SocketAddr::new(at(host), 0).to_string().replace(":0", "");
            text.replace("{vault}", &url(VAULT)).replace("{far}", &url(FAR))
        };
        let advertise = at(VAULT);
        let settings = format!(
            "name = \"{VAULT}\"\n[server]\nadvertise = [\"{advertise}\"]\nsilent_grace_s = 5\n\
             [listen]\n{}",
            wish.server
        );
        let web_joins: Vec<String> = wish.web_joins.iter().map(|text| filled(text)).collect();
        let second = wish.second.map(|settings| (SECOND, settings));
        let all = [(VAULT, settings.as_str()), (FAR, wish.device), (WEB, wish.client)];
        for (host, settings) in all.into_iter().chain(second) {
            std::fs::create_dir_all(folder(host)).map_err(|error| error.to_string())?;
            std::fs::write(folder(host).join("simsim.toml"), filled(settings))
                .map_err(|error| error.to_string())?;
        }
        let server = daemon(&network, VAULT, "server", &folder(VAULT));
        let device = daemon(&network, FAR, "rds", &folder(FAR));
        let client = daemon(&network, WEB, "client", &folder(WEB));
        let second = second.map(|_| daemon(&network, SECOND, "rds", &folder(SECOND)));
        let source = folder("source");
        let six = wish.six;
        let site = Self { network, six, scratch, server, device, client, second, source };
        site.apply();
        site.join(FAR, &site.device.state, &[]);
        site.join(WEB, &site.client.state, &web_joins);
        if let Some(second) = &site.second {
            site.join(SECOND, &second.state, &[]);
        }
        if !web_joins.is_empty() {
            // Its listener was open before it had joined.
            let mut site = site;
            assert_eq!(site.client.stop(), 0, "{}", site.client.process.output());
            site.client = daemon(&site.network, WEB, "client", &site.client.state.clone());
            site.apply();
            site.server.until_connected(WEB);
            return site.with_data();
        }
        site.with_data()
    }

    /// The datastore and the task.
    fn with_data(self) -> Result<Self, String> {
        let site = self;
        let store = site.scratch.path().join("store");
        site.server.must("datastore.create", json!({ "name": "main", "node": FAR, "path": store }));
        std::fs::create_dir_all(site.source.join("sub/empty")).unwrap();
        let noise = simsim_testkit::Rng::new(7).bytes(3 << 20);
        std::fs::write(site.source.join("sub/noise"), noise).unwrap();
        std::fs::write(site.source.join("text"), "a line of text\n".repeat(3000)).unwrap();
        site.server.add_task("home", WEB, &site.source);
        // What a scenario still has to choose may be missing.
        site.load(&site.plan());
        Ok(site)
    }

    /// Through the firewall: it is opened for hosts that join while the code is valid.
    fn join(&self, name: &str, state: &Path, more: &[String]) {
        let calls = more.iter().any(|one| one.starts_with("--outbound"));
        let code = match calls {
            true => self.server.outbound_code(name),
            false => self.server.join_code(name),
        };
        self.apply();
        // What a host that joins may dial is one port, and it is the one for its access mode; who joins by
        // way of an RDS dials that one.
        let joins: Vec<String> =
            self.rows().iter().filter(|row| row.from.anywhere).map(PlanRow::title).collect();
        let row = if calls { &HTTPS } else { &SMSSH };
        let over_relay = more.iter().any(|one| one.contains('='));
        let doors = [VAULT, FAR].into_iter().take(if over_relay { 2 } else { 1 });
        let mut expected: Vec<String> = doors
            .map(|to| format!("{}: hosts that join to {to}, port {}", row.id, row.ports.first()))
            .collect();
        expected.sort();
        assert_eq!(joins, expected);
        let mut join = simsim();
        let server = self.address(VAULT).to_string();
        join.args(["client", "join", &server, "--code", &code, "--name", name, "--state"]);
        join.arg(state).args(more);
        assert_done(&self.network.on(name, &join).output().unwrap());
        self.apply();
        self.server.until_connected(name);
    }

    /// Output of a verb on the server's host.
    fn says(&self, arguments: &[&str]) -> String {
        let output = run(simsim().arg("--state").arg(&self.server.state).args(arguments));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn plan(&self) -> PortPlan {
        serde_json::from_str(&self.says(&["ports", "plan", "--json"])).unwrap()
    }

    /// The rows that firewalls see.
    fn rows(&self) -> Vec<PlanRow> {
        self.plan().rows.into_iter().filter(|row| !row.local).collect()
    }

    /// Loads the plan as it is now on every firewall.
    pub fn apply(&self) {
        let plan = self.plan();
        // CTRL is warned of wherever it is used.
        let others: Vec<_> = plan.warnings.iter().filter(|one| !one.contains("CTRL")).collect();
        assert_eq!(others, Vec::<&String>::new());
        self.load(&plan);
    }

    fn load(&self, plan: &PortPlan) {
        self.network.load(MIDDLE, &self.rules(None)).unwrap();
        for host in &plan.hosts {
            self.network.load(&host.name, &self.rules(Some(&host.name))).unwrap();
        }
    }

    fn rules(&self, host: Option<&str>) -> String {
        let mut arguments = vec!["ports", "plan", "--format", "nft"];
        arguments.extend(host.into_iter().flat_map(|host| ["--host", host]));
        self.says(&arguments)
    }

    /// Loads the plan without one row on one firewall.
    fn close(&self, row: &PlanRow, host: Option<&str>) {
        let of = format!("\"simsim {}: {} to {}\"", row.row, row.from.name, row.to.name);
        let ports = format!("dport {} ", row.ports());
        let all = self.rules(host);
        let is_it = |line: &&str| line.contains(&of) && line.contains(&ports);
        assert!(all.lines().any(|line| is_it(&line)), "{}: {all}", row.title());
        let rest: Vec<&str> = all.lines().filter(|line| !is_it(line)).collect();
        self.network.load(host.unwrap_or(MIDDLE), &(rest.join("\n") + "\n")).unwrap();
    }

    /// A backup, a look into the saveset, a restore and a check go well.
    pub fn works(&self) {
        let backup = self.server.backup("home");
        assert_eq!(backup["state"], "finished", "{backup:#}");
        let listing = self.says(&["ls", "home", self.source.to_str().unwrap()]);
        assert!(listing.contains("text"), "{listing}");
        let target = self.scratch.path().join("restored");
        let _ = std::fs::remove_dir_all(&target);
        let request = json!({ "task": "home", "target": target });
        let restore = self.server.ended(&self.server.must("restore", request));
        assert_eq!(restore["state"], "finished", "{restore:#}");
        let copy = target.join(self.source.strip_prefix("/").unwrap());
        assert_eq!(compare_trees(&self.source, &copy), []);
        let check = json!({ "datastore": "main", "depth": "bytes" });
        let verify = self.server.ended(&self.server.must("datastore.verify", check));
        assert_eq!(verify["state"], "finished", "{verify:#}");
    }

    /// All 65,535 ports of every host, from every other one: what is planned is open, and nothing
    /// else is. A host's own look at itself finds the listeners of its role, and no other.
    pub fn is_tight(&self) {
        let rows = self.rows();
        let mut hosts = vec![(VAULT, Role::Server), (FAR, Role::Rds), (WEB, Role::Client)];
        hosts.extend(self.second.as_ref().map(|_| (SECOND, Role::Rds)));
        let mut names: Vec<&str> = hosts.iter().map(|(name, _)| *name).collect();
        names.push(STRANGER);
        for (to, role) in hosts {
            let four = IpAddr::V4(self.network.address(to));
            let addresses = [four, IpAddr::V6(self.network.address6(to))];
            for from in names.iter().copied().filter(|from| *from != to) {
                for (address, open) in self.scanned(from, &addresses) {
                    let leads_there = |row: &&PlanRow| {
                        let who = row.from.name == from || row.from.anywhere;
                        who && row.to.name == to && row.to.addresses.contains(&address)
                    };
                    let planned: BTreeSet<u16> = rows
                        .iter()
                        .filter(leads_there)
                        .flat_map(|row| row.first_port..=row.last_port)
                        .collect();
                    let other: Vec<_> = open.difference(&planned).collect();
                    let way = format!("{from} to {to} at {address}");
                    assert!(other.is_empty(), "{way}: {other:?} are open and not planned");
                }
            }
            let listeners = self.listeners(to, role);
            for (address, open) in self.scanned(to, &self.network.own_addresses(to)) {
                let takes = |one: &&SocketAddr| match one.ip() {
                    IpAddr::V6(six) => six.is_unspecified() || address == six,
                    IpAddr::V4(four) => {
                        address == four || four.is_unspecified() && address.is_ipv4()
                    }
                };
                let told: BTreeSet<u16> =
                    listeners.iter().filter(takes).map(SocketAddr::port).collect();
                assert_eq!(open, told, "{to} listens at {address} on what it does not tell of");
            }
        }
        for row in &rows {
            assert!(self.is_open(row, OPEN_PATIENCE), "{} is planned and closed", row.title());
        }
    }

    /// What is open at some addresses, seen from a host.
    fn scanned(&self, from: &str, addresses: &[IpAddr]) -> Vec<(IpAddr, BTreeSet<u16>)> {
        // One after the other: a scan takes as many descriptors as a process may have.
        let scan = |address: IpAddr| self.network.inside(from, || open_ports(address)).unwrap();
        addresses.iter().map(|one| (*one, scan(*one).into_iter().collect())).collect()
    }

    /// What a host says that it listens on beyond loopback: rows of its role and no other.
    fn listeners(&self, host: &str, role: Role) -> Vec<SocketAddr> {
        let state = match host {
            VAULT => &self.server.state,
            FAR => &self.device.state,
            SECOND => &self.second.as_ref().unwrap().state,
            _ => &self.client.state,
        };
        let open = self.document(host, state, &["ports", "list"]);
        let mut listeners = Vec::new();
        for one in open.as_array().unwrap().iter().filter(|one| one["way"] == "listens") {
            let row = LISTEN.iter().find(|row| one["row"] == row.id).unwrap();
            assert!(row.on.contains(&role), "{host} has no business with {one:#}");
            let address: SocketAddr = one["local"].as_str().unwrap().parse().unwrap();
            if !address.ip().is_loopback() {
                listeners.push(address);
            }
        }
        listeners
    }

    fn is_open(&self, row: &PlanRow, patience: Duration) -> bool {
        // A port for FTP data is open while a transfer waits for its connection: here somebody does.
        let _listener = (row.row == FTP_DATA.id).then(|| {
            let any = std::net::Ipv6Addr::UNSPECIFIED;
            let bind = || std::net::TcpListener::bind((any, row.first_port)).unwrap();
            self.network.inside(&row.to.name, bind)
        });
        let to = SocketAddr::new(self.address(&row.to.name), row.first_port);
        self.network.connects(&row.from.name, to, patience)
    }

    /// Where a host is seen by the suite.
    pub fn address(&self, host: &str) -> IpAddr {
        address(&self.network, host, self.six)
    }

    /// Closes each planned row on the firewall between the hosts: exactly that way is closed, and
    /// what needs it fails with an error that names the port, the direction and the two hosts.
    pub fn each_rule_matters(&mut self) {
        self.each_rule_matters_to(|_, _| false);
    }

    /// As [`Site::each_rule_matters`], with somebody else's tool: it looks what a closed row does to it, and
    /// answers whether nothing of the suite's own uses that row.
    pub fn each_rule_matters_to(&mut self, tool: impl Fn(&Self, &PlanRow) -> bool) {
        for row in self.rows() {
            self.close(&row, None);
            self.exactly_closed(&row);
            self.probe_says(&row, "filtered");
            if !tool(self, &row) {
                let said = self.failure_of(&row);
                let (from, to) = (&row.from.name, &row.to.name);
                let words = format!(
                    "'{from}' does not reach '{to}' on TCP port {} ({})",
                    row.ports(),
                    row.row
                );
                assert!(said.contains(&words), "{words}\n{said}");
            }
            self.apply();
            self.settle();
        }
        self.works();
    }

    /// The same on the hosts' own firewalls, where each row is one rule at either end.
    pub fn each_host_rule_matters(&self) {
        for row in self.rows() {
            for host in [row.from.name.clone(), row.to.name.clone()] {
                self.close(&row, Some(&host));
                self.exactly_closed(&row);
                self.network.load(&host, &self.rules(Some(&host))).unwrap();
            }
        }
    }

    /// What a probe finds: rows with their states and messages.
    pub fn probed(&self) -> Vec<(String, String, Value)> {
        let mut probe = simsim();
        probe.arg("--state").arg(&self.server.state).args(["ports", "probe", "--json"]);
        let output = run(&mut probe);
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        crate::cli::documents::check("ProbeReport", &document);
        let rows = document["rows"].as_array().unwrap().clone();
        let is_good = |row: &Value| row["state"] == "open" || row["state"] == "not_tried";
        let good = rows.iter().all(is_good);
        assert_eq!(output.status.code(), Some(if good { 0 } else { 3 }), "{document:#}");
        let rows = rows.into_iter().map(|row| {
            let ports = match row["first_port"] == row["last_port"] {
                true => row["first_port"].to_string(),
                false => format!("{}-{}", row["first_port"], row["last_port"]),
            };
            let title = format!(
                "{}: {} to {}, port {ports}",
                row["row"].as_str().unwrap(),
                row["from"].as_str().unwrap(),
                row["to"].as_str().unwrap(),
            );
            (title, row["state"].as_str().unwrap().to_owned(), row)
        });
        rows.collect()
    }

    /// A probe finds every row open but this one.
    pub fn probe_says(&self, row: &PlanRow, state: &str) {
        // A host tries ways again after a moment only.
        std::thread::sleep(Duration::from_millis(1200));
        for (title, found, all) in self.probed() {
            let expected = match title == row.title() {
                true => state,
                // Without its control port nothing is found out about the data.
                false if row.row == FTP.id && is_data_of(&all, row) => "no_way",
                false => "open",
            };
            assert_eq!(found, expected, "{title}: {all:#}");
        }
    }

    fn exactly_closed(&self, closed: &PlanRow) {
        for row in self.rows() {
            let is_it = row == *closed;
            let patience = if is_it { CLOSED_PATIENCE } else { OPEN_PATIENCE };
            let (now, without) = (row.title(), closed.title());
            assert_eq!(self.is_open(&row, patience), !is_it, "{now}, without {without}");
        }
    }

    /// Uses a row that is closed, and answers how that failed.
    fn failure_of(&mut self, row: &PlanRow) -> String {
        // In active mode it is the device that calls for data.
        let data_to_server = row.row == FTP_DATA.id && row.to.name == VAULT;
        let by_server = row.from.name == VAULT || data_to_server;
        let calls = [WEB, FAR].contains(&row.from.name.as_str()) && row.to.name == VAULT;
        let calls = calls && row.row == HTTPS.id;
        if row.row == SMSSH.id || row.row == CTRL.id || calls {
            // Sessions that are open outlive a rule: the server has to dial anew.
            self.restart_server();
        } else if by_server {
            let folder = self.source.to_str().unwrap();
            let output =
                run(simsim().arg("--state").arg(&self.server.state).args(["ls", "home", folder]));
            assert_eq!(output.status.code(), Some(8), "{output:?}");
            return String::from_utf8(output.stderr).unwrap();
        }
        let job = self.server.backup("home");
        assert_eq!(job["state"], "failed", "{job:#}");
        assert_eq!(job["error"]["kind"], "unreachable", "{job:#}");
        job["error"]["message"].as_str().unwrap().to_owned()
    }

    fn restart_server(&mut self) {
        assert_eq!(self.server.stop(), 0, "{}", self.server.process.output());
        self.server = daemon(&self.network, VAULT, "server", &self.server.state.clone());
    }

    /// Every host is reached again.
    fn settle(&self) {
        let second = self.second.as_ref().map(|_| SECOND);
        for host in [FAR, WEB].into_iter().chain(second) {
            until(&format!("{host} is reached again"), || self.server.is_connected(host));
        }
    }

    /// A verb of the command line on a host, read as a document.
    pub fn document(&self, host: &str, state: &Path, arguments: &[&str]) -> Value {
        let mut command = simsim();
        command.arg("--state").arg(state).args(arguments).arg("--json");
        let output = self.network.on(host, &command).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{host} {arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Is it the row for FTP data of this row's control connections?
fn is_data_of(probed: &Value, control: &PlanRow) -> bool {
    let ends = [control.from.name.as_str(), control.to.name.as_str()];
    let (from, to) = (probed["from"].as_str().unwrap(), probed["to"].as_str().unwrap());
    probed["row"] == FTP_DATA.id && ends.contains(&from) && ends.contains(&to)
}

fn address(network: &Network, host: &str, six: bool) -> IpAddr {
    match six {
        true => network.address6(host).into(),
        false => network.address(host).into(),
    }
}

fn daemon(network: &Network, host: &str, role: &'static str, state: &Path) -> Daemon {
    let mut command = simsim();
    command.arg("--state").arg(state).arg(role);
    let process = ChildProcess::start(&mut network.on(host, &command));
    process.wait_for_line("is ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    Daemon::of(process, role, state, SMSSH.ports.first())
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}
