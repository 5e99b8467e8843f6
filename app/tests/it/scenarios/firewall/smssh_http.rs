//! Scenario (a): nothing is configured, so that SMSSH to the hosts and HTTP to the device are all.

use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{HTTP, SMSSH};
use simsim_testkit::skip;

use super::{FAR, Site, VAULT, WEB};

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
