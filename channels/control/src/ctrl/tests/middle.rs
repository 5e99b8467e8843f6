//! A dialler, a listener, and somebody in between who sees every line and message.

pub(super) use std::sync::{Arc, Mutex};
pub(super) use std::time::Duration;

pub(super) use simsim_model::{Kind, limits};
pub(super) use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex,
};
pub(super) use tokio_util::sync::CancellationToken;

pub(super) use crate::ctrl::{CtrlDialer, CtrlListener, Expected};
pub(super) use crate::handler::{
    Answer, Caller, EventSender, ListenPolicy, Principal, VerbHandler,
};
pub(super) use crate::verbs::*;
pub(super) use crate::{ControlClient, ControlError, Hello, Identity, PublicKey, VerbError};

/// Lines of a handshake that each side says.
pub(super) const LINES: usize = 2;

/// What one side said: two lines, then messages.
pub(super) type Said = Vec<Vec<u8>>;

/// What becomes of the part with this number.
pub(super) type Change = Box<dyn FnMut(usize, Vec<u8>) -> Said + Send>;

pub(super) fn as_it_is() -> Change {
    Box::new(|_, part| vec![part])
}

/// Both ends, and what they know of each other.
pub(super) struct Hosts {
    pub(super) node: Identity,
    pub(super) server: Identity,
    pub(super) asked: Arc<Asked>,
}

/// Answers, and keeps what was asked.
#[derive(Default)]
pub(super) struct Asked(pub(super) Mutex<Vec<&'static str>>);

impl VerbHandler for Asked {
    fn handle<'a>(&'a self, _: &'a Caller, request: Request, events: EventSender) -> Answer<'a> {
        Box::pin(async move {
            self.0.lock().unwrap().push(request.name());
            match request {
                Request::Ping(_) => Ok(PingReply { unix_ns: 42 }.into()),
                Request::StartBackup(_) => {
                    events.send(&Event::Progress(super::seen::progress())).await;
                    events.send(&Event::Problem(super::seen::problem())).await;
                    Err(VerbError::new(Kind::Denied, super::seen::SENTENCE))
                }
                Request::PutKeySlots(PutKeySlots { slots, .. }) => {
                    Ok(GetKeySlotsReply { slots }.into())
                }
                Request::GetKeySlots(_) => Ok(GetKeySlotsReply { slots: vec![7; 5000] }.into()),
                // Somebody keeps the sender of events for ever, as a job does that goes on.
                Request::JobState(_) => {
                    let kept = events.clone();
                    tokio::spawn(async move {
                        std::future::pending::<()>().await;
                        drop(kept);
                    });
                    Ok(JobStateReply::default().into())
                }
                other => Err(VerbError::new(Kind::Invalid, other.name())),
            }
        })
    }
}

struct Only(PublicKey);

impl ListenPolicy for Only {
    fn principal(&self, _: &str, key: &PublicKey) -> Option<Principal> {
        (*key == self.0).then_some(Principal::Server)
    }
}

impl Hosts {
    pub(super) fn new() -> Self {
        let (node, server) = (Identity::generate(), Identity::generate());
        Self { node, server, asked: Arc::default() }
    }

    /// The node's end of a stream, in a task.
    pub(super) fn listen(&self, stream: DuplexStream) -> tokio::task::JoinHandle<String> {
        let policy = Arc::new(Only(self.server.public()));
        let hello = Hello::new(super::seen::NODE, Roles::CLIENT);
        let handler = Arc::clone(&self.asked) as Arc<dyn VerbHandler>;
        let listener = CtrlListener::new(&self.node, hello, policy, handler);
        let stop = CancellationToken::new();
        tokio::spawn(async move { listener.answer_over(stream, None, &stop).await })
    }

    pub(super) async fn dial(&self, stream: DuplexStream) -> Result<ControlClient, ControlError> {
        let hello = Hello::new(super::seen::SERVER, Roles::SERVER);
        let dialer = CtrlDialer::new(self.server.clone(), hello);
        let key = self.node.public();
        let opened = dialer.call_over(stream, "node:1", Expected::Key(&key), Box::new(())).await;
        opened.map(|(client, _)| client)
    }

    /// One session through somebody who changes what is said; what came of `work`, and what both
    /// sides really said.
    pub(super) async fn session<T>(
        &self,
        up: Change,
        down: Change,
        work: impl AsyncFnOnce(ControlClient) -> Result<T, ControlError>,
    ) -> (Result<T, ControlError>, [Said; 2]) {
        let (near, middle_near) = duplex(1 << 20);
        let (middle_far, far) = duplex(1 << 20);
        let listening = self.listen(far);
        let (near_in, near_out) = tokio::io::split(middle_near);
        let (far_in, far_out) = tokio::io::split(middle_far);
        let said: [Arc<Mutex<Said>>; 2] = Default::default();
        let tasks = [
            tokio::spawn(pass(near_in, far_out, up, Arc::clone(&said[0]))),
            tokio::spawn(pass(far_in, near_out, down, Arc::clone(&said[1]))),
        ];
        let done = match self.dial(near).await {
            Ok(client) => work(client).await,
            Err(error) => Err(error),
        };
        for task in &tasks {
            task.abort();
        }
        let _ = listening.await;
        let [up, down] = said.map(|said| said.lock().unwrap().clone());
        (done, [up, down])
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut change: Change,
    said: Arc<Mutex<Said>>,
) {
    for number in 0.. {
        let Some(part) = next(&mut from, number).await else { break };
        said.lock().unwrap().push(part.clone());
        for part in change(number, part) {
            if to.write_all(&part).await.is_err() {
                return;
            }
        }
    }
    let _ = to.shutdown().await;
}

/// The next line or message, whole.
pub(super) async fn next(from: &mut (impl AsyncRead + Unpin), number: usize) -> Option<Vec<u8>> {
    let mut part = Vec::new();
    if number < LINES {
        while part.last() != Some(&b'\n') {
            part.push(from.read_u8().await.ok()?);
        }
        return Some(part);
    }
    let length = from.read_u32().await.ok()?;
    part.extend_from_slice(&length.to_be_bytes());
    part.resize(4 + length as usize, 0);
    from.read_exact(&mut part[4..]).await.ok()?;
    Some(part)
}
