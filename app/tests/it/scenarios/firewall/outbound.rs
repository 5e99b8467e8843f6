//! Scenario (f): a client that nobody can dial. It calls the server on its HTTPS port, and nothing
//! goes to it but replies; the server reaches the RDS in its place, or an RDS passes its calls on. It is
//! behind a translator of addresses besides, which nobody configures.

use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{HTTP, HTTPS, SMSSH};
use simsim_testkit::{ChildProcess, skip};

use super::{FAR, STRANGER, Site, VAULT, WEB, Wish, run};
use crate::hosts::{PATIENCE, assert_done, simsim};

#[test]
fn firewall_a_client_with_nothing_inbound_but_replies() {
    let (server, web_joins, hidden) = ("https = [\"::\"]\n", &["--outbound"][..], true);
    let wish = Wish { server, web_joins, hidden, ..Wish::default() };
    let mut site = match Site::build(&wish) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (smssh, http, https) = (SMSSH.ports.first(), HTTP.ports.first(), HTTPS.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("https: {WEB} to {VAULT}, port {https}"),
    ];
    assert_eq!(titles, expected);
    site.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    site.is_tight();
    site.each_rule_matters();

    // Joining needs that one port and no other: all hosts here have joined so. Where it is closed, the
    // error says which it is.
    let (code, late) = (site.server.outbound_code("late"), site.scratch.path().join("late"));
    site.apply();
    let row = site.rows().into_iter().find(|row| row.from.anywhere).unwrap();
    assert_eq!(row.title(), format!("https: hosts that join to {VAULT}, port {https}"));
    site.close(&row, None);
    let server = site.network.address(VAULT).to_string();
    let mut join = simsim();
    join.args(["client", "join", &server, "--outbound", "--code", &code, "--name", "late"]);
    join.arg("--state").arg(&late);
    let closed = run(&mut site.network.on(STRANGER, &join));
    assert_eq!(closed.status.code(), Some(8), "{closed:?}");
    let said = String::from_utf8(closed.stderr).unwrap();
    let words = format!("'late' does not reach '{server}' on TCP port {https} (https): ");
    assert!(said.contains(&words), "{words}\n{said}");
    site.apply();
    assert_done(&run(&mut site.network.on(STRANGER, &join)));
}

/// The RDS speaks for its site: neither the client nor its data goes to the server by itself.
#[test]
fn firewall_an_rds_passes_calls_of_its_site_on() {
    let wish = Wish {
        server: "https = [\"::\"]\n",
        device: "[listen]\nhttps = [\"::\"]\n[device]\nrelay_calls_to = [\"{vault}\"]\n",
        web_joins: &["--outbound={far}"],
        hidden: true,
        ..Wish::default()
    };
    let mut site = match Site::build(&wish) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (smssh, http, https) = (SMSSH.ports.first(), HTTP.ports.first(), HTTPS.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("https: {FAR} to {VAULT}, port {https}"),
        format!("https: {WEB} to {FAR}, port {https}"),
    ];
    assert_eq!(titles, expected);
    site.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    let log = site.device.process.output();
    assert!(log.contains("a call is passed on") && log.contains("door=\"https\""), "{log}");
    site.is_tight();
    site.each_rule_matters();
}

/// Where nothing is backed up there is no ticket for a probe: key and protocol of the port are proof.
#[test]
fn a_probe_of_a_call_tells_a_wrong_service_and_a_wrong_host_without_a_ticket() {
    use std::io::Write;
    let site = match Site::configured("https = [\"::\"]\n", "", &["--outbound"]) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let https = HTTPS.ports.first();
    let free = simsim_testkit::free_ports(4);
    let way = format!("https: {WEB} to {VAULT}, port {https}");
    let redirect = |port: u16| {
        let rules = format!(
            "table ip fake\ndelete table ip fake\ntable ip fake {{\n\tchain before {{\n\t\ttype nat \
             hook prerouting priority dstnat;\n\t\ttcp dport {https} redirect to :{port}\n\t}}\n}}\n"
        );
        site.network.load(VAULT, "table inet simsim\ndelete table inet simsim\n").unwrap();
        site.network.load(VAULT, &rules).unwrap();
    };
    let found = || {
        std::thread::sleep(std::time::Duration::from_millis(1200));
        let (_, state, row) = site.probed().into_iter().find(|(title, ..)| *title == way).unwrap();
        (state, row["message"].as_str().unwrap().to_owned())
    };
    assert_eq!(found(), ("open".to_owned(), String::new()), "who answers was seen");

    let listener =
        site.network.inside(VAULT, || std::net::TcpListener::bind(("0.0.0.0", free[0])).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = (&stream).write_all(b"something else\r\n");
        }
    });
    redirect(free[0]);
    let (state, message) = found();
    assert_eq!(state, "wrong_service", "{message}");

    // The device of somebody else, which takes no calls besides.
    let mut other = simsim();
    other.arg("--state").arg(site.scratch.path().join("other")).arg("rds");
    for (option, port) in [("--listen", free[1]), ("--http", free[2]), ("--https", free[3])] {
        other.args([option, &format!("0.0.0.0:{port}")]);
    }
    let other = ChildProcess::start(&mut site.network.on(VAULT, &other));
    other.wait_for_line("is ready", PATIENCE).unwrap();
    redirect(free[3]);
    let (state, message) = found();
    assert_eq!(state, "wrong_identity", "{message}");
}
