//! Drive groups: adding, changing, listing and removing them.

use simsim_catalog::{Catalog, CatalogError, DriveGroup};
use simsim_model::StoreId;

use super::datastores::check_name;
use crate::api::{DriveGroupNameRequest, DriveGroupRequest, DriveGroupView, GroupDriveView};
use crate::clock::now_unix_ms;
use crate::jobs::Wish;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Adds a drive group.
    pub async fn add_drive_group(
        &self,
        who: &Principal,
        request: DriveGroupRequest,
    ) -> Result<DriveGroupView, ServerError> {
        check_name(&request.name)?;
        let detail = detail(&request);
        self.may_do(who, Right::Administer, "drive-group.add", Object::Suite, detail).await?;
        self.house
            .books
            .run(move |catalog| {
                let DriveGroupRequest { name, drives } = request;
                view(catalog, catalog.add_drive_group(&name, &drives, now_unix_ms())?)
            })
            .await
    }

    /// Gives a drive group these drives and no others. Jobs that run go on where they are.
    pub async fn change_drive_group(
        &self,
        who: &Principal,
        request: DriveGroupRequest,
    ) -> Result<DriveGroupView, ServerError> {
        let detail = detail(&request);
        self.may_do(who, Right::Administer, "drive-group.change", Object::Suite, detail).await?;
        let changed = self.house.books.run(move |catalog| {
            let group = catalog.change_drive_group(&request.name, &request.drives)?;
            view(catalog, group)
        });
        let view = changed.await?;
        self.house.jobs.wake();
        Ok(view)
    }

    /// All drive groups, by name.
    pub async fn drive_groups(&self, who: &Principal) -> Result<Vec<DriveGroupView>, ServerError> {
        self.may_see(who, Right::View, "list drive groups", Object::Suite).await?;
        let all = |catalog: &Catalog| -> Result<_, CatalogError> {
            catalog.drive_groups()?.into_iter().map(|group| view(catalog, group)).collect()
        };
        self.house.books.run(all).await
    }

    /// One drive group.
    pub async fn drive_group(
        &self,
        who: &Principal,
        request: DriveGroupNameRequest,
    ) -> Result<DriveGroupView, ServerError> {
        self.may_see(who, Right::View, "see a drive group", Object::Suite).await?;
        let one = move |catalog: &Catalog| view(catalog, catalog.drive_group(&request.name)?);
        self.house.books.run(one).await
    }

    /// Removes a drive group; its drives stay. `Busy` while tasks or waiting jobs use it.
    pub async fn delete_drive_group(
        &self,
        who: &Principal,
        request: DriveGroupNameRequest,
    ) -> Result<DriveGroupView, ServerError> {
        let detail = request.name.clone();
        self.may_do(who, Right::Administer, "drive-group.remove", Object::Suite, detail).await?;
        self.house
            .books
            .run(move |catalog| {
                let waits = catalog.queued_jobs()?.into_iter().filter(|job| {
                    let wish = Wish::of(job).ok();
                    wish.and_then(|wish| wish.drive_group().map(str::to_owned)).as_ref()
                        == Some(&request.name)
                });
                let held: Vec<String> = waits
                    .map(|job| format!("job {}, which waits (cancel it or wait)", job.number))
                    .collect();
                let there = view(catalog, catalog.drive_group(&request.name)?)?;
                catalog.delete_drive_group(&request.name, &held)?;
                Ok(there)
            })
            .await
    }

    /// The datastore that stands for a group until a job of it has been placed: where the task's
    /// savesets are, as long as the group leads there.
    pub(crate) async fn store_of_group(
        &self,
        name: &str,
        client: &str,
        task: &str,
    ) -> Result<StoreId, ServerError> {
        let (group, client, task) = (name.to_owned(), client.to_owned(), task.to_owned());
        let chosen = self
            .house
            .books
            .run(move |catalog| {
                let group = catalog.drive_group(&group)?;
                let drives = catalog.drives()?;
                let stores: Vec<StoreId> = drives
                    .iter()
                    .filter(|drive| group.drives.contains(&drive.number))
                    .map(|drive| drive.store)
                    .collect();
                let last = catalog.last_store_of(&client, &task)?;
                Ok(last.filter(|last| stores.contains(last)).or(stores.first().copied()))
            })
            .await?;
        chosen.ok_or_else(|| ServerError::invalid(format!("drive group '{name}' has no drive")))
    }
}

fn detail(request: &DriveGroupRequest) -> String {
    let numbers: Vec<String> = request.drives.iter().map(u32::to_string).collect();
    format!("'{}': drives {}", request.name, numbers.join(", "))
}

fn view(catalog: &Catalog, group: DriveGroup) -> Result<DriveGroupView, CatalogError> {
    let mut drives = Vec::new();
    for drive in catalog.drives()? {
        if drive.group.as_ref() == Some(&group.name) {
            let datastore = catalog.datastore_with_id(drive.store)?;
            drives.push(GroupDriveView {
                number: drive.number,
                node: catalog.client_numbered(datastore.device)?.name,
                datastore: datastore.name,
                jobs_max: drive.jobs_max,
            });
        }
    }
    let tasks = catalog.tasks()?.into_iter().map(|task| task.settings);
    Ok(DriveGroupView {
        tasks: tasks
            .filter(|task| task.drive_group.as_ref() == Some(&group.name))
            .map(|task| task.name)
            .collect(),
        drives,
        name: group.name,
        created_unix_ms: group.created_unix_ms,
    })
}
