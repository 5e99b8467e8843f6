//! The door for hosts that join: the one verb that the Server answers to strangers.
//!
//! A stranger learns nothing but *no*: not whether the name exists, whether the code expired, was
//! spent, or never was. Wrong proofs are counted against every code that the name could have
//! meant, and a code dies of ten.

use simsim_catalog::{AccessMode, AuditEntry, NewClient};
use simsim_control::join;
use simsim_control::verbs::{Join, JoinReply, PingReply, Reply, Request};
use simsim_control::{Caller, EventSender, JoinCode, Principal, PublicKey, VerbError, VerbHandler};
use simsim_model::Kind;
use zeroize::Zeroizing;

use super::clients::join_purpose;
use crate::clock::now_unix_ms;
use crate::nodes::forget_addresses;
use crate::{Server, ServerError};

/// The one answer to everything that is not proven.
const NO: &str = "the join code is not valid for this name: it may be expired, used or mistyped; \
                  make a new one on the server";

impl Server {
    /// Whether any join code could be used now: only then are strangers let in at all.
    pub fn joins_open(&self) -> bool {
        self.house.books.catalog().joins_open(now_unix_ms()).unwrap_or(false)
    }

    /// Answers `Join` of a stranger who holds `joiner`.
    pub async fn join(
        &self,
        joiner: &PublicKey,
        peer: Option<std::net::SocketAddr>,
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
                proven = Some((kept.hash, code));
            }
        }
        let from = peer.map_or("unknown".to_owned(), |peer| peer.ip().to_string());
        let witness = |allowed: bool, detail: String| AuditEntry {
            principal: format!("joiner:{from}"),
            verb: "client.join".to_owned(),
            object: format!("client '{}'", request.name),
            allowed,
            detail,
        };
        let Some((hash, code)) = proven else {
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
        let detail = format!("key {}", joiner.fingerprint());
        house.books.audit(witness(true, detail)).await.map_err(failed)?;
        let new = NewClient {
            name: request.name.clone(),
            host_key: joiner.to_string(),
            addresses: vec![
                peer.map_or("127.0.0.1".to_owned(), |peer| peer.ip().to_canonical().to_string()),
            ],
            listen_port: request.listen_port,
            suite_version: request.suite_version.clone(),
        };
        let outbound = request.outbound;
        let enrolled = house
            .books
            .run(move |catalog| {
                let client = catalog.enrol(&hash, &new, now)?;
                forget_addresses(catalog, client.id)?;
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
                    self.join(key, caller.peer, &request).await.map(Reply::from)
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
