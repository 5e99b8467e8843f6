//! What people do with the pages, from the first visit on.

use std::time::{Duration, Instant};

use serde_json::json;

use super::browser::Browser;
use super::{PASSWORD, logged_in, with_user};
use crate::console::Port;
use crate::hosts::Daemon;

const TAB: char = '\u{E004}';
const ENTER: char = '\u{E007}';

#[test]
fn a_first_visit_ends_with_a_backup() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::start();
    let tree = crate::hosts::tree(port.scratch.path());
    let browser = Browser::start(&port.url(""));
    let begun = Instant::now();
    browser.go("/");
    browser.until_says("simsim user welcome");
    let link = port.server.must("user.welcome", json!(null));
    let link = link["url"].as_str().unwrap().to_owned();
    assert!(link.starts_with(&port.url("/welcome?code=")), "{link}");
    browser.go(&link.replace("code=", "code=0"));
    browser.until_says("This link serves no more");
    browser.go(&link);
    browser.fill("#user", "anna");
    browser.fill("#password", PASSWORD);
    browser.fill("#again", "another long password");
    browser.press("Begin");
    browser.until_says("The two passwords differ");
    browser.fill("#password", PASSWORD);
    browser.fill("#again", PASSWORD);
    browser.press("Begin");

    browser.until_at("/kit");
    browser.press("Make a recovery kit");
    browser.until_says("Print this page now");
    let groups = browser.run("return [...document.querySelectorAll('ol.kit li')].map(li => li.lastChild.textContent.trim())");
    let asked = browser.run("return [...document.querySelectorAll('label[for^=group-]')].map(l => Number(l.textContent.replace(/\\D/g, '')))");
    browser.fill("#group-0", "wrong");
    for (at, number) in asked.as_array().unwrap().iter().enumerate() {
        let number = usize::try_from(number.as_u64().unwrap()).unwrap();
        browser.fill(&format!("#group-{at}"), groups[number - 1].as_str().unwrap());
    }
    browser.press("This stands there");
    browser.until_says("the kit is kept");

    browser.go("/");
    browser.until_says("Begin here");
    browser.press("Make a datastore: where backups are kept");
    browser.until_at("/set-up/datastores/new");
    browser.fill("#name", "main");
    browser.until_says("simsim datastore create main");
    browser.fill("#path", port.scratch.path().join("store").to_str().unwrap());
    browser.until_says("it can be sent");
    browser.press("Add");
    browser.until_at("/storage/main");

    browser.go("/set-up/tasks/new");
    browser.fill("#name", "home");
    browser.choose("#client", &port.server.own_name());
    browser.fill("#sources", tree.to_str().unwrap());
    browser.until_says("it can be sent");
    browser.press("Add");
    browser.until_at("/tasks/home");
    browser.press("Back up now");
    browser.until_at("/jobs/1");
    browser.until_says("finished: saveset");
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    // Nobody else becomes the first.
    browser.go(&link);
    browser.until_at("/");
    // The password is the first user's own: no other one has to be set before seconding somebody.
    with_user(&port, "bert", "superuser");
    browser.go("/approvals/1");
    browser.press("Approve");
    browser.until_says("approved");
}

#[test]
fn files_are_found_looked_at_and_restored_by_the_keyboard_alone() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    port.server.backup("home");
    let target = port.scratch.path().join("restored");
    let browser = logged_in(&port, "anna");
    // A link of the table has the focus when it says these words.
    let tab_to = |what: &str, is: &dyn Fn(&str) -> bool| {
        for _ in 0..120 {
            let now = browser.run(
                "const e = document.activeElement; return (e.id || '') + '|' + (e.name || '') + '|' + (e.value || '') + '|' + (e.textContent || '').trim()",
            );
            if is(now.as_str().unwrap()) {
                return;
            }
            browser.keys(&TAB.to_string());
        }
        panic!("no way by Tab to {what} at {}", browser.place());
    };
    let press = |what: &str, is: &dyn Fn(&str) -> bool| {
        tab_to(what, is);
        browser.keys(&ENTER.to_string());
    };
    press("restore", &|now| now.ends_with("|Restore"));
    browser.until_at("/restore");
    // The newest saveset: the first link with an instant.
    press("a point in time", &|now| now.rsplit('|').next().unwrap().starts_with("20"));
    browser.until_at("/savesets/");
    for folder in port.scratch.path().join("tree").iter().skip(1) {
        let name = format!("{}/", folder.to_str().unwrap());
        press(&name, &|now| now.ends_with(&format!("|{name}")));
        browser.until("the folder is open", || browser.place().contains(folder.to_str().unwrap()));
    }
    tab_to("the folder 'a'", &|now| now.contains("|path|") && now.contains("/tree/a|"));
    browser.keys(" ");
    // Buttons stand before the table: back from there.
    browser.run("document.activeElement.blur()");
    press("the button", &|now| now.ends_with("|Restore what is marked"));
    browser.until_says("Where to?");
    tab_to("the folder", &|now| now.starts_with("target|"));
    browser.keys(target.to_str().unwrap());
    press("the summary", &|now| now.ends_with("|To the summary"));
    browser.until_says("This will be done");
    let said = browser.text();
    assert!(said.contains("simsim restore") && said.contains("--to"), "{said}");
    press("the start", &|now| now.ends_with("|Start the restore"));
    browser.until_at("/jobs/");
    browser.until_says("has ended");
    browser.until("it is restored", || browser.text().contains("finished"));
    let tree = port.scratch.path().join("tree");
    let restored = target.join(tree.strip_prefix("/").unwrap()).join("a/text");
    assert_eq!(std::fs::read(restored).unwrap(), std::fs::read(tree.join("a/text")).unwrap());
}

#[test]
fn versions_comparisons_previews_and_downloads_of_files() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    with_user(&port, "rita", "restore");
    port.server.backup("home");
    let tree = port.scratch.path().join("tree");
    std::fs::write(tree.join("a/b/small"), "another content").unwrap();
    port.server.backup("home");
    let savesets = port.server.must("saveset.list", json!({}));
    let id = |at: usize| savesets[at]["saveset"].as_str().unwrap().to_owned();
    let browser = logged_in(&port, "anna");
    browser.until("the search has both savesets", || {
        let status = port.server.must("status", json!(null));
        status["search"]["savesets"] == 2 && status["search"]["waiting"] == 0
    });
    browser.fill("#search-all", "small");
    browser.keys(&ENTER.to_string());
    browser.until_at("/search");
    browser.until_says("a/b/small");
    browser.press("Versions");
    browser.until_at("/history");
    let rows = browser.run("return document.querySelectorAll('main tbody tr').length");
    assert_eq!(rows, 2, "{}", browser.text());
    browser.go(&format!("/savesets/{}/compare/{}", id(1), id(0)));
    browser.until_says("a/b/small");
    assert!(browser.text().contains("content"), "{}", browser.text());

    let path = tree.join("a/b/small");
    let path = path.to_str().unwrap();
    browser.go(&format!("/savesets/{}/preview?path={path}", id(0)));
    browser.until_says("another content");
    // What the browser would save, read by a script of the page's own origin.
    let body = |what: &str| {
        browser.run_async(&format!(
            "const told = arguments[arguments.length - 1]; fetch('/savesets/{}/download?path={what}').then(async a => \
             told([a.status, a.headers.get('content-disposition'), btoa(String.fromCharCode(...new Uint8Array(await a.arrayBuffer())))]))",
            id(1)
        ))
    };
    let file = body(path);
    assert_eq!(file[0], 200, "{file}");
    assert_eq!(file[1], "attachment; filename*=UTF-8''small");
    assert_eq!(file[2], "c21hbGw=", "the older content");
    let folder = body(tree.join("a/b").to_str().unwrap());
    assert_eq!(folder[1], "attachment; filename*=UTF-8''b.tar");
    let file = port.scratch.path().join("b.tar");
    std::fs::write(&file, super::browser::base64(folder[2].as_str().unwrap())).unwrap();
    let listed = std::process::Command::new("tar").arg("-tvf").arg(&file).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("b/small") && listed.contains("b/link -> ../text"), "{listed}");
    // Who may restore to where the data came from may not carry it away.
    let other = logged_in(&port, "rita");
    other.go(&format!("/savesets/{}/preview?path={path}", id(0)));
    other.until_says("You may not do that");
}

#[test]
fn a_live_page_outlives_a_restart_and_says_when_its_session_has_ended() {
    if !Browser::is_there() {
        return;
    }
    let mut port = Port::furnished();
    with_user(&port, "anna", "superuser");
    // The same port again: pages that are open find the server where it was.
    let own = port.port;
    let clock = port.scratch.path().join("clock");
    std::fs::write(&clock, "0").unwrap();
    let points = format!("clock={}", clock.display());
    port.server.console = own;
    port.server.again_with(&[("SIMSIM_FAILPOINTS", &points)]);
    let browser = logged_in(&port, "anna");
    browser.go("/jobs");
    browser.until_says("No job fits");
    port.server.backup("home");
    browser.until_says("finished");
    assert_eq!(port.server.stop(), 0);
    browser.until_says("The server does not answer");
    port.server.again_with(&[("SIMSIM_FAILPOINTS", &points)]);
    browser.until("it is followed again", || !browser.text().contains("does not answer"));
    port.server.backup("home");
    browser.until("the second backup shows", || browser.has("a[href='/jobs/2']"));
    // Half an hour without use, on a page that is only looked at.
    std::fs::write(&clock, (31 * 60_000).to_string()).unwrap();
    browser.until_says("Your session has ended");
    browser.press("Log in again");
    browser.until_at("/log-in?to=%2Fjobs");
    browser.fill("#user", "anna");
    browser.fill("#password", PASSWORD);
    browser.press("Log in");
    browser.until_at("/jobs");
}

/// Who seconds something has a password that nobody else knows.
fn own_password(browser: &Browser, user: &str) {
    let own = "a password of my own";
    browser.go("/me");
    browser.fill("#old", PASSWORD);
    browser.fill("#password", own);
    browser.fill("#again", own);
    browser.press("Change it");
    browser.until_at("/log-in");
    browser.log_in(user, own);
}

#[test]
fn two_people_at_once_one_asks_and_the_other_approves() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    with_user(&port, "bert", "superuser");
    with_user(&port, "otto", "operator");
    port.server.backup("home");
    let savesets = port.server.must("saveset.list", json!({}));
    let id = savesets[0]["saveset"].as_str().unwrap().to_owned();
    let anna = logged_in(&port, "anna");
    // Where there is somebody already, a second one who may everything takes two persons, too.
    own_password(&anna, "anna");
    anna.go("/approvals/1");
    anna.until_says("Exactly this");
    anna.press("Approve");
    anna.until_says("approved");
    let bert = logged_in(&port, "bert");
    own_password(&bert, "bert");
    anna.go(&format!("/savesets/{id}"));
    anna.press("Keep, hold, lock or delete it");
    anna.fill("#delete-why", "it was a test");
    anna.press("Delete");
    anna.until_says("waits for a second person");
    bert.go("/approvals");
    bert.press("2");
    bert.until_says("Exactly this");
    assert!(bert.text().contains("it was a test"), "{}", bert.text());
    bert.press("Approve");
    bert.until_says("approved");
    let left = port.server.must("saveset.list", json!({}));
    assert_eq!(left, json!([]));
    // An operator sees how the suite is, and sets nothing up.
    let otto = logged_in(&port, "otto");
    otto.go("/");
    otto.until_says("Overview");
    assert!(!otto.text().contains("Audit"), "{}", otto.text());
    otto.go("/set-up/pools/new");
    otto.fill("#name", "mine");
    otto.fill("#policy", "forever");
    otto.press("Add");
    otto.until_says("You may not do that");
}

#[test]
fn objects_are_made_checked_while_typing_changed_and_removed() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    let browser = logged_in(&port, "anna");
    browser.go("/set-up/events/new");
    browser.fill("#name", "nightly");
    browser.fill("#at", "wekdays 22:00");
    browser.until_says("did you mean 'weekdays'");
    browser.fill("#at", "weekdays 22:00");
    browser.until_says("It runs next:");
    browser.click("#all");
    browser.until_says("simsim event add nightly --kind backup --at 'weekdays 22:00' --all=true");
    browser.press("Add");
    browser.until_at("/set-up/events");
    let event = port.server.must("event.show", json!({ "name": "nightly" }));
    assert_eq!(event["all"], true, "{event}");
    assert_eq!(event["line"], "weekdays 22:00", "{event}");
    browser.go("/set-up/events/change/nightly");
    browser.run("document.querySelector('#further').open = true");
    browser.fill("#retries", "3");
    browser.until_says("simsim event change nightly");
    browser.press("Save");
    browser.until_at("/set-up/events");
    let event = port.server.must("event.show", json!({ "name": "nightly" }));
    assert_eq!(
        (&event["retries"], &event["line"]),
        (&json!(3), &json!("weekdays 22:00")),
        "{event}"
    );
    browser.go("/set-up/plan");
    browser.until_says("nightly");

    // A task that is changed keeps what the form does not show.
    port.server.must(
        "task.change",
        json!({ "name": "home", "client": port.server.own_name(), "sources": ["/etc"], "datastore": "main", "options": { "exclude_caches": true, "pre_command": "freeze", "command_timeout_s": 7 } }),
    );
    browser.go("/set-up/tasks/change/home");
    browser.fill("#excludes", "*.tmp\n*.bak");
    browser.press("Save");
    browser.until_at("/tasks/home");
    let task = port.server.must("task.show", json!({ "name": "home" }));
    assert_eq!(task["excludes"], json!(["*.tmp", "*.bak"]), "{task}");
    assert_eq!(task["options"]["exclude_caches"], true, "{task}");
    assert_eq!(task["options"]["command_timeout_s"], 7, "{task}");

    // What is in use is refused, and says by whom.
    port.server.must("pool.add", json!({ "name": "short", "policy": "last 3" }));
    port.server.must(
        "task.change",
        json!({ "name": "home", "client": port.server.own_name(), "sources": ["/etc"], "datastore": "main", "pool": "short" }),
    );
    browser.go("/set-up/pools/change/short");
    browser.press("Remove it");
    browser.press("Remove");
    browser.until_says("home");
    assert!(
        browser.text().contains("That cannot be done") || browser.text().contains("Not now"),
        "{}",
        browser.text()
    );
    browser.go("/set-up/events/change/nightly");
    browser.press("Remove it");
    browser.press("Remove");
    browser.until("it is gone", || port.server.must("event.list", json!(null)) == json!([]));
    // A token's secret is shown once.
    browser.go("/set-up/api-tokens/new");
    browser.fill("#name", "grafana");
    browser.fill("#grants", "auditor");
    browser.press("Add");
    browser.until_says("simsim_api_");
    browser.go("/set-up/api-tokens");
    assert!(!browser.text().contains("simsim_api_"));
}

#[test]
fn a_host_joins_and_the_page_of_ports_shows_what_is_shut() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    let browser = logged_in(&port, "anna");
    browser.go("/clients/add");
    browser.fill("#name", "far");
    browser.press("Make a code");
    browser.until_says("simsim client join");
    let state = port.scratch.path().join("far");
    let joined = port.server.join("far", &state, &[]);
    crate::hosts::assert_done(&joined);
    let mut far = Daemon::start("client", &state);
    port.server.must(
        "client.addresses",
        json!({ "name": "far", "addresses": ["127.0.0.1"], "listen_port": far.port }),
    );
    port.server.until_connected("far");
    browser.go("/clients");
    browser.until_says("far");
    port.server.add_task("far-home", "far", &port.scratch.path().join("tree"));
    browser.go("/ports");
    browser.press("Try every way now");
    browser.until_says("Tried");
    assert!(browser.text().contains("smssh"), "{}", browser.text());
    assert!(browser.has("svg.map g.host"), "the drawing");
    // A host tries ways for one asker at a time.
    browser.until("the way to it is found open", || {
        browser.press("Try every way now");
        std::thread::sleep(Duration::from_millis(500));
        browser.has("svg.map path.open")
    });
    // An address at which nobody listens: what a job would dial is shut, and the page says why.
    let own = port.server.own_name();
    let nowhere = ["http://127.0.0.1:1"];
    port.server.must("interface.set", json!({ "host": own, "interfaces": nowhere }));
    // A host tries ways for one asker at a time.
    browser.until("the way is found shut", || {
        browser.press("Try every way now");
        std::thread::sleep(Duration::from_millis(500));
        browser.text().contains("1 way is shut")
    });
    let text = browser.text();
    assert!(text.contains("refused") && text.contains("127.0.0.1:1"), "{text}");
    assert!(browser.has("svg.map .shut"), "the drawing");
    let file = |name: &str| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
        folder.join(name)
    };
    for theme in ["light", "dark"] {
        browser.theme(theme);
        browser.view(1280, 900);
        browser.picture(&file(&format!("ports-shut-{theme}.png")));
    }
    if let Some(axe) = super::browser::axe() {
        assert_eq!(browser.findings(&axe), [""; 0]);
    }
    browser.press("far");
    browser.until_says("Ports: far");
    browser.press("How hosts answer: clocks, names, certificates");
    browser.until_says("Certificate until");
    browser.go("/ports");
    // A host that has gone: nothing is tried from it, and the page says that too.
    assert_eq!(far.stop(), 0);
    browser.until("it is noticed", || !port.server.is_connected("far"));
    browser.press("Try every way now");
    browser.until_says("does not reach 'far'");
}

#[test]
fn a_backup_without_its_source_fails_says_why_and_another_one_is_whole() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    with_user(&port, "anna", "superuser");
    let browser = logged_in(&port, "anna");
    let tree = port.scratch.path().join("tree");
    let away = port.scratch.path().join("away");
    std::fs::rename(&tree, &away).unwrap();
    browser.go("/tasks/home");
    browser.press("Back up now");
    browser.until_at("/jobs/1");
    browser.until_says("nothing was stored");
    let text = browser.text();
    assert!(text.contains(tree.to_str().unwrap()), "what is not there is named: {text}");
    assert!(text.contains("failed"), "{text}");
    assert!(port.server.must("saveset.list", json!({})).as_array().unwrap().is_empty());
    browser.go("/");
    browser.until_says("Needs attention");
    browser.press("backup home");
    browser.until_at("/jobs/1");
    // As a link of the calendar says it.
    browser.go("/jobs?outcome=failed");
    browser.until_says("home");
    std::fs::rename(&away, &tree).unwrap();
    browser.go("/jobs/1");
    browser.press("Run the task again");
    browser.until_at("/jobs/2");
    browser.until_says("finished: saveset");
    browser.go("/jobs?outcome=finished");
    browser.until_says("home");
}
