//! The proxy's part in active mode: the device calls a port that the client named, so the proxy names
//! one of its own in its place, and calls the client when the device has called there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::proxy::{DATA, Open, Plan, connect, through};

/// Where the proxy is, and whose calls it takes.
#[derive(Clone)]
pub struct Calls {
    pub own: Ipv4Addr,
    pub device: IpAddr,
}

/// What a client says on one control connection, line by line.
pub struct Said {
    calls: Calls,
    /// A line whose end has not come.
    begun: Vec<u8>,
}

impl Said {
    pub fn new(calls: Calls) -> Self {
        Self { calls, begun: Vec::new() }
    }

    /// The lines that are whole now, with the proxy's address in the place of the client's.
    pub async fn more(&mut self, bytes: &[u8], plan: &Arc<Plan>, line: usize) -> Vec<u8> {
        self.begun.extend_from_slice(bytes);
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.begun.drain(..whole).collect();
        let mut said = Vec::new();
        for text in lines.split_inclusive(|byte| *byte == b'\n') {
            match named(text) {
                Some(client) => {
                    let at = self.calls.expect_call(client, plan, line + DATA).await;
                    said.extend(format!("EPRT |1|{}|{}|\r\n", at.ip(), at.port()).bytes());
                }
                None => said.extend_from_slice(text),
            }
        }
        said
    }
}

/// The address in an EPRT of IPv4.
fn named(line: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(line).ok()?.trim_end().strip_prefix("EPRT |1|")?;
    let (ip, port) = text.strip_suffix('|')?.split_once('|')?;
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

impl Calls {
    /// Opens a port for one call of the device, which is passed on to the client.
    async fn expect_call(&self, client: SocketAddr, plan: &Arc<Plan>, line: usize) -> SocketAddr {
        let listener = TcpListener::bind((self.own, 0)).await.expect("bind");
        let at = listener.local_addr().expect("address");
        let call = Call { calls: self.clone(), plan: Arc::clone(plan), line, listener, client };
        // A client that breaks off before the device calls is not waited for.
        tokio::spawn(tokio::time::timeout(Duration::from_secs(60), call.pass_on()));
        at
    }
}

/// A call of the device that is expected.
struct Call {
    calls: Calls,
    plan: Arc<Plan>,
    line: usize,
    listener: TcpListener,
    client: SocketAddr,
}

impl Call {
    fn pass_on(self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let (device, from) = self.listener.accept().await.expect("accept");
            drop(self.listener);
            let _open = Open::new(&self.plan);
            assert_eq!(from.ip(), self.calls.device, "somebody else calls");
            let Some(client) = connect(Some(self.calls.own), self.client).await else { return };
            through(client, device, &self.plan, self.line, None).await;
        })
    }
}
