//! Browsers: logging in, what a session may, and when it ends.

use serde_json::{Value, json};

use super::{Port, Told};

const PASSWORD: &str = "a very long password";

pub(super) fn log_in(port: &Port, user: &str, password: &str) -> Told {
    let body = json!({ "user": user, "password": password }).to_string();
    let json = ["-H", "Content-Type: application/json", "--data-binary", &body];
    port.curl("POST", "/api/v1/session", &json)
}

/// The cookie of a session that began, and the text that goes with what changes something.
pub(super) fn begun(told: &Told) -> (String, String) {
    let cookie = told.field("set-cookie").unwrap_or_else(|| panic!("{}", told.head));
    for part in ["__Host-simsim=", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let csrf = told.json()["csrf_token"].as_str().unwrap().to_owned();
    assert!(!cookie.contains(&csrf));
    (format!("Cookie: {pair}"), format!("X-CSRF-Token: {csrf}"))
}

#[test]
fn a_browser_logs_in_changes_things_and_logs_out() {
    let mut port = Port::start();
    let user = json!({ "name": "anna", "grants": [{ "role": "superuser" }], "password": PASSWORD });
    port.server.must("user.add", user);
    let (cookie, csrf) = begun(&log_in(&port, "anna", PASSWORD).is(200));
    let get = |port: &Port, path: &str| port.curl("GET", path, &["-H", &cookie]);
    assert_eq!(get(&port, "/api/v1/me").is(200).json()["name"], "user:anna");
    let shown = get(&port, "/api/v1/session").is(200).json();
    assert_eq!(format!("X-CSRF-Token: {}", shown["csrf_token"].as_str().unwrap()), csrf);

    // A page of others can make a browser send the cookie, and cannot know what goes with it.
    let body = ["-H", "Content-Type: application/json", "--data", "{\"drives\":[1]}"];
    let path = "/api/v1/drive-groups/x";
    let put = |more: &[&str]| port.curl("PUT", path, &[&["-H", &cookie][..], &body, more].concat());
    put(&[]).fails(403, "X-CSRF-Token");
    put(&["-H", "X-CSRF-Token: 0"]).fails(403, "X-CSRF-Token");
    put(&["-H", &csrf]).fails(404, "drive");
    let verb = ["-H", &cookie, "--data", "{}"];
    port.curl("POST", "/v1/status", &verb).fails(403, "X-CSRF-Token");

    // It outlives a restart of the server, and not the user's leave.
    port.again();
    get(&port, "/api/v1/me").is(200);
    let (second, _) = begun(&log_in(&port, "anna", PASSWORD).is(200));
    assert_ne!(second, cookie);
    let out = port.curl("DELETE", "/api/v1/session", &["-H", &cookie, "-H", &csrf]).is(204);
    assert!(out.field("set-cookie").unwrap().contains("Max-Age=0"), "{}", out.head);
    get(&port, "/api/v1/me").fails(401, "log in");
    port.curl("GET", "/api/v1/me", &["-H", &second]).is(200);
    let other = json!({ "name": "anna", "password": "another long password" });
    port.server.must("user.password", other);
    port.curl("GET", "/api/v1/me", &["-H", &second]).fails(401, "log in");
    log_in(&port, "anna", PASSWORD).fails(401, "log in");
    let (third, _) = begun(&log_in(&port, "anna", "another long password").is(200));
    port.server.must("user.change", json!({ "name": "anna", "grants": [], "disabled": true }));
    port.curl("GET", "/api/v1/me", &["-H", &third]).fails(401, "log in");
    log_in(&port, "anna", "another long password").fails(401, "log in");
}

#[test]
fn sessions_are_seen_and_ended_by_their_user_and_by_whoever_looks_after_people() {
    let port = Port::start();
    for (name, role) in [("anna", "superuser"), ("bert", "restore")] {
        let user = json!({ "name": name, "grants": [{ "role": role }], "password": PASSWORD });
        port.server.must("user.add", user);
    }
    let (anna, anna_csrf) = begun(&log_in(&port, "anna", PASSWORD).is(200));
    let (first, first_csrf) = begun(&log_in(&port, "bert", PASSWORD).is(200));
    let (second, _) = begun(&log_in(&port, "bert", PASSWORD).is(200));
    let list = |cookie: &str| {
        let told = port.curl("GET", "/api/v1/sessions", &["-H", cookie]).is(200).json();
        told["items"].as_array().unwrap().clone()
    };
    let users = |all: &[Value]| -> Vec<String> {
        let mut users: Vec<String> =
            all.iter().map(|one| one["user"].as_str().unwrap().to_owned()).collect();
        users.sort_unstable();
        users
    };
    let seen = list(&anna);
    seen.iter().for_each(|one| crate::cli::documents::check("Session", one));
    assert_eq!(users(&seen), ["anna", "bert", "bert"]);
    // No secret, nor its hash, stands in what is shown.
    let secret = first.rsplit('=').next().unwrap();
    assert!(!serde_json::to_string(&seen).unwrap().contains(secret));
    assert_eq!(users(&list(&first)), ["bert", "bert"], "one's own only");
    let end = |cookie: &str, csrf: &str, session: &Value| {
        let path = format!("/api/v1/sessions/{}", session["session"].as_str().unwrap());
        port.curl("DELETE", &path, &["-H", cookie, "-H", csrf])
    };
    let of_anna = seen.iter().find(|one| one["user"] == "anna").unwrap();
    end(&first, &first_csrf, of_anna).fails(403, "people");
    // The one that was not used last is the older one of bert's.
    let own = list(&second);
    let old = own.iter().min_by_key(|one| one["created_unix_ms"].as_i64()).unwrap();
    end(&anna, &anna_csrf, old).is(200);
    port.curl("GET", "/api/v1/me", &["-H", &first]).fails(401, "log in");
    port.curl("GET", "/api/v1/me", &["-H", &second]).is(200);
    end(&anna, &anna_csrf, old).fails(404, "session");
    let out = port.server.must("user.log-out", json!({ "name": "bert" }));
    assert_eq!(out, json!({ "user": "bert", "sessions": 1 }));
    crate::cli::documents::check("LoggedOut", &out);
    port.curl("GET", "/api/v1/me", &["-H", &second]).fails(401, "log in");
    assert!(port.server.ask("user.log-out", json!({ "name": "nobody" })).is_err());
    assert_eq!(users(&list(&anna)), ["anna"]);
    let rows = port.server.must("audit.list", json!({}))["rows"].clone();
    for (verb, allowed) in [("session.end", true), ("session.end", false), ("user.log-out", true)] {
        let is = |row: &&Value| row["verb"] == verb && row["allowed"] == allowed;
        assert!(rows.as_array().unwrap().iter().any(|row| is(&row)), "{verb} {allowed}");
    }
}

/// What an authenticator shows: the algorithm in other words, by Python.
fn authenticator(secret: &str, at: u64) -> String {
    let program = "import base64, hmac, struct, sys\n\
                   key = base64.b32decode(sys.argv[1])\n\
                   tag = hmac.new(key, struct.pack('>Q', int(sys.argv[2]) // 30), 'sha1').digest()\n\
                   at = tag[-1] & 15\n\
                   number = struct.unpack('>I', tag[at:at + 4])[0] & 0x7fffffff\n\
                   print(f'{number % 1000000:06}')\n";
    let python = std::process::Command::new("python3")
        .args(["-c", program, secret, &at.to_string()])
        .output()
        .unwrap();
    String::from_utf8(python.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_one_time_password_is_needed_where_the_user_has_them_and_serves_once() {
    if !simsim_testkit::has_program("python3") {
        return simsim_testkit::skip("python3 is not installed");
    }
    let port = Port::start();
    let user = json!({ "name": "anna", "grants": [{ "role": "backup" }], "password": PASSWORD });
    port.server.must("user.add", user);
    let made = port.server.must("user.one-time", json!({ "name": "anna", "on": true }));
    let secret = made["secret"].as_str().unwrap().to_owned();
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.unwrap().as_secs()
    };
    let log_in = |code: &str| {
        let body = json!({ "user": "anna", "password": PASSWORD, "code": code }).to_string();
        let json = ["-H", "Content-Type: application/json", "--data-binary", &body];
        port.curl("POST", "/api/v1/session", &json)
    };
    self::log_in(&port, "anna", PASSWORD).fails(401, "log in");
    log_in("000000").fails(401, "log in");
    let code = authenticator(&secret, now());
    begun(&log_in(&code).is(200));
    log_in(&code).fails(401, "log in");
    // The next one is taken a little before its time.
    begun(&log_in(&authenticator(&secret, now() + 30)).is(200));
    let listed = port.server.must("user.list", Value::Null).to_string();
    assert!(
        !listed.contains(&secret) && listed.contains("\"one_time_passwords\":true"),
        "{listed}"
    );
    let catalog = std::fs::read(port.server.state.join("server/catalog.db")).unwrap();
    assert!(!catalog.windows(secret.len()).any(|bytes| bytes == secret.as_bytes()));
    // One's own takes the password, and no right over people.
    port.server.must("user.one-time", json!({ "name": "anna", "on": false }));
    let (cookie, csrf) = begun(&self::log_in(&port, "anna", PASSWORD).is(200));
    let own = |password: &str, on: bool| {
        let body = json!({ "password": password, "on": on }).to_string();
        let json = ["-H", "Content-Type: application/json", "--data-binary", &body];
        port.curl(
            "POST",
            "/api/v1/me/one-time",
            &[&["-H", &cookie, "-H", &csrf][..], &json].concat(),
        )
    };
    own("wrong wrong wrong", true).fails(403, "the password of now is wrong");
    let made = own(PASSWORD, true).is(200).json();
    assert!(made["secret"].as_str().unwrap().len() >= 16, "{made:#}");
    self::log_in(&port, "anna", PASSWORD).fails(401, "log in");
    assert_eq!(own(PASSWORD, false).is(200).json()["secret"], Value::Null);
    self::log_in(&port, "anna", PASSWORD).is(200);
    self::log_in(&port, "anna", PASSWORD).is(200);
}

#[test]
fn nobody_learns_by_logging_in_who_there_is_and_wrong_passwords_hold_up_the_next() {
    let port = Port::start();
    let user = json!({ "name": "anna", "grants": [{ "role": "backup" }], "password": PASSWORD });
    port.server.must("user.add", user);
    let timed = |user: &str, password: &str| {
        let begun = std::time::Instant::now();
        (log_in(&port, user, password).fails(401, "log in").text, begun.elapsed().as_millis())
    };
    let (there, took) = timed("anna", "wrong");
    let (not_there, took_too) = timed("nobody", "wrong");
    assert_eq!(there, not_there);
    assert!(took >= 1000 && took_too >= 1000, "{took} {took_too}");
    assert!(took.abs_diff(took_too) < 400, "{took} {took_too}");
    for _ in 0..4 {
        timed("anna", "wrong");
    }
    let shown = port.server.must("user.show", json!({ "name": "anna" }));
    assert!(shown["locked_until_unix_ms"].is_number(), "{shown}");
    // Now not even the right one is looked at, and nothing tells so.
    assert_eq!(timed("anna", PASSWORD).0, there);
    // Another password forgets it.
    port.server.must("user.password", json!({ "name": "anna", "password": PASSWORD }));
    log_in(&port, "anna", PASSWORD).is(200);
    let rows = port.server.must("audit.list", json!({})).to_string();
    assert!(rows.contains("a wrong log-in as 'anna'") && !rows.contains(PASSWORD), "{rows}");
    for body in ["{}", "[]", "{\"user\":\"anna\"}", "{\"user\":1,\"password\":2}"] {
        let json = ["-H", "Content-Type: application/json", "--data", body];
        port.curl("POST", "/api/v1/session", &json).fails(400, "log in with");
    }
    let short = json!({ "name": "bert", "password": "short" });
    let error = port.server.ask("user.add", short).unwrap_err();
    assert!(error.to_string().contains("at least 12"), "{error}");
    let none = port.server.must("user.list", Value::Null);
    assert_eq!(none.as_array().unwrap().len(), 1);
    assert!(!none.to_string().contains("argon2"), "{none}");
}
