//! What runs on a host: `client = client`, `rds = client + device`, `server = client + device +
//! server`. The handlers of the roles are asked one after the other; the first that knows a verb
//! answers it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use simsim_client::Client;
use simsim_control::verbs::{ListeningAddress, NodeStateReply, PingReply, Reply, Request, Roles};
use simsim_control::{
    Answer, Caller, EventSender, ListenPolicy, Principal, PublicKey, SERVER_USER, VerbError,
    VerbHandler,
};
use simsim_device::Device;
use simsim_model::Kind;

/// One host's roles behind one control listener.
pub struct Node {
    pub name: String,
    pub started: Instant,
    pub client: Arc<Client>,
    pub device: Option<Arc<Device>>,
    pub listening: Vec<ListeningAddress>,
}

impl Node {
    fn roles(&self) -> Roles {
        if self.device.is_some() { Roles::RDS } else { Roles::CLIENT }
    }

    fn state(&self) -> NodeStateReply {
        let mut jobs = self.client.running_jobs();
        jobs.extend(self.device.iter().flat_map(|device| device.running_jobs()));
        NodeStateReply {
            name: self.name.clone(),
            suite_version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: self.roles(),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            uptime_s: self.started.elapsed().as_secs(),
            jobs,
            listening: self.listening.clone(),
        }
    }

    async fn answer(&self, request: &Request, events: &EventSender) -> Result<Reply, VerbError> {
        match request {
            Request::Ping(_) => return Ok(PingReply { unix_ns: unix_ns() }.into()),
            Request::NodeState(_) => return Ok(self.state().into()),
            _ => {}
        }
        let tell = |event| {
            events.offer(&event);
        };
        if let Some(answer) = self.client.handle(request, &tell).await {
            return answer;
        }
        if let Some(device) = &self.device
            && let Some(answer) = device.handle(request, &tell).await
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
    fn handle<'a>(&'a self, _: &'a Caller, request: Request, events: EventSender) -> Answer<'a> {
        Box::pin(async move { self.answer(&request, &events).await })
    }
}

/// Lets one server in, by its key.
pub struct OneServer(pub PublicKey);

impl ListenPolicy for OneServer {
    fn principal(&self, user: &str, key: &PublicKey) -> Option<Principal> {
        (user == SERVER_USER && *key == self.0).then_some(Principal::Server)
    }
}

/// Nanoseconds since 1970 by this host's clock; 0 before.
pub fn unix_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
