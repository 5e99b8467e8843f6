//! What those ask who watch over a server: is it there, does it do what it should, and its figures.

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response};
use serde_json::json;

use crate::answer::{Line, turned_away};
use crate::api::status_of;
use crate::reply;

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Line {
    /// `None`: the path is none of these.
    pub(crate) async fn watched(
        &self,
        path: &str,
        request: &Request<Incoming>,
    ) -> Option<Response<reply::Body>> {
        if !matches!(path, "/health" | "/health/live" | "/health/ready" | "/metrics") {
            return None;
        }
        if !matches!(*request.method(), hyper::Method::GET | hyper::Method::HEAD) {
            let mut response = reply::problem(405, "invalid", "this is only read");
            reply::set(&mut response, header::ALLOW, "GET, HEAD");
            return Some(response);
        }
        Some(match path {
            "/health/ready" => self.ready().await,
            "/metrics" => self.metrics(request.headers()).await,
            // Who answers is there.
            _ => reply::full(200, "application/json", json!({"status": "ok"}).to_string()),
        })
    }

    /// Told to everybody: names of parts, and nothing of what they hold.
    async fn ready(&self) -> Response<reply::Body> {
        let parts = self.api.not_ready().await;
        let (status, body) = match parts.is_empty() {
            true => (200, json!({"status": "ok"})),
            false => (503, json!({"status": "not_ready", "not_ready": parts})),
        };
        reply::full(status, "application/json", body.to_string())
    }

    async fn metrics(&self, head: &HeaderMap) -> Response<reply::Body> {
        let asker = match self.know(head, false).await {
            Ok(asker) => asker,
            Err(why) => return turned_away(why),
        };
        let accepts = head.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let open_metrics = accepts.flat_map(|line| line.split(',')).any(|one| {
            one.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(OPEN_METRICS))
        });
        let kind = match open_metrics {
            true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            false => "text/plain; version=0.0.4; charset=utf-8",
        };
        match asker.metrics(open_metrics).await {
            Ok(text) => reply::full(200, kind, text),
            Err(error) => {
                reply::problem(status_of(error.kind), error.kind.as_str(), &error.message)
            }
        }
    }
}
