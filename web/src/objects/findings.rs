//! What would come of a form: what is wrong with it, what it means, and the same on the command line.

use maud::{Markup, html};
use serde_json::{Value, json};
use simsim_server::api::{ScheduleView, SimulationView};

use super::kind::{Input, Kind};
use super::{request, text_of};
use crate::parts::{Tone, alert, badge, command};
use crate::text::{t, tf, tn};
use crate::visit::{Failure, Visit};
use crate::words::size;

pub async fn of(
    visit: &Visit,
    kind: &'static Kind,
    asked: &Value,
    view: Option<&Value>,
) -> Result<Markup, Failure> {
    let verb = if view.is_some() { kind.change } else { kind.add };
    let missing: Vec<&str> = kind
        .fields
        .iter()
        .filter(|field| {
            field.needed
                && !matches!(field.input, Input::Box)
                && text_of(field.of(asked)).is_empty()
        })
        .map(|field| t(field.label))
        .collect();
    let wrong = match missing.is_empty() {
        true => simsim_server::check_request(verb, asked).err().map(|error| error.full_message()),
        false => None,
    };
    let wrong =
        wrong.map(|text| text.split_once("': ").map_or(text.clone(), |(_, rest)| rest.to_owned()));
    Ok(html! {
        @if !missing.is_empty() { p { (badge(Tone::Quiet, t("to do"))) " " (missing.join(", ")) } }
        @else if let Some(wrong) = &wrong { (alert(Tone::Bad, html! { p { (wrong) } })) }
        @else { p { (badge(Tone::Good, t("it can be sent"))) } }
        @if wrong.is_none() { (meaning(visit, kind, asked, view).await?) }
        p.quiet { (t("The same on the command line:")) }
        (command(&request::command(kind, asked, view)))
    })
}

/// Consequences, where there are some to tell.
async fn meaning(
    visit: &Visit,
    kind: &Kind,
    asked: &Value,
    view: Option<&Value>,
) -> Result<Markup, Failure> {
    let line = match kind.noun {
        "schedules" => asked["line"].as_str(),
        "events" => asked["at"].as_str(),
        _ => None,
    };
    if let Some(line) = line {
        return Ok(
            match visit.ask::<ScheduleView>("schedule.try", json!({ "line": line })).await {
                Ok(found) => html! {
                    p { (t("It runs next:")) }
                    ul.plain { @for at in &found.next { li { (at) } } }
                    @if found.next.is_empty() { p { (badge(Tone::Warn, t("never"))) } }
                },
                Err(failure) => alert(Tone::Bad, html! { p { (failure.message) } }),
            },
        );
    }
    Ok(match kind.noun {
        "pools" => return pool(visit, asked, view).await,
        "tasks" => html! {
            ul {
                @if asked["pool"].is_null() { li { (t("Its savesets live by the default pool.")) } }
                @if asked["eol_days"].as_u64().unwrap_or(0) > 0 { li { (tf("For {} days nobody can delete a saveset of it.", &[&asked["eol_days"]])) } }
                li { (t("It runs when an event names it, or by hand.")) }
            }
        },
        "datastores" => {
            html! { ul { li { (t("Chunks of 64 KiB in the mean; with simsim datastore create --chunk-size another mean, for good.")) } li { (t("Its keys are this server's: print the recovery kit.")) } } }
        }
        "users" => {
            html! { ul { li { (t("A right that weighs much, such as deleting or letting others in, waits for a second person where there is one.")) } } }
        }
        "replications" => {
            html! { ul { li { (t("Only what the other datastore does not have is copied. An event runs it.")) } } }
        }
        "identity-providers" => {
            html! { ul { li { (t("Whoever the provider vouches for is let in, and may what the groups may. What weighs much waits for a second person where there is one.")) } li { (t("Try it when it is added.")) } } }
        }
        "notifications" => html! { ul { li { (t("Send a test when it is added.")) } } },
        _ => html! {},
    })
}

async fn pool(visit: &Visit, asked: &Value, view: Option<&Value>) -> Result<Markup, Failure> {
    let (Some(view), Some(policy)) = (view, asked["policy"].as_str()) else {
        let policy = asked["policy"].as_str().unwrap_or_default();
        let read: Result<simsim_retention::Policy, _> = policy.parse();
        return Ok(match read {
            Ok(_) => html! {},
            Err(error) => alert(Tone::Bad, html! { p { (error) } }),
        });
    };
    let request = json!({ "pool": view["name"], "policy": policy });
    Ok(match visit.ask::<SimulationView>("retention.simulate", request).await {
        Err(failure) => alert(Tone::Bad, html! { p { (failure.message) } }),
        Ok(found) => html! {
            @if found.expires.is_empty() { p { (t("Nothing that is kept now would expire.")) } }
            @else { (alert(Tone::Warn, html! { p { (tf("{} kept now would expire; what was added: {}.", &[&tn(found.expires.len(), t("1 saveset"), t("{} savesets")), &size(found.bytes)])) " " a href=(crate::parts::asked("/retention", &[("pool", &found.pool), ("policy", policy)])) { (t("Which ones")) } } })) }
            @if !found.emptied.is_empty() { (alert(Tone::Bad, html! { p { (tf("It takes a second person: {} would be left without any saveset that can be restored.", &[&found.emptied.join(", ")])) } })) }
        },
    })
}
