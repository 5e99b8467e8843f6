//! The listening end: requests in, JSON or a stream of JSON lines out.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use simsim_model::{Kind, limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};

use crate::local::ShortPath;
use crate::{ConsoleError, TlsIdentity};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Through the local socket: the host's own administrator.
    Local,
    /// Through the port, without proof of who it is.
    Stranger,
}

/// One request to the API.
#[derive(Debug, Clone)]
pub struct ApiRequest {
    pub caller: Caller,
    /// The verb, as in the path `/v1/<verb>`.
    pub verb: String,
    /// The body; `null` where there was none.
    pub body: Value,
}

/// A refusal or failure, as it travels: `{"error": {"kind": …, "message": …}}`.
#[derive(Debug, Clone)]
pub struct ApiError {
    pub kind: Kind,
    pub message: String,
}

/// An answer.
pub enum ApiReply {
    Json(Value),
    /// One JSON document a line, until the sender is dropped.
    Lines(mpsc::Receiver<Value>),
}

/// The server's side of the API.
pub trait Api: Send + Sync + 'static {
    fn call(
        &self,
        request: ApiRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ApiReply, ApiError>> + Send + '_>>;

    /// The page at `/`: plain HTML.
    fn page(&self) -> String;
}

/// The HTTP status of each error kind.
pub(crate) fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Busy => StatusCode::CONFLICT,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Unreachable => StatusCode::BAD_GATEWAY,
        Kind::Corrupt => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Cancelled => StatusCode::GONE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Serves the local socket until `shutdown` says true; then the file is removed. It is made with
/// mode 0600, in a folder that must be the caller's own; its path may be of any length.
pub async fn serve_local(
    socket: &Path,
    api: Arc<dyn Api>,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), ConsoleError> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |source| ConsoleError::Socket { socket: socket.display().to_string(), source };
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let short = ShortPath::of(socket).map_err(fail)?;
    let listener = UnixListener::bind(short.path()).map_err(fail)?;
    drop(short);
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600)).map_err(fail)?;
    let file = socket.to_owned();
    tokio::spawn(async move {
        let _gone = Gone(file);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|end| *end) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, Arc::clone(&api), Caller::Local));
                }
                Err(error) => pause(&error).await,
            }
        }
    });
    Ok(())
}

/// Removes the socket when the listener ends: a caller then hears at once that nobody is there.
struct Gone(PathBuf);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Serves the console port until `shutdown` says true.
pub fn serve_tls(
    listener: TcpListener,
    identity: &TlsIdentity,
    api: Arc<dyn Api>,
    mut shutdown: watch::Receiver<bool>,
) {
    let acceptor = identity.acceptor();
    let admission = simsim_net::Admission::new();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.wait_for(|end| *end) => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause(&error).await;
                    continue;
                }
            };
            let Some(admitted) = admission.admit(peer.ip()) else { continue };
            let (acceptor, api) = (acceptor.clone(), Arc::clone(&api));
            tokio::spawn(async move {
                let _place = admitted;
                let limit = Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS);
                if let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
                    connection(stream, api, Caller::Stranger).await;
                }
            });
        }
    });
}

async fn pause(error: &std::io::Error) {
    tracing::warn!("the console cannot accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn connection<S>(stream: S, api: Arc<dyn Api>, caller: Caller)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, std::convert::Infallible>(answer(request, &*api, caller).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS))
        .max_buf_size(limits::HTTP_HEAD_BYTES_MAX)
        .max_headers(limits::HTTP_FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!("a console connection ended: {error}");
    }
}

type Body = BoxBody<Bytes, std::convert::Infallible>;

async fn answer(request: Request<Incoming>, api: &dyn Api, caller: Caller) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if let Some(verb) = path.strip_prefix("/v1/") {
        if request.method() != Method::POST {
            return failure(Kind::Invalid, "the API takes POST /v1/<verb> with a JSON body");
        }
        if caller != Caller::Local {
            let text = "the API on this port is closed until the suite has users; use the command line on the server's host";
            return failure(Kind::Denied, text);
        }
        let verb = verb.to_owned();
        let body = match read_body(request.into_body()).await {
            Ok(body) => body,
            Err(text) => return failure(Kind::Invalid, &text),
        };
        return match api.call(ApiRequest { caller, verb, body }).await {
            Ok(ApiReply::Json(value)) => {
                full(StatusCode::OK, "application/json", value.to_string())
            }
            Ok(ApiReply::Lines(lines)) => stream(lines),
            Err(error) => failure(error.kind, &error.message),
        };
    }
    match (request.method(), path.as_str()) {
        (&Method::GET | &Method::HEAD, "/") => {
            full(StatusCode::OK, "text/html; charset=utf-8", api.page())
        }
        (&Method::GET | &Method::HEAD, "/health") => {
            full(StatusCode::OK, "application/json", json!({"status": "ok"}).to_string())
        }
        _ => failure(Kind::NotFound, "there is nothing here"),
    }
}

async fn read_body(body: Incoming) -> Result<Value, String> {
    let bytes = Limited::new(body, limits::JSON_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| format!("the body cannot be read: {error}"))?
        .to_bytes();
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    parse(&bytes)
}

/// JSON of a stranger: not nested deeper than the limit, which is looked at first.
fn parse(bytes: &[u8]) -> Result<Value, String> {
    if depth(bytes) > limits::JSON_DEPTH_MAX {
        return Err(format!("the body is nested deeper than {}", limits::JSON_DEPTH_MAX));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("the body is not JSON: {error}"))
}

/// How deep brackets nest outside of texts.
fn depth(bytes: &[u8]) -> usize {
    let (mut now, mut most, mut text, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if text => escaped = true,
            b'"' => text = !text,
            b'{' | b'[' if !text => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn full(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert("content-type", hyper::header::HeaderValue::from_static(kind));
    fields.insert("cache-control", hyper::header::HeaderValue::from_static("no-store"));
    fields.insert(
        "content-security-policy",
        hyper::header::HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
    );
    response
}

fn failure(kind: Kind, message: &str) -> Response<Body> {
    let body = json!({"error": {"kind": kind.as_str(), "message": message}});
    full(status_of(kind), "application/json", body.to_string())
}

fn stream(lines: mpsc::Receiver<Value>) -> Response<Body> {
    let mut response = Response::new(BodyExt::boxed(StreamBody::new(LineStream { lines })));
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/x-ndjson"));
    response
}

/// A receiver as a stream of body frames.
struct LineStream {
    lines: mpsc::Receiver<Value>,
}

impl futures_core::Stream for LineStream {
    type Item = Result<Frame<Bytes>, std::convert::Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.lines
            .poll_recv(context)
            .map(|line| line.map(|value| Ok(Frame::data(Bytes::from(format!("{value}\n"))))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_nested_as_deep_as_the_limit_and_no_deeper() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(limits::JSON_DEPTH_MAX).as_bytes()).is_ok());
        let error = parse(nested(limits::JSON_DEPTH_MAX + 1).as_bytes()).unwrap_err();
        assert!(error.contains("nested deeper"), "{error}");
        assert!(
            parse(br#"{"a":"[[[[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#).is_ok(),
            "in a text"
        );
    }

    #[test]
    fn fuzz_json_bodies() {
        let body = br#"{"task":"home","level":"incr","paths":["/a","\u00e4\\"],"n":1.5e3,"x":[[null,true]]}"#;
        simsim_testkit::fuzz("JSON body", &[body.to_vec(), b"null".to_vec()], |bytes| {
            let _ = parse(bytes);
        });
    }
}
