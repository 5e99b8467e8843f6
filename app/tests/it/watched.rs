//! What those see who watch over a server: health for everybody, figures for who has the right, in formats that
//! other people's programs take.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_testkit::Postgres;

use crate::console::Port;
use crate::hosts::{Daemon, until};

/// A request without any credentials, on the local socket or on the port.
fn curl(port: &Port, path: &str) -> (u16, String) {
    let told = port.curl("GET", path, &[]);
    (told.status, told.text)
}

/// The figure of a sample, as it is written.
fn figure(text: &str, sample: &str) -> Option<String> {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with(' ')));
    Some(line?.rsplit(' ').next()?.to_owned())
}

#[test]
fn health_is_told_to_everybody_and_figures_to_who_has_the_right() {
    let port = Port::furnished();
    for path in ["/health", "/health/live"] {
        assert_eq!(curl(&port, path), (200, r#"{"status":"ok"}"#.to_owned()), "{path}");
    }
    until("all parts are ready", || curl(&port, "/health/ready").0 == 200);
    assert_eq!(curl(&port, "/health/ready").1, r#"{"status":"ok"}"#);
    port.curl("POST", "/health/ready", &[]).fails(405, "only read");
    assert_ne!(curl(&port, "/health/more").0, 200, "it is none of these");
    port.curl("GET", "/metrics", &[]).fails(401, "token");

    let viewer = port.token("viewer", &json!([{ "right": "view" }, { "right": "audit" }]));
    port.get(&viewer, "/metrics").fails(403, "metrics");
    let one = port.token("one", &json!([{ "right": "metrics", "client": port.server.own_name() }]));
    port.get(&one, "/metrics").fails(403, "metrics");
    let collector = port.token("collector", &json!([{ "right": "metrics" }]));
    port.ask(&collector, "GET", "/api/v1/tasks", &Value::Null).fails(403, "view");
    for role in ["auditor", "operator"] {
        let token = port.token(role, &json!([{ "role": role }]));
        port.get(&token, "/metrics").is(200);
    }
    let told = port.get(&collector, "/metrics").is(200);
    assert_eq!(told.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("simsim_build_info{{version=\"{version}\"}}");
    assert_eq!(figure(&told.text, &build).as_deref(), Some("1"), "{}", told.text);
}

#[test]
fn figures_follow_what_happens_and_other_peoples_programs_take_them() {
    let port = Port::furnished();
    let own = port.server.own_name();
    port.server.add_task("gone", &own, &port.scratch.path().join("not-there"));
    let collector = port.token("collector", &json!([{ "right": "metrics" }]));
    let read = || port.get(&collector, "/metrics").is(200).text;
    let aspect = |of: &str| format!("{{task=\"home\",client=\"{own}\",aspect=\"{of}\"}}");
    let before = read();
    let ended = "simsim_jobs_ended_total{kind=\"backup\",outcome=\"finished\"}";
    assert_eq!(figure(&before, ended), None);
    let age = format!("simsim_task_aspect_age_seconds{}", aspect("backup"));
    assert_eq!(figure(&before, &age).as_deref(), Some("+Inf"), "{before}");

    assert_eq!(port.server.backup("home")["state"], "finished");
    port.server.backup("gone");
    let job = port.server.must("datastore.verify", json!({ "datastore": "main" }));
    port.server.ended(&job);
    let at_once = read();
    assert_eq!(figure(&at_once, ended).as_deref(), Some("1"), "{at_once}");
    let mut text = String::new();
    crate::hosts::until_within("the last look is old", Duration::from_secs(40), || {
        text = read();
        figure(&text, &age).is_some_and(|age| age != "+Inf")
    });
    let number = |sample: &str| -> f64 {
        let figure = figure(&text, sample).unwrap_or_else(|| panic!("{sample}\n{text}"));
        figure.parse().unwrap()
    };
    assert!(number(&age) < 60.0, "{text}");
    for of in ["backup", "verification"] {
        assert_eq!(number(&format!("simsim_task_aspect_good{}", aspect(of))), 1.0, "{of}");
    }
    assert_eq!(number(&format!("simsim_task_green{{task=\"home\",client=\"{own}\"}}")), 0.0);
    let main = |name: &str| number(&format!("simsim_datastore_{name}{{datastore=\"main\"}}"));
    assert_eq!(
        (main("reached"), main("in_service"), main("savesets")),
        (1.0, 1.0, 1.0),
        "one failed"
    );
    assert!(main("verified_age_seconds") < 60.0);
    assert!(main("capacity_bytes") >= main("free_bytes") && main("stored_bytes") > 0.0);
    // A tree of repeated lines: deduplication and compression save most of it.
    assert!(main("dedup_ratio") > 1.0, "{}", main("dedup_ratio"));
    assert!(main("full_in_seconds") > 86_400.0);
    let head = port.server.must("audit.list", json!({ "limit": 1 }));
    assert!(number("simsim_audit_rows_total") > 0.0, "{head}");
    assert_eq!(number(&format!("simsim_host_connected{{host=\"{own}\"}}")), 1.0);
    for part in ["catalog", "scheduler", "own_host", "running"] {
        assert_eq!(number(&format!("simsim_part_ready{{part=\"{part}\"}}")), 1.0, "{part}");
    }

    // What has no sample here is of what this server does not have.
    let page = include_str!("../../../docs/reference/metrics.md");
    let not_here =
        ["simsim_replication", "simsim_notification", "simsim_certificate", "simsim_audit_kept"];
    for row in page.lines().filter_map(|line| line.strip_prefix("| `simsim_")) {
        let name = format!("simsim_{}", row.split('`').next().unwrap());
        if !not_here.iter().any(|one| name.starts_with(one)) {
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
        }
    }
    taken_by("promtool", &["check", "metrics"], &text);
    let accepts = ["-H", "Accept: application/openmetrics-text; version=1.0.0, text/plain;q=0.5"];
    let bearer = format!("Authorization: Bearer {collector}");
    let open = port.curl("GET", "/metrics", &[&accepts[..], &["-H", &bearer]].concat()).is(200);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(open.field("content-type"), Some(kind));
    assert!(open.text.ends_with("# EOF\n"), "{}", open.text);
    let reader = "import sys; from prometheus_client.openmetrics.parser import text_string_to_metric_families as f; \
                  n = list(f(sys.stdin.read())); assert len(n) > 30, n";
    let python = crate::console::python_tool("python3");
    let python = python.map_or("python3".to_owned(), |python| python.display().to_string());
    let has = Command::new(&python).args(["-c", "import prometheus_client"]).output();
    if has.is_ok_and(|has| has.status.success()) {
        taken_by(&python, &["-c", reader], &open.text);
    } else {
        simsim_testkit::skip("there is no prometheus_client (PyPI) to read OpenMetrics with");
    }
}

/// A program of others that reads it from standard input, and has nothing to say.
fn taken_by(program: &str, arguments: &[&str], text: &str) {
    if !program.contains('/') && !simsim_testkit::has_program(program) {
        return simsim_testkit::skip(&format!("there is no {program}"));
    }
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{text}");
}

#[test]
fn a_database_that_is_away_is_said_and_the_server_lives() {
    let postgres = match Postgres::start() {
        Ok(postgres) => postgres,
        Err(why) => return simsim_testkit::skip(&why),
    };
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("server");
    std::fs::create_dir_all(&state).unwrap();
    let settings = format!("[server]\ncatalog = \"{}\"\n", postgres.url("postgres"));
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    let server = Daemon::start("server", &state);
    let port = Port::of(scratch, server);
    until("all parts are ready", || curl(&port, "/health/ready").0 == 200);
    postgres.kill();
    until("it is said", || curl(&port, "/health/ready").0 == 503);
    let (_, text) = curl(&port, "/health/ready");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["status"], "not_ready");
    assert!(told["not_ready"].as_array().unwrap().contains(&json!("catalog")), "{told}");
    assert_eq!(curl(&port, "/health/live").0, 200);
    let begun = Instant::now();
    curl(&port, "/health/ready");
    assert!(begun.elapsed() < Duration::from_secs(5), "it hangs with its database");
    postgres.start_again();
    until("all parts are ready again", || curl(&port, "/health/ready").0 == 200);
}
