//! Peers of other versions, by hand-made encodings.

use super::stage::*;

#[tokio::test(start_paused = true)]
async fn a_newer_minor_version_with_unknown_fields_verbs_and_parts_is_understood() {
    let (near, far) = duplex(64 * 1024);
    let answering = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, ProtocolVersion { major: 1, minor: 2 }).await;
    raw.send_bytes(future_request(7, CancelJob::NUMBER, &[(0, 5)])).await;
    let reply = raw.next().await;
    assert_eq!((reply.id, reply.part, reply.verb), (7, Part::Reply, CancelJob::NUMBER));
    // A verb of the next version.
    raw.send_bytes(future_request(8, 65_000, &[(0, 5)])).await;
    let reply = raw.next().await;
    assert_eq!((reply.id, reply.part, reply.verb), (8, Part::Unsupported, 65_000));
    // A part of the next version is passed over.
    raw.send(Envelope::new(9, Part::Unknown(200), 1, vec![1, 2, 3])).await;
    // A known verb whose fields are wrong: a field is missing, and the body is no map.
    raw.send_bytes(future_request(10, CancelJob::NUMBER, &[])).await;
    let reply = raw.next().await;
    assert_eq!((reply.id, reply.part), (10, Part::Failure));
    let error: VerbError = decode_body("failure", &reply.body).unwrap();
    assert_eq!(error.kind, Kind::Invalid);
    assert!(error.message.contains("cancel-job"), "{error}");
    raw.send_bytes(future_request(11, Ping::NUMBER, &[])).await;
    assert_eq!(raw.next().await.part, Part::Reply);
    assert!(!answering.ended.is_finished());
}

#[tokio::test(start_paused = true)]
async fn an_older_peer_without_the_later_fields_is_understood() {
    // A start-backup with only the fields that are required.
    let ticket = simsim_model::Ticket {
        transfer: simsim_model::TransferId([1; 16]),
        job: 3,
        client: "c".into(),
        drive: 0,
        store: simsim_model::StoreId([2; 16]),
        domain: simsim_model::DomainId([3; 16]),
        direction: simsim_model::Direction::Backup,
        bytes_max: 0,
        expires_unix_s: 0,
        secret: simsim_model::Secret([4; 32]),
        saveset: simsim_model::SavesetId([5; 16]),
    };
    let mut body = Encoder::new(Vec::new());
    body.map(3).unwrap();
    body.u8(0).unwrap().encode(&ticket).unwrap();
    body.u8(3).unwrap().u8(0).unwrap();
    body.u8(10).unwrap().u8(2).unwrap();
    let request = Request::decode(StartBackup::NUMBER, &body.into_writer()).unwrap();
    let Request::StartBackup(request) = request else { panic!() };
    assert_eq!(request.ticket, ticket);
    assert_eq!(request.level, simsim_model::Level::Incr);
    assert!(request.sources.is_empty() && request.base.is_none() && !request.one_file_system);

    // An older peer that does not know a verb of ours.
    let (near, far) = duplex(64 * 1024);
    let older = tokio::spawn(async move {
        let mut raw = Raw::new(far);
        raw.next().await;
        // Its hello has the two fields that version 1.0 could not do without.
        let mut hello = Encoder::new(Vec::new());
        hello.map(1).unwrap().u8(0).unwrap().map(1).unwrap().u8(0).unwrap().u8(1).unwrap();
        raw.send(Envelope::new(0, Part::Hello, 0, hello.into_writer())).await;
        for part in [Part::Unsupported, Part::Reply] {
            let request = raw.next().await;
            let body = if part == Part::Reply { vec![0xa0] } else { vec![] };
            raw.send(Envelope::new(request.id, part, request.verb, body)).await;
        }
        raw
    });
    let client = calling(near).await.unwrap();
    let error = client.call(NodeState {}).await.unwrap_err();
    assert!(matches!(error, ControlError::Unsupported { verb: "node-state", .. }), "{error}");
    assert_eq!(client.call(Ping {}).await.unwrap().unix_ns, 0);
    drop(older.await.unwrap());
}

#[test]
fn members_of_closed_sets_that_we_do_not_know_are_never_success() {
    // A result with an outcome 99, an error of kind 99 and a problem of kind 99.
    let mut body = Encoder::new(Vec::new());
    body.map(1).unwrap().u8(0).unwrap();
    body.map(3).unwrap();
    body.u8(0).unwrap().u32(99).unwrap();
    body.u8(1).unwrap().map(2).unwrap();
    body.u8(0).unwrap().u32(99).unwrap().u8(1).unwrap().str("odd").unwrap();
    body.u8(3).unwrap().begin_array().unwrap();
    body.array(3).unwrap().bytes(b"/a").unwrap().u32(99).unwrap().str("odd").unwrap();
    body.array(3).unwrap().bytes(b"/b").unwrap().u32(1).unwrap().str("known").unwrap();
    body.end().unwrap();
    let reply = Reply::decode(FollowJob::NUMBER, &body.into_writer()).unwrap();
    let result = FollowJob::reply_of(reply).unwrap().result;
    assert_eq!(result.outcome, simsim_model::Outcome::Failed);
    assert_eq!(result.error.unwrap().kind, Kind::Internal);
    let kinds: Vec<_> = result.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [simsim_model::ProblemKind::Unreadable; 2]);
    assert_eq!(result.problems[1].path, b"/b");
}

#[tokio::test(start_paused = true)]
async fn another_major_version_is_refused_by_both_sides_in_words() {
    let two = ProtocolVersion { major: 2, minor: 0 };
    let (near, far) = duplex(64 * 1024);
    let _answering = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, two).await;
    let reason = raw.goodbye().await;
    assert!(reason.contains("1.1") && reason.contains("2.0"), "{reason}");

    let (near, far) = duplex(64 * 1024);
    let newer = tokio::spawn(async move {
        let mut raw = Raw::new(far);
        raw.next().await;
        let hello = Hello { protocol: two, suite_version: "9.0.0".into(), ..Hello::default() };
        raw.send(Envelope::new(0, Part::Hello, 0, encode_body(&hello))).await;
    });
    let error = calling(near).await.unwrap_err();
    assert!(matches!(error, ControlError::Version { .. }), "{error}");
    assert!(error.to_string().contains("9.0.0"), "{error}");
    newer.await.unwrap();
}
