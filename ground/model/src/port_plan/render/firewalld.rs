//! A shell script of `firewall-cmd --permanent`: two policies, from anywhere to the host and from
//! the host to anywhere, with rich rules. firewalld sees to replies and loopback by itself.
//!
//! A policy's rules are looked at before the zone's; what no rule accepts, its target drops.

use core::net::IpAddr;
use std::fmt::Write;

use super::super::rules::{ExtraDirection, Facing, Rule};
use super::{Page, left_out, protocol};

/// Policies have names of at most 17 characters.
const POLICIES: [(&str, Facing, ExtraDirection, [&str; 2]); 2] = [
    ("simsim-in", Facing::In, ExtraDirection::In, ["ANY", "HOST"]),
    ("simsim-out", Facing::Out, ExtraDirection::Out, ["HOST", "ANY"]),
];

const NEIGHBOURS: [&str; 4] = [
    "router-solicitation",
    "router-advertisement",
    "neighbour-solicitation",
    "neighbour-advertisement",
];

pub(super) fn render(page: &Page<'_>) -> String {
    let mut text = format!("#!/bin/sh\n{}", page.head("sh FILE"));
    for (policy, facing, direction, [from, to]) in POLICIES {
        let of = format!("firewall-cmd --permanent --policy={policy}");
        let _ = write!(
            text,
            "firewall-cmd --permanent --delete-policy={policy} >/dev/null 2>&1\n\
             firewall-cmd --permanent --new-policy={policy}\n\
             {of} --add-ingress-zone={from}\n\
             {of} --add-egress-zone={to}\n\
             {of} --set-target=DROP\n\
             {of} --set-priority=-100\n"
        );
        for kind in NEIGHBOURS {
            let _ = writeln!(
                text,
                "{of} --add-rich-rule='rule family=\"ipv6\" icmp-type name=\"{kind}\" accept'"
            );
        }
        for rule in page.facing(facing) {
            match &rule.missing {
                Some(why) => {
                    let _ = writeln!(text, "{}", left_out(rule, why));
                }
                None => accept(&mut text, &of, rule),
            }
        }
        for extra in page.extras(direction) {
            let _ = writeln!(
                text,
                "{of} --add-rich-rule='rule port port=\"{}\" protocol=\"{}\" accept'",
                extra.port,
                protocol(extra)
            );
        }
    }
    text.push_str("firewall-cmd --reload\n");
    text
}

fn accept(text: &mut String, of: &str, rule: &Rule) {
    let end = format!("port port=\"{}\" protocol=\"tcp\" accept", rule.ports("-"));
    let _ = writeln!(text, "# {}", rule.comment);
    if rule.is_open() {
        let _ = writeln!(text, "{of} --add-rich-rule='rule {end}'");
        return;
    }
    for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        let Some((sources, destinations)) = rule.of_family(v6) else { continue };
        for source in sides("source", sources) {
            for destination in sides("destination", destinations.clone()) {
                let _ = writeln!(
                    text,
                    "{of} --add-rich-rule='rule family=\"{family}\" {source}{destination}{end}'"
                );
            }
        }
    }
}

fn sides(word: &str, addresses: Option<Vec<IpAddr>>) -> Vec<String> {
    match addresses {
        None => vec![String::new()],
        Some(addresses) => {
            addresses.iter().map(|address| format!("{word} address=\"{address}\" ")).collect()
        }
    }
}
