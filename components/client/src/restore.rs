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
use crate::backup::{opened, patient};
use crate::client::on_problem;
use crate::reading::Reading;
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
    let policy = client.policy()?;
    allowed(&policy, &selection, &request.target)?;
    let key = client.domain_key(request.domain_key.as_ref(), ticket.store, ticket.domain)?;
    let target = match request.target.as_slice() {
        [] => ORIGINAL,
        target => target,
    };
    let target = Path::new(OsStr::from_bytes(target));
    let reading = Reading::open(client, request, job)?;
    let work = RestoreJob {
        session: reading.session(),
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
        // Into the original place nothing is written but beneath paths that were asked about, through no link.
        let sink = match !request.target.is_empty() && policy.limits_restores() {
            true => FsSink::open_where(target, options, |place| {
                policy.may_restore_at(place.as_os_str().as_bytes())
            }),
            false => FsSink::open(target, options).map_err(ClientError::from),
        };
        sink.and_then(|sink| Ok(simsim_mover::restore(work, &sink).map(drop)?))
    };
    reading.end(job, done.as_ref().err().map(ToString::to_string));
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
    let (own, outbound) = (&request.client_keys, request.outbound);
    let routes = routes_of(client, urls, ticket.drive, keys, own, outbound)?;
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
    use std::os::unix::fs::symlink;

    use simsim_model::{Kind, Overwrite};
    use simsim_source::{FsSource, WalkOptions};

    use super::*;

    /// A local user turns a link between the look at the policy and the opening.
    #[test]
    fn what_a_path_leads_to_when_it_is_opened_is_what_the_policy_is_asked_about() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for place in ["in/real", "out/secret"] {
            std::fs::create_dir_all(root.join(place)).unwrap();
        }
        let allowed = root.join("in").display().to_string();
        let file = root.join("policy.toml");
        let text = format!("[read]\npaths = [{allowed:?}]\n[restore]\ntargets = [{allowed:?}]\n");
        std::fs::write(&file, text).unwrap();
        let policy = Policy::load(&file).unwrap();
        let link = root.join("in/link");
        let path = link.join("secret/new");
        let target = path.as_os_str().as_bytes();
        let turn = |to: &str| {
            let _ = std::fs::remove_file(&link);
            symlink(root.join(to), &link).unwrap();
        };
        let may = |place: &Path| policy.may_restore_at(place.as_os_str().as_bytes());
        let options = SinkOptions { overwrite: Overwrite::Always, owners: false, specials: false };
        let open = || FsSink::open_where(&path, options, may).map(drop);

        turn("in/real");
        policy.may_restore_into(target).unwrap();
        policy.may_read(target).unwrap();
        turn("out");
        assert_eq!(open().map_err(|error| error.kind()), Err(Kind::Denied));
        assert!(!root.join("out/secret/new").exists(), "nothing is made there");
        let source = FsSource::new(&[target.to_vec()], WalkOptions::default()).unwrap();
        let places = source.places();
        assert_eq!(places, [root.join("out/secret/new").as_os_str().as_bytes()]);
        let read = policy.may_read_place(&places[0]).map_err(|error| error.kind());
        assert_eq!(read, Err(Kind::Denied));

        turn("in/real");
        open().unwrap();
        assert!(root.join("in/real/secret/new").is_dir());
        let source = FsSource::new(&[target.to_vec()], WalkOptions::default()).unwrap();
        source.places().iter().for_each(|place| policy.may_read_place(place).unwrap());
        // Who names no paths forbids none.
        let open = Policy::default();
        open.may_restore_at(b"/anywhere").unwrap();
        open.may_read_place(b"/anywhere").unwrap();
    }

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
