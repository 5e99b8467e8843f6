//! The network of namespaces does what a test relies on: hosts reach each other, rules hold, and
//! the scanner finds what is open and nothing else.

use std::net::{IpAddr, TcpListener};
use std::time::Duration;

use simsim_testkit::{MIDDLE, Network, open_ports, skip};

const DROP: &str =
    "table inet t { chain forward { type filter hook forward priority filter; policy drop; }\n}\n";

#[test]
fn hosts_reach_each_other_until_a_rule_forbids_it_and_a_scan_finds_what_is_open() {
    let network = match Network::routed(&["one", "two"]) {
        Ok(network) => network,
        Err(why) => return skip(&why),
    };
    let listener = network.inside("two", || TcpListener::bind("0.0.0.0:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let patience = Duration::from_secs(5);
    assert!(network.connects("one", "two", port, patience));
    assert!(!network.connects("one", "one", port, patience), "it is on the other host only");
    let two = IpAddr::V4(network.address("two"));
    assert_eq!(network.inside("one", || open_ports(two)).unwrap(), [port]);
    network.load(MIDDLE, DROP).unwrap();
    assert!(!network.connects("one", "two", port, Duration::from_millis(500)));
    assert_eq!(network.inside("one", || open_ports(two)).unwrap(), []);
    assert_eq!(network.inside("two", || open_ports(two)).unwrap(), [port], "from the host itself");
    assert!(network.load(MIDDLE, "nonsense").is_err());
}
