//! Scenario (f): a client that nobody can dial. It calls the server on its HTTPS port, and nothing
//! goes to it but replies; the server reaches the RDS in its place.

use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{HTTP, HTTPS, SMSSH};
use simsim_testkit::skip;

use super::{FAR, STRANGER, Site, VAULT, WEB, run};
use crate::hosts::{assert_done, simsim};

#[test]
fn firewall_a_client_with_nothing_inbound_but_replies() {
    let mut site = match Site::configured("https = [\"::\"]\n", "", &["--outbound"]) {
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
