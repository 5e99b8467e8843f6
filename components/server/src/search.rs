//! The search index of this server: a cache in `<state>/server/search`, brought up to date in the background,
//! after commits and never as a part of one.
//!
//! Every few seconds it is looked which savesets the catalog has and the index has not. Each of these is
//! compared with the one before it of its task, as `simsim diff` does, and the index is told of what
//! differs. A device that is away, a full disk, a saveset that cannot be read: the others go on, and
//! answers say what is missing. An index that is damaged is discarded and made anew.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use simsim_catalog::{KeyHolder, Saveset, SavesetFilter};
use simsim_format::{Entry, EntryKind};
use simsim_model::{DomainId, Kind, SavesetId};
use simsim_mover::tree::Tree;
use simsim_search::{Index, SearchError, Version};
use tokio::sync::Notify;

use crate::house::House;
use crate::{Server, ServerError};

/// After a round that did not get on, it is looked again at the latest then.
const AGAIN: Duration = Duration::from_secs(60);

/// The index, and what is known of bringing it up to date.
pub(crate) struct Searching {
    folder: PathBuf,
    index: Mutex<Option<Arc<Index>>>,
    known: Mutex<Known>,
    wake: Notify,
}

/// As of the last look.
#[derive(Default, Clone)]
pub(crate) struct Known {
    pub waiting: u64,
    pub trouble: Option<String>,
    /// Savesets that cannot be brought in, and why.
    pub unreadable: HashMap<SavesetId, String>,
}

impl Searching {
    pub(crate) fn new(folder: &Path) -> Self {
        let folder = folder.join("search");
        Self { folder, index: Mutex::default(), known: Mutex::default(), wake: Notify::new() }
    }

    /// The index; `None` before the first look at it, and while it is made anew.
    pub(crate) fn index(&self) -> Option<Arc<Index>> {
        self.index.lock().clone()
    }

    pub(crate) fn known(&self) -> Known {
        self.known.lock().clone()
    }

    /// Discards the index. The next look, which comes at once, makes it anew.
    pub(crate) fn begin_anew(&self) -> Result<(), SearchError> {
        let mut index = self.index.lock();
        *index = None;
        *self.known.lock() = Known::default();
        let discarded = Index::discard(&self.folder);
        drop(index);
        self.wake.notify_one();
        discarded
    }

    /// An error of the index, for who asked. A damaged one is discarded.
    pub(crate) fn failed(&self, error: SearchError) -> ServerError {
        if matches!(error, SearchError::Damaged { .. }) {
            tracing::warn!(%error, "the search index is made anew");
            if let Err(error) = self.begin_anew() {
                tracing::warn!(%error, "the damaged search index could not be removed");
            }
        }
        match error {
            SearchError::Invalid(why) => ServerError::Invalid(why),
            SearchError::Damaged { .. } => ServerError::Busy(
                "the search index was damaged and is made anew: ask again later ('simsim status' says how far it is)".to_owned(),
            ),
            other => ServerError::node("the search index", other.kind(), other.to_string()),
        }
    }

    /// Opens the index where it is not open. Blocks.
    pub(crate) fn open(&self) -> Result<Arc<Index>, SearchError> {
        let mut open = self.index.lock();
        if let Some(index) = &*open {
            return Ok(Arc::clone(index));
        }
        let index = match Index::open(&self.folder) {
            Err(error @ SearchError::Damaged { .. }) => {
                tracing::warn!(%error, "the search index is made anew");
                Index::discard(&self.folder)?;
                Index::open(&self.folder)?
            }
            other => other?,
        };
        let index = Arc::new(index);
        *open = Some(Arc::clone(&index));
        Ok(index)
    }
}

/// Keeps the index up to date until the Server stops.
pub(crate) async fn run(house: Weak<House>) {
    let Some(every) = house.upgrade().map(|house| house.config.search_interval_s) else { return };
    if every == 0 {
        return;
    }
    let every = Duration::from_secs(u64::from(every));
    let mut wait = every.min(Duration::from_secs(2));
    loop {
        let Some(search) = house.upgrade() else { return };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = search.search.wake.notified() => {}
        }
        let house = search;
        wait = every;
        let trouble = match round(&house).await {
            Ok(trouble) => trouble,
            Err(error) => Some(error.full_message()),
        };
        if let Some(trouble) = &trouble {
            tracing::info!(trouble, "the search index does not get on");
            wait = every.max(AGAIN);
        }
        house.search.known.lock().trouble = trouble;
    }
}

/// One look: takes away what is gone, brings in what is new, merges. Answers what kept it from some.
async fn round(house: &Arc<House>) -> Result<Option<String>, ServerError> {
    let index = {
        let house = Arc::clone(house);
        blocking(move || house.search.open()).await?
    }
    .map_err(|error| house.search.failed(error))?;
    let (savesets, domains) = house
        .books
        .run(|catalog| Ok((catalog.savesets(&SavesetFilter::default())?, catalog.domains()?)))
        .await?;
    let open: HashSet<DomainId> = domains
        .iter()
        .filter(|domain| domain.key_held_by == KeyHolder::Server && domain.sealed_key.is_some())
        .map(|domain| domain.domain)
        .collect();
    let there: HashSet<SavesetId> = savesets.iter().map(|one| one.saveset).collect();
    let known: HashSet<SavesetId> =
        index.snapshot().book().savesets().map(|one| one.saveset).collect();
    let gone: HashSet<SavesetId> = known.difference(&there).copied().collect();
    if !gone.is_empty() {
        let index = Arc::clone(&index);
        blocking(move || index.remove(&gone)).await?.map_err(|error| house.search.failed(error))?;
    }
    let unreadable = house.search.known().unreadable;
    let mut new: Vec<Saveset> = savesets
        .into_iter()
        .filter(|one| open.contains(&one.domain) && !known.contains(&one.saveset))
        .filter(|one| !unreadable.contains_key(&one.saveset))
        .collect();
    new.sort_by_key(|one| (one.committed_unix_ns, one.sequence));
    let mut trouble = None;
    // Behind one that waits, others of its task wait too: each is compared with the one before it.
    let mut stuck: HashSet<(DomainId, String)> = HashSet::new();
    let mut left = new.len() as u64;
    for saveset in new {
        house.search.known.lock().waiting = left;
        let series = (saveset.domain, saveset.task_name.clone());
        if stuck.contains(&series) {
            continue;
        }
        match bring_in(house, &index, &saveset).await {
            Ok(()) => left -= 1,
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                let why = format!("it cannot be read: {}", error.full_message());
                tracing::warn!(saveset = %saveset.saveset, why, "a saveset cannot be searched");
                house.search.known.lock().unreadable.insert(saveset.saveset, why);
                left -= 1;
            }
            Err(error) => {
                trouble = Some(format!(
                    "saveset {} of task '{}' waits: {}",
                    saveset.saveset.short(),
                    saveset.task_name,
                    error.full_message()
                ));
                stuck.insert(series);
            }
        }
        merge(house, &index).await?;
    }
    house.search.known.lock().waiting = left;
    merge(house, &index).await?;
    Ok(trouble)
}

async fn merge(house: &Arc<House>, index: &Arc<Index>) -> Result<(), ServerError> {
    let index = Arc::clone(index);
    let tidied = blocking(move || {
        while index.tidy()? {}
        Ok(())
    });
    tidied.await?.map_err(|error| house.search.failed(error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServerError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ServerError::Lost(error.to_string()))
}

/// Compares a saveset with the tip of its strand, and tells the index. Where that one cannot be read, the
/// saveset begins a strand.
async fn bring_in(
    house: &Arc<House>,
    index: &Arc<Index>,
    saveset: &Saveset,
) -> Result<(), ServerError> {
    let snapshot = index.snapshot();
    let (client, task) = (&saveset.client_name, &saveset.task_name);
    let strand = snapshot.book().open_strand(saveset.domain, client, task);
    if let Some((strand, tip)) = strand.and_then(|one| Some((one.id, one.tip?))) {
        let before = house.books.run(move |catalog| catalog.saveset(tip)).await?;
        match compare(house, index, saveset, Some((before, strand))).await {
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NotFound) => {
                tracing::info!(error = %error.full_message(), saveset = %saveset.saveset,
                    "the saveset before it cannot be read: the search index takes this one whole");
            }
            other => return other,
        }
    }
    compare(house, index, saveset, None).await
}

async fn compare(
    house: &Arc<House>,
    index: &Arc<Index>,
    saveset: &Saveset,
    before: Option<(Saveset, u32)>,
) -> Result<(), ServerError> {
    let (before, strand) = before.map_or((None, None), |(one, strand)| (Some(one), Some(strand)));
    let savesets: Vec<Saveset> = before.into_iter().chain([saveset.clone()]).collect();
    let server = Server { house: Arc::clone(house) };
    let (index, house, saveset) = (Arc::clone(index), Arc::clone(house), saveset.clone());
    let work = move |trees: &[Tree]| {
        let (old, new) = match trees {
            [new] => (None, new),
            [old, new] => (Some(old), new),
            _ => return Err(ServerError::Lost("one or two trees were asked for".to_owned())),
        };
        let owner = (saveset.domain, saveset.client_name.as_str(), saveset.task_name.as_str());
        let mut update = index.begin(saveset.saveset, saveset.committed_unix_ns, strand, owner);
        let mut failed = None;
        simsim_mover::changes(old, new, &mut |parent, name, entry| {
            if let Err(error) = update.push(parent, name, entry.map(version)) {
                failed = Some(error);
            }
            failed.is_none() && !house.stop.is_cancelled()
        })
        .map_err(crate::look::reading)?;
        if house.stop.is_cancelled() {
            return Err(ServerError::Stopping);
        }
        if let Some(error) = failed {
            return Err(house.search.failed(error));
        }
        simsim_model::failpoint::hit("server.search_read");
        update.commit().map_err(|error| house.search.failed(error))?;
        simsim_model::failpoint::hit("server.search_committed");
        Ok(())
    };
    server.look_into(&savesets, work).await
}

fn version(entry: &Entry) -> Version {
    let kind = match &entry.kind {
        EntryKind::File => simsim_search::EntryKind::File,
        EntryKind::Directory(_) => simsim_search::EntryKind::Directory,
        EntryKind::Symlink(_) => simsim_search::EntryKind::Symlink,
        EntryKind::Fifo
        | EntryKind::Socket
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. } => simsim_search::EntryKind::Special,
    };
    Version { kind, size: entry.size, mtime_unix_s: entry.mtime.seconds }
}
