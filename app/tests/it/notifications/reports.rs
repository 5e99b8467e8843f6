//! The report: by mail as text and page, to programs as a document, on the command line and over HTTP.

use serde_json::{Value, json};

use super::{HOUR_MS, PASSWORD, QUIET, Receiver, Site};
use crate::hosts::{simsim, until};

/// `daily at HH:00 UTC`, some hours from now.
fn in_hours(hours: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let hour = (i64::try_from(now.as_secs()).unwrap() / 3600 + hours) % 24;
    format!("daily at {hour:02}:00 UTC")
}

#[test]
fn a_report_comes_by_mail_once_a_day_and_says_what_is_not_well() {
    let site = Site::new("");
    let Some(mail) = Receiver::new(site.scratch.path(), "smtp") else { return };
    let ops = json!({
        "name": "ops", "via": mail.mail("starttls"), "secret": PASSWORD, "outcomes": [], "report": in_hours(6),
    });
    let shown = site.server.must("notification.add", ops.clone());
    assert_eq!(shown["report"], ops["report"], "{shown}");
    for wrong in ["sometimes", "daily 07:00 except calendar:x", "daily at 07:00 Mars/Olympus"] {
        let mut wrong_one = ops.clone();
        wrong_one["report"] = json!(wrong);
        let error = site.server.ask("notification.change", wrong_one).unwrap_err();
        assert!(error.to_string().contains("report: "), "{wrong}: {error}");
    }
    assert_eq!(site.server.backup("home")["state"], "finished");
    let bad = site.server.backup("gone");
    // The look that makes it count from here on.
    std::thread::sleep(QUIET);
    assert_eq!(mail.taken(), [] as [Value; 0], "not yet");

    site.shift(7 * HOUR_MS);
    let taken = mail.until_taken(1);
    let (text, page) = (taken[0]["text"].as_str().unwrap(), taken[0]["html"].as_str().unwrap());
    let own = site.server.own_name();
    let gone = format!("backup of 'gone' on '{own}' (job {})", bad["job"]);
    for told in ["What ran", &gone, "Not green (", "Never tested (", "Capacity", "'main':"] {
        assert!(text.contains(told), "{told}: {text}");
        assert!(page.replace("&#39;", "'").contains(told), "{told}: {page}");
    }
    let subject = taken[0]["subject"].as_str().unwrap();
    assert!(subject.contains("1 job failed") && subject.contains("not green"), "{subject}");
    assert!(page.starts_with("<!doctype html>"), "{page}");
    std::thread::sleep(QUIET);
    assert_eq!(mail.taken().len(), 1, "once");

    // Three days later: one report of all of it.
    site.shift((7 + 72) * HOUR_MS);
    let taken = mail.until_taken(2);
    std::thread::sleep(QUIET);
    assert_eq!(mail.taken().len(), 2, "what was missed is one report: {taken:?}");
    let messages = site.server.must("notification.messages", json!({ "notification": "ops" }));
    let report = &messages[0]["notices"][0]["report"];
    let span = report["until_unix_ms"].as_i64().unwrap() - report["from_unix_ms"].as_i64().unwrap();
    assert_eq!(span, 72 * HOUR_MS, "{report}");
}

#[test]
fn who_asks_gets_a_report_as_text_page_and_document() {
    let port = crate::console::Port::furnished();
    assert_eq!(port.server.backup("home")["state"], "finished");
    let run = |more: &[&str]| {
        let state = port.server.state.to_str().unwrap();
        let output = simsim().args(["report", "--state", state]).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&[]);
    assert!(text.contains("What ran") && text.contains("'home'"), "{text}");
    assert!(text.contains("no restore test that passed since the task was made"), "{text}");
    let page = run(&["--html"]);
    assert!(page.contains("<h2>What ran</h2>"), "{page}");
    let long_ago = run(&["--day", "2020-02-29"]);
    assert!(!long_ago.contains("What ran"), "{long_ago}");
    let state = port.server.state.to_str().unwrap();
    let wrong = simsim().args(["report", "--state", state, "--day", "soon"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("'soon' is no day"), "{wrong:?}");

    let viewer = port.token("viewer", &json!([{ "right": "view" }]));
    let told = port.get(&viewer, "/api/v1/report?html=true").is(200).json();
    crate::cli::documents::check("Reported", &told);
    let report = &told["report"];
    assert_eq!((&report["tasks"], &report["bad_total"]), (&json!(1), &json!(0)), "{report}");
    assert_eq!(report["kinds"][0]["kind"], "backup");
    let main = &report["datastores"][0];
    assert!(main["capacity_bytes"].as_u64().unwrap() > 0, "{main}");
    let one = port.token("one", &json!([{ "right": "view", "client": port.server.own_name() }]));
    port.get(&one, "/api/v1/report").fails(403, "view");
    port.get(&viewer, "/api/v1/report?day=9999-01-01").fails(400, "not come yet");
    until("a second person is waited for", || {
        let anna = json!({ "name": "anna", "password": "a very long password", "grants": [{ "role": "superuser" }] });
        let kim = json!({ "name": "kim", "password": "a very long password", "grants": [{ "role": "administrator" }] });
        port.server.must("user.add", anna);
        port.server.must("user.add", kim);
        true
    });
    let told = port.get(&viewer, "/api/v1/report").is(200).json();
    assert_eq!(told["report"]["approvals"].as_array().unwrap().len(), 1, "{told}");
    assert!(told["text"].as_str().unwrap().contains("Waits for a second person"), "{told}");
}
