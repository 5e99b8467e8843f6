//! The suite as a picture: the server above, remote devices in the middle, clients below, with the
//! connections between them. Where there are many clients, those with a way that is shut stand for
//! themselves, and the others in one box.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use simsim_model::port_plan::{PlanHost, PlanRow, PortPlan};

use super::found::{Found, State};
use crate::text::{t, tf};

/// Boxes of one line.
const ACROSS: usize = 8;
/// Lines of devices.
const LINES: usize = 2;
/// Lines of clients.
const DOWN: usize = 3;
const WIDE: f64 = 900.0;
const TALL: f64 = 44.0;
const STEP: f64 = 130.0;
/// Between two lines of clients.
const NEAR: f64 = 66.0;

/// One box.
struct Place<'a> {
    name: &'a str,
    role: String,
    x: f64,
    y: f64,
    wide: f64,
}

impl Place<'_> {
    fn lay(&mut self, line: usize, lines: usize, at: usize, all: usize) {
        let room = WIDE / all.max(1) as f64;
        self.x = room * (at as f64 + 0.5);
        self.y = 30.0 + line.min(2) as f64 * STEP + lines as f64 * NEAR;
        self.wide = (room - 12.0).min(150.0);
    }
}

pub fn drawing(plan: &PortPlan, rows: &[&PlanRow], found: &Found<'_>) -> Markup {
    let (servers, devices, clients) = tiers(plan, rows, found);
    let named: BTreeSet<&str> = [&servers, &devices, &clients]
        .into_iter()
        .flatten()
        .map(|host| host.name.as_str())
        .collect();
    let left = plan.hosts.len() - servers.len() - devices.len() - clients.len();
    let more_words = match left {
        1 => t("1 more host").to_owned(),
        _ => tf("{} more hosts", &[&left]),
    };
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut line = 0;
    for tier in [&servers, &devices] {
        for (at, host) in tier.iter().enumerate() {
            let mut place = Place::of(host);
            place.lay(line, at / ACROSS, at % ACROSS, tier.len().min(ACROSS));
            places.push(place);
        }
        line += usize::from(!tier.is_empty());
    }
    let beneath = devices.len().div_ceil(ACROSS).saturating_sub(1);
    let mut boxes: Vec<Place<'_>> = clients.iter().map(|host| Place::of(host)).collect();
    if left > 0 {
        let role = t("the table has them all").to_owned();
        boxes.push(Place { name: &more_words, role, x: 0.0, y: 0.0, wide: 0.0 });
    }
    let across = boxes.len().div_ceil(boxes.len().div_ceil(ACROSS).max(1)).max(1);
    for (number, mut place) in boxes.into_iter().enumerate() {
        place.lay(line, beneath + number / across, number % across, across);
        places.push(place);
    }
    let high = places.iter().map(|place| place.y + TALL + 12.0).fold(0.0, f64::max);

    let mut lines: BTreeMap<(&str, &str), (State, BTreeSet<String>)> = BTreeMap::new();
    for row in rows {
        let of = |name| if named.contains(name) { name } else { more_words.as_str() };
        let way = (of(row.from.name.as_str()), of(row.to.name.as_str()));
        let state = found.state(row);
        let line = lines.entry(way).or_insert((State::Open, BTreeSet::new()));
        line.0 = line.0.max(state);
        line.1.insert(format!("{} {}", row.row, row.ports()));
    }
    let at = |name: &str| places.iter().find(|place| place.name == name);
    html! {
        svg.map viewBox=(format!("0 0 {WIDE:.0} {high:.0}")) role="img" aria-label=(t("The hosts of the suite and the connections between them; the table beneath says the same in words")) {
            defs {
                marker #arrow viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse" { path d="M0 0 L8 4 L0 8 z" fill="currentColor" stroke="none" {} }
            }
            @for ((from, to), (state, words)) in &lines {
                @if let (Some(from), Some(to)) = (at(from), at(to)) { (arrow(from, to, *state, words)) }
            }
            @for place in &places {
                g.host {
                    rect x=(format!("{:.0}", place.x - place.wide / 2.0)) y=(format!("{:.0}", place.y)) width=(format!("{:.0}", place.wide)) height=(format!("{TALL:.0}")) rx="7" {}
                    text x=(format!("{:.0}", place.x)) y=(format!("{:.0}", place.y + 19.0)) text-anchor="middle" { (short(place.name, place.wide)) @if short(place.name, place.wide) != place.name { title { (place.name) } } }
                    text.role x=(format!("{:.0}", place.x)) y=(format!("{:.0}", place.y + 35.0)) text-anchor="middle" { (short(&place.role, place.wide + 20.0)) }
                }
            }
        }
        p.quiet {
            (State::Open.badge(None)) " " (State::Shut.badge(None)) " " (State::Untried.badge(None)) " "
            (t("An arrow goes from who dials to who is dialled."))
            @if left > 0 { " " (t("Hosts with a way that is shut stand for themselves.")) }
        }
    }
}

impl<'a> Place<'a> {
    fn of(host: &'a PlanHost) -> Self {
        Self { name: &host.name, role: host.role.clone(), x: 0.0, y: 0.0, wide: 0.0 }
    }
}

/// A name as long as its box.
fn short(name: &str, wide: f64) -> String {
    let room = (wide / 7.5) as usize;
    if name.chars().count() <= room {
        return name.to_owned();
    }
    name.chars().take(room.saturating_sub(1)).chain(['…']).collect()
}

fn arrow(from: &Place<'_>, to: &Place<'_>, state: State, words: &BTreeSet<String>) -> Markup {
    let down = to.y >= from.y;
    let shift = if down { 6.0 } else { -6.0 };
    let (begin, end) = match (to.y - from.y).abs() < 1.0 {
        true => (from.y + TALL / 2.0, to.y + TALL / 2.0),
        false if down => (from.y + TALL, to.y),
        false => (from.y, to.y + TALL),
    };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let path = format!("M{:.0} {begin:.0} L{:.0} {end:.0}", from.x + shift, to.x + shift);
    html! {
        path class=(state.class()) marker-end="url(#arrow)" d=(path) { title { (from.name) " → " (to.name) ": " (words.join(", ")) } }
    }
}

type Tiers<'a> = (Vec<&'a PlanHost>, Vec<&'a PlanHost>, Vec<&'a PlanHost>);

/// Servers, and the devices and clients that stand for themselves: all where they fit, else those in trouble.
fn tiers<'a>(plan: &'a PortPlan, rows: &[&PlanRow], found: &Found<'_>) -> Tiers<'a> {
    let of = |role: &'static str| plan.hosts.iter().filter(move |host| host.role == role);
    let servers: Vec<_> = of("server").collect();
    let mut devices: Vec<_> = of("rds").collect();
    let rest = plan.hosts.iter().filter(|host| host.role != "server" && host.role != "rds");
    let mut clients: Vec<&PlanHost> = rest.collect();
    let shut: BTreeSet<&str> = rows
        .iter()
        .filter(|row| found.state(row) == State::Shut)
        .flat_map(|row| [row.from.name.as_str(), row.to.name.as_str()])
        .collect();
    if devices.len() > ACROSS * LINES {
        // Those in trouble first, in their order.
        devices.sort_by_key(|host| !shut.contains(host.name.as_str()));
        devices.truncate(ACROSS * LINES);
    }
    if clients.len() > ACROSS * DOWN {
        clients.retain(|host| shut.contains(host.name.as_str()));
        clients.truncate(ACROSS * DOWN - 1);
    }
    (servers, devices, clients)
}
