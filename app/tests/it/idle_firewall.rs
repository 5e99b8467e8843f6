//! Sessions that say nothing for long, through a firewall that forgets what is idle; hosts with
//! several addresses, of both families.
//!
//! The router between a server and a client forgets a connection after 20 s without a packet
//! (firewalls of the trade: five minutes and more). Ours have a packet each 8 s.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use simsim_model::port_registry::{CTRL, HTTP, SMSSH};
use simsim_testkit::{ChildProcess, MIDDLE, Network, free_ports, skip};

use crate::hosts::{Daemon, PATIENCE, assert_done, simsim, tree, until};

/// The router's memory of a connection.
const FORGOTTEN_AFTER_S: u32 = 20;
/// A silence that the router does not outlast.
const SILENCE: Duration = Duration::from_secs(30);

/// A server and a client, with a firewall between them that forgets.
struct Site {
    network: Network,
    scratch: tempfile::TempDir,
}

const SERVER: &str = "vault";
const CLIENT: &str = "web";

impl Site {
    /// The error says why this machine cannot have it.
    fn new() -> Result<Self, String> {
        let network = Network::routed(&[SERVER, CLIENT])?;
        let (smssh, ctrl, http) = (SMSSH.ports.first(), CTRL.ports.first(), HTTP.ports.first());
        // The links of the router are named after their hosts' numbers.
        let rules = format!(
            "table inet firewall {{\n\
             chain pass {{\n\
             type filter hook forward priority 0; policy drop;\n\
             ct state established,related accept\n\
             meta l4proto icmpv6 accept\n\
             iifname port1 oifname port2 ct state new tcp dport {{ {smssh}, {ctrl} }} accept\n\
             iifname port2 oifname port1 ct state new tcp dport {{ {smssh}, {http} }} accept\n\
             }}\n}}\n"
        );
        network.load(MIDDLE, &rules)?;
        // What it forgot it does not take up again from a packet in the middle.
        let forget = format!(
            "cd /proc/sys/net/netfilter && echo {FORGOTTEN_AFTER_S} > \
             nf_conntrack_tcp_timeout_established && echo 0 > nf_conntrack_tcp_loose"
        );
        let mut shell = Command::new("sh");
        shell.args(["-c", &forget]);
        let output = network.on(MIDDLE, &shell).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err("connections cannot be tracked here".to_owned());
        }
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self { network, scratch })
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// `simsim` on a host, with its state.
    fn simsim(&self, host: &str, arguments: &[&str]) -> Command {
        let mut command = simsim();
        command.arg("--state").arg(self.folder(host)).args(arguments);
        self.network.on(host, &command)
    }

    fn start(&self, host: &str, role: &str) -> ChildProcess {
        let process = ChildProcess::start(&mut self.simsim(host, &[role]));
        process.wait_for_line("is ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        process
    }
}

fn settings(state: &Path, text: &str) {
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join("simsim.toml"), text).unwrap();
}

#[test]
fn net01_sessions_that_are_silent_for_long_live_on_behind_a_firewall_that_forgets() {
    let site = match Site::new() {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let folder = |name: &str| site.folder(name);
    settings(&folder(CLIENT), "[listen]\nctrl = [\"::\"]\n");
    settings(&folder(SERVER), "[server]\nadvertise = [\"fd77:1::2\", \"10.77.1.2\"]\n");
    let wait = format!("echo begun; while [ ! -e {} ]; do sleep 0.1; done", folder("go").display());
    let policy = format!("[commands.wait]\nrun = [\"/bin/sh\", \"-c\", {wait:?}]\n");
    std::fs::create_dir_all(folder(CLIENT).join("client")).unwrap();
    std::fs::write(folder(CLIENT).join("client/policy.toml"), policy).unwrap();
    let process = site.start(SERVER, "server");
    let server = Daemon::of(process, "server", &folder(SERVER), SMSSH.ports.first());
    let client = site.start(CLIENT, "client");
    let code = server.join_code("web");
    let join = ["client", "join", "fd77:1::2", "--code", &code, "--name", "web"];
    assert_done(&site.simsim(CLIENT, &join).output().unwrap());
    server.until_connected("web");
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    server.must(
        "task.add",
        json!({
            "name": "waits", "client": "web", "kind": "stream", "sources": ["/wait"],
            "options": { "stream_command": "wait" }
        }),
    );
    // Addresses in order: nobody answers at the first, the second is of the other family.
    let addresses = json!({ "name": "web", "addresses": ["10.77.2.99", "fd77:2::2", "10.77.2.2"] });
    server.must("client.addresses", addresses);
    for mode in ["smssh", "ctrl"] {
        server.must("client.set", json!({ "name": "web", "access_mode": mode }));
        server.until_connected("web");
        let ended_before = server.process.output().matches("the control session ended").count();
        let job = server.must("task.run", json!({ "task": "waits" }));
        let log = || server.must("job.log", json!({ "job": job["job"] })).to_string();
        until("the client works", || log().contains("backup of"));
        // Neither the control session nor the transfer has anything to say.
        std::thread::sleep(SILENCE);
        std::fs::write(folder("go"), "").unwrap();
        let ended = server.ended(&job);
        assert_eq!(ended["state"], "finished", "{mode}: {ended:#}\n{}", client.output());
        assert!(!log().contains("no word"), "{mode}: {}", log());
        let said = server.process.output();
        let ended_now = said.matches("the control session ended").count();
        assert_eq!(ended_now, ended_before, "{mode}: {said}");
        std::fs::remove_file(folder("go")).unwrap();
    }
}

/// One host with listeners on `[::]`: it is reached by IPv4 and by IPv6, over every channel.
#[test]
fn listeners_on_all_addresses_are_reached_by_ipv4_and_by_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("this machine has no IPv6");
    }
    let scratch = tempfile::tempdir().unwrap();
    let folder = |name: &str| -> PathBuf { scratch.path().join(name) };
    let ports = free_ports(6);
    let [smssh, ctrl, console, http, of_client, ctrl_of_client] = ports[..] else { panic!() };
    settings(
        &folder("server"),
        &format!(
            "[listen]\nsmssh = [\"[::]:{smssh}\"]\nctrl = [\"[::]:{ctrl}\"]\n\
             console = [\"[::]:{console}\"]\nhttp = [\"[::]:{http}\"]\n\
             [server]\nadvertise = [\"::1\"]\n"
        ),
    );
    settings(
        &folder("client"),
        &format!("[listen]\nsmssh = [\"[::]:{of_client}\"]\nctrl = [\"[::]:{ctrl_of_client}\"]\n"),
    );
    let start = |role: &str| {
        let process = ChildProcess::start(simsim().arg("--state").arg(folder(role)).arg(role));
        process.wait_for_line("is ready", PATIENCE).unwrap();
        process
    };
    let server = Daemon::of(start("server"), "server", &folder("server"), smssh);
    let _client = start("client");
    for port in [smssh, ctrl, console, http, of_client, ctrl_of_client] {
        for address in ["127.0.0.1", "::1"] {
            std::net::TcpStream::connect((address, port)).unwrap();
        }
    }
    let code = server.join_code("web");
    let at = format!("[::1]:{smssh}");
    let state = folder("client");
    let join = ["client", "join", &at, "--code", &code, "--name", "web", "--state"];
    assert_done(&simsim().args(join).arg(&state).output().unwrap());
    server.until_connected("web");
    server.must("datastore.create", json!({ "name": "main", "path": folder("store") }));
    let tree = tree(scratch.path());
    server.add_task("home", "web", &tree);
    for (address, mode, port) in [
        ("::1", "smssh", of_client),
        ("127.0.0.1", "smssh", of_client),
        ("::1", "ctrl", ctrl_of_client),
        ("127.0.0.1", "ctrl", ctrl_of_client),
    ] {
        // Nobody is at the first; the order is kept.
        let addresses = json!({ "name": "web", "addresses": ["no-such-host.invalid", address] });
        let view = server.must("client.addresses", addresses);
        assert_eq!(view["addresses"], json!(["no-such-host.invalid", address]));
        server.must("client.set", json!({ "name": "web", "access_mode": mode, "port": port }));
        server.until_connected("web");
        let backup = server.backup("home");
        assert_eq!(backup["state"], "finished", "{address} {mode}: {backup:#}");
    }
}
