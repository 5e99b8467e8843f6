//! What will run in the days that lie ahead.

use std::collections::BTreeMap;

use maud::html;
use serde_json::json;
use simsim_model::Kind;
use simsim_server::api::{PlannedView, PreviewView};

use crate::parts::{Page, Place, Tone, alert, badge, command, empty, link, section, table};
use crate::text::{t, tf};
use crate::visit::{Shown, Visit};
use crate::words::{lasting, when};

/// Lines of one page.
const SHOWN: u32 = 300;

pub async fn show(visit: &Visit) -> Shown {
    let days = visit.query.number("days").unwrap_or(7).clamp(1, 366);
    let trouble = visit.query.has("trouble");
    let request = json!({ "days": days, "event": visit.query.get("event"), "only_trouble": trouble, "limit": SHOWN });
    // Where the name is wrong the form stays, so that it can be mended.
    let (plan, unknown) = match visit.ask::<PreviewView>("schedule.preview", request).await {
        Ok(plan) => (Some(plan), None),
        Err(failure) if failure.kind == Kind::NotFound => (None, Some(failure.message)),
        Err(failure) => return Err(failure),
    };
    let mut by_day: BTreeMap<&str, Vec<&PlannedView>> = BTreeMap::new();
    for one in plan.iter().flat_map(|plan| &plan.entries) {
        by_day.entry(&one.backup_day).or_default().push(one);
    }
    let body = html! {
        h1 { (t("Plan of the next days")) }
        form.filters method="get" action="/set-up/plan" data-at-once {
            div { label for="days" { (t("Days")) } input #days type="number" name="days" min="1" max="366" value=(days); }
            div { label for="event" { (t("Event")) } input #event name="event" value=[visit.query.get("event")]; }
            div { label for="trouble" { (t("Only what does not run, or collides")) } input #trouble type="checkbox" name="trouble" value="1" checked[trouble]; }
            button type="submit" { (t("Show")) }
        }
        @if let Some(unknown) = &unknown { (alert(Tone::Warn, html! { p { (unknown) } })) }
        @else if by_day.is_empty() { (empty(t("Nothing is planned. Events say what runs by itself, and when."), Some(("/set-up/events/new", t("Add an event"))))) }
        @if let Some(at) = plan.as_ref().and_then(|plan| plan.cut_at_unix_ms) { (alert(Tone::Warn, html! { p { (t("The plan ends here, because it would be too large: ")) (when(at)) } })) }
        @for (day, entries) in &by_day {
            @let rows = entries.iter().map(|one| vec![
                html! { (one.at) },
                html! { a href=(link(&["set-up", "events", "change", &one.event])) { (one.event) } },
                html! { (one.kind) },
                html! { (one.subject) },
                html! { (one.place.as_deref().unwrap_or_default()) @if one.expected_s > 0 { " · " (tf("about {}", &[&lasting(i64::try_from(one.expected_s).unwrap_or(0).saturating_mul(1000))])) } },
                html! {
                    @match one.fate.as_str() {
                        "runs" => (badge(Tone::Good, t("runs"))),
                        "suppressed" => (badge(Tone::Warn, t("suppressed"))),
                        "blocked" => (badge(Tone::Warn, t("blocked"))),
                        other => (badge(Tone::Quiet, other)),
                    }
                    @if let Some(why) = &one.why { " " (why) }
                    @for with in &one.collides { br; span.quiet { (t("waits for ")) (with) } }
                },
            ]).collect();
            (section(day, table(day, &[t("When"), t("Event"), t("Kind"), t("For"), t("Where"), t("What becomes of it")], rows)))
        }
        @if let Some(plan) = plan.as_ref().filter(|plan| plan.more > 0) { p.quiet { (tf("{} more are not shown: ask for fewer days, or for one event.", &[&plan.more])) } }
        (command(&format!("simsim schedule preview --days {days}")))
    };
    Ok(Page::new(t("Plan of the next days"), Place::SetUp, body).into())
}
