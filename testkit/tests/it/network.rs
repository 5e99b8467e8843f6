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
    let (one, two) = (IpAddr::V4(network.address("one")), IpAddr::V4(network.address("two")));
    assert!(network.connects("one", (two, port).into(), patience));
    assert!(!network.connects("one", (one, port).into(), patience), "it is on the other host only");
    assert_eq!(network.inside("one", || open_ports(two)).unwrap(), [port]);
    network.load(MIDDLE, DROP).unwrap();
    assert!(!network.connects("one", (two, port).into(), Duration::from_millis(500)));
    assert_eq!(network.inside("one", || open_ports(two)).unwrap(), []);
    assert_eq!(network.inside("two", || open_ports(two)).unwrap(), [port], "from the host itself");
    assert!(network.load(MIDDLE, "nonsense").is_err());
}

#[test]
fn a_hidden_host_reaches_others_with_its_translators_address_and_nobody_reaches_it() {
    let mut network = match Network::routed(&["one", "two"]) {
        Ok(network) => network,
        Err(why) => return skip(&why),
    };
    if let Err(why) = network.hide("two") {
        panic!("{why}");
    }
    let patience = Duration::from_secs(5);
    let (one, two) = (IpAddr::V4(network.address("one")), IpAddr::V4(network.address("two")));
    let on_one = network.inside("one", || TcpListener::bind("0.0.0.0:0").unwrap());
    let on_two = network.inside("two", || TcpListener::bind("0.0.0.0:0").unwrap());
    let port = on_one.local_addr().unwrap().port();
    assert!(network.connects("two", (one, port).into(), patience));
    let (_, from) = on_one.accept().unwrap();
    assert_eq!(from.ip(), two);
    let own = network.own_addresses("two");
    assert_eq!(own.len(), 1);
    let port = on_two.local_addr().unwrap().port();
    assert!(network.connects("two", (own[0], port).into(), patience));
    for address in [two, own[0]] {
        let to = (address, port).into();
        assert!(!network.connects("one", to, Duration::from_millis(500)), "{to}");
    }
}
