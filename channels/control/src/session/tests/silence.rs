//! Dead peers, slow lines and cuts.

use super::stage::*;

#[tokio::test(start_paused = true)]
async fn an_idle_session_lives_and_a_silent_peer_is_dead_within_30_s() {
    let (client, far_side) = pair().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.call(Ping {}).await.unwrap();
    assert!(!far_side.ended.is_finished());

    // Accepts, says hello, and nothing more.
    let (near, far) = duplex(64 * 1024);
    let silent = tokio::spawn(async move {
        let mut raw = Raw::new(far);
        raw.next().await;
        let hello = encode_body(&Hello::new("silent", Roles::CLIENT));
        raw.send(Envelope::new(0, Part::Hello, 0, hello)).await;
        std::future::pending::<()>().await;
    });
    let client = calling(near).await.unwrap();
    let begun = Instant::now();
    let (one, two) = tokio::join!(client.call(Ping {}), client.call(NodeState {}));
    assert_eq!(one.unwrap_err().kind(), Kind::Unreachable);
    assert_eq!(two.unwrap_err().kind(), Kind::Unreachable);
    assert!(begun.elapsed() <= Duration::from_millis(limits::DEAD_PEER_MS), "{begun:?}");
    assert!(client.is_closed());
    assert!(client.closed().await.contains("silent"));
    let error = client.call(Ping {}).await.unwrap_err();
    assert!(matches!(error, ControlError::Lost { .. }), "{error}");
    silent.abort();

    // Not even a hello.
    let (near, _far) = duplex(64 * 1024);
    let error = calling(near).await.unwrap_err();
    assert!(matches!(error, ControlError::TimedOut { .. }), "{error}");

    // The listener's side of it: a caller that says nothing after its hello.
    let (near, far) = duplex(64 * 1024);
    let listening = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, ProtocolVersion::OURS).await;
    let begun = Instant::now();
    assert!(raw.goodbye().await.contains("silent"));
    assert!(begun.elapsed() <= Duration::from_millis(limits::IDLE_TIMEOUT_MS));
    assert!(matches!(listening.ended.await.unwrap(), Ended::Broken(_)));
}

#[tokio::test(start_paused = true)]
async fn a_large_message_on_a_slow_line_is_not_silence() {
    let (near, far) = duplex(1 << 21);
    let slow = tokio::spawn(async move {
        let mut raw = Raw::new(far);
        raw.next().await;
        let hello = encode_body(&Hello::new("slow", Roles::CLIENT));
        raw.send(Envelope::new(0, Part::Hello, 0, hello)).await;
        let request = raw.next().await;
        let body = encode_body(&GetKeySlotsReply { slots: vec![3; 100_000] });
        let reply = Envelope::new(request.id, Part::Reply, request.verb, body);
        for piece in reply.into_frame().unwrap().chunks(10_000) {
            tokio::time::sleep(Duration::from_secs(20)).await;
            raw.stream.write_all(piece).await.unwrap();
        }
        raw
    });
    let client = calling(near).await.unwrap();
    let store = simsim_model::StoreId::ZERO;
    let verb = GetKeySlots { store, domain: simsim_model::DomainId::ZERO };
    let begun = Instant::now();
    assert_eq!(client.call(verb).await.unwrap().slots.len(), 100_000);
    assert!(begun.elapsed() > Duration::from_secs(100));
    drop(slow.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn net01_a_cut_in_the_middle_of_calls_is_unreachable_for_all_of_them() {
    let (client, far_side) = pair().await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(NodeState {}).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(far_side.player.alive.load(Ordering::SeqCst), 20);
    far_side.ended.abort();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    }
    assert_eq!(far_side.player.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn net01_a_session_cut_at_any_byte_is_complete_or_lost() {
    // What the answering side says in a session with one call.
    let (near, far) = duplex(64 * 1024);
    let _answering = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, ProtocolVersion::OURS).await;
    raw.send_bytes(future_request(1, Ping::NUMBER, &[])).await;
    let reply = raw.next().await;
    assert_eq!(reply.part, Part::Reply);
    let hello = encode_body(&Hello::new("node", Roles::CLIENT));
    let hello = Envelope::new(0, Part::Hello, 0, hello).into_frame().unwrap();
    let hello_len = hello.len();
    let said: Vec<u8> = [hello.to_vec(), reply.into_frame().unwrap().to_vec()].concat();
    for end in 0..=said.len() {
        let (near, mut far) = duplex(64 * 1024);
        let mut script = said[..end].to_vec();
        tokio::spawn(async move {
            let answer = script.split_off(hello_len.min(script.len()));
            far.write_all(&script).await.unwrap();
            if !answer.is_empty() {
                // The answer is said once the request has come.
                let mut raw = Raw::new(far);
                while raw.next().await.part != Part::Request {}
                raw.stream.write_all(&answer).await.unwrap();
            }
        });
        let result = match calling(near).await {
            Ok(client) => client.call(Ping {}).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(reply) => assert_eq!((reply.unix_ns, end), (42, said.len())),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unreachable, "{end}: {error}");
                assert!(end < said.len());
            }
        }
    }
}
