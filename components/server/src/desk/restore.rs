//! Restores, checks, index rebuilds.

use simsim_catalog::{Datastore, DatastoreState, JobKind, NewJob, Saveset, Waiting};

use crate::api::{
    CollectGarbageRequest, JobReply, RebuildIndexRequest, RestoreRequest, ScrubOptions,
    ScrubRequest, VerifyRequest,
};
use crate::jobs::{
    CollectWish, RestoreWish, ScrubWish, VerifyWish, Wish, paths_of, whole_datastore,
};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Queues a restore.
    ///
    /// Rights: `restore` for the client whose data it is. Beneath another place than the original
    /// one also `restore-elsewhere`; to another client `restore-to-other`, for both clients.
    pub async fn restore(
        &self,
        who: &Principal,
        request: RestoreRequest,
    ) -> Result<JobReply, ServerError> {
        let house = &self.house;
        let saveset = house.saveset(&request.saveset, request.task.as_deref()).await?;
        let to = request.client.clone().unwrap_or_else(|| saveset.client_name.clone());
        if to.is_empty() {
            return Err(ServerError::invalid(
                "it is not known whose saveset this is: say to which client to restore",
            ));
        }
        let from = Object::saveset(&saveset);
        let place = request.target.as_deref().unwrap_or("its place");
        let detail = format!("saveset {} to '{to}', {place}", saveset.saveset);
        self.may_see(who, Right::Restore, "restore data of", from).await?;
        if to == saveset.client_name {
            if request.target.is_some() {
                let verb = "restore to another place data of";
                self.may_see(who, Right::RestoreElsewhere, verb, from).await?;
            }
            self.may_do(who, Right::Restore, "restore", from, detail).await?;
        } else {
            let verb = "restore to another client data of";
            // The other client gets the key of all that this one has in the datastore.
            let all_of_it = Object::Client(&saveset.client_name);
            self.may_see(who, Right::RestoreToOther, verb, all_of_it).await?;
            let into = Object::Client(&to);
            self.may_see(who, Right::RestoreToOther, "restore other data to", into).await?;
            self.may_do(who, Right::RestoreToOther, "restore.to-other", from, detail).await?;
        }
        // What cannot be read is refused now, and not when the job begins.
        paths_of(&request.paths)?;
        self.check_choices(&request.interfaces).await?;
        if let Some(target) = &request.target {
            let target = paths_of(std::slice::from_ref(target))?;
            if target.first().and_then(|path| path.first()) != Some(&b'/') {
                return Err(ServerError::invalid("the place to restore beneath must be absolute"));
            }
        }
        let name = to.clone();
        let client = house.books.run(move |catalog| catalog.client(&name)).await?;
        let datastore = house.store_to_read(&saveset, request.copy.as_deref(), Some(&to)).await?;
        if !client.is_enrolled() {
            return Err(ServerError::Refused(format!(
                "client '{to}' is revoked: restore to another with --client OTHER --to FOLDER"
            )));
        }
        let wish = Wish::Restore(RestoreWish {
            paths: request.paths,
            patterns: request.patterns,
            target: request.target,
            overwrite: request.overwrite,
            specials: request.specials,
            owners: request.owners.unwrap_or(true),
            dry_run: request.dry_run,
            interfaces: request.interfaces,
            only_copy: request.copy.is_some(),
        });
        self.queue(NewJob {
            kind: JobKind::Restore,
            task: None,
            task_name: saveset.task_name,
            client: client.id,
            store: datastore.store,
            domain: Some(saveset.domain),
            drive: None,
            level: None,
            saveset: Some(saveset.saveset),
            pool: None,
            request: wish.to_text()?,
            requested_by: who.name().to_owned(),
            waiting: Waiting::default(),
        })
        .await
    }

    /// Queues a check of a datastore, or of one saveset.
    pub async fn verify(
        &self,
        who: &Principal,
        request: VerifyRequest,
    ) -> Result<JobReply, ServerError> {
        let house = &self.house;
        let saveset = match &request.saveset {
            Some(id) => Some(house.saveset(id, None).await?),
            None => None,
        };
        let datastore = match (&saveset, request.datastore) {
            (Some(saveset), name) => house.store_to_read(saveset, name.as_deref(), None).await?,
            (None, name) => house.datastore(name).await?,
        };
        let object = Object::Datastore(&datastore.name);
        let keys = if request.keys_to_device { ", keys to the device" } else { "" };
        let detail = format!("{:?}{keys}", request.depth).to_lowercase();
        self.may_do(who, Right::Maintain, "datastore.verify", object, detail).await?;
        active(&datastore)?;
        if let Some(saveset) = &saveset {
            self.has_key_to_verify(saveset, &datastore, request.keys_to_device).await?;
        }
        self.queue(NewJob {
            kind: JobKind::Verify,
            task: None,
            task_name: String::new(),
            client: datastore.device,
            store: datastore.store,
            domain: None,
            drive: None,
            level: None,
            saveset: saveset.map(|saveset| saveset.saveset),
            pool: None,
            request: Wish::Verify(VerifyWish {
                depth: request.depth,
                keys_to_device: request.keys_to_device,
            })
            .to_text()?,
            requested_by: who.name().to_owned(),
            waiting: Waiting::default(),
        })
        .await
    }

    /// One saveset is checked by following its tree, which takes the key of its domain: what could
    /// only fail for want of it is refused before it waits in the queue.
    async fn has_key_to_verify(
        &self,
        saveset: &Saveset,
        datastore: &Datastore,
        keys_to_device: bool,
    ) -> Result<(), ServerError> {
        let house = &self.house;
        let id = saveset.saveset.short();
        let domain = saveset.domain;
        let domain = house.books.run(move |catalog| catalog.domain(domain)).await?;
        if domain.sealed_key.is_none() {
            return Err(ServerError::Refused(format!(
                "the server does not hold the key of saveset {id}, and one saveset cannot be \
                 checked without it; check all of the datastore, where its ciphertext is checked \
                 as well: simsim verify --bytes --datastore {}",
                datastore.name
            )));
        }
        if datastore.device != house.nodes.own() && !keys_to_device {
            return Err(ServerError::invalid(format!(
                "saveset {id} lies on another host's device, which does not know its key: hand \
                 the key over for this check with --bytes --keys-to-device, or check all of the \
                 datastore without keys: simsim verify --datastore {}",
                datastore.name
            )));
        }
        Ok(())
    }

    /// Queues a check of what was checked longest ago.
    pub async fn scrub(
        &self,
        who: &Principal,
        request: ScrubRequest,
    ) -> Result<JobReply, ServerError> {
        let datastore = self.house.datastore(request.datastore).await?;
        let object = Object::Datastore(&datastore.name);
        self.may_do(who, Right::Maintain, "datastore.scrub", object, "").await?;
        active(&datastore)?;
        check_budget(&request.budget)?;
        let wish = Wish::Scrub(ScrubWish { budget: request.budget });
        let (kind, by) = (JobKind::Scrub, who.name().to_owned());
        self.queue(whole_datastore(&datastore, kind, &wish, by, Waiting::default())?).await
    }

    /// Queues making a datastore's index again from its packs.
    pub async fn rebuild_index(
        &self,
        who: &Principal,
        request: RebuildIndexRequest,
    ) -> Result<JobReply, ServerError> {
        let datastore = self.house.datastore(request.datastore).await?;
        let object = Object::Datastore(&datastore.name);
        self.may_do(who, Right::Maintain, "datastore.rebuild-index", object, "").await?;
        active(&datastore)?;
        let (kind, by) = (JobKind::Rebuild, who.name().to_owned());
        let new = whole_datastore(&datastore, kind, &Wish::Rebuild, by, Waiting::default())?;
        self.queue(new).await
    }

    /// Queues removing what no saveset of a datastore needs.
    pub async fn collect_garbage(
        &self,
        who: &Principal,
        request: CollectGarbageRequest,
    ) -> Result<JobReply, ServerError> {
        let datastore = self.house.datastore(request.datastore).await?;
        let object = Object::Datastore(&datastore.name);
        let how = if request.over_budget { "over budget" } else { "" };
        self.may_do(who, Right::Maintain, "datastore.collect", object, how).await?;
        active(&datastore)?;
        let wish = Wish::Collect(CollectWish { over_budget: request.over_budget, expire: false });
        let (kind, by) = (JobKind::Collect, who.name().to_owned());
        self.queue(whole_datastore(&datastore, kind, &wish, by, Waiting::default())?).await
    }
}

/// A budget of nothing checks nothing.
pub(super) fn check_budget(budget: &ScrubOptions) -> Result<(), ServerError> {
    if budget.bytes_max == Some(0) || budget.minutes_max == Some(0) {
        return Err(ServerError::invalid(
            "a scrub of no byte or no minute checks nothing; leave the limit out to check everything",
        ));
    }
    Ok(())
}

fn active(datastore: &Datastore) -> Result<(), ServerError> {
    if datastore.state == DatastoreState::Active {
        return Ok(());
    }
    Err(ServerError::Refused(format!(
        "datastore '{}' is out of service: attach it first",
        datastore.name
    )))
}
