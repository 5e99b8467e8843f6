//! Deleting savesets for the server.
//!
//! The datastore is the judge: its manifest's lock, the locks that it was told later, its readers, its clock. Each saveset is deleted or
//! kept by itself, so that one that is being read holds up no other. What is gone already is as good as
//! deleted: the server may have died before it heard the answer, or this device before it gave it.

use simsim_control::verbs::{
    DELETE_SAVESETS_MAX, DeleteSavesets, DeleteSavesetsReply, ExtendLocks, ExtendLocksReply,
    KeptSaveset, ListLocks, ListLocksReply, SavesetLock,
};
use simsim_datastore::DatastoreError;
use simsim_model::{Kind, SavesetId};

use crate::DeviceError;
use crate::shelf::Lease;

pub(crate) fn delete(
    lease: &Lease,
    request: &DeleteSavesets,
) -> Result<DeleteSavesetsReply, DeviceError> {
    if request.savesets.len() > DELETE_SAVESETS_MAX {
        return Err(DeviceError::Request("more savesets than one request may name"));
    }
    let mut reply = DeleteSavesetsReply::default();
    let mut left: Vec<SavesetId> = Vec::with_capacity(request.savesets.len());
    for saveset in &request.savesets {
        match lease.datastore.manifest(*saveset) {
            Err(DatastoreError::NoSaveset { .. }) => reply.gone.push(*saveset),
            // One that cannot be read is not deleted: what holds it is not known.
            Err(error) => reply.kept.push(kept(*saveset, &error)),
            Ok(_) if left.contains(saveset) => {}
            Ok(_) => left.push(*saveset),
        }
    }
    while !left.is_empty() {
        let refused = match lease.datastore.delete_savesets(&left, request.asked_unix_s) {
            Ok(()) => break,
            Err(error) => match &error {
                DatastoreError::SavesetLocked { saveset, .. }
                | DatastoreError::ClockAhead { saveset, .. } => {
                    // For this host's own log: whoever asked may say otherwise in theirs.
                    tracing::warn!(%saveset, %error, "asked to delete what is locked: refused");
                    reply.kept.push(kept(*saveset, &error));
                    *saveset
                }
                DatastoreError::SavesetInUse { saveset } => {
                    reply.kept.push(kept(*saveset, &error));
                    *saveset
                }
                DatastoreError::NoSaveset { saveset } => {
                    reply.gone.push(*saveset);
                    *saveset
                }
                // Nothing was touched: to be asked again when the clocks agree.
                DatastoreError::ClocksApart { .. } => {
                    let kept = left.drain(..).map(|saveset| KeptSaveset {
                        saveset,
                        kind: Kind::Busy,
                        message: error.to_string(),
                    });
                    reply.kept.extend(kept);
                    break;
                }
                _ => return Err(error.into()),
            },
        };
        let before = left.len();
        left.retain(|saveset| *saveset != refused);
        if left.len() == before {
            return Err(DeviceError::Defect);
        }
    }
    for saveset in &left {
        tracing::info!(%saveset, "saveset deleted");
    }
    reply.gone.extend(left);
    simsim_model::failpoint::hit("device.savesets_deleted");
    Ok(reply)
}

fn kept(saveset: SavesetId, error: &DatastoreError) -> KeptSaveset {
    KeptSaveset { saveset, kind: error.kind(), message: error.to_string() }
}

/// Locks in one page of [`list_locks`].
const LOCKS_PAGE: usize = 1000;

/// Locks savesets for longer. What is not here is named, and holds up no other.
pub(crate) fn extend_locks(
    lease: &Lease,
    request: &ExtendLocks,
) -> Result<ExtendLocksReply, DeviceError> {
    if request.locks.len() > DELETE_SAVESETS_MAX {
        return Err(DeviceError::Request("more savesets than one request may name"));
    }
    let wanted: Vec<(SavesetId, u64)> =
        request.locks.iter().map(|lock| (lock.saveset, lock.until_unix_s)).collect();
    let mut reply = ExtendLocksReply::default();
    for (saveset, held) in lease.datastore.extend_locks(&wanted)? {
        match held {
            Some(until_unix_s) => {
                tracing::info!(%saveset, until_unix_s, "saveset locked");
                reply.held.push(SavesetLock { saveset, until_unix_s });
            }
            None => reply.unknown.push(saveset),
        }
    }
    simsim_model::failpoint::hit("device.locks_extended");
    Ok(reply)
}

/// Locks that were extended here.
pub(crate) fn list_locks(
    lease: &Lease,
    request: &ListLocks,
) -> Result<ListLocksReply, DeviceError> {
    let mut found = lease.datastore.extended_locks(request.after, LOCKS_PAGE + 1)?;
    let more = found.len() > LOCKS_PAGE;
    found.truncate(LOCKS_PAGE);
    let lock = |(saveset, until_unix_s)| SavesetLock { saveset, until_unix_s };
    Ok(ListLocksReply { locks: found.into_iter().map(lock).collect(), more })
}
