//! The OpenAPI document: other people's readers take it, and every path of it refuses who may not.

use std::process::Command;

use serde_json::{Value, json};

use super::{Port, python_tool};

/// A request for each operation: method, path with something in place of each field, and its right.
fn operations(document: &Value) -> Vec<(String, String, Option<String>)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"] == json!([]) {
                continue;
            }
            let parts = path.split('/').map(|part| if part.starts_with('{') { "7" } else { part });
            let path = parts.collect::<Vec<_>>().join("/");
            let right = operation["x-simsim-right"].as_str().map(str::to_owned);
            found.push((method.to_uppercase(), path, right));
        }
    }
    found
}

/// What a walk through the document might change.
fn everything(port: &Port) -> Vec<Value> {
    let lists = [
        "client.list",
        "interface.list",
        "rate.list",
        "datastore.list",
        "drive-group.list",
        "task.list",
        "token.list",
        "replication.list",
        "key.domains",
        "user.list",
    ];
    let mut all: Vec<Value> =
        lists.iter().map(|verb| port.server.must(verb, Value::Null)).collect();
    all.push(port.server.must("job.list", json!({})));
    for one in &mut all {
        forget(one);
    }
    all
}

/// Leaves out what changes by itself.
fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !["last_seen_unix_ms", "device"].contains(&name.as_str()));
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

#[test]
fn every_path_of_the_document_refuses_strangers_and_who_has_no_right() {
    let port = Port::furnished();
    let all = port.superuser();
    let document = port.get(&all, "/api/v1/openapi.json").is(200).json();
    let user = json!({ "name": "nobody", "grants": [], "password": "a very long password" });
    port.server.must("user.add", user);
    let request = json!({ "name": "weak", "user": "nobody", "grants": [{ "role": "superuser" }] });
    let weak = port.server.must("api-token.create", request)["secret"].as_str().unwrap().to_owned();
    let before = everything(&port);
    let operations = operations(&document);
    assert!(operations.len() > 70, "{}", operations.len());
    let mut free = Vec::new();
    for (method, path, right) in &operations {
        port.curl(method, path, &[]).fails(401, "API token");
        let body = if method == "GET" { Value::Null } else { json!({}) };
        if path.ends_with("/session") {
            continue;
        }
        match right {
            Some(right) => {
                port.ask(&weak, method, path, &body).fails(403, &format!("'{right}'"));
            }
            None => free.push(path.as_str()),
        }
    }
    // Whoever is known is told of themselves; whose session it is, the verbs look at.
    let own = [
        "/api/v1/me",
        "/api/v1/me/one-time",
        "/api/v1/me/password",
        "/api/v1/openapi.json",
        "/api/v1/sessions",
        "/api/v1/sessions/7",
        "/api/v1/sessions/7",
        "/api/v1/users/7/log-out",
    ];
    assert_eq!(free, own);
    let log_out = "/api/v1/users/anybody/log-out";
    port.ask(&weak, "POST", log_out, &json!({})).fails(403, "'people'");
    port.ask(&weak, "DELETE", "/api/v1/sessions/7", &json!({})).fails(403, "'people'");
    assert_eq!(everything(&port), before);
}

#[test]
fn a_validator_of_others_takes_the_document() {
    let Some(validator) = python_tool("openapi-spec-validator") else {
        return simsim_testkit::skip("openapi-spec-validator is not installed");
    };
    let port = Port::start();
    let all = port.superuser();
    let document = port.get(&all, "/api/v1/openapi.json").is(200).text;
    let file = port.file("openapi.json", &document);
    let judged = Command::new(validator).args(["--schema", "3.1"]).arg(file).output().unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    // A failure, and what went wrong with one file of a job, are two things.
    let document: Value = serde_json::from_str(&document).unwrap();
    let schemas = &document["components"]["schemas"];
    assert!(schemas["Problem"]["properties"]["path"].is_object(), "{}", schemas["Problem"]);
    assert!(schemas["ProblemDetails"]["properties"]["detail"].is_object());
    // Programs that ask for another version hear so, and are not led to a page.
    port.get(&all, "/api/v2/tasks").fails(404, "/api/v1/openapi.json");
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance,unsupported_method,\
                      allow_header_conformance,negative_data_rejection";
/// What would write to this host, waits for long, or takes the very token or the server's own host away.
const LEFT_OUT: &str = "/(datastores|session|backups|authority|events|restore|rotate-key|api-tokens|\
                        clients/.name.)";

/// Python 3.11 sometimes loses count of how deep it is while the tool reads its own source: then the tool has
/// found nothing wrong, and one path was not tried in one of the ways.
fn is_the_interpreters_fault(told: &str) -> bool {
    let faults = told.matches("AST constructor recursion depth mismatch").count();
    let errors = told.matches("Runtime Error").count();
    faults > 0 && errors <= faults && !told.contains("= FAILURES =")
}

/// Requests that are made up from the document, good and bad: none makes the server fail, and each is
/// answered as the document says.
#[test]
fn made_up_requests_never_make_the_server_fail() {
    let Some(schemathesis) = python_tool("schemathesis") else {
        return simsim_testkit::skip("schemathesis is not installed");
    };
    let port = Port::furnished();
    port.server.backup("home");
    let all = port.superuser();
    // The file of settings, because a token is no argument.
    let settings = format!(
        "headers = {{ Authorization = \"Bearer {all}\" }}\ntls-verify = \"{}\"\n",
        port.certificate().display()
    );
    port.file("schemathesis.toml", &settings);
    let run = Command::new(schemathesis)
        .current_dir(port.scratch.path())
        .args(["run", &port.url("/api/v1/openapi.json"), "--phases", "examples,coverage,fuzzing"])
        .args(["--checks", CHECKS, "--exclude-path-regex", LEFT_OUT])
        .args(["--max-examples", "5", "--seed", "1", "--no-shrink", "--workers", "2"])
        .args([
            "--request-timeout",
            "20",
            "--continue-on-failure",
            "--max-time",
            "40",
            "--no-color",
        ])
        .args(["--suppress-health-check", "all"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    let good = run.status.success() || is_the_interpreters_fault(&told);
    assert!(good, "{told}\n{}", String::from_utf8_lossy(&run.stderr));
    // It went on with its token to the end.
    port.get(&all, "/api/v1/me").is(200);
    assert!(told.contains("passed") && !told.contains("Rate limited"), "{told}");
    let said = port.server.process.output();
    assert!(!said.contains("panicked"), "{said}");
    assert!(port.server.must("audit.verify", Value::Null)["holds"] == true);
}
