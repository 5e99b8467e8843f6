//! Oneself: password and rights; and the recovery kit of the suite.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::api::{
    ConsoleSessionView, KitProofReply, KitReply, KitState, OneTimeReply, Status,
};
use simsim_server::{Grant, Right};

use crate::pages::people;
use crate::parts::{Page, Place, Tone, alert, badge, command, facts, form, section};
use crate::text::{t, tf};
use crate::visit::{Shown, Visit};
use crate::words::when;

pub async fn show(visit: &Visit) -> Shown {
    let mut told = html! {};
    if let Some(fields) = visit.sent() {
        if fields.has("one-time") {
            let password = fields.exactly("old").map(|text| text.reveal().to_owned());
            let on = fields.get("one-time") == Some("on");
            let request = json!({ "password": password.unwrap_or_default(), "on": on });
            let made: OneTimeReply = visit.ask("me.one-time", request).await?;
            told = match (&made.secret, &made.uri) {
                (Some(secret), Some(uri)) => alert(
                    Tone::Good,
                    html! {
                        p { (t("Type this secret into your authenticator now: it is not shown again.")) }
                        p.mono { (secret) } p { a href=(uri) { (t("Open it in an authenticator on this device")) } }
                    },
                ),
                _ => alert(
                    Tone::Good,
                    html! { p { (t("No one-time passwords are asked for any more.")) } },
                ),
            };
        } else {
            let text = |name: &str| {
                fields.exactly(name).map(|text| text.reveal().to_owned()).unwrap_or_default()
            };
            if text("password") == text("again") {
                let request = json!({ "old": text("old"), "password": text("password") });
                let _: Value = visit.ask("me.password", request).await?;
                return Ok(crate::visit::Answer::See("/log-in".to_owned()));
            }
            told = alert(Tone::Bad, html! { p { (t("The two new passwords differ.")) } });
        }
    }
    let session = &visit.session;
    let mut mine: Vec<ConsoleSessionView> = visit.look("session.list").await?;
    mine.retain(|one| one.user == session.user);
    let rights = rights(&session.grants);
    let body = html! {
        h1 { (session.user) }
        (told)
        (section(t("Your session"), facts(vec![
            (t("Ends unused at"), when(session.idle_until_unix_ms)),
            (t("Ends in any case at"), when(session.until_unix_ms)),
            (t("You may"), html! { (rights.join(", ")) }),
        ])))
        (section(t("Where you are logged in"), people::sessions(visit, &mine, "/me/sessions")))
        @if let Some(provider) = &session.provider {
            (section(t("Another password"), html! { p { (tf("You sign in by {}: passwords and a second proof are kept there.", &[provider])) } }))
        } @else {
            (section(t("Another password"), form(visit, "/me", html! {
                div.fields {
                    div.field { label for="old" { (t("The password of now")) } input #old type="password" name="old" autocomplete="current-password" required; }
                    div.field { label for="password" { (t("The new one")) } input #password type="password" name="password" autocomplete="new-password" minlength="12" required aria-describedby="password-help"; p.help #password-help { (t("12 characters or more. Your sessions end, and you log in again.")) } }
                    div.field { label for="again" { (t("Once more")) } input #again type="password" name="again" autocomplete="new-password" required; }
                    div.acts { button.first type="submit" { (t("Change it")) } }
                }
            })))
            (section(t("One-time passwords"), html! {
                p { (t("With them a stolen password alone opens nothing.")) }
                (form(visit, "/me", html! {
                    div.fields {
                        div.field { label for="now" { (t("Your password")) } input #now type="password" name="old" autocomplete="current-password" required; }
                        div.acts {
                            button type="submit" name="one-time" value="on" { (t("Make a new secret")) }
                            button.danger type="submit" name="one-time" value="off" { (t("Ask for none any more")) }
                        }
                    }
                }))
            }))
        }
    };
    Ok(Page::new(&*session.user, Place::Me, body).into())
}

/// The recovery kit: made, printed, proved.
pub async fn kit(visit: &Visit) -> Shown {
    let mut shown: Option<KitReply> = None;
    let mut proof: Option<KitProofReply> = None;
    if let Some(fields) = visit.sent() {
        if fields.has("make") {
            shown = Some(visit.look("key.kit").await?);
        } else {
            let groups: Vec<String> =
                fields.all("group").map(|group| group.trim().to_owned()).collect();
            proof = Some(visit.ask("key.prove", json!({ "groups": groups })).await?);
        }
    }
    let status: Status = visit.look("status").await?;
    let asked: Vec<usize> = match (&shown, &status.kit) {
        (Some(kit), _) => kit.asked.clone(),
        (None, KitState::Unproven) => {
            visit.glance("key.question", Value::Null).await?.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let body = html! {
        h1 { (t("Recovery kit")) }
        p { (t("With this page and a copy of a datastore everything can be restored, also when this server is gone. Whoever has both can read everything: keep it like the key of a safe, and not on this server.")) }
        p { @match &status.kit {
            KitState::None => (badge(Tone::Bad, t("there is none"))),
            KitState::Unproven => (badge(Tone::Warn, t("printed, and nobody has shown that it is kept"))),
            KitState::Proven { proven_unix_ms } => { (badge(Tone::Good, t("kept"))) " " (t("shown ")) (when(*proven_unix_ms)) }
        } }
        @if let Some(proof) = &proof {
            @if proof.proven { (alert(Tone::Good, html! { p { (t("That is right: the kit is kept.")) } })) } @else { (alert(Tone::Bad, html! { p { (t("That is not what stands on the kit. Other groups are asked for now.")) } })) }
        }
        @if let Some(kit) = &shown { (groups(kit)) }
        @if !asked.is_empty() && !proof.as_ref().is_some_and(|proof| proof.proven) { (question(visit, &asked)) }
        (section(t("A new kit"), html! {
            p { (t("The kit before it serves no more for keys that are made from now on; keep both until the new one is proved.")) }
            (form(visit, "/kit", html! { input type="hidden" name="make" value="1"; button type="submit" { (t("Make a recovery kit")) } }))
            (command("simsim key kit new"))
        }))
    };
    Ok(Page::new(t("Recovery kit"), Place::SetUp, body).into())
}

fn groups(kit: &KitReply) -> Markup {
    section(
        t("Print this page now: it is not shown again"),
        html! {
            p { (kit.name) @if let Some(fingerprint) = &kit.fingerprint { " " span.mono { (fingerprint) } } }
            ol.kit.mono { @for (at, group) in kit.groups.iter().enumerate() { li { small { (at + 1) } (group) } } }
            p.quiet { (tf("It opens the keys of {} domains.", &[&kit.domains])) }
            @for name in &kit.pending { p { (badge(Tone::Warn, t("follows"))) " " (name) } }
        },
    )
}

fn question(visit: &Visit, asked: &[usize]) -> Markup {
    section(
        t("Show that it is kept"),
        form(
            visit,
            "/kit",
            html! {
                p { (t("Type these groups from the paper, not from the screen.")) }
                div.fields {
                    @for (at, number) in asked.iter().enumerate() {
                        div.field { label for=(format!("group-{at}")) { (tf("Group {}", &[number])) } input.mono id=(format!("group-{at}")) name="group" autocomplete="off" required; }
                    }
                    div.acts { button.first type="submit" { (t("This stands there")) } }
                }
            },
        ),
    )
}

/// Clients and tasks of one right that are named.
const NAMED: usize = 5;

/// Each right once, and what it is for: by name where that is little.
fn rights(grants: &[Grant]) -> Vec<String> {
    let each = Right::ALL.into_iter().filter_map(|right| {
        let of = grants.iter().filter(|grant| grant.right == right && !grant.is_for_place());
        let of: Vec<&Grant> = of.collect();
        let word = right.as_str();
        if of.is_empty() {
            return None;
        }
        if of.iter().any(|grant| grant.is_for_all()) {
            return Some(word.to_owned());
        }
        if of.len() > NAMED {
            return Some(format!("{word} ({})", tf("for {} clients and tasks", &[&of.len()])));
        }
        let names = of.iter().map(|grant| match (&grant.client, &grant.task) {
            (Some(client), Some(task)) => format!("{client}: {task}"),
            (client, task) => client.iter().chain(task).cloned().collect(),
        });
        Some(format!("{word} ({})", names.collect::<Vec<_>>().join(", ")))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_named_with_what_they_are_for_and_many_are_counted() {
        let of = |client: &str| Grant { client: Some(client.to_owned()), ..Grant::of(Right::View) };
        let task = Grant { task: Some("home".to_owned()), ..of("db") };
        assert_eq!(rights(&[of("web"), task.clone()]), ["view (web, db: home)"]);
        assert_eq!(rights(&[of("web"), Grant::of(Right::View), task]), ["view"]);
        let many: Vec<Grant> = (0..1000).map(|number| of(&format!("c{number}"))).collect();
        assert_eq!(rights(&many), ["view (for 1000 clients and tasks)"]);
    }
}
