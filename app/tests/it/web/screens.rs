//! Every page, in both themes and on a narrow screen: it can be read by everybody, and nothing stands out.

use std::path::Path;

use serde_json::json;

use super::browser::{Browser, axe};
use super::{logged_in, with_user};
use crate::console::Port;

/// A suite with something on every page.
fn furnished() -> Port {
    let port = Port::furnished();
    let server = &port.server;
    with_user(&port, "anna", "superuser");
    with_user(&port, "otto", "operator");
    server.backup("home");
    server.backup("home");
    server.must("pool.add", json!({ "name": "short", "policy": "last 7, daily 14" }));
    server.must("calendar.add", json!({ "name": "holidays", "days": "day 25,26 of dec" }));
    server.must("schedule.add", json!({ "name": "nights", "line": "daily 22:00" }));
    server.must("event.add", json!({ "name": "nightly", "all": true, "schedule": "nights" }));
    server.must("task-group.add", json!({ "name": "files", "tasks": ["home"] }));
    server.must("drive-group.add", json!({ "name": "any", "drives": [1] }));
    server.must("location.add", json!({ "name": "berlin" }));
    let copy = port.scratch.path().join("copy");
    server.must("datastore.create", json!({ "name": "copy", "path": copy }));
    server.must("replication.add", json!({ "name": "away", "source": "main", "target": "copy" }));
    let hook = json!({ "kind": "webhook", "url": "https://localhost:9/" });
    server.must("notification.add", json!({ "name": "hook", "via": hook, "enabled": false }));
    let groups = json!([{ "group": "cn=ops,ou=groups,dc=corp,dc=example", "grants": [{ "role": "operator" }] }]);
    server.must("identity-provider.add", json!({ "name": "corp", "issuer": "https://idp.corp.example/realms/all-of-us", "client_id": "simsim", "groups": groups }));
    let gone = server.must("task.add", json!({ "name": "gone", "client": server.own_name(), "sources": ["/does/not/exist"], "datastore": "main" }));
    assert_eq!(gone["name"], "gone");
    let job = server.must("task.run", json!({ "task": "gone" }));
    server.ended(&job);
    port
}

/// The pages, by a name for their pictures.
fn pages(port: &Port) -> Vec<(String, String)> {
    let savesets = port.server.must("saveset.list", json!({}));
    let id = |at: usize| savesets[at]["saveset"].as_str().unwrap().to_owned();
    let own = port.server.own_name();
    let mut pages: Vec<(String, String)> = [
        ("overview", "/"),
        ("jobs", "/jobs"),
        ("job", "/jobs/1"),
        ("job-failed", "/jobs/3"),
        ("restore", "/restore"),
        ("search", "/search?q=a"),
        ("clients", "/clients"),
        ("client-add", "/clients/add"),
        ("task", "/tasks/home"),
        ("set-up", "/set-up"),
        ("plan", "/set-up/plan"),
        ("retention", "/retention?pool=default&policy=last+1"),
        ("ports", "/ports"),
        ("storage", "/storage"),
        ("datastore", "/storage/main"),
        ("people", "/people"),
        ("approvals", "/approvals?all=1"),
        ("audit", "/audit"),
        ("me", "/me"),
        ("kit", "/kit"),
        ("nothing", "/nothing/here"),
        ("task-change", "/set-up/tasks/change/home"),
        ("event-change", "/set-up/events/change/nightly"),
        ("replication-change", "/set-up/replications/change/away"),
        ("provider-change", "/set-up/identity-providers/change/corp"),
        ("log-in", "/log-in"),
        ("not-signed-in", "/sign-in/nobody"),
    ]
    .map(|(name, path)| (name.to_owned(), path.to_owned()))
    .to_vec();
    for noun in [
        "datastores",
        "drive-groups",
        "pools",
        "tasks",
        "task-groups",
        "commands",
        "events",
        "schedules",
        "calendars",
        "replications",
        "interfaces",
        "rates",
        "locations",
        "notifications",
        "users",
        "identity-providers",
        "api-tokens",
        "stream-tokens",
    ] {
        pages.push((noun.to_owned(), format!("/set-up/{noun}")));
        pages.push((format!("{noun}-new"), format!("/set-up/{noun}/new")));
    }
    pages.push(("client".to_owned(), format!("/clients/{own}")));
    pages.push(("saveset".to_owned(), format!("/savesets/{}", id(0))));
    pages.push(("files".to_owned(), format!("/savesets/{}/files", id(0))));
    pages.push(("where-to".to_owned(), format!("/savesets/{}/restore", id(0))));
    pages.push(("compare".to_owned(), format!("/savesets/{}/compare/{}", id(1), id(0))));
    pages
}

/// Nothing is wider than the screen.
fn too_wide(browser: &Browser) -> bool {
    let wide = browser.run(
        "return document.documentElement.scrollWidth > document.documentElement.clientWidth + 1",
    );
    wide == json!(true)
}

#[test]
fn every_page_in_both_themes_and_on_a_narrow_screen_can_be_read_by_everybody() {
    if !Browser::is_there() {
        return;
    }
    let Some(axe) = axe() else {
        return simsim_testkit::skip("axe-core is not installed: cargo xtask test brings it");
    };
    let port = furnished();
    let pages = pages(&port);
    let browser = logged_in(&port, "anna");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/pictures");
    let mut wrong = Vec::new();
    // What looks for faults finds one.
    browser.go("/me");
    browser.run("document.querySelector('label[for=old]').remove()");
    let found = browser.findings(&axe);
    assert!(found.iter().any(|one| one.starts_with("label:")), "{found:?}");
    for (name, path) in &pages {
        for theme in ["light", "dark"] {
            browser.theme(theme);
            browser.view(1280, 900);
            browser.go(path);
            let bytes = browser.run("return document.documentElement.outerHTML.length");
            if bytes.as_u64().unwrap() > 300_000 {
                wrong.push(format!("{path}: {bytes} bytes"));
            }
            for finding in browser.findings(&axe) {
                wrong.push(format!("{path} ({theme}): {finding}"));
            }
            browser.picture(&folder.join(format!("{name}-{theme}.png")));
        }
        browser.view(360, 740);
        browser.go(path);
        if too_wide(&browser) {
            wrong.push(format!("{path}: wider than 360 pixels"));
        }
        browser.picture(&folder.join(format!("{name}-narrow.png")));
        let failed = browser.text().contains("Something went wrong in the server");
        if failed {
            wrong.push(format!("{path}: {}", browser.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
