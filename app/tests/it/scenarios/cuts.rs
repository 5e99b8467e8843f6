//! A network between a client and its device that breaks connections in the middle of a job, again and
//! again: the job goes on, and what the device has acknowledged is not sent again.

use std::net::SocketAddr;

use serde_json::{Value, json};
use simsim_testkit::{CutProxy, Direction, Plan, Rng, free_ports};

use crate::hosts::{Daemon, assert_done, differences};

/// Random data: what is stored of it has its size.
const BYTES: usize = 48 << 20;
/// Where connections break, one after the other: in the handshake, in a head, within the first body, and
/// later. Then they hold.
const CUTS: [u64; 8] = [0, 40, 700, 90_000, 3 << 20, 1 << 20, 11 << 20, 2 << 20];
/// At most so much is on its way without an acknowledgement when a connection breaks; there may be
/// two of them.
const UNACKNOWLEDGED: u64 = 8 << 20;

/// A server with its device behind a proxy, and a client that has only that way.
struct Site {
    scratch: tempfile::TempDir,
    server: Daemon,
    _client: Daemon,
    proxy: CutProxy,
}

impl Site {
    fn new(scheme: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let ports = free_ports(2);
        let [https, base] = ports[..] else { panic!() };
        let base = base.min(65_000);
        let state = |name: &str| {
            let state = scratch.path().join(name);
            std::fs::create_dir_all(&state).unwrap();
            state
        };
        let settings =
            format!("[listen]\nhttps = [\"127.0.0.1:{https}\"]\ndrive = [\"127.0.0.1:{base}\"]\n");
        std::fs::write(state("server").join("simsim.toml"), settings).unwrap();
        let server = Daemon::start("server", &state("server"));
        let client = Daemon::start("client", &state("client"));
        let listen = format!("127.0.0.1:{}", client.port);
        assert_done(&server.join("web", &client.state, &["--listen", &listen]));
        server.until_connected("web");
        let store = scratch.path().join("store");
        server.must("datastore.create", json!({ "name": "main", "path": store }));
        let port = match scheme {
            "http" => port_of(&server, "http"),
            "https" => https,
            _ => base + 1,
        };
        let proxy = CutProxy::start(SocketAddr::from(([127, 0, 0, 1], port)));
        let interface = format!("{scheme}://{}", proxy.address());
        let wish = json!({ "host": server.own_name(), "interfaces": [interface] });
        server.must("interface.set", wish);
        let tree = scratch.path().join("tree");
        std::fs::create_dir_all(tree.join("many")).unwrap();
        let mut rng = Rng::new(11);
        std::fs::write(tree.join("large"), rng.bytes(BYTES - (8 << 20))).unwrap();
        for number in 0..256 {
            std::fs::write(tree.join(format!("many/{number}")), rng.bytes(32 << 10)).unwrap();
        }
        server.add_task("home", "web", &tree);
        Self { scratch, server, _client: client, proxy }
    }

    /// The next connections break, each at its place.
    fn breaks(&self, direction: Direction) {
        for (number, at) in CUTS.into_iter().enumerate() {
            let plan = Plan { reset: number % 2 == 1, ..Plan::cut_after(direction, at) };
            self.proxy.push(plan);
        }
    }

    /// Bytes that went this way while `work` was done, which ended well.
    fn moved(&self, direction: Direction, work: impl FnOnce() -> Value) -> u64 {
        let before = self.proxy.bytes(direction);
        let connections = self.proxy.connections();
        let job = work();
        assert_eq!(job["state"], "finished", "{job:#}");
        assert_eq!(job["problems"], 0, "{job:#}");
        let connections = self.proxy.connections() - connections;
        assert!(connections > CUTS.len() as u64, "{connections} connections: all were broken");
        self.proxy.bytes(direction) - before
    }
}

/// Where the server says that it listens.
fn port_of(server: &Daemon, row: &str) -> u16 {
    let log = server.process.output();
    let (_, rest) = log.split_once(&format!("row={row:?} address=127.0.0.1:")).expect("it listens");
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn goes_on_by(scheme: &str) {
    let site = Site::new(scheme);
    site.breaks(Direction::Up);
    let sent = site.moved(Direction::Up, || site.server.backup("home"));
    let data = BYTES as u64;
    let most = data + data / 50 + CUTS.len() as u64 * UNACKNOWLEDGED;
    assert!((data..=most).contains(&sent), "sent {sent} of at most {most}");

    site.breaks(Direction::Down);
    let target = site.scratch.path().join("back");
    let wish = json!({ "task": "home", "target": target });
    let fetched =
        site.moved(Direction::Down, || site.server.ended(&site.server.must("restore", wish)));
    assert!((data..=most).contains(&fetched), "fetched {fetched} of at most {most}");
    assert_eq!(differences(&site.scratch.path().join("tree"), &target), [""; 0]);
    let check = json!({ "datastore": "main", "depth": "bytes" });
    let verify = site.server.ended(&site.server.must("datastore.verify", check));
    assert_eq!(verify["state"], "finished", "{verify:#}");
    eprintln!("{scheme}: {sent} bytes sent and {fetched} fetched of {data}");
}

#[test]
fn net01_a_job_by_http_goes_on_where_its_connections_broke() {
    goes_on_by("http");
}

#[test]
fn net01_a_job_by_https_goes_on_where_its_connections_broke() {
    goes_on_by("https");
}

#[test]
fn net01_a_job_by_a_drives_port_goes_on_where_its_connections_broke() {
    goes_on_by("drive");
}
