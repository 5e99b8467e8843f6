//! Broken framing, peers that do not read, and any bytes at every decoder.

use proptest::prelude::*;

use super::stage::*;

#[tokio::test(start_paused = true)]
async fn what_breaks_the_framing_ends_the_session_with_a_reason() {
    type Break = fn() -> Vec<u8>;
    let oversize: Break = || (limits::CONTROL_MESSAGE_BYTES_MAX as u32 + 1).to_be_bytes().to_vec();
    let no_cbor: Break = || frame(vec![0xff; 10]).unwrap().to_vec();
    let twice: Break = || {
        let one = frame(future_request(5, NodeState::NUMBER, &[])).unwrap().to_vec();
        [one.clone(), one].concat()
    };
    for (bytes, expected) in
        [(oversize, "limit"), (no_cbor, "envelope"), (twice, "number 5 is used twice")]
    {
        let (near, far) = duplex(64 * 1024);
        let answering = answering(far, Principal::Server);
        let mut raw = Raw::greeted(near, ProtocolVersion::OURS).await;
        raw.stream.write_all(&bytes()).await.unwrap();
        let reason = raw.goodbye().await;
        assert!(reason.contains(expected), "{reason}");
        assert!(matches!(answering.ended.await.unwrap(), Ended::Broken(_)));
        assert_eq!(answering.player.alive.load(Ordering::SeqCst), 0);
    }
    // The first message must be a hello.
    let (near, far) = duplex(64 * 1024);
    let _answering = answering(far, Principal::Server);
    let mut raw = Raw::new(near);
    raw.send_bytes(future_request(1, Ping::NUMBER, &[])).await;
    assert!(raw.goodbye().await.contains("hello"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_its_answers_loses_the_session() {
    let (near, far) = duplex(4096);
    let answering = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, ProtocolVersion::OURS).await;
    let mut sent = 0;
    while sent < 100_000 {
        let frame = frame(future_request(sent + 1, Ping::NUMBER, &[])).unwrap();
        if raw.stream.write_all(&frame).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 10_000, "{sent}");
    let ended = answering.ended.await.unwrap();
    assert_eq!(ended, Ended::Broken("answers are not read".to_owned()));
}

/// The memory for answers is bounded also while they wait for a caller that asks much and reads late.
#[tokio::test(start_paused = true)]
async fn answers_that_wait_unread_take_bounded_memory() {
    const EACH: u64 = 1_000_000;
    let (near, far) = duplex(4096);
    let _answering = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, ProtocolVersion::OURS).await;
    let store = simsim_model::StoreId::ZERO;
    let body = Request::from(ListManifests { store, after_sequence: 0, limit: EACH }).encode();
    let ask = |id| {
        let request = Envelope::new(id, Part::Request, ListManifests::NUMBER, body.clone());
        request.into_frame().unwrap()
    };
    for round in 0..3 {
        let calls = CALLS_MAX as u64;
        for call in 0..calls {
            raw.stream.write_all(&ask(round * calls + call + 1)).await.unwrap();
        }
        // All of them have been answered as far as they will be, and nothing was read.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (mut bytes, mut busy) = (0, 0);
        for _ in 0..calls {
            let answer = raw.next().await;
            match answer.part {
                Part::Reply => bytes += answer.body.len(),
                Part::Failure => {
                    let error: VerbError = decode_body("failure", &answer.body).unwrap();
                    assert_eq!(error.kind, Kind::Busy);
                    assert!(error.message.contains("wait to be read"), "{}", error.message);
                    busy += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(bytes <= 16 << 20, "{bytes} bytes of answers waited");
        assert!(bytes > 14 << 20, "{bytes} bytes were answered, in round {round}");
        assert!(busy >= 64 - 17, "{busy}");
    }
    // What is small is always answered.
    raw.stream.write_all(&frame(future_request(999, Ping::NUMBER, &[])).unwrap()).await.unwrap();
    assert_eq!(raw.next().await.part, Part::Reply);
}

/// A client that the server asked for something, of which we write every byte.
async fn told() -> (ControlClient, Raw) {
    let (near, far) = duplex(64 * 1024);
    let opening = tokio::spawn(calling(near));
    let mut raw = Raw::new(far);
    assert_eq!(raw.next().await.part, Part::Hello);
    let hello = Hello { protocol: ProtocolVersion::OURS, name: "raw".into(), ..Hello::default() };
    raw.send(Envelope::new(0, Part::Hello, 0, encode_body(&hello))).await;
    (opening.await.unwrap().unwrap(), raw)
}

fn problem(path: usize, message: usize) -> Event {
    let kind = simsim_model::ProblemKind::Unreadable;
    Event::Problem(simsim_model::Problem::new(vec![b'p'; path], kind, "m".repeat(message)))
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_looks_at_take_bounded_memory() {
    let (client, mut raw) = told().await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(client.start(JobState { job: 1 }).await.unwrap());
    }
    let asked: Vec<u64> = [raw.next().await.id, raw.next().await.id, raw.next().await.id].into();
    let told = problem(limits::PATH_BYTES_MAX, 1000);
    let (number, body) = (told.number(), told.encode());
    for round in 0..2 {
        for id in &asked {
            for _ in 0..200 {
                raw.send(Envelope::new(*id, Part::Event, number, body.clone())).await;
            }
        }
        // A call whose answer has come: then all that was told before has been heard.
        let ping = client.call(Ping {});
        let pong = async {
            let id = raw.next().await.id;
            let reply = Reply::from(PingReply { unix_ns: 1 }).encode();
            raw.send(Envelope::new(id, Part::Reply, Ping::NUMBER, reply)).await;
        };
        tokio::join!(ping, pong).0.unwrap();
        let mut bytes = 0;
        for call in &mut calls {
            while let Ok(Some(event)) =
                tokio::time::timeout(Duration::from_millis(1), call.next_event()).await
            {
                assert!(event == told);
                bytes += body.len();
            }
        }
        assert!(bytes <= 4 << 20, "{bytes} bytes of events waited");
        assert!(bytes > 3 << 20, "{bytes} bytes of events were kept, in round {round}");
    }
}

#[test]
fn texts_of_events_are_cut_when_they_are_heard() {
    let heard = |event: &Event| Event::decode(event.number(), &event.encode()).unwrap();
    let path = limits::PATH_BYTES_MAX + 1 + limits::PATH_COMPONENT_BYTES_MAX;
    let whole = problem(path, RESULT_SENTENCE_BYTES_MAX);
    assert_eq!(heard(&whole), whole);
    let Event::Problem(cut) = heard(&problem(path + 1, RESULT_SENTENCE_BYTES_MAX + 1)) else {
        panic!("another event")
    };
    assert_eq!(cut.path.len(), path);
    assert_eq!(cut.message, "m".repeat(RESULT_SENTENCE_BYTES_MAX) + "…");

    let of = |bytes: usize| {
        let (current, waits) = ("c".repeat(bytes), "w".repeat(bytes));
        Event::Progress(ProgressSnapshot { current, waits, ..Default::default() })
    };
    let whole = of(RESULT_SENTENCE_BYTES_MAX);
    assert_eq!(heard(&whole), whole);
    let Event::Progress(cut) = heard(&of(RESULT_SENTENCE_BYTES_MAX + 1)) else { panic!("another") };
    let marked = RESULT_SENTENCE_BYTES_MAX + "…".len();
    assert_eq!((cut.current.len(), cut.waits.len()), (marked, marked));
}

#[test]
fn a_result_keeps_so_many_problems_and_no_more() {
    let many = simsim_model::PROBLEMS_KEPT_MAX;
    let of = |count: usize| {
        let Event::Problem(empty) = problem(0, 0) else { panic!("another event") };
        let result = JobResult {
            outcome: simsim_model::Outcome::Failed,
            error: None,
            snapshot: ProgressSnapshot::default(),
            problems: vec![empty; count],
            problems_total: 0,
            commit: None,
            started_unix_ns: 0,
            finished_unix_ns: 0,
            checked: None,
            drilled: None,
            proven: None,
        };
        decode_body::<JobResult>("result", &encode_body(&result)).unwrap().problems.len()
    };
    assert_eq!((of(many), of(many + 1), of(20 * many)), (many, many, many));
}

/// Sample bodies of every verb that a fuzzed body may start from.
fn real_bodies() -> Vec<(u16, Vec<u8>)> {
    let store = simsim_model::StoreId([2; 16]);
    let requests: Vec<Request> = vec![
        Ping {}.into(),
        CancelJob { job: 1 << 40 }.into(),
        CreateDatastore {
            path: "/p".into(),
            name: "n".into(),
            store,
            owner: "o".into(),
            cut: None,
        }
        .into(),
        VerifyDatastore {
            store,
            job: 1,
            mode: VerifyMode::Bytes,
            domain_keys: vec![DomainKey {
                domain: simsim_model::DomainId([1; 16]),
                key: simsim_model::Secret([7; 32]),
            }],
            saveset: None,
            mend: false,
        }
        .into(),
    ];
    requests.into_iter().map(|request| (request.number(), request.encode())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_decode_or_fail_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        nested in 0usize..4000,
        opener in prop_oneof![Just(0x81u8), Just(0x9f), Just(0xa1), Just(0xbf), Just(0xc1)],
    ) {
        let deep: Vec<u8> =
            [&[0xa1, 0x18, 0xff][..], &vec![opener; nested], &bytes].concat();
        for bytes in [&bytes, &deep] {
            let _ = Envelope::decode(bytes);
            for (number, _) in Request::ALL {
                let _ = Request::decode(*number, bytes);
                let _ = Reply::decode(*number, bytes);
            }
            for number in 0..4 {
                let _ = Event::decode(number, bytes);
            }
            let _ = decode_body::<Hello>("hello", bytes);
            let _ = decode_body::<VerbError>("failure", bytes);
        }
    }

    #[test]
    fn damaged_real_messages_decode_or_fail_without_panic(
        which in 0usize..4,
        place in any::<prop::sample::Index>(),
        value in any::<u8>(),
        end in any::<prop::sample::Index>(),
    ) {
        let (number, body) = real_bodies().swap_remove(which);
        prop_assert!(Request::decode(number, &body).is_ok());
        let mut damaged = body.clone();
        let place = place.index(damaged.len());
        damaged[place] = value;
        let _ = Request::decode(number, &damaged);
        let cut = end.index(body.len());
        prop_assert!(Request::decode(number, &body[..cut]).is_err());
    }
}
