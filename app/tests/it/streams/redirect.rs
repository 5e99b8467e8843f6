//! Streams whose data lies on an RDS: passed on by the server, or sent there.

use serde_json::{Value, json};

use super::{Desk, ended, listens_for_https, noise};
use crate::hosts::{Daemon, assert_done, until};

/// An RDS "far" with the datastore "vault", and the external task "far" into it.
struct Two {
    desk: Desk,
    far: Daemon,
    port: u16,
}

impl Two {
    fn new() -> Self {
        let desk = Desk::new();
        let state = desk.scratch.path().join("rds");
        let port = simsim_testkit::free_ports(1)[0];
        listens_for_https(&state, port);
        let far = Daemon::start("rds", &state);
        assert_done(&desk.server.join("far", &state, &[]));
        desk.server.until_connected("far");
        let store = desk.scratch.path().join("vault");
        let create = json!({ "name": "vault", "node": "far", "path": store });
        desk.server.must("datastore.create", create);
        desk.external("far", "vault");
        Self { desk, far, port }
    }

    fn redirects(&self, redirect: bool) -> std::process::Output {
        self.desk.cli(&["task", "change", "far", &format!("--redirect={redirect}")])
    }

    /// Gives the RDS the interface that callers are sent to.
    fn reachable(&self) {
        let url = format!("https://localhost:{}", self.port);
        self.desk.server.must("interface.set", json!({ "host": "far", "interfaces": [url] }));
        self.desk.until_trusted(self.port);
    }

    fn doors(&self, process: &Daemon) -> Vec<String> {
        let log = process.process.output();
        let lines = log.lines().filter(|line| line.contains("transfer opened"));
        lines.map(str::to_owned).collect()
    }
}

#[test]
fn by_default_the_server_passes_the_stream_on_and_the_rds_never_has_the_key() {
    let two = Two::new();
    let desk = &two.desk;
    let (_, header) = desk.token("both", "far", "both");
    let bytes = noise(4_000_000, 1);
    let saveset = desk.stored(&header, "far", &bytes);
    assert_eq!(two.doors(&two.far).len(), 1, "the server dialled the device");
    let read = desk.curl(&["-H", &header, "-r", "1000000-", &desk.url("far")], None);
    assert!(read.is(0, 206).body == bytes[1_000_000..]);
    let shown = desk.server.must("saveset.show", json!({ "saveset": saveset }));
    assert_eq!(shown["datastore"], "vault");
    // What the store has already does not travel again.
    desk.stored(&header, "far", &bytes);
    let job = desk.server.must("job.list", json!({ "task": "far" }));
    let again = job.as_array().unwrap().iter().find(|job| job["kind"] == "backup").unwrap();
    assert_eq!(again["state"], "finished");
    assert_eq!(again["progress"]["bytes_new"], 0, "{again:#}");
    assert!(!two.far.process.output().contains("raw stream begins"), "it took no stream itself");
}

#[test]
fn redirected_the_caller_brings_the_stream_to_the_rds_with_a_ticket() {
    let two = Two::new();
    let desk = &two.desk;
    let (_, header) = desk.token("both", "far", "both");
    assert_done(&two.redirects(true));
    let url = desk.url("far");
    let there = ["-H", &header, "-L", "--expect100-timeout", "60", "-T", "-", &url];
    // Nobody gave the RDS a name that its certificate could bear.
    desk.curl(&there, Some(b"x")).is(22, 403).says("simsim interface set far https://");
    two.reachable();
    let bytes = noise(4_000_000, 2);
    desk.curl(&there, Some(&bytes)).is(0, 201);
    assert!(two.far.process.output().contains("raw stream stored"), "{}", two.far.process.output());
    until("its row is there", || desk.savesets("far").len() == 1);
    let jobs = desk.server.must("job.list", json!({ "task": "far" }));
    let job = desk.job(jobs[0]["job"].as_u64().unwrap());
    assert_eq!((&job["state"], &job["requested_by"]), (&"finished".into(), &"token:both".into()));
    assert_eq!(job["progress"]["bytes_done"], 4_000_000, "{job:#}");

    // Read back, redirected as well, and by the suite.
    let read = desk.curl(&["-H", &header, "-L", &url], None);
    assert!(read.is(0, 200).body == bytes);
    let part = desk.curl(&["-H", &header, "-L", "-r", "123-4567", &url], None);
    assert!(part.is(0, 206).body == bytes[123..4568]);
    let saveset = desk.savesets("far")[0]["saveset"].as_str().unwrap().to_owned();
    assert!(super::restored(desk, &saveset, "far") == bytes);
    until("reads have ended", || {
        let open = desk.server.must("job.list", json!({ "open_only": true }));
        open.as_array().unwrap().is_empty()
    });
    let jobs = desk.server.must("job.list", json!({ "task": "far" }));
    let failed: Vec<_> =
        jobs.as_array().unwrap().iter().filter(|job| job["state"] != "finished").collect();
    assert_eq!(failed.len(), 1, "only the one that could not be sent anywhere: {jobs:#}");
    assert_done(&desk.cli(&["verify", "--bytes", "--datastore", "vault"]));
    // Back to relaying.
    assert_done(&two.redirects(false));
    desk.stored(&header, "far", b"relayed again");
}

#[test]
fn a_ticket_of_a_redirect_serves_once_and_a_token_is_nothing_to_an_rds() {
    let two = Two::new();
    let desk = &two.desk;
    two.reachable();
    assert_done(&two.redirects(true));
    let (_, header) = desk.token("both", "far", "both");
    let url = desk.url("far");
    // Not followed: the answer says so, and where to.
    let there = ["-H", &header, "-i", "-T", "-", "--expect100-timeout", "60", &url];
    let sent = desk.curl(&there, Some(b"bytes"));
    let text = sent.text();
    assert_eq!(sent.status, 307, "{text}");
    assert!(text.contains("curl -L"), "{text}");
    let location = text.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().trim();
    assert!(location.starts_with(&format!("https://localhost:{}/", two.port)), "{location}");
    let wrong = format!("{}0", &location[..location.len() - 1]);
    if wrong != location {
        desk.curl(&["-T", "-", &wrong], Some(b"wrong")).is(22, 401);
    }
    desk.curl(&["-T", "-", location], Some(b"right")).is(0, 201);
    desk.curl(&["-T", "-", location], Some(b"again")).is(22, 403);
    until("its row is there", || desk.savesets("far").len() == 1);

    let direct = format!("https://localhost:{}/v1/streams/far", two.port);
    let refused = desk.curl(&["-H", &header, "-T", "-", &direct], Some(b"x"));
    refused.is(22, 400).says("known to the server only");
    assert_eq!(desk.savesets("far").len(), 1);
    let digits = location.rsplit('_').next().unwrap();
    let logs = [two.far.process.output(), desk.server.process.output()].concat();
    assert!(!logs.contains(digits) && !logs.contains(&digits[32..]), "the ticket is in a log");
}

#[test]
fn a_redirected_stream_that_breaks_off_or_is_revoked_leaves_nothing() {
    let two = Two::new();
    let desk = &two.desk;
    two.reachable();
    assert_done(&two.redirects(true));
    let (_, header) = desk.token("both", "far", "both");
    let begin = || {
        use std::io::Write;
        use std::process::Stdio;
        let before = desk.newest_job();
        let url = desk.url("far");
        let mut command =
            desk.command(&["-H", &header, "-L", "--expect100-timeout", "60", "-T", "-", &url]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(&noise(2_000_000, 5)).unwrap();
        until("bytes come to the device", || {
            let job = &desk.server.must("job.list", json!({ "limit": 1 }))[0];
            job["job"].as_u64() > before && job["progress"]["bytes_read"].as_u64() > Some(0)
        });
        (child, desk.newest_job().unwrap())
    };
    let (mut child, job) = begin();
    child.kill().unwrap();
    child.wait().unwrap();
    let failed = desk.job(job);
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let (child, job) = begin();
    desk.server.must("token.revoke", json!({ "name": "both" }));
    assert_eq!(desk.job(job)["state"], "cancelled");
    assert_ne!(ended(child).exit, 0);
    assert_eq!(desk.savesets("far"), [0; 0]);
    let none: &[Value] = &[];
    let open = desk.server.must("job.list", json!({ "open_only": true }));
    assert_eq!(open.as_array().unwrap(), none);
}
