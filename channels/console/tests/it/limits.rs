//! What a stranger can take at the console port, and what a body may be at the local socket.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simsim_console::{Api, ApiError, ApiReply, ApiRequest, TlsIdentity, serve_local, serve_tls};
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
    fn call(
        &self,
        request: ApiRequest,
    ) -> Pin<Box<dyn Future<Output = Result<ApiReply, ApiError>> + Send + '_>> {
        let length = request.body.as_str().map(str::len);
        Box::pin(async move { Ok(ApiReply::Json(json!({ "length": length }))) })
    }

    fn page(&self) -> String {
        "a page".into()
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
    assert_eq!(port.status(&ask("POST", "/v1/savesets")).await, "403");
    assert_eq!(port.status(&ask("DELETE", "/v1/savesets")).await, "400");
    assert_eq!(port.status(&ask("DELETE", "/")).await, "404");
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
