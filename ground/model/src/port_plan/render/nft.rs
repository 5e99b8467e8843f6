//! For `nft -f`: one table `inet simsim` of its own, replaced as a whole in one transaction.

use core::net::IpAddr;
use std::fmt::Write;

use super::super::rules::{Extra, ExtraDirection, Facing, Rule, Scope};
use super::{Page, left_out, protocol};

pub(super) fn render(page: &Page<'_>) -> String {
    let mut text = format!("#!/usr/sbin/nft -f\n{}", page.head("nft -f FILE"));
    // To name the table first makes deleting it right on the first load as well.
    text.push_str("table inet simsim\ndelete table inet simsim\n\ntable inet simsim {\n");
    match page.scope {
        Scope::Host(_) => {
            chain(&mut text, page, "input", Facing::In, Some(ExtraDirection::In));
            text.push('\n');
            chain(&mut text, page, "output", Facing::Out, Some(ExtraDirection::Out));
        }
        Scope::Between => chain(&mut text, page, "forward", Facing::Through, None),
    }
    text.push_str("}\n");
    text
}

fn chain(
    text: &mut String,
    page: &Page<'_>,
    hook: &str,
    facing: Facing,
    extras: Option<ExtraDirection>,
) {
    let _ = write!(
        text,
        "\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy drop;\n"
    );
    match facing {
        Facing::In => text.push_str("\t\tiif \"lo\" accept\n"),
        Facing::Out => text.push_str("\t\toif \"lo\" accept\n"),
        Facing::Through => {}
    }
    text.push_str("\t\tct state established,related accept\n\t\tct state invalid drop\n");
    // Without these, large packets get lost and IPv6 neighbours are not found.
    text.push_str(
        "\t\ticmp type { destination-unreachable, time-exceeded, parameter-problem } accept\n\
         \t\ticmpv6 type { destination-unreachable, packet-too-big, time-exceeded, \
         parameter-problem } accept\n",
    );
    if facing != Facing::Through {
        text.push_str(
            "\t\ticmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, \
             nd-neighbor-advert } accept\n",
        );
    }
    for rule in page.facing(facing) {
        match &rule.missing {
            Some(why) => {
                let _ = writeln!(text, "\t\t{}", left_out(rule, why));
            }
            None => accept(text, rule),
        }
    }
    for extra in extras.into_iter().flat_map(|direction| page.extras(direction)) {
        let Extra { port, .. } = extra;
        let _ =
            writeln!(text, "\t\t{} dport {port} accept comment \"not of simsim\"", protocol(extra));
    }
    text.push_str("\t}\n");
}

fn accept(text: &mut String, rule: &Rule) {
    let end =
        format!("tcp dport {} ct state new accept comment \"{}\"\n", rule.ports("-"), rule.comment);
    if rule.is_open() {
        let _ = write!(text, "\t\t{end}");
        return;
    }
    for (v6, word) in [(false, "ip"), (true, "ip6")] {
        let Some((sources, destinations)) = rule.of_family(v6) else { continue };
        text.push_str("\t\t");
        if let Some(sources) = sources {
            let _ = write!(text, "{word} saddr {} ", set(&sources));
        }
        if let Some(destinations) = destinations {
            let _ = write!(text, "{word} daddr {} ", set(&destinations));
        }
        text.push_str(&end);
    }
}

fn set(addresses: &[IpAddr]) -> String {
    match addresses {
        [one] => one.to_string(),
        several => {
            let list: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("{{ {} }}", list.join(", "))
        }
    }
}
