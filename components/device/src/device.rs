//! The device's verbs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use simsim_control::verbs::{
    CreateDatastoreReply, DataEndpoint, DetachDatastoreReply, Event, FollowJobReply,
    GetKeySlotsReply, GrantTransferReply, JobError, JobKind, JobResult, ListDatastoresReply,
    ListDomainsReply, ProveSavesetsReply, PutKeySlotsReply, Reply, Request, RevokeTransferReply,
    RunningJob, SetDrivesReply, SetRatesReply,
};
use simsim_control::{Job, JobBook, VerbError};
use simsim_datastore::{CheckedUntil, CollectReport};
use simsim_format::KeySlots;
use simsim_model::{Kind, limits, port_registry};
use simsim_net::tls::{Pin, TlsIdentity};
use simsim_transfer::DialOptions;
use simsim_transfer::throttle::Throttle;
use tokio::sync::watch;

use crate::check::{self, Found};
use crate::copies::Copied;
use crate::grants::Grants;
use crate::shelf::{LIST, Shelf};
use crate::{DeviceError, copies, deletion, manifests, prove, rates};

/// How a device works.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Transfers at work at the same time; more are refused as `Busy`, and wait at their client.
    pub transfers_max: usize,
    /// Verifications and rebuilds at the same time.
    pub jobs_max: usize,
    /// Threads of one verification or plain stream; 0 takes the number of cores.
    pub threads: usize,
    /// For plain streams, which are sealed here.
    pub zstd_level: i32,
    /// Connections and patience towards another device, for copies.
    pub dial: DialOptions,
    /// A call to a datastore's storage that has not come back for so long is given up on, and the
    /// datastore takes nothing more until it is attached again.
    pub storage_answer: Duration,
}

impl Default for DeviceOptions {
    fn default() -> Self {
        Self {
            transfers_max: 256,
            jobs_max: 4,
            threads: 0,
            zstd_level: 3,
            dial: DialOptions::default(),
            storage_answer: Duration::from_millis(limits::STORAGE_ANSWER_MS_MAX),
        }
    }
}

/// A device: answers the verbs of `simsim_control::verbs` that a device answers, and stands as
/// the `TransferHandler` behind its data listeners.
pub struct Device {
    pub(crate) options: DeviceOptions,
    pub(crate) shelf: Shelf,
    pub(crate) grants: Grants,
    jobs: Arc<JobBook>,
    endpoints: RwLock<Vec<DataEndpoint>>,
    /// Shown by the data listeners, and at the ports of other devices' drives.
    pub(crate) tls: RwLock<Option<Arc<TlsIdentity>>>,
    /// Open ports of drives, by number.
    drive_ports: RwLock<BTreeMap<u32, u16>>,
    /// How fast transfers may go.
    pub(crate) throttle: Throttle,
}

impl Device {
    /// A device with the datastores of its list, `datastores.json` in `state_folder`. One that
    /// cannot be opened does not stop the others: its state says why. Blocks.
    ///
    /// # Errors
    /// When the list itself cannot be read.
    pub fn new(state_folder: &Path, options: DeviceOptions) -> Result<Arc<Self>, DeviceError> {
        Ok(Arc::new(Self {
            shelf: Shelf::open(state_folder.join(LIST), options.storage_answer)?,
            grants: Grants::new(options.transfers_max),
            jobs: JobBook::new(options.jobs_max),
            endpoints: RwLock::default(),
            tls: RwLock::default(),
            drive_ports: RwLock::default(),
            throttle: Throttle::default(),
            options,
        }))
    }

    /// The data listeners that are open, in order of preference; every grant names them.
    pub fn set_endpoints(&self, endpoints: Vec<DataEndpoint>) {
        *self.endpoints.write() = endpoints;
    }

    /// This host's TLS key: what the data listeners show, so that every grant names it, and what this host shows
    /// to other devices.
    pub fn set_tls(&self, tls: Arc<TlsIdentity>) {
        *self.tls.write() = Some(tls);
    }

    /// The drives whose ports should be open, as they change.
    pub fn drives(&self) -> watch::Receiver<Vec<u32>> {
        self.shelf.drives()
    }

    /// The port of a drive is open now, or not any more.
    pub fn set_drive_port(&self, drive: u32, port: Option<u16>) {
        let mut ports = self.drive_ports.write();
        match port {
            Some(port) => ports.insert(drive, port),
            None => ports.remove(&drive),
        };
    }

    /// The open ports of drives, by number.
    pub fn drive_ports(&self) -> BTreeMap<u32, u16> {
        self.drive_ports.read().clone()
    }

    /// The listeners that take a transfer of this drive.
    fn endpoints_for(&self, drive: u32) -> Vec<DataEndpoint> {
        let mut endpoints = self.endpoints.read().clone();
        if let Some(port) = self.drive_ports.read().get(&drive) {
            endpoints.push(DataEndpoint { row: port_registry::DRIVE.id.to_owned(), port: *port });
        }
        endpoints
    }

    /// Was any transfer granted to a host with this TLS key, and is not over? Asked at the
    /// handshake by listeners that want a key.
    pub fn expects(&self, key: &Pin) -> bool {
        self.grants.expects(key)
    }

    /// Answers a verb of a device; `None` for a verb of another role, and for a job that this
    /// device does not know. `events` hears progress and problems of the job that is started or
    /// followed; the job goes on when the future is dropped.
    pub async fn handle(
        self: &Arc<Self>,
        request: &Request,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Option<Result<Reply, VerbError>> {
        Some(match request {
            Request::CancelJob(request) => Ok(self.jobs.cancel(request.job)?.into()),
            Request::JobState(request) => Ok(self.jobs.state(request.job)?.into()),
            Request::FollowJob(request) => {
                let result = self.jobs.follow(request.job, events).await?;
                Ok(FollowJobReply { result }.into())
            }
            Request::VerifyDatastore(request) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let (number, threads) = (request.job, self.options.threads);
                let work = move |job: &Arc<Job>, found: &mut Found| {
                    let lease = device.shelf.lend(request.store)?;
                    check::run(&lease, &request, job, threads, found)
                };
                self.run(number, JobKind::Verify, work, events)
                    .await
                    .map(|(result, found)| found.reply(result).into())
            }
            Request::ScrubDatastore(request) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let (number, threads) = (request.job, self.options.threads);
                let work = move |job: &Arc<Job>, until: &mut CheckedUntil| {
                    let lease = device.shelf.lend(request.store)?;
                    check::scrub(&lease, &request, job, threads, until)
                };
                self.run(number, JobKind::Verify, work, events)
                    .await
                    .map(|(result, until)| check::scrub_reply(until, result).into())
            }
            Request::ProveSavesets(request) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let (number, threads) = (request.job, self.options.threads);
                let work = move |job: &Arc<Job>, (): &mut ()| {
                    let lease = device.shelf.lend(request.store)?;
                    prove::run(&lease, &request, job, threads)
                };
                self.run(number, JobKind::Prove, work, events)
                    .await
                    .map(|(result, ())| ProveSavesetsReply { result }.into())
            }
            Request::RebuildIndex(request) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let number = request.job;
                let work = move |job: &Arc<Job>, counts: &mut (u64, u64, u64)| {
                    let lease = device.shelf.lend(request.store)?;
                    check::rebuild(&lease, &request, job, counts)
                };
                self.run(number, JobKind::RebuildIndex, work, events)
                    .await
                    .map(|(result, counts)| check::rebuild_reply(counts, result).into())
            }
            Request::CollectGarbage(request) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let number = request.job;
                let work = move |job: &Arc<Job>, report: &mut CollectReport| {
                    let lease = device.shelf.lend(request.store)?;
                    check::collect(&lease, &request, job, report)
                };
                self.run(number, JobKind::CollectGarbage, work, events)
                    .await
                    .map(|(result, report)| check::collect_reply(&report, result).into())
            }
            Request::Replicate(request) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let (number, handle) = (request.job, tokio::runtime::Handle::current());
                let work = move |job: &Arc<Job>, copied: &mut Copied| {
                    copies::run(&device, &request, &handle, job, copied)
                };
                self.run(number, JobKind::Replicate, work, events)
                    .await
                    .map(|(result, copied)| copied.reply(result).into())
            }
            Request::GrantTransfer(_)
            | Request::RevokeTransfer(_)
            | Request::TransferState(_)
            | Request::CreateDatastore(_)
            | Request::AttachDatastore(_)
            | Request::DetachDatastore(_)
            | Request::DatastoreState(_)
            | Request::ListDatastores(_)
            | Request::ListManifests(_)
            | Request::GetManifest(_)
            | Request::PutKeySlots(_)
            | Request::GetKeySlots(_)
            | Request::ListDomains(_)
            | Request::SetDrives(_)
            | Request::DeleteSavesets(_)
            | Request::ExtendLocks(_)
            | Request::ListLocks(_)
            | Request::SetRates(_) => {
                let (device, request) = (Arc::clone(self), request.clone());
                let work = move || device.answer(&request);
                let done = tokio::task::spawn_blocking(work).await;
                done.unwrap_or(Err(DeviceError::Defect)).map_err(VerbError::from)
            }
            _ => return None,
        })
    }

    /// The verbs that are answered at once. Blocks.
    fn answer(&self, request: &Request) -> Result<Reply, DeviceError> {
        Ok(match request {
            Request::GrantTransfer(request) => {
                // A ticket for a datastore that is not served would fail only later, at the client.
                self.shelf.lend(request.ticket.store)?;
                self.grants.grant(request)?;
                GrantTransferReply {
                    endpoints: self.endpoints_for(request.ticket.drive),
                    device_keys: self.tls.read().iter().map(|tls| tls.pin().0.to_vec()).collect(),
                }
                .into()
            }
            Request::SetDrives(request) => {
                self.shelf.set_drives(request.store, &request.drives)?;
                SetDrivesReply::default().into()
            }
            Request::DeleteSavesets(request) => {
                deletion::delete(&self.shelf.lend(request.store)?, request)?.into()
            }
            Request::ExtendLocks(request) => {
                deletion::extend_locks(&self.shelf.lend(request.store)?, request)?.into()
            }
            Request::ListLocks(request) => {
                deletion::list_locks(&self.shelf.lend(request.store)?, request)?.into()
            }
            Request::SetRates(request) => {
                self.throttle.set(rates::limits_of(request)?);
                SetRatesReply {}.into()
            }
            Request::RevokeTransfer(request) => {
                let was_known = self.grants.revoke(&request.transfer);
                tracing::debug!(transfer = %request.transfer, was_known, "ticket withdrawn");
                RevokeTransferReply { was_known }.into()
            }
            Request::TransferState(request) => {
                let grant = self.grants.get(&request.transfer);
                grant.ok_or(DeviceError::NoTransfer(request.transfer))?.state().into()
            }
            Request::CreateDatastore(request) => {
                self.shelf.create(request)?;
                CreateDatastoreReply { store: request.store }.into()
            }
            Request::AttachDatastore(request) => self.shelf.attach(&request.path)?.into(),
            Request::DetachDatastore(request) => {
                self.shelf.detach(request.store)?;
                self.grants.withdraw(request.store);
                DetachDatastoreReply {}.into()
            }
            Request::DatastoreState(request) => self.shelf.state(request.store)?.into(),
            Request::ListDatastores(_) => {
                ListDatastoresReply { datastores: self.shelf.states() }.into()
            }
            Request::ListManifests(request) => {
                manifests::list(&self.shelf.lend(request.store)?, request)?.into()
            }
            Request::GetManifest(request) => {
                manifests::get(&self.shelf.lend(request.store)?, request)?.into()
            }
            Request::PutKeySlots(request) => {
                let lease = self.shelf.lend(request.store)?;
                let slots = KeySlots::decode(&request.slots)?;
                if slots.domain != request.domain {
                    return Err(DeviceError::Request("the key slots are of another domain"));
                }
                lease.datastore.put_slots(&slots)?;
                PutKeySlotsReply {}.into()
            }
            Request::GetKeySlots(request) => {
                let lease = self.shelf.lend(request.store)?;
                let slots = lease.datastore.slots(request.domain)?.ok_or(DeviceError::NoSlots)?;
                GetKeySlotsReply { slots: slots.encode() }.into()
            }
            Request::ListDomains(request) => {
                let lease = self.shelf.lend(request.store)?;
                ListDomainsReply { domains: lease.datastore.domains()? }.into()
            }
            _ => return Err(DeviceError::Request("this is not a verb of a device")),
        })
    }

    /// Runs a job that finds something out beside its result.
    async fn run<T: Default + Send + 'static>(
        &self,
        number: u64,
        kind: JobKind,
        work: impl FnOnce(&Arc<Job>, &mut T) -> Result<(), DeviceError> + Send + 'static,
        events: &(dyn Fn(Event) + Send + Sync),
    ) -> Result<(JobResult, T), VerbError> {
        let found = Arc::new(Mutex::new(T::default()));
        let finding = Arc::clone(&found);
        let job = self
            .jobs
            .start(number, kind, move |job| {
                let mut counted = T::default();
                let done = work(job, &mut counted);
                *finding.lock() = counted;
                done.map(|()| None).map_err(|error| {
                    tracing::warn!(job = job.number(), %error, "job ended");
                    JobError::from(error)
                })
            })
            .map_err(|error| VerbError::new(error.kind, error.message))?;
        tracing::info!(job = number, kind = kind.as_str(), "job started");
        let result = job.follow(events).await;
        tracing::info!(job = number, outcome = result.outcome.as_str(), "job ended");
        let found = std::mem::take(&mut *found.lock());
        Ok((result, found))
    }

    /// What runs here, for `NodeState`.
    pub fn running_jobs(&self) -> Vec<RunningJob> {
        self.jobs.running()
    }

    /// Ends jobs as *interrupted*, transfers as aborted, and closes the datastores. For the end of
    /// the process, after the data listeners have ended.
    pub async fn close(self: &Arc<Self>, patience: Duration) {
        self.jobs.close(patience).await;
        let device = Arc::clone(self);
        let work = move || {
            device.grants.close();
            device.shelf.close();
        };
        if tokio::task::spawn_blocking(work).await.is_err() {
            tracing::error!(kind = %Kind::Internal, "the device did not close well");
        }
    }
}
