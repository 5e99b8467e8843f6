//! A host of the suite: a control listener, a client, and a device where it is asked for.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simsim_client::{Client, ClientOptions};
use simsim_control::verbs::{DataEndpoint, NodeStateReply, PingReply, Reply, Request, Roles};
use simsim_control::{
    Answer, Caller, EventSender, Hello, Identity, ListenPolicy, Principal, PublicKey, SERVER_USER,
    SmsshListener, Timing, VerbError, VerbHandler,
};
use simsim_device::{Device, DeviceOptions};
use simsim_model::{Kind, port_registry};
use simsim_server::Server;
use simsim_transfer::{Entrance, ListenOptions, TransferListener};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Answers before the host's own roles do; `None` leaves the verb to them.
pub type Before = dyn Fn(&Request) -> Option<Result<Reply, VerbError>> + Send + Sync;

/// What answers on the host's control listener.
pub struct Desk {
    pub name: String,
    pub client: Arc<Client>,
    pub device: Option<Arc<Device>>,
    pub server: Mutex<Option<Server>>,
    pub server_key: Mutex<Option<PublicKey>>,
    pub before: Mutex<Option<Arc<Before>>>,
}

pub struct Host {
    pub desk: Arc<Desk>,
    pub identity: Identity,
    pub folder: PathBuf,
    pub control: SocketAddr,
    /// Where its device takes data.
    pub data: Option<SocketAddr>,
    shutdown: watch::Sender<bool>,
}

/// Short enough for tests, long enough for a busy machine.
pub fn timing() -> Timing {
    Timing {
        handshake: Duration::from_secs(5),
        beat: Duration::from_millis(200),
        dead: Duration::from_secs(2),
        idle: Duration::from_secs(4),
        recheck: Duration::from_millis(200),
    }
}

impl Host {
    pub async fn start(
        name: &str,
        folder: &Path,
        identity: Identity,
        with_device: bool,
        server_key: Option<PublicKey>,
    ) -> Self {
        Self::start_at(name, folder, identity, with_device, server_key, 0).await
    }

    pub async fn start_at(
        name: &str,
        folder: &Path,
        identity: Identity,
        with_device: bool,
        server_key: Option<PublicKey>,
        port: u16,
    ) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(folder.join("client")).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let control = listener.local_addr().unwrap();
        let handle = tokio::runtime::Handle::current();
        let client = Client::new(&folder.join("client"), ClientOptions::default(), handle);
        let (shutdown, ended) = watch::channel(false);
        let (mut device, mut data_address) = (None, None);
        if with_device {
            let served = Device::new(&folder, DeviceOptions::default()).unwrap();
            let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
            data_address = data.local_addr().ok();
            served.set_endpoints(vec![DataEndpoint {
                row: port_registry::HTTP.id.to_owned(),
                port: data.local_addr().unwrap().port(),
            }]);
            let doors =
                TransferListener::new(Arc::clone(&served) as Arc<_>, ListenOptions::default());
            tokio::spawn(doors.serve(Entrance::http(data), until(ended.clone())));
            device = Some(served);
        }
        let desk = Arc::new(Desk {
            name: name.to_owned(),
            client,
            device,
            server: Mutex::new(None),
            server_key: Mutex::new(server_key),
            before: Mutex::new(None),
        });
        let hello = Hello::new(name, Roles { device: with_device, ..Roles::CLIENT });
        let door = Arc::new(Door(Arc::clone(&desk)));
        let control_listener = SmsshListener::with_timing(
            &identity,
            hello,
            door,
            Arc::clone(&desk) as Arc<_>,
            timing(),
        );
        tokio::spawn(control_listener.serve(listener, until(ended)));
        Self { desk, identity, folder, control, data: data_address, shutdown }
    }

    /// Whom it obeys.
    pub fn door(&self) -> Arc<dyn ListenPolicy> {
        Arc::new(Door(Arc::clone(&self.desk)))
    }

    /// Closes the listeners and every session, as a host that loses its network does. What its
    /// client does goes on.
    pub fn vanish(&self) {
        let _ = self.shutdown.send(true);
    }

    /// Ends it as a daemon ends.
    pub async fn end(self) {
        self.vanish();
        self.desk.client.close(Duration::from_secs(5)).await;
        if let Some(device) = &self.desk.device {
            device.close(Duration::from_secs(5)).await;
        }
    }

    /// Commands that the owner allows: name and shell text.
    pub fn allow_commands(&self, commands: &[(&str, String)]) {
        let mut policy = String::new();
        for (name, text) in commands {
            policy.push_str(&format!("[commands.{name}]\nrun = [\"/bin/sh\", \"-c\", {text:?}]\n"));
        }
        std::fs::write(self.folder.join("client/policy.toml"), policy).unwrap();
    }

    pub fn answer_first(&self, before: Arc<Before>) {
        *self.desk.before.lock().unwrap() = Some(before);
    }
}

async fn until(mut ended: watch::Receiver<bool>) {
    let _ = ended.wait_for(|end| *end).await;
}

struct Door(Arc<Desk>);

impl ListenPolicy for Door {
    fn principal(&self, user: &str, key: &PublicKey) -> Option<Principal> {
        let known = *self.0.server_key.lock().unwrap();
        (user == SERVER_USER && known == Some(*key)).then_some(Principal::Server)
    }

    fn joins_open(&self) -> bool {
        self.0.server.lock().unwrap().as_ref().is_some_and(Server::joins_open)
    }
}

impl VerbHandler for Desk {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> Answer<'a> {
        Box::pin(async move {
            let before = self.before.lock().unwrap().clone();
            if let Some(answer) = before.and_then(|before| before(&request)) {
                return answer;
            }
            let server = self.server.lock().unwrap().clone();
            match (&request, server) {
                (Request::Join(_), Some(server)) => {
                    return server.handle(caller, request, events).await;
                }
                (Request::Ping(_), _) => {
                    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
                    return Ok(PingReply { unix_ns: since.as_nanos() as i64 }.into());
                }
                (Request::NodeState(_), _) => {
                    return Ok(NodeStateReply {
                        tls_key: Vec::new(),
                        tls_public_key: Vec::new(),
                        name: self.name.clone(),
                        suite_version: "test".to_owned(),
                        roles: Roles { device: self.device.is_some(), ..Roles::CLIENT },
                        ..NodeStateReply::default()
                    }
                    .into());
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
            Err(VerbError::new(Kind::NotFound, "this host knows no such job"))
        })
    }
}
