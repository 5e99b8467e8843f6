//! Who may do what: users, roles, tokens.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::Right;
use simsim_server::api::{
    ApiTokenView, ApprovalView, ConsoleSessionView, IdentityProviderView, RoleView, UserView,
};

use crate::parts::{Page, Place, Tone, act as button, badge, command, link, section, table};
use crate::text::{t, tf};
use crate::visit::{Answer, Shown, Visit};
use crate::words::{now, since, when, when_or};

/// Sessions that one table holds.
const SESSIONS: usize = 100;

/// Grants in words.
pub fn grants(granted: &[simsim_server::Granted]) -> String {
    granted.iter().map(simsim_server::Granted::line).collect::<Vec<_>>().join(", ")
}

fn role_word(role: simsim_server::Role) -> String {
    serde_json::to_value(role)
        .ok()
        .and_then(|word| word.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Sessions, each with a way to end it. `act`: where that is asked for.
pub fn sessions(visit: &Visit, all: &[ConsoleSessionView], act: &str) -> Markup {
    let now = now();
    let rows = all.iter().take(SESSIONS).map(|one| {
        vec![
            html! { (one.user) },
            html! { span.mono { (one.address) } },
            when(one.created_unix_ms),
            html! { (since(one.used_unix_ms, now)) },
            when(one.until_unix_ms),
            button(visit, &format!("{act}/{}", one.session), t("End it"), "danger"),
        ]
    });
    html! {
        @if all.is_empty() { p.quiet { (t("None.")) } } @else {
            (table(t("Sessions"), &[t("User"), t("From"), t("Began"), t("Used"), t("Ends at the latest"), t("Act")], rows.collect()))
            @if all.len() > SESSIONS { p.quiet { (tf("and {} more", &[&(all.len() - SESSIONS)])) } }
        }
    }
}

/// Ends a session, and goes back to where that was asked for.
pub async fn end(visit: &Visit, back: &str, session: &str) -> Shown {
    if visit.sent().is_some() {
        let _: Value = visit.ask("session.end", json!({ "session": session })).await?;
    }
    Ok(Answer::See(back.to_owned()))
}

pub async fn show(visit: &Visit) -> Shown {
    let users: Option<Vec<UserView>> = visit.glance("user.list", Value::Null).await?;
    let tokens: Option<Vec<ApiTokenView>> = visit.glance("api-token.list", Value::Null).await?;
    let providers: Option<Vec<IdentityProviderView>> =
        visit.glance("identity-provider.list", Value::Null).await?;
    let roles: Option<Vec<RoleView>> = visit.glance("role.list", Value::Null).await?;
    let approvals: Option<Vec<ApprovalView>> = visit.glance("approval.list", json!({})).await?;
    let approvals = approvals.unwrap_or_default();
    let sessions: Vec<ConsoleSessionView> = visit.look("session.list").await?;
    let body = html! {
        h1 { (t("People")) }
        @if !approvals.is_empty() {
            (section(t("Waits for a second person"), html! { ul.plain { @for one in &approvals { li { a href=(format!("/approvals/{}", one.approval)) { (one.about) } " " span.quiet { (one.asked_by) ", " (when(one.asked_unix_ms)) } } } } }))
        }
        p { a href="/approvals?all=1" { (t("All approvals")) } }
        @if let Some(users) = users {
            (section(t("Users"), html! {
                @if visit.may(Right::People) { div.acts { a.button.first href="/set-up/users/new" { (t("Add a user")) } } }
                @let rows = users.iter().map(|one| vec![
                    html! { a href=(link(&["set-up", "users", "change", &one.name])) { (one.name) } @if one.disabled { " " (badge(Tone::Quiet, t("not let in"))) } @if one.waits_for.is_some() { " " (badge(Tone::Warn, t("waits for a second person"))) } },
                    html! { (grants(&one.grants)) },
                    html! { @if let Some(provider) = &one.provider { (provider) } @else if one.one_time_passwords { (badge(Tone::Good, t("yes"))) } @else { (badge(Tone::Warn, t("no"))) } },
                    when_or(one.seen_unix_ms, t("never")),
                    html! { @if let Some(until) = one.locked_until_unix_ms { (badge(Tone::Bad, t("locked out"))) " " (when(until)) } },
                ]).collect();
                (table(t("Users"), &[t("Name"), t("May"), t("One-time passwords or provider"), t("Logged in"), t("Lock-out")], rows))
            }))
        }
        @if let Some(providers) = providers {
            (section(t("Identity providers"), html! {
                @if visit.may(Right::People) { div.acts { a.button.first href="/set-up/identity-providers/new" { (t("Add an identity provider")) } } }
                @let rows = providers.iter().map(|one| vec![
                    html! { a href=(link(&["set-up", "identity-providers", "change", &one.name])) { (one.name) } @if !one.enabled { " " (badge(Tone::Quiet, t("off"))) } @if one.waits_for.is_some() { " " (badge(Tone::Warn, t("waits for a second person"))) } @if one.secret_missing { " " (badge(Tone::Bad, t("its secret was not given"))) } },
                    html! { (one.issuer) },
                    html! { @for group in &one.groups { (group.group) ": " (grants(&group.grants)) br; } },
                    html! { (one.users) },
                ]).collect();
                @if providers.is_empty() { p.quiet { (t("None yet. With one, people sign in as they do elsewhere, and their groups say what they may.")) } }
                @else { (table(t("Identity providers"), &[t("Name"), t("Issuer"), t("Groups"), t("Users")], rows)) }
            }))
        }
        (section(t("Sessions"), html! {
            p { (t("Browsers in which somebody is logged in. Ending one takes effect at once.")) }
            (self::sessions(visit, &sessions, "/people/sessions"))
            (command("simsim user sessions"))
        }))
        @if let Some(tokens) = tokens {
            (section(t("API tokens"), html! {
                @if visit.may(Right::People) { div.acts { a.button.first href="/set-up/api-tokens/new" { (t("Make a token")) } } }
                @let rows = tokens.iter().map(|one| vec![
                    html! { a href=(link(&["set-up", "api-tokens", "change", &one.name])) { (one.name) } },
                    html! { (badge(if one.state == "valid" { Tone::Good } else { Tone::Quiet }, &one.state)) },
                    html! { (one.user.as_deref().unwrap_or("–")) },
                    html! { (grants(&one.grants)) },
                    when_or(one.expires_unix_ms, t("never")),
                    when_or(one.used_unix_ms, t("never")),
                ]).collect();
                @if tokens.is_empty() { p.quiet { (t("None yet. Programs use them in place of passwords.")) } }
                @else { (table(t("API tokens"), &[t("Name"), t("State"), t("Of"), t("May"), t("Until"), t("Used")], rows)) }
            }))
        }
        @if let Some(roles) = roles {
            (section(t("Roles"), html! {
                @let rows = roles.iter().map(|one| vec![
                    html! { (role_word(one.role)) },
                    html! { (one.rights.iter().map(|right| right.as_str()).collect::<Vec<_>>().join(", ")) },
                ]).collect();
                (table(t("Roles"), &[t("Role"), t("Gives the rights")], rows))
            }))
        }
    };
    Ok(Page::new(t("People"), Place::People, body).into())
}
