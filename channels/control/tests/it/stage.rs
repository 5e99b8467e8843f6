//! A node that listens, for the tests to dial.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simsim_control::verbs::*;
use simsim_control::{
    Answer, Caller, ControlClient, ControlError, CtrlDialer, CtrlListener, EventSender, Hello,
    Identity, JoinCode, ListenPolicy, Principal, PublicKey, SERVER_USER, SmsshDialer,
    SmsshListener, Timing, VerbError, VerbHandler, join,
};
use simsim_model::{Kind, ProgressSnapshot};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Short time limits, so that a test of silence is a short one.
pub const QUICK: Timing = Timing {
    handshake: Duration::from_millis(1500),
    beat: Duration::from_millis(200),
    dead: Duration::from_millis(1000),
    idle: Duration::from_millis(1500),
    recheck: Duration::from_millis(100),
};

/// How a node is steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Smssh,
    Ctrl,
}

impl Mode {
    /// What a stranger may begin with, so that it is taken for one that speaks the protocol.
    pub fn greeting(self) -> &'static [u8] {
        match self {
            Mode::Smssh => b"SSH-2.0-",
            Mode::Ctrl => b"simsim-ctrl 1 call ",
        }
    }
}

/// The same tests over both access modes: each takes the mode.
macro_rules! over_both_modes {
    ($($name:ident,)*) => {
        mod over_smssh {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::stage::Mode::Smssh).await;
            })*
        }
        mod over_ctrl {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::stage::Mode::Ctrl).await;
            })*
        }
    };
}
pub(crate) use over_both_modes;

/// Who is enrolled, and what was asked.
#[derive(Default)]
pub struct Policy {
    pub server: Mutex<Option<PublicKey>>,
    pub joins: AtomicBool,
    /// A policy gone mad: everybody is a joiner.
    pub mad: AtomicBool,
    pub asked: AtomicU64,
    pub asked_joins: AtomicU64,
}

impl ListenPolicy for Policy {
    fn principal(&self, user: &str, key: &PublicKey) -> Option<Principal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.mad.load(Ordering::SeqCst) {
            return Some(Principal::Joiner(*key));
        }
        let enrolled = *self.server.lock().unwrap() == Some(*key) && user == SERVER_USER;
        enrolled.then_some(Principal::Server)
    }

    fn joins_open(&self) -> bool {
        self.asked_joins.fetch_add(1, Ordering::SeqCst);
        self.joins.load(Ordering::SeqCst)
    }
}

/// One verb for every behaviour.
#[derive(Default)]
pub struct Player {
    /// The code that joiners must know, and the server's key.
    pub code: Mutex<Option<(JoinCode, PublicKey)>>,
    pub joined: Mutex<Vec<(String, PublicKey)>>,
}

impl VerbHandler for Player {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> Answer<'a> {
        Box::pin(async move {
            match request {
                Request::Ping(_) => Ok(PingReply { unix_ns: 42 }.into()),
                // Never ends.
                Request::NodeState(_) => std::future::pending().await,
                // Tells so many events.
                Request::JobState(JobState { job }) => {
                    for bytes_done in 0..job {
                        let snapshot = ProgressSnapshot { bytes_done, ..Default::default() };
                        events.send(&Event::Progress(snapshot)).await;
                    }
                    Ok(JobStateReply::default().into())
                }
                // Says how large, and whether the bytes are the right ones.
                Request::PutKeySlots(PutKeySlots { slots, .. }) => {
                    if slots.iter().enumerate().all(|(place, byte)| *byte == place as u8) {
                        Ok(PutKeySlotsReply {}.into())
                    } else {
                        Err(VerbError::new(Kind::Corrupt, "other bytes"))
                    }
                }
                Request::GetKeySlots(_) => {
                    let slots = (0..1_000_000).map(|place| place as u8).collect();
                    Ok(GetKeySlotsReply { slots }.into())
                }
                Request::Join(request) => self.join(caller, &request).map(Into::into),
                other => Err(VerbError::new(Kind::Invalid, other.name())),
            }
        })
    }
}

impl Player {
    fn join(&self, caller: &Caller, request: &Join) -> Result<JoinReply, VerbError> {
        let Principal::Joiner(joiner) = caller.principal else {
            return Err(VerbError::new(Kind::Invalid, "enrolled already"));
        };
        join::check(request, &joiner)?;
        let code = self.code.lock().unwrap();
        let Some((code, server)) = code.as_ref() else {
            return Err(VerbError::new(Kind::Denied, "no code is valid"));
        };
        if !join::is_proven(request, &joiner, server, code) {
            return Err(VerbError::new(Kind::Denied, "the join code is wrong or used up"));
        }
        self.joined.lock().unwrap().push((request.name.clone(), joiner));
        Ok(join::reply(request, &joiner, server, "the-server", code))
    }
}

/// A listening node. Ends with the test.
pub struct Node {
    pub mode: Mode,
    pub identity: Identity,
    pub address: SocketAddr,
    pub policy: Arc<Policy>,
    pub player: Arc<Player>,
    /// The key of the server that it is enrolled with.
    pub server: Identity,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Node {
    pub async fn start(mode: Mode) -> Self {
        Self::with_timing(mode, QUICK).await
    }

    pub async fn with_timing(mode: Mode, timing: Timing) -> Self {
        let (identity, server) = (Identity::generate(), Identity::generate());
        let policy = Arc::new(Policy::default());
        *policy.server.lock().unwrap() = Some(server.public());
        let player = Arc::new(Player::default());
        let hello = Hello::new("node", Roles::CLIENT);
        let asked = Arc::clone(&policy) as Arc<dyn ListenPolicy>;
        let handler = Arc::clone(&player) as Arc<dyn VerbHandler>;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let until = async {
            let _ = stopped.await;
        };
        let serving = match mode {
            Mode::Smssh => {
                let node = SmsshListener::with_timing(&identity, hello, asked, handler, timing);
                tokio::spawn(node.serve(socket, until))
            }
            Mode::Ctrl => {
                let node = CtrlListener::with_timing(&identity, hello, asked, handler, timing);
                tokio::spawn(node.serve(socket, until))
            }
        };
        Self { mode, identity, address, policy, player, server, stop: Some(stop), serving }
    }

    pub fn addresses(&self) -> Vec<String> {
        vec![self.address.to_string()]
    }

    /// Dials as the enrolled server.
    pub async fn dial(&self) -> Result<ControlClient, ControlError> {
        self.dial_at(&self.addresses(), QUICK).await
    }

    pub async fn dial_at(
        &self,
        addresses: &[String],
        timing: Timing,
    ) -> Result<ControlClient, ControlError> {
        self.dial_as(&self.server, addresses, &self.identity.public(), timing).await
    }

    /// Dials as somebody who expects this key.
    pub async fn dial_as(
        &self,
        caller: &Identity,
        addresses: &[String],
        expected: &PublicKey,
        timing: Timing,
    ) -> Result<ControlClient, ControlError> {
        match self.mode {
            Mode::Smssh => {
                let dialer = dialer(caller).with_timing(timing);
                dialer.connect(addresses, expected, SERVER_USER).await
            }
            Mode::Ctrl => {
                let hello = Hello::new("server", Roles::SERVER);
                let dialer = CtrlDialer::new(caller.clone(), hello).with_timing(timing);
                dialer.connect(addresses, expected).await
            }
        }
    }

    /// Ends the listener as a daemon does.
    pub async fn shut_down(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        (&mut self.serving).await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub fn dialer(identity: &Identity) -> SmsshDialer {
    SmsshDialer::new(identity.clone(), Hello::new("server", Roles::SERVER)).with_timing(QUICK)
}
