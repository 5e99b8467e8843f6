//! What a listener asks of the side behind it, and what it is answered.

use std::net::IpAddr;
use std::pin::Pin;

use serde_json::Value;
use simsim_model::Kind;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::page::{PageReply, PageRequest, Visitor};

/// An answer that is waited for.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A secret that a caller showed. Wiped when dropped, and in no log.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself; not for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// How a caller proves who it is.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// Through the local socket: the host's own administrator.
    Local,
    /// `Authorization: Bearer …`: an API token.
    Bearer(SecretText),
    /// The cookie of a browser, and the text that a page of ours sends along with what changes
    /// something.
    Session { secret: SecretText, csrf: Option<SecretText>, changes: bool },
}

/// Why somebody is not let in.
#[derive(Debug, Clone)]
pub enum NotKnown {
    /// The one answer to who proved nothing.
    NotProved,
    /// Too many wrong secrets from one address.
    TooOften {
        seconds: u32,
    },
    Failed(ApiError),
}

/// A refusal or failure.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub kind: Kind,
    pub message: String,
}

/// An answer to a verb.
pub enum ApiReply {
    Json(Value),
    /// One JSON document a line, until the sender is dropped.
    Lines(mpsc::Receiver<Value>),
}

/// The side behind the listeners.
pub trait Api: Send + Sync + 'static {
    /// Who asks. `from`: the address, where there is one.
    fn know(
        &self,
        credentials: Credentials,
        from: Option<IpAddr>,
    ) -> Answering<'_, Result<Box<dyn Asker>, NotKnown>>;

    /// Begins a session: `body` is a [`LogIn`].
    fn log_in(&self, request: LogIn, from: IpAddr) -> Answering<'_, Result<LoggedIn, NotKnown>> {
        let _ = (request, from);
        Box::pin(async { Err(NotKnown::NotProved) })
    }

    /// Ends a session; one that is unknown has ended before.
    fn log_out(&self, secret: SecretText) -> Answering<'_, Result<(), ApiError>> {
        let _ = secret;
        Box::pin(async { Ok(()) })
    }

    /// Parts that do not do what they should, by name; empty: all is well. Told to everybody.
    fn not_ready(&self) -> Answering<'_, Vec<&'static str>> {
        Box::pin(async { Vec::new() })
    }

    /// A page for browsers. Only over TLS.
    fn page(&self, request: PageRequest, visitor: Visitor) -> Answering<'_, PageReply> {
        let _ = (request, visitor);
        Box::pin(async { PageReply::html(404, "there is nothing here".to_owned()) })
    }
}

/// Somebody who is known, for one request.
pub trait Asker: Send + Sync {
    /// Asks a verb by name, as in the path `/v1/<verb>`.
    fn verb(&self, verb: String, body: Value) -> Answering<'_, Result<ApiReply, ApiError>>;

    /// All figures as text, of OpenMetrics or in the older format of Prometheus.
    fn metrics(&self, open_metrics: bool) -> Answering<'_, Result<String, ApiError>> {
        let _ = open_metrics;
        let message = "there are no figures here".to_owned();
        Box::pin(async { Err(ApiError { kind: Kind::NotFound, message }) })
    }

    /// Asks for a resource, beneath `/api/v1`.
    fn resource(&self, request: ResourceRequest) -> Answering<'_, ResourceReply> {
        let _ = request;
        let message = "there is nothing here".to_owned();
        Box::pin(async { ResourceReply::problem(ApiError { kind: Kind::NotFound, message }) })
    }

    /// Asks for a file or a folder of a saveset; `path` is escaped.
    fn download(
        &self,
        saveset: String,
        path: String,
    ) -> Answering<'_, Result<DownloadReply, ApiError>> {
        let _ = (saveset, path);
        let message = "there is nothing here".to_owned();
        Box::pin(async { Err(ApiError { kind: Kind::NotFound, message }) })
    }
}

/// A file, or a folder packed as one, for a browser.
pub struct DownloadReply {
    pub name: String,
    pub kind: &'static str,
    /// Breaks off with an error in words.
    pub bytes: mpsc::Receiver<Result<bytes::Bytes, String>>,
}

/// What a person types to log in.
#[derive(Debug)]
pub struct LogIn {
    pub user: String,
    pub password: SecretText,
    /// The one-time password, where the user has them.
    pub code: Option<SecretText>,
}

/// A session that began.
pub struct LoggedIn {
    /// For the cookie.
    pub secret: SecretText,
    /// What is shown of it.
    pub session: Value,
}

/// A method of the resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
    /// None of these, which nothing takes.
    Other,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
            Method::Other => "OTHER",
        }
    }
}

/// One request for a resource.
#[derive(Debug, Clone)]
pub struct ResourceRequest {
    pub method: Method,
    /// What follows `/api/v1`, as it was sent.
    pub path: String,
    /// What follows `?`, as it was sent.
    pub query: String,
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
    /// `null` where there was none.
    pub body: Value,
}

/// The answer to one.
pub struct ResourceReply {
    /// An HTTP status.
    pub status: u16,
    pub body: ResourceBody,
    /// Where what was made can be seen.
    pub location: Option<String>,
    pub etag: Option<String>,
    /// For 405.
    pub allow: Option<String>,
}

/// What is in an answer.
pub enum ResourceBody {
    Empty,
    Json(Value),
    /// Becomes a document of RFC 9457.
    Problem(ApiError),
    /// Server-sent events: the name of each is its field `event`.
    Events(mpsc::Receiver<Value>),
}

impl ResourceReply {
    pub fn json(status: u16, value: Value) -> Self {
        Self::with(status, ResourceBody::Json(value))
    }

    pub fn with(status: u16, body: ResourceBody) -> Self {
        Self { status, body, location: None, etag: None, allow: None }
    }

    /// A failure, with the status of its kind.
    pub fn problem(error: ApiError) -> Self {
        Self::with(status_of(error.kind), ResourceBody::Problem(error))
    }
}

/// The HTTP status of each error kind.
pub const fn status_of(kind: Kind) -> u16 {
    match kind {
        Kind::Invalid => 400,
        Kind::Denied => 403,
        Kind::NotFound => 404,
        Kind::Busy => 409,
        Kind::Cancelled => 410,
        Kind::Corrupt => 422,
        Kind::Internal => 500,
        Kind::Unreachable => 502,
        Kind::Full => 507,
    }
}
