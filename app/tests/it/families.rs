//! Hosts with listeners for both families, and with several addresses in order.

use std::path::{Path, PathBuf};

use serde_json::json;
use simsim_testkit::{ChildProcess, free_ports, skip};

use crate::hosts::{Daemon, PATIENCE, assert_done, simsim, tree};

fn settings(state: &Path, text: &str) {
    std::fs::create_dir_all(state).unwrap();
    std::fs::write(state.join("simsim.toml"), text).unwrap();
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
