//! Calls, events, limits and the end of a session.

use super::stage::*;

#[tokio::test(start_paused = true)]
async fn calls_run_at_once_and_answers_find_their_callers() {
    let (client, _answering) = pair().await;
    assert_eq!(client.peer().name, "node");
    let begun = Instant::now();
    let slow = client.call(CancelJob { job: 5000 });
    let quick = async {
        for _ in 0..50 {
            assert_eq!(client.call(Ping {}).await.unwrap().unix_ns, 42);
        }
        let who = DomainKeyHeld {
            store: simsim_model::StoreId::ZERO,
            domain: simsim_model::DomainId::ZERO,
        };
        let error = client.call(who).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, "server 1.1".to_owned()));
        begun.elapsed()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert!(slow.unwrap().was_running);
    assert!(quick < Duration::from_secs(1), "{quick:?}");
    assert!(begun.elapsed() >= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn events_come_in_order_before_the_answer() {
    let (client, _answering) = pair().await;
    let mut call = client.start(JobState { job: 100 }).await.unwrap();
    for expected in 0..100 {
        let Some(Event::Progress(snapshot)) = call.next_event().await else { panic!("{expected}") };
        assert_eq!(snapshot.bytes_done, expected);
    }
    assert_eq!(call.next_event().await, None);
    call.finish().await.unwrap();
    // Far more than fit are left out, and nothing waits for a caller who does not look at them.
    client.call(JobState { job: 20_000 }).await.unwrap();
    client.call(Ping {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_are_busy_and_the_session_goes_on() {
    let (client, answering) = pair().await;
    let mut held = Vec::new();
    for _ in 0..CALLS_MAX {
        held.push(client.start(NodeState {}).await.unwrap());
    }
    let error = client.call(Ping {}).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy);
    assert_eq!(answering.player.alive.load(Ordering::SeqCst), CALLS_MAX as u64);
    // Calls that nobody waits for any more are dropped over there.
    held.clear();
    let begun = Instant::now();
    while answering.player.alive.load(Ordering::SeqCst) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.call(Ping {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_in_work_hold_bounded_memory() {
    let (client, _answering) = pair().await;
    let (store, domain) = (simsim_model::StoreId::ZERO, simsim_model::DomainId::ZERO);
    let mut held = Vec::new();
    for _ in 0..8 {
        let slots = vec![0; limits::CONTROL_MESSAGE_BYTES_MAX - 100];
        held.push(client.start(PutKeySlots { store, domain, slots }).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let slots = vec![0; 2000];
    let error = client.call(PutKeySlots { store, domain, slots }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "{error}");
    client.call(Ping {}).await.unwrap();
    held.clear();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let slots = vec![0; 2000];
    let call = client.start(PutKeySlots { store, domain, slots }).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(5), call.finish()).await;
    assert!(waits.is_err(), "it is in work");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_fails_its_call_only() {
    let (client, _answering) = pair().await;
    let verb = GetManifest {
        store: simsim_model::StoreId::ZERO,
        saveset: simsim_model::SavesetId::ZERO,
        offset: 0,
    };
    assert_eq!(client.call(verb).await.unwrap_err().kind(), Kind::Internal);
    client.call(Ping {}).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_beyond_the_limit_fail_their_call_only() {
    let (client, _answering) = pair().await;
    let store = simsim_model::StoreId::ZERO;
    let domain = simsim_model::DomainId::ZERO;
    let slots = vec![0; limits::CONTROL_MESSAGE_BYTES_MAX];
    let error = client.call(PutKeySlots { store, domain, slots }).await.unwrap_err();
    assert!(matches!(error, ControlError::TooLarge { .. }), "{error}");
    let limit = limits::CONTROL_MESSAGE_BYTES_MAX as u64;
    let error = client.call(ListManifests { store, after_sequence: 0, limit }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.to_string().contains("bytes"), "{error}");
    // An answer to another verb is not taken for this one's.
    let error =
        client.call(ListManifests { store, after_sequence: 0, limit: 1 }).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    let reply = client.call(GetKeySlots { store, domain }).await.unwrap();
    assert_eq!(reply.slots.len(), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_says_goodbye_and_drops_running_calls() {
    let (client, answering) = pair().await;
    let call = client.start(NodeState {}).await.unwrap();
    client.call(Ping {}).await.unwrap();
    answering.stop.cancel();
    let error = call.finish().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.to_string().contains("shutting down"), "{error}");
    assert_eq!(answering.ended.await.unwrap(), Ended::Stopped);
    assert_eq!(answering.player.alive.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_may_say_ping_and_join_only() {
    let (near, far) = duplex(64 * 1024);
    let key = Identity::generate().public();
    let _answering = answering(far, Principal::Joiner(key));
    let client = calling(near).await.unwrap();
    client.call(Ping {}).await.unwrap();
    assert_eq!(client.call(NodeState {}).await.unwrap_err().kind(), Kind::Denied);
    assert_eq!(client.call(CancelJob { job: 1 }).await.unwrap_err().kind(), Kind::Denied);
    let join = Join {
        name: "n".into(),
        host_key: key.to_string(),
        listen_port: 1,
        proof: [0; 32],
        suite_version: String::new(),
        roles: Roles::CLIENT,
        platform: String::new(),
        outbound: false,
    };
    // It reaches the handler, which does not know it here.
    assert_eq!(client.call(join).await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_call_with_a_limit_gives_up_and_the_session_goes_on() {
    let (client, answering) = pair().await;
    let error = client.call_within(Duration::from_secs(3), NodeState {}).await.unwrap_err();
    assert!(matches!(error, ControlError::TimedOut { step: "node-state", .. }), "{error}");
    client.call(Ping {}).await.unwrap();
    assert_eq!(answering.player.alive.load(Ordering::SeqCst), 0);
}
