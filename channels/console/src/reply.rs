//! Responses: documents, problems after RFC 9457, streams of lines and of events. Each carries the
//! fields that keep browsers from doing more with it than it is meant for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use simsim_model::Kind;
use tokio::sync::mpsc;
use tokio::time::{Interval, interval};

use crate::api::{ApiError, ResourceBody, ResourceReply, status_of};
use crate::page::{Cookie, PageBody, PageReply};

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// Below the idle time after which firewalls forget a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Sent with every response.
static ALWAYS: [(HeaderName, &str); 7] = [
    (hyper::header::CACHE_CONTROL, "no-store"),
    (
        hyper::header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (hyper::header::X_FRAME_OPTIONS, "DENY"),
    (hyper::header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What pages may load, and where they may send: ours alone, and nothing that stands in a page itself.
const OF_PAGES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// An asset has a name of its own for each content.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

pub(crate) fn full(status: u16, kind: &'static str, text: String) -> Response<Body> {
    dressed(status, Some(kind), whole(Bytes::from(text)))
}

/// A failure on the way of verbs: `{"error": {"kind": …, "message": …}}`.
pub(crate) fn failure(error: &ApiError) -> Response<Body> {
    let body = json!({"error": {"kind": error.kind.as_str(), "message": error.message}});
    full(status_of(error.kind), "application/json", body.to_string())
}

/// A failure as RFC 9457 has it.
pub(crate) fn problem(status: u16, kind: &str, message: &str) -> Response<Body> {
    let title = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let body = json!({
        "type": format!("urn:simsim:problem:{kind}"),
        "title": title.unwrap_or("Failure"),
        "status": status,
        "detail": message,
        "kind": kind,
    });
    full(status, "application/problem+json", body.to_string())
}

/// The short answer to who is not known.
pub(crate) fn not_proved() -> Response<Body> {
    let text = "show an API token ('Authorization: Bearer …') or log in";
    let mut response = problem(401, "not_proved", text);
    set(&mut response, hyper::header::WWW_AUTHENTICATE, "Bearer realm=\"simsim\"");
    response
}

pub(crate) fn too_often(seconds: u32) -> Response<Body> {
    let text = format!("too many wrong secrets from this address: wait {seconds} s");
    let mut response = problem(429, "too_often", &text);
    set(&mut response, hyper::header::RETRY_AFTER, &seconds.to_string());
    response
}

pub(crate) fn lines(lines: mpsc::Receiver<Value>) -> Response<Body> {
    let stream = Told { told: lines, as_events: false, alive: None };
    dressed(200, Some("application/x-ndjson"), BodyExt::boxed(StreamBody::new(stream)))
}

pub(crate) fn resource(reply: ResourceReply) -> Response<Body> {
    let ResourceReply { status, body, location, etag, allow } = reply;
    let mut response = match body {
        ResourceBody::Empty => dressed(status, None, whole(Bytes::new())),
        ResourceBody::Json(value) => full(status, "application/json", value.to_string()),
        ResourceBody::Problem(error) => problem(status, error.kind.as_str(), &error.message),
        ResourceBody::Events(told) => {
            let stream = Told { told, as_events: true, alive: Some(interval(KEEP_ALIVE)) };
            dressed(200, Some("text/event-stream"), BodyExt::boxed(StreamBody::new(stream)))
        }
    };
    let more = [
        (hyper::header::LOCATION, location),
        (hyper::header::ETAG, etag),
        (hyper::header::ALLOW, allow),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            set(&mut response, name, &value);
        }
    }
    response
}

/// A page, and what becomes of the cookies of its session and of a sign-in.
pub(crate) fn page(reply: PageReply) -> (Response<Body>, [Cookie; 2]) {
    let PageReply { status, body, location, cookie, sign_in } = reply;
    let mut response = match body {
        PageBody::Html(text) => full(status, "text/html; charset=utf-8", text),
        PageBody::Asset { kind, bytes } => {
            let body = whole(Bytes::from_static(bytes));
            let mut response = dressed(status, Some(kind), body);
            set(&mut response, hyper::header::CACHE_CONTROL, FOR_GOOD);
            response
        }
        PageBody::Events(told) => {
            let stream = Shown { told, alive: interval(KEEP_ALIVE) };
            dressed(200, Some("text/event-stream"), BodyExt::boxed(StreamBody::new(stream)))
        }
        PageBody::Download { name, kind, bytes } => {
            let body = BodyExt::boxed(StreamBody::new(Carried(bytes)));
            let mut response = dressed(status, Some(kind), body);
            let name = crate::page::encoded(&name);
            let field = format!("attachment; filename*=UTF-8''{name}");
            set(&mut response, hyper::header::CONTENT_DISPOSITION, &field);
            response
        }
    };
    set(&mut response, hyper::header::CONTENT_SECURITY_POLICY, OF_PAGES);
    if let Some(location) = location {
        set(&mut response, hyper::header::LOCATION, &location);
    }
    (response, [cookie, sign_in])
}

/// Sets a field; one that no field can hold is left out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Adds a field beside others of its name.
pub(crate) fn add(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

fn dressed(status: u16, kind: Option<&'static str>, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = response.headers_mut();
    if let Some(kind) = kind {
        fields.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    for (name, value) in &ALWAYS {
        fields.insert(name.clone(), HeaderValue::from_static(value));
    }
    response
}

/// What is told, as a stream of body frames: a document a line, or server-sent events.
struct Told {
    told: mpsc::Receiver<Value>,
    as_events: bool,
    /// Sends a comment from time to time, so that nobody takes the connection for dead.
    alive: Option<Interval>,
}

impl futures_core::Stream for Told {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let frame = |text: String| Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        match self.told.poll_recv(context) {
            Poll::Ready(Some(value)) if self.as_events => {
                let name = value["event"].as_str().unwrap_or("message").to_owned();
                return frame(format!("event: {name}\ndata: {value}\n\n"));
            }
            Poll::Ready(Some(value)) => return frame(format!("{value}\n")),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        let Some(alive) = &mut self.alive else { return Poll::Pending };
        match alive.poll_tick(context) {
            Poll::Ready(_) => frame(":\n\n".to_owned()),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Events for a page.
struct Shown {
    told: mpsc::Receiver<(&'static str, String)>,
    alive: Interval,
}

impl futures_core::Stream for Shown {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let frame = |text: String| Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))));
        match self.told.poll_recv(context) {
            Poll::Ready(Some((name, data))) => {
                let mut text = format!("event: {name}\n");
                for line in data.lines() {
                    text.push_str("data: ");
                    text.push_str(line);
                    text.push('\n');
                }
                text.push('\n');
                return frame(text);
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        match self.alive.poll_tick(context) {
            Poll::Ready(_) => frame(":\n\n".to_owned()),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A file on its way.
struct Carried(mpsc::Receiver<Result<Bytes, String>>);

impl futures_core::Stream for Carried {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.poll_recv(context);
        next.map(|part| part.map(|part| part.map(Frame::data).map_err(std::io::Error::other)))
    }
}

/// What kind of failure a refusal is, where it is none of the server's own.
pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError { kind: Kind::Invalid, message: message.into() }
}
