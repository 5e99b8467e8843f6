//! What a restore reads from: one copy of the saveset, and others for what that one cannot give.

use std::sync::Arc;

use parking_lot::Mutex;
use simsim_control::Job;
use simsim_control::verbs::StartRestore;
use simsim_model::{Kind, Problem, ProblemKind, RestoreSession, SessionError};
use simsim_mover::{Failover, OpenCopy};
use simsim_transfer::HttpTransfer;

use crate::addresses::routes_of;
use crate::backup::{end, patient};
use crate::restore::transfer;
use crate::{Client, ClientError};

/// The transfers of one restore.
pub(crate) struct Reading {
    session: Arc<dyn RestoreSession>,
    failover: Option<Arc<Failover>>,
    /// Those that were opened.
    transfers: Arc<Mutex<Vec<Arc<HttpTransfer>>>>,
}

impl Reading {
    /// Opens the first copy. Where there are others, one that cannot be opened is no reason to give up.
    pub(crate) fn open(
        client: &Client,
        request: &StartRestore,
        job: &Arc<Job>,
    ) -> Result<Self, ClientError> {
        let transfers: Arc<Mutex<Vec<Arc<HttpTransfer>>>> = Arc::default();
        let first = transfer(client, request, Some(job));
        if request.other_copies.is_empty() {
            let first = first?;
            transfers.lock().push(Arc::clone(&first));
            return Ok(Self { session: first, failover: None, transfers });
        }
        let first: Result<Arc<dyn RestoreSession>, SessionError> = match first {
            Ok(first) => {
                transfers.lock().push(Arc::clone(&first));
                Ok(first)
            }
            Err(error) if error.kind() == Kind::Cancelled => return Err(error),
            Err(error) => Err(SessionError::new(error.kind(), error.to_string())),
        };
        let mut copies: Vec<(String, OpenCopy)> =
            vec![(request.datastore.clone(), Box::new(move || first))];
        for other in &request.other_copies {
            let (urls, keys) = (&other.device_addresses, &other.device_keys);
            let (own, outbound, drive) = (&other.client_keys, other.outbound, other.ticket.drive);
            let routes = match routes_of(client, urls, drive, keys, own, outbound) {
                Ok(routes) => routes,
                Err(error) => {
                    tracing::warn!(datastore = %other.datastore, %error, "no way to a copy");
                    continue;
                }
            };
            let (handle, ticket, dial) =
                (client.handle.clone(), other.ticket.clone(), patient(client, job));
            let (opened, progress) = (Arc::clone(&transfers), job.progress());
            copies.push((
                other.datastore.clone(),
                Box::new(move || {
                    let transfer = HttpTransfer::open_with(handle, routes, ticket, dial);
                    progress.set_waits("");
                    let transfer = Arc::new(transfer?);
                    opened.lock().push(Arc::clone(&transfer));
                    Ok(transfer as Arc<dyn RestoreSession>)
                }),
            ));
        }
        let failover = Arc::new(Failover::new(request.saveset, copies));
        Ok(Self { session: Arc::clone(&failover) as _, failover: Some(failover), transfers })
    }

    pub(crate) fn session(&self) -> Arc<dyn RestoreSession> {
        Arc::clone(&self.session)
    }

    /// Says which copy gave what, and tells the devices that it is over.
    pub(crate) fn end(&self, job: &Arc<Job>, failed: Option<String>) {
        for line in self.failover.iter().flat_map(|failover| failover.report()) {
            job.problem(Problem::new(*b"copies", ProblemKind::Note, line));
        }
        for transfer in self.transfers.lock().iter() {
            end(transfer, failed.clone());
        }
    }
}
