//! Plain streams that are cut, sealed and opened here, at the device: it was given the key for it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use simsim_format::{DomainKey, ManifestDetails};
use simsim_model::{Direction, Level, Progress, RestoreSession};
use simsim_mover::{BackupJob, StreamFile, backup_stream, stream_name};

use crate::grants::Grant;
use crate::session::Session;
use crate::{DeviceError, DeviceOptions};

/// Takes the stream to its end, commits the saveset, and returns the stream's length.
pub(crate) fn take(
    grant: &Arc<Grant>,
    stream: &mut dyn Read,
    options: &DeviceOptions,
) -> Result<u64, DeviceError> {
    let ticket = &grant.ticket;
    if ticket.direction != Direction::Backup {
        return Err(DeviceError::Ticket("the ticket is for a restore: it cannot write"));
    }
    let Some(secret) = &grant.domain_key else {
        return Err(DeviceError::Ticket(
            "the ticket came without a domain key: this device cannot seal a plain stream",
        ));
    };
    let now = simsim_model::failpoint::shifted(SystemTime::now())
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = stream_name(&grant.names.task);
    let job = BackupJob {
        session: Arc::new(Session::new(Arc::clone(grant))),
        base: None,
        key: DomainKey::new(secret),
        domain: ticket.domain,
        saveset: ticket.saveset,
        level: grant.level.unwrap_or(Level::Full),
        details: ManifestDetails {
            client: grant.names.client.clone(),
            task: grant.names.task.clone(),
            sources: vec![name.clone().into_bytes()],
            problems: Vec::new(),
        },
        scan_started_unix_ns: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        zstd_level: options.zstd_level,
        threads: options.threads,
        progress: Arc::new(Progress::new()),
        on_problem: Arc::new(|_| ()),
    };
    let mut counted = Counted { inner: stream, grant };
    let taken = backup_stream(job, &name, &mut counted);
    if let Err(error) = &taken {
        tracing::warn!(job = ticket.job, %error, "a plain stream was not kept");
    }
    Ok(taken?.1)
}

/// The stream of the ticket's saveset.
pub(crate) fn open(grant: &Arc<Grant>) -> Result<StreamFile, DeviceError> {
    let ticket = &grant.ticket;
    if ticket.direction != Direction::Restore {
        return Err(DeviceError::Ticket("the ticket is for a backup: a stream cannot be read"));
    }
    let Some(secret) = &grant.domain_key else {
        return Err(DeviceError::Ticket(
            "the ticket came without a domain key: this device cannot open a plain stream",
        ));
    };
    let session: Arc<dyn RestoreSession> = Arc::new(Session::new(Arc::clone(grant)));
    Ok(StreamFile::open(session, DomainKey::new(secret), ticket.saveset)?)
}

/// Tells the server how much came.
struct Counted<'s> {
    inner: &'s mut dyn Read,
    grant: &'s Grant,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(into)?;
        self.grant.counts.stream_bytes.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}
