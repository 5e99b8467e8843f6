//! Resources: the server's verbs as HTTP knows things, beneath `/api/v1` of the console port.
//!
//! One table says which method of which path asks which verb ([`table`]). From it requests are answered
//! and the OpenAPI document is made, with the schemas of the very structs that the verbs take and give:
//! the two cannot differ.
//!
//! | room | does |
//! |---|---|
//! | `table` | the routes |
//! | `route` | what a row of the table says |
//! | `shapes` | the schemas of what verbs take and give |
//! | `request` | from path, query and body to the request of a verb |
//! | `pages` | lists: filters, limits, what comes next |
//! | `conditions` | ETags, and what depends on them |
//! | `openapi` | the document |

mod conditions;
mod openapi;
mod pages;
mod request;
mod route;
mod shapes;
mod table;

use serde_json::{Value, json};
use simsim_console::ApiError;
use simsim_console::api::{Method, ResourceBody, ResourceReply, ResourceRequest};
use simsim_model::Kind;
use tokio::sync::mpsc;

use self::conditions::{Conditions, etag_of};
use self::request::Asked;
use self::route::{Does, Find, Route};
use crate::desk::{Answer, JobFollower, check_request};
use crate::rights::Principal;
use crate::{Server, ServerError};

/// Where the resources are.
const ROOT: &str = simsim_console::RESOURCES;
/// Events of a job that wait for a slow listener.
const EVENTS_QUEUED: usize = 64;

impl Server {
    /// Answers a request for a resource.
    pub async fn resource(&self, who: &Principal, request: ResourceRequest) -> ResourceReply {
        match self.look_up(who, request).await {
            Ok(reply) | Err(reply) => reply,
        }
    }

    async fn look_up(
        &self,
        who: &Principal,
        request: ResourceRequest,
    ) -> Result<ResourceReply, ResourceReply> {
        let asked = request::read(&request)?;
        let route = asked.route;
        let conditions = Conditions::of(&request)?;
        match &route.does {
            Does::List(page) => {
                let (body, wanted) = pages::ask(page, &asked)?;
                let all = self.told_by(who, route.verb, body).await?;
                let page = pages::cut(page, &wanted, all, &request)?;
                conditions.tagged(ResourceReply::json(200, page))
            }
            Does::One => {
                let body = asked.body()?;
                let one = self.told_by(who, route.verb, body).await?;
                conditions.tagged(ResourceReply::json(200, one))
            }
            Does::Pick => {
                let found = self.seen(who, route, &asked).await?;
                let one = found.ok_or_else(|| not_there(route, &asked))?;
                conditions.tagged(ResourceReply::json(200, one))
            }
            Does::Put { change } => self.put_there(who, &asked, *change, &conditions).await,
            Does::Set | Does::Delete | Does::Act { .. } | Does::Job => {
                self.act_on(who, &asked, &conditions).await
            }
            Does::Events => {
                let body = asked.body()?;
                match self.answer(who, route.verb, body).await.map_err(failed)? {
                    Answer::Events(follower) => {
                        Ok(ResourceReply::with(200, ResourceBody::Events(told(follower))))
                    }
                    Answer::Json(value) => Ok(ResourceReply::json(200, value)),
                }
            }
            Does::Document => conditions.tagged(ResourceReply::json(200, openapi::document())),
        }
    }

    /// Makes it, or changes it to be so.
    async fn put_there(
        &self,
        who: &Principal,
        asked: &Asked<'_>,
        change: Option<&'static str>,
        conditions: &Conditions,
    ) -> Result<ResourceReply, ResourceReply> {
        let route = asked.route;
        self.may_ask(who, route.verb).await.map_err(failed)?;
        let body = asked.body()?;
        // What would be refused anyway is no matter of conditions (RFC 9110, section 13.2.1).
        check_request(route.verb, &body).map_err(failed)?;
        let _changing = self.house.people.changing(asked.path).lock().await;
        let before = self.seen(who, route, asked).await?;
        conditions.hold(before.as_ref())?;
        let status = match (&before, change) {
            (None, _) => {
                self.told_by(who, route.verb, body).await?;
                201
            }
            (Some(_), Some(change)) => {
                self.told_by(who, change, body).await?;
                200
            }
            (Some(there), None) => {
                if let Some(field) = differs(there, &body) {
                    return Err(problem(
                        409,
                        Kind::Busy,
                        format!(
                            "it is there already with another '{field}', and cannot be changed: remove it first"
                        ),
                    ));
                }
                200
            }
        };
        let now = self.seen(who, route, asked).await?.unwrap_or(Value::Null);
        let mut reply =
            ResourceReply { etag: Some(etag_of(&now)), ..ResourceReply::json(status, now) };
        if status == 201 {
            reply.location = Some(format!("{ROOT}{}", asked.path));
        }
        Ok(reply)
    }

    /// Does what one verb does.
    async fn act_on(
        &self,
        who: &Principal,
        asked: &Asked<'_>,
        conditions: &Conditions,
    ) -> Result<ResourceReply, ResourceReply> {
        let route = asked.route;
        self.may_ask(who, route.verb).await.map_err(failed)?;
        let body = asked.body()?;
        check_request(route.verb, &body).map_err(failed)?;
        let _changing = match conditions.any() {
            true => Some(self.house.people.changing(asked.path).lock().await),
            false => None,
        };
        if conditions.any() {
            if route.find.is_none() {
                let text = "there is nothing here that 'If-Match' or 'If-None-Match' could mean";
                return Err(problem(400, Kind::Invalid, text.to_owned()));
            }
            conditions.hold(self.seen(who, route, asked).await?.as_ref())?;
        }
        let done = self.told_by(who, route.verb, body).await?;
        let mut reply = ResourceReply::json(200, done);
        match (&route.does, &reply.body) {
            (Does::Job, ResourceBody::Json(done)) => {
                reply.status = 202;
                reply.location = Some(format!("{ROOT}/jobs/{}", done["job"]));
            }
            (Does::Act { makes: Some(place) }, ResourceBody::Json(done)) => {
                reply.status = 201;
                reply.location = Some(format!("{ROOT}{}", request::filled(place, done)));
            }
            _ => {}
        }
        Ok(reply)
    }

    /// The thing as it is seen now; `None`: it is not there.
    async fn seen(
        &self,
        who: &Principal,
        route: &Route,
        asked: &Asked<'_>,
    ) -> Result<Option<Value>, ResourceReply> {
        let Some(Find { verb, by }) = &route.find else { return Ok(None) };
        let Some((items, key)) = by else {
            return match self.answer(who, verb, asked.named()).await {
                Ok(Answer::Json(value)) => Ok(Some(value)),
                Ok(Answer::Events(_)) => Ok(None),
                Err(error) if error.kind() == Kind::NotFound => Ok(None),
                Err(error) => Err(failed(error)),
            };
        };
        let all = self.told_by(who, verb, json!({})).await?;
        let list = if items.is_empty() { &all } else { &all[*items] };
        let wanted = asked.last();
        let is_it = |item: &&Value| request::text_of(&item[*key]) == wanted;
        Ok(list.as_array().and_then(|list| list.iter().find(is_it)).cloned())
    }

    async fn told_by(
        &self,
        who: &Principal,
        verb: &str,
        body: Value,
    ) -> Result<Value, ResourceReply> {
        match self.answer(who, verb, body).await.map_err(failed)? {
            Answer::Json(value) => Ok(value),
            Answer::Events(_) => Err(problem(500, Kind::Internal, format!("'{verb}' has no end"))),
        }
    }
}

/// The first field of a request that is not as it is in what is there.
fn differs<'b>(there: &Value, body: &'b Value) -> Option<&'b str> {
    let fields = body.as_object()?;
    let other = fields.iter().find(|(name, value)| {
        !value.is_null() && there.get(name.as_str()).is_some_and(|is| is != *value)
    });
    other.map(|(name, _)| name.as_str())
}

fn failed(error: ServerError) -> ResourceReply {
    ResourceReply::problem(ApiError { kind: error.kind(), message: error.full_message() })
}

fn problem(status: u16, kind: Kind, message: String) -> ResourceReply {
    ResourceReply::with(status, ResourceBody::Problem(ApiError { kind, message }))
}

fn not_there(route: &Route, asked: &Asked<'_>) -> ResourceReply {
    let what = things(route.path);
    problem(404, Kind::NotFound, format!("among {what} there is no '{}'", asked.last()))
}

/// What the last name of a path is one of, such as `task groups`.
fn things(path: &str) -> String {
    let words = path.split('/').take_while(|word| !word.starts_with('{'));
    let word = words.last().unwrap_or_default().replace('-', " ");
    match word.strip_prefix("api ") {
        Some(rest) => format!("API {rest}"),
        None => word,
    }
}

fn told(mut follower: Box<JobFollower>) -> mpsc::Receiver<Value> {
    let (sender, receiver) = mpsc::channel(EVENTS_QUEUED);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = follower.next() => event,
                () = sender.closed() => return,
            };
            let Some(event) = event else { return };
            let Ok(event) = serde_json::to_value(&event) else { return };
            if sender.send(event).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// What a stranger's method is not let do here.
fn not_allowed(allowed: &[Method]) -> ResourceReply {
    let mut words: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
    if allowed.contains(&Method::Get) {
        words.push("HEAD");
    }
    let allow = words.join(", ");
    let text = format!("this takes {allow}");
    ResourceReply { allow: Some(allow), ..problem(405, Kind::Invalid, text) }
}

#[cfg(test)]
mod tests;
