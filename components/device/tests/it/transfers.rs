//! Tickets: used once, in time, by whom they were made for; and jobs that end early.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use simsim_control::verbs::*;
use simsim_device::DeviceOptions;
use simsim_model::*;
use simsim_transfer::{DialOptions, HttpTransfer, ListenOptions, OnWait, Route};

use crate::bench::*;

fn open(
    bench: &Bench,
    ticket: &Ticket,
) -> impl Future<Output = Result<HttpTransfer, SessionError>> + use<> {
    open_with(bench, ticket, DialOptions::default())
}

fn open_with(
    bench: &Bench,
    ticket: &Ticket,
    dial: DialOptions,
) -> impl Future<Output = Result<HttpTransfer, SessionError>> + use<> {
    let address = bench.address.strip_prefix("http://").unwrap().to_owned();
    let (ticket, handle) = (ticket.clone(), tokio::runtime::Handle::current());
    async move {
        tokio::task::spawn_blocking(move || {
            HttpTransfer::open_with(handle, vec![Route::http(vec![address])], ticket, dial)
        })
        .await
        .unwrap()
    }
}

#[test]
fn an_unknown_or_revoked_ticket_is_refused_and_the_job_says_so() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        let result = bench.client(bench.start_backup(&ticket, &source, None)).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Failed);
        assert_eq!(result.error.unwrap().kind, Kind::Denied);

        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&ticket, Some(Level::Full), None).await;
        let revoke = RevokeTransfer { transfer: ticket.transfer };
        assert!(bench.device(revoke.clone()).await.unwrap().was_known);
        assert!(!bench.device(revoke).await.unwrap().was_known);
        let result = bench.client(bench.start_backup(&ticket, &source, None)).await.unwrap().result;
        assert_eq!(result.error.unwrap().kind, Kind::Denied);
        assert_eq!(bench.state(&ticket).await.unwrap_err().kind, Kind::NotFound);
    });
}

#[test]
fn an_expired_ticket_is_refused_when_granted_and_when_used() {
    run(async {
        let bench = Bench::new().await;
        let mut ticket = bench.ticket(Direction::Restore, bench.saveset());
        ticket.expires_unix_s = now_s() - 1;
        let grant = GrantTransfer {
            bases: None,
            client_keys: Vec::new(),
            hosts: Vec::new(),
            addresses: Vec::new(),
            ticket: ticket.clone(),
            domain_key: None,
            lock_until_unix_s: 0,
            level: None,
            names: None,
        };
        assert_eq!(bench.device(grant.clone()).await.unwrap_err().kind, Kind::Denied);

        ticket.expires_unix_s = now_s() + 1;
        bench.device(GrantTransfer { ticket: ticket.clone(), ..grant }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2100)).await;
        assert_eq!(open(&bench, &ticket).await.err().unwrap().kind, Kind::Denied);
        assert!(!bench.state(&ticket).await.unwrap().opened);
    });
}

#[test]
fn a_ticket_is_used_once_and_a_lost_grant_reply_does_no_harm() {
    run(async {
        let bench = Bench::new().await;
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&ticket, Some(Level::Full), None).await;
        bench.grant(&ticket, Some(Level::Full), None).await;
        let transfer = Arc::new(open(&bench, &ticket).await.unwrap());
        assert_eq!(open(&bench, &ticket).await.err().unwrap().kind, Kind::Denied);
        let state = bench.state(&ticket).await.unwrap();
        assert!(state.opened && state.last_heard_unix_ns > 0 && !state.committed);
        let closing = Arc::clone(&transfer);
        tokio::task::spawn_blocking(move || closing.close()).await.unwrap().unwrap();
        assert_eq!(open(&bench, &ticket).await.err().unwrap().kind, Kind::Denied);
        let grant = GrantTransfer {
            bases: None,
            client_keys: Vec::new(),
            hosts: Vec::new(),
            addresses: Vec::new(),
            ticket: ticket.clone(),
            domain_key: None,
            lock_until_unix_s: 0,
            level: Some(Level::Full),
            names: None,
        };
        assert_eq!(bench.device(grant).await.unwrap_err().kind, Kind::Denied);
    });
}

#[test]
fn the_byte_limit_of_a_ticket_ends_the_job() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let mut ticket = bench.ticket(Direction::Backup, bench.saveset());
        ticket.bytes_max = 1 << 20;
        bench.grant(&ticket, Some(Level::Full), None).await;
        let result = bench.client(bench.start_backup(&ticket, &source, None)).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Failed, "{result:?}");
        assert_eq!(result.error.unwrap().kind, Kind::Denied);
        assert!(bench.state(&ticket).await.unwrap().bytes_put <= 1 << 20);
    });
}

#[test]
fn a_restore_ticket_reads_its_saveset_only_and_another_domain_sees_nothing() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let (mine, _) = bench.backup(&source, None).await;
        let (other, _) = bench.backup(&source, None).await;
        let ticket = bench.ticket(Direction::Restore, mine);
        bench.grant(&ticket, None, None).await;
        let transfer = open(&bench, &ticket).await.unwrap();
        let foreign =
            Ticket { domain: OTHER_DOMAIN, ..bench.ticket(Direction::Backup, bench.saveset()) };
        bench.grant(&foreign, Some(Level::Full), None).await;
        let stranger = open(&bench, &foreign).await.unwrap();
        tokio::task::spawn_blocking(move || {
            transfer.manifest(mine).unwrap();
            assert_eq!(transfer.manifest(other).unwrap_err().kind, Kind::Denied);
            assert_eq!(transfer.has(&[Name([1; 32])]).unwrap_err().kind, Kind::Denied);
            assert!(stranger.manifest(mine).is_err());
        })
        .await
        .unwrap();
    });
}

#[test]
fn a_transfer_too_many_is_told_which_setting_it_is_and_waits_for_its_turn() {
    assert!(DeviceOptions::default().transfers_max >= 200, "what the suite promises");
    run(async {
        let options = DeviceOptions { transfers_max: 1, ..DeviceOptions::default() };
        let bench = Bench::with(ListenOptions::default(), options).await;
        let first = bench.ticket(Direction::Backup, bench.saveset());
        // It expires while it waits, which is no fault of its client.
        let mut second = bench.ticket(Direction::Backup, bench.saveset());
        second.expires_unix_s = now_s() + 3;
        bench.grant(&first, Some(Level::Full), None).await;
        bench.grant(&second, Some(Level::Full), None).await;
        let transfer = open(&bench, &first).await.unwrap();

        let (told, heard) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(true)));
        let (tell, wanted) = (Arc::clone(&told), Arc::clone(&heard));
        let on_wait = OnWait::new(move |what| {
            tell.lock().unwrap().push(what.to_owned());
            wanted.load(Ordering::Relaxed)
        });
        let dial = DialOptions { on_wait, ..DialOptions::default() };
        let waiting = tokio::spawn(open_with(&bench, &second, dial.clone()));
        until("it says what it waits for", async || !told.lock().unwrap().is_empty()).await;
        let text = told.lock().unwrap()[0].clone();
        assert!(text.contains("1 transfers are open") && text.contains("device.transfers_max"));
        assert!(!bench.state(&second).await.unwrap().opened);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(!waiting.is_finished());
        tokio::task::spawn_blocking(move || transfer.abort("enough")).await.unwrap().unwrap();
        let transfer = waiting.await.unwrap().unwrap();
        assert_eq!(told.lock().unwrap().last().unwrap(), "", "it waits no longer");

        // Nobody wants the third one any more.
        let third = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&third, Some(Level::Full), None).await;
        heard.store(false, Ordering::Relaxed);
        assert!(open_with(&bench, &third, dial).await.is_err());
        drop(transfer);
    });
}

#[test]
fn a_silent_client_is_given_up_and_the_datastore_is_free_again() {
    run(async {
        let listen =
            ListenOptions { session_idle: Duration::from_millis(200), ..ListenOptions::default() };
        let bench = Bench::with(listen, DeviceOptions::default()).await;
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&ticket, Some(Level::Full), None).await;
        let _silent = open(&bench, &ticket).await.unwrap();
        let detach = || bench.device(DetachDatastore { store: STORE });
        assert_eq!(detach().await.unwrap_err().kind, Kind::Busy);
        until("the silent transfer is given up", async || detach().await.is_ok()).await;
    });
}

/// A source that is long enough work to be interrupted.
fn slow_source(bench: &Bench) -> std::path::PathBuf {
    let source = bench.path("slow");
    std::fs::create_dir_all(&source).unwrap();
    for number in 0..64u64 {
        std::fs::write(source.join(number.to_string()), noise(4 << 20, number)).unwrap();
    }
    source
}

#[test]
fn a_cancelled_backup_ends_cancelled_and_leaves_no_saveset() {
    run(async {
        let bench = Bench::new().await;
        let source = slow_source(&bench);
        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        bench.grant(&ticket, Some(Level::Full), None).await;
        let job = ticket.job;
        let request: Request = bench.start_backup(&ticket, &source, None).into();
        let client = Arc::clone(&bench.client);
        let running = tokio::spawn(async move { client.handle(&request, &|_| ()).await });
        until("the job has read something", async || {
            let state = bench.client.handle(&JobState { job }.into(), &|_| ()).await;
            matches!(state, Some(Ok(Reply::JobState(JobStateReply { snapshot: Some(snapshot), .. })))
                if snapshot.bytes_read > 0)
        })
        .await;
        let again = bench.client(bench.start_backup(&ticket, &source, None)).await;
        assert_eq!(again.unwrap_err().kind, Kind::Busy);
        assert!(bench.client(CancelJob { job }).await.unwrap().was_running);
        let followed = bench.client(FollowJob { job }).await.unwrap().result;
        assert_eq!(followed.outcome, Outcome::Cancelled, "{followed:?}");
        let Some(Ok(Reply::StartBackup(reply))) = running.await.unwrap() else {
            panic!("no reply")
        };
        assert_eq!(reply.result, followed);
        let state = bench.client(JobState { job }).await.unwrap();
        assert_eq!((state.phase, state.result), (JobPhase::Finished, Some(followed)));

        let get = GetManifest { store: STORE, saveset, offset: 0 };
        assert_eq!(bench.device(get).await.unwrap_err().kind, Kind::NotFound);
        until("the transfer has ended", async || {
            bench.device(DetachDatastore { store: STORE }).await.is_ok()
        })
        .await;
    });
}

#[test]
fn a_job_outlives_the_session_that_asked_for_it() {
    run(async {
        let bench = Bench::new().await;
        let source = bench.path("source");
        make_tree(&source);
        let saveset = bench.saveset();
        let ticket = bench.ticket(Direction::Backup, saveset);
        bench.grant(&ticket, Some(Level::Full), None).await;
        let request: Request = bench.start_backup(&ticket, &source, None).into();
        let client = Arc::clone(&bench.client);
        let asked = client.handle(&request, &|_| ());
        // The session breaks as soon as the job has started.
        let _ = tokio::time::timeout(Duration::from_millis(1), asked).await;
        let result = bench.client(FollowJob { job: ticket.job }).await.unwrap().result;
        assert_eq!(result.outcome, Outcome::Finished, "{result:?}");
        assert_eq!(result.commit.unwrap().saveset, saveset);
        assert!(bench.client.handle(&JobState { job: 9999 }.into(), &|_| ()).await.is_none());
    });
}

#[test]
fn a_revoked_transfer_ends_the_job_that_uses_it() {
    run(async {
        let bench = Bench::new().await;
        let source = slow_source(&bench);
        let ticket = bench.ticket(Direction::Backup, bench.saveset());
        bench.grant(&ticket, Some(Level::Full), None).await;
        let request: Request = bench.start_backup(&ticket, &source, None).into();
        let client = Arc::clone(&bench.client);
        let running = tokio::spawn(async move { client.handle(&request, &|_| ()).await });
        until("something was put", async || bench.state(&ticket).await.unwrap().segments > 0).await;
        bench.device(RevokeTransfer { transfer: ticket.transfer }).await.unwrap();
        let Some(Ok(Reply::StartBackup(reply))) = running.await.unwrap() else {
            panic!("no reply")
        };
        assert_eq!(reply.result.outcome, Outcome::Cancelled, "{:?}", reply.result);
        assert!(reply.result.commit.is_none());
        let error = reply.result.error.unwrap();
        assert!(error.message.contains("revoked by the server"), "{}", error.message);
        until("the datastore is free", async || {
            bench.device(DetachDatastore { store: STORE }).await.is_ok()
        })
        .await;
    });
}
