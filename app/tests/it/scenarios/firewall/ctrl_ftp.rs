//! Scenario (b): control by CTRL, data by FTP with the range of data ports; once in passive mode, and
//! once in active mode, where the RDS calls.

use serde_json::json;
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{CTRL, FTP};
use simsim_testkit::skip;
use simsim_transfer::DataPorts;

use super::{FAR, Site, VAULT, WEB};

const CTRL_TOO: &str = "[listen]\nctrl = [\"::\"]\n";

/// Steered by CTRL, and data by these interfaces of the RDS and no other.
fn site(interface: &str) -> Result<Site, String> {
    let device = format!("{CTRL_TOO}http = []\nftp = [\"::\"]\n");
    let site = Site::with(&device, CTRL_TOO)?;
    for host in [FAR, WEB] {
        site.server.must("client.set", json!({ "name": host, "access_mode": "ctrl" }));
    }
    let url = interface.replace("HOST", &site.network.address(FAR).to_string());
    site.server.must("interface.set", json!({ "host": FAR, "interfaces": [url] }));
    site.apply();
    for host in [FAR, WEB] {
        site.server.until_connected(host);
    }
    Ok(site)
}

fn titles(site: &Site) -> Vec<String> {
    site.rows().iter().map(PlanRow::title).collect()
}

#[test]
fn firewall_ctrl_and_ftp_passive() {
    let mut site = match site("ftp://HOST") {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (ctrl, ftp) = (CTRL.ports.first(), FTP.ports.first());
    let (first, last) = DataPorts::default().range();
    let expected = [
        format!("ctrl: {VAULT} to {FAR}, port {ctrl}"),
        format!("ctrl: {VAULT} to {WEB}, port {ctrl}"),
        format!("ftp: {VAULT} to {FAR}, port {ftp}"),
        format!("ftp: {WEB} to {FAR}, port {ftp}"),
        format!("ftp-data: {VAULT} to {FAR}, port {first}-{last}"),
        format!("ftp-data: {WEB} to {FAR}, port {first}-{last}"),
    ];
    assert_eq!(titles(&site), expected);
    site.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    site.is_tight();
    site.each_rule_matters();
}

#[test]
fn firewall_ctrl_and_ftp_active() {
    let mut site = match site("ftp://HOST?mode=active") {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (ctrl, ftp) = (CTRL.ports.first(), FTP.ports.first());
    let (first, last) = DataPorts::default().range();
    let expected = [
        format!("ctrl: {VAULT} to {FAR}, port {ctrl}"),
        format!("ctrl: {VAULT} to {WEB}, port {ctrl}"),
        format!("ftp: {VAULT} to {FAR}, port {ftp}"),
        format!("ftp: {WEB} to {FAR}, port {ftp}"),
        format!("ftp-data: {FAR} to {VAULT}, port {first}-{last}"),
        format!("ftp-data: {FAR} to {WEB}, port {first}-{last}"),
    ];
    assert_eq!(titles(&site), expected);
    site.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    site.is_tight();
    site.each_rule_matters();
}
