//! Two persons for what weighs: rights that grow, and people who are shut out. Real users with real passwords.

use serde_json::{Value, json};

use super::sessions::{begun, log_in};
use super::{Port, Told};

const FIRST: &str = "the password by root";
const OWN: &str = "a password of my own";

fn user(name: &str, role: &str) -> Value {
    json!({ "name": name, "grants": [{ "role": role }], "password": FIRST })
}

/// Somebody who is logged in.
struct Person<'a> {
    port: &'a Port,
    cookie: String,
    csrf: String,
}

impl<'a> Person<'a> {
    fn of(port: &'a Port, name: &str, password: &str) -> Self {
        let (cookie, csrf) = begun(&log_in(port, name, password).is(200));
        Self { port, cookie, csrf }
    }

    /// With a password that nobody else knows.
    fn own(port: &'a Port, name: &str) -> Self {
        let body = json!({ "old": FIRST, "password": OWN });
        Person::of(port, name, FIRST).ask("POST", "/api/v1/me/password", &body).is(200);
        Person::of(port, name, OWN)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: &Value) -> Told {
        let text = body.to_string();
        let json = ["-H", "Content-Type: application/json", "--data-binary", &text];
        let fields = ["-H", &self.cookie, "-H", &self.csrf];
        self.port.curl(method, path, &[&fields[..], &json].concat())
    }

    #[track_caller]
    fn approve(&self, approval: &Value) -> Told {
        self.ask("POST", &format!("/api/v1/approvals/{approval}/approve"), &json!({}))
    }
}

fn roles(port: &Port, name: &str) -> Value {
    port.server.must("user.show", json!({ "name": name }))["grants"].clone()
}

#[test]
fn the_first_administrator_is_made_by_one_person_and_the_second_by_two() {
    let port = Port::start();
    let anna = port.server.must("user.add", user("anna", "superuser"));
    assert_eq!(
        (&anna["waits_for"], &anna["grants"][0]["role"]),
        (&Value::Null, &"superuser".into())
    );
    let audit = port.server.must("audit.list", json!({})).to_string();
    assert!(audit.contains("one person alone, new rights:"), "{audit}");

    let bert = port.server.must("user.add", user("bert", "administrator"));
    assert_eq!(bert["grants"], json!([]), "nothing before somebody agrees");
    let approval = bert["waits_for"].clone();
    assert!(approval.is_u64(), "{bert}");
    let shown = port.server.must("approval.show", json!({ "approval": approval }));
    assert_eq!(shown["verb"], "user.change");
    assert!(
        shown["about"].as_str().unwrap().contains("let user 'bert' do: administrator"),
        "{shown}"
    );
    assert!(!shown.to_string().contains(FIRST), "{shown}");

    // Whoever asked knows her password, so she is nobody else yet.
    Person::of(&port, "anna", FIRST)
        .approve(&approval)
        .fails(403, "set the password of user 'anna'");
    let anna = Person::own(&port, "anna");
    anna.approve(&approval).is(200);
    assert_eq!(roles(&port, "bert"), json!([{ "role": "administrator" }]));
    anna.approve(&approval).fails(400, "is not open");

    // What does not weigh needs nobody.
    let kim = port.server.must("user.add", user("kim", "operator"));
    assert_eq!(kim["waits_for"], Value::Null);
    port.server.must("user.change", json!({ "name": "kim", "grants": [{ "role": "restore" }] }));
    assert_eq!(roles(&port, "kim"), json!([{ "role": "restore" }]));
}

#[test]
fn nobody_is_the_second_person_for_their_own_rights_or_by_a_token_that_the_first_one_knows() {
    let port = Port::start();
    port.server.must("user.add", user("anna", "superuser"));
    let anna = Person::own(&port, "anna");
    let asked = port.server.must("user.add", user("bert", "administrator"));
    anna.approve(&asked["waits_for"]).is(200);
    let bert = Person::own(&port, "bert");

    // Root wants more for bert; bert alone cannot agree, anna can.
    let more = json!({ "name": "bert", "grants": [{ "role": "superuser" }] });
    let asked = port.server.must("user.change", more);
    assert_eq!(asked["grants"], json!([{ "role": "administrator" }]));
    bert.approve(&asked["waits_for"]).fails(403, "somebody else is the second person");
    let token = json!({ "name": "roots", "user": "anna", "grants": [{ "role": "superuser" }] });
    let made = port.server.must("api-token.create", token);
    assert_eq!(made["token"]["waits_for"], Value::Null, "it may no more than its user");
    let path = format!("/api/v1/approvals/{}/approve", asked["waits_for"]);
    let secret = made["secret"].as_str().unwrap();
    port.ask(secret, "POST", &path, &json!({})).fails(403, "made the API token 'roots'");
    anna.approve(&asked["waits_for"]).is(200);
    assert_eq!(roles(&port, "bert"), json!([{ "role": "superuser" }]));
}

#[test]
fn who_could_be_the_second_person_is_not_shut_out_by_one() {
    let port = Port::start();
    port.server.must("user.add", user("anna", "superuser"));
    let anna = Person::own(&port, "anna");
    let asked = port.server.must("user.add", user("bert", "administrator"));
    anna.approve(&asked["waits_for"]).is(200);
    let bert = Person::own(&port, "bert");
    for (verb, body) in [
        ("user.remove", json!({ "name": "bert" })),
        ("user.change", json!({ "name": "bert", "grants": [], "disabled": true })),
        ("user.change", json!({ "name": "bert", "grants": [{ "role": "operator" }] })),
    ] {
        let asked = port.server.must(verb, body);
        assert_eq!(asked["grants"], json!([{ "role": "administrator" }]), "{verb}: {asked}");
        let number = &asked["waits_for"];
        assert!(number.is_u64(), "{verb}: {asked}");
        port.server.must("approval.reject", json!({ "approval": number }));
    }
    // Whom it is about may agree, and so may others.
    let asked = port.server.must("user.remove", json!({ "name": "bert" }));
    bert.approve(&asked["waits_for"]).is(200);
    assert!(port.server.ask("user.show", json!({ "name": "bert" })).is_err());
    // Now anna is the only one: root may shut her out alone, and the log says so.
    port.server.must("user.remove", json!({ "name": "anna" }));
    assert!(port.server.ask("user.show", json!({ "name": "anna" })).is_err());
}

#[test]
fn a_token_of_nobody_that_may_much_waits_and_is_good_for_nothing_until_then() {
    let port = Port::start();
    port.server.must("user.add", user("anna", "superuser"));
    let anna = Person::own(&port, "anna");
    let token = json!({ "name": "ci", "grants": [{ "role": "administrator" }] });
    let made = port.server.must("api-token.create", token);
    let secret = made["secret"].as_str().unwrap();
    port.get(secret, "/api/v1/clients").fails(403, "");
    let number = &made["token"]["waits_for"];
    anna.approve(number).is(200);
    port.get(secret, "/api/v1/clients").is(200);
    let harmless = json!({ "name": "ro", "grants": [{ "role": "auditor" }] });
    let made = port.server.must("api-token.create", harmless);
    port.get(made["secret"].as_str().unwrap(), "/api/v1/clients").is(200);
}

#[test]
fn own_passwords_take_the_old_one_and_wrong_ones_hold_up() {
    let port = Port::start();
    port.server.must("user.add", user("kim", "operator"));
    let kim = Person::of(&port, "kim", FIRST);
    let change = |old: &str, new: &str| {
        kim.ask("POST", "/api/v1/me/password", &json!({ "old": old, "password": new }))
    };
    change(FIRST, "short").fails(400, "12 characters");
    for _ in 0..5 {
        change("wrong wrong wrong", OWN).fails(403, "the password of now is wrong");
    }
    change(FIRST, OWN).fails(403, "none is looked at");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    change(FIRST, OWN).is(200);
    kim.ask("GET", "/api/v1/me", &json!({})).fails(401, "log in");
    Person::of(&port, "kim", OWN);
    let root =
        port.server.ask("me.password", json!({ "old": FIRST, "password": OWN })).unwrap_err();
    assert!(root.to_string().contains("'local:root' is no user"), "{root}");
}

/// Somebody who may change people, and nothing else.
fn only_people(port: &Port, name: &str) {
    let body = json!({ "name": name, "grants": [{ "right": "people" }], "password": FIRST });
    port.server.must("user.add", body);
}

#[test]
fn nobody_takes_the_account_or_the_token_that_an_approval_is_for() {
    let port = Port::start();
    only_people(&port, "mallory");
    port.server.must("user.add", user("anna", "superuser"));
    let anna = Person::own(&port, "anna");
    let mallory = Person::own(&port, "mallory");
    // Nothing was given yet, and whoever had the account now would have what comes.
    let asked = port.server.must("user.add", user("carl", "superuser"));
    assert!(asked["waits_for"].is_u64(), "{asked}");
    let grants = json!({ "name": "carl", "grants": [], "password": OWN });
    for (method, path, body) in [
        ("PUT", "/api/v1/users/carl/password", json!({ "password": OWN })),
        ("PUT", "/api/v1/users/carl", grants),
        ("DELETE", "/api/v1/users/carl", json!({})),
    ] {
        mallory.ask(method, path, &body).fails(403, "rights that you do not have");
    }
    let token = json!({ "name": "ci", "grants": [{ "role": "administrator" }] });
    let made = port.server.must("api-token.create", token);
    let waits = made["token"]["waits_for"].clone();
    // To take a right away is no gain: nothing is given to another one of that name then.
    mallory.ask("DELETE", "/api/v1/api-tokens/ci", &json!({})).is(200);
    anna.approve(&waits).fails(403, "was revoked");
    std::thread::sleep(std::time::Duration::from_millis(5));
    let harmless = json!({ "name": "ci", "grants": [{ "role": "auditor" }] });
    port.server.must("api-token.create", harmless);
    anna.approve(&waits).fails(403, "is another one");
    anna.approve(&asked["waits_for"]).is(200);
}

#[test]
fn by_what_a_second_person_signs_in_only_that_person_and_root_know() {
    let port = Port::start();
    port.server.must("user.add", user("anna", "superuser"));
    let anna = Person::own(&port, "anna");
    let asked = port.server.must("user.add", user("bert", "superuser"));
    anna.approve(&asked["waits_for"]).is(200);
    // Root gave bert the password, so root could be bert, and bert's token root's.
    let bert = Person::of(&port, "bert", FIRST);
    let body = json!({ "name": "early", "user": "bert", "grants": [{ "role": "superuser" }] });
    let early = bert.ask("POST", "/api/v1/api-tokens", &body).json();
    let early = early["secret"].as_str().unwrap().to_owned();
    let asked = port.server.must("user.add", user("carl", "administrator"));
    let path = format!("/api/v1/approvals/{}/approve", asked["waits_for"]);
    port.ask(&early, "POST", &path, &json!({})).fails(403, "set the password of user 'bert'");
    let bert = Person::own(&port, "bert");
    port.ask(&early, "POST", &path, &json!({})).fails(401, "");
    bert.approve(&asked["waits_for"]).is(200);

    let token = json!({ "name": "t", "user": "bert", "grants": [{ "role": "superuser" }] });
    let password =
        json!({ "name": "bert", "grants": [{ "role": "superuser" }], "password": FIRST });
    for (method, path, body) in [
        ("PUT", "/api/v1/users/bert/password", json!({ "password": FIRST })),
        ("PUT", "/api/v1/users/bert", password),
        ("PUT", "/api/v1/users/bert/one-time", json!({ "on": false })),
        ("POST", "/api/v1/api-tokens", token),
    ] {
        anna.ask(method, path, &body).fails(403, "may approve what others ask for");
    }
    Person::of(&port, "bert", OWN);
    // Who may not approve has help from whoever may change people.
    port.server.must("user.add", user("kim", "operator"));
    anna.ask("PUT", "/api/v1/users/kim/password", &json!({ "password": OWN })).is(200);
}

#[test]
fn what_was_asked_for_by_who_may_not_any_more_is_not_done() {
    let port = Port::start();
    port.server.must("user.add", user("anna", "superuser"));
    let anna = Person::own(&port, "anna");
    let asked = port.server.must("user.add", user("bert", "superuser"));
    anna.approve(&asked["waits_for"]).is(200);
    let bert = Person::own(&port, "bert");
    let asked = bert.ask("PUT", "/api/v1/users/carl", &user("carl", "administrator")).json();
    let disabled = json!({ "name": "bert", "grants": [{ "role": "superuser" }], "disabled": true });
    let out = port.server.must("user.change", disabled);
    anna.approve(&out["waits_for"]).is(200);
    anna.approve(&asked["waits_for"]).fails(403, "may not come in any more");
    assert_eq!(roles(&port, "carl"), json!([]));
}
