//! Copies of savesets: this device dials another one, and segments go from one's datastore into the
//! other's. The ticket says which way.

use std::sync::Arc;

use simsim_control::Job;
use simsim_control::verbs::{JobResult, Replicate, ReplicatePart, ReplicateReply};
use simsim_model::{CopySession, Direction, Kind, Problem, ProblemKind, Rate, RestoreSession};
use simsim_mover::{CopyJob, CopyReport, MoverError, Pace, copy};
use simsim_net::tls::Pin;
use simsim_transfer::{DataPorts, DialOptions, HttpTransfer, OnWait, Route, routes};
use tokio::runtime::Handle;

use crate::pace::Bucket;
use crate::shelf::Lease;
use crate::{Device, DeviceError};

/// What a job has copied; its result is added later.
#[derive(Default)]
pub(crate) struct Copied {
    copied: u64,
    there: u64,
    failed: u64,
    segments: u64,
    bytes: u64,
}

impl Copied {
    fn add(&mut self, report: &CopyReport) {
        self.copied += report.copied.len() as u64;
        self.there += report.there;
        self.failed += report.failed.len() as u64;
        self.segments += report.segments;
        self.bytes += report.bytes;
    }

    pub(crate) fn reply(self, result: JobResult) -> ReplicateReply {
        let Self { copied, there, failed, segments, bytes } = self;
        ReplicateReply { result, copied, there, failed, segments, bytes }
    }
}

/// Copies the savesets of one domain after those of the other.
pub(crate) fn run(
    device: &Device,
    request: &Replicate,
    handle: &Handle,
    job: &Arc<Job>,
    copied: &mut Copied,
) -> Result<(), DeviceError> {
    let lease = device.shelf.lend(request.store)?;
    let rates: Result<Vec<Rate>, _> = request.rates.iter().map(|rate| rate.parse()).collect();
    let rates = rates.map_err(|_| DeviceError::Request("a rate is none that this device knows"))?;
    let pace: Option<Arc<dyn Pace>> = match rates.is_empty() {
        true => None,
        false => Some(Arc::new(Bucket::new(rates))),
    };
    for part in &request.parts {
        if job.progress().is_cancelled() {
            return Err(MoverError::Cancelled.into());
        }
        let work = Work { device, request, part, lease: &lease, handle, pace: pace.clone() };
        let report = work.run(job)?;
        for (saveset, error) in &report.failed {
            let path = format!("saveset {saveset}").into_bytes();
            job.problem(Problem::new(path, ProblemKind::MissingData, error.to_string()));
        }
        copied.add(&report);
    }
    Ok(())
}

/// The copy of one domain's savesets.
struct Work<'w> {
    device: &'w Device,
    request: &'w Replicate,
    part: &'w ReplicatePart,
    lease: &'w Lease,
    handle: &'w Handle,
    pace: Option<Arc<dyn Pace>>,
}

impl Work<'_> {
    fn run(&self, job: &Arc<Job>) -> Result<CopyReport, DeviceError> {
        let ticket = &self.part.ticket;
        if !ticket.direction.is_copy() {
            return Err(DeviceError::Ticket("the ticket is not for copies"));
        }
        let (progress, wanted) = (job.progress(), job.progress());
        let on_wait = OnWait::new(move |what| {
            progress.set_waits(what);
            !progress.is_cancelled()
        });
        let on_wait = on_wait.while_wanted(move || !wanted.is_cancelled());
        let options = DialOptions { on_wait, ..self.device.options.dial.clone() };
        let senders = options.connections;
        let routes = self.routes()?;
        let open = HttpTransfer::open_with(self.handle.clone(), routes, ticket.clone(), options);
        job.progress().set_waits("");
        let transfer = match open {
            Err(_) if job.progress().is_cancelled() => return Err(MoverError::Cancelled.into()),
            open => Arc::new(open?),
        };
        let (domain, datastore) = (ticket.domain, &self.lease.datastore);
        let here = match ticket.direction {
            Direction::CopyOut => Some(Arc::new(datastore.copy_session(domain))),
            _ => None,
        };
        let source: Arc<dyn RestoreSession> = match &here {
            Some(_) => Arc::clone(&transfer) as Arc<_>,
            None => Arc::new(datastore.read_session(domain)),
        };
        let target: Arc<dyn CopySession> = match &here {
            Some(here) => Arc::clone(here) as Arc<_>,
            None => Arc::clone(&transfer) as Arc<_>,
        };
        let done = copy(&CopyJob {
            source,
            target,
            domain,
            savesets: self.part.savesets.clone(),
            senders,
            pace: self.pace.clone(),
            progress: job.progress(),
        });
        if let Some(here) = here
            && let Err(error) = here.keep()
        {
            tracing::warn!(%error, "the last segments of a copy are not kept");
        }
        let ended = match &done {
            Ok(_) => transfer.close(),
            Err(error) => transfer.abort(&error.to_string()),
        };
        match (done, ended) {
            (Ok(report), Err(error)) => {
                // Every copy was acknowledged; the other device ends the session by itself.
                tracing::warn!(%error, "the end of a copy was not heard");
                Ok(report)
            }
            (Ok(report), Ok(())) => Ok(report),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn routes(&self) -> Result<Vec<Route>, DeviceError> {
        let pins = |keys: &[Vec<u8>]| -> Result<Vec<Pin>, DeviceError> {
            let keys = keys.iter().map(|key| <[u8; 32]>::try_from(key.as_slice()).ok().map(Pin));
            let pins: Option<Vec<Pin>> = keys.collect();
            pins.ok_or(DeviceError::Request("a TLS key has not 32 bytes"))
        };
        let (known, expected) =
            (pins(&self.request.client_keys)?, pins(&self.request.device_keys)?);
        let own = self.device.tls.read().clone();
        let own = own.as_deref().map(|own| (own, known.as_slice()));
        let drive = self.part.ticket.drive;
        // Copies go by the ports of drives: nobody calls back.
        let ports = DataPorts::default();
        routes(&self.request.device_addresses, drive, &expected, own, &ports).map_err(|error| {
            simsim_model::SessionError::new(Kind::Invalid, error.to_string()).into()
        })
    }
}
