//! What people call a saveset, and what is said when that is not clear.

use simsim_model::Kind;
use simsim_server::api::{ResolveReply, ResolveRequest, SavesetView};

use super::context::Context;
use super::savesets;
use super::text::plain;
use crate::exit::Failure;

/// How a saveset can be named, for the help texts.
pub const HELP: &str = "The saveset: its id or a unique beginning of it, 'latest', 'latest:TASK', \
                        or a task's name for the newest one of that task";

/// The one saveset that is meant.
pub async fn resolve(cx: &Context, reference: &str) -> Result<SavesetView, Failure> {
    let request = ResolveRequest { reference: reference.to_owned(), client: None };
    let reply: ResolveReply = cx.ask("saveset.resolve", &request).await?;
    let ResolveReply { mut matches, nearest, nearest_tasks } = reply;
    if matches.len() > 1 {
        let text = format!("'{}' may mean several savesets", plain(reference));
        return Err(with_candidates(Failure::new(Kind::Invalid, text), &matches)
            .next("give more digits of the id, or latest:TASK"));
    }
    match matches.pop() {
        Some(only) => Ok(only),
        None => Err(unknown(reference, &nearest, &nearest_tasks)),
    }
}

fn unknown(reference: &str, nearest: &[SavesetView], nearest_tasks: &[String]) -> Failure {
    if nearest.is_empty() && nearest_tasks.is_empty() {
        return Failure::new(Kind::NotFound, "there is no saveset yet")
            .next("make the first one: simsim backup PATH");
    }
    let text = match reference.strip_prefix("latest:") {
        Some(task) => format!("there is no saveset of a task '{}'", plain(task)),
        None => format!("there is no saveset or task '{}'", plain(reference)),
    };
    let mut failure = with_candidates(Failure::new(Kind::NotFound, text), nearest);
    if !nearest_tasks.is_empty() {
        let names: Vec<_> = nearest_tasks.iter().map(|name| plain(name).into_owned()).collect();
        failure = failure.next(format!("a task of a similar name: {}", names.join(", ")));
    }
    failure.next("all of them: simsim savesets")
}

fn with_candidates(failure: Failure, savesets: &[SavesetView]) -> Failure {
    savesets::brief(savesets).lines(Some(76)).into_iter().fold(failure, Failure::detail)
}
