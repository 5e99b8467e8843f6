//! Sessions over streams that the *client* opened: its end answers, the server's end asks.
//!
//! A client without any inbound port connects to the server, directly or through a relay, and the
//! server steers it over that stream. Here pipes in memory stand for whatever carries it.

use super::middle::*;
use crate::{SERVER_USER, Timing};

/// The enrolled server's key, which can be withdrawn.
struct Enrolled(Mutex<PublicKey>);

impl ListenPolicy for Enrolled {
    fn principal(&self, user: &str, key: &PublicKey) -> Option<Principal> {
        (user == SERVER_USER && *self.0.lock().unwrap() == *key).then_some(Principal::Server)
    }
}

/// Both hosts, and what the client thinks of the server.
struct Reversed {
    client: Identity,
    server: Identity,
    enrolled: Arc<Enrolled>,
    asked: Arc<Asked>,
    stop: CancellationToken,
}

impl Reversed {
    fn new() -> Self {
        let (client, server) = (Identity::generate(), Identity::generate());
        let enrolled = Arc::new(Enrolled(Mutex::new(server.public())));
        Self { client, server, enrolled, asked: Arc::default(), stop: CancellationToken::new() }
    }

    /// The client answers on its end of a stream.
    fn answer(&self, stream: DuplexStream) -> tokio::task::JoinHandle<String> {
        let hello = Hello::new("client", Roles::CLIENT);
        let handler = Arc::clone(&self.asked) as Arc<dyn VerbHandler>;
        let policy = Arc::clone(&self.enrolled) as Arc<dyn ListenPolicy>;
        let listener = CtrlListener::new(&self.client, hello, policy, handler);
        let stop = self.stop.clone();
        tokio::spawn(async move { listener.answer_over(stream, None, &stop).await })
    }

    /// The client opens a stream and answers on it; the other end of the stream.
    fn connect(&self) -> (DuplexStream, tokio::task::JoinHandle<String>) {
        let (near, far) = duplex(64 * 1024);
        (far, self.answer(near))
    }

    /// The server takes the stream, and knows these hosts.
    async fn accept(
        &self,
        stream: DuplexStream,
        known: &[PublicKey],
    ) -> Result<(ControlClient, PublicKey), ControlError> {
        let hello = Hello::new("server", Roles::SERVER);
        let dialer = CtrlDialer::new(self.server.clone(), hello);
        let known = |key: &PublicKey| known.contains(key);
        dialer.call_over(stream, "a client", Expected::AnyOf(&known), Box::new(())).await
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_asks_over_a_stream_that_the_client_opened_and_learns_whose_it_is() {
    let hosts = Reversed::new();
    let (stream, answering) = hosts.connect();
    let known = [Identity::generate().public(), hosts.client.public()];
    let (session, key) = hosts.accept(stream, &known).await.unwrap();
    assert_eq!(key, hosts.client.public());
    assert_eq!(session.peer().name, "client");
    // Many calls at once, and an hour without a word: beats hold it.
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { session.call(Ping {}).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().unix_ns, 42);
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    session.call(Ping {}).await.unwrap();
    // The client's end stops: the server is told.
    hosts.stop.cancel();
    let why = session.closed().await;
    assert!(why.contains("shutting down"), "{why}");
    assert_eq!(answering.await.unwrap(), "shutting down");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_known_learns_nothing_of_the_server() {
    let hosts = Reversed::new();
    let (stream, answering) = hosts.connect();
    let error = hosts.accept(stream, &[]).await.unwrap_err();
    assert!(matches!(error, ControlError::HostKey { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.to_string().contains(&hosts.client.public().fingerprint()), "{error}");
    // The server left before it said who it is.
    assert_eq!(answering.await.unwrap(), "it left");
    assert!(hosts.asked.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_obeys_its_own_server_only_also_on_streams_that_it_opened() {
    let hosts = Reversed::new();
    let known = [hosts.client.public()];
    *hosts.enrolled.0.lock().unwrap() = Identity::generate().public();
    let (stream, _answering) = hosts.connect();
    let error = hosts.accept(stream, &known).await.unwrap_err();
    assert!(matches!(error, ControlError::LoginRefused { .. }), "{error}");

    // Withdrawn while the session lasts.
    *hosts.enrolled.0.lock().unwrap() = hosts.server.public();
    let (stream, answering) = hosts.connect();
    let (session, _) = hosts.accept(stream, &known).await.unwrap();
    // A job that goes on here holds the session's sender of events: it must not hold the session.
    session.call(JobState { job: 1 }).await.unwrap();
    *hosts.enrolled.0.lock().unwrap() = Identity::generate().public();
    let begun = tokio::time::Instant::now();
    assert_eq!(answering.await.unwrap(), "enrolment withdrawn");
    assert!(begun.elapsed() <= Timing::default().recheck + Duration::from_secs(1));
    tokio::time::timeout(Duration::from_secs(1), session.closed()).await.unwrap();
    assert_eq!(session.call(Ping {}).await.unwrap_err().kind(), Kind::Unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_relay_in_between_is_trusted_with_nothing() {
    let hosts = Reversed::new();
    let known = [hosts.client.public()];
    let (mut stream, _answering) = hosts.connect();
    let (mut relay, far) = duplex(64 * 1024);
    let relaying =
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut relay).await });
    let (session, key) = hosts.accept(far, &known).await.unwrap();
    assert_eq!(key, hosts.client.public());
    session.call(Ping {}).await.unwrap();
    relaying.abort();
    session.closed().await;

    // One that answers in the client's place does not have its key.
    let (relay, far) = duplex(64 * 1024);
    let answering = Reversed::new().answer(relay);
    let error = hosts.accept(far, &known).await.unwrap_err();
    assert!(matches!(error, ControlError::HostKey { .. }), "{error}");
    answering.await.unwrap();
}
