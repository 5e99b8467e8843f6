//! Restore drills: running, listing, evidence; and how tasks stand.

use simsim_catalog::{Drill, DrillFilter};
use simsim_format::random_bytes;

use crate::api::{
    DrillDocument, DrillEvidence, DrillJobRequest, DrillListRequest, DrillRequest, DrillVerified,
    DrillView, JobReply, TaskHealth, TaskHealthRequest,
};
use crate::clock::now_unix_ms;
use crate::jobs::{check_options, drill_job};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError, audit_head, drills, health};

impl Server {
    /// Queues a drill of a task.
    ///
    /// Rights: as for a restore to another place; on another client also for that one.
    pub async fn run_drill(
        &self,
        who: &Principal,
        request: DrillRequest,
    ) -> Result<JobReply, ServerError> {
        let house = &self.house;
        let name = request.task.clone();
        let task = house.books.run(move |catalog| catalog.task(&name)).await?.settings;
        let from = Object::task(&task);
        let to = request.options.client.as_deref().unwrap_or(&task.client);
        let verb = "run a restore drill of data of";
        self.may_see(who, Right::Restore, verb, from).await?;
        let detail = format!("task '{}' on '{to}'", task.name);
        if to == task.client {
            self.may_see(who, Right::RestoreElsewhere, verb, from).await?;
            self.may_do(who, Right::Restore, "drill.run", from, detail).await?;
        } else {
            // The other client gets the key of all that this one has in the datastore.
            let all_of_it = Object::Client(&task.client);
            self.may_see(who, Right::RestoreToOther, verb, all_of_it).await?;
            let into = Object::Client(to);
            self.may_see(who, Right::RestoreToOther, "run a restore drill on", into).await?;
            self.may_do(who, Right::RestoreToOther, "drill.run", from, detail).await?;
        }
        check_options(&request.options)?;
        let saveset = match &request.saveset {
            Some(id) => {
                let saveset = house.saveset(id, None).await?;
                if (&saveset.client_name, &saveset.task_name) != (&task.client, &task.name) {
                    return Err(ServerError::invalid(format!(
                        "saveset {} is not one of task '{}'",
                        saveset.saveset.short(),
                        task.name
                    )));
                }
                Some(saveset)
            }
            None => None,
        };
        let seed = match request.seed {
            Some(seed) => seed,
            None => u64::from_le_bytes(random_bytes()?) >> 12,
        };
        let by = who.name().to_owned();
        let books = house.books.clone();
        let made = tokio::task::spawn_blocking(move || {
            let waiting = simsim_catalog::Waiting::default();
            drill_job(books.catalog(), &request.task, saveset, &request.options, seed, by, waiting)
        });
        let new = made.await.map_err(|error| ServerError::Lost(error.to_string()))??;
        self.queue(new).await
    }

    /// The drills of clients that the caller may see, newest first.
    pub async fn drills(
        &self,
        who: &Principal,
        request: DrillListRequest,
    ) -> Result<Vec<DrillView>, ServerError> {
        let filter = DrillFilter {
            task_name: request.task,
            client_name: request.client,
            passed: request.passed,
            before: request.before,
            limit: if request.limit == 0 { 100 } else { request.limit },
        };
        let drills = self.house.books.run(move |catalog| catalog.drills(&filter)).await?;
        let mut views = Vec::new();
        for drill in drills {
            if who.may(
                Right::View,
                Object::Task { client: &drill.client_name, task: &drill.task_name },
            ) {
                views.push(view(drill)?);
            }
        }
        if views.is_empty() {
            self.may_see(who, Right::View, "list restore drills", Object::Suite).await?;
        }
        Ok(views)
    }

    /// One drill.
    pub async fn drill(
        &self,
        who: &Principal,
        request: DrillJobRequest,
    ) -> Result<DrillView, ServerError> {
        view(self.seen_drill(who, request).await?)
    }

    /// The evidence of a drill, as it was signed.
    pub async fn drill_evidence(
        &self,
        who: &Principal,
        request: DrillJobRequest,
    ) -> Result<DrillEvidence, ServerError> {
        let drill = self.seen_drill(who, request).await?;
        Ok(DrillEvidence {
            document: drill.document,
            signature: drill.signature,
            key: self.house.identity.public().to_string(),
            audit_position: drill.audit,
        })
    }

    /// Checks evidence, wherever it was kept meanwhile: whose signature it bears, and whether the audit log holds
    /// its hash.
    pub async fn verify_drill(
        &self,
        who: &Principal,
        evidence: DrillEvidence,
    ) -> Result<DrillVerified, ServerError> {
        self.may_see(who, Right::View, "check the evidence of a restore drill", Object::Suite)
            .await?;
        let kept = audit_head::kept(&self.house).await?;
        let position = evidence.audit_position;
        let (row, broken) = self
            .house
            .books
            .run(move |catalog| {
                let row = catalog.audit(position.saturating_sub(1), 1)?.into_iter().next();
                Ok((row, catalog.verify_audit(kept.as_ref())?))
            })
            .await?;
        let key = self.house.identity.public();
        Ok(drills::verify(&key, &evidence, row.as_ref(), broken.is_none()))
    }

    /// How the tasks stand that the caller may see: which are green, and what is missing of others since when.
    pub async fn task_health(
        &self,
        who: &Principal,
        request: TaskHealthRequest,
    ) -> Result<Vec<TaskHealth>, ServerError> {
        self.may_see(who, Right::View, "see how tasks stand", Object::Suite).await?;
        let mut all = self
            .house
            .books
            .run(move |catalog| match request.not_green {
                true => health::not_green(catalog, now_unix_ms()),
                false => health::of_tasks(catalog, now_unix_ms()),
            })
            .await?;
        all.retain(|one| {
            who.may(Right::View, Object::Task { client: &one.client, task: &one.task })
        });
        Ok(all)
    }

    async fn seen_drill(
        &self,
        who: &Principal,
        request: DrillJobRequest,
    ) -> Result<Drill, ServerError> {
        let drill = self.house.books.run(move |catalog| catalog.drill(request.drill)).await?;
        let object = Object::Task { client: &drill.client_name, task: &drill.task_name };
        self.may_see(who, Right::View, "see a restore drill of", object).await?;
        Ok(drill)
    }
}

fn view(drill: Drill) -> Result<DrillView, ServerError> {
    let document: DrillDocument = serde_json::from_str(&drill.document).map_err(|error| {
        ServerError::invalid(format!("the document of drill {} cannot be read: {error}", drill.job))
    })?;
    Ok(DrillView {
        drill: drill.job,
        passed: drill.passed,
        ended_unix_ms: drill.ended_unix_ms,
        document,
        audit_position: drill.audit,
    })
}
