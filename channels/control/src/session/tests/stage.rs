//! Both sides of a session in memory, and a peer of which the test writes every byte.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::time::Duration;

pub(super) use minicbor::Encoder;
pub(super) use simsim_model::{Kind, ProgressSnapshot, limits};
pub(super) use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
pub(super) use tokio::task::JoinHandle;
pub(super) use tokio::time::Instant;
pub(super) use tokio_util::sync::CancellationToken;

pub(super) use crate::coding::Coding;
pub(super) use crate::envelope::{Envelope, Goodbye, Part};
pub(super) use crate::frame::{FrameReader, frame};
pub(super) use crate::handler::{Answer, Caller, EventSender, Principal, VerbHandler};
pub(super) use crate::session::*;
pub(super) use crate::verbs::*;
pub(super) use crate::{ControlError, Hello, Identity, ProtocolVersion, Timing, VerbError};

/// A handler with one verb for every behaviour.
#[derive(Default)]
pub(super) struct Player {
    /// Handler futures that are alive.
    pub(super) alive: AtomicU64,
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

pub(super) struct Answering {
    pub(super) player: Arc<Player>,
    pub(super) stop: CancellationToken,
    pub(super) ended: JoinHandle<Ended>,
}

pub(super) fn answering(stream: DuplexStream, principal: Principal) -> Answering {
    let player = Arc::new(Player::default());
    let stop = CancellationToken::new();
    let terms = Terms {
        hello: Hello::new("node", Roles::CLIENT),
        principal,
        peer: None,
        handler: Arc::clone(&player) as Arc<dyn VerbHandler>,
        timing: Timing::default(),
    };
    let ended = tokio::spawn(answer(stream, Coding::plain(), terms, stop.clone()));
    Answering { player, stop, ended }
}

pub(super) async fn calling(stream: DuplexStream) -> Result<ControlClient, ControlError> {
    let hello = Hello::new("server", Roles::SERVER);
    let (timing, keeper) = (Timing::default(), Box::new(()));
    ControlClient::open(stream, Coding::plain(), &hello, "node:1", timing, keeper).await
}

pub(super) async fn pair() -> (ControlClient, Answering) {
    let (near, far) = duplex(64 * 1024);
    let answering = answering(far, Principal::Server);
    (calling(near).await.unwrap(), answering)
}

/// A peer of which we write every byte.
pub(super) struct Raw {
    pub(super) stream: DuplexStream,
    pub(super) reader: FrameReader,
}

impl Raw {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Self { stream, reader: FrameReader::new(limits::CONTROL_MESSAGE_BYTES_MAX) }
    }

    /// Says hello as a version, and reads the other's.
    pub(super) async fn greeted(stream: DuplexStream, protocol: ProtocolVersion) -> Self {
        let mut raw = Self::new(stream);
        let hello = Hello { protocol, name: "raw".into(), ..Hello::default() };
        raw.send(Envelope::new(0, Part::Hello, 0, encode_body(&hello))).await;
        assert_eq!(raw.next().await.part, Part::Hello);
        raw
    }

    pub(super) async fn send(&mut self, envelope: Envelope) {
        self.stream.write_all(&envelope.into_frame().unwrap()).await.unwrap();
    }

    pub(super) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.stream.write_all(&frame(bytes).unwrap()).await.unwrap();
    }

    /// The next message that is not a beat.
    pub(super) async fn next(&mut self) -> Envelope {
        loop {
            let frame = self.reader.next(&mut self.stream).await.unwrap();
            let envelope = Envelope::decode(&frame).unwrap();
            if envelope.part != Part::Beat {
                return envelope;
            }
        }
    }

    pub(super) async fn goodbye(&mut self) -> String {
        loop {
            let envelope = self.next().await;
            if envelope.part == Part::Goodbye {
                return decode_body::<Goodbye>("goodbye", &envelope.body).unwrap().reason;
            }
        }
    }
}

/// Request `verb` with number `id`, all by hand, with fields that nobody knows at every level.
pub(super) fn future_request(id: u64, verb: u16, known: &[(u32, u64)]) -> Vec<u8> {
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
