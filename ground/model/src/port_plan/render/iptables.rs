//! For `iptables-restore` and `ip6tables-restore`. Each of them passes over the lines that are for
//! the other family (`-4`, `-6`); the file replaces the whole table `filter`.

use core::net::IpAddr;
use std::fmt::Write;

use super::super::rules::{ExtraDirection, Facing, Rule, Scope};
use super::{Page, left_out, protocol};

pub(super) fn render(page: &Page<'_>) -> String {
    let mut text = page.head("iptables-restore FILE, and ip6tables-restore FILE for IPv6");
    text.push_str("*filter\n");
    let own = matches!(page.scope, Scope::Host(_));
    for (chain, drops) in [("INPUT", own), ("FORWARD", true), ("OUTPUT", own)] {
        let _ = writeln!(text, ":{chain} {} [0:0]", if drops { "DROP" } else { "ACCEPT" });
    }
    match page.scope {
        Scope::Host(_) => {
            chain(&mut text, page, "INPUT", Facing::In, Some(ExtraDirection::In));
            chain(&mut text, page, "OUTPUT", Facing::Out, Some(ExtraDirection::Out));
        }
        Scope::Between => chain(&mut text, page, "FORWARD", Facing::Through, None),
    }
    text.push_str("COMMIT\n");
    text
}

fn chain(
    text: &mut String,
    page: &Page<'_>,
    name: &str,
    facing: Facing,
    extras: Option<ExtraDirection>,
) {
    match facing {
        Facing::In => {
            let _ = writeln!(text, "-A {name} -i lo -j ACCEPT");
        }
        Facing::Out => {
            let _ = writeln!(text, "-A {name} -o lo -j ACCEPT");
        }
        Facing::Through => {}
    }
    let _ = writeln!(text, "-A {name} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
    let _ = writeln!(text, "-A {name} -m conntrack --ctstate INVALID -j DROP");
    for kind in ["destination-unreachable", "time-exceeded", "parameter-problem"] {
        let _ = writeln!(text, "-A {name} -4 -p icmp --icmp-type {kind} -j ACCEPT");
        let _ = writeln!(text, "-A {name} -6 -p icmpv6 --icmpv6-type {kind} -j ACCEPT");
    }
    let _ = writeln!(text, "-A {name} -6 -p icmpv6 --icmpv6-type packet-too-big -j ACCEPT");
    if facing != Facing::Through {
        for kind in ["router-solicitation", "router-advertisement"] {
            let _ = writeln!(text, "-A {name} -6 -p icmpv6 --icmpv6-type {kind} -j ACCEPT");
        }
        for kind in ["neighbour-solicitation", "neighbour-advertisement"] {
            let _ = writeln!(text, "-A {name} -6 -p icmpv6 --icmpv6-type {kind} -j ACCEPT");
        }
    }
    for rule in page.facing(facing) {
        match &rule.missing {
            Some(why) => {
                let _ = writeln!(text, "{}", left_out(rule, why));
            }
            None => accept(text, name, rule),
        }
    }
    for extra in extras.into_iter().flat_map(|direction| page.extras(direction)) {
        let _ = writeln!(
            text,
            "-A {name} -p {} --dport {} -m comment --comment \"not of simsim\" -j ACCEPT",
            protocol(extra),
            extra.port
        );
    }
}

fn accept(text: &mut String, chain: &str, rule: &Rule) {
    let end = format!(
        "-p tcp --dport {} -m conntrack --ctstate NEW -m comment --comment \"{}\" -j ACCEPT\n",
        rule.ports(":"),
        rule.comment
    );
    if rule.is_open() {
        let _ = write!(text, "-A {chain} {end}");
        return;
    }
    for (v6, family) in [(false, "-4"), (true, "-6")] {
        let Some((sources, destinations)) = rule.of_family(v6) else { continue };
        for source in sides("-s", sources) {
            for destination in sides("-d", destinations.clone()) {
                let _ = write!(text, "-A {chain} {family} {source}{destination}{end}");
            }
        }
    }
}

/// `-s ADDRESS ` for each, or one empty word.
fn sides(option: &str, addresses: Option<Vec<IpAddr>>) -> Vec<String> {
    match addresses {
        None => vec![String::new()],
        Some(addresses) => addresses.iter().map(|address| format!("{option} {address} ")).collect(),
    }
}
