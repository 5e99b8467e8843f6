//! Scenario (d): source-side deduplication straight to the port of the RDS's drive. The server still
//! looks into savesets by HTTP.

use serde_json::json;
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{DRIVE, HTTP, SMSSH};
use simsim_testkit::skip;

use super::{FAR, Site, VAULT, WEB};

#[test]
fn firewall_drive_port_of_an_rds() {
    let mut site = match Site::with_settings("[listen]\ndrive = [\"::\"]\n") {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    site.server.must("interface.choose", json!({ "client": WEB, "choices": ["drive"] }));
    site.apply();
    let drive = DRIVE.ports.for_drive(1).unwrap();
    let (smssh, http) = (SMSSH.ports.first(), HTTP.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("drive: {WEB} to {FAR}, port {drive}"),
    ];
    assert_eq!(titles, expected);
    site.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    site.is_tight();
    site.each_rule_matters();
}
