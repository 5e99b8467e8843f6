//! Ways from the client to a device, in order of preference.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use simsim_model::Ticket;
use simsim_net::outbound::Opener;
use simsim_net::tls::TlsConnect;
use simsim_net::{BoxedWire, Patient};
use tokio::task::JoinSet;

/// A further address is tried so long after the one before, as where this host dials itself.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

use crate::ftp::{FtpDialer, FtpWay};

/// One way to a device: a protocol, and the addresses (`host:port`) at which it is spoken. All
/// addresses of a route are tried side by side; routes one after the other.
#[derive(Clone)]
pub struct Route {
    scheme: &'static str,
    addresses: Vec<String>,
    how: How,
    /// Who opens the connections in place of this host.
    through: Option<Arc<dyn Opener>>,
}

#[derive(Clone)]
enum How {
    Tcp,
    Tls(TlsConnect),
    /// Needs the ticket before there is a wire.
    Ftp(FtpWay),
    Other(Arc<dyn Dialer>),
}

/// A wire on its way, or one sentence why there is none.
pub type Dialing<'d> = Pin<Box<dyn Future<Output = Result<BoxedWire, String>> + Send + 'd>>;

/// That a way was refused for good, and why; shared by the ways of one transfer. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Verdict(Arc<OnceLock<String>>);

impl Verdict {
    pub(crate) fn refuse(&self, why: String) {
        self.0.get_or_init(|| why);
    }

    pub(super) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// How often it is asked whether bytes that are on their way are still wanted.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(250);

/// Who hears that a transfer waits for its turn, and what for. Clones are the same.
#[derive(Clone)]
pub struct OnWait {
    hear: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    given_up: Arc<AtomicBool>,
    wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl OnWait {
    /// `hear` is called with a sentence, at the beginning of a wait and every few seconds, and with an
    /// empty one when there is nothing to wait for any more. It answers whether the transfer is still
    /// wanted.
    pub fn new(hear: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { hear: Arc::new(hear), given_up: Arc::default(), wanted: Arc::new(|| true) }
    }

    /// The same for a transfer whose bytes are wanted only as long as `wanted` says so: it is asked some times
    /// a second, also while a slow line or a rate limit holds a body up.
    pub fn while_wanted(self, wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { wanted: Arc::new(wanted), ..self }
    }

    /// Ready once nobody wants the transfer's bytes any more.
    pub(super) async fn unwanted(&self) {
        while (self.wanted)() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    pub(crate) fn tell(&self, what: &str) -> bool {
        let wanted = (self.hear)(what);
        // The end of a wait is nothing that anybody could give up.
        self.given_up.fetch_or(!wanted && !what.is_empty(), Ordering::Relaxed);
        wanted
    }

    /// Did somebody who waited want no more?
    pub(super) fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

impl Default for OnWait {
    /// Nobody hears, and waits as long as it takes.
    fn default() -> Self {
        Self::new(|_| true)
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnWait")
    }
}

/// Makes wires in its own way: over FTP, through a multiplexer, in this process.
pub trait Dialer: Send + Sync {
    fn dial(&self, timeout: Duration) -> Dialing<'_>;

    /// No wire is wanted any more: what was kept for further ones is given back.
    fn hang_up(&self) {}
}

impl Route {
    /// Plain TCP.
    pub fn http(addresses: Vec<String>) -> Self {
        Self { scheme: "http", addresses, how: How::Tcp, through: None }
    }

    /// TLS 1.3 with a host that is known by its key.
    pub fn https(addresses: Vec<String>, tls: TlsConnect) -> Self {
        Self { scheme: "https", addresses, how: How::Tls(tls), through: None }
    }

    /// The port of a drive: TLS 1.3, and `tls` shows this host's own key as well.
    pub fn drive(addresses: Vec<String>, tls: TlsConnect) -> Self {
        Self { scheme: "drive", addresses, how: How::Tls(tls), through: None }
    }

    /// FTP: a pipe of two data connections.
    pub fn ftp(addresses: Vec<String>, way: FtpWay) -> Self {
        Self { scheme: way.scheme(), addresses, how: How::Ftp(way), through: None }
    }

    /// Another way, with the name of its protocol and where it leads.
    pub fn other(scheme: &'static str, addresses: Vec<String>, dialer: Arc<dyn Dialer>) -> Self {
        Self { scheme, addresses, how: How::Other(dialer), through: None }
    }

    /// The same way, with connections that `opener` opens where it is. What is spoken on them does
    /// not change, and a route of another kind keeps its own way.
    pub fn through(mut self, opener: Arc<dyn Opener>) -> Self {
        self.through = Some(opener);
        self
    }

    /// The same, for one transfer.
    pub(super) fn of(self, ticket: &Ticket, on_wait: &OnWait, verdict: &Verdict) -> Self {
        let How::Ftp(way) = self.how else { return self };
        let (addresses, ticket) = (self.addresses.clone(), ticket.clone());
        let dialer = FtpDialer::new(way, addresses, ticket, on_wait.clone(), verdict.clone());
        Self { how: How::Other(dialer), ..self }
    }

    /// `http`, `https`, `ftp`, `drive`, …
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(super) async fn dial(&self, timeout: Duration) -> Result<BoxedWire, String> {
        let dialled = match &self.how {
            How::Tcp => self.connect(timeout).await,
            How::Tls(tls) => self.dial_tls(tls, timeout).await,
            How::Ftp(_) => Err("no ticket was named for this way".to_owned()),
            How::Other(dialer) => dialer.dial(timeout).await,
        };
        dialled.map_err(|why| format!("{}: {why}", self.scheme))
    }

    /// The transfer is over.
    pub(super) fn hang_up(&self) {
        if let How::Other(dialer) = &self.how {
            dialer.hang_up();
        }
    }

    /// A connection to the first address that answers.
    async fn connect(&self, timeout: Duration) -> Result<BoxedWire, String> {
        let Some(opener) = &self.through else {
            let stream = simsim_net::dial(&self.addresses, timeout).await;
            return stream
                .map(|stream| Box::new(Patient::new(stream)) as BoxedWire)
                .map_err(|error| error.to_string());
        };
        let mut opening = JoinSet::new();
        for (place, address) in self.addresses.iter().cloned().enumerate() {
            let opener = Arc::clone(opener);
            let delay = NEXT_ADDRESS_AFTER.saturating_mul(place.try_into().unwrap_or(u32::MAX));
            opening.spawn(async move {
                tokio::time::sleep(delay).await;
                let opened = opener.open(&address, timeout.saturating_sub(delay)).await;
                opened.map_err(|why| format!("{address} {why}"))
            });
        }
        let mut told = Vec::new();
        while let Some(opened) = opening.join_next().await {
            match opened {
                Ok(Ok(wire)) => return Ok(wire),
                Ok(Err(why)) => told.push(why),
                Err(_) => {}
            }
        }
        Err(format!("over the outbound connection: {}", told.join("; ")))
    }

    async fn dial_tls(&self, tls: &TlsConnect, timeout: Duration) -> Result<BoxedWire, String> {
        // One time limit for the connection and for what comes upon it.
        let until = tokio::time::Instant::now() + timeout;
        let stream = self.connect(timeout).await?;
        let address = self.addresses.first().map_or("", String::as_str);
        let greeting = tokio::time::timeout_at(until, tls.greet(address, stream));
        let told = |why: String| format!("{self}: {why}");
        let stream = greeting
            .await
            .map_err(|_| told(format!("connected, but no TLS answer in {} s", timeout.as_secs())))?
            .map_err(told)?;
        Ok(Box::new(stream))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addresses.join(" or "))
    }
}

impl From<Vec<String>> for Route {
    /// Plain TCP to one of these.
    fn from(addresses: Vec<String>) -> Self {
        Self::http(addresses)
    }
}
