//! One host behind its control listener: the handlers of its roles are asked one after the other,
//! and the first that knows a verb answers it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use simsim_client::Client;
use simsim_control::verbs::{
    InstallCertificateReply, ListeningAddress, NodeStateReply, PingReply, PrepareTlsKeyReply,
    Reply, Request, Roles, SwitchTlsKeyReply,
};
use simsim_control::{
    Answer, Caller, EventSender, ListenPolicy, Principal, PublicKey, SERVER_USER, VerbError,
    VerbHandler,
};
use simsim_device::Device;
use simsim_model::Kind;
use simsim_model::port_registry::DRIVE;
use simsim_net::tls::{NextKey, Pin, TlsIdentity};
use simsim_server::Server;

use super::drives::at_base;
use super::enrolment::Enrolment;
use super::witness::Witness;

/// One host's roles.
pub struct Node {
    pub name: String,
    pub roles: Roles,
    pub started: Instant,
    pub client: Arc<Client>,
    pub device: Option<Arc<Device>>,
    /// Set once the server has started; before that, hosts that join are told to wait.
    pub server: OnceLock<Server>,
    pub orders: Orders,
    pub listening: Vec<ListeningAddress>,
    /// To its port the number of each drive is added; `None`: this host listens for no drives.
    pub drive_base: Option<SocketAddr>,
    pub tls: Arc<TlsIdentity>,
    pub relayed: Relayed,
    /// Knows which of two servers of one identity counts.
    pub witness: Witness,
    /// This host passes calls of others on to its server.
    pub relays_calls: bool,
}

/// Words for calls of other hosts that are passed on now, one for each.
#[derive(Default)]
pub struct Relayed(Mutex<Vec<[u8; WORD_BYTES]>>);

/// Nobody guesses one.
const WORD_BYTES: usize = 16;

/// One of them, while its call lasts.
pub struct Word<'r> {
    relayed: &'r Relayed,
    word: [u8; WORD_BYTES],
}

impl Relayed {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn word(&self) -> Result<Word<'_>, String> {
        let word = simsim_format::random_bytes().map_err(|error| error.to_string())?;
        self.0.lock().push(word);
        Ok(Word { relayed: self, word })
    }

    fn words(&self) -> Vec<Vec<u8>> {
        self.0.lock().iter().map(|word| word.to_vec()).collect()
    }
}

impl std::fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.word.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Drop for Word<'_> {
    fn drop(&mut self) {
        self.relayed.0.lock().retain(|word| *word != self.word);
    }
}

/// Whose orders are taken.
pub enum Orders {
    /// Those of the server in this process.
    Own(PublicKey),
    /// Those of the server in this enrolment file, as it stands at each log-in.
    Enrolled(PathBuf),
}

impl Orders {
    /// The server's key, and the name under which it knows this host.
    fn server(&self) -> Option<(PublicKey, Option<String>)> {
        match self {
            Orders::Own(key) => Some((*key, None)),
            Orders::Enrolled(file) => match Enrolment::load(file) {
                Ok(enrolment) => {
                    enrolment.and_then(|joined| Some((joined.key()?, Some(joined.name))))
                }
                Err(error) => {
                    tracing::error!(%error, "no server is obeyed");
                    None
                }
            },
        }
    }
}

impl Node {
    /// The name under which its server knows this host, as it stands now.
    pub fn known_as(&self) -> String {
        let joined = self.orders.server().and_then(|(_, name)| name);
        joined.unwrap_or_else(|| self.name.clone())
    }

    fn state(&self) -> NodeStateReply {
        let mut jobs = self.client.running_jobs();
        jobs.extend(self.device.iter().flat_map(|device| device.running_jobs()));
        NodeStateReply {
            name: self.name.clone(),
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: self.roles,
            platform: platform(),
            uptime_s: self.started.elapsed().as_secs(),
            jobs,
            listening: self.listening(),
            tls_key: self.tls.pin().0.to_vec(),
            relayed: self.relayed.words(),
            relays_calls: self.relays_calls,
            tls_public_key: self.tls.public_key().unwrap_or_default(),
            tls_certificate: self.tls.certificate_digest().to_vec(),
        }
    }

    /// The listeners, and drives with other ports than their numbers make.
    fn listening(&self) -> Vec<ListeningAddress> {
        let mut listening = self.listening.clone();
        let (Some(device), Some(base)) = (&self.device, self.drive_base) else { return listening };
        for (drive, port) in device.drive_ports() {
            if at_base(base, drive).is_none_or(|made| made.port() != port) {
                listening.push(ListeningAddress {
                    row: DRIVE.id.to_owned(),
                    address: SocketAddr::new(base.ip(), port).to_string(),
                    drive: Some(drive),
                });
            }
        }
        listening
    }

    async fn answer(
        &self,
        caller: &Caller,
        request: Request,
        events: EventSender,
    ) -> Result<Reply, VerbError> {
        match request {
            Request::Join(_) => match self.server.get() {
                Some(server) => return server.handle(caller, request, events).await,
                None => return Err(VerbError::new(Kind::Invalid, "this host is no server")),
            },
            Request::Ping(_) => return Ok(PingReply { unix_ns: unix_ns() }.into()),
            Request::NodeState(_) => return Ok(self.state().into()),
            Request::ServerRecovered(said) => {
                let Some((server, _)) = self.orders.server() else {
                    return Err(VerbError::new(Kind::Denied, "this host obeys no server"));
                };
                return match self.witness.hear(&server, &said) {
                    Ok(reply) => Ok(reply.into()),
                    Err(failure) => Err(VerbError::new(failure.kind, failure.message)),
                };
            }
            Request::InstallCertificate(request) => {
                return match self.tls.install(&request.chain) {
                    Ok(()) => Ok(InstallCertificateReply::default().into()),
                    Err(error) => Err(VerbError::new(error.kind(), error.to_string())),
                };
            }
            Request::PrepareTlsKey(_) => {
                let told = |next: NextKey| PrepareTlsKeyReply {
                    tls_key: next.pin.0.to_vec(),
                    tls_public_key: next.public_key,
                };
                return match self.tls.prepare_key() {
                    Ok(next) => Ok(told(next).into()),
                    Err(error) => Err(VerbError::new(error.kind(), error.to_string())),
                };
            }
            Request::SwitchTlsKey(request) => {
                let Ok(pin) = <[u8; 32]>::try_from(request.tls_key.as_slice()) else {
                    return Err(VerbError::new(Kind::Invalid, "a TLS key has not 32 bytes"));
                };
                let chain = (!request.chain.is_empty()).then_some(request.chain.as_str());
                return match self.tls.switch_key(Pin(pin), chain, request.forget) {
                    Ok(()) => Ok(SwitchTlsKeyReply::default().into()),
                    Err(error) => Err(VerbError::new(error.kind(), error.to_string())),
                };
            }
            _ => {}
        }
        let tell = |event| {
            events.offer(&event);
        };
        if let Some(answer) = self.client.handle(&request, &tell).await {
            return answer;
        }
        if let Some(device) = &self.device
            && let Some(answer) = device.handle(&request, &tell).await
        {
            return answer;
        }
        match request {
            Request::CancelJob(_) | Request::JobState(_) | Request::FollowJob(_) => {
                Err(VerbError::new(Kind::NotFound, "this host knows no such job"))
            }
            _ => Err(VerbError::new(Kind::Invalid, "this host has no role that answers this verb")),
        }
    }
}

impl VerbHandler for Node {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> Answer<'a> {
        Box::pin(self.answer(caller, request, events))
    }
}

/// Who may log in.
impl ListenPolicy for Node {
    fn principal(&self, user: &str, key: &PublicKey) -> Option<Principal> {
        if user != SERVER_USER {
            return None;
        }
        let (_, name) = self.orders.server().filter(|(server, _)| server == key)?;
        if let Some(name) = name {
            // A host may have joined under another name since its daemon started.
            self.client.held_keys().set_host(&name);
        }
        Some(Principal::Server)
    }

    fn joins_open(&self) -> bool {
        self.server.get().is_some_and(Server::joins_open)
    }
}

/// This host's system, for people.
pub fn platform() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Nanoseconds since 1970 by this host's clock; 0 before.
pub fn unix_ns() -> i64 {
    let now = simsim_model::failpoint::shifted(SystemTime::now())
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
