//! Scenario (c): data by HTTPS only. The RDS opens no other data port, and nobody has to choose.

use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{HTTPS, SMSSH};
use simsim_testkit::skip;

use super::{FAR, Site, VAULT, WEB};

#[test]
fn firewall_https_only() {
    let mut site = match Site::with_settings("[listen]\nhttp = []\nhttps = [\"[::]\"]\n") {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (smssh, https) = (SMSSH.ports.first(), HTTPS.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
        format!("https: {VAULT} to {FAR}, port {https}"),
        format!("https: {WEB} to {FAR}, port {https}"),
    ];
    assert_eq!(titles, expected);
    site.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    site.is_tight();
    site.each_rule_matters();
}
