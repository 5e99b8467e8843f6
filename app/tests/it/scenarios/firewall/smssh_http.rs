//! Scenario (a): nothing is configured, so that SMSSH to the hosts and HTTP to the device are all.

use serde_json::json;
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{CTRL, DRIVE, FTP, HTTP, HTTPS, SMSSH};
use simsim_testkit::{ChildProcess, skip};

use super::{FAR, Site, VAULT, WEB};
use crate::hosts::{PATIENCE, simsim};

#[test]
fn firewall_smssh_and_http_only() {
    let site = match Site::new() {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (smssh, http) = (SMSSH.ports.first(), HTTP.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("http: {WEB} to {FAR}, port {http}"),
    ];
    assert_eq!(titles, expected);
    site.works();
    let probed = site.probed();
    assert_eq!(probed.len(), expected.len());
    for (title, state, row) in probed {
        assert_eq!(state, "open", "{row:#}");
        assert!(row["round_trip_us"].as_u64().unwrap() > 0, "{row:#}");
        // Data ways have a sample; nothing of it is kept.
        let has_rate = row["bytes_per_s"].as_u64().is_some_and(|rate| rate > 0);
        assert_eq!(has_rate, title.starts_with("http"), "{row:#}");
    }
    let savesets = site.server.must("saveset.list", json!({}));
    assert_eq!(savesets.as_array().unwrap().len(), 1, "a probe leaves nothing");
    site.is_tight();
    site.each_host_rule_matters();
    let open = site.document(FAR, &site.device.state, &["ports", "list"]);
    let listens: Vec<(&str, u32)> = open
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["way"] == "listens")
        .map(|one| (one["row"].as_str().unwrap(), one["pid"].as_u64().unwrap() as u32))
        .collect();
    let own = site.device.process.id();
    assert_eq!(listens, [("http", own), ("smssh", own)]);
    let checks = site.document(FAR, &site.device.state, &["ports", "check"]);
    let bad = checks["findings"].as_array().unwrap().iter().find(|one| one["grade"] == "bad");
    assert_eq!((bad, &checks["role"]), (None, &"rds".into()), "{checks:#}");
    // On the server every host is looked at, through the firewalls.
    let checks = site.document(VAULT, &site.server.state, &["ports", "check"]);
    let reached = |name: &str| {
        checks["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["about"] == "host" && one["what"] == name && one["grade"] == "good")
    };
    assert!(reached(FAR) && reached(WEB), "{checks:#}");
}

#[test]
fn firewall_smssh_and_http_only_every_rule_matters_and_its_error_names_it() {
    let mut site = match Site::new() {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    site.works();
    site.each_rule_matters();
}

/// The port is open, and behind it is first something else, then the device of somebody else, then
/// nobody.
#[test]
fn a_probe_tells_a_wrong_service_and_a_wrong_host_from_a_closed_port() {
    use std::io::Write;
    let site = match Site::new() {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let http = HTTP.ports.first();
    let free = simsim_testkit::free_ports(3);
    let redirect = |port: u16| {
        let rules = format!(
            "table ip fake\ndelete table ip fake\ntable ip fake {{\n\tchain before {{\n\t\ttype nat \
             hook prerouting priority dstnat;\n\t\ttcp dport {http} redirect to :{port}\n\t}}\n}}\n"
        );
        // The host's own firewall would not let the other port in.
        site.network.load(FAR, "table inet simsim\ndelete table inet simsim\n").unwrap();
        site.network.load(FAR, &rules).unwrap();
    };
    let way = format!("http: {WEB} to {FAR}, port {http}");
    let found = || {
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let probed = site.probed();
        let (_, state, row) = probed.into_iter().find(|(title, ..)| *title == way).unwrap();
        (state, row["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(found().0, "open");

    let listener =
        site.network.inside(FAR, || std::net::TcpListener::bind(("0.0.0.0", free[0])).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"220 something else\r\n");
        }
    });
    redirect(free[0]);
    let (state, message) = found();
    assert_eq!(state, "wrong_service", "{message}");

    let mut other = simsim();
    other.arg("--state").arg(site.scratch.path().join("other")).arg("rds");
    other.args(["--listen", &format!("127.0.0.1:{}", free[1])]);
    other.args(["--http", &format!("0.0.0.0:{}", free[2])]);
    let other = ChildProcess::start(&mut site.network.on(FAR, &other));
    other.wait_for_line("is ready", PATIENCE).unwrap();
    redirect(free[2]);
    let (state, message) = found();
    assert_eq!(state, "wrong_identity", "{message}");

    drop(other);
    let (state, message) = found();
    assert_eq!(state, "refused", "{message}");
}

/// The same at every other door that proves who it is.
#[test]
fn a_probe_tells_a_wrong_service_and_a_wrong_host_at_every_door() {
    use std::io::Write;
    let doors = "[listen]\nhttps = [\"::\"]\nftp = [\"::\"]\ndrive = [\"::\"]\n";
    let site = match Site::with(doors, "[listen]\nctrl = [\"::\"]\n") {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let choices = ["http", "https", "ftp", "drive"];
    site.server.must("interface.choose", json!({ "client": WEB, "choices": choices }));
    site.server.must("client.set", json!({ "name": WEB, "access_mode": "ctrl" }));
    site.apply();
    site.server.until_connected(WEB);
    site.apply();
    let drive = DRIVE.ports.for_drive(1).unwrap();
    let ways = [
        format!("smssh: {VAULT} to {FAR}, port {}", SMSSH.ports.first()),
        format!("ctrl: {VAULT} to {WEB}, port {}", CTRL.ports.first()),
        format!("https: {WEB} to {FAR}, port {}", HTTPS.ports.first()),
        format!("ftp: {WEB} to {FAR}, port {}", FTP.ports.first()),
        format!("drive: {WEB} to {FAR}, port {drive}"),
    ];
    let all_are = |state: &str| {
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let probed = site.probed();
        for way in &ways {
            let (_, found, row) = probed
                .iter()
                .find(|(title, ..)| title == way)
                .unwrap_or_else(|| panic!("{way}: {probed:#?}"));
            assert_eq!(found, state, "{row:#}");
        }
    };
    let redirect = |host: &str, ports: &[(u16, u16)]| {
        let rule = |(from, to): &(u16, u16)| format!("\t\ttcp dport {from} redirect to :{to}\n");
        let rules = format!(
            "table ip fake\ndelete table ip fake\ntable ip fake {{\n\tchain before {{\n\t\ttype nat \
             hook prerouting priority dstnat;\n{}\t}}\n}}\n",
            ports.iter().map(rule).collect::<String>()
        );
        site.network.load(host, "table inet simsim\ndelete table inet simsim\n").unwrap();
        site.network.load(host, &rules).unwrap();
    };
    all_are("open");

    let free = simsim_testkit::free_ports(5);
    for host in [FAR, WEB] {
        let listener = site
            .network
            .inside(host, || std::net::TcpListener::bind(("0.0.0.0", free[0])).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = (&stream).write_all(b"something else\r\n");
            }
        });
    }
    let [smssh, ctrl, https, ftp] = [SMSSH, CTRL, HTTPS, FTP].map(|row| row.ports.first());
    redirect(FAR, &[smssh, https, ftp, drive].map(|port| (port, free[0])));
    redirect(WEB, &[(ctrl, free[0])]);
    all_are("wrong_service");

    let other = |host: &str, role: &str, options: &[(&str, u16)]| {
        let mut other = simsim();
        other.arg("--state").arg(site.scratch.path().join(format!("other-{host}"))).arg(role);
        for (option, port) in options {
            other.args([*option, &format!("0.0.0.0:{port}")]);
        }
        let other = ChildProcess::start(&mut site.network.on(host, &other));
        other.wait_for_line("is ready", PATIENCE).unwrap();
        other
    };
    let listeners =
        [("--listen", free[1]), ("--https", free[2]), ("--ftp", free[3]), ("--http", free[4])];
    let _far = other(FAR, "rds", &listeners);
    let _web = other(WEB, "client", &[("--listen", free[1]), ("--ctrl", free[2])]);
    // It has no drive, and so no port of one; another host's key is shown at its other port, too.
    redirect(FAR, &[(smssh, free[1]), (https, free[2]), (ftp, free[3]), (drive, free[2])]);
    redirect(WEB, &[(ctrl, free[2])]);
    all_are("wrong_identity");
}
