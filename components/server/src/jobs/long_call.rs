//! A verb that runs as long as its job, seen through silence.
//!
//! The session may be lost at any moment while the node works on. Then the Server dials again,
//! asks what became of the job, and attaches to its events. A node that stays silent beyond the
//! configured grace, or that does not know the job any more, has lost it.

use std::time::Duration;

use simsim_catalog::{ClientId, Severity};
use simsim_control::verbs::{
    CancelJob, CollectGarbage, CollectGarbageReply, FollowJob, FollowJobReply, JobPhase, JobResult,
    JobState, JobStateReply, ProveSavesets, ProveSavesetsReply, RebuildIndex, RebuildIndexReply,
    Replicate, ReplicateReply, RunCommand, RunCommandReply, RunDrill, RunDrillReply,
    ScrubDatastore, ScrubDatastoreReply, StartBackup, StartBackupReply, StartRestore,
    StartRestoreReply, Verb, VerifyDatastore, VerifyDatastoreReply,
};
use simsim_model::{Checked, Drilled, Kind, limits};
use tokio::time::{Instant, MissedTickBehavior};

use super::running::Running;
use crate::ServerError;
use crate::nodes::{Line, Nodes};

/// How often a running call is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A cancelled job waits so long for a silent node before it is ended without it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(5);
/// One wait for a line, before it is asked again whether to wait on.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

/// A job that begins waits so long for a host that calls: its longest pause, and some.
const CALL_PATIENCE: Duration = Duration::from_secs(40);

/// A job that was followed so long was followed well: what fails later is new.
const FOLLOWED_WELL: Duration = Duration::from_secs(60);
/// Silences in a row that are written into the job's log.
const SILENCES_LOGGED: u32 = 3;

/// An answer that ends a job.
pub(crate) trait Ends: Send {
    fn into_result(self) -> JobResult;
    /// Lines for the job's log.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

macro_rules! ends {
    ($($reply:ty),*) => {
        $(impl Ends for $reply {
            fn into_result(self) -> JobResult {
                self.result
            }
        })*
    };
}

ends!(StartBackupReply, StartRestoreReply, FollowJobReply, RunCommandReply, ProveSavesetsReply);

impl Ends for VerifyDatastoreReply {
    fn into_result(self) -> JobResult {
        // A device of an older version counts beside its result only.
        let checked = self.result.checked.unwrap_or(Checked {
            packs: self.packs,
            segments: self.segments,
            chunks: self.chunks,
            bytes: self.bytes,
            damaged: self.damaged_total,
        });
        JobResult { checked: Some(checked), ..self.result }
    }

    fn remarks(&self) -> Vec<String> {
        let Self { packs, segments, chunks, bytes, damaged_total: damaged, .. } = self;
        let mut lines = vec![format!(
            "checked {packs} packs, {segments} segments, {chunks} chunks, {bytes} bytes; {damaged} damaged"
        )];
        lines.extend(self.damaged.iter().cloned());
        lines
    }
}

impl Ends for ScrubDatastoreReply {
    fn into_result(self) -> JobResult {
        self.result
    }

    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(checked) = &self.result.checked {
            lines.push(format!(
                "checked {} of {} packs, {} bytes; {} damaged",
                checked.packs, self.packs, checked.bytes, checked.damaged
            ));
        }
        if self.packs_never > 0 {
            lines.push(format!("{} packs were never checked", self.packs_never));
        } else if let Some(at) = self.oldest_unix_s.and_then(|at| i64::try_from(at).ok())
            && let Ok(at) = jiff::Timestamp::from_second(at)
        {
            lines.push(format!("everything was checked since {at}"));
        }
        lines
    }
}

impl Ends for RunDrillReply {
    fn into_result(self) -> JobResult {
        self.result
    }

    fn remarks(&self) -> Vec<String> {
        let Some(drilled) = &self.result.drilled else { return Vec::new() };
        let Drilled { files, bytes, files_of, bytes_of, chunks, restore_ms, compare_ms, .. } =
            drilled;
        let mut lines = vec![format!(
            "restored {files} of {files_of} files, {bytes} of {bytes_of} bytes, in {restore_ms} ms; \
             compared them with the saveset, {chunks} pieces, in {compare_ms} ms: {} differences",
            drilled.differences_total
        )];
        let (same, changed) = (drilled.sources_same, drilled.sources_changed);
        if same + changed > 0 {
            lines.push(format!(
                "{same} sources stand as they were backed up and are the same; {changed} were changed since, \
                 or may not be read"
            ));
        }
        lines.extend(drilled.differences.iter().cloned());
        lines
    }
}

impl Ends for RebuildIndexReply {
    fn into_result(self) -> JobResult {
        self.result
    }

    fn remarks(&self) -> Vec<String> {
        vec![format!(
            "the index was made again from {} packs: {} segments, {} chunks",
            self.packs, self.segments, self.chunks
        )]
    }
}

impl Ends for CollectGarbageReply {
    fn into_result(self) -> JobResult {
        self.result
    }

    fn remarks(&self) -> Vec<String> {
        let Self { savesets, packs_deleted, bytes_deleted, packs_written, bytes_written, .. } =
            self;
        let mut lines = vec![format!(
            "what {savesets} savesets need stays; {packs_deleted} packs removed, {bytes_deleted} \
             bytes; {packs_written} packs written for what lived in them, {bytes_written} bytes"
        )];
        if self.bytes_left > 0 {
            lines.push(format!(
                "{} bytes that nobody needs stay in packs with much that is needed",
                self.bytes_left
            ));
        }
        lines
    }
}

impl Ends for ReplicateReply {
    fn into_result(self) -> JobResult {
        self.result
    }

    fn remarks(&self) -> Vec<String> {
        let Self { copied, there, failed, segments, bytes, .. } = self;
        vec![format!(
            "{copied} savesets copied, {there} were there, {failed} could not be copied; \
             {segments} segments sent, {bytes} bytes"
        )]
    }
}

/// A verb that runs as long as its job.
pub(crate) trait LongVerb: Verb<Reply: Ends> + Clone {}
impl LongVerb for StartBackup {}
impl LongVerb for StartRestore {}
impl LongVerb for VerifyDatastore {}
impl LongVerb for RebuildIndex {}
impl LongVerb for ScrubDatastore {}
impl LongVerb for CollectGarbage {}
impl LongVerb for Replicate {}
impl LongVerb for ProveSavesets {}
impl LongVerb for RunCommand {}
impl LongVerb for RunDrill {}

/// What became of a long call.
pub(crate) enum CallEnd {
    /// The node told how the job ended.
    Told(Box<JobResult>),
    /// The node stayed silent.
    Lost(ServerError),
    /// The node is there and does not remember the job: its daemon ended while it ran.
    Forgotten(ServerError),
    /// The node refused or could not begin.
    Refused(ServerError),
}

/// Sees a job through on `node`. `verb` begins it; without one the job is only followed, as after
/// a restart of the Server.
pub(crate) async fn see_through<V: LongVerb>(
    nodes: &Nodes,
    running: &Running,
    node: ClientId,
    verb: Option<V>,
    silence_max: Duration,
) -> CallEnd {
    let mut silence = Silence { max: silence_max, since: None, cancel_since: None, failed: 0 };
    let mut begin = verb;
    let begun = tokio::time::Instant::now();
    loop {
        let line = match nodes.line(node, LINE_PATIENCE).await {
            Ok(line) => line,
            // Nobody can wake a host that calls; it comes back by itself, within its pause.
            Err(error)
                if begin.is_some()
                    && nodes.calls(node)
                    && error.kind() == Kind::Unreachable
                    && begun.elapsed() < CALL_PATIENCE
                    && !running.cancel.is_cancelled() =>
            {
                continue;
            }
            Err(error) if begin.is_some() => return CallEnd::Refused(error),
            // It was revoked, or obeys another server: nothing more will be heard.
            Err(error) if error.kind() == Kind::Denied => return CallEnd::Lost(error),
            Err(error) => {
                if let Some(end) = silence.go_on(running, error).await {
                    return end;
                }
                continue;
            }
        };
        let end = match begin.take() {
            Some(verb) => match watch(&line, running, verb).await {
                Err(error) if error.kind() != Kind::Unreachable => return CallEnd::Refused(error),
                end => end,
            },
            None => match state_of(&line, running).await {
                Ok(state) => {
                    silence.is_over(running).await;
                    match (state.phase, state.result) {
                        (JobPhase::Finished, Some(result)) => {
                            return CallEnd::Told(Box::new(result));
                        }
                        (JobPhase::Running, _) => {
                            let begun = Instant::now();
                            let end =
                                watch(&line, running, FollowJob { job: running.number }).await;
                            if begun.elapsed() >= FOLLOWED_WELL {
                                silence.failed = 0;
                            }
                            end
                        }
                        (JobPhase::Unknown | JobPhase::Finished, _) => return forgotten(running),
                    }
                }
                Err(error) if error.kind() == Kind::NotFound => return forgotten(running),
                Err(error) => Err(error),
            },
        };
        match end {
            Ok(result) => return CallEnd::Told(Box::new(result)),
            // Whatever it was: the job runs on, and its node is asked again.
            Err(error) => {
                if let Some(end) = silence.go_on(running, error).await {
                    return end;
                }
            }
        }
    }
}

/// The time without a clear word from the node. A line that opens ends no silence; an answer does.
struct Silence {
    max: Duration,
    since: Option<Instant>,
    /// Since when a wish to cancel does not get through.
    cancel_since: Option<Instant>,
    /// How often in a row it began; only the first times are written into the log.
    failed: u32,
}

impl Silence {
    /// Waits a moment, or ends a wait that was long enough.
    async fn go_on(&mut self, running: &Running, error: ServerError) -> Option<CallEnd> {
        let now = Instant::now();
        let is_new = self.since.is_none();
        let since = *self.since.get_or_insert(now);
        let mut patience = self.max;
        if running.cancel.is_cancelled() {
            // A person who wants it to end need not wait as long as the job would.
            patience = patience.min(CANCEL_PATIENCE);
            let cancel_since = *self.cancel_since.get_or_insert(now);
            if cancel_since.elapsed() >= self.max.max(CANCEL_PATIENCE) {
                return Some(CallEnd::Lost(error));
            }
        }
        if since.elapsed() >= patience {
            return Some(CallEnd::Lost(error));
        }
        if is_new {
            self.failed = self.failed.saturating_add(1);
            if self.failed <= SILENCES_LOGGED {
                let line = format!(
                    "no word from the node that works ({error}); waiting for it up to {} s",
                    self.max.as_secs()
                );
                running.log(Severity::Warning, line).await;
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        None
    }

    async fn is_over(&mut self, running: &Running) {
        if self.since.take().is_some() && self.failed <= SILENCES_LOGGED {
            running.log(Severity::Info, "the node is back; asked what became of the job").await;
        }
    }
}

/// Asks what became of the job. Once it is to be cancelled, a node that does not answer is not
/// waited for as long as otherwise.
async fn state_of(line: &Line, running: &Running) -> Result<JobStateReply, ServerError> {
    let impatient = async {
        running.cancel.cancelled().await;
        tokio::time::sleep(CANCEL_PATIENCE).await;
    };
    tokio::select! {
        answer = line.call(JobState { job: running.number }) => answer,
        () = impatient => Err(ServerError::node(
            &running.client_name,
            Kind::Unreachable,
            format!("no answer within {} s", CANCEL_PATIENCE.as_secs()),
        )),
    }
}

fn forgotten(running: &Running) -> CallEnd {
    CallEnd::Forgotten(ServerError::node(
        &running.client_name,
        Kind::Unreachable,
        "it does not know the job: its daemon ended before the job did",
    ))
}

/// Watches one call on one line: relays its events, passes a wish to cancel on, and probes a node
/// that says nothing although its line is open.
async fn watch<V>(line: &Line, running: &Running, verb: V) -> Result<JobResult, ServerError>
where
    V: Verb<Reply: Ends>,
{
    let dead = Duration::from_millis(limits::DEAD_PEER_MS);
    let mut call = line.start(verb).await?;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let mut cancel_told = false;
    let mut cancel_next = heard;
    loop {
        tokio::select! {
            event = call.next_event() => match event {
                Some(event) => {
                    heard = Instant::now();
                    running.heard(event);
                }
                None => break,
            },
            () = running.cancel.cancelled(), if !cancel_told && Instant::now() >= cancel_next => {
                cancel_told = true;
                running.log(Severity::Info, "telling the node to cancel").await;
                match line.call(CancelJob { job: running.number }).await {
                    // It has ended meanwhile: its answer is on the way.
                    Ok(_) => {}
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) if error.kind() == Kind::Unreachable => return Err(error),
                    Err(error) => {
                        let line_text = format!("the node does not cancel ({error}); asking again");
                        running.log(Severity::Warning, line_text).await;
                        cancel_told = false;
                        cancel_next = Instant::now() + dead;
                    }
                }
            }
            _ = look.tick() => {
                if heard.elapsed() >= dead {
                    let line_text = format!("no event for {} s; asking the node", dead.as_secs());
                    running.log(Severity::Warning, line_text).await;
                    match line.call(JobState { job: running.number }).await {
                        Err(error) if error.kind() == Kind::Unreachable => return Err(error),
                        // It answers, whatever it says; the call itself tells how the job ends.
                        _ => heard = Instant::now(),
                    }
                }
            }
        }
    }
    let reply = call.finish().await.map_err(|error| line.error(&error))?;
    for remark in reply.remarks() {
        running.log(Severity::Info, remark).await;
    }
    Ok(reply.into_result())
}
