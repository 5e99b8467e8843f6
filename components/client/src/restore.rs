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

use crate::addresses::routes_of;
use crate::backup::{end, opened, patient};
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
    let selection =
        Selection { paths: request.selection.clone(), patterns: request.patterns.clone() };
    allowed(&client.policy()?, &selection, &request.target)?;
    let key = client.domain_key(request.domain_key.as_ref(), ticket.store, ticket.domain)?;
    let target = match request.target.as_slice() {
        [] => ORIGINAL,
        target => target,
    };
    let target = Path::new(OsStr::from_bytes(target));
    let transfer = transfer(client, request, Some(job))?;
    let work = RestoreJob {
        session: Arc::clone(&transfer) as _,
        key,
        saveset: request.saveset,
        selection,
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

/// Opens the transfer of a restore, or without a job that of a look into a saveset.
pub(crate) fn transfer(
    client: &Client,
    request: &StartRestore,
    job: Option<&Job>,
) -> Result<Arc<HttpTransfer>, ClientError> {
    let ticket = request.ticket.clone();
    let (urls, keys) = (&request.device_addresses, &request.device_keys);
    let routes = routes_of(client, urls, ticket.drive, keys, request.outbound)?;
    let dial = match job {
        Some(job) => patient(client, job),
        None => client.options.dial.clone(),
    };
    let transfer = HttpTransfer::open_with(client.handle.clone(), routes, ticket, dial);
    match job {
        Some(job) => opened(job, transfer),
        None => Ok(Arc::new(transfer?)),
    }
}

/// Asks the policy. Into the original place, every place that the selection can touch counts for
/// itself; without paths and patterns that is the root.
fn allowed(policy: &Policy, selection: &Selection, target: &[u8]) -> Result<(), ClientError> {
    if !target.is_empty() {
        return policy.may_restore_into(target);
    }
    selection.places().iter().try_for_each(|place| policy.may_restore_into(place))
}

#[cfg(test)]
mod tests {
    use simsim_model::Kind;

    use super::*;

    #[test]
    fn a_restore_in_place_needs_the_right_on_what_it_can_touch_and_on_nothing_wider() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, "[restore]\ntargets = [\"/srv/data\"]\n").unwrap();
        let policy = Policy::load(&file).unwrap();
        let asked = |paths: &[&str], patterns: &[&str], target: &str| {
            let selection = Selection {
                paths: paths.iter().map(|path| path.as_bytes().to_vec()).collect(),
                patterns: patterns.iter().map(ToString::to_string).collect(),
            };
            allowed(&policy, &selection, target.as_bytes()).map_err(|error| error.kind())
        };
        assert_eq!(asked(&["/srv/data/a"], &[], ""), Ok(()));
        assert_eq!(asked(&["/srv/data"], &["*.txt"], ""), Ok(()), "patterns only narrow");
        assert_eq!(asked(&[], &["/srv/data/**/*.txt"], ""), Ok(()));
        assert_eq!(asked(&["/"], &["srv/data/a/*"], ""), Ok(()));
        for (paths, patterns) in [
            (&[][..], &[][..]),
            (&[], &["*.txt"]),
            (&["/srv"], &["*.txt"]),
            (&["/srv/data", "/etc"], &["*.txt"]),
            (&[], &["/srv/data/*", "/etc/passwd"]),
            (&[], &["/srv/data*/x"]),
        ] {
            let refused = asked(paths, patterns, "");
            assert_eq!(refused, Err(Kind::Denied), "{paths:?} {patterns:?}");
        }
        assert_eq!(asked(&["/etc"], &[], "/srv/data/back"), Ok(()), "elsewhere: the target alone");
        assert_eq!(asked(&["/srv/data"], &[], "/tmp"), Err(Kind::Denied));
    }
}
