//! A PowerShell script of `New-NetFirewallRule`. Windows lets replies through by itself, and never
//! filters loopback.

use core::net::IpAddr;
use std::fmt::Write;

use super::super::rules::{ExtraDirection, Facing, Rule};
use super::{Page, left_out};

pub(super) fn render(page: &Page<'_>) -> String {
    let mut text = page.head("powershell -File FILE, as an administrator");
    text.push_str(
        "$ErrorActionPreference = 'Stop'\n\
         Get-NetFirewallRule -Group 'simsim' -ErrorAction SilentlyContinue | Remove-NetFirewallRule\n\
         Set-NetFirewallProfile -All -Enabled True -DefaultInboundAction Block \
         -DefaultOutboundAction Block\n",
    );
    for rule in &page.rules {
        match &rule.missing {
            Some(why) => {
                let _ = writeln!(text, "{}", left_out(rule, why));
            }
            None => accept(&mut text, rule),
        }
    }
    for (direction, word, side) in [
        (ExtraDirection::In, "Inbound", "LocalPort"),
        (ExtraDirection::Out, "Outbound", "RemotePort"),
    ] {
        for extra in page.extras(direction) {
            let protocol = if extra.udp { "UDP" } else { "TCP" };
            let _ = writeln!(
                text,
                "New-NetFirewallRule -DisplayName 'not of simsim: port {0}' -Group 'simsim' \
                 -Direction {word} -Action Allow -Protocol {protocol} -{side} {0} -Profile Any | \
                 Out-Null",
                extra.port
            );
        }
    }
    text
}

fn accept(text: &mut String, rule: &Rule) {
    let (direction, side, peers) = match rule.facing {
        Facing::In | Facing::Through => ("Inbound", "LocalPort", &rule.sources),
        Facing::Out => ("Outbound", "RemotePort", &rule.destinations),
    };
    let _ = writeln!(
        text,
        "New-NetFirewallRule -DisplayName '{}' -Group 'simsim' -Direction {direction} -Action \
         Allow -Protocol TCP -{side} {} -RemoteAddress {} -Profile Any | Out-Null",
        rule.comment,
        rule.ports("-"),
        addresses(peers.as_deref())
    );
}

fn addresses(peers: Option<&[IpAddr]>) -> String {
    match peers {
        None => "Any".to_owned(),
        Some(peers) => peers.iter().map(|peer| format!("'{peer}'")).collect::<Vec<_>>().join(","),
    }
}
