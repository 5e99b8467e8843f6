//! A restore: the policy, one transfer, the sink, and the mover between them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use simsim_control::Job;
use simsim_control::verbs::StartRestore;
use simsim_model::{CommitReply, Direction};
use simsim_mover::{RestoreJob, Selection};
use simsim_source::{FsSink, SinkOptions};
use simsim_transfer::HttpTransfer;

use crate::addresses::dial_addresses;
use crate::backup::end;
use crate::client::on_problem;
use crate::{Client, ClientError, Policy, plan};

/// Where an empty target restores to: every path to its own place.
const ORIGINAL: &[u8] = b"/";

pub(crate) fn run(
    client: &Client,
    request: &StartRestore,
    job: &Arc<Job>,
) -> Result<Option<CommitReply>, ClientError> {
    let ticket = &request.ticket;
    if ticket.direction != Direction::Restore {
        return Err(ClientError::Request("the ticket of a restore must be one for a restore"));
    }
    if ticket.saveset != request.saveset {
        return Err(ClientError::Request("the ticket is for another saveset"));
    }
    allowed(&client.policy()?, request)?;
    let key = client.domain_key(request.domain_key.as_ref(), ticket.store, ticket.domain)?;
    let addresses = dial_addresses(&request.device_addresses)?;
    let target = match request.target.as_slice() {
        [] => ORIGINAL,
        target => target,
    };
    let target = Path::new(OsStr::from_bytes(target));
    let (handle, dial) = (client.handle.clone(), client.options.dial.clone());
    let transfer = Arc::new(HttpTransfer::open_with(handle, addresses, ticket.clone(), dial)?);
    let work = RestoreJob {
        session: Arc::clone(&transfer) as _,
        key,
        saveset: request.saveset,
        selection: Selection {
            paths: request.selection.clone(),
            patterns: request.patterns.clone(),
        },
        strip: ORIGINAL.to_vec(),
        threads: client.options.threads,
        progress: job.progress(),
        on_problem: on_problem(job),
    };
    let done = if request.dry_run {
        plan::run(&work, target, request.overwrite)
    } else {
        let options = SinkOptions {
            overwrite: request.overwrite,
            owners: request.owners,
            specials: request.specials,
        };
        FsSink::open(target, options)
            .map_err(ClientError::from)
            .and_then(|sink| Ok(simsim_mover::restore(work, &sink).map(drop)?))
    };
    end(&transfer, done.as_ref().err().map(ToString::to_string));
    done.map(|()| None)
}

/// Asks the policy. Into the original place every selected path counts for itself; without a
/// selection, or with patterns, anything may be written, so the root must be allowed.
fn allowed(policy: &Policy, request: &StartRestore) -> Result<(), ClientError> {
    if !request.target.is_empty() {
        return policy.may_restore_into(&request.target);
    }
    if request.selection.is_empty() || !request.patterns.is_empty() {
        return policy.may_restore_into(ORIGINAL);
    }
    request.selection.iter().try_for_each(|path| policy.may_restore_into(path))
}
