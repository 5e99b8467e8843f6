//! Hosts: who has joined, how they are reached, and letting another one join.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::Right;
use simsim_server::api::{
    ClientView, InterfacesView, JobView, JoinCodeReply, LocationView, TaskView,
};

use crate::find::Find;
use crate::pages::jobs::lately;
use crate::parts::{
    Page, Place, Tone, act as button, alert, asked, badge, block, choice, command, empty, facts,
    form, link, quoted, section, table,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::web::Web;
use crate::words::{now, since, when, when_or};

/// Hosts of one page.
const HOSTS: usize = 100;

/// How a host is reached now.
fn reached(one: &ClientView) -> Markup {
    match (one.state.as_str(), one.connected) {
        ("revoked", _) => badge(Tone::Quiet, t("revoked")),
        (_, true) => badge(Tone::Good, t("reached")),
        (_, false) => badge(Tone::Bad, t("not reached")),
    }
}

pub async fn list(visit: &Visit) -> Shown {
    let clients: Vec<ClientView> = visit.look("client.list").await?;
    let revoked = visit.query.has("revoked");
    let now = now();
    let away = visit.query.has("away");
    let find = Find::of(visit);
    let fits = |one: &&ClientView| {
        let state = if away {
            !one.connected && one.state != "revoked"
        } else {
            revoked || one.state != "revoked"
        };
        state && (find.fits(&one.name) || one.location.as_deref().is_some_and(|it| find.fits(it)))
    };
    let mut shown: Vec<&ClientView> = clients.iter().filter(fits).collect();
    // What needs somebody comes first.
    shown.sort_by_key(|one| one.connected || one.state == "revoked");
    let rows = find.page_of(&shown, HOSTS).iter().map(|one| {
        vec![
            html! { a href=(link(&["clients", &one.name])) { (one.name) } },
            html! { (reached(one)) @if let Some(trouble) = &one.trouble { br; span.quiet { (trouble) } } },
            html! { (one.roles.join(", ")) },
            html! { (one.access_mode.as_str()) @if one.warning.is_some() { " " (badge(Tone::Warn, t("not encrypted"))) } },
            html! { (one.location.as_deref().unwrap_or_default()) },
            html! { (one.platform) " · " (one.suite_version) },
            html! { @match one.last_seen_unix_ms { Some(at) => (since(at, now)), None => span.quiet { (t("never")) } } },
        ]
    });
    let live = html! {
        @if clients.is_empty() { (empty(t("No host has joined yet."), Some(("/clients/add", t("Let a host join"))))) }
        @else if shown.is_empty() { (empty(t("No client fits."), Some(("/clients", t("All clients"))))) }
        @else { (table(t("Clients"), &[t("Name"), t("State"), t("Roles"), t("Access"), t("Location"), t("System"), t("Seen")], rows.collect())) }
        (find.pages("/clients", shown.len(), HOSTS))
    };
    let body = html! {
        h1 { (t("Clients")) }
        div.acts {
            @if visit.may(Right::Administer) { a.button.first href="/clients/add" { (t("Let a host join")) } }
            @if !revoked && clients.iter().any(|one| one.state == "revoked") { a href="/clients?revoked=1" { (t("Show revoked ones too")) } }
            @if away { a href="/clients" { (t("All clients")) } } @else if clients.len() > 10 { a href="/clients?away=1" { (t("Those that are not reached")) } }
        }
        (find.form("/clients", clients.len() > 10))
    };
    Ok(Page::new(t("Clients"), Place::SetUp, body).with_live(live).into())
}

pub async fn add(web: &Web, visit: &Visit) -> Shown {
    let fields = visit.sent();
    let name = fields.and_then(|fields| fields.get("name"));
    let outbound = fields.is_some_and(|fields| fields.has("outbound"));
    let made: Option<JoinCodeReply> = match fields {
        Some(_) => {
            let request = json!({ "name": name, "outbound": outbound });
            Some(visit.ask("client.join-code", request).await?)
        }
        None => None,
    };
    let words = name.map_or_else(String::new, |name| format!(" {}", quoted(name)));
    let body = html! {
        h1 { (t("Let a host join")) }
        @if let Some(made) = &made {
            (section(t("Type this on the host that joins"), html! {
                (block(&made.command))
                p { (t("The code serves once, until ")) (when(made.expires_unix_ms)) "." }
                p { (tf("The host shows up among the clients as soon as it has joined {}.", &[&web.name()])) " " a href="/clients" { (t("See the clients")) } }
            }))
        }
        (section(t("A one-time code"), form(visit, "/clients/add", html! {
            div.fields {
                div.field {
                    label for="name" { (t("Name")) " " span.quiet { (t("may be left open")) } }
                    input #name name="name" value=(name.unwrap_or_default()) aria-describedby="name-help";
                    p.help #name-help { (t("Only a host of this name may join then; a host that was here before gets its place back.")) }
                }
                div.field.box {
                    input #outbound type="checkbox" name="outbound" value="1" checked[outbound] aria-describedby="outbound-help";
                    label for="outbound" { (t("Nobody can dial it: it calls this server")) }
                    p.help #outbound-help { (t("For hosts behind a translator of addresses. It needs one port of this server and no port of its own.")) }
                }
                div.acts { button.first type="submit" { (t("Make a code")) } }
            }
        })))
        (section(t("What will be needed"), html! {
            ul {
                li { (t("simsim on the host, as its own binary: nothing else is installed.")) }
                li { (t("A way between the two: the page Ports says which, and with what rule of a firewall.")) }
            }
            (command(&format!("simsim client code{words}")))
        }))
    };
    Ok(Page::new(t("Let a host join"), Place::SetUp, body).into())
}

pub async fn show(visit: &Visit, name: &str) -> Shown {
    let clients: Vec<ClientView> = visit.look("client.list").await?;
    let one = clients.into_iter().find(|one| one.name == name);
    let one = one.ok_or_else(|| Failure::not_found(tf("There is no client '{}'.", &[&name])))?;
    let tasks: Vec<TaskView> = visit.look("task.list").await?;
    let tasks: Vec<_> = tasks.into_iter().filter(|task| task.client == name).collect();
    let jobs: Vec<JobView> = visit.ask("job.list", json!({ "client": name, "limit": 10 })).await?;
    let (mut interfaces, mut locations) = (None, Vec::new());
    if visit.sees_all() {
        let all: Vec<InterfacesView> = visit.look("interface.list").await?;
        interfaces = all.into_iter().find(|view| view.host == name);
        locations = visit.look::<Vec<LocationView>>("location.list").await?;
    }
    let body = html! {
        h1 { (one.name) " " (reached(&one)) }
        @if let Some(warning) = &one.warning { (alert(Tone::Warn, html! { p { (warning) } })) }
        @if let Some(trouble) = &one.trouble { (alert(Tone::Bad, html! { p { (trouble) } p { a href="/ports" { (t("See which ways are open")) } } })) }
        div.acts {
            a.button.first href=(asked("/restore", &[("client", name)])) { (t("Restore")) }
            a.button href=(asked("/set-up/tasks/new", &[("client", name)])) { (t("Add a task")) }
            @if one.wake.is_some() && visit.may(Right::Backup) { (button(visit, &link(&["clients", name, "wake"]), t("Wake it"), "")) }
        }
        (section(t("About it"), facts(vec![
            (t("Roles"), html! { (one.roles.join(", ")) }),
            (t("System"), html! { (one.platform) ", simsim " (one.suite_version) }),
            (t("Addresses"), html! { (one.addresses.join(", ")) }),
            (t("Access"), html! { (one.access_mode.as_str()) }),
            (t("Location"), html! { (one.location.as_deref().unwrap_or("–")) }),
            (t("Joined"), when(one.enrolled_unix_ms)),
            (t("Seen"), when_or(one.last_seen_unix_ms, t("never"))),
            (t("Key"), html! { span.mono { (one.fingerprint) } }),
        ])))
        (section(t("Tasks"), tasks_of(&tasks, name)))
        @if visit.may(Right::Administer) && visit.sees_all() { (settings(visit, &one, interfaces.as_ref(), &locations)) }
        (lately(t("Jobs"), &jobs, &asked("/jobs", &[("client", name)])))
    };
    Ok(Page::new(name, Place::SetUp, body).into())
}

fn tasks_of(tasks: &[TaskView], client: &str) -> Markup {
    if tasks.is_empty() {
        let to = asked("/set-up/tasks/new", &[("client", client)]);
        return empty(t("Nothing of this host is backed up yet."), Some((&to, t("Add a task"))));
    }
    html! {
        ul.plain {
            @for task in tasks {
                li {
                    (badge(if task.health.green { Tone::Good } else if task.health.overdue { Tone::Bad } else { Tone::Warn }, if task.health.green { t("green") } else { t("not green") })) " "
                    a href=(link(&["tasks", &task.name])) { (task.name) } " " span.mono { (task.sources.join(" ")) }
                }
            }
        }
    }
}

fn settings(
    visit: &Visit,
    one: &ClientView,
    interfaces: Option<&InterfacesView>,
    locations: &[LocationView],
) -> Markup {
    let name = one.name.as_str();
    let way = |act: &str| link(&["clients", name, act]);
    let modes = [
        ("smssh", t("SMSSH: the server dials, encrypted")),
        ("outbound", t("OUTBOUND: the host calls, encrypted")),
        ("ctrl", t("CTRL: the server dials, not encrypted")),
    ];
    let modes: Vec<_> = modes.map(|(value, words)| (value.to_owned(), words.to_owned())).to_vec();
    let mut places = vec![(String::new(), t("nowhere").to_owned())];
    places.extend(locations.iter().map(|one| (one.name.clone(), one.name.clone())));
    html! {
        details #settings {
            summary { (t("Change it")) }
            div.grid {
                (section(t("How it is reached"), html! {
                    (form(visit, &way("access"), html! {
                        (choice("access", t("Access mode"), &modes, one.access_mode.as_str().to_lowercase().as_str())) " "
                        button type="submit" { (t("Save")) }
                        (command(&format!("simsim client set {} --access-mode smssh", quoted(name))))
                    }))
                    (form(visit, &way("addresses"), html! {
                        label for="addresses" { (t("Addresses, one a line")) }
                        textarea #addresses name="addresses" { (one.addresses.join("\n")) }
                        button type="submit" { (t("Save")) }
                    }))
                }))
                (section(t("Where it stands"), html! {
                    (form(visit, &way("place"), html! {
                        (choice("location", t("Location"), &places, one.location.as_deref().unwrap_or_default())) " "
                        button type="submit" { (t("Save")) }
                    }))
                    (form(visit, &way("set-wake"), html! {
                        label for="card" { (t("Network card that wakes it")) }
                        input #card name="card" placeholder="00:1b:44:11:3a:b7" value=(one.wake.as_ref().map_or("", |wake| wake.card.as_str())); " "
                        button type="submit" { (t("Save")) }
                        p.quiet { (t("A job that finds it asleep wakes it and waits. Empty: it is not woken.")) }
                    }))
                }))
                @if one.state == "enrolled" {
                    (section(t("Ways for its data"), html! {
                        (form(visit, &way("interfaces"), html! {
                            label for="choices" { (t("Interfaces or protocols in order, one a line")) }
                            textarea #choices name="choices" { (interfaces.map_or(String::new(), |view| view.choices.join("\n"))) }
                            button type="submit" { (t("Save")) }
                            p.quiet { (t("Empty: whatever the device has.")) }
                        }))
                    }))
                }
                (section(t("Keys and leave"), html! {
                    (form(visit, &way("rotate"), html! {
                        button type="submit" { (t("Give it another TLS key")) }
                        p.quiet { (t("Jobs go on; both keys count until the new one is known everywhere.")) }
                    }))
                    (form(visit, &way("revoke"), html! {
                        button.danger type="submit" data-confirm=(tf("Take all rights from {}? Its jobs end now; its savesets stay.", &[&name])) { (t("Revoke it")) }
                        p.quiet { (t("For a stolen or retired host. It takes effect within a minute; its savesets stay.")) }
                    }))
                }))
            }
        }
    }
}

pub async fn act(visit: &Visit, name: &str, act: &str) -> Shown {
    let back = link(&["clients", name]);
    let Some(fields) = visit.sent() else { return Ok(Answer::See(back)) };
    let (verb, request) = match act {
        "access" => ("client.set", json!({ "name": name, "access_mode": fields.get("access") })),
        "addresses" => {
            ("client.addresses", json!({ "name": name, "addresses": fields.lines("addresses") }))
        }
        "place" => ("client.place", json!({ "name": name, "location": fields.get("location") })),
        "set-wake" => {
            let wake = fields.get("card").map(|card| json!({ "card": card }));
            ("client.set-wake", json!({ "name": name, "wake": wake }))
        }
        "wake" => ("client.wake", json!({ "name": name })),
        "interfaces" => {
            ("interface.choose", json!({ "client": name, "choices": fields.lines("choices") }))
        }
        "rotate" => ("client.rotate-key", json!({ "name": name })),
        "revoke" => ("client.revoke", json!({ "name": name })),
        _ => return Err(Failure::not_found(visit.path.clone())),
    };
    let _: Value = visit.ask(verb, request).await?;
    Ok(Answer::See(back))
}
