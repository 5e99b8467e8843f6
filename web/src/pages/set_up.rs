//! Everything that an administrator sets, in the order in which it is needed.

use maud::html;

use crate::objects::KINDS;
use crate::parts::{Page, Place, command, section};
use crate::text::t;
use crate::visit::{Shown, Visit};

pub async fn show(visit: &Visit) -> Shown {
    let _ = visit;
    let groups: [(&str, &[&str]); 5] = [
        (t("Where backups go"), &["datastores", "drive-groups", "pools"]),
        (t("What is backed up"), &["tasks", "task-groups", "commands"]),
        (t("When it runs"), &["events", "schedules", "calendars"]),
        (t("Copies and ways"), &["replications", "migrations", "interfaces", "rates", "locations"]),
        (
            t("Who is told, who may"),
            &["notifications", "users", "identity-providers", "api-tokens", "stream-tokens"],
        ),
    ];
    let body = html! {
        h1 { (t("Set up")) }
        div.grid {
            (section(t("Hosts"), html! { ul.plain { li { a href="/clients" { (t("Clients")) } br; span.quiet { (t("Hosts that have joined: whose files are backed up, and which keep datastores.")) } } li { a href="/kit" { (t("Recovery kit")) } br; span.quiet { (t("The piece of paper with which everything comes back.")) } } } }))
            @for (title, nouns) in groups {
                (section(title, html! {
                    ul.plain {
                        @for noun in nouns {
                            @if let Some(kind) = KINDS.iter().find(|kind| kind.noun == *noun) {
                                li { a href=(format!("/set-up/{}", kind.noun)) { (t(kind.title)) } br; span.quiet { (t(kind.about)) } }
                            }
                        }
                    }
                }))
            }
            (section(t("See before"), html! { ul.plain {
                li { a href="/set-up/plan" { (t("Plan of the next days")) } br; span.quiet { (t("What will run when, what is left out and why, what collides.")) } }
                li { a href="/retention" { (t("What goes when")) } br; span.quiet { (t("Try another policy on a media pool, and see what it would delete.")) } }
            } }))
        }
        (section(t("As a file"), html! {
            p { (t("All of this can be printed, compared and applied as one file.")) }
            (command("simsim config export suite.toml"))
            (command("simsim config apply suite.toml --dry-run"))
        }))
    };
    Ok(Page::new(t("Set up"), Place::SetUp, body).into())
}
