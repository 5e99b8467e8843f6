//! A client behind its local socket: what its owner may ask on this host.
//!
//! Rows of this client's own savesets come from the server, over the line that it keeps. Savesets
//! whose key is held here are looked into here: the server hands out a ticket, the device its
//! ciphertext, and neither key nor names leave this host. The recovery kit of those keys is proven,
//! replaced and used here too. Everything else is the server's.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use simsim_client::{Client, ClientError};
use simsim_console::api::Answering;
use simsim_console::{Api, ApiError, ApiReply, Asker, Credentials, NotKnown};
use simsim_format::RecoveryKit;
use simsim_model::Kind;
use simsim_server::api::{
    DiffRequest, FindRequest, KeyRecoverReply, KeyRecoverRequest, KitProofReply, KitProofRequest,
    KitReply, LsRequest,
};
use simsim_server::{ServerError, look};

#[derive(Clone)]
pub struct ClientConsole {
    pub client: Arc<Client>,
}

impl Api for ClientConsole {
    fn know(
        &self,
        credentials: Credentials,
        _: Option<IpAddr>,
    ) -> Answering<'_, Result<Box<dyn Asker>, NotKnown>> {
        let owner = match credentials {
            Credentials::Local => Ok(Box::new(self.clone()) as Box<dyn Asker>),
            Credentials::Bearer(_) | Credentials::Session { .. } => Err(NotKnown::NotProved),
        };
        Box::pin(async { owner })
    }
}

impl Asker for ClientConsole {
    fn verb(&self, verb: String, body: Value) -> Answering<'_, Result<ApiReply, ApiError>> {
        Box::pin(async move { self.answer(&verb, body).await.map(ApiReply::Json) })
    }
}

impl ClientConsole {
    async fn answer(&self, verb: &str, body: Value) -> Result<Value, ApiError> {
        let client = &self.client;
        match verb {
            "saveset.list" | "saveset.resolve" | "saveset.show" => {
                let answer = client.ask_server(verb, body.to_string()).await.map_err(refused)?;
                serde_json::from_str(&answer).map_err(|error| {
                    let message = format!("the server answered in another form: {error}");
                    ApiError { kind: Kind::Internal, message }
                })
            }
            "saveset.ls" => {
                let request: LsRequest = read(body)?;
                let savesets = [request.saveset.clone()];
                self.look(&savesets, move |trees| look::ls(first(trees)?, &request)).await
            }
            "saveset.find" => {
                let request: FindRequest = read(body)?;
                let savesets = [request.saveset.clone()];
                self.look(&savesets, move |trees| look::find(first(trees)?, &request)).await
            }
            "saveset.diff" => {
                let request: DiffRequest = read(body)?;
                let savesets = [request.from.clone(), request.to.clone()];
                self.look(&savesets, move |trees| match trees {
                    [old, new] => look::diff(old, new, &request),
                    _ => Err(ServerError::Lost("two trees were asked for".to_owned())),
                })
                .await
            }
            "key.question" => {
                let asked = client.kit_question().await.map_err(refused)?;
                let asked = asked.ok_or_else(|| refused(ClientError::NoKit))?;
                write(&asked)
            }
            "key.prove" => {
                let request: KitProofRequest = read(body)?;
                let proof = client.prove_kit(request.groups).await.map_err(refused)?;
                let asked = proof.asked().to_vec();
                write(&KitProofReply { proven: asked.is_empty(), asked })
            }
            "key.kit" => {
                let (made, told) = client.renew_kit().await.map_err(refused)?;
                let pending = match told {
                    true => Vec::new(),
                    false => vec!["the server, which brings it to the datastores".to_owned()],
                };
                write(&KitReply {
                    of: "client".to_owned(),
                    name: client.held_keys().host(),
                    fingerprint: None,
                    groups: made.groups.to_vec(),
                    asked: made.asked,
                    domains: made.keys,
                    pending,
                })
            }
            "key.recover" => {
                let request: KeyRecoverRequest = read(body)?;
                let kit = RecoveryKit::parse(&request.kit).map_err(|error| ApiError {
                    kind: Kind::Invalid,
                    message: error.to_string(),
                })?;
                let done = client.recover_keys(kit).await.map_err(refused)?;
                let simsim_client::Recovered { brought, held, sealed } = done;
                write(&KeyRecoverReply { brought, held, sealed })
            }
            other => Err(ApiError {
                kind: Kind::Invalid,
                message: format!(
                    "'{other}' is asked on the server's host: this is client '{}', which answers for \
                     its own savesets and keys only (savesets, saveset, ls, find, diff, key kit, key \
                     recover)",
                    client.held_keys().host()
                ),
            }),
        }
    }

    async fn look<T: Serialize + Send + 'static>(
        &self,
        savesets: &[String],
        look: impl FnOnce(&[simsim_mover::tree::Tree]) -> Result<T, ServerError> + Send + 'static,
    ) -> Result<Value, ApiError> {
        let looked = self.client.look_into(savesets, look).await.map_err(refused)?;
        let reply = looked
            .map_err(|error| ApiError { kind: error.kind(), message: error.full_message() })?;
        write(&reply)
    }
}

fn first(trees: &[simsim_mover::tree::Tree]) -> Result<&simsim_mover::tree::Tree, ServerError> {
    trees.first().ok_or_else(|| ServerError::Lost("one tree was asked for".to_owned()))
}

fn refused(error: ClientError) -> ApiError {
    ApiError { kind: error.kind(), message: error.to_string() }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, ApiError> {
    serde_json::from_value(body)
        .map_err(|error| ApiError { kind: Kind::Invalid, message: format!("the request: {error}") })
}

fn write<T: Serialize>(reply: &T) -> Result<Value, ApiError> {
    serde_json::to_value(reply)
        .map_err(|error| ApiError { kind: Kind::Internal, message: error.to_string() })
}
