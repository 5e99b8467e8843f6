//! Scenario (e): copies from one RDS into another, over the port of a drive. The host of the originals
//! dials; nothing else is open between the two.

use std::path::Path;

use serde_json::{Value, json};
use simsim_model::port_plan::PlanRow;
use simsim_model::port_registry::{DRIVE, HTTP, SMSSH};
use simsim_testkit::{compare_trees, skip};

use super::{FAR, SECOND, Site, VAULT, WEB, daemon, run};
use crate::hosts::{simsim, until};

/// Both RDS open the ports of their drives: that decides nobody's firewall.
const DRIVES: &str = "[listen]\ndrive = [\"::\"]\n";

struct Copies {
    site: Site,
}

impl Copies {
    fn new() -> Result<Self, String> {
        let site = Site::with_second(DRIVES, DRIVES)?;
        let store = site.scratch.path().join("copies");
        let create = json!({ "name": "copies", "node": SECOND, "path": store });
        site.server.must("datastore.create", create);
        let add = json!({ "name": "twice", "source": "main", "target": "copies" });
        site.server.must("replication.add", add);
        site.apply();
        Ok(Self { site })
    }

    fn copied(&self) -> Value {
        let server = &self.site.server;
        server.ended(&server.must("replication.run", json!({ "name": "twice" })))
    }

    fn must_copy(&self) -> Value {
        let job = self.copied();
        assert_eq!(job["state"], "finished", "{job:#}");
        job
    }

    fn missing(&self) -> u64 {
        let list = self.site.server.must("replication.list", json!({}));
        list[0]["missing"].as_u64().unwrap()
    }

    /// A restore whose job is handed out, and how what it made compares.
    fn restore(&self, copy: Option<&str>) -> Value {
        let site = &self.site;
        let target = site.scratch.path().join("restored");
        let _ = std::fs::remove_dir_all(&target);
        let request = json!({ "task": "home", "target": target, "copy": copy });
        let job = site.server.ended(&site.server.must("restore", request));
        if job["state"] == "finished" {
            self.same_as_source(&target);
        }
        job
    }

    fn same_as_source(&self, target: &Path) {
        let source = &self.site.source;
        assert_eq!(compare_trees(source, &target.join(source.strip_prefix("/").unwrap())), []);
    }

    fn stop_original(&mut self) {
        assert_eq!(self.site.device.stop(), 0, "{}", self.site.device.process.output());
        until("the RDS with the originals is gone", || !self.site.server.is_connected(FAR));
    }

    fn start_original(&mut self) {
        let state = self.site.device.state.clone();
        self.site.device = daemon(&self.site.network, FAR, "rds", &state);
        until("it is back", || self.site.server.is_connected(FAR));
    }

    /// Uses a row that is closed, and answers how that failed.
    fn failure_of(&mut self, row: &PlanRow) -> String {
        let (to, server) = (row.to.name.as_str(), row.from.name == VAULT);
        if to != SECOND || row.row == SMSSH.id {
            if to == SECOND {
                self.site.restart_server();
                let job = self.copied();
                assert_eq!(job["error"]["kind"], "unreachable", "{job:#}");
                return job["error"]["message"].as_str().unwrap().to_owned();
            }
            return self.site.failure_of(row);
        }
        if row.row == DRIVE.id {
            // There is something to copy, or the port is not needed.
            std::fs::write(self.site.source.join("changed"), row.title()).unwrap();
            let mut job = self.site.server.backup("home");
            assert_eq!(job["state"], "finished", "{job:#}");
            job = self.copied();
            assert_eq!(job["state"], "failed", "{job:#}");
            assert_eq!(job["error"]["kind"], "unreachable", "{job:#}");
            return job["error"]["message"].as_str().unwrap().to_owned();
        }
        if !server {
            let job = self.restore(Some("copies"));
            assert_eq!(job["error"]["kind"], "unreachable", "{job:#}");
            return job["error"]["message"].as_str().unwrap().to_owned();
        }
        // The server looks into a copy where the original cannot be reached.
        self.stop_original();
        let folder = self.site.source.to_str().unwrap().to_owned();
        let state = self.site.server.state.clone();
        let output = run(simsim().arg("--state").arg(state).args(["ls", "home", &folder]));
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        self.start_original();
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn firewall_replication_between_two_rds() {
    let copies = match Copies::new() {
        Ok(copies) => copies,
        Err(why) => return skip(&why),
    };
    let site = &copies.site;
    let drive = DRIVE.ports.for_drive(2).unwrap();
    site.works();
    site.apply();
    let (smssh, http) = (SMSSH.ports.first(), HTTP.ports.first());
    let titles: Vec<String> = site.rows().iter().map(PlanRow::title).collect();
    let expected = [
        format!("smssh: {VAULT} to {FAR}, port {smssh}"),
        format!("smssh: {VAULT} to {SECOND}, port {smssh}"),
        format!("smssh: {VAULT} to {WEB}, port {smssh}"),
        format!("http: {VAULT} to {FAR}, port {http}"),
        format!("http: {VAULT} to {SECOND}, port {http}"),
        format!("http: {WEB} to {FAR}, port {http}"),
        format!("http: {WEB} to {SECOND}, port {http}"),
        format!("drive: {FAR} to {SECOND}, port {drive}"),
    ];
    assert_eq!(titles, expected);
    let why = site.rows().into_iter().find(|row| row.row == DRIVE.id).unwrap().why;
    assert_eq!(why, ["replication 'twice'"]);
    for (_, state, row) in site.probed() {
        assert_eq!(state, "open", "{row:#}");
    }
    assert_eq!(copies.missing(), 1);
    copies.must_copy();
    assert_eq!(copies.missing(), 0, "the copy is listed before the job says that it has ended");
    copies.must_copy();
    let savesets = site.document(VAULT, &site.server.state, &["savesets"]);
    crate::cli::documents::check("Saveset[]", &savesets);
    assert_eq!(savesets.as_array().unwrap().len(), 1, "one backup, two copies: {savesets:#}");
    assert_eq!(savesets[0]["datastore"], "main");
    assert_eq!(savesets[0]["copies"][0]["datastore"], "copies");
    let job = copies.restore(Some("copies"));
    assert_eq!((&job["state"], &job["datastore"]), (&"finished".into(), &"copies".into()));
    let check = json!({ "datastore": "copies", "depth": "bytes", "keys_to_device": true });
    let verify = site.server.ended(&site.server.must("datastore.verify", check));
    assert_eq!(verify["state"], "finished", "{verify:#}");
    site.is_tight();
}

#[test]
fn firewall_replication_every_rule_matters_and_its_error_names_it() {
    let mut copies = match Copies::new() {
        Ok(copies) => copies,
        Err(why) => return skip(&why),
    };
    copies.site.works();
    copies.site.apply();
    copies.must_copy();
    for row in copies.site.rows() {
        copies.site.close(&row, None);
        copies.site.exactly_closed(&row);
        copies.site.probe_says(&row, "filtered");
        let said = copies.failure_of(&row);
        let (from, to) = (&row.from.name, &row.to.name);
        let words =
            format!("'{from}' does not reach '{to}' on TCP port {} ({})", row.ports(), row.row);
        assert!(said.contains(&words), "{words}\n{said}");
        copies.site.apply();
        copies.site.settle();
    }
    copies.must_copy();
}

/// The host of the originals burns: the copies are read by themselves, with the server and without it.
#[test]
fn copies_outlive_the_host_of_their_originals() {
    let mut copies = match Copies::new() {
        Ok(copies) => copies,
        Err(why) => return skip(&why),
    };
    copies.site.works();
    copies.site.apply();
    let kit = copies.site.server.must("key.kit", json!({}));
    copies.must_copy();
    copies.stop_original();
    let job = copies.restore(None);
    assert_eq!(
        (&job["state"], &job["datastore"]),
        (&"finished".into(), &"copies".into()),
        "{job:#}"
    );
    let folder = copies.site.source.to_str().unwrap().to_owned();
    assert!(copies.site.says(&["ls", "home", &folder]).contains("text"));
    let job = copies.restore(Some("main"));
    assert_eq!(job["state"], "failed", "somebody asked for the original: {job:#}");

    // Without a server: the folder of the copies and the kit.
    let words: Vec<&str> =
        kit["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap()).collect();
    let page = copies.site.scratch.path().join("kit.txt");
    std::fs::write(&page, words.join(" ")).unwrap();
    assert_eq!(copies.site.second.as_mut().unwrap().stop(), 0);
    let store = copies.site.scratch.path().join("copies");
    let target = copies.site.scratch.path().join("rescued");
    let rescue = run(simsim()
        .arg("rescue")
        .arg(&store)
        .arg("--kit")
        .arg(&page)
        .args(["restore", "latest", "--to"])
        .arg(&target));
    assert_eq!(rescue.status.code(), Some(0), "{rescue:?}");
    copies.same_as_source(&target);
}
