//! Scenario (g): a tool on the client's host stores and reads a raw stream. By HTTPS or by FTP with TLS it
//! reaches the server only, which passes the stream on to the RDS; redirected, it goes to the RDS itself.

use std::process::{Command, Output};

use serde_json::{Value, json};
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{FTP, HTTP, HTTPS, SMSSH};
use simsim_testkit::skip;
use simsim_transfer::DataPorts;

use super::{FAR, STRANGER, Site, VAULT, WEB, run};
use crate::hosts::until;

const BYTES: usize = 3 << 20;

/// How the tool comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Https,
    Redirected,
    Ftp,
}

/// The tool's side: curl on the client's host.
struct Tool<'s> {
    site: &'s Site,
    by: By,
}

impl Tool<'_> {
    fn prepare(&self) {
        let site = self.site;
        let task = json!({
            "name": "dump", "client": WEB, "kind": "stream", "sources": ["dump"],
            "datastore": "main",
            "options": { "external": true, "redirect": self.by == By::Redirected }
        });
        site.server.must("task.add", task);
        let request = json!({ "name": "tool", "task": "dump", "allow": "both" });
        let made = site.server.must("token.create", request);
        let secret = made["secret"].as_str().unwrap();
        let config = match self.by {
            By::Ftp => format!("user = \"tool:{secret}\"\n"),
            By::Https | By::Redirected => format!("header = \"Authorization: Bearer {secret}\"\n"),
        };
        std::fs::write(site.scratch.path().join("curl.conf"), config).unwrap();
        let authority = site.server.must("interface.authority", Value::Null);
        let certificate = authority["certificate"].as_str().unwrap();
        std::fs::write(site.scratch.path().join("ca.pem"), certificate).unwrap();
        let noise = simsim_testkit::Rng::new(11).bytes(BYTES);
        std::fs::write(site.scratch.path().join("dump"), noise).unwrap();
    }

    fn curl_from(&self, host: &str, arguments: &[&str]) -> Output {
        let folder = self.site.scratch.path();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-v", "--connect-timeout", "5", "--max-time", "120"]);
        curl.arg("--cacert").arg(folder.join("ca.pem"));
        curl.arg("--config").arg(folder.join("curl.conf")).args(arguments);
        let server = self.site.network.address(VAULT);
        match self.by {
            By::Https => curl.arg("--fail-with-body"),
            By::Redirected => curl.args(["--fail-with-body", "-L", "--expect100-timeout", "60"]),
            By::Ftp => curl.arg("--ssl-reqd"),
        };
        curl.arg(match self.by {
            By::Https | By::Redirected => {
                format!("https://{server}:{}/v1/streams/dump", HTTPS.ports.first())
            }
            By::Ftp => format!("ftp://{server}:{}/dump", FTP.ports.first()),
        });
        run(&mut self.site.network.on(host, &curl))
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        self.curl_from(WEB, arguments)
    }

    fn store_from(&self, host: &str) -> Output {
        let dump = self.site.scratch.path().join("dump");
        self.curl_from(host, &["-T", dump.to_str().unwrap()])
    }

    fn store(&self) -> Output {
        self.store_from(WEB)
    }

    fn savesets(&self) -> Vec<Value> {
        let listed = self.site.server.must("saveset.list", json!({ "task": "dump" }));
        listed.as_array().unwrap().clone()
    }

    fn works(&self) {
        let before = self.savesets().len();
        let stored = self.store();
        assert_eq!(stored.status.code(), Some(0), "{stored:?}");
        // Of a stream that was redirected it comes a moment later.
        until("the row is there", || self.savesets().len() == before + 1);
        assert_eq!(self.savesets()[0]["bytes"], BYTES);
        let part = self.curl(&["-r", "1000-2999999"]);
        let dump = std::fs::read(self.site.scratch.path().join("dump")).unwrap();
        assert!(
            part.status.success() && part.stdout == dump[1000..3_000_000],
            "{}: {}",
            part.stdout.len(),
            String::from_utf8_lossy(&part.stderr)
        );
        let target = self.site.scratch.path().join("dump-restored");
        let _ = std::fs::remove_dir_all(&target);
        let request = json!({ "task": "dump", "target": target });
        let restore = self.site.server.ended(&self.site.server.must("restore", request));
        assert_eq!(restore["state"], "finished", "{restore:#}");
        assert!(std::fs::read(target.join("dump")).unwrap() == dump);
        until("the read has ended", || {
            let open = self.site.server.must("job.list", json!({ "open_only": true }));
            open.as_array().unwrap().is_empty()
        });
    }

    /// Its job waits at the RDS for who was sent there, as long as the ticket is good: somebody ends it.
    fn gives_up(&self) {
        let open = || self.site.server.must("job.list", json!({ "open_only": true }));
        for job in open().as_array().unwrap() {
            self.site.server.must("job.cancel", json!({ "job": job["job"] }));
        }
        until("no job is open", || open().as_array().unwrap().is_empty());
    }

    /// It cannot connect to a host, at one of these ports, and says so.
    fn is_blocked(&self, host: &str, ports: std::ops::RangeInclusive<u16>) {
        let blocked = self.store();
        assert_eq!(blocked.status.code(), Some(28), "a time-out of curl: {blocked:?}");
        let said = String::from_utf8_lossy(&blocked.stderr).into_owned();
        let address = self.site.network.address(host);
        let named = ports.clone().any(|port| said.contains(&format!("{address}:{port}")));
        assert!(named, "{address}, {ports:?}: {said}");
    }
}

/// What the plan opens, whether all of it is needed, and nothing else.
fn scenario(mut site: Site, by: By, expected: &[String]) {
    let tool = Tool { site: &site, by };
    tool.prepare();
    site.apply();
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    assert_eq!(titles, expected);
    site.works();
    tool.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    // Somebody whose host is in no plan reaches nothing, whatever secret it has.
    let stranger = tool.store_from(STRANGER);
    assert_eq!(stranger.status.code(), Some(28), "{stranger:?}");
    site.is_tight();
    site.each_rule_matters_to(|site, row| closed(&Tool { site, by }, row));
    let tool = Tool { site: &site, by };
    tool.works();
}

/// What a closed row does to the tool. True: only the tool uses it.
fn closed(tool: &Tool<'_>, row: &PlanRow) -> bool {
    let (from, to, id) = (row.from.name.as_str(), row.to.name.as_str(), row.row.as_str());
    let ports = row.first_port..=row.last_port;
    match (from, to) {
        (WEB, VAULT) => {
            // Nothing else is disturbed.
            tool.is_blocked(VAULT, ports);
            tool.site.works();
            true
        }
        (WEB, FAR) if tool.by == By::Redirected => {
            tool.is_blocked(FAR, ports);
            tool.gives_up();
            false
        }
        // The way from the server to the RDS: a tool that is relayed is told which way that is, one that
        // is redirected does not need it.
        (VAULT, FAR) if id != SMSSH.id => {
            let stored = tool.store();
            if tool.by == By::Redirected {
                assert_eq!(stored.status.code(), Some(0), "{stored:?}");
                return false;
            }
            assert_ne!(stored.status.code(), Some(0), "{stored:?}");
            let all = [stored.stdout, stored.stderr].concat();
            let said = String::from_utf8_lossy(&all).into_owned();
            let words =
                format!("'{VAULT}' does not reach '{FAR}' on TCP port {} ({id})", row.ports());
            assert!(said.contains(&words), "{words}\n{said}");
            false
        }
        _ => false,
    }
}

fn control_ways() -> Vec<String> {
    let smssh = SMSSH.ports.first();
    vec![
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
    ]
}

#[test]
fn firewall_external_stream() {
    let site = match Site::configured("https = [\"[::]\"]\n", "", &[]) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let (http, https) = (HTTP.ports.first(), HTTPS.ports.first());
    let mut expected = control_ways();
    expected.push(format!("http: {VAULT} to {FAR}, port {http}"));
    expected.push(format!("http: {WEB} to {FAR}, port {http}"));
    expected.push(format!("https: {WEB} to {VAULT}, port {https}"));
    scenario(site, By::Https, &expected);
}

#[test]
fn firewall_external_stream_by_ftp() {
    let site = match Site::configured("ftp = [\"[::]\"]\n", "", &[]) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let url = format!("ftpes://{}", site.network.address(VAULT));
    site.server.must("interface.set", json!({ "host": VAULT, "interfaces": [url] }));
    let task = json!({
        "name": "early", "client": WEB, "kind": "stream", "sources": ["early"],
        "options": { "external": true }
    });
    site.server.must("task.add", task);
    site.apply();
    // A probe of data ports is a transfer, which a server without a datastore does not take. It says so of
    // that row, and tries the others.
    for (title, state, row) in site.probed() {
        let expected = if title.starts_with("ftp-data") { "not_tried" } else { "open" };
        assert_eq!(state, expected, "{row:#}");
    }
    site.server.must("task.delete", json!({ "name": "early" }));
    let store = site.scratch.path().join("own");
    site.server.must("datastore.create", json!({ "name": "own", "node": VAULT, "path": store }));
    let (http, ftp) = (HTTP.ports.first(), FTP.ports.first());
    let (first, last) = DataPorts::default().range();
    let mut expected = control_ways();
    expected.push(format!("http: {VAULT} to {FAR}, port {http}"));
    expected.push(format!("http: {WEB} to {FAR}, port {http}"));
    expected.push(format!("ftp: {WEB} to {VAULT}, port {ftp}"));
    expected.push(format!("ftp-data: {WEB} to {VAULT}, port {first}-{last}"));
    scenario(site, By::Ftp, &expected);
}

#[test]
fn firewall_external_stream_redirected() {
    let of_device = "[listen]\nhttp = []\nhttps = [\"[::]\"]\n";
    let site = match Site::configured("https = [\"[::]\"]\n", of_device, &[]) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let url = format!("https://{}", site.network.address(FAR));
    site.server.must("interface.set", json!({ "host": FAR, "interfaces": [url] }));
    let https = HTTPS.ports.first();
    let mut expected = control_ways();
    expected.push(format!("https: {VAULT} to {FAR}, port {https}"));
    expected.push(format!("https: {WEB} to {FAR}, port {https}"));
    expected.push(format!("https: {WEB} to {VAULT}, port {https}"));
    scenario(site, By::Redirected, &expected);
}
