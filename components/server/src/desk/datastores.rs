//! Datastores and drives.

use std::time::Duration;

use simsim_catalog::{Catalog, Client, Datastore, DatastoreState, Drive};
use simsim_control::verbs::{
    AttachDatastore, CreateDatastore, DatastoreState as AskState, DetachDatastore,
};
use simsim_format::random_bytes;
use simsim_model::{StoreId, escape_path};

use crate::api::{
    AddDriveRequest, AttachDatastoreRequest, ChangeDriveRequest, CreateDatastoreRequest,
    DatastoreRequest, DatastoreView, DetachReply, DeviceView, DriveRequest, DriveView,
};
use crate::clock::now_unix_ms;
use crate::jobs::DEVICE_PATIENCE;
use crate::reconcile::tell_drives;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// A list does not wait longer than this for a device that is away.
const LIST_PATIENCE: Duration = Duration::from_millis(500);

impl Server {
    /// Makes a datastore on a device host, with its first drive.
    pub async fn create_datastore(
        &self,
        who: &Principal,
        request: CreateDatastoreRequest,
    ) -> Result<DatastoreView, ServerError> {
        check_name(&request.name)?;
        let object = Object::Datastore(&request.name);
        let node = self.device_host(request.node.as_deref()).await?;
        let detail = format!("{} on '{}'", request.path, node.name);
        self.may_do(who, Right::Administer, "datastore.create", object, detail).await?;
        let name = request.name.clone();
        let drive = request.drive;
        let (name_taken, drive_taken) = self
            .house
            .books
            .run(move |catalog| {
                let names = catalog.datastores()?;
                let drives = catalog.drives()?;
                Ok((
                    names.iter().any(|one| one.name == name),
                    drives.iter().any(|one| Some(one.number) == drive),
                ))
            })
            .await?;
        // Looked at before anything is made on the device.
        if name_taken {
            return Err(ServerError::invalid(format!(
                "a datastore '{}' exists already: choose another name",
                request.name
            )));
        }
        if let Some(number) = drive.filter(|_| drive_taken) {
            return Err(ServerError::invalid(format!(
                "drive {number} exists already: its number is pinned; choose another"
            )));
        }
        let store = StoreId(random_bytes()?);
        let line = self.house.nodes.line(node.id, DEVICE_PATIENCE).await?;
        line.call_slow(CreateDatastore {
            path: request.path.clone(),
            name: request.name.clone(),
            store,
            owner: self.house.name.clone(),
            cut: request.cut,
        })
        .await?;
        let datastore = Datastore {
            store,
            name: request.name,
            device: node.id,
            path: request.path.into_bytes(),
            state: DatastoreState::Active,
            created_unix_ms: now_unix_ms(),
        };
        self.keep_datastore(datastore, request.drive, request.jobs_max).await
    }

    /// Takes a datastore into service that exists. One that the catalog knows keeps its name, its
    /// drives and its savesets, wherever it lies now; the savesets of another one are listed by
    /// `catalog rebuild`.
    pub async fn attach_datastore(
        &self,
        who: &Principal,
        request: AttachDatastoreRequest,
    ) -> Result<DatastoreView, ServerError> {
        let node = self.device_host(request.node.as_deref()).await?;
        let detail = format!("{} on '{}'", request.path, node.name);
        self.may_do(who, Right::Administer, "datastore.attach", Object::Suite, detail).await?;
        let line = self.house.nodes.line(node.id, DEVICE_PATIENCE).await?;
        let found = line.call_slow(AttachDatastore { path: request.path.clone() }).await?;
        let path = request.path.into_bytes();
        let known = self.house.books.run(|catalog| catalog.datastores()).await?;
        if known.iter().any(|one| one.store == found.store) {
            let datastore = self
                .house
                .books
                .run(move |catalog| {
                    let state = DatastoreState::Active;
                    catalog.move_datastore(found.store, node.id, &path, state)
                })
                .await?;
            self.tell_drives(&datastore).await;
            return self.datastore_view(datastore, DEVICE_PATIENCE).await;
        }
        let mut name = if check_name(&found.name).is_ok() {
            found.name
        } else {
            format!("datastore-{}", found.store.short())
        };
        if known.iter().any(|one| one.name == name) {
            name = format!("{name}-{}", found.store.short());
        }
        let datastore = Datastore {
            store: found.store,
            name,
            device: node.id,
            path,
            state: DatastoreState::Active,
            created_unix_ms: now_unix_ms(),
        };
        self.keep_datastore(datastore, None, None).await
    }

    /// Takes a datastore out of service. Its savesets stay listed, and what uses it is said. `Busy` while transfers run.
    pub async fn detach_datastore(
        &self,
        who: &Principal,
        request: DatastoreRequest,
    ) -> Result<DetachReply, ServerError> {
        let object = Object::Datastore(&request.name);
        self.may_do(who, Right::Administer, "datastore.detach", object, "").await?;
        let datastore = self.house.datastore(Some(request.name)).await?;
        let device = datastore.device;
        let device = self.house.books.run(move |catalog| catalog.client_numbered(device)).await?;
        // A host that was revoked serves nothing any more.
        if device.is_enrolled() {
            let line = self.house.nodes.line(datastore.device, DEVICE_PATIENCE).await?;
            line.call_slow(DetachDatastore { store: datastore.store }).await?;
        }
        let (datastore, used_by) = self
            .house
            .books
            .run(move |catalog| {
                let out = DatastoreState::Detached;
                let (store, device) = (datastore.store, datastore.device);
                let moved = catalog.move_datastore(store, device, &datastore.path, out)?;
                let used_by = catalog.users_of_datastore(&moved.name)?;
                Ok((moved, used_by))
            })
            .await?;
        let datastore = self.datastore_view(datastore, LIST_PATIENCE).await?;
        Ok(DetachReply { datastore, used_by })
    }

    /// All datastores, with what their devices say.
    pub async fn datastores(&self, who: &Principal) -> Result<Vec<DatastoreView>, ServerError> {
        self.datastores_that(who, |_| true).await
    }

    /// Those that are wanted; no other device is asked.
    pub(super) async fn datastores_that(
        &self,
        who: &Principal,
        wanted: impl Fn(&Datastore) -> bool + Send,
    ) -> Result<Vec<DatastoreView>, ServerError> {
        self.may_see(who, Right::View, "list datastores", Object::Suite).await?;
        let mut all = self.house.books.run(|catalog| catalog.datastores()).await?;
        all.retain(wanted);
        // All at once: several devices that are away are waited for no longer than one.
        let mut asked = Vec::new();
        for datastore in all {
            let server = self.clone();
            let view = async move { server.datastore_view(datastore, LIST_PATIENCE).await };
            asked.push(tokio::spawn(view));
        }
        let mut views = Vec::new();
        for view in asked {
            views.push(view.await.map_err(|error| ServerError::Lost(error.to_string()))??);
        }
        Ok(views)
    }

    /// Adds a drive: another numbered path to a datastore.
    pub async fn add_drive(
        &self,
        who: &Principal,
        request: AddDriveRequest,
    ) -> Result<DriveView, ServerError> {
        let object = Object::Datastore(&request.datastore);
        self.may_do(who, Right::Administer, "drive.add", object, "").await?;
        let datastore = self.house.datastore(Some(request.datastore)).await?;
        let jobs_max = request.jobs_max.unwrap_or(self.house.config.drive_jobs_max);
        let store = datastore.store;
        let drive = self
            .house
            .books
            .run(move |catalog| catalog.add_drive(store, request.number, jobs_max))
            .await?;
        self.tell_drives(&datastore).await;
        self.house.jobs.wake();
        Ok(drive_view(&drive, &datastore.name))
    }

    /// All drives, by number.
    pub async fn drives(&self, who: &Principal) -> Result<Vec<DriveView>, ServerError> {
        self.may_see(who, Right::View, "list drives", Object::Suite).await?;
        let read = |catalog: &Catalog| Ok((catalog.drives()?, catalog.datastore_names()?));
        let (drives, names) = self.house.books.run(read).await?;
        let name = |drive: &Drive| names.get(&drive.store).cloned().unwrap_or_default();
        Ok(drives.iter().map(|drive| drive_view(drive, &name(drive))).collect())
    }

    /// One drive.
    pub async fn drive(
        &self,
        who: &Principal,
        request: DriveRequest,
    ) -> Result<DriveView, ServerError> {
        self.may_see(who, Right::View, "see a drive", Object::Suite).await?;
        let read = move |catalog: &Catalog| {
            let drive = catalog.drive(request.number)?;
            let datastore = catalog.datastore_with_id(drive.store)?;
            Ok((drive, datastore))
        };
        let (drive, datastore) = self.house.books.run(read).await?;
        Ok(drive_view(&drive, &datastore.name))
    }

    /// Changes how many jobs a drive takes at once. Jobs that run go on.
    pub async fn change_drive(
        &self,
        who: &Principal,
        request: ChangeDriveRequest,
    ) -> Result<DriveView, ServerError> {
        let datastore = self.datastore_of_drive(who, "drive.change", request.number).await?;
        let detail = format!("drive {}, {} jobs at once", request.number, request.jobs_max);
        let object = Object::Datastore(&datastore.name);
        self.may_do(who, Right::Administer, "drive.change", object, detail).await?;
        let change =
            move |catalog: &Catalog| catalog.set_drive_jobs_max(request.number, request.jobs_max);
        let drive = self.house.books.run(change).await?;
        self.house.jobs.wake();
        Ok(drive_view(&drive, &datastore.name))
    }

    /// Removes a drive; its port is closed as soon as its device hears of it. `Busy` while something uses it.
    pub async fn delete_drive(
        &self,
        who: &Principal,
        request: DriveRequest,
    ) -> Result<DriveView, ServerError> {
        let datastore = self.datastore_of_drive(who, "drive.remove", request.number).await?;
        let object = Object::Datastore(&datastore.name);
        let detail = format!("drive {}", request.number);
        self.may_do(who, Right::Administer, "drive.remove", object, detail).await?;
        let remove = move |catalog: &Catalog| catalog.remove_drive(request.number, now_unix_ms());
        let drive = self.house.books.run(remove).await?;
        self.tell_drives(&datastore).await;
        Ok(drive_view(&drive, &datastore.name))
    }

    /// Who may not administer anything hears nothing of whether there is such a drive.
    async fn datastore_of_drive(
        &self,
        who: &Principal,
        verb: &'static str,
        number: u32,
    ) -> Result<Datastore, ServerError> {
        self.may_see(who, Right::Administer, verb, Object::Suite).await?;
        self.house
            .books
            .run(move |catalog| catalog.datastore_with_id(catalog.drive(number)?.store))
            .await
    }

    /// Forgets a datastore that is out of service and in which nothing is listed. Its folder stays as it is. `Busy`
    /// while something uses it.
    pub async fn delete_datastore(
        &self,
        who: &Principal,
        request: DatastoreRequest,
    ) -> Result<(), ServerError> {
        let object = Object::Datastore(&request.name);
        self.may_do(who, Right::Administer, "datastore.remove", object, "").await?;
        let remove =
            move |catalog: &Catalog| catalog.remove_datastore(&request.name, now_unix_ms());
        self.house.books.run(remove).await
    }

    /// A device that does not hear it now is told when it is reached next.
    async fn tell_drives(&self, datastore: &Datastore) {
        let told = async {
            let line = self.house.nodes.line(datastore.device, LIST_PATIENCE).await?;
            tell_drives(&self.house, &line, datastore.store).await
        };
        if let Err(error) = told.await {
            let error = error.full_message();
            tracing::warn!(datastore = %datastore.name, %error, "the device does not know its drives yet");
        }
    }

    async fn keep_datastore(
        &self,
        datastore: Datastore,
        drive: Option<u32>,
        jobs_max: Option<u32>,
    ) -> Result<DatastoreView, ServerError> {
        let jobs_max = jobs_max.unwrap_or(self.house.config.drive_jobs_max);
        let kept = datastore.clone();
        self.house
            .books
            .run(move |catalog| {
                catalog.add_datastore(&kept)?;
                catalog.add_drive(kept.store, drive, jobs_max)
            })
            .await?;
        self.tell_drives(&datastore).await;
        crate::recovery::set_up(self).await;
        self.datastore_view(datastore, DEVICE_PATIENCE).await
    }

    /// The enrolled host that a request names; the Server's own where it names none.
    pub(crate) async fn device_host(&self, name: Option<&str>) -> Result<Client, ServerError> {
        let name = name.unwrap_or(&self.house.own_name).to_owned();
        let client = self.house.books.run(move |catalog| catalog.client(&name)).await?;
        if !client.is_enrolled() {
            return Err(ServerError::Refused(format!("client '{}' is revoked", client.name)));
        }
        // Roles are known once the host was reached; the device itself refuses what it cannot do.
        if !client.roles.is_empty() && !client.has_role("device") {
            return Err(ServerError::invalid(format!(
                "'{}' is a client only: a datastore needs a host that runs as rds or server",
                client.name
            )));
        }
        Ok(client)
    }

    async fn datastore_view(
        &self,
        datastore: Datastore,
        patience: Duration,
    ) -> Result<DatastoreView, ServerError> {
        let (store, device) = (datastore.store, datastore.device);
        let (node, drives, savesets) = self
            .house
            .books
            .run(move |catalog| {
                let mut drives = catalog.drives()?;
                drives.retain(|drive| drive.store == store);
                let node = catalog.client_numbered(device)?.name;
                Ok((node, drives, catalog.lying_count(store)?))
            })
            .await?;
        let asked = async {
            let line = self.house.nodes.line(device, patience).await?;
            line.call(AskState { store }).await
        };
        let (device, trouble) = match asked.await {
            Ok(state) => {
                let view = DeviceView {
                    capacity_bytes: state.capacity_bytes,
                    free_bytes: state.free_bytes,
                    packs_bytes: state.packs_bytes,
                    savesets: state.savesets,
                    chunks: state.chunks,
                    condition: state.state,
                    packs: state.packs,
                    packs_never_checked: state.packs_never_checked,
                    checked_since_unix_ms: state
                        .checked_since_unix_s
                        .and_then(|at| i64::try_from(at).ok()?.checked_mul(1000)),
                };
                (Some(view), None)
            }
            Err(error) => (None, Some(error.full_message())),
        };
        Ok(DatastoreView {
            store,
            node,
            path: escape_path(&datastore.path),
            state: datastore.state.as_str().to_owned(),
            created_unix_ms: datastore.created_unix_ms,
            drives: drives.iter().map(|drive| drive_view(drive, &datastore.name)).collect(),
            name: datastore.name,
            savesets,
            device,
            trouble,
        })
    }
}

fn drive_view(drive: &Drive, datastore: &str) -> DriveView {
    DriveView {
        number: drive.number,
        datastore: datastore.to_owned(),
        jobs_max: drive.jobs_max,
        group: drive.group.clone(),
    }
}

/// Names of datastores and tasks: 1 to 64 letters, digits, dots, dashes, underscores.
pub(crate) fn check_name(name: &str) -> Result<(), ServerError> {
    if simsim_control::join::is_name(name) {
        return Ok(());
    }
    Err(ServerError::invalid(format!(
        "'{}' cannot be a name: use letters, digits, dots, dashes and underscores, at most {}",
        name.escape_debug(),
        simsim_control::join::NAME_BYTES_MAX
    )))
}
