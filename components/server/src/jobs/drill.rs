//! A restore drill: the job of a restore, into a scratch place that the client makes, compares and removes.

use std::sync::Arc;

use simsim_catalog::{
    Catalog, Job, JobKind, NewJob, Saveset, SavesetFilter, SavesetState, Waiting,
};
use simsim_control::verbs::RunDrill;
use simsim_model::Overwrite;

use super::long_call::{CallEnd, see_through};
use super::restore;
use super::running::Running;
use super::wish::{DrillWish, RestoreWish, Wish};
use crate::ServerError;
use crate::api::{DrillOptions, DrillSaveset};
use crate::house::House;

/// Files of a sample where nobody says how many.
const FILES_DEFAULT: u32 = 100;
/// Files of a sample at most: its client holds the list of them.
const FILES_MAX: u32 = 10_000;
/// Bytes of a sample where nobody says how many.
const BYTES_DEFAULT: u64 = 1 << 30;

/// Are the options in themselves fit?
pub(crate) fn check_options(options: &DrillOptions) -> Result<(), ServerError> {
    if options.all && (options.files.is_some() || options.bytes.is_some()) {
        return Err(ServerError::invalid(
            "a drill restores everything, or so many files and bytes, not both",
        ));
    }
    if options.files == Some(0) || options.bytes == Some(0) {
        return Err(ServerError::invalid("a drill of no file or no byte proves nothing"));
    }
    if options.files.is_some_and(|files| files > FILES_MAX) {
        return Err(ServerError::invalid(format!(
            "a sample has at most {FILES_MAX} files; for more restore all"
        )));
    }
    if let Some(folder) = &options.folder {
        let folder = super::wish::paths_of(std::slice::from_ref(folder))?;
        if folder.first().and_then(|path| path.first()) != Some(&b'/') {
            return Err(ServerError::invalid("the folder of a drill must be an absolute path"));
        }
    }
    Ok(())
}

/// The job of a drill of a task. `saveset`: somebody says which.
pub(crate) fn drill_job(
    catalog: &Catalog,
    task_name: &str,
    saveset: Option<Saveset>,
    options: &DrillOptions,
    seed: u64,
    requested_by: String,
    waiting: Waiting,
) -> Result<NewJob, ServerError> {
    check_options(options)?;
    let task = catalog.task(task_name)?.settings;
    let saveset = match saveset {
        Some(saveset) => saveset,
        None => {
            let filter = SavesetFilter {
                client_name: Some(task.client.clone()),
                task_name: Some(task.name.clone()),
                limit: if options.saveset == DrillSaveset::Newest { 1 } else { 0 },
                ..SavesetFilter::default()
            };
            let mut all = catalog.savesets(&filter)?;
            if all.is_empty() {
                return Err(ServerError::invalid(format!(
                    "task '{task_name}' has no saveset yet that could be restored"
                )));
            }
            let at = seed % all.len() as u64;
            all.swap_remove(usize::try_from(at).unwrap_or(0))
        }
    };
    let mut stores = Vec::new();
    stores.extend((saveset.state == SavesetState::Present).then_some(saveset.store));
    stores.extend(catalog.copies_of(saveset.saveset)?.iter().map(|copy| copy.store));
    let deletions = catalog.deletions_of(saveset.saveset)?;
    stores.retain(|store| !deletions.iter().any(|one| one.store == *store));
    if let Some(name) = &options.copy {
        let wanted = catalog.datastore(name)?.store;
        stores.retain(|store| *store == wanted);
    }
    let Some(store) = stores.first().copied() else {
        let id = saveset.saveset.short();
        return Err(match &options.copy {
            Some(name) => {
                ServerError::invalid(format!("saveset {id} does not lie in datastore '{name}'"))
            }
            None => ServerError::invalid(format!("saveset {id} lies in no datastore any more")),
        });
    };
    let client = catalog.client(options.client.as_deref().unwrap_or(&task.client))?;
    if !client.is_enrolled() {
        return Err(ServerError::Refused(format!(
            "client '{}' is revoked: name another one that restores",
            client.name
        )));
    }
    let wish = Wish::Drill(DrillWish {
        of_client: task.client,
        seed,
        files_max: if options.all { 0 } else { options.files.unwrap_or(FILES_DEFAULT) },
        bytes_max: if options.all { 0 } else { options.bytes.unwrap_or(BYTES_DEFAULT) },
        folder: options.folder.clone(),
        compare_source: options.compare_source,
        only_copy: options.copy.is_some(),
    });
    Ok(NewJob {
        kind: JobKind::Drill,
        task: None,
        task_name: task.name,
        client: client.id,
        store,
        domain: Some(saveset.domain),
        drive: None,
        level: None,
        saveset: Some(saveset.saveset),
        pool: None,
        request: wish.to_text()?,
        requested_by,
        waiting,
    })
}

/// Prepares the transfer, starts the client and sees it through.
pub(crate) async fn run(
    house: &House,
    job: &Job,
    wish: &DrillWish,
    running: &Arc<Running>,
) -> CallEnd {
    let as_restore = RestoreWish {
        paths: Vec::new(),
        patterns: Vec::new(),
        target: wish.folder.clone(),
        overwrite: Overwrite::Never,
        specials: false,
        owners: false,
        dry_run: false,
        interfaces: Vec::new(),
        only_copy: wish.only_copy,
    };
    match restore::prepare(house, job, &as_restore, running).await {
        Ok((restore, spare)) => {
            let verb = RunDrill {
                restore,
                seed: wish.seed,
                files_max: wish.files_max,
                bytes_max: wish.bytes_max,
                compare_source: wish.compare_source,
            };
            let silence_max = house.silence_max;
            let end = see_through(&house.nodes, running, job.client, Some(verb), silence_max).await;
            restore::withdraw(house, spare).await;
            end
        }
        Err(error) => CallEnd::Refused(error),
    }
}
