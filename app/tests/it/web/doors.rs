//! Who gets in, what forms must show, and what dies on the way.

use std::time::Duration;

use serde_json::json;

use super::browser::Browser;
use super::{PASSWORD, logged_in, with_user};
use crate::console::Port;

/// A session by curl: its cookie, and what its forms show.
fn session(port: &Port, user: &str) -> (String, String) {
    let form = format!("user={user}&password={}", PASSWORD.replace(' ', "+"));
    let told =
        port.curl("POST", "/log-in", &["-H", "Sec-Fetch-Site: same-origin", "--data", &form]);
    let told = told.is(303);
    let cookie = told.field("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let cookie = format!("Cookie: {cookie}");
    let page = port.curl("GET", "/me", &["-H", &cookie]).is(200);
    let csrf = page.text.split("name=\"csrf\" value=\"").nth(1).unwrap();
    (cookie, csrf.split('"').next().unwrap().to_owned())
}

#[test]
fn pages_carry_what_keeps_browsers_in_line_and_forms_show_their_session() {
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    let stranger = port.curl("GET", "/jobs?task=a", &[]).is(303);
    assert_eq!(stranger.field("location"), Some("/log-in?to=%2Fjobs%3Ftask%3Da"));
    let (cookie, csrf) = session(&port, "anna");
    let page = port.curl("GET", "/", &["-H", &cookie]).is(200);
    let policy = page.field("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(page.field(name), Some(value));
    }
    // Nothing that a policy would have to allow stands in pages.
    for word in ["<style", " style=", "onclick", "javascript:", "http://"] {
        assert!(!page.text.contains(word), "{word}");
    }
    let script = page.text.split("src=\"").find(|part| part.contains("console-")).unwrap();
    let script = script.split('"').next().unwrap();
    let asset = port.curl("GET", script, &[]).is(200);
    assert!(asset.field("cache-control").unwrap().contains("immutable"));
    assert_eq!(asset.field("content-type"), Some("text/javascript"));

    let post = |more: &[&str], form: &str| {
        let all = [&["-H", &cookie][..], more, &["--data", form]].concat();
        port.curl("POST", "/queue/pause", &all)
    };
    let own = ["-H", "Sec-Fetch-Site: same-origin"];
    let form = format!("csrf={csrf}&why=x");
    post(&[], &form).fails(403, "where it comes from");
    post(&["-H", "Sec-Fetch-Site: cross-site"], &form).fails(403, "another site");
    post(&["-H", "Sec-Fetch-Site: same-site"], &form).fails(403, "another site");
    post(&["-H", "Origin: https://evil.test"], &form).fails(403, "another site");
    post(&own, "why=x").fails(403, "X-CSRF-Token");
    post(&own, "csrf=0&why=x").fails(403, "X-CSRF-Token");
    post(&[&own[..], &["-H", "Content-Type: text/plain"]].concat(), &form).fails(415, "form");
    let queue = || port.server.must("queue.show", json!(null))["paused_by"].clone();
    assert_eq!(queue(), json!(null));
    post(&own, &form).is(303);
    assert_eq!(queue(), "user:anna");
    // A form larger than its limit is refused whole.
    let large = format!("csrf={csrf}&why={}", "x".repeat(70_000));
    let file = port.file("large", &large);
    post(&[&own[..], &["--data-binary", &format!("@{}", file.display())]].concat(), "")
        .fails(400, "form");
    port.curl("PUT", "/jobs", &["-H", &cookie]).fails(405, "POST");
    // A link of another site comes without the cookie: it is asked for again from here.
    let linked = port.curl("GET", "/jobs", &["-H", "Sec-Fetch-Site: cross-site"]).is(200);
    assert!(linked.text.contains("http-equiv=\"refresh\""), "{}", linked.text);
    // Nobody is led elsewhere by logging in.
    let form = format!("user=anna&password={}&to=//evil.test/", PASSWORD.replace(' ', "+"));
    let told = port.curl("POST", "/log-in", &[&own[..], &["--data", &form]].concat()).is(303);
    assert_eq!(told.field("location"), Some("/"));
    let out = port.curl(
        "POST",
        "/log-out",
        &[&["-H", &cookie][..], &own, &["--data", &format!("csrf={csrf}")]].concat(),
    );
    assert!(out.is(303).field("set-cookie").unwrap().contains("Max-Age=0"));
    port.curl("GET", "/jobs", &["-H", &cookie]).is(303);
}

#[test]
fn a_live_page_ends_when_its_user_may_something_else_and_where_nothing_is_live() {
    let port = Port::furnished();
    with_user(&port, "olga", "operator");
    let (cookie, _) = session(&port, "olga");
    let follow = |path: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-sSN", "--max-time", "50", "-H", &cookie, "--cacert"]);
        curl.arg(port.certificate()).arg(port.url(path));
        simsim_testkit::ChildProcess::start(&mut curl)
    };
    let mut still = follow("/set-up?live=1");
    assert!(still.wait(Duration::from_secs(10)).unwrap().success(), "nothing to follow");
    let mut jobs = follow("/jobs?live=1");
    jobs.wait_for_line("No job fits", Duration::from_secs(20)).unwrap();
    port.server.must("user.change", json!({ "name": "olga", "grants": [] }));
    let status = jobs.wait(Duration::from_secs(20)).expect("it goes on");
    assert!(status.success(), "{status}");
    let shown = jobs.output().matches("event: shown").count();
    port.server.backup("home");
    assert_eq!(jobs.output().matches("event: shown").count(), shown);
    assert!(!jobs.output().contains("event: ended"), "the session goes on");
}

#[test]
fn a_wrong_log_in_says_nothing_more_and_many_have_to_wait() {
    let port = Port::start();
    with_user(&port, "anna", "superuser");
    let own = ["-H", "Sec-Fetch-Site: same-origin"];
    let try_as = |user: &str| {
        let form = format!("user={user}&password=something+wrong");
        port.curl("POST", "/log-in", &[&own[..], &["--data", &form]].concat())
    };
    let (known, unknown) = (try_as("anna").is(401), try_as("nobody").is(401));
    let words = "This name, password and one-time password do not fit together.";
    assert!(known.text.contains(words) && unknown.text.contains(words));
    assert_eq!(known.text.replace("anna", ""), unknown.text.replace("nobody", ""));
    let mut waits = false;
    for _ in 0..40 {
        let told = try_as("anna");
        waits |= told.status == 429 && told.text.contains("wait");
    }
    assert!(waits);
}

#[test]
fn no_page_opens_without_its_right() {
    let port = Port::furnished();
    port.server.backup("home");
    let none = json!({ "name": "nobody", "grants": [], "password": PASSWORD });
    port.server.must("user.add", none);
    let (cookie, csrf) = session(&port, "nobody");
    let savesets = port.server.must("saveset.list", json!({}));
    let id = savesets[0]["saveset"].as_str().unwrap();
    let mut pages = vec![
        "/".to_owned(),
        "/jobs".into(),
        "/jobs/1".into(),
        "/restore".into(),
        "/search?q=a".into(),
        "/history?of=home&path=/a".into(),
        "/clients".into(),
        "/tasks/home".into(),
        "/set-up/plan".into(),
        "/retention?policy=forever".into(),
        "/ports".into(),
        "/storage".into(),
        "/storage/main".into(),
        "/audit".into(),
        "/approvals".into(),
        "/kit".into(),
    ];
    for part in
        ["", "/files", "/restore", "/download?path=/", "/preview?path=/", &format!("/compare/{id}")]
    {
        pages.push(format!("/savesets/{id}{part}"));
    }
    for noun in
        ["datastores", "pools", "tasks", "events", "users", "api-tokens", "notifications", "rates"]
    {
        pages.push(format!("/set-up/{noun}"));
    }
    for page in &pages {
        let told = port.curl("GET", page, &["-H", &cookie]);
        assert_eq!(told.status, 403, "{page}\n{}", told.text);
        assert!(!told.text.contains(id), "{page}");
    }
    let acts = [
        "/jobs/1/again",
        "/tasks/home/run",
        "/tasks/home/drill",
        "/queue/pause",
        "/clients/add",
        "/ports",
        "/storage/main/collect",
        "/storage/all/retention",
        "/set-up/pools/new",
        "/kit",
        "/audit",
        "/approvals/1",
    ];
    let form = format!("csrf={csrf}&make=1&name=x&policy=forever&word=approve&why=x");
    for act in acts {
        let told = port.curl(
            "POST",
            act,
            &["-H", &cookie, "-H", "Sec-Fetch-Site: same-origin", "--data", &form],
        );
        assert_eq!(told.status, 403, "{act}\n{}", told.text);
    }
}

/// Rights for one task: the first page after the log-in and the way to a restore show what is of it, and nothing else.
#[test]
fn who_may_a_part_sees_that_part() {
    let port = Port::furnished();
    let own = port.server.own_name();
    port.server.add_task("hidden-task", &own, &port.scratch.path().join("tree"));
    for task in ["home", "hidden-task"] {
        assert_eq!(port.server.backup(task)["state"], "finished");
    }
    let grants = json!([
        { "role": "restore", "task": "home" }, { "role": "backup", "task": "home" },
    ]);
    let kim = json!({ "name": "kim", "grants": grants, "password": PASSWORD });
    port.server.must("user.add", kim);
    let (cookie, _) = session(&port, "kim");
    let client = format!("/clients/{own}");
    let shown =
        ["/", "/jobs", "/restore", "/clients", &client, "/tasks/home", "/search?q=a", "/me"];
    for page in shown {
        let told = port.curl("GET", page, &["-H", &cookie]).is(200);
        assert!(!told.text.contains("hidden-task"), "{page}\n{}", told.text);
    }
    let first = port.curl("GET", "/", &["-H", &cookie]).is(200).text;
    assert!(first.contains("/tasks/home") && first.contains("href=\"/restore\""), "{first}");
    for page in ["/tasks/hidden-task", "/storage", "/ports", "/audit", "/jobs/2"] {
        let told = port.curl("GET", page, &["-H", &cookie]).is(403);
        assert!(told.text.contains("ask an administrator"), "{page}\n{}", told.text);
    }
    let rows = port.server.must("audit.list", json!({ "limit": 1000 }));
    let rows = rows["rows"].as_array().unwrap().iter();
    let refused = rows.filter(|row| row["entry"]["allowed"] == false);
    let verbs: Vec<_> = refused.map(|row| row["entry"]["verb"].as_str().unwrap()).collect();
    assert!(verbs.len() <= 6, "pages of a part ask for nothing that is refused: {verbs:?}");
}

#[test]
fn scripts_in_names_logs_and_addresses_are_dead() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    let evil = "<img src=x onerror=window.hit=1>\"'><script>window.hit=1<\\x2fscript>";
    let evil_name = evil.replace("\\x2f", "");
    let tree = port.scratch.path().join("tree");
    std::fs::write(tree.join(&evil_name), "x").unwrap();
    std::os::unix::fs::symlink(&evil_name, tree.join("link")).unwrap();
    let gone = tree.join(format!("gone {evil_name}"));
    let own = port.server.own_name();
    port.server.must(
        "task.add",
        json!({ "name": "evil", "client": own, "sources": [tree, gone], "datastore": "main" }),
    );
    let job = port.server.must("task.run", json!({ "task": "evil" }));
    port.server.ended(&job);
    port.server.must("location.add", json!({ "name": "here", "note": evil_name }));
    port.server.must("queue.pause", json!({ "why": evil_name }));
    let savesets = port.server.must("saveset.list", json!({}));
    let id = savesets[0]["saveset"].as_str().unwrap();
    let browser = logged_in(&port, "anna");
    let q = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E%22%27%3E%3Cscript%3Ewindow.hit%3D1%3C%2Fscript%3E";
    let path: String = tree.to_str().unwrap().to_owned();
    for page in [
        format!("/jobs/{}", job["job"]),
        format!("/savesets/{id}/files?path={path}"),
        "/jobs".to_owned(),
        "/audit".to_owned(),
        "/set-up/locations".to_owned(),
        "/set-up/locations/change/here".to_owned(),
        format!("/search?q={q}"),
        format!("/jobs?task={q}"),
        format!("/history?of={own}&path={q}"),
        format!("/savesets/{q}"),
        format!("/{q}"),
        format!("/log-in?to=/{q}"),
        format!("/welcome?code={q}"),
        format!("/set-up/{q}/new"),
        format!("/set-up/tasks/new?name={q}"),
    ] {
        browser.go(&page);
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(browser.run("return window.hit || null"), json!(null), "{page}");
        let strange = browser
            .run("return document.querySelectorAll('img[onerror], script:not([src])').length");
        assert_eq!(strange, 0, "{page}");
    }
}
