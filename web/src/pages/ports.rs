//! Ports: which host reaches which, on what port, and what to do where it does not.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_model::port_plan::{FirewallFormat, PlanRow, PortPlan, Scope, render};
use simsim_server::Right;
use simsim_server::api::{HostCheck, KeptProbe, ProbesKept};

use crate::parts::{
    Page, Place, Tone, act as button, alert, badge, block, command, empty, section, table,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Shown, Visit};
use crate::words::{now, size, when};

/// Hosts that fit on the drawing.
const DRAWN_MAX: usize = 24;

pub async fn show(visit: &Visit) -> Shown {
    if visit.sent().is_some() {
        let host = visit.sent().and_then(|fields| fields.get("host"));
        let _: Value = visit.ask("ports.probe", json!({ "host": host })).await?;
        return Ok(Answer::See("/ports".to_owned()));
    }
    let plan: PortPlan = visit.look("ports.plan").await?;
    let kept: ProbesKept = visit.look("ports.last").await?;
    let hosts: Option<Vec<HostCheck>> = visit.glance("ports.hosts", Value::Null).await?;
    let found = Found::of(&kept.rows);
    let rows: Vec<&PlanRow> = plan.rows.iter().filter(|row| !row.local).collect();
    let body = html! {
        h1 { (t("Ports")) }
        @for warning in &plan.warnings { (alert(Tone::Warn, html! { p { (warning) } })) }
        div.acts {
            @if visit.may(Right::Maintain) { (button(visit, "/ports", t("Try every way now"), "first")) }
            @match found.tried { Some(at) => span.quiet { (t("Tried ")) (when(at)) }, None => span.quiet { (t("Nothing has been tried since the server started.")) } }
        }
        (command("simsim ports probe"))
        @if rows.is_empty() {
            (empty(t("Everything is on this one host: no connection leaves it, and no firewall is asked. When a host joins, this page shows every way between the two, and tries it."), Some(("/clients/add", t("Let a host join")))))
        } @else {
            (section(t("The suite"), drawing(&plan, &rows, &found)))
            (section(t("Hosts and channels"), matrix(&rows, &found)))
            (shut(&plan, &rows, &found))
            (section(t("Every way"), ways(&rows, &found)))
            (rules(&plan))
        }
        @if let Some(hosts) = hosts { (section(t("Hosts"), checks(&hosts))) }
    };
    Ok(Page::new(t("Ports"), Place::Ports, body).into())
}

/// What was found, by way.
struct Found<'a> {
    rows: BTreeMap<(&'a str, &'a str, &'a str), Vec<&'a KeptProbe>>,
    tried: Option<i64>,
}

impl<'a> Found<'a> {
    fn of(kept: &'a [KeptProbe]) -> Self {
        let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for one in kept {
            let way = (one.row.row.as_str(), one.row.from.as_str(), one.row.to.as_str());
            rows.entry(way).or_default().push(one);
        }
        Self { rows, tried: kept.iter().map(|one| one.tried_unix_ms).max() }
    }

    fn at(&self, row: &PlanRow) -> &[&'a KeptProbe] {
        let way = (row.row.as_str(), row.from.name.as_str(), row.to.name.as_str());
        let mut found = self.rows.iter().filter(|(kept, _)| **kept == way);
        found.next().map_or(&[], |(_, probes)| probes.as_slice())
    }

    /// Of several interfaces one that is open is enough.
    fn state(&self, row: &PlanRow) -> State {
        let probes = self.at(row);
        let tried = probes.iter().filter(|one| one.row.state != "not_tried");
        match () {
            () if probes.iter().any(|one| one.row.state == "open") => State::Open,
            () if tried.count() > 0 => State::Shut,
            () => State::Untried,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Open,
    Untried,
    Shut,
}

impl State {
    fn badge(self, words: Option<&str>) -> Markup {
        match self {
            State::Open => badge(Tone::Good, words.unwrap_or(t("open"))),
            State::Shut => badge(Tone::Bad, words.unwrap_or(t("shut"))),
            State::Untried => badge(Tone::Quiet, words.unwrap_or(t("not tried"))),
        }
    }

    const fn class(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Shut => "shut",
            State::Untried => "untried",
        }
    }
}

/// Server above, remote devices in the middle, clients below, with the connections between them.
fn drawing(plan: &PortPlan, rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let tier = |role: &str| match role {
        "server" => 0,
        "rds" => 1,
        _ => 2,
    };
    let mut tiers: [Vec<&str>; 3] = Default::default();
    for host in plan.hosts.iter().take(DRAWN_MAX) {
        if let Some(tier) = tiers.get_mut(tier(&host.role)) {
            tier.push(&host.name);
        }
    }
    let tiers: Vec<(usize, &Vec<&str>)> =
        tiers.iter().enumerate().filter(|(_, hosts)| !hosts.is_empty()).collect();
    let (wide, step, tall) = (900.0, 130.0, 44.0);
    let high = tiers.len() as f64 * step + 10.0;
    let mut places: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (level, (_, hosts)) in tiers.iter().enumerate() {
        let room = wide / hosts.len().max(1) as f64;
        for (at, host) in hosts.iter().enumerate() {
            places.insert(host, (room * (at as f64 + 0.5), level as f64 * step + 30.0));
        }
    }
    let box_wide = tiers
        .iter()
        .map(|(_, hosts)| wide / hosts.len().max(1) as f64 - 12.0)
        .fold(150.0, f64::min);
    let mut lines: BTreeMap<(&str, &str), (State, Vec<String>)> = BTreeMap::new();
    for row in rows {
        let way = (row.from.name.as_str(), row.to.name.as_str());
        let state = found.state(row);
        let line = lines.entry(way).or_insert((State::Open, Vec::new()));
        line.0 = line.0.max(state);
        line.1.push(format!("{} {}", row.row, row.ports()));
    }
    html! {
        svg.map viewBox=(format!("0 0 {wide:.0} {high:.0}")) role="img" aria-label=(t("The hosts of the suite and the connections between them; the table beneath says the same in words")) {
            defs {
                marker #arrow viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse" { path d="M0 0 L8 4 L0 8 z" fill="currentColor" stroke="none" {} }
            }
            @for ((from, to), (state, words)) in &lines {
                @if let (Some((x1, y1)), Some((x2, y2))) = (places.get(from), places.get(to)) {
                    @let down = y2 >= y1;
                    @let shift = if down { 6.0 } else { -6.0 };
                    @let (begin, end) = if (y1 - y2).abs() < 1.0 { (y1 + tall / 2.0, y2 + tall / 2.0) } else if down { (y1 + tall, *y2) } else { (*y1, y2 + tall) };
                    path class=(state.class()) marker-end="url(#arrow)" d=(format!("M{:.0} {begin:.0} L{:.0} {end:.0}", x1 + shift, x2 + shift)) { title { (from) " → " (to) ": " (words.join(", ")) } }
                }
            }
            @for host in plan.hosts.iter().take(DRAWN_MAX) {
                @if let Some((x, y)) = places.get(host.name.as_str()) {
                    g.host {
                        rect x=(format!("{:.0}", x - box_wide / 2.0)) y=(format!("{y:.0}")) width=(format!("{box_wide:.0}")) height=(format!("{tall:.0}")) rx="7" {}
                        text x=(format!("{x:.0}")) y=(format!("{:.0}", y + 19.0)) text-anchor="middle" { (host.name) }
                        text.role x=(format!("{x:.0}")) y=(format!("{:.0}", y + 35.0)) text-anchor="middle" { (host.role) }
                    }
                }
            }
        }
        p.quiet {
            (State::Open.badge(None)) " " (State::Shut.badge(None)) " " (State::Untried.badge(None)) " "
            (t("An arrow goes from who dials to who is dialled."))
            @if plan.hosts.len() > DRAWN_MAX { " " (tf("The first {} hosts are drawn; the table has them all.", &[&DRAWN_MAX])) }
        }
    }
}

/// Hosts × channels: what each host is dialled on, and by how many.
fn matrix(rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let channels: Vec<&str> = {
        let mut seen = Vec::new();
        for row in rows {
            if !seen.contains(&row.row.as_str()) {
                seen.push(row.row.as_str());
            }
        }
        seen
    };
    let hosts: BTreeSet<&str> = rows.iter().map(|row| row.to.name.as_str()).collect();
    html! {
        div.scroll.matrix-scroll tabindex="0" role="region" aria-label=(t("Hosts and channels")) {
            table.matrix {
                caption.hidden { (t("Hosts and channels")) }
                thead { tr { th scope="col" { (t("Dialled host")) } @for channel in &channels { th scope="col" { (channel) } } } }
                tbody {
                    @for host in &hosts {
                        tr {
                            th scope="row" { (host) }
                            @for channel in &channels {
                                @let cell: Vec<&&PlanRow> = rows.iter().filter(|row| row.to.name == *host && row.row == *channel).collect();
                                td {
                                    @if let Some(worst) = cell.iter().map(|row| found.state(row)).max() {
                                        @let good = cell.iter().filter(|row| found.state(row) == State::Open).count();
                                        @let words = if worst == State::Untried { tf("{} not tried", &[&cell.len()]) } else { tf("{} of {} open", &[&good, &cell.len()]) };
                                        a href=(format!("#to-{host}-{channel}")) { (worst.badge(Some(&words))) }
                                    } @else { span.quiet aria-label=(t("not used")) { "–" } }
                                }
                            }
                        }
                    }
                }
            }
        }
        p.quiet { (t("Rows are hosts that are dialled, columns are the channels of the port registry.")) }
    }
}

/// What is shut, why, and the rule to copy.
fn shut(plan: &PortPlan, rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let shut: Vec<&&PlanRow> = rows.iter().filter(|row| found.state(row) == State::Shut).collect();
    if shut.is_empty() {
        return html! {};
    }
    section(
        &if shut.len() == 1 {
            t("1 way is shut").to_owned()
        } else {
            tf("{} ways are shut", &[&shut.len()])
        },
        html! {
            @for row in shut.iter().take(20) {
                h3 { (row.from.name) " → " (row.to.name) " · " (row.row) " " (row.ports()) }
                @for probe in found.at(row) {
                    p { (badge(Tone::Bad, &probe.row.state.replace('_', " "))) " " (probe.row.message) @if let Some(at) = probe.good_unix_ms { " " (t("Open last: ")) (when(at)) } }
                }
                p.quiet { (row.why.join(" ")) }
                (block(&rule_for(plan, row)))
            }
        },
    )
}

/// The rule of a firewall between the two hosts for one row, as nftables has it.
fn rule_for(plan: &PortPlan, row: &PlanRow) -> String {
    let one = PortPlan { hosts: plan.hosts.clone(), rows: vec![row.clone()], warnings: Vec::new() };
    let text = render(&one, FirewallFormat::Nft, Scope::Between, &[]);
    let ports = row.ports();
    let lines = text.lines().map(str::trim);
    let rules: Vec<&str> = lines
        .filter(|line| {
            line.contains("dport") && line.contains(&ports)
                || line.starts_with("# ") && line.contains(&ports)
        })
        .collect();
    if rules.is_empty() { text } else { rules.join("\n") }
}

fn ways(rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let lines = rows.iter().map(|row| {
        let probes = found.at(row);
        vec![
            html! { span id=(format!("to-{}-{}", row.to.name, row.row)) { (row.from.name) " → " (row.to.name) } },
            html! { (row.row) },
            html! { (row.ports()) },
            html! { (found.state(row).badge(None)) @for one in probes { @if !one.row.message.is_empty() { br; span.quiet { (one.row.message) } } } },
            html! { @if let Some(time) = probes.iter().find_map(|one| one.row.round_trip_us) { (format!("{:.1} ms", time as f64 / 1000.0)) } @if let Some(rate) = probes.iter().find_map(|one| one.row.bytes_per_s) { br; (size(rate)) "/s" } },
            html! { @match probes.iter().filter_map(|one| one.good_unix_ms).max() { Some(at) => (when(at)), None => span.quiet { "–" } } },
            html! { (row.why.join(" ")) },
        ]
    });
    table(
        t("Every way"),
        &[
            t("Way"),
            t("Channel"),
            t("Ports"),
            t("State"),
            t("Round trip"),
            t("Open last"),
            t("Why"),
        ],
        lines.collect(),
    )
}

/// The whole plan as rules.
fn rules(plan: &PortPlan) -> Markup {
    html! {
        details {
            summary { (t("All rules for a firewall in the middle (nftables)")) }
            (block(&render(plan, FirewallFormat::Nft, Scope::Between, &[])))
        }
        @for host in plan.hosts.iter().take(DRAWN_MAX) {
            (command(&format!("simsim ports plan --host {} --format nft", crate::parts::quoted(&host.name))))
        }
    }
}

fn checks(hosts: &[HostCheck]) -> Markup {
    let now = now();
    let rows = hosts.iter().map(|host| {
        vec![
            html! { (host.name) },
            html! { @if host.connected { (badge(Tone::Good, t("reached"))) } @else { (badge(Tone::Bad, t("not reached"))) " " span.quiet { (host.trouble.as_deref().unwrap_or_default()) } } },
            html! { @if let Some(time) = host.round_trip_us { (format!("{:.1} ms", time as f64 / 1000.0)) } },
            html! { @if let Some(ahead) = host.clock_difference_ms { (format!("{:+.1} s", ahead as f64 / 1000.0)) @if ahead.abs() > 5_000 { " " (badge(Tone::Warn, t("differs"))) } } },
            html! { @for name in &host.names { div { (name.name) @if let Some(trouble) = &name.trouble { " " (badge(Tone::Bad, trouble)) } @else { " → " (name.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")) } } } },
            html! { @if let Some(until) = host.certificate_until_unix_ms { (when(until)) @if until - now < 30 * 86_400_000 { " " (badge(Tone::Warn, t("soon"))) } } },
        ]
    });
    table(
        t("Hosts"),
        &[t("Host"), t("State"), t("Round trip"), t("Clock"), t("Names"), t("Certificate until")],
        rows.collect(),
    )
}
