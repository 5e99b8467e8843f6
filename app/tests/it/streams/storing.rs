//! Streams on their way in: whole, empty, small, large, side by side, broken off.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Desk, ended, noise, restored};
use crate::hosts::{assert_done, until};

#[test]
fn what_curl_sends_is_what_is_read_restored_and_checked() {
    let desk = Desk::new();
    let (_, header) = desk.token("both", "db", "both");
    for (seed, length) in [(1, 0), (2, 1), (3, 262_144), (4, 300_001), (5, 9_000_000)] {
        let bytes = noise(length, seed);
        let saveset = desk.stored(&header, "db", &bytes);
        let listed = desk.savesets("db");
        assert_eq!(listed[0]["saveset"], saveset.as_str(), "it is listed when curl ends");
        assert_eq!(listed[0]["bytes"], length, "{:#}", listed[0]);
        assert_eq!((&listed[0]["level"], &listed[0]["files"]), (&"full".into(), &1.into()));

        let read = desk.curl(&["-H", &header, &desk.url("db")], None);
        assert!(read.is(0, 200).body == bytes, "{length} bytes by the newest");
        let by_id = format!("{}?saveset={}", desk.url("db"), &saveset[..8]);
        let read = desk.curl(&["-H", &header, &by_id], None);
        assert!(read.is(0, 200).body == bytes, "{length} bytes by id");
        assert!(restored(&desk, &saveset, "db") == bytes, "{length} bytes by a restore");
    }
    // With a length, from a file.
    let file = desk.scratch.path().join("file");
    let bytes = noise(2_000_000, 9);
    std::fs::write(&file, &bytes).unwrap();
    let sent = desk.curl(&["-H", &header, "-T", file.to_str().unwrap(), &desk.url("db")], None);
    sent.is(0, 201);
    assert!(desk.curl(&["-H", &header, &desk.url("db")], None).is(0, 200).body == bytes);

    let shown = desk.server.must("job.list", json!({ "task": "db" }));
    let job = shown.as_array().unwrap().iter().find(|job| job["kind"] == "backup").unwrap();
    assert_eq!((&job["state"], &job["requested_by"]), (&"finished".into(), &"token:both".into()));
    assert_eq!(
        (&job["asked"]["stream"], &job["client"]),
        (&true.into(), &desk.own.as_str().into())
    );
    assert_done(&desk.cli(&["verify", "--bytes"]));
    let savesets = desk.savesets("db");
    assert_eq!(savesets.len(), 6);
    assert_done(&desk.cli(&["verify", savesets[0]["saveset"].as_str().unwrap()]));
    let audit = desk.server.must("audit.list", json!({}));
    let stores = |row: &&serde_json::Value| {
        row["verb"] == "stream.store" && row["principal"] == "token:both" && row["allowed"] == true
    };
    assert_eq!(audit["rows"].as_array().unwrap().iter().filter(stores).count(), 6, "{audit:#}");
}

/// The sender is killed in the middle, or ends before the length that it announced.
#[test]
fn a_stream_that_breaks_off_or_ends_short_leaves_nothing() {
    let desk = Desk::new();
    let (secret, header) = desk.token("store", "db", "store");
    let (mut child, job) = desk.begun(&header, "db", &noise(3_000_000, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    let failed = desk.job(job);
    assert_eq!(failed["state"], "failed", "{failed:#}");
    let why = failed["error"]["message"].as_str().unwrap();
    assert!(why.contains("broke off") && why.contains("nothing of it is kept"), "{why}");

    let script = format!(
        "import ssl, socket\n\
         context = ssl.create_default_context(cafile={ca:?})\n\
         plain = socket.create_connection(('localhost', {port}))\n\
         wire = context.wrap_socket(plain, server_hostname='localhost')\n\
         head = 'PUT /v1/streams/db HTTP/1.1\\r\\nHost: localhost\\r\\n' \\\n\
         \x20      'Authorization: Bearer {secret}\\r\\nContent-Length: 1000\\r\\n\\r\\n'\n\
         wire.sendall(head.encode() + b'x' * 999)\n\
         wire.unwrap() if False else wire.close()\n",
        ca = desk.authority(),
        port = desk.https,
    );
    let before = desk.newest_job();
    let python = Command::new("python3").args(["-c", &script]).output().unwrap();
    assert_done(&python);
    until("the short stream has a job", || desk.newest_job() > before);
    let short = desk.job(desk.newest_job().unwrap());
    assert_eq!(short["state"], "failed", "{short:#}");
    assert_eq!(desk.savesets("db"), [0; 0], "nothing was kept");
    // The datastore is sound, and the next one goes well.
    desk.stored(&header, "db", b"whole");
    assert_done(&desk.cli(&["verify", "--bytes"]));
}

#[test]
fn streams_of_one_task_and_of_several_run_side_by_side() {
    let desk = Desk::new();
    desk.external("other", "main");
    let (_, one) = desk.token("one", "db", "both");
    let (_, two) = desk.token("two", "other", "both");
    let contents = [noise(2_000_000, 1), noise(2_000_000, 2), noise(2_000_000, 3)];
    let begun: Vec<_> = [(&one, "db"), (&one, "db"), (&two, "other")]
        .into_iter()
        .zip(&contents)
        .map(|((header, task), content)| desk.begun(header, task, content))
        .collect();
    let jobs = desk.server.must("job.list", json!({ "open_only": true }));
    assert_eq!(jobs.as_array().unwrap().len(), 3, "all at once: {jobs:#}");
    for (child, job) in begun {
        ended(child).is(0, 201);
        assert_eq!(desk.job(job)["state"], "finished");
    }
    let other = desk.curl(&["-H", &two, &desk.url("other")], None);
    assert!(other.is(0, 200).body == contents[2]);
    let kept: Vec<_> = desk.savesets("db");
    assert_eq!(kept.len(), 2);
    for saveset in kept {
        let url = format!("{}?saveset={}", desk.url("db"), saveset["saveset"].as_str().unwrap());
        let read = desk.curl(&["-H", &one, &url], None);
        let body = &read.is(0, 200).body;
        assert!(*body == contents[0] || *body == contents[1]);
    }
}

/// Whoever waits for a place on a drive gets it, and a server that is killed leaves a clear end.
#[test]
fn a_full_drive_makes_streams_wait_and_a_killed_server_makes_them_fail() {
    let mut desk = Desk::new();
    let store = desk.scratch.path().join("narrow");
    let create = json!({ "name": "narrow", "path": store, "jobs_max": 1 });
    desk.server.must("datastore.create", create);
    desk.external("queued", "narrow");
    let (_, header) = desk.token("queued", "queued", "both");
    let (first, job) = desk.begun(&header, "queued", b"the first");
    let mut waiting = desk.command(&["-H", &header, "-T", "-", &desk.url("queued")]);
    waiting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut waiting = waiting.spawn().unwrap();
    waiting.stdin.as_mut().unwrap().write_all(b"the second").unwrap();
    until("the second waits", || {
        let jobs = desk.server.must("job.list", json!({ "open_only": true }));
        jobs[0]["state"] == "queued"
    });
    ended(first).is(0, 201);
    ended(waiting).is(0, 201);
    assert_eq!(desk.job(job)["state"], "finished");
    assert_eq!(desk.savesets("queued").len(), 2);

    let (cut, job) = desk.begun(&header, "queued", &noise(2_000_000, 4));
    desk.server.again();
    assert_ne!(ended(cut).exit, 0);
    let interrupted = desk.job(job);
    assert_eq!(interrupted["state"], "interrupted", "{interrupted:#}");
    assert_eq!(desk.savesets("queued").len(), 2);
    desk.stored(&header, "queued", b"and it goes on");
}
