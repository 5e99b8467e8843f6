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
