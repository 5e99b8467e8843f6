//! Measures SMSSH on this machine over loopback: connect, log in and hello; round trips one after
//! another and many at once; large messages.
//!
//! `cargo run --release -p simsim-control --example round_trips`

use std::sync::Arc;
use std::time::{Duration, Instant};

use simsim_control::verbs::{GetKeySlots, GetKeySlotsReply, Ping, PingReply, Request, Roles};
use simsim_control::{
    Answer, Caller, ControlClient, ControlError, EventSender, Hello, Identity, ListenPolicy,
    Principal, PublicKey, SERVER_USER, SmsshDialer, SmsshListener, VerbError, VerbHandler,
};
use simsim_model::{DomainId, Kind, StoreId};

const CONNECTS: u32 = 200;
const ROUND_TRIPS: u32 = 20_000;
const AT_ONCE: u32 = 32;
const LARGE: u32 = 200;

struct Everybody;

impl ListenPolicy for Everybody {
    fn principal(&self, _: &str, _: &PublicKey) -> Option<Principal> {
        Some(Principal::Server)
    }
}

impl VerbHandler for Everybody {
    fn handle<'a>(&'a self, _: &'a Caller, request: Request, _: EventSender) -> Answer<'a> {
        Box::pin(async move {
            match request {
                Request::Ping(_) => Ok(PingReply { unix_ns: 0 }.into()),
                Request::GetKeySlots(_) => {
                    Ok(GetKeySlotsReply { slots: vec![0; 1_000_000] }.into())
                }
                other => Err(VerbError::new(Kind::Invalid, other.name())),
            }
        })
    }
}

async fn trips(session: &ControlClient, count: u32) -> Result<(), ControlError> {
    for _ in 0..count {
        session.call(Ping {}).await?;
    }
    Ok(())
}

fn per_second(count: u32, time: Duration) -> f64 {
    f64::from(count) / time.as_secs_f64()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (host, server) = (Identity::generate(), Identity::generate());
    let node = SmsshListener::new(
        &host,
        Hello::new("node", Roles::CLIENT),
        Arc::new(Everybody),
        Arc::new(Everybody),
    );
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addresses = [socket.local_addr()?.to_string()];
    tokio::spawn(node.serve(socket, std::future::pending()));
    let dialer = SmsshDialer::new(server, Hello::new("server", Roles::SERVER));

    let mut times = Vec::new();
    for _ in 0..CONNECTS {
        let begun = Instant::now();
        let session = dialer.connect(&addresses, &host.public(), SERVER_USER).await?;
        times.push(begun.elapsed());
        drop(session);
    }
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    println!("connect, log in, hello: median {:.1?}, 99 % {:.1?}", at(50), at(99));

    let session = dialer.connect(&addresses, &host.public(), SERVER_USER).await?;
    let begun = Instant::now();
    trips(&session, ROUND_TRIPS).await?;
    let time = begun.elapsed();
    println!(
        "round trips, one after another: {:.0}/s, {:.1?} each",
        per_second(ROUND_TRIPS, time),
        time / ROUND_TRIPS
    );

    let begun = Instant::now();
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let session = session.clone();
            tokio::spawn(async move { trips(&session, ROUND_TRIPS / AT_ONCE).await })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    println!(
        "round trips, {AT_ONCE} at once: {:.0}/s",
        per_second(ROUND_TRIPS / AT_ONCE * AT_ONCE, begun.elapsed())
    );

    let begun = Instant::now();
    for _ in 0..LARGE {
        session.call(GetKeySlots { store: StoreId::ZERO, domain: DomainId::ZERO }).await?;
    }
    println!("answers of 1 MB: {:.0} MB/s", per_second(LARGE, begun.elapsed()));
    Ok(())
}
