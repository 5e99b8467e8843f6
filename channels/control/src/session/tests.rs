//! The session core over streams in memory, with a clock that jumps: time limits of 30 seconds
//! cost nothing here. Hand-made encodings stand for peers of other versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use minicbor::Encoder;
use proptest::prelude::*;
use simsim_model::{Kind, ProgressSnapshot, limits};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::envelope::{Envelope, Goodbye, Part};
use crate::frame::{FrameReader, frame};
use crate::handler::{Answer, Caller, EventSender, Principal, VerbHandler};
use crate::verbs::*;
use crate::{ControlError, Hello, Identity, ProtocolVersion, Timing, VerbError};

/// A handler with one verb for every behaviour.
#[derive(Default)]
struct Player {
    /// Handler futures that are alive.
    alive: AtomicU64,
}

struct Alive<'a>(&'a AtomicU64);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl VerbHandler for Player {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> Answer<'a> {
        Box::pin(async move {
            self.alive.fetch_add(1, Ordering::SeqCst);
            let _alive = Alive(&self.alive);
            match request {
                Request::Ping(_) => Ok(PingReply { unix_ns: 42 }.into()),
                // Says who asks.
                Request::DomainKeyHeld(_) => Err(VerbError::new(
                    Kind::NotFound,
                    format!("{} {}", caller.hello.name, caller.hello.protocol),
                )),
                // Never end.
                Request::NodeState(_) | Request::PutKeySlots(_) => std::future::pending().await,
                // Takes so many milliseconds.
                Request::CancelJob(CancelJob { job }) => {
                    tokio::time::sleep(Duration::from_millis(job)).await;
                    Ok(CancelJobReply { was_running: true }.into())
                }
                // Tells so many events.
                Request::JobState(JobState { job }) => {
                    for bytes_done in 0..job {
                        let snapshot = ProgressSnapshot { bytes_done, ..Default::default() };
                        events.send(&Event::Progress(snapshot)).await;
                    }
                    Ok(JobStateReply::default().into())
                }
                Request::GetManifest(_) => panic!("a defect"),
                // An answer of so many bytes.
                Request::ListManifests(ListManifests { limit, .. }) => {
                    Ok(GetKeySlotsReply { slots: vec![0; usize::try_from(limit).unwrap_or(0)] }
                        .into())
                }
                Request::GetKeySlots(_) => {
                    Ok(GetKeySlotsReply { slots: vec![9; 1_000_000] }.into())
                }
                other => Err(VerbError::new(Kind::Invalid, other.name())),
            }
        })
    }
}

struct Answering {
    player: Arc<Player>,
    stop: CancellationToken,
    ended: JoinHandle<Ended>,
}

fn answering(stream: DuplexStream, principal: Principal) -> Answering {
    let player = Arc::new(Player::default());
    let stop = CancellationToken::new();
    let terms = Terms {
        hello: Hello::new("node", Roles::CLIENT),
        principal,
        peer: None,
        handler: Arc::clone(&player) as Arc<dyn VerbHandler>,
        timing: Timing::default(),
    };
    let ended = tokio::spawn(answer(stream, terms, stop.clone()));
    Answering { player, stop, ended }
}

async fn calling(stream: DuplexStream) -> Result<ControlClient, ControlError> {
    let hello = Hello::new("server", Roles::SERVER);
    ControlClient::open(stream, &hello, "node:1", Timing::default(), Box::new(())).await
}

async fn pair() -> (ControlClient, Answering) {
    let (near, far) = duplex(64 * 1024);
    let answering = answering(far, Principal::Server);
    (calling(near).await.unwrap(), answering)
}

/// A peer of which we write every byte.
struct Raw {
    stream: DuplexStream,
    reader: FrameReader,
}

impl Raw {
    fn new(stream: DuplexStream) -> Self {
        Self { stream, reader: FrameReader::new() }
    }

    /// Says hello as a version, and reads the other's.
    async fn greeted(stream: DuplexStream, protocol: ProtocolVersion) -> Self {
        let mut raw = Self::new(stream);
        let hello = Hello { protocol, name: "raw".into(), ..Hello::default() };
        raw.send(Envelope::new(0, Part::Hello, 0, encode_body(&hello))).await;
        assert_eq!(raw.next().await.part, Part::Hello);
        raw
    }

    async fn send(&mut self, envelope: Envelope) {
        self.stream.write_all(&envelope.into_frame().unwrap()).await.unwrap();
    }

    async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.stream.write_all(&frame(bytes).unwrap()).await.unwrap();
    }

    /// The next message that is not a beat.
    async fn next(&mut self) -> Envelope {
        loop {
            let frame = self.reader.next(&mut self.stream).await.unwrap();
            let envelope = Envelope::decode(&frame).unwrap();
            if envelope.part != Part::Beat {
                return envelope;
            }
        }
    }

    async fn goodbye(&mut self) -> String {
        loop {
            let envelope = self.next().await;
            if envelope.part == Part::Goodbye {
                return decode_body::<Goodbye>("goodbye", &envelope.body).unwrap().reason;
            }
        }
    }
}

/// Request `verb` with number `id`, all by hand, with fields that nobody knows at every level.
fn future_request(id: u64, verb: u16, known: &[(u32, u64)]) -> Vec<u8> {
    let mut body = Encoder::new(Vec::new());
    body.map(known.len() as u64 + 3).unwrap();
    body.u32(900).unwrap().begin_array().unwrap().str("new").unwrap().begin_map().unwrap();
    body.end().unwrap().end().unwrap();
    for (field, value) in known {
        body.u32(*field).unwrap().u64(*value).unwrap();
    }
    body.u32(901).unwrap().f64(1.5).unwrap();
    body.u32(902).unwrap().tag(minicbor::data::Tag::new(1)).unwrap().null().unwrap();
    let body = body.into_writer();
    let mut envelope = Encoder::new(Vec::new());
    envelope.map(6).unwrap();
    envelope.u8(77).unwrap().bool(true).unwrap();
    envelope.u8(0).unwrap().u64(id).unwrap();
    envelope.u8(1).unwrap().u8(1).unwrap();
    envelope.u8(2).unwrap().u16(verb).unwrap();
    envelope.u8(3).unwrap().bytes(&body).unwrap();
    envelope.u8(78).unwrap().array(2).unwrap().u8(1).unwrap().bytes(&[1, 2]).unwrap();
    envelope.into_writer()
}

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
        assert_eq!((error.kind(), error.to_string()), (Kind::NotFound, "server 1.0".to_owned()));
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
async fn an_idle_session_lives_and_a_silent_peer_is_dead_within_30_s() {
    let (client, answering) = pair().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.call(Ping {}).await.unwrap();
    assert!(!answering.ended.is_finished());

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
    let answering = answering_of(far);
    let mut raw = Raw::greeted(near, ProtocolVersion::OURS).await;
    let begun = Instant::now();
    assert!(raw.goodbye().await.contains("silent"));
    assert!(begun.elapsed() <= Duration::from_millis(limits::IDLE_TIMEOUT_MS));
    assert!(matches!(answering.ended.await.unwrap(), Ended::Broken(_)));
}

fn answering_of(stream: DuplexStream) -> Answering {
    answering(stream, Principal::Server)
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
    let (client, answering) = pair().await;
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(NodeState {}).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(answering.player.alive.load(Ordering::SeqCst), 20);
    answering.ended.abort();
    for call in calls {
        let error = call.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Unreachable, "{error}");
    }
    assert_eq!(answering.player.alive.load(Ordering::SeqCst), 0);
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

#[tokio::test(start_paused = true)]
async fn a_newer_minor_version_with_unknown_fields_verbs_and_parts_is_understood() {
    let (near, far) = duplex(64 * 1024);
    let answering = answering(far, Principal::Server);
    let mut raw = Raw::greeted(near, ProtocolVersion { major: 1, minor: 1 }).await;
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
    assert!(reason.contains("1.0") && reason.contains("2.0"), "{reason}");

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

/// Sample bodies of every verb that a fuzzed body may start from.
fn real_bodies() -> Vec<(u16, Vec<u8>)> {
    let store = simsim_model::StoreId([2; 16]);
    let requests: Vec<Request> = vec![
        Ping {}.into(),
        CancelJob { job: 1 << 40 }.into(),
        CreateDatastore { path: "/p".into(), name: "n".into(), store, owner: "o".into() }.into(),
        VerifyDatastore {
            store,
            job: 1,
            mode: VerifyMode::Bytes,
            domain_keys: vec![DomainKey {
                domain: simsim_model::DomainId([1; 16]),
                key: simsim_model::Secret([7; 32]),
            }],
            saveset: None,
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
