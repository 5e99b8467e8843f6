//! Hosts in network namespaces, with a router between them, and the firewalls that a test loads.
//!
//! ```text
//! host 1 ── 10.77.1.2 │ 10.77.1.1 ─┐
//! host 2 ── 10.77.2.2 │ 10.77.2.1 ─┤ the middle, which forwards
//! host n ── 10.77.n.2 │ 10.77.n.1 ─┘
//! ```
//!
//! Each host has IPv6 as well: `fd77:N::2`. A host may be hidden behind a translator of addresses, which
//! has its place then and lets nothing in but replies ([`Network::hide`]). Nothing of it is seen by the
//! machine's own network, and nothing of it stays: namespaces go away with their last process and this
//! struct.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{has_program, is_root};

/// Where `ip netns` keeps its namespaces.
const NAMESPACES: &str = "/run/netns";

/// The place of [`Network::load`] that is between all hosts.
pub const MIDDLE: &str = "the middle";

/// What a translator does: it lends its own address to whoever is behind it, and lets in replies only.
const TRANSLATOR: &str = r#"
table ip translator {
    chain out { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
    chain through {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "inside" accept
    }
    chain input { type filter hook input priority filter; policy drop; ct state established accept; }
}
"#;
/// The address of a hidden host on its own side.
const HIDDEN: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

/// A few hosts and a router.
pub struct Network {
    prefix: String,
    hosts: Vec<String>,
    /// Those behind translators.
    hidden: Vec<String>,
}

impl Network {
    /// Makes one host for each name. The error says why this process cannot: hand it to
    /// [`crate::skip`].
    pub fn routed(hosts: &[&str]) -> Result<Self, String> {
        if !is_root() {
            return Err("network namespaces need root".to_owned());
        }
        for program in ["ip", "nft"] {
            if !has_program(program) {
                return Err(format!("network namespaces with a firewall need {program}"));
            }
        }
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("ss{}-{number}", std::process::id());
        let network = Self {
            prefix,
            hosts: hosts.iter().map(|name| (*name).to_owned()).collect(),
            hidden: Vec::new(),
        };
        network.make()?;
        Ok(network)
    }

    fn make(&self) -> Result<(), String> {
        let middle = self.namespace(MIDDLE);
        ip(&["netns", "add", &middle])?;
        ip(&["-n", &middle, "link", "set", "lo", "up"])?;
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward; \
                       echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
        ip(&["netns", "exec", &middle, "sh", "-c", forward])?;
        Self::settle(&middle)?;
        for (at, name) in self.hosts.iter().enumerate() {
            let (n, host) = (at + 1, self.namespace(name));
            let port = format!("port{n}");
            ip(&["netns", "add", &host])?;
            Self::settle(&host)?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            let pair = ["link", "add", "eth0", "netns", &host, "type", "veth", "peer", "name"];
            ip(&[pair.as_slice(), &[&port, "netns", &middle]].concat())?;
            let ends = [(&host, "eth0", 2), (&middle, port.as_str(), 1)];
            for (namespace, device, last) in ends {
                let four = format!("10.77.{n}.{last}/24");
                let six = format!("fd77:{n}::{last}/64");
                ip(&["-n", namespace, "address", "add", &four, "dev", device])?;
                ip(&["-n", namespace, "address", "add", &six, "dev", device, "nodad"])?;
                ip(&["-n", namespace, "link", "set", device, "up"])?;
            }
            ip(&["-n", &host, "route", "add", "default", "via", &format!("10.77.{n}.1")])?;
            ip(&["-n", &host, "-6", "route", "add", "default", "via", &format!("fd77:{n}::1")])?;
        }
        Ok(())
    }

    /// Addresses of IPv6 count at once. Else a link's own is looked for elsewhere first, and for those two
    /// seconds a router finds no neighbours.
    fn settle(namespace: &str) -> Result<(), String> {
        let at_once = "for of in all default; do \
                       echo 0 > /proc/sys/net/ipv6/conf/$of/accept_dad; \
                       echo 0 > /proc/sys/net/ipv6/conf/$of/dad_transmits; done";
        ip(&["netns", "exec", namespace, "sh", "-c", at_once])
    }

    /// Puts a host behind a translator of addresses, before anything runs on it: others see the
    /// translator's address, which is the host's of before, and reach nothing there. IPv4 only.
    pub fn hide(&mut self, host: &str) -> Result<(), String> {
        let (n, inner) = (self.number(host), self.namespace(host));
        let outer = self.translator(host);
        ip(&["netns", "add", &outer])?;
        self.hidden.push(host.to_owned());
        ip(&["-n", &outer, "link", "set", "lo", "up"])?;
        let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
        ip(&["netns", "exec", &outer, "sh", "-c", forward])?;
        // The wire to the middle is the translator's now, and comes without its addresses.
        ip(&["-n", &inner, "link", "set", "eth0", "netns", &outer])?;
        let seen = format!("10.77.{n}.2/24");
        ip(&["-n", &outer, "address", "add", &seen, "dev", "eth0"])?;
        ip(&["-n", &outer, "link", "set", "eth0", "up"])?;
        ip(&["-n", &outer, "route", "add", "default", "via", &format!("10.77.{n}.1")])?;
        let pair = ["link", "add", "eth0", "netns", &inner, "type", "veth", "peer", "name"];
        ip(&[pair.as_slice(), &["inside", "netns", &outer]].concat())?;
        let gateway = "192.168.77.1";
        let own = HIDDEN.to_string();
        for (namespace, device, address) in
            [(&inner, "eth0", own.as_str()), (&outer, "inside", gateway)]
        {
            let address = format!("{address}/24");
            ip(&["-n", namespace, "address", "add", &address, "dev", device])?;
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        ip(&["-n", &inner, "route", "add", "default", "via", gateway])?;
        nft(&outer, TRANSLATOR)
    }

    /// The IPv4 address of a host, as others see it.
    pub fn address(&self, host: &str) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number(host), 2)
    }

    /// The IPv6 address of a host.
    pub fn address6(&self, host: &str) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, u16::from(self.number(host)), 0, 0, 0, 0, 0, 2)
    }

    /// The addresses that a host has itself.
    pub fn own_addresses(&self, host: &str) -> Vec<IpAddr> {
        match self.hidden.iter().any(|hidden| hidden == host) {
            true => vec![HIDDEN.into()],
            false => vec![self.address(host).into(), self.address6(host).into()],
        }
    }

    fn number(&self, host: &str) -> u8 {
        let at = self.hosts.iter().position(|name| name == host).expect("a host of the network");
        u8::try_from(at + 1).ok().filter(|number| *number < 10).expect("few hosts")
    }

    fn translator(&self, host: &str) -> String {
        format!("{}t", self.namespace(host))
    }

    /// The same program with the same arguments and environment, on a host.
    pub fn on(&self, host: &str, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.namespace(host)]);
        there.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            there.current_dir(folder);
        }
        there
    }

    /// Loads rules of nftables on a host, or in [`MIDDLE`]. The error is what nft says.
    pub fn load(&self, place: &str, rules: &str) -> Result<(), String> {
        nft(&self.namespace(place), rules).map_err(|error| format!("{place}: {error}"))
    }

    /// Sets what `sysctl` calls `name` (`net.netfilter.…`) on a host, or in [`MIDDLE`], and there only.
    /// The error is the system's.
    pub fn sysctl(&self, place: &str, name: &str, value: &str) -> Result<(), String> {
        let mut shell = Command::new("sh");
        let script = r#"echo "$2" > "/proc/sys/$(echo "$1" | tr . /)""#;
        shell.args(["-c", script, "sh", name, value]);
        let output = self.on(place, &shell).output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// The connections of a host at this moment, by the word of `ss`.
    pub fn connections(&self, host: &str) -> Vec<Connection> {
        let mut ss = Command::new("ss");
        ss.args(["-HtniO", "state", "established"]);
        let output = self.on(host, &ss).output().expect("ss comes with ip");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().filter_map(Connection::parse).collect()
    }

    /// Runs `work` on a thread whose sockets are a host's.
    pub fn inside<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = format!("{NAMESPACES}/{}", self.namespace(host));
        let inside = move || {
            let file = std::fs::File::open(&namespace).expect("the namespace is there");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("root may enter a namespace");
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().expect("the work ends"))
    }

    /// Whether `from` gets a connection to this port within this time.
    pub fn connects(&self, from: &str, to: SocketAddr, patience: Duration) -> bool {
        self.inside(from, || TcpStream::connect_timeout(&to, patience).is_ok())
    }

    fn namespace(&self, host: &str) -> String {
        match self.hosts.iter().position(|name| name == host) {
            Some(at) => format!("{}-{}", self.prefix, at + 1),
            None => format!("{}-m", self.prefix),
        }
    }
}

/// An established TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// The other end's last acknowledgement came so long ago; those of keep-alives count.
    pub heard: Duration,
}

impl Connection {
    /// `0 0 10.77.1.2:40000 10.77.2.2:22 cubic … lastack:1234 …`
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(2);
        let mut end = || {
            let address: SocketAddr = words.next()?.parse().ok()?;
            Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
        };
        let (local, remote) = (end()?, end()?);
        // It is left out where it is now.
        let heard = words.find_map(|word| word.strip_prefix("lastack:"));
        let heard = heard.map_or(Some(0), |ms| ms.parse().ok())?;
        Some(Self { local, remote, heard: Duration::from_millis(heard) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let places = self.hosts.iter().map(String::as_str).chain([MIDDLE]);
        let translators = self.hidden.iter().map(|host| self.translator(host));
        for namespace in places.map(|name| self.namespace(name)).chain(translators) {
            if let Err(error) = ip(&["netns", "delete", &namespace]) {
                eprintln!("left behind: {error}");
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            Err(format!("ip {}: {}", arguments.join(" "), why.trim()))
        }
        Err(error) => Err(format!("cannot run ip: {error}")),
    }
}

fn nft(namespace: &str, rules: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let fed = child.stdin.take().map(|mut pipe| pipe.write_all(rules.as_bytes()));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    match (fed, output.status.success()) {
        (Some(Ok(())), true) => Ok(()),
        _ => Err(format!("{}\n{rules}", String::from_utf8_lossy(&output.stderr))),
    }
}
