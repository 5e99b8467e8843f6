//! Signing in by an identity provider: a real one, in a real browser; and what strangers try at the doors.

use serde_json::{Value, json};

use super::browser::Browser;
use super::provider::{Provider, by_hand};
use super::{logged_in, with_user};
use crate::console::Port;

fn user(port: &Port, name: &str) -> Value {
    port.server.must("user.show", json!({ "name": name }))
}

/// Why a verb is refused.
fn refused(port: &Port, verb: &str, body: Value) -> String {
    port.server.ask(verb, body).unwrap_err().to_string()
}

fn audit(port: &Port, words: &str) -> bool {
    let rows = port.server.must("audit.list", json!({ "limit": 1000 }));
    rows["rows"].to_string().contains(words)
}

#[test]
fn people_sign_in_by_a_provider_come_back_to_where_they_wanted_and_may_what_their_groups_may() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    let Some(provider) = Provider::start(port.scratch.path()) else { return };
    provider.user("kim");
    provider.group("ops", "kim");
    with_user(&port, "anna", "superuser");
    let groups = ["--group", "ops=operator", "--group", "savers=restore", "--create-users", "true"];
    provider.joined(&port, "corp", &groups);

    let browser = Browser::start(&port.url(""));
    browser.go("/jobs?state=failed");
    browser.until_says("Sign in with corp");
    browser.press("Sign in with corp");
    provider.proves(&browser, "kim");
    provider.agrees(&browser, true);
    browser.until_at("/jobs?state=failed");
    browser.until("somebody is logged in", || browser.has("header .me"));
    assert!(browser.text().contains("kim"));
    let kim = user(&port, "kim");
    assert_eq!(
        (&kim["provider"], &kim["grants"]),
        (&json!("corp"), &json!([{ "role": "operator" }]))
    );
    assert!(audit(&port, "by 'corp', of ops: operator"));
    browser.go("/me");
    browser.until_says("You sign in by corp");
    assert!(!browser.has("#password"));
    browser.go("/audit");
    browser.until_says("You may not do that");
    // No script of the page reads either cookie.
    assert_eq!(browser.run("return document.cookie"), "");
    // Who is signed in elsewhere is known by the same rules; the local password door stays shut.
    let form = "user=kim&password=correct+horse+battery";
    let own = ["-H", "Sec-Fetch-Site: same-origin", "--data", form];
    port.curl("POST", "/log-in", &own).is(401);
    let sessions = port.server.must("session.list", Value::Null);
    assert!(sessions.as_array().unwrap().iter().any(|one| one["user"] == "kim"), "{sessions}");

    // An administrator ends that now; the provider still knows the person, who comes back without a word.
    port.server.must("user.log-out", json!({ "name": "kim" }));
    browser.go("/jobs");
    browser.until_says("Sign in with corp");
    provider.group("savers", "kim");
    Provider::a_second_later();
    browser.press("Sign in with corp");
    browser.until("somebody is logged in", || browser.has("header .me"));
    assert_eq!(
        user(&port, "kim")["grants"],
        json!([{ "role": "operator" }, { "role": "restore" }])
    );
    // What a group may is changed: at once.
    port.server.must("user.show", json!({ "name": "kim" }));
    let done = by_hand(&port)
        .args(["identity-provider", "change", "corp", "--group", "ops=backup"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(user(&port, "kim")["grants"], json!([{ "role": "backup" }]));

    // Who has left all groups is let in no more.
    browser.press("Log out");
    browser.until_says("Sign in with corp");
    provider.no_group("ops");
    Provider::a_second_later();
    browser.press("Sign in with corp");
    browser.until_says("'kim' may not do anything here");
    assert_eq!(user(&port, "kim")["grants"], json!([]));
    provider.group("ops", "kim");
    // Nor is who is disabled here.
    port.server.must("user.change", json!({ "name": "kim", "grants": [], "disabled": true }));
    browser.go("/log-in");
    Provider::a_second_later();
    browser.press("Sign in with corp");
    browser.until_says("User 'kim' is not let in.");
    port.server.must("user.change", json!({ "name": "kim", "grants": [{ "role": "backup" }] }));
    Provider::a_second_later();
    browser.go("/sign-in/corp?to=//evil.test/");
    browser.until("somebody is logged in", || browser.has("header .me"));
    assert_eq!(browser.place(), "/");

    // Off: out at once.
    let off = |how: &str| {
        let mut command = by_hand(&port);
        command.args(["identity-provider", "change", "corp", how]);
        assert!(command.status().unwrap().success());
    };
    off("--off");
    browser.go("/jobs");
    browser.until_says("Log in to");
    assert!(!browser.text().contains("Sign in with"));
    browser.go("/sign-in/corp");
    browser.until_says("Nobody signs in here by 'corp'.");
    off("--on");
    let why = refused(&port, "identity-provider.remove", json!({ "name": "corp" }));
    assert!(why.contains("user 'kim'"), "{why}");
}

#[test]
fn who_was_not_added_says_no_or_is_called_like_somebody_else_is_not_let_in() {
    if !Browser::is_there() {
        return;
    }
    let port = Port::furnished();
    let Some(provider) = Provider::start(port.scratch.path()) else { return };
    for name in ["kim", "anna"] {
        provider.user(name);
        provider.group(&format!("of-{name}"), name);
    }
    with_user(&port, "anna", "superuser");
    provider.joined(&port, "corp", &["--group", "of-kim=auditor", "--group", "of-anna=auditor"]);
    let browser = Browser::start(&port.url(""));
    browser.go("/sign-in/corp");
    provider.proves(&browser, "kim");
    provider.agrees(&browser, false);
    browser.until_says("corp did not let you through");
    Provider::a_second_later();
    browser.go("/sign-in/corp?to=/audit");
    provider.agrees(&browser, true);
    browser.until_says("There is no user 'kim' here.");
    port.server.must("user.add", json!({ "name": "kim", "provider": "corp" }));
    Provider::a_second_later();
    browser.go("/sign-in/corp?to=/audit");
    browser.until_at("/audit");
    browser.until("somebody is logged in", || browser.has("header .me"));
    // The same name with a password is another person's.
    let other = Browser::start(&port.url(""));
    other.go("/sign-in/corp");
    provider.proves(&other, "anna");
    provider.agrees(&other, true);
    other.until_says("The name 'anna' is somebody else's here");
    assert_eq!(user(&port, "anna")["grants"], json!([{ "role": "superuser" }]));
    assert!(audit(&port, "user 'anna' is somebody else"));
    // What the provider decides is not decided here.
    for (verb, body) in [
        ("user.password", json!({ "name": "kim", "password": "a password of twelve" })),
        ("user.change", json!({ "name": "kim", "grants": [{ "role": "superuser" }] })),
        ("user.one-time", json!({ "name": "kim", "on": true })),
    ] {
        let why = refused(&port, verb, body);
        assert!(why.contains("signs in by the identity provider 'corp'"), "{why}");
    }
    // And pages show all of it.
    let anna = logged_in(&port, "anna");
    anna.go("/people");
    anna.until_says("Identity providers");
    anna.press("corp");
    anna.until_says("What groups may, one a line");
    let lines = anna.run("return document.querySelector('#groups').value");
    assert_eq!(lines, "of-kim=auditor\nof-anna=auditor");
}

#[test]
fn strangers_lead_nobody_elsewhere_and_bring_back_nothing_that_was_not_begun() {
    let port = Port::furnished();
    let Some(provider) = Provider::start(port.scratch.path()) else { return };
    with_user(&port, "anna", "superuser");
    provider.joined(&port, "corp", &["--group", "ops=auditor"]);
    let door = port.curl("GET", "/log-in?to=%2Fjobs%3Fa%3Db", &[]).is(200);
    assert!(door.text.contains("href=\"/sign-in/corp?to=%2Fjobs%3Fa%3Db\""), "{}", door.text);
    let away = port.curl("GET", "/sign-in/corp", &[]).is(303);
    let place = away.field("location").unwrap();
    assert!(place.starts_with(&format!("{}/oauth/authorize?", provider.issuer())), "{place}");
    let cookie = away.field("set-cookie").unwrap().to_owned();
    for part in
        ["__Host-simsim-sign-in=", "Secure", "HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"]
    {
        assert!(cookie.contains(part), "{cookie}");
    }
    // A link of somebody else's page begins nothing.
    let elsewhere = ["-H", "Sec-Fetch-Site: cross-site"];
    let told = port.curl("GET", "/sign-in/corp?to=/jobs", &elsewhere).is(303);
    assert_eq!(told.field("location"), Some("/log-in?to=%2Fjobs"));
    assert!(told.field("set-cookie").is_none());
    let state = place.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let own = format!("Cookie: {}", cookie.split(';').next().unwrap());
    let back = |query: &str, cookie: &str| {
        port.curl("GET", &format!("/sign-in/corp/back?{query}"), &["-H", cookie])
    };
    let expired = "has expired, or was begun in another browser";
    for (query, cookie) in [
        (format!("code=x&state={state}"), "X: y".to_owned()),
        (format!("code=x&state={state}x"), own.clone()),
        ("code=x".to_owned(), own.clone()),
        (format!("code=x&state={state}"), format!("{own}A")),
        (format!("code=x&state={state}"), "Cookie: __Host-simsim-sign-in=AAAA".to_owned()),
    ] {
        let told = back(&query, &cookie).is(400);
        assert!(told.text.contains(expired), "{}", told.text);
        assert!(told.field("set-cookie").is_none(), "the sign-in of this browser goes on");
    }
    // One provider's answer is not another's; one that nobody set up is none.
    let other = format!("/sign-in/other/back?code=x&state={state}");
    assert!(port.curl("GET", &other, &["-H", &own]).is(400).text.contains(expired));
    port.curl("GET", "/sign-in/other", &[]).is(404);
    port.curl("GET", "/sign-in/corp/other", &[]).is(404);
    let issuer = "iss=https%3A%2F%2Fevil.test";
    let told = back(&format!("code=x&state={state}&{issuer}"), &own).is(502);
    assert!(told.text.contains("another provider"), "{}", told.text);
    let issuer =
        format!("iss=https%3A%2F%2Flocalhost%3A{}", provider.issuer().rsplit(':').next().unwrap());
    let told = back(&format!("code=x&state={state}&{issuer}"), &own).is(502);
    assert!(told.text.contains("refused"), "{}", told.text);
    assert!(told.field("set-cookie").unwrap().contains("Max-Age=0"));
    // What somebody writes into the address is text.
    let evil =
        format!("error=%3Cscript%3Ex&error_description=%3Cimg%20src%3Dx%3E%0d%0aa&state={state}");
    let told = back(&evil, &own).is(403);
    assert!(
        told.text.contains("&lt;script&gt;x &lt;img") && !told.text.contains("<img"),
        "{}",
        told.text
    );
    // A session's cookie is none of a sign-in, nor the other way round.
    let secret = cookie.split('=').nth(1).unwrap().split(';').next().unwrap();
    port.curl("GET", "/jobs", &["-H", &format!("Cookie: __Host-simsim={secret}")]).is(303);
    // After ten minutes it serves no more. The secret is never shown.
    let view = port.server.must("identity-provider.show", json!({ "name": "corp" }));
    assert_eq!((&view["has_secret"], &view["secret"]), (&json!(true), &Value::Null));
    assert!(!view.to_string().contains("only-the-two-know"));
}

#[test]
fn a_provider_that_is_not_there_is_named_and_passwords_still_open() {
    let port = Port::start();
    with_user(&port, "anna", "superuser");
    let gone = simsim_testkit::free_ports(1)[0];
    let issuer = format!("https://localhost:{gone}");
    port.server.must(
        "identity-provider.add",
        json!({ "name": "corp", "issuer": issuer, "client_id": "simsim", "has_secret": true }),
    );
    let told = port.curl("GET", "/sign-in/corp", &[]).is(502);
    assert!(told.text.contains("was not given yet"), "{}", told.text);
    let status = port.server.must("status", Value::Null);
    assert!(status["warnings"].to_string().contains("nobody signs in by identity provider 'corp'"));
    port.server.must(
        "identity-provider.change",
        json!({ "name": "corp", "issuer": issuer, "client_id": "simsim", "secret": "x" }),
    );
    let told = port.curl("GET", "/sign-in/corp", &[]).is(502);
    assert!(told.text.contains(&format!("localhost:{gone} is not reached")), "{}", told.text);
    let failed = refused(&port, "identity-provider.test", json!({ "name": "corp" }));
    assert!(failed.contains("is not reached"), "{failed}");
    let form = "user=anna&password=a+very+long+password";
    port.curl("POST", "/log-in", &["-H", "Sec-Fetch-Site: same-origin", "--data", form]).is(303);
    let other = json!({ "name": "corp", "issuer": "https://another", "client_id": "simsim" });
    let why = refused(&port, "identity-provider.change", other);
    assert!(why.contains("the issuer stays"), "{why}");
    let twice = json!({ "name": "twice", "issuer": issuer, "client_id": "x" });
    let why = refused(&port, "identity-provider.add", twice);
    assert!(why.contains("two users here"), "{why}");
    let clear = json!({ "name": "clear", "issuer": "http://idp.test", "client_id": "x" });
    assert!(refused(&port, "identity-provider.add", clear).contains("only https://"));
    // The secret does not follow to another line.
    let pem = std::fs::read_to_string(port.certificate()).unwrap();
    let line = json!({ "name": "corp", "issuer": issuer, "client_id": "simsim", "authority": pem });
    let why = refused(&port, "identity-provider.change", line);
    assert!(why.contains("another line"), "{why}");
    port.server.must("identity-provider.remove", json!({ "name": "corp" }));
}
