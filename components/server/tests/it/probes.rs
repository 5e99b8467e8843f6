//! What a probe leaves behind: nothing, however it ends.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simsim_control::VerbError;
use simsim_control::verbs::{GrantTransferReply, Request};
use simsim_model::{Kind, TransferId};
use simsim_server::api::{ProbeReport, ProbeRequest};

use crate::hosts::Host;
use crate::suite::{Suite, root, until};

/// What the device was told.
#[derive(Default)]
struct Told {
    granted: BTreeSet<TransferId>,
    revoked: BTreeSet<TransferId>,
}

/// A server with a device, and a client with a task.
struct Site {
    suite: Suite,
    desk: Host,
    told: Arc<Mutex<Told>>,
}

impl Site {
    /// `leads_nowhere`: the device takes each grant, and names no door for it.
    async fn new(leads_nowhere: bool) -> Self {
        let suite = Suite::with_datastore().await;
        let desk = suite.join_host("desk", false).await;
        suite.add_task("docs", "desk", suite.folder.path()).await;
        until("it is reached", || async {
            let clients = suite.server().clients(&root()).await.unwrap();
            clients.iter().any(|client| client.name == "desk" && client.connected)
        })
        .await;
        let told: Arc<Mutex<Told>> = Arc::default();
        let kept = Arc::clone(&told);
        suite.host.answer_first(Arc::new(move |request| {
            let mut told = kept.lock().unwrap();
            match request {
                Request::GrantTransfer(grant) => {
                    told.granted.insert(grant.ticket.transfer);
                    leads_nowhere.then(|| Ok(GrantTransferReply::default().into()))
                }
                Request::RevokeTransfer(revoke) => {
                    told.revoked.insert(revoke.transfer);
                    None
                }
                _ => None,
            }
        }));
        Self { suite, desk, told }
    }

    async fn probe(&self) -> ProbeReport {
        let request = ProbeRequest { host: None };
        self.suite.server().probe_ports(&root(), request).await.unwrap()
    }

    fn is_clear(&self) -> bool {
        let told = self.told.lock().unwrap();
        !told.granted.is_empty() && told.granted.is_subset(&told.revoked)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_its_host_refuses_leaves_no_grant() {
    let site = Site::new(false).await;
    site.desk.answer_first(Arc::new(|request| match request {
        Request::Probe(_) => Some(Err(VerbError::new(Kind::Internal, "not today"))),
        _ => None,
    }));
    let report = site.probe().await;
    let row = report.rows.iter().find(|row| row.row == "http" && row.from == "desk").unwrap();
    assert!(row.message.contains("not today"), "{row:?}");
    assert!(site.is_clear());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_for_which_the_device_names_no_door_is_taken_back() {
    let site = Site::new(true).await;
    site.desk.answer_first(Arc::new(|request| match request {
        Request::Probe(_) => Some(Err(VerbError::new(Kind::Internal, "not today"))),
        _ => None,
    }));
    site.probe().await;
    assert!(site.is_clear());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_nobody_waits_for_leaves_no_grant() {
    let site = Site::new(false).await;
    // The host answers only when whoever asked has left.
    let (left, has_left) = std::sync::mpsc::channel::<()>();
    let has_left = Mutex::new(has_left);
    site.desk.answer_first(Arc::new(move |request| match request {
        Request::Probe(_) => {
            let _ = has_left.lock().unwrap().recv_timeout(Duration::from_secs(60));
            Some(Err(VerbError::new(Kind::Internal, "not today")))
        }
        _ => None,
    }));
    let server = site.suite.server().clone();
    let probing = tokio::spawn(async move {
        server.probe_ports(&root(), ProbeRequest { host: None }).await.map(drop)
    });
    until("a grant is there", || async { !site.told.lock().unwrap().granted.is_empty() }).await;
    probing.abort();
    assert!(probing.await.unwrap_err().is_cancelled());
    left.send(()).unwrap();
    until("it is revoked", || async { site.is_clear() }).await;
}
