//! The door for hosts that join: the one verb that the Server answers to strangers, at its control
//! listener, and on connections of hosts that nobody can dial.
//!
//! A stranger learns nothing but *no*: not whether the name exists, whether the code expired, was
//! spent, or never was. Wrong proofs are counted against every code that the name could have
//! meant, and a code dies of ten.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use simsim_catalog::{AccessMode, AuditEntry, NewClient};
use simsim_control::join;
use simsim_control::verbs::{Join, JoinReply, PingReply, Reply, Request, Roles};
use simsim_control::{
    Caller, CtrlListener, EventSender, Hello, JoinCode, ListenPolicy, Principal, PublicKey, Timing,
    VerbError, VerbHandler,
};
use simsim_model::Kind;
use simsim_net::outbound::Relay;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::clients::join_purpose;
use crate::clock::now_unix_ms;
use crate::nodes::{self, PROOF_PATIENCE, forget_addresses, note_relay};
use crate::{Server, ServerError};

/// The one answer to everything that is not proven.
const NO: &str = "the join code is not valid for this name: it may be expired, used or mistyped; \
                  make a new one on the server";

impl Server {
    /// Whether any join code could be used now: only then are strangers let in at all.
    pub fn joins_open(&self) -> bool {
        self.house.books.catalog().joins_open(now_unix_ms()).unwrap_or(false)
    }

    /// Serves a connection over which a host joins because nobody can dial it.
    pub(crate) async fn take_joiner(&self, caller: nodes::Caller) {
        let nodes::Caller { wire, from, begun, place, until } = caller;
        let door = Arc::new(JoinDoor { server: self.clone(), relay: begun.relay });
        let (policy, handler) = (Arc::clone(&door) as Arc<_>, door as Arc<_>);
        let hello = Hello::new(self.house.name.clone(), Roles::SERVER);
        let handshake = until.saturating_duration_since(Instant::now());
        let timing = Timing { handshake, ..Timing::default() };
        let listener =
            CtrlListener::with_timing(&self.house.identity, hello, policy, handler, timing);
        let peer = SocketAddr::new(from, 0);
        let end = listener.answer_joiner_over(wire, Some(peer), place, &self.house.stop).await;
        tracing::debug!(%from, end, "a connection for joining is closed");
    }

    /// Answers `Join` of a stranger who holds `joiner` and comes from `peer`; over an RDS that passes the
    /// connection on, it says itself which one.
    async fn join(
        &self,
        joiner: &PublicKey,
        peer: Option<IpAddr>,
        relay: Option<&Relay>,
        request: &Join,
    ) -> Result<JoinReply, VerbError> {
        join::check(request, joiner)?;
        let house = &self.house;
        if request.name == house.own_name {
            return Err(VerbError::new(Kind::Denied, NO));
        }
        let server = house.identity.public();
        let now = now_unix_ms();
        let failed = |error: ServerError| {
            tracing::error!(error = %error.full_message(), "a join failed here");
            VerbError::new(error.kind(), "the server could not enrol this host; its log says why")
        };
        let name = request.name.clone();
        let codes = house
            .books
            .run(move |catalog| catalog.open_join_codes(&name, now))
            .await
            .map_err(failed)?;
        let mut proven = None;
        for kept in codes {
            let Ok(secret) = house.master.open(&join_purpose(&kept.hash), &kept.sealed_secret)
            else {
                continue;
            };
            let secret = Zeroizing::new(secret);
            let Ok(secret) = <[u8; 16]>::try_from(secret.as_slice()) else { continue };
            let code = JoinCode::from_secret(secret, &server);
            // All are tried, so that the time tells nothing about which one it was.
            if join::is_proven(request, joiner, &server, &code) {
                proven = Some((kept.hash, code, kept.outbound));
            }
        }
        let address = peer.map_or("127.0.0.1".to_owned(), |peer| peer.to_canonical().to_string());
        let from = peer.map_or("unknown".to_owned(), |peer| peer.to_string());
        let witness = |allowed: bool, detail: String| AuditEntry {
            principal: format!("joiner:{from}"),
            verb: "client.join".to_owned(),
            object: format!("client '{}'", request.name),
            allowed,
            detail,
        };
        let Some((hash, code, only_outbound)) = proven else {
            let name = request.name.clone();
            let locked = house
                .books
                .run(move |catalog| catalog.count_wrong_join(&name, now))
                .await
                .map_err(failed)?;
            let detail = format!("wrong proof; {locked} codes locked by it");
            house.books.audit(witness(false, detail)).await.map_err(failed)?;
            return Err(VerbError::new(Kind::Denied, NO));
        };
        if only_outbound && !request.outbound {
            let detail = "the code is for a host that calls".to_owned();
            house.books.audit(witness(false, detail)).await.map_err(failed)?;
            return Err(VerbError::new(Kind::Invalid, ONLY_OUTBOUND));
        }
        let detail = format!("key {}", joiner.fingerprint());
        house.books.audit(witness(true, detail)).await.map_err(failed)?;
        let mut new = NewClient {
            name: request.name.clone(),
            host_key: joiner.to_string(),
            addresses: vec![address.clone()],
            listen_port: request.listen_port,
            suite_version: request.suite_version.clone(),
        };
        let outbound = request.outbound;
        let relay = match relay {
            Some(said) => match house.nodes.proved_relay(said, PROOF_PATIENCE).await {
                Ok(relay) => relay,
                Err(error) => {
                    let error = error.full_message();
                    tracing::warn!(client = %request.name, error, "joins over a relay that is not reached now; the first call tells");
                    None
                }
            },
            None => None,
        };
        if relay.is_some() {
            // The address that was seen is the relay's.
            new.addresses.clear();
        }
        let enrolled = house
            .books
            .run(move |catalog| {
                let client = catalog.enrol(&hash, &new, now)?;
                forget_addresses(catalog, client.id)?;
                note_relay(catalog, client.id, relay.as_deref())?;
                let mode = match (outbound, client.access_mode) {
                    (true, _) => AccessMode::Outbound,
                    // It listens now, as it says.
                    (false, AccessMode::Outbound) => AccessMode::Smssh,
                    (false, mode) => mode,
                };
                if mode == client.access_mode {
                    return Ok(client);
                }
                catalog.set_client_access(&client.name, mode, None)
            })
            .await;
        simsim_model::failpoint::hit("server.code_used");
        let client = match enrolled {
            Ok(client) => client,
            Err(error) if error.kind() == Kind::Invalid => {
                return Err(VerbError::new(
                    Kind::Invalid,
                    format!(
                        "the name '{}' is taken: choose another, or ask for a code for this very name",
                        request.name
                    ),
                ));
            }
            Err(error) if error.kind() == Kind::NotFound => {
                return Err(VerbError::new(Kind::Denied, NO));
            }
            Err(error) => return Err(failed(error)),
        };
        house.nodes.add(&client);
        tracing::info!(client = %client.name, "a host has joined");
        Ok(join::reply(request, joiner, &server, &house.name, &code))
    }
}

/// What a host is told that has a code for hosts that call, and wants to be dialled.
const ONLY_OUTBOUND: &str = "this join code is for a host that calls the server (access mode OUTBOUND): join \
                             with 'simsim client join SERVER --outbound', or make a code without it";

/// What answers on one connection of a host that nobody can dial, and that joins.
struct JoinDoor {
    server: Server,
    relay: Option<Relay>,
}

impl ListenPolicy for JoinDoor {
    fn principal(&self, _: &str, _: &PublicKey) -> Option<Principal> {
        None
    }

    fn joins_open(&self) -> bool {
        self.server.joins_open()
    }
}

impl VerbHandler for JoinDoor {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> simsim_control::Answer<'a> {
        let (Request::Join(request), Principal::Joiner(key)) = (&request, &caller.principal) else {
            return self.server.handle(caller, request, events);
        };
        let (key, request) = (*key, request.clone());
        Box::pin(async move {
            if !request.outbound {
                let text = "a host that joins over this port is one that calls: say --outbound";
                return Err(VerbError::new(Kind::Invalid, text));
            }
            let peer = caller.peer.map(|peer| peer.ip());
            let relay = self.relay.as_ref();
            self.server.join(&key, peer, relay, &request).await.map(Reply::from)
        })
    }
}

/// What the Server answers on its host's control listener.
impl VerbHandler for Server {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        _: EventSender,
    ) -> simsim_control::Answer<'a> {
        Box::pin(async move {
            match (request, &caller.principal) {
                (Request::Join(request), Principal::Joiner(key)) => {
                    let peer = caller.peer.map(|peer| peer.ip());
                    self.join(key, peer, None, &request).await.map(Reply::from)
                }
                (Request::Ping(_), _) => {
                    Ok(PingReply { unix_ns: now_unix_ms().saturating_mul(1_000_000) }.into())
                }
                (other, _) => Err(VerbError::new(
                    Kind::Invalid,
                    format!("a server does not answer '{}'", other.name()),
                )),
            }
        })
    }
}
