//! Jobs of raw streams: queued for callers and by people, ended, and told of.

use simsim_catalog::{JobError, JobKind, NewJob, Saveset, Task, Waiting};
use simsim_model::{Kind, Level, Outcome, escape_path};

use super::arrivals::Ending;
use super::{external_options, refuse_held_key};
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{BackupWish, JobEventKind, ReadWish, Wish};
use crate::{Server, ServerError};

/// Queues the job of a stream that is to be stored. Always FULL: a stream is read as a whole.
pub(crate) async fn queue(
    server: &Server,
    task: Task,
    requested_by: String,
) -> Result<u64, ServerError> {
    let options = external_options(&task)?;
    let settings = task.settings;
    let (store, owner) = (settings.store, task.client_id);
    let (datastore, domain) = server
        .house
        .books
        .run(move |catalog| {
            Ok((catalog.datastore_with_id(store)?, catalog.domain_of(store, owner)?))
        })
        .await?;
    refuse_held_key(&settings.client, &datastore, domain.as_ref())?;
    let wish = Wish::Backup(BackupWish {
        kind: settings.kind,
        sources: settings.sources.iter().map(|path| escape_path(path)).collect(),
        excludes: Vec::new(),
        options,
        level: Level::Full,
        eol_days: settings.eol_days,
        drive_group: None,
    });
    let new = NewJob {
        kind: JobKind::Backup,
        task: Some(task.id),
        task_name: settings.name,
        client: owner,
        store,
        domain: None,
        drive: settings.drive,
        level: Some(Level::Full),
        saveset: None,
        pool: settings.pool,
        request: wish.to_text()?,
        requested_by,
        waiting: Waiting::default(),
    };
    Ok(server.queue(new).await?.job)
}

/// Queues the job of a stream that is to be read.
pub(super) async fn queue_read(
    server: &Server,
    task: Task,
    saveset: Saveset,
    requested_by: String,
) -> Result<u64, ServerError> {
    let options = external_options(&task)?;
    let new = NewJob {
        kind: JobKind::Restore,
        task: Some(task.id),
        task_name: saveset.task_name,
        client: task.client_id,
        store: saveset.store,
        domain: Some(saveset.domain),
        drive: None,
        level: None,
        saveset: Some(saveset.saveset),
        pool: None,
        request: Wish::Read(ReadWish { redirect: options.redirect }).to_text()?,
        requested_by,
        waiting: Waiting::default(),
    };
    Ok(server.queue(new).await?.job)
}

/// Asks a job to end. One that waits in the queue has ended then.
pub(crate) async fn end_job(house: &House, number: u64) -> Result<(), ServerError> {
    let job = house.books.run(move |catalog| catalog.ask_cancel(number, now_unix_ms())).await?;
    if let Some(ending) = Ending::of(&job) {
        house.jobs.announcer().tell(number, JobEventKind::State { state: job.state });
        house.streams.ended(ending);
    }
    house.jobs.cancel(number);
    house.jobs.wake();
    Ok(())
}

/// Tells whoever waits for a job how it ended.
pub(crate) async fn tell_ended(house: &House, number: u64) {
    let job = house.books.run(move |catalog| catalog.job(number)).await;
    let ending = job.ok().as_ref().and_then(Ending::of);
    house.streams.ended(ending.unwrap_or_else(|| Ending {
        job: number,
        outcome: Outcome::Interrupted,
        saveset: None,
        error: Some(JobError {
            kind: Kind::Internal,
            message: "its end could not be written down; the server's log says why".to_owned(),
        }),
    }));
}
