//! A verb that runs as long as its job, seen through silence.
//!
//! The session may be lost at any moment while the node works on. Then the Server dials again,
//! asks what became of the job, and attaches to its events. A node that stays silent beyond the
//! configured grace, or that does not know the job any more, has lost it.

use std::time::Duration;

use simsim_catalog::{ClientId, Severity};
use simsim_control::verbs::{
    CancelJob, FollowJob, FollowJobReply, JobPhase, JobResult, JobState, RebuildIndex,
    RebuildIndexReply, StartBackup, StartBackupReply, StartRestore, StartRestoreReply, Verb,
    VerifyDatastore, VerifyDatastoreReply,
};
use simsim_model::{Kind, limits};
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

ends!(StartBackupReply, StartRestoreReply, FollowJobReply);

impl Ends for VerifyDatastoreReply {
    fn into_result(self) -> JobResult {
        self.result
    }

    fn remarks(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "checked {} packs, {} segments, {} chunks, {} bytes; {} damaged",
            self.packs, self.segments, self.chunks, self.bytes, self.damaged_total
        )];
        lines.extend(self.damaged.iter().cloned());
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

/// A verb that runs as long as its job.
pub(crate) trait LongVerb: Verb<Reply: Ends> + Clone {}
impl LongVerb for StartBackup {}
impl LongVerb for StartRestore {}
impl LongVerb for VerifyDatastore {}
impl LongVerb for RebuildIndex {}

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
    let mut silent_since: Option<Instant> = None;
    let mut begin = verb;
    loop {
        let line = match nodes.line(node, LINE_PATIENCE).await {
            Ok(line) => line,
            Err(error) => {
                if begin.is_some() {
                    return CallEnd::Refused(error);
                }
                let since = *silent_since.get_or_insert_with(Instant::now);
                // A person who wants it to end need not wait as long as the job would.
                let patience = if running.cancel.is_cancelled() {
                    silence_max.min(CANCEL_PATIENCE)
                } else {
                    silence_max
                };
                let gone_for_good = error.kind() == Kind::Denied;
                if gone_for_good || since.elapsed() >= patience {
                    return CallEnd::Lost(error);
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
        };
        if silent_since.take().is_some() {
            running.log(Severity::Info, "the node is back; asking what became of the job").await;
        }
        let end = match begin.take() {
            Some(verb) => watch(&line, running, verb).await,
            None => match line.call(JobState { job: running.number }).await {
                Ok(state) => match (state.phase, state.result) {
                    (JobPhase::Finished, Some(result)) => return CallEnd::Told(Box::new(result)),
                    (JobPhase::Running, _) => {
                        watch(&line, running, FollowJob { job: running.number }).await
                    }
                    (JobPhase::Unknown | JobPhase::Finished, _) => return forgotten(running),
                },
                Err(error) if error.kind() == Kind::NotFound => return forgotten(running),
                Err(error) => Err(error),
            },
        };
        match end {
            Ok(result) => return CallEnd::Told(Box::new(result)),
            Err(error) if error.kind() == Kind::Unreachable => {
                silent_since = Some(Instant::now());
                let line = format!(
                    "no word from the node that works ({error}); waiting for it up to {} s",
                    silence_max.as_secs()
                );
                running.log(Severity::Warning, line).await;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
            // Another may have begun it: what counts is what became of it.
            Err(error) if error.kind() == Kind::Busy && silent_since.is_some() => {}
            Err(error) => return CallEnd::Refused(error),
        }
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
    loop {
        tokio::select! {
            event = call.next_event() => match event {
                Some(event) => {
                    heard = Instant::now();
                    running.heard(event);
                }
                None => break,
            },
            () = running.cancel.cancelled(), if !cancel_told => {
                cancel_told = true;
                running.log(Severity::Info, "telling the node to cancel").await;
                match line.call(CancelJob { job: running.number }).await {
                    // It has ended meanwhile: its answer is on the way.
                    Ok(_) => {}
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            _ = look.tick() => {
                if heard.elapsed() >= dead {
                    let line_text = format!("no event for {} s; asking the node", dead.as_secs());
                    running.log(Severity::Warning, line_text).await;
                    line.call(JobState { job: running.number }).await?;
                    heard = Instant::now();
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
