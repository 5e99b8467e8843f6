//! Trying a policy before it counts.

use maud::html;
use serde_json::json;
use simsim_server::api::{PoolView, SimulationView};

use crate::parts::{
    Page, Place, Tone, alert, choice, command, empty, link, quoted, section, table,
};
use crate::text::{t, tf, tn};
use crate::visit::{Shown, Visit};
use crate::words::{size, when};

/// Savesets that are listed.
const SHOWN: usize = 300;

pub async fn show(visit: &Visit) -> Shown {
    let pools: Vec<PoolView> = visit.look("pool.list").await?;
    let pool = visit.query.get("pool").unwrap_or("default");
    let policy = visit.query.get("policy").map(str::to_owned);
    let policy =
        policy.or_else(|| pools.iter().find(|one| one.name == pool).map(|one| one.policy.clone()));
    let policy = policy.unwrap_or_default();
    let names: Vec<_> = pools
        .iter()
        .map(|one| (one.name.clone(), format!("{} ({})", one.name, one.policy)))
        .collect();
    let found: Option<SimulationView> = match visit.query.has("policy") {
        true => {
            Some(visit.ask("retention.simulate", json!({ "pool": pool, "policy": policy })).await?)
        }
        false => None,
    };
    let body = html! {
        h1 { (t("What goes when")) }
        p { (t("Nothing is changed here: choose a media pool, type another policy, and see what it would delete.")) }
        form.filters method="get" action="/retention" {
            div { (choice("pool", t("Media pool"), &names, pool)) }
            div { label for="policy" { (t("Policy")) } input #policy name="policy" size="40" value=(policy) placeholder="last 7, daily 14, weekly 8"; }
            button.first type="submit" { (t("Try it")) }
        }
        @if let Some(found) = &found {
            @if let Some(frozen) = &found.frozen { (alert(Tone::Warn, html! { p { (frozen) } })) }
            @if !found.emptied.is_empty() {
                (alert(Tone::Bad, html! { p { (t("These tasks would be left without any saveset that can be restored, which takes a second person: ")) (found.emptied.join(", ")) } }))
            }
            (section(&tf("{} would go, which added {}", &[&tn(found.expires.len(), t("1 saveset"), t("{} savesets")), &size(found.bytes)]), html! {
                @if found.expires.is_empty() { (empty(t("Nothing that is kept now would expire."), None)) } @else {
                    @let rows = found.expires.iter().take(SHOWN).map(|one| {
                        let id = one.saveset.to_string();
                        vec![html! { a.mono href=(link(&["savesets", &id])) { (id.get(..12).unwrap_or(&id)) } }, html! { (one.task) }, html! { (one.datastore) }, when(one.stamped_unix_ms), html! { (size(one.bytes)) }]
                    }).collect();
                    (table(t("What would go"), &[t("Saveset"), t("Task"), t("Datastore"), t("Made"), t("Added")], rows))
                    p.quiet { (t("What a collection frees then is another number: what other savesets need stays, and what deleted ones left to these alone goes too.")) }
                    @if found.expires.len() > SHOWN { p.quiet { (tf("and {} more", &[&(found.expires.len() - SHOWN)])) } }
                }
                @if !found.kept_again.is_empty() { p { (tf("{} that are expired now would be kept again.", &[&found.kept_again.len()])) } }
            }))
            (command(&format!("simsim retention simulate {} --policy {}", quoted(pool), quoted(&policy))))
            p { a.button href=(link(&["set-up", "pools", "change", pool])) { (t("Change the pool")) } }
        }
    };
    Ok(Page::new(t("What goes when"), Place::SetUp, body).into())
}
