//! Scenarios (a) and (b) again, where the suite knows addresses of IPv6 only; and hosts of both families,
//! of which one is closed.

use std::net::IpAddr;

use serde_json::json;
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{FTP, HTTP, SMSSH};
use simsim_testkit::{MIDDLE, skip};
use simsim_transfer::DataPorts;

use super::{FAR, Site, VAULT, WEB, Wish};

#[test]
fn firewall_ipv6_smssh_and_http_only() {
    let mut site = match Site::build(&Wish { six: true, ..Wish::default() }) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (smssh, http) = (SMSSH.ports.first(), HTTP.ports.first());
    let rows = site.rows();
    let titles: Vec<String> = rows.iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("http: {WEB} to {FAR}, port {http}"),
    ];
    assert_eq!(titles, expected);
    for row in &rows {
        assert_eq!(row.to.addresses, [site.address(&row.to.name)], "{}", row.title());
    }
    site.works();
    site.is_tight();
    site.each_rule_matters();
}

#[test]
fn firewall_ipv6_ftp_passive_and_active() {
    let device = "[listen]\nhttp = []\nftp = [\"::\"]\n";
    let site = match Site::build(&Wish { six: true, device, ..Wish::default() }) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let ftp = FTP.ports.first();
    let (first, last) = DataPorts::default().range();
    for (mode, data) in
        [("", [(VAULT, FAR), (WEB, FAR)]), ("?mode=active", [(FAR, VAULT), (FAR, WEB)])]
    {
        let url = format!("ftp://[{}]{mode}", site.address(FAR));
        site.server.must("interface.set", json!({ "host": FAR, "interfaces": [url] }));
        site.apply();
        let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
        let planned = [
            format!("ftp: {VAULT} to {FAR}, port {ftp}"),
            format!("ftp: {WEB} to {FAR}, port {ftp}"),
        ];
        let data = data.map(|(from, to)| format!("ftp-data: {from} to {to}, port {first}-{last}"));
        for title in planned.iter().chain(&data) {
            assert!(titles.contains(title), "{title}: {titles:#?}");
        }
        site.works();
        std::thread::sleep(std::time::Duration::from_millis(1200));
        for (_, state, row) in site.probed() {
            assert_eq!(state, "open", "{row:#}");
        }
        site.is_tight();
    }
}

/// An RDS with an address of each family: the plan opens both, and a job takes the one that is left.
#[test]
fn firewall_of_both_families_of_which_one_is_closed() {
    let site = match Site::new() {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let both = |host: &str| -> [IpAddr; 2] {
        [site.network.address6(host).into(), site.network.address(host).into()]
    };
    for host in [FAR, WEB] {
        let wish = json!({ "name": host, "addresses": both(host) });
        site.server.must("client.addresses", wish);
    }
    site.apply();
    site.settle();
    let http = HTTP.ports.first();
    let row = site.rows().into_iter().find(|row| row.from.name == WEB).unwrap();
    assert_eq!(row.title(), format!("http: {WEB} to {FAR}, port {http}"));
    for end in [&row.from, &row.to] {
        assert!(both(&end.name).iter().all(|one| end.addresses.contains(one)), "{row:#?}");
    }
    site.works();
    site.is_tight();
    let all = site.rules(None);
    for closed in ["fd77:", "10.77."] {
        let is_it = |line: &&str| line.contains(closed) && line.contains(&format!("dport {http} "));
        assert!(all.lines().any(|line| is_it(&line)), "{all}");
        let rest: Vec<&str> = all.lines().filter(|line| !is_it(line)).collect();
        site.network.load(MIDDLE, &(rest.join("\n") + "\n")).unwrap();
        site.works();
    }
}
