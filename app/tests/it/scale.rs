//! What people and collectors ask often stays quick with 200 tasks, 10,000 savesets and 100,000 jobs that ended.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::console::Port;
use crate::hosts::until;

const TASKS: usize = 200;
const SAVESETS: usize = 10_000;
const JOBS: usize = 100_000;

/// A call may take so long. Debug builds are slower, and machines of tests busy.
const CALL_MAX: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(400) } else { Duration::from_millis(200) };

/// The quickest of some calls.
fn quickest(what: &str, mut call: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        call();
        best = best.min(begun.elapsed());
    }
    println!("{what}: {best:?}");
    best
}

#[test]
fn status_tasks_and_figures_are_quick_with_ten_thousand_savesets() {
    let mut port = Port::furnished();
    let state = port.server.state.clone();
    assert_eq!(port.server.backup("home")["state"], "finished");
    let job = port.server.must("datastore.verify", json!({ "datastore": "main" }));
    port.server.ended(&job);
    port.server.stop();
    std::fs::write(state.join("simsim.toml"), "[server]\nsearch_interval_s = 0\n").unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scale.py");
    let mut fill = Command::new("python3");
    fill.arg(script).arg(state.join("server/catalog.db"));
    fill.args([TASKS, SAVESETS, JOBS].map(|number| number.to_string()));
    let filled = fill.output().unwrap();
    assert!(filled.status.success(), "{filled:?}");
    port.again();
    let own = port.server.own_name();
    until("its host is reached", || port.server.is_connected(&own));
    let collector = port.token("collector", &json!([{ "right": "metrics" }]));
    let tasks = port.server.must("task.list", Value::Null);
    assert!(tasks.as_array().unwrap().len() >= TASKS, "{}", tasks.as_array().unwrap().len());
    let text = port.get(&collector, "/metrics").is(200).text;
    let savesets = format!("simsim_datastore_savesets{{datastore=\"main\"}} {}", SAVESETS + 1);
    assert!(text.contains(&savesets), "{savesets}");
    let ask = |verb: &str| {
        let verb = verb.to_owned();
        quickest(&verb, || {
            port.server.must(&verb, Value::Null);
        })
    };
    let calls = [
        ("status", ask("status")),
        ("task.list", ask("task.list")),
        ("task.health", ask("task.health")),
        ("notification.list", ask("notification.list")),
        (
            "/metrics",
            quickest("/metrics", || {
                port.get(&collector, "/metrics").is(200);
            }),
        ),
    ];
    let begun = Instant::now();
    port.server.must("report.show", json!({}));
    println!("report.show: {:?}", begun.elapsed());
    std::thread::sleep(Duration::from_secs(16));
    let begun = Instant::now();
    port.get(&collector, "/metrics").is(200);
    println!("/metrics, looked at anew: {:?}", begun.elapsed());
    for (what, took) in calls {
        assert!(took < CALL_MAX, "{what} took {took:?}");
    }
}
