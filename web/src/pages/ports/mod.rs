//! Ports: which host reaches which, on what port, and what to do where it does not.

mod drawing;
mod found;

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_model::port_plan::{FirewallFormat, PlanRow, PortPlan, Scope, render};
use simsim_server::Right;
use simsim_server::api::{HostCheck, ProbesKept};

use self::found::{Found, State};
use crate::find::Find;
use crate::parts::{
    Page, Place, Tone, act as button, alert, asked, badge, block, command, empty, quoted, section,
    table,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Shown, Visit};
use crate::words::{now, size, when};

/// Hosts of one page of the matrix.
const HOSTS: usize = 100;
/// Ways of one page.
const WAYS: usize = 100;
/// Ways that are shut and are shown with their rule.
const SHUT_MAX: usize = 20;
/// Warnings that stand on the page.
const WARNINGS_MAX: usize = 8;
/// Rules for all hosts stand on the page up to so many ways.
const RULES_MAX: usize = 100;

pub async fn show(visit: &Visit) -> Shown {
    if visit.sent().is_some() {
        let host = visit.sent().and_then(|fields| fields.get("host"));
        let _: Value = visit.ask("ports.probe", json!({ "host": host })).await?;
        return Ok(Answer::See("/ports".to_owned()));
    }
    let mut plan: PortPlan = visit.look("ports.plan").await?;
    let kept: ProbesKept = visit.look("ports.last").await?;
    let found = Found::of(&kept.rows);
    let one = visit.query.get("host");
    if let Some(host) = one {
        plan.rows.retain(|row| row.from.name == host || row.to.name == host);
        let near: BTreeSet<String> =
            plan.rows.iter().flat_map(|row| [row.from.name.clone(), row.to.name.clone()]).collect();
        plan.hosts.retain(|it| it.name == host || near.contains(&it.name));
        let named = format!("'{host}'");
        plan.warnings.retain(|warning| warning.contains(&named));
    }
    let mut rows: Vec<&PlanRow> = plan.rows.iter().filter(|row| !row.local).collect();
    // What needs somebody comes first.
    rows.sort_by_key(|row| std::cmp::Reverse(found.state(row)));
    let body = html! {
        h1 { (t("Ports")) @if let Some(host) = one { ": " (host) } }
        (warned(&plan.warnings))
        div.acts {
            @if visit.may(Right::Maintain) { (try_now(visit, one)) }
            @match found.tried { Some(at) => span.quiet { (t("Tried ")) (when(at)) }, None => span.quiet { (t("Nothing has been tried yet.")) } }
            @if one.is_some() { a href="/ports" { (t("All hosts")) } }
            a href="/ports/hosts" { (t("How hosts answer: clocks, names, certificates")) }
        }
        (command(&match one { Some(host) => format!("simsim ports probe --host {}", quoted(host)), None => "simsim ports probe".to_owned() }))
        @if rows.is_empty() {
            @if let Some(host) = one { (empty(&tf("No connection to or from {} leaves its host.", &[&host]), Some(("/ports", t("All hosts"))))) }
            @else { (empty(t("Everything is on this one host: no connection leaves it, and no firewall is asked. When a host joins, this page shows every way between the two, and tries it."), Some(("/clients/add", t("Let a host join"))))) }
        } @else {
            (section(t("The suite"), drawing::drawing(&plan, &rows, &found)))
            (section(t("Hosts and channels"), matrix(visit, &rows, &found)))
            (shut(&plan, &rows, &found))
            (section(t("Every way"), ways(visit, &rows, &found)))
            (rules(&plan, rows.len(), one))
        }
    };
    Ok(Page::new(t("Ports"), Place::Ports, body).into())
}

/// What an administrator should know: all of it where that is little.
fn warned(warnings: &[String]) -> Markup {
    let (first, more) = warnings.split_at(warnings.len().min(WARNINGS_MAX));
    html! {
        @for warning in first { (alert(Tone::Warn, html! { p { (warning) } })) }
        @if !more.is_empty() { (alert(Tone::Warn, html! { p { (tf("and {} more: 'simsim ports plan' says them all.", &[&more.len()])) } })) }
    }
}

fn try_now(visit: &Visit, host: Option<&str>) -> Markup {
    let Some(host) = host else { return button(visit, "/ports", t("Try every way now"), "first") };
    html! {
        form.inline method="post" action="/ports" {
            input type="hidden" name="csrf" value=(visit.session.csrf_token);
            input type="hidden" name="host" value=(host);
            button.first type="submit" { (tf("Try the ways of {} now", &[&host])) }
        }
    }
}

/// How hosts answer at this moment. A page of its own: it waits for hosts.
pub async fn hosts(visit: &Visit) -> Shown {
    let hosts: Vec<HostCheck> = visit.look("ports.hosts").await?;
    let find = Find::of(visit);
    let shown: Vec<&HostCheck> = hosts.iter().filter(|host| find.fits(&host.name)).collect();
    let body = html! {
        h1 { (t("How hosts answer")) }
        div.acts { a href="/ports" { (t("Ports")) } }
        (find.form("/ports/hosts", hosts.len() > 10))
        @if shown.is_empty() { (empty(t("No host has joined yet."), Some(("/clients/add", t("Let a host join"))))) }
        @else { (checks(find.page_of(&shown, HOSTS))) (find.pages("/ports/hosts", shown.len(), HOSTS)) }
        (command("simsim ports check"))
    };
    Ok(Page::new(t("How hosts answer"), Place::Ports, body).into())
}

/// Of one host by channel: the worst way, how many are open, and all.
type Cells<'a> = BTreeMap<&'a str, (State, usize, usize)>;

/// Hosts × channels: what each host is dialled on, and by how many. Those with a way that is shut come first.
fn matrix(visit: &Visit, rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let mut channels: Vec<&str> = Vec::new();
    let mut cells: BTreeMap<&str, Cells<'_>> = BTreeMap::new();
    for row in rows {
        if !channels.contains(&row.row.as_str()) {
            channels.push(row.row.as_str());
        }
        let of = cells.entry(row.to.name.as_str()).or_default();
        let cell = of.entry(row.row.as_str()).or_insert((State::Open, 0, 0));
        let state = found.state(row);
        *cell = (cell.0.max(state), cell.1 + usize::from(state == State::Open), cell.2 + 1);
    }
    channels.sort_unstable();
    let find = Find::of(visit);
    let mut hosts: Vec<(&str, &Cells<'_>)> =
        cells.iter().map(|(host, of)| (*host, of)).filter(|(host, _)| find.fits(host)).collect();
    hosts.sort_by_key(|(_, of)| std::cmp::Reverse(of.values().map(|cell| cell.0).max()));
    let few = rows.len() <= WAYS;
    html! {
        (find.form("/ports", cells.len() > 10))
        div.scroll.matrix-scroll tabindex="0" role="region" aria-label=(t("Hosts and channels")) {
            table.matrix {
                caption.hidden { (t("Hosts and channels")) }
                thead { tr { th scope="col" { (t("Dialled host")) } @for channel in &channels { th scope="col" { (channel) } } } }
                tbody {
                    @for (host, of) in find.page_of(&hosts, HOSTS) {
                        tr {
                            th scope="row" { a href=(asked("/ports", &[("host", host)])) { (host) } }
                            @for channel in &channels {
                                td {
                                    @if let Some((worst, good, all)) = of.get(channel) {
                                        @let words = if *worst == State::Untried { tf("{} not tried", &[all]) } else { tf("{} of {} open", &[good, all]) };
                                        @let place = format!("#to-{host}-{channel}");
                                        a href=(if few { place } else { format!("{}{place}", asked("/ports", &[("host", host)])) }) { (worst.badge(Some(&words))) }
                                    } @else { span.quiet aria-label=(t("not used")) { "–" } }
                                }
                            }
                        }
                    }
                }
            }
        }
        (find.pages("/ports", hosts.len(), HOSTS))
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
            @for row in shut.iter().take(SHUT_MAX) {
                h3 { (row.from.name) " → " (row.to.name) " · " (row.row) " " (row.ports()) }
                @for probe in found.at(row) {
                    p { (badge(Tone::Bad, &probe.row.state.replace('_', " "))) " " (probe.row.message) @if let Some(at) = probe.good_unix_ms { " " (t("Open last: ")) (when(at)) } }
                }
                p.quiet { (row.why.join(" ")) }
                (block(&rule_for(plan, row)))
            }
            @if shut.len() > SHUT_MAX { p { (tf("and {} more", &[&(shut.len() - SHUT_MAX)])) } }
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

fn ways(visit: &Visit, rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let find = Find::of(visit);
    let fits = |row: &&&PlanRow| find.fits(&row.to.name) || find.fits(&row.from.name);
    let shown: Vec<&&PlanRow> = rows.iter().filter(fits).collect();
    let mut begun = BTreeSet::new();
    let lines = find.page_of(&shown, WAYS).iter().map(|row| {
        let probes = found.at(row);
        // Where a cell of the matrix leads: to the first of its ways.
        let place = format!("to-{}-{}", row.to.name, row.row);
        let place = begun.insert(place.clone()).then_some(place);
        vec![
            html! { span id=[place] { (row.from.name) " → " (row.to.name) } },
            html! { (row.row) },
            html! { span.whole { (row.ports()) } },
            html! { (found.state(row).badge(None)) @for one in probes { @if !one.row.message.is_empty() { br; span.quiet { (one.row.message) } } } },
            html! { @if let Some(time) = probes.iter().find_map(|one| one.row.round_trip_us) { (format!("{:.1} ms", time as f64 / 1000.0)) } @if let Some(rate) = probes.iter().find_map(|one| one.row.bytes_per_s) { br; (size(rate)) "/s" } },
            html! { @match probes.iter().filter_map(|one| one.good_unix_ms).max() { Some(at) => (when(at)), None => span.quiet { "–" } } },
            html! { (row.why.join(" ")) },
        ]
    });
    let heads =
        [t("Way"), t("Channel"), t("Ports"), t("State"), t("Round trip"), t("Open last"), t("Why")];
    html! {
        (table(t("Every way"), &heads, lines.collect()))
        (find.pages("/ports", shown.len(), WAYS))
    }
}

/// The whole plan as rules, where a page can hold them.
fn rules(plan: &PortPlan, ways: usize, one: Option<&str>) -> Markup {
    html! {
        @if ways <= RULES_MAX {
            details {
                summary { (t("All rules for a firewall in the middle (nftables)")) }
                (block(&render(plan, FirewallFormat::Nft, Scope::Between, &[])))
            }
        }
        (command(&match one {
            Some(host) => format!("simsim ports plan --host {} --format nft", quoted(host)),
            None => "simsim ports plan --format nft".to_owned(),
        }))
    }
}

fn checks(hosts: &[&HostCheck]) -> Markup {
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
