//! Datastores: room, drives, checks, damages and their healing.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::Right;
use simsim_server::api::{
    DamageView, DatastoreView, DriveView, JobDetail, JobReply, JobView, MigrationView,
    ReplicationView, RetentionRunReply, RetentionRunRequest, SavesetView,
};

use crate::pages::jobs::lately;
use crate::parts::{
    Page, Place, Tone, act as button, alert, asked, badge, command, empty, facts, form, link,
    meter, quoted, section, table,
};
use crate::text::{t, tf};
use crate::visit::{Answer, Failure, Shown, Visit};
use crate::words::{count, size, when, when_or};

fn room(store: &DatastoreView) -> Markup {
    html! {
        @match &store.device {
            Some(device) => {
                @let used = device.capacity_bytes.saturating_sub(device.free_bytes);
                @let part = used as f64 / device.capacity_bytes.max(1) as f64;
                @let tone = if part > 0.95 { Tone::Bad } else if part > 0.85 { Tone::Warn } else { Tone::Good };
                @let words = tf("{} free of {}", &[&size(device.free_bytes), &size(device.capacity_bytes)]);
                (meter(used, device.capacity_bytes, &words, tone)) (words)
            }
            None => { (badge(Tone::Bad, t("not reached"))) " " span.quiet { (store.trouble.as_deref().unwrap_or_default()) } }
        }
    }
}

pub async fn list(visit: &Visit) -> Shown {
    let stores: Vec<DatastoreView> = visit.look("datastore.list").await?;
    let replications: Option<Vec<ReplicationView>> =
        visit.glance("replication.list", Value::Null).await?;
    let replications = replications.unwrap_or_default();
    let rows = stores.iter().map(|store| {
        let drives: Vec<String> = store.drives.iter().map(|drive| drive.number.to_string()).collect();
        vec![
            html! { a href=(link(&["storage", &store.name])) { (store.name) } },
            html! { a href=(link(&["clients", &store.node])) { (store.node) } br; span.mono.quiet { (store.path) } },
            html! { (drives.join(", ")) },
            html! { (count(store.savesets)) },
            html! { (store.device.as_ref().map_or_else(String::new, |device| size(device.packs_bytes))) },
            room(store),
            html! { (store.device.as_ref().map_or("", |device| device.condition.as_str())) },
        ]
    });
    let migrations: Option<Vec<MigrationView>> =
        visit.glance("migration.list", Value::Null).await?;
    let moves = migrations.unwrap_or_default();
    let copies = replications.iter().map(|one| {
        vec![
            html! { a href=(link(&["set-up", "replications", "change", &one.name])) { (one.name) } },
            html! { (one.source) " → " (one.target) },
            html! { (count(one.savesets)) },
            html! { @if one.missing == 0 { (badge(Tone::Good, t("all there"))) } @else { (badge(Tone::Warn, &tf("{} missing", &[&count(one.missing)]))) } },
        ]
    });
    let body = html! {
        h1 { (t("Storage")) }
        div.acts {
            @if visit.may(Right::Administer) { a.button.first href="/set-up/datastores/new" { (t("Make a datastore")) } }
            a.button href="/set-up/drive-groups" { (t("Drive groups")) }
            a.button href="/set-up/pools" { (t("Media pools")) }
            a.button href="/retention" { (t("What goes when")) }
            @if visit.may(Right::Delete) { (button(visit, "/storage/all/retention", t("Delete what has expired"), "")) }
        }
        @if stores.is_empty() {
            (empty(t("There is no datastore yet. A datastore is a folder in which backups are kept, without duplicates."), Some(("/set-up/datastores/new", t("Make a datastore")))))
        } @else {
            (section(t("Datastores"), table(t("Datastores"), &[t("Name"), t("Where"), t("Drives"), t("Savesets"), t("Takes"), t("Room"), t("Condition")], rows.collect())))
        }
        (section(t("Replications"), html! {
            @if replications.is_empty() { (empty(t("Nothing is copied to another datastore yet."), Some(("/set-up/replications/new", t("Add a replication"))))) }
            @else { (table(t("Replications"), &[t("Name"), t("Way"), t("Savesets"), t("Copies")], copies.collect())) }
        }))
        @if !moves.is_empty() {
            (section(t("Migrations"), html! {
                @let rows = moves.iter().map(|one| vec![
                    html! { a href=(link(&["set-up", "migrations", "change", &one.name])) { (one.name) } },
                    html! { (one.source) " → " (one.target) },
                    html! { (count(one.savesets)) },
                    html! { (tf("{} not copied, {} not proven", &[&count(one.missing), &count(one.unproven)])) },
                ]).collect();
                (table(t("Migrations"), &[t("Name"), t("Way"), t("Savesets"), t("To do")], rows))
            }))
        }
    };
    Ok(Page::new(t("Storage"), Place::Storage, body).into())
}

pub async fn show(visit: &Visit, name: &str) -> Shown {
    let stores: Vec<DatastoreView> = visit.look("datastore.list").await?;
    let store = stores.into_iter().find(|store| store.name == name);
    let store =
        store.ok_or_else(|| Failure::not_found(tf("There is no datastore '{}'.", &[&name])))?;
    let savesets: Vec<SavesetView> =
        visit.ask("saveset.list", json!({ "datastore": name, "limit": 50 })).await?;
    let jobs: Vec<JobView> = visit.ask("job.list", json!({ "limit": 200 })).await?;
    let jobs: Vec<JobView> = jobs
        .into_iter()
        .filter(|job| job.datastore == name && job.kind != "backup" && job.kind != "restore")
        .take(10)
        .collect();
    let replications: Option<Vec<ReplicationView>> =
        visit.glance("replication.list", Value::Null).await?;
    let damaged: Vec<DamageView> =
        visit.ask("datastore.damage", json!({ "datastore": name })).await?;
    // What the last check of the whole datastore said, piece by piece.
    let checks = ["verify", "scrub", "heal"];
    let said = |job: &&JobView| {
        let state = job.state.to_string().replace(' ', "_");
        checks.contains(&job.kind.as_str())
            && ["finished", "finished_with_errors"].contains(&&*state)
    };
    let last = jobs.iter().find(said).filter(|job| job.problems > 0);
    let checked: Option<JobDetail> = match last {
        Some(job) => visit.glance("job.show", json!({ "job": job.job })).await?,
        None => None,
    };
    let body = html! {
        h1 { (store.name) " " @if store.state != "active" { (badge(Tone::Quiet, &store.state)) } }
        @if let Some(trouble) = &store.trouble { (alert(Tone::Bad, html! { p { (trouble) } })) }
        (acts(visit, &store, &replications.unwrap_or_default()))
        (section(t("About it"), html! {
            (facts(about(&store)))
            (room(&store))
        }))
        (section(t("Drives"), html! {
            @let rows = store.drives.iter().map(|drive| drive_row(visit, &store, drive)).collect();
            (table(t("Drives"), &[t("Number"), t("Jobs at once"), t("Group"), t("Act")], rows))
            @if visit.may(Right::Administer) { (button(visit, &link(&["storage", name, "drive"]), t("Add a drive"), "")) (command(&format!("simsim datastore add-drive {}", quoted(name)))) }
        }))
        (section(t("Damage and healing"), harm(visit, &store, &damaged, checked.as_ref())))
        (section(t("Newest savesets"), html! {
            @let rows = savesets.iter().map(|one| { let id = one.saveset.to_string(); vec![
                html! { a href=(link(&["savesets", &id])) { (when(one.committed_unix_ms)) } },
                html! { (one.client) }, html! { (one.task) }, html! { (crate::words::level(one.level)) }, html! { (size(one.bytes)) }, html! { (size(one.bytes_stored)) },
            ] }).collect();
            @if savesets.is_empty() { p.quiet { (t("None yet.")) } } @else { (table(t("Newest savesets"), &[t("Saved"), t("Client"), t("Task"), t("Level"), t("Size"), t("Added")], rows)) }
        }))
        (lately(t("Checks, collections and healing"), &jobs, "/jobs"))
    };
    Ok(Page::new(&*store.name, Place::Storage, body).into())
}

fn drive_row(visit: &Visit, store: &DatastoreView, drive: &DriveView) -> Vec<Markup> {
    let may = visit.may(Right::Administer);
    let number = drive.number.to_string();
    let way = |act: &str| asked(&link(&["storage", &store.name, act]), &[("number", &number)]);
    let label = tf("Jobs at once by drive {}", &[&number]);
    vec![
        html! { (number) },
        html! {
            @if may {
                (form(visit, &way("change-drive"), html! {
                    input type="number" name="jobs" min="1" max="1000" required aria-label=(label) value=(drive.jobs_max); " "
                    button type="submit" { (t("Save")) }
                }))
            } @else { (drive.jobs_max) }
        },
        html! { (drive.group.as_deref().unwrap_or("–")) },
        html! { @if may && store.drives.len() > 1 { (button(visit, &way("remove-drive"), t("Remove"), "danger")) } },
    ]
}

/// Damaged savesets that a page names.
const SAVESETS: usize = 100;
/// Damage that a page names, piece by piece.
const PIECES: usize = 20;

/// What is known to be damaged, and what puts it right.
fn harm(
    visit: &Visit,
    store: &DatastoreView,
    damaged: &[DamageView],
    checked: Option<&JobDetail>,
) -> Markup {
    let since = store.device.as_ref().and_then(|device| device.checked_since_unix_ms);
    let rows = damaged.iter().take(SAVESETS).map(|one| {
        let id = one.saveset.to_string();
        vec![
            html! { a.mono href=(link(&["savesets", &id])) { (id.get(..12).unwrap_or(&id)) } @if one.is_copy { " " span.quiet { (t("copy")) } } },
            html! { (one.client) }, html! { (one.task) }, when(one.found_unix_ms),
            html! { @if one.sound_in.is_empty() { (badge(Tone::Bad, t("nowhere else"))) } @else { (badge(Tone::Good, &one.sound_in.join(", "))) } },
            html! {
                @for by in &one.healed_by { @if visit.may(Right::Maintain) { (button(visit, &asked(&link(&["storage", &store.name, "heal"]), &[("by", by)]), &tf("Heal it by {}", &[by]), "")) } @else { (by) } }
                @if one.healed_by.is_empty() { span.quiet { (t("the next backup brings what its files still hold")) } }
            },
        ]
    });
    html! {
        @if damaged.is_empty() && checked.is_none() {
            p { (badge(Tone::Good, t("no damage is known"))) " " @if let Some(since) = since { (t("Everything was checked since ")) (when(since)) } @else { span.quiet { (t("Not everything has been checked yet.")) } } }
        } @else if damaged.is_empty() {
            p { (badge(Tone::Bad, t("damaged"))) " " (t("The last check found damage. Which savesets need it, a check of theirs says.")) }
        } @else {
            (table(t("Damaged savesets"), &[t("Saveset"), t("Client"), t("Task"), t("Found"), t("Sound in"), t("Healing")], rows.collect()))
            @if damaged.len() > SAVESETS { p.quiet { (tf("and {} more", &[&(damaged.len() - SAVESETS)])) } }
            (command(&format!("simsim datastore damage {}", quoted(&store.name))))
        }
        @if let Some(checked) = checked {
            h3 { (t("Damaged pieces, as the last check told them")) }
            ul.plain { @for problem in checked.problem_list.iter().take(PIECES) { li { (problem.message) } } }
            p { a href=(format!("/jobs/{}?problems=all", checked.job.job)) { (tf("All {}", &[&count(checked.job.problems)])) } }
        }
    }
}

fn about(store: &DatastoreView) -> Vec<(&'static str, Markup)> {
    let mut pairs = vec![
        (t("Host"), html! { a href=(link(&["clients", &store.node])) { (store.node) } }),
        (t("Folder"), html! { span.mono { (store.path) } }),
        (t("Savesets"), html! { (count(store.savesets)) }),
    ];
    if let Some(device) = &store.device {
        pairs.push((t("Takes"), html! { (size(device.packs_bytes)) }));
        pairs.push((t("Chunks"), html! { (count(device.chunks)) }));
        pairs.push((t("Condition"), html! { (device.condition) }));
        pairs.push((t("All checked since"), html! {
            @if device.packs_never_checked > 0 { (badge(Tone::Warn, &tf("{} of {} packs never", &[&count(device.packs_never_checked), &count(device.packs)]))) " " }
            (when_or(device.checked_since_unix_ms, t("never")))
        }));
    }
    pairs.push((t("Made"), when(store.created_unix_ms)));
    pairs
}

fn acts(visit: &Visit, store: &DatastoreView, replications: &[ReplicationView]) -> Markup {
    let name = store.name.as_str();
    let way = |act: &str| link(&["storage", name, act]);
    let healers = replications.iter().filter(|one| one.source == name || one.target == name);
    html! {
        @if visit.may(Right::Maintain) {
            div.acts {
                (button(visit, &way("check"), t("Check its structure"), "first"))
                (button(visit, &way("check-bytes"), t("Check every byte"), ""))
                (button(visit, &way("scrub"), t("Scrub for ten minutes"), ""))
                (button(visit, &way("collect"), t("Collect garbage"), ""))
                @for one in healers { (button(visit, &asked(&way("heal"), &[("by", &one.name)]), &tf("Heal it by {}", &[&one.name]), "")) }
            }
            details {
                summary { (t("More")) }
                div.acts {
                    (button(visit, &way("rebuild"), t("Make its index again"), ""))
                    @if visit.may(Right::Administer) {
                        @if store.state == "active" { (button(visit, &way("detach"), t("Take it out of service"), "danger")) }
                        @else { (button(visit, &way("remove"), t("Forget it"), "danger")) }
                    }
                }
                p.quiet { (t("Taken out of service, its savesets stay listed, and it can be attached again, also elsewhere.")) }
            }
            (command(&format!("simsim verify --datastore {} --bytes", quoted(name))))
        }
    }
}

pub async fn act(visit: &Visit, name: &str, act: &str) -> Shown {
    let back = link(&["storage", name]);
    let Some(_) = visit.sent() else { return Ok(Answer::See(back)) };
    let queued: JobReply = match act {
        "check" => visit.ask("datastore.verify", json!({ "datastore": name })).await?,
        "check-bytes" => {
            visit.ask("datastore.verify", json!({ "datastore": name, "depth": "bytes" })).await?
        }
        "scrub" => {
            visit
                .ask(
                    "datastore.scrub",
                    json!({ "datastore": name, "budget": { "minutes_max": 10 } }),
                )
                .await?
        }
        "collect" => visit.ask("datastore.collect", json!({ "datastore": name })).await?,
        "rebuild" => visit.ask("datastore.rebuild-index", json!({ "datastore": name })).await?,
        "heal" => {
            let by = visit.query.get("by").unwrap_or_default();
            visit.ask("replication.heal", json!({ "name": by, "datastore": name })).await?
        }
        "drive" => {
            let _: Value = visit.ask("drive.add", json!({ "datastore": name })).await?;
            return Ok(Answer::See(back));
        }
        "change-drive" | "remove-drive" => {
            let number = visit.query.get("number").and_then(|number| number.parse::<u32>().ok());
            let jobs = visit.sent().and_then(|form| form.get("jobs")?.parse::<u32>().ok());
            let _: Value = match act {
                "change-drive" => {
                    visit.ask("drive.change", json!({ "number": number, "jobs_max": jobs })).await?
                }
                _ => visit.ask("drive.remove", json!({ "number": number })).await?,
            };
            return Ok(Answer::See(back));
        }
        "remove" => {
            let _: Value = visit.ask("datastore.remove", json!({ "name": name })).await?;
            return Ok(Answer::See("/storage".to_owned()));
        }
        "detach" => {
            let _: Value = visit.ask("datastore.detach", json!({ "name": name })).await?;
            return Ok(Answer::See("/storage".to_owned()));
        }
        "retention" => {
            let request =
                RetentionRunRequest { dry_run: visit.query.has("try"), over_budget: false };
            let done: RetentionRunReply = visit.ask("retention.run", request).await?;
            return Ok(expired(&done).into());
        }
        _ => return Err(Failure::not_found(visit.path.clone())),
    };
    Ok(Answer::See(format!("/jobs/{}", queued.job)))
}

/// What a run of retention came to.
fn expired(done: &RetentionRunReply) -> Page {
    let body = html! {
        h1 { (t("Delete what has expired")) }
        (facts(vec![
            (t("Expired"), html! { (done.expired.len()) ", " (size(done.bytes)) }),
            (t("Deleted now"), html! { (count(done.deleted)) }),
            (t("Decided, not done yet"), html! { (count(done.waiting)) }),
        ]))
        @if let Some(frozen) = &done.frozen { (alert(Tone::Warn, html! { p { (frozen) } })) }
        @for trouble in &done.trouble { (alert(Tone::Warn, html! { p { (trouble) } })) }
        p { (t("Collecting garbage frees the room that they took.")) }
        (command("simsim retention run --dry-run"))
        p { a href="/storage" { (t("To the storage")) } }
    };
    Page::new(t("Delete what has expired"), Place::Storage, body)
}
