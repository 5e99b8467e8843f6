//! A host that is revoked, and whoever has its key: what it had open ends, and nothing opens again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_control::verbs::{Request, StartBackup};
use simsim_control::{Answer, Caller, EventSender, VerbHandler};
use simsim_model::{BackupSession, Level, Outcome, Ticket};
use simsim_net::outbound;
use simsim_server::api::ClientRequest;
use simsim_transfer::{HttpTransfer, Route};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::calls::{call_as, connected, outbound_host, until_connected};
use crate::hosts::Desk;
use crate::suite::{Suite, root};

/// The security design's word.
const CUT_OFF: Duration = Duration::from_secs(60);

/// Answers as the host does, but keeps the ticket of a backup for itself.
struct Thief {
    desk: Arc<Desk>,
    tickets: mpsc::UnboundedSender<Ticket>,
}

impl VerbHandler for Thief {
    fn handle<'a>(
        &'a self,
        caller: &'a Caller,
        request: Request,
        events: EventSender,
    ) -> Answer<'a> {
        match request {
            Request::StartBackup(StartBackup { ticket, .. }) => {
                let _ = self.tickets.send(ticket);
                Box::pin(std::future::pending())
            }
            other => self.desk.handle(caller, other, events),
        }
    }
}

/// The thief has the host's key, a session, a call with a connection that the server relays, a job, and
/// a transfer at the device that it opened past the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_host_is_cut_off_everywhere_within_60_s() {
    let suite = Suite::with_datastore().await;
    let host = outbound_host(&suite).await;
    let (tickets, mut stolen) = mpsc::unbounded_channel();
    let thief = Arc::new(Thief { desk: Arc::clone(&host.desk), tickets });
    let streams = call_as(&suite, &host, &host.identity, Arc::clone(&thief) as Arc<_>).await;
    until_connected(&suite, true).await;
    suite.add_task("home", "laptop", &suite.tree("tree")).await;
    let job = suite.run("home", Level::Full).await;
    let ticket = tokio::time::timeout(CUT_OFF, stolen.recv()).await.unwrap().unwrap();
    let device = suite.host.data.unwrap().to_string();
    let open = {
        let (device, handle) = (device.clone(), tokio::runtime::Handle::current());
        move || HttpTransfer::open(handle, vec![Route::http(vec![device])], ticket)
    };
    let transfer = tokio::task::spawn_blocking(open).await.unwrap().expect("its ticket is good");
    let mut relayed = streams.open().await.unwrap();
    outbound::ask(&mut relayed, &device).await.unwrap();

    let revoked = Instant::now();
    let request = ClientRequest { name: "laptop".to_owned() };
    suite.server().revoke_client(&root(), request).await.unwrap();
    let within = |what: &str| {
        assert!(revoked.elapsed() < CUT_OFF, "{what} after {:?}", revoked.elapsed());
    };
    tokio::time::timeout(CUT_OFF, streams.watch().ended()).await.expect("its call is closed");
    within("its call ended");
    assert!(matches!(relayed.read(&mut [0; 16]).await, Ok(0) | Err(_)), "a relayed one goes on");
    within("what it had relayed ended");
    assert_eq!(suite.ended(job).await.state.outcome(), Some(Outcome::Cancelled));
    within("its job ended");
    // It asks as often as it likes.
    let cut_off = move || {
        while transfer.has(&[]).is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let cut_off = tokio::task::spawn_blocking(cut_off);
    tokio::time::timeout(CUT_OFF, cut_off).await.expect("its transfer goes on").unwrap();
    within("its transfer ended");
    // And comes back with the key.
    let again = call_as(&suite, &host, &host.identity, thief).await;
    tokio::time::timeout(CUT_OFF, again.watch().ended()).await.expect("a new call is closed");
    assert!(!connected(&suite).await);
    assert!(suite.savesets().await.is_empty());
}
