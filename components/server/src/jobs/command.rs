//! A command of a client's owner, by itself: no datastore, no drive, no transfer.

use std::sync::Arc;

use simsim_catalog::{Job, JobKind, JobStart, JobState, NO_STORE, NewJob, Waiting};
use simsim_control::verbs::RunCommand;

use super::long_call::{CallEnd, see_through};
use super::running::Running;
use super::wish::{CommandWish, Wish};
use crate::ServerError;
use crate::clock::now_unix_ms;
use crate::house::House;

/// The job of a command.
pub(crate) fn command_job(
    command: simsim_catalog::Command,
    requested_by: String,
    waiting: Waiting,
) -> Result<NewJob, ServerError> {
    let wish =
        Wish::Command(CommandWish { local_name: command.local_name, timeout_s: command.timeout_s });
    Ok(NewJob {
        kind: JobKind::Command,
        task: None,
        task_name: command.name,
        client: command.client_id,
        store: NO_STORE,
        domain: None,
        drive: None,
        level: None,
        saveset: None,
        pool: None,
        request: wish.to_text()?,
        requested_by,
        waiting,
    })
}

/// Lets the client run it.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &CommandWish,
    running: &Arc<Running>,
) -> CallEnd {
    let start = JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
    let number = job.number;
    let begun =
        house.books.run(move |catalog| catalog.start_job(number, &start, now_unix_ms())).await;
    if let Err(error) = begun {
        return CallEnd::Refused(error);
    }
    running.tell_state(JobState::Running);
    let verb = RunCommand {
        job: number,
        local_name: wish.local_name.clone(),
        timeout_s: wish.timeout_s,
        name: job.task_name.clone(),
    };
    see_through(&house.nodes, running, job.client, Some(verb), house.silence_max).await
}
