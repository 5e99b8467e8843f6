//! Streams on their way out: parts of them, what is known of them, and what cannot be had.

use serde_json::json;

use super::{Desk, noise};
use crate::hosts::until;

#[test]
fn ranges_are_compared_with_what_was_stored() {
    let desk = Desk::new();
    let (_, header) = desk.token("both", "db", "both");
    let bytes = noise(5_000_000, 7);
    let saveset = desk.stored(&header, "db", &bytes);
    let url = desk.url("db");
    let begun = desk.newest_job();
    for (range, first, end) in [
        ("0-0", 0, 1),
        ("0-999", 0, 1000),
        ("1048575-1048577", 1_048_575, 1_048_578),
        ("4999999-", 4_999_999, 5_000_000),
        ("123456-4000000", 123_456, 4_000_001),
        ("-5", 4_999_995, 5_000_000),
        ("4999000-9999999", 4_999_000, 5_000_000),
    ] {
        let read = desk.curl(&["-H", &header, "-r", range, &url], None);
        assert!(read.is(0, 206).body == bytes[first..end], "{range}");
    }
    for beyond in ["5000000-", "5000001-5000002"] {
        desk.curl(&["-H", &header, "-r", beyond, &url], None).is(22, 416).says("5000000 bytes");
    }
    // The half that is missing of a file that was begun.
    let part = desk.scratch.path().join("part");
    std::fs::write(&part, &bytes[..2_345_678]).unwrap();
    let by_id = format!("{url}?saveset={saveset}");
    let resumed =
        desk.curl(&["-H", &header, "-C", "-", "-o", part.to_str().unwrap(), &by_id], None);
    assert_eq!(resumed.exit, 0, "{}", resumed.errors);
    assert!(std::fs::read(&part).unwrap() == bytes);
    // Of another saveset than the one that was begun the whole comes.
    let stale = ["-H", &header, "-H", "If-Range: \"other\"", "-r", "0-9", &url];
    assert!(desk.curl(&stale, None).is(0, 200).body == bytes);
    let right = format!("If-Range: \"{saveset}\"");
    assert!(
        desk.curl(&["-H", &header, "-H", &right, "-r", "0-9", &url], None).is(0, 206).body
            == bytes[..10]
    );

    let head = desk.curl(&["-H", &header, "-I", &url], None);
    let text = head.is(0, 200).text().to_ascii_lowercase();
    for line in ["content-length: 5000000", "accept-ranges: bytes", &format!("etag: \"{saveset}\"")]
    {
        assert!(text.contains(line), "{line}\n{text}");
    }
    // Many ranges of one reader are few jobs: each is one until nobody has read for a while.
    let reads = || {
        let jobs = desk.server.must("job.list", json!({ "task": "db" }));
        let jobs = jobs.as_array().unwrap().clone();
        jobs.into_iter().filter(|job| job["job"].as_u64() > begun).collect::<Vec<_>>()
    };
    assert!(reads().len() < 11, "{:#?}", reads());
    until("the last read has ended", || reads().iter().all(|job| job["state"] == "finished"));
    let done = &reads()[0];
    assert_eq!((&done["kind"], &done["asked"]["stream"]), (&"restore".into(), &true.into()));
    let shown = desk.server.must("saveset.show", json!({ "saveset": saveset }));
    let kinds: Vec<_> =
        shown["results"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert!(kinds.contains(&&"restore".into()) && kinds.contains(&&"backup".into()), "{shown:#}");
}

#[test]
fn what_is_not_there_or_no_stream_is_told_in_words() {
    let desk = Desk::new();
    let (_, header) = desk.token("both", "db", "both");
    let url = desk.url("db");
    desk.curl(&["-H", &header, &url], None).is(22, 404).says("no saveset yet");
    let saveset = desk.stored(&header, "db", b"one");
    let by = |id: &str| desk.curl(&["-H", &header, &format!("{url}?saveset={id}")], None);
    by("ffffffff").is(22, 404).says("has no saveset 'ffffffff'");
    by("xyz").is(22, 400).says("4 of its digits");
    by(&saveset[..6]).is(0, 200).says("one");
    // A saveset of another task is not shown to a token for this one.
    desk.external("other", "main");
    let (_, other) = desk.token("other", "other", "both");
    let theirs = desk.stored(&other, "other", b"theirs");
    by(&theirs).is(22, 404);
    desk.curl(&["-H", &header, "-X", "DELETE", &url], None).is(22, 405);
    desk.curl(&["-H", &header, "-d", "x", &url], None).is(22, 405);
    let part = ["-H", &header, "-H", "Content-Range: bytes 0-1/3", "-T", "-", &url];
    desk.curl(&part, Some(b"ab")).is(22, 400).says("from its start");
    assert_eq!(desk.savesets("db").len(), 1);
}
