//! Tokens: what they are good for, when they are not, and where their secrets must not stand.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Desk, ended, noise};
use crate::hosts::{assert_done, until};

const WRONG: &str = "simsim_token_0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn a_token_is_good_for_its_task_its_use_and_its_time() {
    let desk = Desk::new();
    desk.external("other", "main");
    let (stores, store) = desk.token("stores", "db", "store");
    let (_, read) = desk.token("reads", "db", "read");
    let (_, other) = desk.token("other", "other", "both");
    let url = desk.url("db");
    let put = |header: &str| desk.curl(&["-H", header, "-T", "-", &url], Some(b"bytes"));
    let get = |header: &str| desk.curl(&["-H", header, &url], None);
    put(&store).is(0, 201);
    get(&read).is(0, 200);
    put(&read).is(22, 403).says("may only read");
    get(&store).is(22, 403).says("may only store");
    desk.curl(&["-H", &store, "-I", &url], None).is(22, 403);

    // Without, wrong, for another task, for a task that is not there: one answer for the last three.
    desk.curl(&["-T", "-", &url], Some(b"x")).is(22, 401).says("a token is needed");
    let wrong = desk.header("wrong", WRONG);
    let answers = [
        put(&wrong),
        put(&other),
        desk.curl(&["-H", &other, "-T", "-", &desk.url("nothing")], Some(b"x")),
        desk.curl(&["-H", &wrong, "-T", "-", &desk.url("nothing")], Some(b"x")),
    ];
    for answer in &answers {
        assert_eq!(answer.is(22, 401).text(), answers[0].text());
    }
    // As password of any user.
    let user = format!("anybody:{stores}");
    desk.curl(&["-u", &user, "-T", "-", &url], Some(b"basic")).is(0, 201);

    let expire = "import sqlite3, sys\n\
                  catalog = sqlite3.connect(sys.argv[1], timeout=30)\n\
                  catalog.execute(\"UPDATE tokens SET expires_unix_ms = 1 WHERE name = 'reads'\")\n\
                  catalog.commit()\n";
    let catalog = desk.server.state.join("server/catalog.db");
    let python = Command::new("python3").args(["-c", expire]).arg(catalog).output().unwrap();
    assert_done(&python);
    get(&read).is(22, 403).says("has expired");
    desk.server.must("token.revoke", json!({ "name": "stores" }));
    put(&store).is(22, 403).says("was revoked");
    let listed = desk.server.must("token.list", json!({}));
    let states: Vec<_> =
        listed.as_array().unwrap().iter().map(|one| (&one["name"], &one["state"])).collect();
    let expected = [("other", "valid"), ("reads", "expired"), ("stores", "revoked")]
        .map(|(name, state)| (json!(name), json!(state)));
    assert_eq!(states, expected.iter().map(|(a, b)| (a, b)).collect::<Vec<_>>());
    assert_eq!(desk.savesets("db").len(), 2);
    // A token goes with its task.
    desk.server.must("task.delete", json!({ "name": "other" }));
    desk.curl(&["-H", &other, &desk.url("other")], None).is(22, 401);
}

#[test]
fn a_token_is_changed_and_keeps_its_secret() {
    let desk = Desk::new();
    let (_, tool) = desk.token("tool", "db", "store");
    let url = desk.url("db");
    let put = || desk.curl(&["-H", &tool, "-T", "-", &url], Some(b"bytes"));
    let get = || desk.curl(&["-H", &tool, &url], None);
    put().is(0, 201);
    get().is(22, 403).says("may only store");
    let read = json!({ "name": "tool", "allow": "read", "expires_days": 0 });
    let changed = desk.server.must("token.change", read);
    assert_eq!((&changed["allow"], &changed["expires_unix_ms"]), (&json!("read"), &json!(null)));
    get().is(0, 200);
    put().is(22, 403).says("may only read");
    let soon = desk.server.must("token.change", json!({ "name": "tool", "expires_days": 1 }));
    assert!(soon["allow"] == "read" && soon["expires_unix_ms"].is_number(), "{soon}");
    desk.server.must("token.revoke", json!({ "name": "tool" }));
    for (body, words) in [
        (json!({ "name": "tool" }), "say what to change"),
        (json!({ "name": "none", "expires_days": 1 }), "no token 'none'"),
        (json!({ "name": "tool", "expires_days": 4000 }), "3650"),
        (json!({ "name": "tool", "expires_days": 1 }), "for good"),
    ] {
        let refused = desk.server.ask("token.change", body).unwrap_err().to_string();
        assert!(refused.contains(words), "{words}: {refused}");
    }
    get().is(22, 403).says("was revoked");
}

#[test]
fn revoking_a_token_ends_the_stream_that_runs_with_it() {
    let desk = Desk::new();
    let (_, header) = desk.token("gone", "db", "store");
    let (child, job) = desk.begun(&header, "db", &noise(1_000_000, 1));
    let begun = Instant::now();
    desk.server.must("token.revoke", json!({ "name": "gone" }));
    // Its sender is silent, and is cut off all the same.
    let cut = desk.job(job);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(cut["state"], "cancelled", "{cut:#}");
    assert_ne!(ended(child).exit, 0, "curl is told");
    assert_eq!(desk.savesets("db"), [0; 0]);
}

#[test]
fn wrong_tokens_are_counted_by_address_and_no_right_one_is_held_up() {
    let desk = Desk::new();
    let (_, right) = desk.token("right", "db", "both");
    let wrong = desk.header("wrong", WRONG);
    let url = desk.url("db");
    for n in 0..simsim_transfer::WRONG_SECRETS_MAX {
        assert_eq!(desk.curl(&["-H", &wrong, &url], None).status, 401, "number {n}");
    }
    desk.curl(&["-H", &wrong, &url], None).is(22, 429).says("too many wrong");
    desk.curl(&["-H", &wrong, &url], None).is(22, 429);
    desk.stored(&right, "db", b"still");
    let audit = desk.server.must("audit.list", json!({}));
    let refused = audit["rows"].as_array().unwrap().iter();
    let refused = refused.filter(|row| row["verb"] == "stream.admit" && row["allowed"] == false);
    let expected = simsim_transfer::WRONG_SECRETS_MAX as usize + 1;
    assert_eq!(refused.count(), expected, "each wrong one, and one line for the rest: {audit:#}");
}

/// Over HTTP everybody on the way could read the secret, so it must not work there.
#[test]
fn without_tls_nothing_is_taken_and_the_answer_says_where_to_go() {
    let desk = Desk::new();
    let (_, header) = desk.token("both", "db", "both");
    let log = desk.server.process.output();
    let line = log.lines().find(|line| line.contains("row=\"http\"")).unwrap();
    let at = line.find("127.0.0.1:").unwrap();
    let http = line[at..].split([' ', ',']).next().unwrap();
    let url = format!("http://{http}/v1/streams/db");
    let refused = desk.curl(&["-H", &header, "-T", "-", &url], Some(&noise(5_000_000, 1)));
    refused.is(22, 403).says("could be read on the way").says("make another token");
    desk.curl(&["-H", &header, &url], None).is(22, 403).says("could be read on the way");
    assert_eq!(desk.savesets("db"), [0; 0]);
    assert_eq!(desk.newest_job(), None, "nothing was begun");
}

#[test]
fn no_secret_stands_in_a_log_a_list_or_the_catalog() {
    let desk = Desk::new();
    let (secret, header) = desk.token("both", "db", "both");
    let ticket = desk.server.must("stream.start", json!({ "task": "db" }));
    let url = ticket["url"].as_str().unwrap();
    let ticket = url.rsplit('/').next().unwrap().to_owned();
    assert!(ticket.starts_with("simsim_ticket_") && secret.starts_with("simsim_token_"));
    let path = format!("{}/{ticket}", desk.url("db"));
    desk.curl(&["-T", "-", &path], Some(b"by ticket")).is(0, 201);
    desk.curl(&["-T", "-", &path], Some(b"again")).is(22, 401);
    desk.stored(&header, "db", b"by token");
    desk.curl(&["-H", &header, &desk.url("db")], None).is(0, 200);
    let digits = [secret.rsplit('_').next().unwrap(), ticket.rsplit('_').next().unwrap()];
    let mut seen = desk.server.process.output();
    let lists = [
        desk.server.must("token.list", json!({})),
        desk.server.must("audit.list", json!({})),
        desk.server.must("job.list", json!({})),
        desk.server.must("job.log", json!({ "job": 1 })),
        desk.server.must("job.log", json!({ "job": 2 })),
    ];
    lists.iter().for_each(|list| seen.push_str(&list.to_string()));
    until("the reading job has ended", || {
        desk.server.must("job.list", json!({ "open_only": true })).as_array().unwrap().is_empty()
    });
    let mut files = 0;
    for folder in ["", "server"] {
        for file in std::fs::read_dir(desk.server.state.join(folder)).unwrap() {
            let file = file.unwrap().path();
            if file.is_file() {
                files += 1;
                seen.push_str(&String::from_utf8_lossy(&std::fs::read(file).unwrap()));
            }
        }
    }
    assert!(files > 3 && seen.contains("stream.store"), "the catalog is among them");
    for digits in digits {
        assert_eq!(digits.len(), 64);
        assert!(!seen.contains(digits), "a secret was written somewhere");
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        let catalog = std::fs::read(desk.server.state.join("server/catalog.db")).unwrap();
        assert!(!catalog.windows(bytes.len()).any(|window| window == bytes));
    }
}

/// The token of the test above, with a stream open while the server ends in order.
#[test]
fn a_server_that_stops_cuts_streams_and_says_so() {
    let mut desk = Desk::new();
    let (_, header) = desk.token("both", "db", "both");
    let (child, job) = desk.begun(&header, "db", &noise(1_000_000, 3));
    assert_eq!(desk.server.stop(), 0, "{}", desk.server.process.output());
    assert_ne!(ended(child).exit, 0);
    desk.server.again();
    let interrupted = desk.job(job);
    assert_eq!(interrupted["state"], "interrupted", "{interrupted:#}");
    assert_eq!(desk.savesets("db"), [0; 0]);
}
