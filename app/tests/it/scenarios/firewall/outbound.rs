//! Scenario (f): a client that nobody can dial. It calls the server on its HTTPS port, and nothing
//! goes to it but replies; the server reaches the RDS in its place.

use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{HTTP, HTTPS, SMSSH};
use simsim_testkit::skip;

use super::{FAR, Site, VAULT, WEB};

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
}
