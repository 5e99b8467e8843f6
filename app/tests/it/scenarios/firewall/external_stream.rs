//! Scenario (g): a tool on the client's host stores and reads a raw stream. It reaches the server only,
//! by HTTPS; the server passes the stream on to the RDS.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{HTTP, HTTPS, SMSSH};
use simsim_testkit::skip;

use super::{FAR, Site, VAULT, WEB, run};
use crate::hosts::until;

const BYTES: usize = 3 << 20;

/// The tool's side: curl on the client's host.
struct Tool<'s> {
    site: &'s Site,
}

impl Tool<'_> {
    fn prepare(&self) {
        let site = self.site;
        let task = json!({
            "name": "dump", "client": WEB, "kind": "stream", "sources": ["dump"],
            "options": { "external": true }
        });
        site.server.must("task.add", task);
        let request = json!({ "name": "tool", "task": "dump", "allow": "both" });
        let made = site.server.must("token.create", request);
        let header = format!("Authorization: Bearer {}\n", made["secret"].as_str().unwrap());
        std::fs::write(site.scratch.path().join("header"), header).unwrap();
        let authority = site.server.must("interface.authority", Value::Null);
        let certificate = authority["certificate"].as_str().unwrap();
        std::fs::write(site.scratch.path().join("ca.pem"), certificate).unwrap();
        let noise = simsim_testkit::Rng::new(11).bytes(BYTES);
        std::fs::write(site.scratch.path().join("dump"), noise).unwrap();
    }

    fn curl(&self, arguments: &[&str]) -> Output {
        let folder = self.site.scratch.path();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--connect-timeout", "5", "--max-time", "120"]);
        curl.arg("--cacert").arg(folder.join("ca.pem"));
        curl.arg("-H").arg(format!("@{}", folder.join("header").display())).args(arguments);
        curl.arg(format!(
            "https://{}:{}/v1/streams/dump",
            self.site.network.address(VAULT),
            HTTPS.ports.first()
        ));
        run(&mut self.site.network.on(WEB, &curl))
    }

    fn store(&self) -> Output {
        let dump = self.site.scratch.path().join("dump");
        self.curl(&["-T", dump.to_str().unwrap()])
    }

    fn works(&self) {
        let stored = self.store();
        assert_eq!(stored.status.code(), Some(0), "{stored:?}");
        let part = self.curl(&["-r", "1000-2999999"]);
        let dump = std::fs::read(self.site.scratch.path().join("dump")).unwrap();
        assert!(
            part.status.success() && part.stdout == dump[1000..3_000_000],
            "{}",
            part.stdout.len()
        );
        let newest = self.site.server.must("saveset.list", json!({ "task": "dump" }));
        assert_eq!(newest[0]["bytes"], BYTES);
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
}

#[test]
fn firewall_external_stream() {
    let site = match Site::configured("https = [\"[::]\"]\n", "", &[]) {
        Ok(site) => site,
        Err(why) => return skip(&why),
    };
    let tool = Tool { site: &site };
    tool.prepare();
    site.apply();
    let (smssh, http, https) = (SMSSH.ports.first(), HTTP.ports.first(), HTTPS.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let external = format!("https: {WEB} to {VAULT}, port {https}");
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("http: {WEB} to {FAR}, port {http}"),
        external.clone(),
    ];
    assert_eq!(titles, expected);
    site.works();
    tool.works();
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    site.is_tight();

    // Without its rule the tool reaches nobody, and nothing else is disturbed.
    let rows = site.rows();
    let row = rows.iter().find(|row| row.title() == external).unwrap();
    site.close(row, None);
    site.exactly_closed(row);
    site.probe_says(row, "filtered");
    let blocked = tool.store();
    assert_eq!(blocked.status.code(), Some(28), "a time-out of curl: {blocked:?}");
    let said = String::from_utf8_lossy(&blocked.stderr).into_owned();
    let address = site.network.address(VAULT).to_string();
    assert!(said.contains(&https.to_string()) && said.contains(&address), "{said}");
    site.works();
    site.apply();

    // Without the way from the server to the RDS the tool is told which way that is.
    let title = format!("http: {VAULT} to {FAR}, port {http}");
    let row = rows.iter().find(|row| row.title() == title).unwrap();
    site.close(row, None);
    site.exactly_closed(row);
    let blocked = tool.store();
    assert_eq!(blocked.status.code(), Some(22), "{blocked:?}");
    let said = String::from_utf8_lossy(&blocked.stdout).into_owned();
    let words = format!("'{VAULT}' does not reach '{FAR}' on TCP port {http} (http)");
    assert!(said.contains(&words), "{words}\n{said}");
    site.apply();
    std::thread::sleep(Duration::from_millis(1200));
    tool.works();
}
