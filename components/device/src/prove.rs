//! Which of some savesets are whole: each by itself, so that one that is damaged says nothing against the others.

use std::collections::BTreeMap;
use std::sync::Arc;

use simsim_control::Job;
use simsim_control::verbs::{PROVE_SAVESETS_MAX, ProveSavesets, ProvenSavesets};
use simsim_datastore::DatastoreError;
use simsim_format::DomainKey;
use simsim_model::{
    Checked, DomainId, Kind, Problem, ProblemKind, RestoreSession, SavesetId, failpoint,
};
use simsim_mover::{Covered, MoverError, Verified, verify, whole};

use crate::DeviceError;
use crate::shelf::Lease;

/// What was covered of one domain, by the looks with and without its key.
#[derive(Default)]
struct Seen {
    covered: Covered,
    verified: Verified,
}

pub(crate) fn run(
    lease: &Lease,
    request: &ProveSavesets,
    job: &Arc<Job>,
    threads: usize,
) -> Result<(), DeviceError> {
    if request.savesets.len() > PROVE_SAVESETS_MAX {
        return Err(DeviceError::Request("more savesets than one check may name"));
    }
    let keys: BTreeMap<DomainId, DomainKey> = request
        .domain_keys
        .iter()
        .map(|given| (given.domain, DomainKey::new(&given.key)))
        .collect();
    let mut seen: BTreeMap<DomainId, Seen> = BTreeMap::new();
    let mut proven = ProvenSavesets { asked: request.asked, whole: Vec::new() };
    let mut checked = Checked::default();
    for saveset in &request.savesets {
        failpoint::hit("device.saveset_proven");
        if job.progress().is_cancelled() {
            return Err(MoverError::Cancelled.into());
        }
        job.progress().set_current(format!("saveset {saveset}").as_bytes());
        match one(lease, *saveset, &keys, &mut seen, job, threads, &mut checked)? {
            None => proven.whole.push(*saveset),
            Some(what) => {
                checked.damaged += 1;
                let path = format!("saveset {saveset}").into_bytes();
                let text = format!("saveset {saveset}: {what}");
                job.problem(Problem::new(path, ProblemKind::MissingData, text));
            }
        }
    }
    // Whoever heals from a copy asks for roots first: one above damage must not be taken for whole.
    if checked.damaged > 0 {
        lease.datastore.distrust_dependents()?;
    }
    job.checked(checked);
    job.proven(proven);
    Ok(())
}

/// What is wrong with a saveset, if anything.
fn one(
    lease: &Lease,
    saveset: SavesetId,
    keys: &BTreeMap<DomainId, DomainKey>,
    seen: &mut BTreeMap<DomainId, Seen>,
    job: &Arc<Job>,
    threads: usize,
    checked: &mut Checked,
) -> Result<Option<String>, DeviceError> {
    let manifest = match lease.datastore.manifest(saveset) {
        Ok(manifest) => manifest,
        Err(DatastoreError::NoSaveset { .. }) => return Ok(Some("it is not here".to_owned())),
        Err(error) if error.kind() == Kind::Corrupt => return Ok(Some(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let domain = manifest.domain;
    let session = lease.datastore.read_session(domain);
    let of = seen.entry(domain).or_default();
    let progress = job.progress();
    let damaged = match keys.get(&domain) {
        Some(key) => {
            let session: Arc<dyn RestoreSession> = Arc::new(session);
            match verify(session, key.clone(), saveset, &mut of.verified, threads, &progress) {
                Ok(report) => {
                    checked.segments += report.segments;
                    checked.chunks += report.chunks;
                    checked.bytes += report.bytes;
                    lease.datastore.distrust_content(domain, &report.content_wrong)?;
                    report.damaged.into_iter().next()
                }
                Err(error) if error.kind() == Kind::Corrupt => Some(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        None => match whole(&session, domain, saveset, &mut of.covered, &progress) {
            Ok(report) => {
                checked.segments += report.segments;
                checked.chunks += report.names;
                checked.bytes += report.bytes;
                report.damaged
            }
            Err(error) if error.kind() == Kind::Corrupt => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        },
    };
    // What it covered may be damaged: the next one looks for itself.
    if damaged.is_some() {
        seen.remove(&domain);
    }
    Ok(damaged)
}
