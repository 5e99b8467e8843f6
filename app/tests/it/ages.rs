//! History goes when it is old enough, by a clock that the test sets; what something stands on stays.

use serde_json::{Value, json};

use crate::hosts::{Daemon, tree, until};

const DAY_MS: i64 = 86_400_000;

#[test]
fn what_is_old_goes_when_the_clock_is_trusted_and_the_audit_log_stays() {
    let scratch = tempfile::tempdir().unwrap();
    let (state, clock) = (scratch.path().join("server"), scratch.path().join("clock"));
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(&clock, "0").unwrap();
    let settings = "[server.keep]\nruns_days = 5\njobs_days = 5\njob_logs_days = 2\nmessages_days = 5\n\
                    [server.notify_programs]\nnote = [\"/bin/true\"]\n";
    std::fs::write(state.join("simsim.toml"), settings).unwrap();
    let points = format!("clock={}", clock.display());
    let server = Daemon::start_with("server", &state, &[("SIMSIM_FAILPOINTS", &points)]);
    server
        .must("datastore.create", json!({ "name": "main", "path": scratch.path().join("store") }));
    let own = server.own_name();
    server.until_connected(&own);
    server.add_task("home", &own, &tree(scratch.path()));
    server.must("notification.add", json!({
        "name": "all", "via": { "kind": "program", "local_name": "note" }, "outcomes": ["finished"],
    }));
    server.must("event.add", json!({ "name": "night", "subjects": ["home"] }));
    let first = server.backup("home")["job"].clone();
    let mut restores = Vec::new();
    for number in 0..3 {
        let to = scratch.path().join(format!("to-{number}"));
        let job = server.must("restore", json!({ "saveset": "", "task": "home", "target": to }));
        restores.push(server.ended(&job)["job"].clone());
    }
    for _ in 0..2 {
        let started = server.must("event.run", json!({ "name": "night" }));
        let job = started["runs"][0]["job"].clone();
        server.ended(&json!({ "job": job }));
    }
    let sent = || {
        let messages = server.must("notification.messages", json!({}));
        let sent = messages.as_array().unwrap().iter().filter(|one| one["state"] == "sent");
        sent.count()
    };
    until("it is told", || sent() > 0);
    let there = |job: &Value| server.ask("job.show", json!({ "job": job })).is_ok();
    let lines = |job: &Value| {
        let log = server.must("job.log", json!({ "job": job }));
        log["lines"].as_array().or(log.as_array()).unwrap().len()
    };
    assert!(lines(&first) > 0);
    let position = |server: &Daemon| server.must("audit.verify", Value::Null);
    let audit = position(&server);

    // A clock that jumps removes nothing. It was known before.
    server.must("retention.confirm-clock", Value::Null);
    std::fs::write(&clock, (40 * DAY_MS).to_string()).unwrap();
    until("the clock is in doubt", || {
        server.must("status", Value::Null)["warnings"].to_string().contains("nothing expires")
    });
    std::thread::sleep(std::time::Duration::from_secs(22));
    assert!(restores.iter().all(there) && lines(&first) > 0, "the clock is in doubt");

    server.must("retention.confirm-clock", Value::Null);
    until("what is old goes", || !there(&restores[0]));
    until("its messages", || sent() == 0);
    assert!(!there(&restores[1]) && there(&restores[2]), "the newest one of its kind stays");
    assert!(there(&first), "its saveset is there");
    assert_eq!(lines(&first), 0, "logs go earlier");
    let runs = server.must("run.list", json!({ "event": "night" }));
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs}");
    let after = position(&server);
    assert!(audit["holds"] == true && after["holds"] == true, "{after}");
    assert!(after["rows"].as_u64() >= audit["rows"].as_u64(), "{audit} {after}");
    assert_eq!(server.backup("home")["state"], "finished", "and all goes on");
}
