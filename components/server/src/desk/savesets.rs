//! Savesets: listing and showing.

use std::collections::HashMap;

use simsim_catalog::{
    Catalog, CatalogError, CopyLife, DeletionStage, HeldLock, Saveset, SavesetCopy, SavesetFilter,
    StoreNames,
};
use simsim_model::{SavesetId, StoreId};

use super::named::{check_task, nearest_names};
use crate::api::{
    CopyView, ResolveReply, ResolveRequest, ResultView, SavesetDetail, SavesetListRequest,
    SavesetRequest, SavesetView,
};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// The savesets of clients that the caller may see, newest first.
    pub async fn savesets(
        &self,
        who: &Principal,
        request: SavesetListRequest,
    ) -> Result<Vec<SavesetView>, ServerError> {
        let within = self.may_list(who, "list savesets of", request.client.as_deref()).await?;
        let store = match request.datastore {
            Some(name) => Some(self.house.datastore(Some(name)).await?.store),
            None => None,
        };
        let filter = SavesetFilter {
            client_name: request.client,
            task_name: request.task,
            within,
            store,
            missing_too: request.missing_too,
            deleted_too: request.deleted_too,
            limit: if request.limit == 0 { 1000 } else { request.limit },
        };
        let (savesets, stores) = self
            .house
            .books
            .run(move |catalog| {
                let savesets = catalog.savesets(&filter)?;
                // A name that nobody has is a typing error. Savesets of one whose host is not
                // known any more are listed all the same.
                if let (true, Some(name)) = (savesets.is_empty(), &filter.client_name) {
                    catalog.client(name)?;
                }
                // Of one who does not see all of them it is not said whether a task is there.
                if let (true, None, Some(name)) =
                    (savesets.is_empty(), &filter.within, &filter.task_name)
                    && let Some(unknown) = check_task(catalog, name)?
                {
                    return Ok(Err(unknown));
                }
                Ok(Ok((savesets, Stores::of(catalog)?)))
            })
            .await??;
        Ok(savesets.iter().map(|saveset| view(saveset, &stores)).collect())
    }

    /// One saveset with the jobs that made and read it.
    pub async fn saveset(
        &self,
        who: &Principal,
        request: SavesetRequest,
    ) -> Result<SavesetDetail, ServerError> {
        let saveset = self.house.saveset(&request.saveset, None).await?;
        let object = Object::saveset(&saveset);
        self.may_see(who, Right::View, "see a saveset of", object).await?;
        let id = saveset.saveset;
        let (results, stores) = self
            .house
            .books
            .run(move |catalog| Ok((catalog.results(Some(id), 100)?, Stores::of(catalog)?)))
            .await?;
        let results = results
            .into_iter()
            .map(|result| ResultView {
                job: result.job,
                kind: result.kind,
                outcome: result.outcome,
                ended_unix_ms: result.ended_unix_ms,
                problems: result.problems,
            })
            .collect();
        Ok(SavesetDetail { saveset: view(&saveset, &stores), results })
    }

    /// Finds the saveset that a person means; several matches mean that it is not clear.
    pub async fn resolve_saveset(
        &self,
        who: &Principal,
        request: ResolveRequest,
    ) -> Result<ResolveReply, ServerError> {
        self.may_list(who, "find savesets of", request.client.as_deref()).await?;
        let who = who.clone();
        let (found, stores) = self
            .house
            .books
            .run(move |catalog| Ok((find(catalog, &who, &request)?, Stores::of(catalog)?)))
            .await?;
        let views = |savesets: &[Saveset]| savesets.iter().map(|one| view(one, &stores)).collect();
        Ok(ResolveReply {
            matches: views(&found.matches),
            nearest: views(&found.nearest),
            nearest_tasks: found.nearest_tasks,
        })
    }
}

#[derive(Default)]
struct FoundSavesets {
    matches: Vec<Saveset>,
    nearest: Vec<Saveset>,
    nearest_tasks: Vec<String>,
}

fn find(
    catalog: &Catalog,
    who: &Principal,
    request: &ResolveRequest,
) -> Result<FoundSavesets, CatalogError> {
    let reference = request.reference.as_str();
    let is_meant = |saveset: &Saveset| {
        request.client.as_ref().is_none_or(|client| saveset.client_name == *client)
            && who.may(Right::View, Object::saveset(saveset))
    };
    let newest = |task: Option<&str>, limit| {
        catalog.savesets(&SavesetFilter {
            client_name: request.client.clone(),
            task_name: task.map(str::to_owned),
            within: who.within(Right::View),
            limit,
            ..SavesetFilter::default()
        })
    };
    let mut found = FoundSavesets::default();
    let task = reference.strip_prefix("latest:");
    if reference == "latest" {
        found.matches = newest(None, 1)?;
    } else if let Some(task) = task {
        found.matches = newest(Some(task), 1)?;
    } else if !reference.is_empty() {
        if is_beginning(reference) {
            found.matches = catalog.savesets_beginning(reference)?;
            found.matches.retain(is_meant);
        }
        found.matches.extend(newest(Some(reference), 1)?);
    }
    if !found.matches.is_empty() {
        return Ok(found);
    }
    // Nothing: what may have been meant?
    let name = task.unwrap_or(reference);
    let mut tasks = catalog.tasks()?;
    tasks.retain(|task| who.may(Right::View, Object::task(&task.settings)));
    let names = tasks.into_iter().map(|task| task.settings.name);
    found.nearest_tasks = nearest_names(name, names);
    if is_beginning(reference) && task.is_none() {
        for length in (2..reference.len().min(32)).rev() {
            found.nearest = catalog.savesets_beginning(&reference[..length])?;
            found.nearest.retain(is_meant);
            if !found.nearest.is_empty() {
                return Ok(found);
            }
        }
    }
    found.nearest = newest(None, 5)?;
    Ok(found)
}

/// Whether a text may be the beginning of an id.
fn is_beginning(text: &str) -> bool {
    (4..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Names of datastores, and where copies lie.
struct Stores {
    names: StoreNames,
    copies: HashMap<SavesetId, Vec<SavesetCopy>>,
    lives: HashMap<(SavesetId, StoreId), CopyLife>,
    deletions: HashMap<(SavesetId, StoreId), DeletionStage>,
    /// Locks that were extended.
    extended: HashMap<SavesetId, u64>,
    /// Those that devices are known to hold.
    held: HashMap<(SavesetId, StoreId), HeldLock>,
}

impl Stores {
    fn of(catalog: &Catalog) -> Result<Self, CatalogError> {
        let mut copies: HashMap<SavesetId, Vec<SavesetCopy>> = HashMap::new();
        for copy in catalog.copies()? {
            copies.entry(copy.saveset).or_default().push(copy);
        }
        let deletions = catalog.deletions()?.into_iter();
        let deletions = deletions.map(|one| ((one.saveset, one.store), one.stage())).collect();
        let (names, lives) = (catalog.datastore_names()?, catalog.copy_lives()?);
        let (extended, held) = catalog.extended_locks()?;
        Ok(Self { names, copies, lives, deletions, extended, held })
    }

    fn name(&self, store: StoreId) -> String {
        self.names.get(&store).cloned().unwrap_or_else(|| store.to_string())
    }

    /// How it is with the one that the row is of.
    fn state_of(&self, saveset: &Saveset) -> &'static str {
        match self.deletions.get(&(saveset.saveset, saveset.store)) {
            Some(DeletionStage::Done) => "deleted",
            Some(DeletionStage::Decided | DeletionStage::Told) => "deleting",
            None => saveset.state.as_str(),
        }
    }

    /// Until when nobody deletes it, and the devices that do not know that yet.
    fn lock_of(&self, saveset: &Saveset) -> (u64, Vec<String>) {
        let id = saveset.saveset;
        let extended = self.extended.get(&id).copied().unwrap_or(0);
        let holds =
            |store: StoreId| self.held.get(&(id, store)).map_or(0, |held| held.until_unix_s);
        let until = saveset.lock_until_unix_s.max(extended).max(holds(saveset.store));
        let copies = self.copies.get(&id).into_iter().flatten().map(|copy| copy.store);
        let stays = |store: &StoreId| !self.deletions.contains_key(&(id, *store));
        let owed = std::iter::once(saveset.store)
            .chain(copies)
            .filter(stays)
            .filter(|store| extended > saveset.lock_until_unix_s && extended > holds(*store));
        (until, owed.map(|store| self.name(store)).collect())
    }

    fn copies_of(&self, saveset: SavesetId) -> Vec<CopyView> {
        let copies = self.copies.get(&saveset).into_iter().flatten();
        copies
            .filter(|copy| !self.deletions.contains_key(&(copy.saveset, copy.store)))
            .map(|copy| {
                let life = self.lives.get(&(copy.saveset, copy.store));
                CopyView {
                    datastore: self.name(copy.store),
                    sequence: copy.sequence,
                    pool: life.and_then(|life| life.pool.clone()),
                    eol_unix_s: life.and_then(|life| life.eol_unix_s),
                }
            })
            .collect()
    }
}

fn view(saveset: &Saveset, stores: &Stores) -> SavesetView {
    let (lock_until_unix_s, lock_owed_to) = stores.lock_of(saveset);
    SavesetView {
        saveset: saveset.saveset,
        client: saveset.client_name.clone(),
        task: saveset.task_name.clone(),
        datastore: stores.name(saveset.store),
        domain: saveset.domain,
        sequence: saveset.sequence,
        level: saveset.level,
        base: saveset.base,
        outcome: saveset.outcome(),
        scan_started_unix_ms: saveset.scan_started_unix_ns.div_euclid(1_000_000),
        committed_unix_ms: saveset.committed_unix_ns.div_euclid(1_000_000),
        lock_until_unix_s,
        lock_owed_to,
        files: saveset.files,
        dirs: saveset.dirs,
        bytes: saveset.bytes,
        bytes_new: saveset.bytes_new,
        bytes_stored: saveset.bytes_stored,
        problems: saveset.problems,
        state: stores.state_of(saveset).to_owned(),
        copies: stores.copies_of(saveset.saveset),
    }
}
