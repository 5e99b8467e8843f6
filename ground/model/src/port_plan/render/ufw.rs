//! A shell script of `ufw`, which sees to replies, loopback and ICMP by itself.

use core::net::IpAddr;
use std::fmt::Write;

use super::super::rules::{ExtraDirection, Facing, Rule, Scope};
use super::{Page, left_out, protocol};

pub(super) fn render(page: &Page<'_>) -> String {
    let mut text = format!("#!/bin/sh\n{}set -e\n", page.head("sh FILE"));
    match page.scope {
        Scope::Host(_) => {
            text.push_str("ufw default deny incoming\nufw default deny outgoing\n");
        }
        Scope::Between => text.push_str("ufw default deny routed\n"),
    }
    for rule in &page.rules {
        match &rule.missing {
            Some(why) => {
                let _ = writeln!(text, "{}", left_out(rule, why));
            }
            None => accept(&mut text, rule),
        }
    }
    for (direction, word) in [(ExtraDirection::In, "in"), (ExtraDirection::Out, "out")] {
        if page.scope == Scope::Between {
            break;
        }
        for extra in page.extras(direction) {
            let _ = writeln!(
                text,
                "ufw allow {word} proto {} to any port {} comment 'not of simsim'",
                protocol(extra),
                extra.port
            );
        }
    }
    text.push_str("ufw --force enable\n");
    text
}

fn accept(text: &mut String, rule: &Rule) {
    let verb = match rule.facing {
        Facing::In => "ufw allow in",
        Facing::Out => "ufw allow out",
        Facing::Through => "ufw route allow",
    };
    let end = format!("port {} comment '{}'\n", rule.ports(":"), rule.comment);
    if rule.is_open() {
        let _ = write!(text, "{verb} proto tcp from any to any {end}");
        return;
    }
    for v6 in [false, true] {
        let Some((sources, destinations)) = rule.of_family(v6) else { continue };
        for source in words(sources) {
            for destination in words(destinations.clone()) {
                let _ = write!(text, "{verb} proto tcp from {source} to {destination} {end}");
            }
        }
    }
}

fn words(addresses: Option<Vec<IpAddr>>) -> Vec<String> {
    match addresses {
        None => vec!["any".to_owned()],
        Some(addresses) => addresses.iter().map(ToString::to_string).collect(),
    }
}
