//! Searching over all savesets, and the versions of one file: of clients that the caller may look into,
//! and of no others.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use simsim_catalog::{Domain, KeyHolder, Saveset, SavesetFilter};
use simsim_model::{SavesetId, escape_path, unescape_path};
use simsim_search::{
    Book, EntryKind, Hit, PageMark, Pattern, Query, SearchError, Snapshot, Span, Strand,
};

use crate::api::{
    FileHistory, FileVersion, FoundVersion, HistoryReply, HistoryRequest, NotIndexed, SearchReply,
    SearchRequest, SearchState,
};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

const FOUND: u32 = 100;
const FOUND_MAX: u32 = 1000;
/// Savesets that an answer names as not searched.
const NOT_INDEXED_MAX: usize = 100;

impl Server {
    /// Versions of files by name, over all savesets of all clients that the caller may look into.
    pub async fn search(
        &self,
        who: &Principal,
        request: SearchRequest,
    ) -> Result<SearchReply, ServerError> {
        if let Some(client) = &request.client {
            self.may_see_of(who, Right::Browse, "search savesets of", client).await?;
        }
        let invalid = |error: SearchError| ServerError::Invalid(error.to_string());
        let pattern = Pattern::new(&request.pattern, request.ignore_case).map_err(invalid)?;
        let kind = request.kind.as_deref().map(kind_of).transpose()?;
        let after = request.after.as_deref().map(PageMark::parse).transpose().map_err(invalid)?;
        let limit = if request.limit == 0 { FOUND } else { request.limit.min(FOUND_MAX) };
        let snapshot = self.snapshot().await?;
        let (client, task) = (request.client.as_deref(), request.task.as_deref());
        let wanted = |of_client: &str, of_task: &str| {
            client.is_none_or(|client| client == of_client)
                && task.is_none_or(|task| task == of_task)
                && who.may(Right::Browse, Object::Task { client: of_client, task: of_task })
        };
        let (not_indexed, not_searchable) = self.not_searched(&snapshot, &wanted).await?;
        let book = snapshot.book();
        let strands: BTreeSet<u32> = book
            .strands()
            .filter(|strand| wanted(&strand.client, &strand.task))
            .map(|strand| strand.id)
            .collect();
        if strands.is_empty() && not_indexed.is_empty() {
            self.check_names(client, task).await?;
        }
        let (since, until) = (request.since_unix_ms, request.until_unix_ms);
        let found = {
            let snapshot = snapshot.clone();
            tokio::task::spawn_blocking(move || {
                snapshot.search(&Query {
                    pattern: &pattern,
                    strands: &strands,
                    since_unix_ns: since.map(|ms| ms.saturating_mul(1_000_000)),
                    // The whole of that millisecond.
                    until_unix_ns: until
                        .map(|ms| ms.saturating_add(1).saturating_mul(1_000_000) - 1),
                    kind,
                    limit: limit as usize,
                    after: after.as_ref(),
                })
            })
            .await
            .map_err(|error| ServerError::Lost(error.to_string()))?
        };
        let page = found.map_err(|error| self.house.search.failed(error))?;
        Ok(SearchReply {
            found: page.hits.iter().filter_map(|hit| found_version(book, hit)).collect(),
            next: page.next.map(|mark| mark.to_text()),
            not_indexed,
            not_searchable,
        })
    }

    /// What a path was in each saveset of a client or of a task.
    pub async fn file_history(
        &self,
        who: &Principal,
        request: HistoryRequest,
    ) -> Result<HistoryReply, ServerError> {
        let of = request.of.as_str();
        let path = unescape_path(&request.path).ok_or_else(|| {
            ServerError::invalid(format!(
                "'{}': a backslash must begin an escape such as \\x5c",
                request.path
            ))
        })?;
        let parts: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
        let Some((name, parents)) = parts.split_last() else {
            return Err(ServerError::invalid("give the path of a file, from the root: /srv/file"));
        };
        let parent = [b"/".as_slice(), &parents.join(&b'/')].concat();
        let snapshot = self.snapshot().await?;
        let wanted = |client: &str, task: &str| {
            (client == of || task == of) && who.may(Right::Browse, Object::Task { client, task })
        };
        let (not_indexed, not_searchable) = self.not_searched(&snapshot, &wanted).await?;
        let strands: Vec<Strand> = snapshot
            .book()
            .strands()
            .filter(|strand| wanted(&strand.client, &strand.task))
            .cloned()
            .collect();
        if strands.is_empty() && not_indexed.is_empty() && not_searchable.is_empty() {
            return Err(ServerError::not_found("client or task with savesets", of));
        }
        let name = name.to_vec();
        let read = tokio::task::spawn_blocking(move || {
            let mut histories: Vec<(Strand, Vec<Span>)> = Vec::new();
            for strand in strands {
                let spans = snapshot.history(strand.id, &parent, &name)?;
                add_history(&mut histories, snapshot.book(), strand, spans);
            }
            Ok(histories)
        });
        let histories = read
            .await
            .map_err(|error| ServerError::Lost(error.to_string()))?
            .map_err(|error| self.house.search.failed(error))?;
        let histories = histories.into_iter().map(|(strand, spans)| FileHistory {
            client: strand.client,
            task: strand.task,
            versions: spans.iter().map(file_version).collect(),
        });
        let histories = histories
            .filter(|history: &FileHistory| history.versions.iter().any(|one| one.present))
            .collect();
        Ok(HistoryReply { path: escape_path(&path), histories, not_indexed, not_searchable })
    }

    /// Discards the search index; it is made anew in the background, from the savesets.
    pub async fn rebuild_search(&self, who: &Principal) -> Result<SearchState, ServerError> {
        self.may_do(who, Right::Maintain, "rebuild the search index of", Object::Suite, "").await?;
        let house = std::sync::Arc::clone(&self.house);
        tokio::task::spawn_blocking(move || house.search.begin_anew())
            .await
            .map_err(|error| ServerError::Lost(error.to_string()))?
            .map_err(|error| self.house.search.failed(error))?;
        Ok(self.search_state())
    }

    pub(crate) fn search_state(&self) -> SearchState {
        let known = self.house.search.known();
        let index = self.house.search.index();
        let figures = index.map(|index| index.snapshot().figures()).unwrap_or_default();
        SearchState {
            savesets: figures.savesets,
            waiting: known.waiting,
            versions: figures.versions,
            bytes: figures.bytes,
            memory_bytes: figures.memory_bytes,
            trouble: known.trouble,
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, ServerError> {
        if self.house.config.search_interval_s == 0 {
            return Err(ServerError::Refused(
                "this server keeps no search index: 'search_interval_s = 10' in the [server] part of its settings turns it on".to_owned(),
            ));
        }
        // Who asks just after a start opens it.
        let house = Arc::clone(&self.house);
        let opened = tokio::task::spawn_blocking(move || house.search.open()).await;
        let opened = opened.map_err(|error| ServerError::Lost(error.to_string()))?;
        let index = opened.map_err(|error| self.house.search.failed(error))?;
        Ok(index.snapshot())
    }

    /// Savesets that the index has not, and domains that it cannot have.
    async fn not_searched(
        &self,
        snapshot: &Snapshot,
        wanted: &impl Fn(&str, &str) -> bool,
    ) -> Result<(Vec<NotIndexed>, Vec<String>), ServerError> {
        let (savesets, domains, clients) = self
            .house
            .books
            .run(|catalog| {
                let savesets = catalog.savesets(&SavesetFilter::default())?;
                Ok((savesets, catalog.domains()?, catalog.clients()?))
            })
            .await?;
        let known: HashSet<SavesetId> = snapshot.book().savesets().map(|one| one.saveset).collect();
        let is_open = |domain: &Domain| domain.sealed_key.is_some();
        let open: HashSet<_> =
            domains.iter().filter(|one| is_open(one)).map(|one| one.domain).collect();
        let unreadable = self.house.search.known().unreadable;
        let missing = savesets.iter().filter(|one| {
            !known.contains(&one.saveset)
                && open.contains(&one.domain)
                && wanted(&one.client_name, &one.task_name)
        });
        let missing = missing.take(NOT_INDEXED_MAX).map(|one: &Saveset| NotIndexed {
            saveset: one.saveset,
            client: one.client_name.clone(),
            task: one.task_name.clone(),
            why: match unreadable.get(&one.saveset) {
                Some(why) => why.clone(),
                None => "it is not in the index yet".to_owned(),
            },
        });
        let not_indexed = missing.collect();
        let mut sentences = BTreeSet::new();
        for domain in domains.iter().filter(|one| !is_open(one)) {
            let of = |one: &&Saveset| one.domain == domain.domain;
            let mut of_domain = savesets.iter().filter(of);
            let Some(saveset) = of_domain.find(|one| wanted(&one.client_name, &one.task_name))
            else {
                continue;
            };
            let owner = clients.iter().find(|client| Some(client.id) == domain.owner);
            let client = owner.map_or(saveset.client_name.as_str(), |client| client.name.as_str());
            sentences.insert(match domain.key_held_by {
                KeyHolder::Nobody => format!(
                    "not searchable here: nobody has brought the key of client '{client}'"
                ),
                KeyHolder::Client | KeyHolder::Server => format!(
                    "not searchable here: client '{client}' holds its key alone ('simsim find' on that host looks into its savesets)"
                ),
            });
        }
        Ok((not_indexed, sentences.into_iter().collect()))
    }

    /// A name that nobody has is a typing error.
    async fn check_names(
        &self,
        client: Option<&str>,
        task: Option<&str>,
    ) -> Result<(), ServerError> {
        let (client, task) = (client.map(str::to_owned), task.map(str::to_owned));
        self.house
            .books
            .run(move |catalog| {
                if let Some(client) = &client {
                    catalog.client(client)?;
                }
                if let Some(task) = &task {
                    catalog.task(task)?;
                }
                Ok(())
            })
            .await
    }
}

fn kind_of(text: &str) -> Result<EntryKind, ServerError> {
    EntryKind::parse(text).ok_or_else(|| {
        let kinds: Vec<_> = EntryKind::ALL.iter().map(|kind| kind.as_str()).collect();
        ServerError::invalid(format!("'{text}' is no kind of entry: {}", kinds.join(", ")))
    })
}

fn found_version(book: &Book, hit: &Hit) -> Option<FoundVersion> {
    let strand = book.strand(hit.strand)?;
    let mut path = hit.parent.clone();
    if path.last() != Some(&b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(&hit.name);
    Some(FoundVersion {
        client: strand.client.clone(),
        task: strand.task.clone(),
        path: escape_path(&path),
        kind: hit.version.kind.as_str().to_owned(),
        bytes: hit.version.size,
        mtime_unix_s: hit.version.mtime_unix_s,
        first_saveset: hit.first,
        first_unix_ms: hit.first_unix_ns.div_euclid(1_000_000),
        last_saveset: hit.last,
        last_unix_ms: hit.last_unix_ns.div_euclid(1_000_000),
        savesets: hit.savesets,
        ended: hit.ended,
    })
}

/// Adds what a path was in one strand to what it was in those before it of the same task and domain.
fn add_history(
    histories: &mut Vec<(Strand, Vec<Span>)>,
    book: &Book,
    strand: Strand,
    mut spans: Vec<Span>,
) {
    if spans.is_empty() {
        // It was in none of these savesets; after one that had it, that says that it was deleted.
        let mut of = book.savesets_of(strand.id);
        let Some(first) = of.next() else { return };
        let last = of.next_back().unwrap_or(first);
        let savesets = book.savesets_of(strand.id).count() as u32;
        spans.push(Span { version: None, first: first.clone(), last: last.clone(), savesets });
    }
    let same = histories.iter_mut().find(|(one, _)| {
        one.domain == strand.domain && one.client == strand.client && one.task == strand.task
    });
    let Some((_, before)) = same else {
        histories.push((strand, spans));
        return;
    };
    for span in spans {
        match before.last_mut() {
            Some(last) if last.version == span.version => {
                last.last = span.last;
                last.savesets += span.savesets;
            }
            _ => before.push(span),
        }
    }
}

fn file_version(span: &Span) -> FileVersion {
    let version = span.version;
    FileVersion {
        present: version.is_some(),
        kind: version.map(|one| one.kind.as_str().to_owned()),
        bytes: version.map(|one| one.size),
        mtime_unix_s: version.map(|one| one.mtime_unix_s),
        first_saveset: span.first.saveset,
        first_unix_ms: span.first.committed_unix_ns.div_euclid(1_000_000),
        last_saveset: span.last.saveset,
        last_unix_ms: span.last.committed_unix_ns.div_euclid(1_000_000),
        savesets: span.savesets,
    }
}
