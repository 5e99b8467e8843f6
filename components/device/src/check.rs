//! Jobs on a whole datastore: verification, building the index again, and collecting garbage.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use simsim_control::Job;
use simsim_control::verbs::{
    CollectGarbage, CollectGarbageReply, RebuildIndex, RebuildIndexReply, ScrubDatastore,
    ScrubDatastoreReply, VerifyDatastore, VerifyDatastoreReply, VerifyMode,
};
use simsim_datastore::{
    CheckedUntil, CollectOptions, CollectReport, CollectStage, DatastoreError, ScrubBudget,
    VerifyReport,
};
use simsim_format::{DomainKey, Manifest, Opener, SegmentKind, SegmentView};
use simsim_model::{Checked, DomainId, Kind, Problem, ProblemKind, RestoreSession, SavesetId};
use simsim_mover::{MoverError, Verified, verify};

use crate::DeviceError;
use crate::shelf::Lease;

/// Manifests read at once.
const PAGE: usize = 1000;

/// What a check counted; the result of the job is added later.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) packs: u64,
    pub(crate) segments: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) damaged: Vec<String>,
    /// Damages that were counted only.
    unnamed: u64,
}

impl Found {
    fn damage(&mut self, job: &Job, path: &[u8], what: String) {
        job.problem(Problem::new(path, ProblemKind::MissingData, what.clone()));
        self.damaged.push(what);
    }

    fn checked(&self) -> Checked {
        Checked {
            packs: self.packs,
            segments: self.segments,
            chunks: self.chunks,
            bytes: self.bytes,
            damaged: self.damaged.len() as u64 + self.unnamed,
        }
    }

    pub(crate) fn reply(self, result: simsim_control::verbs::JobResult) -> VerifyDatastoreReply {
        let mut reply = VerifyDatastoreReply {
            result,
            packs: self.packs,
            segments: self.segments,
            chunks: self.chunks,
            bytes: self.bytes,
            damaged_total: self.damaged.len() as u64 + self.unnamed,
            damaged: self.damaged,
        };
        reply.fit();
        reply
    }
}

/// Structure: every pack, index entry, reference and manifest. Bytes: with the keys of the
/// domains also the plaintext of every chunk and node against its name, in the same pass; what is
/// damaged is then looked for in the savesets. A saveset narrows both to what it needs; then only
/// its tree is read.
pub(crate) fn run(
    lease: &Lease,
    request: &VerifyDatastore,
    job: &Arc<Job>,
    threads: usize,
    found: &mut Found,
) -> Result<(), DeviceError> {
    let done = look(lease, request, job, threads, found);
    job.checked(found.checked());
    done
}

fn look(
    lease: &Lease,
    request: &VerifyDatastore,
    job: &Arc<Job>,
    threads: usize,
    found: &mut Found,
) -> Result<(), DeviceError> {
    if request.mend {
        let mended = lease.datastore.mend()?;
        if mended.segments > 0 {
            let text = format!(
                "{} damaged segments of {} packs were put back as they were",
                mended.segments, mended.packs
            );
            job.problem(Problem::new(*b"packs", ProblemKind::Note, text));
        }
    }
    let keys: BTreeMap<DomainId, DomainKey> = request
        .domain_keys
        .iter()
        .map(|given| (given.domain, DomainKey::new(&given.key)))
        .collect();
    if let Some(saveset) = request.saveset {
        let bytes = lease.datastore.manifest_bytes(saveset)?;
        let manifest = Manifest::decode(&bytes)?;
        let key = keys.get(&manifest.domain).ok_or(DeviceError::Request(
            "one saveset can be verified only with the key of its domain: ask with --bytes \
             --keys-to-device, or verify all of the datastore",
        ))?;
        let mut seen = Verified::default();
        names(lease, &manifest, key, &mut seen, job, threads, found)?;
        // Whoever heals from a copy asks for roots first: one above damage must not be taken for whole.
        if !found.damaged.is_empty() || found.unnamed > 0 {
            lease.datastore.distrust_dependents()?;
        }
        return Ok(());
    }
    let plaintext = Plaintext::new(match request.mode {
        VerifyMode::Structure => BTreeMap::new(),
        VerifyMode::Bytes => keys.clone(),
    });
    packs(lease, &plaintext, job, threads, found)?;
    if request.mode == VerifyMode::Structure {
        return Ok(());
    }
    let without_key = plaintext.without_key.load(Relaxed);
    if without_key > 0 {
        let text = format!(
            "{without_key} segments of domains without a key were checked by their checksums only"
        );
        job.problem(Problem::new(Vec::new(), ProblemKind::Note, text));
    }
    // Every segment, every name in it and every reference is sound: so is every saveset.
    if found.damaged.is_empty() && found.unnamed == 0 {
        return Ok(());
    }
    let mut seen: BTreeMap<DomainId, Verified> = BTreeMap::new();
    let damaged = lease.datastore.state().damaged_manifests.len();
    let mut after = 0;
    loop {
        // Damaged ones are left out of a page, and counted by the structure's check.
        let page = lease.datastore.manifests(after, PAGE + damaged)?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        for manifest in &page {
            if let Some(key) = keys.get(&manifest.domain) {
                let seen = seen.entry(manifest.domain).or_default();
                match names(lease, manifest, key, seen, job, threads, found) {
                    // It was deleted since the page was read.
                    Err(error) if error.kind() == Kind::NotFound && is_gone(lease, manifest) => {}
                    looked => looked?,
                }
            }
        }
    }
    Ok(())
}

/// Opens segments of domains whose keys are there, and checks every name in them.
struct Plaintext {
    keys: BTreeMap<DomainId, DomainKey>,
    /// Openers that nobody uses right now, each with its domain.
    spare: Mutex<Vec<(DomainId, Opener)>>,
    without_key: AtomicU64,
}

impl Plaintext {
    fn new(keys: BTreeMap<DomainId, DomainKey>) -> Self {
        Self { keys, spare: Mutex::default(), without_key: AtomicU64::new(0) }
    }

    fn check(&self, view: &SegmentView) -> Result<(), String> {
        if view.kind == SegmentKind::Manifest {
            return Ok(());
        }
        let Some(key) = self.keys.get(&view.domain) else {
            self.without_key.fetch_add(1, Relaxed);
            return Ok(());
        };
        let kept = {
            let mut spare = self.spare.lock();
            let place = spare.iter().position(|(domain, _)| *domain == view.domain);
            place.map(|place| spare.swap_remove(place).1)
        };
        let mut opener = kept.unwrap_or_else(|| Opener::new(key.clone()));
        let checked = simsim_mover::check_segment(&mut opener, view);
        self.spare.lock().push((view.domain, opener));
        checked.map(|_| ())
    }
}

/// Everything that the datastore holds, segment by segment, in one pass.
fn packs(
    lease: &Lease,
    plaintext: &Plaintext,
    job: &Arc<Job>,
    threads: usize,
    found: &mut Found,
) -> Result<(), DeviceError> {
    let progress = job.progress();
    let report = lease.datastore.verify(threads, &|view| plaintext.check(view), &|at| {
        progress.bytes_read.fetch_max(at.bytes, Relaxed);
        !progress.is_cancelled()
    })?;
    tell(report, job, found);
    if progress.is_cancelled() { Err(MoverError::Cancelled.into()) } else { Ok(()) }
}

/// Checks what was checked longest ago. One that is cancelled has checked what it has.
pub(crate) fn scrub(
    lease: &Lease,
    request: &ScrubDatastore,
    job: &Arc<Job>,
    threads: usize,
    until: &mut CheckedUntil,
) -> Result<(), DeviceError> {
    let progress = job.progress();
    let seconds = Duration::from_secs(request.seconds_max);
    let budget = ScrubBudget {
        bytes: (request.bytes_max > 0).then_some(request.bytes_max),
        until: (request.seconds_max > 0).then(|| Instant::now().checked_add(seconds)).flatten(),
    };
    let mut found = Found::default();
    let report = lease.datastore.scrub(&budget, threads, &|_| Ok(()), &|at| {
        progress.bytes_read.fetch_max(at.bytes, Relaxed);
        !progress.is_cancelled()
    })?;
    tell(report, job, &mut found);
    job.checked(found.checked());
    *until = lease.datastore.checked_until();
    if progress.is_cancelled() { Err(MoverError::Cancelled.into()) } else { Ok(()) }
}

pub(crate) fn scrub_reply(
    until: CheckedUntil,
    result: simsim_control::verbs::JobResult,
) -> ScrubDatastoreReply {
    ScrubDatastoreReply {
        result,
        packs: until.packs,
        packs_never: until.never,
        oldest_unix_s: until.oldest_unix_s,
    }
}

/// What a check of packs found, for the job.
fn tell(report: VerifyReport, job: &Arc<Job>, found: &mut Found) {
    found.packs += report.packs;
    found.segments += report.segments;
    found.chunks += report.items;
    found.bytes += report.bytes;
    let unnamed = report.damages.saturating_sub(report.damaged.len() as u64);
    // Savesets first: of a job so many problems are kept, and by these the server knows what is damaged.
    let (savesets, others): (Vec<_>, Vec<_>) =
        report.damaged.into_iter().partition(|damage| damage.saveset.is_some());
    for damage in savesets.into_iter().chain(others) {
        let (path, what) = match (damage.pack, damage.saveset) {
            (Some(pack), _) => (
                format!("pack {pack}").into_bytes(),
                format!("pack {pack} at {}: {}", damage.offset, damage.what),
            ),
            (None, Some(saveset)) => {
                (path_of(saveset), format!("saveset {saveset}: {}", damage.what))
            }
            (None, None) => (b"manifests".to_vec(), damage.what),
        };
        found.damage(job, &path, what);
    }
    found.unnamed += unnamed;
    let named = report.misread.len() as u64;
    for what in report.misread {
        let text = format!("{what}: nothing is lost, but look after memory, cable and disk");
        job.problem(Problem::new(*b"packs", ProblemKind::Note, text));
    }
    if report.misreads > named {
        let text =
            format!("{} more reads came out right only when made again", report.misreads - named);
        job.problem(Problem::new(*b"packs", ProblemKind::Note, text));
    }
}

/// One saveset's tree and chunks, opened and checked by name.
fn names(
    lease: &Lease,
    manifest: &Manifest,
    key: &DomainKey,
    seen: &mut Verified,
    job: &Arc<Job>,
    threads: usize,
    found: &mut Found,
) -> Result<(), DeviceError> {
    let session: Arc<dyn RestoreSession> = Arc::new(lease.datastore.read_session(manifest.domain));
    let report =
        match verify(session, key.clone(), manifest.saveset, seen, threads, &job.progress()) {
            Ok(report) => report,
            // A saveset whose root cannot be read is damage, not the end of the check.
            Err(error) if error.kind() == simsim_model::Kind::Corrupt => {
                let what = format!("saveset {}: {error}", manifest.saveset);
                found.damage(job, &path_of(manifest.saveset), what);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
    found.segments += report.segments;
    found.chunks += report.chunks;
    found.bytes += report.bytes;
    lease.datastore.distrust_content(manifest.domain, &report.content_wrong)?;
    for what in report.damaged {
        let what = format!("saveset {}: {what}", manifest.saveset);
        found.damage(job, &path_of(manifest.saveset), what);
    }
    Ok(())
}

fn is_gone(lease: &Lease, manifest: &Manifest) -> bool {
    let there = lease.datastore.manifest(manifest.saveset);
    matches!(there, Err(DatastoreError::NoSaveset { .. }))
}

fn path_of(saveset: SavesetId) -> Vec<u8> {
    format!("saveset {saveset}").into_bytes()
}

/// Removes what no saveset needs.
pub(crate) fn collect(
    lease: &Lease,
    request: &CollectGarbage,
    job: &Arc<Job>,
    report: &mut CollectReport,
) -> Result<(), DeviceError> {
    let progress = job.progress();
    let told = Mutex::new(None);
    let options = CollectOptions { over_budget: request.over_budget, ..CollectOptions::default() };
    let collected = lease.datastore.collect_garbage(&options, &|at| {
        let mut told = told.lock();
        if *told != Some(at.stage) {
            *told = Some(at.stage);
            if matches!(
                at.stage,
                CollectStage::WaitingForSessions | CollectStage::WaitingForReaders
            ) {
                tracing::info!(sessions = at.done, "a collection of garbage waits for sessions");
            }
        }
        !progress.is_cancelled()
    });
    match collected {
        Ok(done) => *report = done,
        Err(_) if progress.is_cancelled() => return Err(MoverError::Cancelled.into()),
        Err(error) => return Err(error.into()),
    }
    if report.packs_damaged > 0 {
        let text = format!(
            "{} packs cannot be read and were left as they are: verify the datastore to learn \
             which savesets need them",
            report.packs_damaged
        );
        job.problem(Problem::new(*b"packs", ProblemKind::MissingData, text));
    }
    Ok(())
}

pub(crate) fn collect_reply(
    report: &CollectReport,
    result: simsim_control::verbs::JobResult,
) -> CollectGarbageReply {
    CollectGarbageReply {
        result,
        savesets: report.savesets,
        packs_deleted: report.packs_deleted,
        bytes_deleted: report.bytes_deleted,
        packs_written: report.packs_written,
        bytes_written: report.bytes_written,
        bytes_left: report.dead_bytes_left,
    }
}

/// Builds the index again from the packs, and manifests that are gone from their copies there.
pub(crate) fn rebuild(
    lease: &Lease,
    _request: &RebuildIndex,
    job: &Arc<Job>,
    counts: &mut (u64, u64, u64),
) -> Result<(), DeviceError> {
    let report = lease.datastore.rebuild()?;
    *counts = (report.packs, report.segments, report.items);
    let losses = [
        (report.lost_packs, "packs cannot be read at all"),
        (report.salvaged_packs, "packs are cut short; what is whole of them was kept"),
        (report.damaged_segments, "segments are damaged"),
    ];
    for (count, what) in losses {
        if count > 0 {
            let text =
                format!("{count} {what}; verify the datastore to learn which savesets need them");
            job.problem(Problem::new(*b"packs", ProblemKind::MissingData, text));
        }
    }
    let manifests = report.manifests;
    if manifests > 0 {
        let text = format!(
            "savesets whose manifest was lost and is here again, from its copy in a pack: \
             {manifests}; 'simsim datastore rebuild-catalog' lists those that the catalog lost"
        );
        job.problem(Problem::new(*b"manifests", ProblemKind::Note, text));
    }
    Ok(())
}

pub(crate) fn rebuild_reply(
    (packs, segments, chunks): (u64, u64, u64),
    result: simsim_control::verbs::JobResult,
) -> RebuildIndexReply {
    RebuildIndexReply { result, packs, segments, chunks }
}
