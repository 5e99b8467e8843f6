//! Raw streams over FTP with TLS: real curl, lftp and Python against a real server.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use simsim_testkit::{ChildProcess, has_program, skip};

use super::{Desk, noise, restored};
use crate::cli::documents::check;
use crate::hosts::{Daemon, PATIENCE, assert_done, until};

/// Three pairs of ports for FTP data, at a loopback address that no other test has.
const RANGE: &str = "20110-20115";

/// A server that listens for HTTPS and for FTP.
struct Ftp {
    desk: Desk,
    at: SocketAddr,
}

fn own_loopback() -> Ipv4Addr {
    let [a, b, c, d] = std::process::id().to_le_bytes();
    Ipv4Addr::new(127, 1 + (c ^ d) % 250, b, a.clamp(2, 250))
}

impl Ftp {
    fn new() -> Self {
        let at = SocketAddr::from((own_loopback(), simsim_testkit::free_ports(1)[0]));
        let more = format!("ftp = [\"{at}\"]\n[ftp]\ndata_ports = {RANGE:?}\n");
        Self { desk: Desk::listening(&more), at }
    }

    fn secret(&self, name: &str, allow: &str) -> String {
        self.desk.token(name, "db", allow).0
    }

    fn url(&self, path: &str) -> String {
        format!("ftp://localhost:{}/{path}", self.at.port())
    }

    /// curl as somebody with this secret, to a path behind the port.
    fn command(&self, secret: &str, path: &str, arguments: &[&str]) -> Command {
        // One for each secret, written once: another curl may be reading it.
        let (_, digits) = secret.split_at(secret.len() - 16);
        let config = self.desk.scratch.path().join(format!("curl-{digits}.conf"));
        if !config.exists() {
            std::fs::write(&config, format!("user = \"tool:{secret}\"\n")).unwrap();
        }
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--ssl-reqd", "--max-time", "300", "--config"]);
        curl.arg(config).arg("--cacert").arg(self.desk.authority());
        curl.args(["--resolve", &format!("localhost:{}:{}", self.at.port(), self.at.ip())]);
        curl.args(arguments).arg(self.url(path));
        curl
    }

    fn curl(&self, secret: &str, path: &str, arguments: &[&str]) -> Output {
        self.command(secret, path, arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// A file with these bytes.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let file = self.desk.scratch.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.display().to_string()
    }

    #[track_caller]
    fn stored(&self, secret: &str, bytes: &[u8]) -> String {
        let file = self.file("stored", bytes);
        assert_done(&self.curl(secret, "db", &["-T", &file]));
        let newest = self.desk.savesets("db").remove(0);
        assert_eq!(newest["bytes"].as_u64().unwrap(), bytes.len() as u64, "{newest:#}");
        newest["saveset"].as_str().unwrap().to_owned()
    }

    /// Begins a stream that never ends, and answers its job once the server has some of it.
    fn begun(&self, secret: &str) -> (ChildProcess, u64) {
        let before = self.desk.newest_job();
        let pipe = self.desk.scratch.path().join("pipe");
        if !pipe.exists() {
            assert_done(&Command::new("mkfifo").arg(&pipe).output().unwrap());
        }
        // It stays open for writing as long as this process has it.
        let script = format!(
            "exec 3<>{0}; head -c 1000000 /dev/urandom >&3 & exec \"$@\" < {0}",
            pipe.display()
        );
        let curl = self.command(secret, "db", &["-T", "."]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(curl.get_program()).args(curl.get_args());
        let child = ChildProcess::start(&mut shell);
        let mut job = Value::Null;
        until("the stream's job reads", || {
            let jobs = self.desk.server.must("job.list", json!({ "limit": 1 }));
            job = jobs[0].clone();
            job["job"].as_u64() > before && job["progress"]["bytes_read"].as_u64() > Some(0)
        });
        (child, job["job"].as_u64().unwrap())
    }
}

#[track_caller]
fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{words}: {output:?}");
}

#[test]
fn curl_stores_a_stream_by_ftp_and_reads_it_by_any_door() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ftp = Ftp::new();
    let desk = &ftp.desk;
    let (secret, header) = desk.token("both", "db", "both");
    let bytes = noise(4_000_000, 1);
    // Of unknown length, as `pg_dump … | curl -T -` sends it.
    let mut curl = ftp.command(&secret, "db", &["-T", "-"]);
    curl.stdin(Stdio::from(std::fs::File::open(ftp.file("dump", &bytes)).unwrap()));
    assert_done(&curl.output().unwrap());
    let job = desk.job(desk.newest_job().unwrap());
    assert_eq!((&job["state"], &job["requested_by"]), (&"finished".into(), &"token:both".into()));
    let saveset = desk.savesets("db")[0]["saveset"].as_str().unwrap().to_owned();
    ftp.stored(&secret, b"a newer one");

    // One of it by name, in whole and in part; by HTTPS; by the suite.
    let old = format!("db/{saveset}");
    for (path, arguments, expected) in [
        (old.as_str(), [].as_slice(), bytes.as_slice()),
        (&old[..11], &[], &bytes),
        (&old, &["-r", "1000000-2999999"], &bytes[1_000_000..3_000_000]),
        ("db", &[], b"a newer one"),
    ] {
        let read = ftp.curl(&secret, path, arguments);
        assert!(read.status.success() && read.stdout == expected, "{path}: {:?}", read.stderr);
    }
    let part = ftp.file("part", &bytes[..1_234_567]);
    assert_done(&ftp.curl(&secret, &old, &["-C", "-", "-o", &part]));
    assert!(std::fs::read(&part).unwrap() == bytes);
    let read = desk.curl(&["-H", &header, &format!("{}?saveset={saveset}", desk.url("db"))], None);
    assert!(read.is(0, 200).body == bytes);
    assert!(restored(desk, &saveset, "db") == bytes);
    let listed = ftp.curl(&secret, "", &["--list-only"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "db");
    until("reads have ended", || {
        desk.server.must("job.list", json!({ "open_only": true })).as_array().unwrap().is_empty()
    });
    let audit = desk.server.must("audit.list", json!({})).to_string();
    assert!(audit.contains("stream.store") && audit.contains(", ftp\""), "{audit}");
    let all = audit + &desk.server.process.output();
    assert!(!all.contains(&secret), "the token was written somewhere");
}

#[test]
fn a_token_over_ftp_is_good_for_its_task_its_use_and_its_time() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ftp = Ftp::new();
    let desk = &ftp.desk;
    desk.external("other", "main");
    let (store, read) = (ftp.secret("stores", "store"), ftp.secret("reads", "read"));
    let other = desk.token("other", "other", "both").0;
    let file = ftp.file("file", b"bytes");
    let put = |secret: &str, task: &str| ftp.curl(secret, task, &["-T", &file]);
    assert_done(&put(&store, "db"));
    assert_eq!(ftp.curl(&read, "db", &[]).stdout, b"bytes");
    refused(&put(&read, "db"), "550");
    refused(&ftp.curl(&store, "db", &[]), "550");
    // For another task, and for one that is not there.
    let (there, not_there) = (put(&other, "db"), put(&other, "nothing"));
    refused(&there, "550");
    assert_eq!(there.stderr, not_there.stderr, "one answer for both");
    let wrong = format!("simsim_token_{}", "0".repeat(64));
    refused(&put(&wrong, "db"), "530");
    // In the clear a token is not even asked for; whoever said it so has to make another.
    let mut clear = Command::new("curl");
    clear.args(["-v", "-sS", "-u", &format!("tool:{store}"), "-T", &file]);
    clear.args(["--resolve", &format!("localhost:{}:{}", ftp.at.port(), ftp.at.ip())]);
    let clear = clear.arg(ftp.url("db")).output().unwrap();
    refused(&clear, "AUTH TLS");
    assert!(!String::from_utf8_lossy(&clear.stderr).contains("PASS"), "{clear:?}");

    // Revoked, with a stream open: it ends, whoever sends it.
    let (child, job) = ftp.begun(&store);
    desk.server.must("token.revoke", json!({ "name": "stores" }));
    assert_eq!(desk.job(job)["state"], "cancelled");
    drop(child);
    refused(&put(&store, "db"), "530");
    assert_eq!(desk.savesets("db").len(), 1);
}

#[test]
fn a_job_that_was_started_takes_one_stream_by_the_ftp_command() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ftp = Ftp::new();
    let desk = &ftp.desk;
    let url = format!("ftpes://localhost:{}", ftp.at.port());
    desk.server.must("interface.set", json!({ "host": desk.own, "interfaces": [url] }));
    let started = desk.cli(&["backup", "db", "--external", "--json"]);
    assert_done(&started);
    let started: Value = serde_json::from_slice(&started.stdout).unwrap();
    check("StreamStarted", &started);
    let command = started["ftp_command"].as_str().unwrap();
    // As a person would, where the name of the host leads to it.
    let resolve = format!("curl --resolve localhost:{}:{} ", ftp.at.port(), ftp.at.ip());
    let run = |bytes: &[u8]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command.replacen("curl ", &resolve, 1)]);
        shell.current_dir(desk.scratch.path());
        shell.stdin(Stdio::from(std::fs::File::open(ftp.file("input", bytes)).unwrap()));
        shell.output().unwrap()
    };
    let bytes = noise(3_000_000, 1);
    assert_done(&run(&bytes));
    let job = desk.server.ended(&started);
    assert_eq!((&job["state"], &job["requested_by"]), (&"finished".into(), &"local:root".into()));
    assert_eq!(desk.savesets("db")[0]["bytes"], 3_000_000);
    refused(&run(b"again"), "530");
    assert_eq!(desk.savesets("db").len(), 1);
    // More streams than pairs of ports, into a datastore of this very host, which is reached by FTP now:
    // what goes on takes no ports from what comes.
    let secret = ftp.secret("both", "both");
    let file = ftp.file("many", &bytes);
    let many: Vec<_> = (0..5)
        .map(|_| {
            let mut curl = ftp.command(&secret, "db", &["-T", &file]);
            curl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            curl.spawn().unwrap()
        })
        .collect();
    for one in many {
        assert_done(&one.wait_with_output().unwrap());
    }
    assert_eq!(desk.savesets("db").len(), 6);
    let shown = desk.cli(&["token", "create", "t", "--task", "db", "--allow", "both"]);
    let shown = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(shown.contains(&ftp.url("db")) && shown.contains("--ssl-reqd"), "{shown}");
}

/// A tool that dies in the middle, and one that goes on for it: one job, one saveset, every byte once.
#[test]
fn an_upload_that_broke_off_goes_on_where_it_was_or_leaves_nothing() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ftp = Ftp::new();
    let desk = &ftp.desk;
    let secret = ftp.secret("both", "both");
    let bytes = noise(6_000_000, 5);
    let file = ftp.file("file", &bytes);
    let half = |file: &str| {
        let before = desk.newest_job();
        let mut child = ftp
            .command(&secret, "db", &["-T", file, "--limit-rate", "1M"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut job = Value::Null;
        until("some of it is there", || {
            job = desk.server.must("job.list", json!({ "limit": 1 }))[0].clone();
            job["job"].as_u64() > before && job["progress"]["bytes_read"].as_u64() > Some(500_000)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        job["job"].as_u64().unwrap()
    };
    let job = half(&file);
    until("the stream waits", || ftp.size(&secret).is_some());
    let size = ftp.size(&secret).unwrap();
    assert!((1..6_000_000).contains(&size), "{size}");
    assert_eq!(desk.savesets("db"), [0; 0]);
    assert_done(&ftp.curl(&secret, "db", &["-T", &file, "-C", "-"]));
    assert_eq!(desk.newest_job(), Some(job), "the same job");
    assert_eq!(desk.job(job)["state"], "finished");
    let saveset = desk.savesets("db")[0]["saveset"].as_str().unwrap().to_owned();
    assert!(restored(desk, &saveset, "db") == bytes);
    // What is stored is not taken for the beginning of what comes: the same bytes are stored again.
    assert_eq!(ftp.size(&secret), None);
    assert_done(&ftp.curl(&secret, "db", &["-T", &file, "-C", "-"]));
    assert_eq!(desk.savesets("db").len(), 2);

    // Begun anew: what waited is given up at once, and is nowhere.
    let job = half(&file);
    until("the stream waits", || ftp.size(&secret).is_some());
    ftp.stored(&secret, b"anew");
    let failed = desk.job(job);
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains("broke off") && why.contains("nothing of it is kept"), "{why}");

    // lftp goes on where curl was.
    let mut kept = 3;
    if has_program("lftp") {
        let job = half(&file);
        until("the stream waits", || ftp.size(&secret).is_some());
        let lftp = ftp.lftp(&secret, &format!("put -c {file} -o db")).output().unwrap();
        assert_done(&lftp);
        assert_eq!(desk.newest_job(), Some(job), "the same job");
        let saveset = desk.savesets("db")[0]["saveset"].as_str().unwrap().to_owned();
        assert!(restored(desk, &saveset, "db") == bytes);
        kept += 1;
    }

    // A token that is revoked ends what waits for its holder as well.
    let job = half(&file);
    until("the stream waits", || ftp.size(&secret).is_some());
    desk.server.must("token.revoke", json!({ "name": "both" }));
    assert_eq!(desk.job(job)["state"], "cancelled");
    assert_eq!(desk.savesets("db").len(), kept);
    assert_done(&desk.cli(&["verify", "--bytes"]));
}

impl Ftp {
    fn lftp(&self, secret: &str, verbs: &str) -> Command {
        let script = format!(
            "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:ca-file {}; \
             set ssl:check-hostname no; set net:max-retries 2; set net:timeout 60; \
             set cmd:fail-exit yes; open -u tool,{secret} -p {} {}; {verbs}",
            self.desk.authority().display(),
            self.at.port(),
            self.at.ip(),
        );
        let mut lftp = Command::new("lftp");
        lftp.args(["--norc", "-c", &script]);
        lftp
    }

    /// What SIZE says of the task, in Python: curl cannot ask for it alone.
    fn size(&self, secret: &str) -> Option<u64> {
        let script = "\
import ftplib, ssl, sys
host, port, ca, secret = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
context.check_hostname = False
ftp = ftplib.FTP_TLS(context=context)
ftp.connect(host, int(port), timeout=60)
ftp.login('tool', secret)
try:
    print(ftp.size('db'))
except ftplib.Error as error:
    print(error)
ftp.quit()
";
        let (ip, port) = (self.at.ip().to_string(), self.at.port().to_string());
        let mut python = Command::new("python3");
        python.args(["-c", script, &ip, &port]).arg(self.desk.authority()).arg(secret);
        let output = python.output().unwrap();
        assert_done(&output);
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    }
}

/// lftp is told to stop: it ends its connections in order, and what it sent is no whole stream.
#[test]
fn what_lftp_leaves_when_it_is_told_to_stop_is_not_kept() {
    if !has_program("lftp") {
        return skip("no lftp");
    }
    let ftp = Ftp::new();
    let desk = &ftp.desk;
    let secret = ftp.secret("both", "both");
    let lftp = |verbs: &str| ftp.lftp(&secret, verbs);
    let (large, small) = (ftp.file("large", &noise(20_000_000, 6)), ftp.file("small", b"small"));
    for (number, signal) in ["TERM", "INT"].into_iter().enumerate() {
        let before = desk.newest_job();
        let verbs = format!("set net:limit-rate 2000000; put {large} -o db");
        let mut child = ChildProcess::start(&mut lftp(&verbs));
        let mut job = Value::Null;
        until("some of it is there", || {
            job = desk.server.must("job.list", json!({ "limit": 1 }))[0].clone();
            job["job"].as_u64() > before && job["progress"]["bytes_read"].as_u64() > Some(500_000)
        });
        let mut kill = Command::new("kill");
        assert_done(&kill.args(["-s", signal, &child.id().to_string()]).output().unwrap());
        assert!(child.wait(PATIENCE).is_some(), "{signal}: {}", child.output());
        // Whether it waits to be gone on with or not: who begins anew has a stream of its own.
        until("the stream waits or has ended", || {
            let state = desk.server.must("job.show", json!({ "job": job["job"] }));
            state["state"] == "failed" || ftp.size(&secret).is_some()
        });
        assert_eq!(desk.savesets("db").len(), number, "{signal}: a part was kept as a whole");
        let again = lftp(&format!("put {small} -o db; cat db")).output().unwrap();
        assert_done(&again);
        assert_eq!(again.stdout, b"small");
        assert_eq!(desk.job(job["job"].as_u64().unwrap())["state"], "failed");
        assert_eq!(desk.savesets("db").len(), number + 1);
    }
}

/// An administrator who sends streams elsewhere cannot send those that come by FTP: the server takes them.
#[test]
fn a_task_that_redirects_is_relayed_for_who_comes_by_ftp() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let ftp = Ftp::new();
    let desk = &ftp.desk;
    let state = desk.scratch.path().join("rds");
    std::fs::create_dir_all(&state).unwrap();
    let far_ftp = SocketAddr::from((Ipv4Addr::LOCALHOST, simsim_testkit::free_ports(1)[0]));
    let settings = format!("[listen]\nftp = [\"{far_ftp}\"]\n");
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    let far = Daemon::start("rds", &state);
    assert_done(&desk.server.join("far", &state, &[]));
    desk.server.until_connected("far");
    let store = desk.scratch.path().join("vault");
    desk.server.must("datastore.create", json!({ "name": "vault", "node": "far", "path": store }));
    desk.external("far", "vault");
    assert_done(&desk.cli(&["task", "change", "far", "--redirect=true"]));
    let secret = desk.token("both", "far", "both").0;
    let bytes = noise(2_000_000, 8);
    let file = ftp.file("file", &bytes);
    assert_done(&ftp.curl(&secret, "far", &["-T", &file]));
    assert!(ftp.curl(&secret, "far", &[]).stdout == bytes);
    assert!(!far.process.output().contains("raw stream begins"), "it took no stream itself");
    // Where it would have to wait for the ports that its bringer holds, it is refused with the reason.
    let active = format!("ftp://{far_ftp}?mode=active");
    desk.server.must("interface.set", json!({ "host": "far", "interfaces": [active] }));
    let before = desk.savesets("far").len();
    assert!(!ftp.curl(&secret, "far", &["-T", &file]).status.success());
    let job = desk.job(desk.newest_job().unwrap());
    let why = job["error"]["message"].as_str().unwrap();
    assert!(why.contains("both take their data ports from this server's range"), "{job:#}");
    assert_eq!(desk.savesets("far").len(), before);
}

/// A server that stops gives up what waits to be gone on with, and says how it ended.
#[test]
fn a_server_that_stops_keeps_no_stream_that_waits() {
    if !has_program("curl") {
        return skip("no curl");
    }
    let mut ftp = Ftp::new();
    let secret = ftp.secret("both", "both");
    let (mut child, job) = ftp.begun(&secret);
    child.kill();
    assert!(child.wait(PATIENCE).is_some());
    until("the stream waits", || ftp.size(&secret).is_some());
    assert_eq!(ftp.desk.server.stop(), 0, "{}", ftp.desk.server.process.output());
    ftp.desk.server.again();
    let interrupted = ftp.desk.job(job);
    assert_eq!(interrupted["state"], "interrupted", "{interrupted:#}");
    assert_eq!(ftp.desk.savesets("db"), [0; 0]);
}
