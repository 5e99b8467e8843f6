//! What the server tells people: a mail server and a web server of others (Python's), a program, deaths in between, a mail
//! server that is away for a day, and what is missing by a clock that the test sets.

mod absences;
mod names;
mod reports;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use simsim_testkit::ChildProcess;

use crate::console::python_tool;
use crate::hosts::{Daemon, PATIENCE, simsim, tree, until, until_within};

const HOUR_MS: i64 = 3_600_000;
const PASSWORD: &str = "open sesame 4711";
const KEY: &str = "a key that nobody guesses";
/// Longer than the server gathers and looks.
const QUIET: Duration = Duration::from_secs(14);

/// Something that takes what is told.
struct Receiver {
    folder: PathBuf,
    kind: &'static str,
    port: u16,
    process: Option<ChildProcess>,
}

impl Receiver {
    /// `None` where there is no such mail server: said and skipped.
    fn new(scratch: &Path, kind: &'static str) -> Option<Self> {
        let folder = scratch.join(format!("takes-{kind}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("key"), KEY).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "9", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(folder.join("tls.key"))
            .arg("-out")
            .arg(folder.join("tls.crt"))
            .output();
        if !made.is_ok_and(|made| made.status.success()) {
            simsim_testkit::skip("there is no openssl to make a certificate");
            return None;
        }
        let port = simsim_testkit::free_ports(1)[0];
        let mut receiver = Self { folder, kind, port, process: None };
        receiver.start()?;
        Some(receiver)
    }

    fn start(&mut self) -> Option<()> {
        let Some(tool) = python_tool("aiosmtpd") else {
            simsim_testkit::skip("there is no aiosmtpd (PyPI)");
            return None;
        };
        let python = tool.with_file_name("python3");
        let python = if python.exists() { python } else { PathBuf::from("python3") };
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/notifications/receivers.py");
        let mut command = Command::new(python);
        command.arg(script).arg(&self.folder).arg(self.kind).arg(self.port.to_string());
        let process = ChildProcess::start(&mut command);
        process.wait_for_line("ready", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        self.process = Some(process);
        Some(())
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    fn authority(&self) -> String {
        std::fs::read_to_string(self.folder.join("tls.crt")).unwrap()
    }

    fn taken(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.join("taken")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    fn until_taken(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} messages by {}", self.kind), || self.taken().len() >= count);
        self.taken()
    }

    fn mail(&self, security: &str) -> Value {
        json!({
            "kind": "mail", "server": "localhost", "port": self.port, "security": security, "user": "backup",
            "authority": self.authority(), "from": "simsim@example.org", "to": ["ops@example.org"],
        })
    }

    fn post(&self) -> Value {
        let url = format!("https://localhost:{}/hook?a=b", self.port);
        json!({ "kind": "webhook", "url": url, "authority": self.authority() })
    }
}

/// A server with a clock of its own and two tasks: one is good, one names what is not there.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    clock: PathBuf,
}

impl Site {
    fn new(points: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let clock = scratch.path().join("clock");
        std::fs::write(&clock, "0").unwrap();
        let state = scratch.path().join("server");
        std::fs::create_dir_all(&state).unwrap();
        let told = scratch.path().join("told");
        let script = format!("cat >> {}; echo \"$SIMSIM_SUBJECT\" >&2", told.display());
        let settings = format!(
            "[server.notify_programs]\nnote = [\"/bin/sh\", \"-c\", '''{script}''']\nbad = [\"/bin/sh\", \"-c\", \"echo it is \
             full >&2; exit 3\"]\n"
        );
        std::fs::write(state.join("simsim.toml"), settings).unwrap();
        let server = start(&state, &clock, points);
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "path": store }));
        let own = server.own_name();
        server.until_connected(&own);
        server.add_task("home", &own, &tree(scratch.path()));
        server.add_task("gone", &own, &scratch.path().join("not-there"));
        Self { scratch, server, clock }
    }

    fn shift(&self, ms: i64) {
        std::fs::write(&self.clock, ms.to_string()).unwrap();
    }

    fn show(&self, name: &str) -> Value {
        self.server.must("notification.show", json!({ "name": name }))
    }
}

fn start(state: &Path, clock: &Path, points: &str) -> Daemon {
    let points = format!("clock={}{points}", clock.display());
    Daemon::start_with("server", state, &[("SIMSIM_FAILPOINTS", &points)])
}

#[test]
fn ret05_what_is_not_good_is_told_by_mail_and_web_and_no_secret_is_shown() {
    let site = Site::new("");
    let scratch = site.scratch.path();
    let Some(mail) = Receiver::new(scratch, "smtp") else { return };
    let Some(web) = Receiver::new(scratch, "https") else { return };
    let add = |name: &str, via: Value, secret: &str| {
        site.server.must("notification.add", json!({ "name": name, "via": via, "secret": secret }))
    };
    let shown = [add("ops", mail.mail("starttls"), PASSWORD), add("hook", web.post(), KEY)];
    for shown in shown {
        assert_eq!(shown["has_secret"], true, "{shown}");
        assert!(
            !shown.to_string().contains(PASSWORD) && !shown.to_string().contains(KEY),
            "{shown}"
        );
    }
    let kept: Vec<u8> = ["catalog.db", "catalog.db-wal"]
        .iter()
        .flat_map(|name| {
            std::fs::read(site.server.state.join("server").join(name)).unwrap_or_default()
        })
        .collect();
    assert!(kept.windows(14).any(|part| part == b"ops@example.or"), "the document is there");
    for secret in [PASSWORD, KEY] {
        assert!(!kept.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
    assert_eq!(site.server.backup("home")["state"], "finished");
    let bad = site.server.backup("gone");
    assert_ne!(bad["state"], "finished", "{bad}");
    let mails = mail.until_taken(1);
    assert_eq!(mails[0]["to"], json!(["ops@example.org"]), "{mails:?}");
    assert_eq!(mails[0]["tls"], true, "{mails:?}");
    let text = mails[0]["text"].as_str().unwrap();
    assert!(text.contains("'gone'") && !text.contains("'home'"), "{text}");
    let posts = web.until_taken(1);
    assert_eq!(posts[0]["path"], "/hook?a=b");
    assert_eq!(posts[0]["body"]["notices"][0]["job"], bad["job"], "{posts:?}");
    std::thread::sleep(QUIET);
    assert_eq!((mail.taken().len(), web.taken().len()), (1, 1), "each end is told once");

    // What is wrong is said in words.
    let change = |name: &str, via: Value, secret: Option<&str>| {
        site.server
            .ask("notification.change", json!({ "name": name, "via": via, "secret": secret }))
    };
    let test = |name: &str| site.server.ask("notification.test", json!({ "name": name }));
    test("ops").unwrap();
    test("hook").unwrap();
    assert!(mail.taken()[1]["text"].as_str().unwrap().contains("a test"), "{:?}", mail.taken());
    change("ops", mail.mail("starttls"), Some("wrong")).unwrap();
    let error = test("ops").unwrap_err().to_string();
    assert!(error.contains("535") && error.contains("localhost"), "{error}");
    let mut elsewhere = mail.mail("starttls");
    elsewhere["server"] = json!("127.0.0.1");
    let error = change("ops", elsewhere, None).unwrap_err().to_string();
    assert!(error.contains("secret would go to another host"), "{error}");
    let mut strange = web.post();
    strange["authority"] = json!(mail.authority());
    change("hook", strange, Some(KEY)).unwrap();
    let error = test("hook").unwrap_err().to_string();
    assert!(error.contains("not trusted"), "{error}");
    change("hook", web.post(), Some("another key")).unwrap();
    let error = test("hook").unwrap_err().to_string();
    assert!(error.contains("401"), "{error}");
    let mut clear = mail.mail("none");
    let error = change("ops", clear.take(), Some(PASSWORD)).unwrap_err().to_string();
    assert!(error.contains("in clear"), "{error}");
}

#[test]
fn mail_with_tls_from_the_first_byte_and_programs_of_the_settings() {
    let site = Site::new("");
    let Some(mail) = Receiver::new(site.scratch.path(), "smtps") else { return };
    let add = |name: &str, via: Value, secret: Option<&str>| {
        site.server.ask("notification.add", json!({ "name": name, "via": via, "secret": secret }))
    };
    add("ops", mail.mail("tls"), Some(PASSWORD)).unwrap();
    let output = simsim()
        .args(["notification", "test", "ops", "--state"])
        .arg(&site.server.state)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(mail.taken()[0]["tls"], true, "{:?}", mail.taken());

    let program = |name: &str| json!({ "kind": "program", "local_name": name });
    let error = add("x", program("none"), None).unwrap_err().to_string();
    assert!(error.contains("[server.notify_programs]"), "{error}");
    add("note", program("note"), None).unwrap();
    add("bad", program("bad"), None).unwrap();
    let error = site.server.ask("notification.test", json!({ "name": "bad" })).unwrap_err();
    assert!(error.to_string().contains("it is full"), "{error}");
    site.server.backup("gone");
    let told = site.scratch.path().join("told");
    until("the program was run", || told.exists());
    until("it is written", || {
        let text = std::fs::read_to_string(&told).unwrap();
        serde_json::from_str::<Value>(&text).is_ok_and(|told| {
            told["notification"] == "note" && told["notices"][0]["task"] == "gone"
        })
    });
}

#[test]
fn wherever_the_server_dies_what_ended_is_told() {
    for (point, at_most) in [("notice.kept", 1), ("notice.sent", 2)] {
        let mut site = Site::new(&format!(",{point}=kill"));
        let Some(web) = Receiver::new(site.scratch.path(), "https") else { return };
        let hook = json!({ "name": "hook", "via": web.post(), "secret": KEY });
        site.server.must("notification.add", hook);
        let _ = site.server.ask("task.run", json!({ "task": "gone" }));
        site.server.process.wait(PATIENCE).expect("it died at the point");
        site.server = start(&site.scratch.path().join("server"), &site.clock, "");
        until("it is told", || {
            let messages = site.server.must("notification.messages", json!({}));
            messages.as_array().unwrap().iter().any(|message| message["state"] == "sent")
        });
        let taken = web.taken();
        assert!((1..=at_most).contains(&taken.len()), "{point}: {taken:?}");
        let first = &taken[0];
        assert!(taken.iter().all(|one| one == first), "a second time it is the same: {taken:?}");
        assert_eq!(first["body"]["notices"].as_array().unwrap().len(), 1, "{first}");
    }
}

#[test]
fn ret04_a_mail_server_that_is_away_for_a_day_holds_up_nothing_and_loses_nothing() {
    let site = Site::new("");
    let scratch = site.scratch.path();
    let Some(mut mail) = Receiver::new(scratch, "smtp") else { return };
    let Some(web) = Receiver::new(scratch, "https") else { return };
    mail.stop();
    let ops = json!({ "name": "ops", "via": mail.mail("starttls"), "secret": PASSWORD });
    site.server.must("notification.add", ops);
    let hook = json!({
        "name": "hook", "via": web.post(), "secret": KEY, "outcomes": [], "watch": [{ "subject": "delivery" }],
    });
    site.server.must("notification.add", hook);
    let attempts = || {
        let messages = site.server.must("notification.messages", json!({ "notification": "ops" }));
        crate::cli::documents::check("Message[]", &messages);
        let oldest = messages.as_array().unwrap().last().cloned().unwrap_or_default();
        oldest["attempts"].as_i64().unwrap_or(0)
    };
    for hour in 0..24 {
        if hour < 6 {
            site.server.backup("gone");
        }
        let before = attempts();
        site.shift((hour + 1) * HOUR_MS);
        if hour < 4 {
            until("it was tried", || attempts() > before);
        }
    }
    // Nobody takes it: status says so, and another notification.
    let status = site.server.must("status", Value::Null)["warnings"].to_string();
    assert!(status.contains("notification 'ops' is not delivered"), "{status}");
    let told = web.until_taken(1);
    assert_eq!(told[0]["body"]["notices"][0]["subject"], "delivery ops", "{told:?}");
    assert!(site.show("ops")["waiting"].as_u64().unwrap() <= 2, "{}", site.show("ops"));
    assert_eq!(site.server.backup("home")["state"], "finished", "nothing else waits");

    mail.start().unwrap();
    site.shift(26 * HOUR_MS);
    let named = || {
        let texts: Vec<_> = mail.taken().iter().map(|mail| mail["text"].to_string()).collect();
        texts.iter().map(|text| text.matches("backup of 'gone'").count()).sum::<usize>()
    };
    let mut hours = 26;
    until_within("all six ends are told", PATIENCE * 2, || {
        hours += 2;
        site.shift(hours * HOUR_MS);
        std::thread::sleep(Duration::from_secs(3));
        named() >= 6
    });
    assert_eq!(named(), 6, "each once: {:?}", mail.taken());
    assert!(mail.taken().len() <= 3, "no storm: {:?}", mail.taken());
    until("the other one says that it is good again", || {
        hours += 1;
        site.shift(hours * HOUR_MS);
        std::thread::sleep(Duration::from_secs(3));
        web.taken().iter().any(|one| one["body"]["notices"][0]["notice"] == "recovery")
    });
}

#[test]
fn ret04_no_good_backup_is_told_once_then_daily_and_when_it_is_good_again() {
    let site = Site::new("");
    let Some(web) = Receiver::new(site.scratch.path(), "https") else { return };
    let hook = json!({
        "name": "hook", "via": web.post(), "secret": KEY, "outcomes": [], "tasks": ["home"],
        "watch": [{ "subject": "backup", "after_h": 26 }],
    });
    site.server.must("notification.add", hook);
    assert_eq!(site.server.backup("home")["state"], "finished");
    site.shift(25 * HOUR_MS);
    std::thread::sleep(QUIET);
    assert_eq!(web.taken(), [] as [Value; 0], "not yet");
    let notices = |count: usize| -> Vec<(String, bool)> {
        let taken = web.until_taken(count);
        let notices = taken.iter().flat_map(|one| one["body"]["notices"].as_array().unwrap());
        notices
            .map(|one| {
                assert_eq!(one["subject"], "backup home", "{one}");
                (one["notice"].as_str().unwrap().to_owned(), one["again"] == true)
            })
            .collect()
    };
    let absence = |again| ("absence".to_owned(), again);
    site.shift(27 * HOUR_MS);
    assert_eq!(notices(1), [absence(false)]);
    assert_eq!(site.show("hook")["absent"][0]["subject"], "backup home");
    site.shift(40 * HOUR_MS);
    std::thread::sleep(QUIET);
    assert_eq!(web.taken().len(), 1, "it was said");
    site.shift(52 * HOUR_MS);
    assert_eq!(notices(2), [absence(false), absence(true)]);
    assert_eq!(site.server.backup("home")["state"], "finished");
    site.shift(53 * HOUR_MS);
    assert_eq!(notices(3).last().unwrap().0, "recovery");
    assert_eq!(site.show("hook")["absent"], json!([]));
}
