//! What clients ask on behalf of their owners, on the lines that the Server keeps to them.
//!
//! A client may see its own savesets, and read those whose key it holds itself: with the key and its
//! host it has all that it takes anyway. It may not read those whose key the Server holds: whoever
//! stole a client's identity must not read its history. Everything is asked one at a time, under
//! grants for this one client.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use simsim_catalog::{Client, ClientId, KeyHolder, Saveset, SavesetState};
use simsim_control::verbs::{AnswerAsk, Ask, JobError, NextAsk, OwnKeySlots, StartRestore};
use simsim_format::random_bytes;
use simsim_model::{Direction, Overwrite, SavesetId, TransferId};

use crate::api::SavesetRequest;
use crate::desk::Answer;
use crate::house::House;
use crate::jobs::{DEVICE_PATIENCE, TransferWish, grant};
use crate::keys::look_after_held;
use crate::rights::{Grant, Principal, Right};
use crate::{Server, ServerError};

/// Between two questions of one client, so that none keeps the Server busy.
const PAUSE: Duration = Duration::from_millis(20);
/// After an empty answer that came at once.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);
/// Savesets of one question.
const READS_MAX: usize = 2;
/// Rows of one answer, so that it stays a message.
const ROWS_MAX: u64 = 1000;

/// Answers what one client asks, as long as its line lasts. A client of an older version asks nothing.
pub(crate) async fn serve(house: Weak<House>, client: ClientId) {
    let line = match house.upgrade() {
        Some(house) => house.nodes.line(client, DEVICE_PATIENCE).await,
        None => return,
    };
    let Ok(line) = line else { return };
    loop {
        let begun = tokio::time::Instant::now();
        let asked = match line.start(NextAsk {}).await {
            Ok(call) => call.finish().await.map_err(|error| line.error(&error)),
            Err(error) => Err(error),
        };
        let ask = match asked {
            Ok(reply) => reply.ask,
            Err(error) => {
                tracing::debug!(%error, "nothing more is asked on this line");
                return;
            }
        };
        let Some(ask) = ask else {
            if begun.elapsed() < EMPTY_PAUSE {
                tokio::time::sleep(EMPTY_PAUSE).await;
            }
            continue;
        };
        let Some(house) = house.upgrade() else { return };
        let id = ask.id;
        let answer = match answer(&Server { house }, client, ask).await {
            Ok(answer) => AnswerAsk { id, ..answer },
            Err(error) => {
                let error = JobError { kind: error.kind(), message: error.full_message() };
                AnswerAsk { id, error: Some(error), ..AnswerAsk::default() }
            }
        };
        if let Err(error) = line.call(answer).await {
            tracing::debug!(%error, "an answer did not reach the client that asked");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn answer(server: &Server, client: ClientId, ask: Ask) -> Result<AnswerAsk, ServerError> {
    let house = &server.house;
    let client = house.books.run(move |catalog| catalog.client_numbered(client)).await?;
    if !client.is_enrolled() {
        return Err(ServerError::Refused("this client is revoked".to_owned()));
    }
    let grant = |right| Grant { client: Some(client.name.clone()), ..Grant::of(right) };
    let who = Principal::with_grants(
        format!("client:{}", client.name),
        vec![grant(Right::View), grant(Right::Browse)],
    );
    let mut body: Value = serde_json::from_str(&ask.body)
        .map_err(|error| ServerError::invalid(format!("the question '{}': {error}", ask.verb)))?;
    match ask.verb.as_str() {
        "saveset.list" | "saveset.resolve" => {
            let Some(fields) = body.as_object_mut() else {
                return Err(ServerError::invalid("a question is a JSON object"));
            };
            fields.insert("client".to_owned(), client.name.clone().into());
            if ask.verb == "saveset.list" {
                let limit = fields.get("limit").and_then(Value::as_u64).unwrap_or(0);
                let limit = if limit == 0 { ROWS_MAX } else { limit.min(ROWS_MAX) };
                fields.insert("limit".to_owned(), limit.into());
            }
            document(server.answer(&who, &ask.verb, body).await?)
        }
        "saveset.show" => {
            let request: SavesetRequest = read(body)?;
            let saveset = own_saveset(house, &client, &request.saveset).await?;
            let request = SavesetRequest { saveset: saveset.saveset.to_string() };
            let shown = server.saveset(&who, request).await?;
            let text = serde_json::to_value(shown);
            document(Answer::Json(text.map_err(|error| ServerError::Lost(error.to_string()))?))
        }
        "own.read" => {
            let OwnRead { savesets } = read(body)?;
            if savesets.len() > READS_MAX {
                return Err(ServerError::invalid(format!("at most {READS_MAX} savesets at once")));
            }
            let mut reads = Vec::new();
            for id in savesets {
                reads.push(read_own(house, &client, &id).await?);
            }
            Ok(AnswerAsk { reads, ..AnswerAsk::default() })
        }
        "own.keys" => {
            let owner = client.id;
            let mut domains = house.books.run(|catalog| catalog.domains()).await?;
            domains.retain(|domain| {
                domain.owner == Some(owner) && domain.key_held_by == KeyHolder::Client
            });
            let slots = domains.into_iter().filter_map(|domain| {
                let (store, id) = (domain.store, domain.domain);
                domain.slots.map(|slots| OwnKeySlots { store, domain: id, slots })
            });
            Ok(AnswerAsk { slots: slots.collect(), ..AnswerAsk::default() })
        }
        "own.changed" => {
            look_after_held(house, &client).await?;
            Ok(AnswerAsk::default())
        }
        other => Err(ServerError::Refused(format!(
            "'{other}' is asked at the server '{}' itself",
            house.name
        ))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnRead {
    /// Ids in full.
    savesets: Vec<String>,
}

fn read<T: serde::de::DeserializeOwned>(body: Value) -> Result<T, ServerError> {
    serde_json::from_value(body)
        .map_err(|error| ServerError::invalid(format!("the question: {error}")))
}

fn document(answer: Answer) -> Result<AnswerAsk, ServerError> {
    match answer {
        Answer::Json(value) => Ok(AnswerAsk { body: value.to_string(), ..AnswerAsk::default() }),
        Answer::Events(_) => Err(ServerError::invalid("this verb has no single answer")),
    }
}

/// A saveset in a domain that this client owns. Whether there are others is not told.
async fn own_saveset(house: &House, client: &Client, id: &str) -> Result<Saveset, ServerError> {
    let none = || ServerError::not_found("saveset of this client", id);
    let saveset: SavesetId = id.parse().map_err(|_| none())?;
    let found = house
        .books
        .run(move |catalog| {
            let saveset = catalog.saveset(saveset)?;
            let owner = catalog.domain(saveset.domain)?.owner;
            Ok((saveset, owner))
        })
        .await;
    match found {
        Ok((saveset, owner)) if owner == Some(client.id) => Ok(saveset),
        _ => Err(none()),
    }
}

/// What the client needs to read a saveset whose key it holds.
async fn read_own(
    house: &Arc<House>,
    client: &Client,
    id: &str,
) -> Result<StartRestore, ServerError> {
    let saveset = own_saveset(house, client, id).await?;
    if saveset.state == SavesetState::Missing {
        return Err(ServerError::not_found("manifest of saveset", saveset.saveset));
    }
    let (datastore, domain, drive) = house.place_of(&saveset).await?;
    if domain.key_held_by != KeyHolder::Client {
        return Err(ServerError::Refused(format!(
            "the key of saveset {} is not held here but by the server '{}': look into it there, with \
             'simsim ls {}'",
            saveset.saveset.short(),
            house.name,
            saveset.saveset.short()
        )));
    }
    let wish = TransferWish {
        interfaces: &[],
        by_server: false,
        stream_key: None,
        seen_from: None,
        transfer: TransferId(random_bytes()?),
        job: 0,
        client: &client.name,
        drive,
        datastore: &datastore,
        domain: domain.domain,
        direction: Direction::Restore,
        saveset: saveset.saveset,
        bytes_max: 0,
    };
    let granted = grant(house, &wish, None, client.id).await?;
    tracing::info!(client = %client.name, saveset = %saveset.saveset, "reads its own saveset");
    Ok(StartRestore {
        other_copies: Vec::new(),
        datastore: String::new(),
        device_addresses: granted.urls,
        device_keys: granted.device_keys,
        client_keys: granted.client_keys,
        outbound: granted.outbound,
        ticket: granted.ticket,
        saveset: saveset.saveset,
        domain_key: None,
        selection: Vec::new(),
        patterns: Vec::new(),
        target: Vec::new(),
        overwrite: Overwrite::Never,
        specials: false,
        owners: false,
        dry_run: true,
    })
}
