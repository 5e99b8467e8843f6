//! What a stranger can take at the console port, and what a body may be at the local socket.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_console::api::Answering;
use simsim_console::page::{PageReply, PageRequest, Visitor};
use simsim_console::{
    Api, ApiError, ApiReply, Asker, Credentials, NotKnown, TlsIdentity, serve_local, serve_tls,
};
use simsim_model::limits;
use simsim_net::BoxedWire;
use simsim_net::tls::TlsConnect;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// A step may take so long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says how long the text in a request was.
struct Measure;

impl Api for Measure {
    fn know(
        &self,
        credentials: Credentials,
        _: Option<IpAddr>,
    ) -> Answering<'_, Result<Box<dyn Asker>, NotKnown>> {
        let known = match credentials {
            Credentials::Local => true,
            Credentials::Bearer(secret) => secret.reveal() == "right",
            Credentials::Session { .. } => false,
        };
        Box::pin(async move {
            known.then(|| Box::new(Measure) as Box<dyn Asker>).ok_or(NotKnown::NotProved)
        })
    }

    fn page(&self, _: PageRequest, _: Visitor) -> Answering<'_, PageReply> {
        Box::pin(async { PageReply::html(200, "a page".into()) })
    }
}

impl Asker for Measure {
    fn verb(&self, _: String, body: Value) -> Answering<'_, Result<ApiReply, ApiError>> {
        let length = body.as_str().map(str::len);
        Box::pin(async move { Ok(ApiReply::Json(json!({ "length": length }))) })
    }
}

struct Port {
    address: SocketAddr,
    _folder: tempfile::TempDir,
    _stop: watch::Sender<bool>,
}

impl Port {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = TlsIdentity::open(folder.path(), vec!["localhost".into()]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        serve_tls(listener, &identity, Arc::new(Measure), stopping);
        Self { address, _folder: folder, _stop: stop }
    }

    async fn call(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn greeted(&self) -> BoxedWire {
        let tls = TlsConnect::envelope(b"http/1.1").unwrap();
        Box::new(tls.greet("localhost:1", self.call().await).await.unwrap())
    }

    /// The status that a request is answered with.
    async fn status(&self, request: &str) -> String {
        let mut wire = self.greeted().await;
        wire.write_all(request.as_bytes()).await.unwrap();
        wire.flush().await.unwrap();
        status(&mut wire).await
    }
}

async fn status(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut start = [0; 12];
    let reading = tokio::time::timeout(PATIENCE, stream.read_exact(&mut start));
    reading.await.expect("nothing is answered").expect("closed without an answer");
    String::from_utf8_lossy(&start[9..]).into_owned()
}

/// Waits for the end.
async fn is_closed(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let ended = async { while matches!(stream.read(&mut [0; 64]).await, Ok(read) if read > 0) {} };
    tokio::time::timeout(PATIENCE, ended).await.is_ok()
}

#[tokio::test]
async fn a_head_has_its_limits_of_bytes_and_fields_also_where_it_never_ends() {
    let port = Port::start().await;
    let start = "GET /health HTTP/1.1\r\nHost: x\r\nA: ";
    let head = |bytes: usize| format!("{start}{}\r\n\r\n", "a".repeat(bytes - start.len() - 4));
    let most = limits::HTTP_HEAD_BYTES_MAX;
    assert_eq!(port.status(&head(most - 1)).await, "200");
    assert_eq!(port.status(&head(most + 1)).await, "431");
    let endless = head(most + 4);
    assert_eq!(port.status(endless.trim_end()).await, "431", "it waits for more");
    let fields = |count: usize| format!("GET /health HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert_eq!(port.status(&fields(limits::HTTP_FIELDS_MAX)).await, "200");
    assert_eq!(port.status(&fields(limits::HTTP_FIELDS_MAX + 1)).await, "431");
}

#[tokio::test]
async fn the_ninth_stranger_of_an_address_is_turned_away() {
    let port = Port::start().await;
    let mut held = Vec::new();
    for _ in 0..limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX {
        held.push(port.greeted().await);
    }
    let mut one_more = port.call().await;
    let mut one = [0];
    let read = tokio::time::timeout(Duration::from_secs(5), one_more.read(&mut one)).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "nine strangers of one address");
    for wire in &mut held {
        wire.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        wire.flush().await.unwrap();
        assert_eq!(status(wire).await, "200");
    }
    // The place of one that ends is free again.
    drop(held.pop());
    let until = Instant::now() + PATIENCE;
    loop {
        let tls = TlsConnect::envelope(b"http/1.1").unwrap();
        if tls.greet("localhost:1", port.call().await).await.is_ok() {
            break;
        }
        assert!(Instant::now() < until, "the place stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_says_nothing_before_tls_upon_it_or_between_requests_is_closed() {
    let port = Port::start().await;
    let begun = Instant::now();
    let (mut before, mut upon) = (port.call().await, port.greeted().await);
    let mut half = port.greeted().await;
    half.write_all(b"GET /health HTTP/1.1\r\nHost:").await.unwrap();
    half.flush().await.unwrap();
    let mut between = port.greeted().await;
    between.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    between.flush().await.unwrap();
    let all = tokio::join!(
        is_closed(&mut before),
        is_closed(&mut upon),
        is_closed(&mut half),
        is_closed(&mut between)
    );
    assert_eq!(all, (true, true, true, true));
    assert!(begun.elapsed() >= Duration::from_millis(limits::HANDSHAKE_TIMEOUT_MS / 2));
}

#[tokio::test]
async fn strangers_get_no_further_than_the_page_and_nothing_can_be_deleted() {
    let port = Port::start().await;
    let ask = |method: &str, path: &str| format!("{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(port.status(&ask("GET", "/")).await, "200");
    for path in ["/v1/savesets", "/api/v1/savesets", "/api/v1/nothing", "/api/v1/session"] {
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let status = port.status(&ask(method, path)).await;
            let wrong = method.len() > 4 && path.ends_with("session") && method != "DELETE";
            let other = method == "PUT" && path.ends_with("session");
            let expected = if wrong || other { "405" } else { "401" };
            assert_eq!(status, expected, "{method} {path}");
        }
    }
    assert_eq!(port.status(&ask("POST", "/v1/savesets")).await, "401");
    assert_eq!(port.status(&ask("POST", "/api/v1/savesets")).await, "401");
    assert_eq!(port.status(&ask("POST", "/api/v1/session")).await, "400");
    assert_eq!(port.status(&ask("DELETE", "/")).await, "405");
    // A page like any other, and none of the interface.
    for method in ["GET", "POST"] {
        assert_eq!(port.status(&ask(method, "/api/v11")).await, "404", "no page, and no version");
    }
}

/// A whole answer to a request whose connection is closed.
async fn answer(port: &Port, request: &str) -> String {
    let mut wire = port.greeted().await;
    wire.write_all(request.as_bytes()).await.unwrap();
    wire.flush().await.unwrap();
    let mut text = String::new();
    let reading = tokio::time::timeout(PATIENCE, wire.read_to_string(&mut text));
    let _ = reading.await.expect("it does not end");
    text
}

#[tokio::test]
async fn a_stranger_is_answered_in_short_before_a_body_is_read() {
    let port = Port::start().await;
    // A body is announced and never comes.
    let head = "POST /v1/any HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n";
    for secret in ["", "Authorization: Bearer wrong\r\n", "Authorization: Basic cmlnaHQ6\r\n"] {
        let told = answer(&port, &format!("{head}{secret}\r\n")).await;
        assert!(told.starts_with("HTTP/1.1 401"), "{told}");
        assert!(told.contains("application/problem+json"), "{told}");
        assert!(told.contains("urn:simsim:problem:not_proved"), "{told}");
        assert!(told.len() < 1024, "{}", told.len());
    }
}

#[tokio::test]
async fn every_answer_keeps_browsers_from_doing_more_with_it() {
    let port = Port::start().await;
    for path in [
        "/",
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/nothing",
        "/v1/any",
        "/api/v1/any",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let told = answer(&port, &request).await.to_lowercase();
        for field in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(told.contains(field), "{path} has no {field}:\n{told}");
        }
    }
}

#[tokio::test]
async fn who_is_known_is_no_stranger_any_more() {
    let port = Port::start().await;
    let ask = "POST /v1/any HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\n\
               Content-Length: 3\r\n\r\n\"a\"";
    let mut known = Vec::new();
    for _ in 0..limits::UNAUTHENTICATED_CONNECTIONS_PER_ADDRESS_MAX * 2 {
        let mut wire = port.greeted().await;
        wire.write_all(ask.as_bytes()).await.unwrap();
        wire.flush().await.unwrap();
        assert_eq!(status(&mut wire).await, "200");
        known.push(wire);
    }
    assert_eq!(port.status("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await, "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_tls_1_3_is_spoken() {
    if !simsim_testkit::has_program("openssl") {
        return simsim_testkit::skip("openssl is not installed");
    }
    let port = Port::start().await;
    let address = port.address.to_string();
    let greets = |version: &'static str| {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", version, "-connect", &address]).stdin(Stdio::null());
        openssl.output().unwrap()
    };
    let new = greets("-tls1_3");
    let told = String::from_utf8_lossy(&new.stdout).into_owned();
    assert!(told.contains("TLSv1.3"), "{told}");
    let old = greets("-tls1_2");
    let told = String::from_utf8_lossy(&old.stderr).into_owned();
    assert!(!old.status.success() && told.contains("alert protocol version"), "{told}");
}

#[tokio::test]
async fn a_body_of_json_has_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let (_stop, stopping) = watch::channel(false);
    serve_local(&socket, Arc::new(Measure), stopping).await.unwrap();
    let ask = async |bytes: usize| {
        let body = Value::from("x".repeat(bytes - 2)).to_string();
        assert_eq!(body.len(), bytes);
        let head = format!("POST /v1/any HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n");
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        // What is refused is not read to its end.
        let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
        status(&mut stream).await
    };
    assert_eq!(ask(limits::JSON_BYTES_MAX).await, "200");
    assert_eq!(ask(limits::JSON_BYTES_MAX + 1).await, "400");
}
