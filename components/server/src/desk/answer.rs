//! Verbs by name, with JSON in and out: the one table that every front-end goes through.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::JobFollower;
use crate::rights::Principal;
use crate::{Server, ServerError};

/// What a verb answers.
pub enum Answer {
    Json(Value),
    /// Events of a job, until it has ended.
    Events(Box<JobFollower>),
}

macro_rules! verbs {
    ($(#[doc = $doc:literal] $name:literal => $method:ident $([$request:ident])?;)*) => {
        /// Every verb with a line about it, in order.
        pub const VERBS: &[(&str, &str)] =
            &[$(($name, $doc),)* ("job.follow", " The events of a job until it has ended.")];

        /// Whether a body fits a verb, as far as that can be said without asking it.
        pub fn check_request(verb: &str, body: &Value) -> Result<(), ServerError> {
            match verb {
                $($name => verbs!(@check verb, body $(, $request)?),)*
                _ => Ok(()),
            }
        }

        impl Server {
            /// Asks a verb by name. `body` is the verb's request; `null` or `{}` for one without.
            ///
            /// Errors: `NotFound` for an unknown verb, `Invalid` for a body that does not fit,
            /// and those of the verb.
            pub async fn answer(
                &self,
                who: &Principal,
                verb: &str,
                body: Value,
            ) -> Result<Answer, ServerError> {
                self.may_ask(who, verb).await?;
                let answer = match verb {
                    $($name => verbs!(@call self, who, verb, body, $method $(, $request)?),)*
                    "job.follow" => {
                        let request = read(verb, body)?;
                        let follower = self.follow_job(who, request).await?;
                        return Ok(Answer::Events(Box::new(follower)));
                    }
                    _ => return Err(ServerError::NotFound { noun: "verb", name: verb.to_owned() }),
                };
                Ok(Answer::Json(answer))
            }
        }
    };
    (@check $verb:ident, $body:ident) => { read::<Nothing>($verb, $body.clone()).map(drop) };
    (@check $verb:ident, $body:ident, $request:ident) => {
        read::<crate::api::$request>($verb, $body.clone()).map(drop)
    };
    (@call $self:ident, $who:ident, $verb:ident, $body:ident, $method:ident) => {{
        let _: Nothing = read($verb, $body)?;
        write($self.$method($who).await?)?
    }};
    (@call $self:ident, $who:ident, $verb:ident, $body:ident, $method:ident, $request:ident) => {{
        let request: crate::api::$request = read($verb, $body)?;
        write($self.$method($who, request).await?)?
    }};
}

verbs! {
    /// Counts, states, and what somebody should act on.
    "status" => status;
    /// What ran, failed and did not come, and what is not well.
    "report.show" => report [ReportRequest];
    /// Enrolled hosts.
    "client.list" => list_clients [ClientListRequest];
    /// One client.
    "client.show" => client [ClientRequest];
    /// A one-time code with which a host can join.
    "client.join-code" => create_join_code [JoinCodeRequest];
    /// Takes all rights from a client, now.
    "client.revoke" => revoke_client [ClientRequest];
    /// Changes where a client is dialled.
    "client.addresses" => set_client_addresses [ClientAddressesRequest];
    /// Changes how a client is steered.
    "client.set" => set_client [ClientSetRequest];
    /// Gives a client another TLS key.
    "client.rotate-key" => rotate_client_key [RotateKeyRequest];
    /// The data addresses of device hosts.
    "interface.list" => interfaces;
    /// The data addresses of one host.
    "interface.show" => host_interfaces [InterfaceHostRequest];
    /// The certificate that others' tools must trust.
    "interface.authority" => authority;
    /// Makes another certificate authority.
    "authority.rotate" => rotate_authority [AuthorityRequest];
    /// Ends the transition from one authority to the next.
    "authority.finish" => finish_authority [AuthorityRequest];
    /// Gives a host its interfaces.
    "interface.set" => set_interfaces [SetInterfacesRequest];
    /// Lets a client's data go by some interfaces.
    "interface.choose" => choose_interfaces [ChooseInterfacesRequest];
    /// Limits how fast data may go.
    "rate.add" => add_rate [AddRateRequest];
    /// All rate limits, with what they allow now.
    "rate.list" => rates;
    /// Removes a rate limit.
    "rate.remove" => remove_rate [RateRequest];
    /// Makes a datastore, with its first drive.
    "datastore.create" => create_datastore [CreateDatastoreRequest];
    /// Takes an existing datastore into service.
    "datastore.attach" => attach_datastore [AttachDatastoreRequest];
    /// Takes a datastore out of service.
    "datastore.detach" => detach_datastore [DatastoreRequest];
    /// Forgets a datastore that is out of service and in which nothing is listed.
    "datastore.remove" => delete_datastore [DatastoreRequest];
    /// Savesets that are known to be damaged, and what would put them right.
    "datastore.damage" => damage [DamageRequest];
    /// Datastores, with what their devices say.
    "datastore.list" => list_datastores [DatastoreListRequest];
    /// Checks a datastore or one saveset.
    "datastore.verify" => verify [VerifyRequest];
    /// Makes a datastore's index again.
    "datastore.rebuild-index" => rebuild_index [RebuildIndexRequest];
    /// Removes what no saveset of a datastore needs.
    "datastore.collect" => collect_garbage [CollectGarbageRequest];
    /// Checks of a datastore what was checked longest ago.
    "datastore.scrub" => scrub [ScrubRequest];
    /// Adds a drive to a datastore.
    "drive.add" => add_drive [AddDriveRequest];
    /// Drives, by number.
    "drive.list" => drives;
    /// One drive.
    "drive.show" => drive [DriveRequest];
    /// Changes how many jobs a drive takes at once.
    "drive.change" => change_drive [ChangeDriveRequest];
    /// Removes a drive; its number stays with its datastore.
    "drive.remove" => delete_drive [DriveRequest];
    /// Adds a drive group.
    "drive-group.add" => add_drive_group [DriveGroupRequest];
    /// Gives a drive group other drives.
    "drive-group.change" => change_drive_group [DriveGroupRequest];
    /// All drive groups.
    "drive-group.list" => drive_groups;
    /// One drive group.
    "drive-group.show" => drive_group [DriveGroupNameRequest];
    /// Removes a drive group; its drives stay.
    "drive-group.remove" => delete_drive_group [DriveGroupNameRequest];
    /// Adds a location.
    "location.add" => add_location [LocationRequest];
    /// Changes a location.
    "location.change" => change_location [LocationRequest];
    /// All locations.
    "location.list" => list_locations [LocationListRequest];
    /// One location.
    "location.show" => location [NameRequest];
    /// Removes a location.
    "location.remove" => delete_location [NameRequest];
    /// Says where a client stands.
    "client.place" => place_client [ClientPlaceRequest];
    /// Says how a client is woken.
    "client.set-wake" => set_client_wake [ClientWakeRequest];
    /// Wakes a client.
    "client.wake" => wake_client [ClientRequest];
    /// Adds a command.
    "command.add" => add_command [CommandRequest];
    /// Changes a command.
    "command.change" => change_command [CommandRequest];
    /// All commands.
    "command.list" => list_commands [CommandListRequest];
    /// One command.
    "command.show" => command [NameRequest];
    /// Runs a command.
    "command.run" => run_command [NameRequest];
    /// Removes a command.
    "command.remove" => delete_command [NameRequest];
    /// Restores a sample of a task for a test, now.
    "drill.run" => run_drill [DrillRequest];
    /// Restore drills, newest first.
    "drill.list" => drills [DrillListRequest];
    /// One restore drill.
    "drill.show" => drill [DrillJobRequest];
    /// The signed evidence of a restore drill.
    "drill.evidence" => drill_evidence [DrillJobRequest];
    /// Checks the evidence of a restore drill.
    "drill.verify" => verify_drill [DrillEvidence];
    /// Which tasks are green, and what is missing of others since when.
    "task.health" => task_health [TaskHealthRequest];
    /// Adds a notification.
    "notification.add" => add_notification [NotificationRequest];
    /// Changes a notification.
    "notification.change" => change_notification [NotificationRequest];
    /// All notifications.
    "notification.list" => list_notifications [NotificationListRequest];
    /// One notification.
    "notification.show" => notification [NameRequest];
    /// Sends a test by a notification, now.
    "notification.test" => test_notification [NameRequest];
    /// What was told and what waits, newest first.
    "notification.messages" => messages [MessagesRequest];
    /// Removes a notification.
    "notification.remove" => delete_notification [NameRequest];
    /// Adds a calendar.
    "calendar.add" => add_calendar [CalendarRequest];
    /// Gives a calendar other days.
    "calendar.change" => change_calendar [CalendarRequest];
    /// All calendars.
    "calendar.list" => list_calendars [NameListRequest];
    /// One calendar.
    "calendar.show" => calendar [NameRequest];
    /// Removes a calendar.
    "calendar.remove" => delete_calendar [NameRequest];
    /// Adds a schedule.
    "schedule.add" => add_schedule [ScheduleRequest];
    /// Gives a schedule another line.
    "schedule.change" => change_schedule [ScheduleRequest];
    /// All schedules, with what comes next.
    "schedule.list" => list_schedules [NameListRequest];
    /// One schedule, with what comes next.
    "schedule.show" => schedule [NameRequest];
    /// When a line of a schedule would run.
    "schedule.try" => try_schedule [TryScheduleRequest];
    /// Removes a schedule.
    "schedule.remove" => delete_schedule [NameRequest];
    /// What will run, and what will not.
    "schedule.preview" => preview [PreviewRequest];
    /// Adds an event.
    "event.add" => add_event [EventRequest];
    /// Changes an event.
    "event.change" => change_event [EventRequest];
    /// All events, with what comes next.
    "event.list" => list_events [EventListRequest];
    /// One event.
    "event.show" => event [NameRequest];
    /// Removes an event.
    "event.remove" => delete_event [NameRequest];
    /// Starts an event now.
    "event.run" => run_event [NameRequest];
    /// What became of the occurrences of events, newest first.
    "run.list" => runs [RunListRequest];
    /// Makes a task group.
    "task-group.add" => add_task_group [TaskGroupRequest];
    /// Gives a task group other tasks.
    "task-group.change" => change_task_group [TaskGroupRequest];
    /// All task groups.
    "task-group.list" => list_task_groups [TaskGroupListRequest];
    /// One task group.
    "task-group.show" => task_group [NameRequest];
    /// Removes a task group; its tasks stay.
    "task-group.remove" => delete_task_group [NameRequest];
    /// What waits, in the order in which it starts.
    "queue.show" => queue_view;
    /// Lets nothing start.
    "queue.pause" => pause_queue [PauseRequest];
    /// Lets jobs start again.
    "queue.resume" => resume_queue;
    /// Limits how many jobs run at once.
    "queue.limit" => limit_queue [QueueLimitRequest];
    /// Adds a task.
    "task.add" => add_task [TaskRequest];
    /// Changes a task.
    "task.change" => change_task [TaskRequest];
    /// All tasks.
    "task.list" => list_tasks [TaskListRequest];
    /// One task.
    "task.show" => task [TaskNameRequest];
    /// Removes a task.
    "task.delete" => delete_task [TaskNameRequest];
    /// Runs a task now.
    "task.run" => run_task [RunTaskRequest];
    /// Starts a job that waits for a raw stream, with a ticket for it.
    "stream.start" => start_stream [StartStreamRequest];
    /// Makes an access token for the raw streams of a task.
    "token.create" => create_token [CreateTokenRequest];
    /// Access tokens, without their secrets.
    "token.list" => list_tokens [TokenListRequest];
    /// One access token, without its secret.
    "token.show" => token [TokenNameRequest];
    /// Changes what an access token allows, or until when it is good.
    "token.change" => change_token [ChangeTokenRequest];
    /// Takes an access token's right, now.
    "token.revoke" => revoke_token [TokenNameRequest];
    /// Backs paths of a client up once, without a task.
    "backup" => backup_paths [BackupRequest];
    /// Jobs, newest first.
    "job.list" => jobs [JobListRequest];
    /// One job with its problems.
    "job.show" => job [JobRequest];
    /// Asks a job to end.
    "job.cancel" => cancel_job [JobRequest];
    /// Holds a job that waits, or lets it go.
    "job.hold" => hold_job [HoldRequest];
    /// Lines of a job's log.
    "job.log" => job_log [LogRequest];
    /// Savesets, newest first.
    "saveset.list" => savesets [SavesetListRequest];
    /// One saveset with the jobs that made and read it.
    "saveset.show" => saveset [SavesetRequest];
    /// The saveset that a person means.
    "saveset.resolve" => resolve_saveset [ResolveRequest];
    /// A directory of a saveset.
    "saveset.ls" => ls [LsRequest];
    /// Entries of a saveset by name.
    "saveset.find" => find [FindRequest];
    /// What differs between two savesets.
    "saveset.diff" => diff [DiffRequest];
    /// Files by name, over all savesets.
    "search" => search [SearchRequest];
    /// The versions of one file, over all savesets.
    "search.history" => file_history [HistoryRequest];
    /// Makes the search index anew.
    "search.rebuild" => rebuild_search;
    /// Everything that keeps a saveset, and when it goes.
    "saveset.why" => why_saveset [SavesetRequest];
    /// Keeps a saveset for longer.
    "saveset.keep" => keep_saveset [KeepSavesetRequest];
    /// Puts a saveset under legal hold, or asks to release it.
    "saveset.hold" => hold_saveset [HoldSavesetRequest];
    /// Locks a saveset; only ever later.
    "saveset.lock" => lock_saveset [LockSavesetRequest];
    /// Deletes savesets; what is not expired takes a second person.
    "saveset.delete" => delete_savesets [DeleteSavesetsRequest];
    /// Adds a media pool.
    "pool.add" => add_pool [AddPoolRequest];
    /// Changes a media pool.
    "pool.change" => change_pool [ChangePoolRequest];
    /// All media pools.
    "pool.list" => list_pools [NameListRequest];
    /// One media pool.
    "pool.show" => pool [PoolNameRequest];
    /// Removes a media pool that nothing uses.
    "pool.remove" => delete_pool [PoolNameRequest];
    /// What another policy of a pool would do.
    "retention.simulate" => simulate_retention [SimulateRequest];
    /// Deletes what is expired.
    "retention.run" => run_retention [RetentionRunRequest];
    /// Confirms the server's clock, where it is in doubt.
    "retention.confirm-clock" => confirm_clock;
    /// Acts that wait for a second person.
    "approval.list" => approvals [ApprovalListRequest];
    /// One of them, with its exact content.
    "approval.show" => approval [ApprovalRequest];
    /// Approves an act that somebody else asked for, and does it.
    "approval.approve" => approve [ApprovalWordRequest];
    /// Rejects an act.
    "approval.reject" => reject [ApprovalWordRequest];
    /// Restores a saveset or a part of it.
    "restore" => restore [RestoreRequest];
    /// Adds a replication from one datastore into another.
    "replication.add" => add_replication [AddReplicationRequest];
    /// Replaces all of a replication but its name and its datastores.
    "replication.change" => change_replication [AddReplicationRequest];
    /// All replications.
    "replication.list" => replications;
    /// One replication.
    "replication.show" => replication [ReplicationRequest];
    /// Removes a replication; its copies stay.
    "replication.remove" => delete_replication [ReplicationRequest];
    /// Runs a replication now.
    "replication.run" => run_replication [ReplicationRequest];
    /// Brings what a datastore has lost from its copies.
    "replication.heal" => heal [HealRequest];
    /// Adds a migration.
    "migration.add" => add_migration [MigrationRequest];
    /// Replaces all of a migration but its name.
    "migration.change" => change_migration [MigrationRequest];
    /// All migrations.
    "migration.list" => migrations;
    /// One migration.
    "migration.show" => migration [NameRequest];
    /// Removes a migration; what it moved stays where it is.
    "migration.remove" => delete_migration [NameRequest];
    /// Runs a migration now.
    "migration.run" => run_migration [NameRequest];
    /// Makes a recovery kit.
    "key.kit" => create_kit;
    /// Groups of the kit that a proof asks for.
    "key.question" => kit_question;
    /// Shows that the recovery kit was kept.
    "key.prove" => prove_kit [KitProofRequest];
    /// Makes a client's domain and decides who holds its key.
    "key.domain" => create_domain [CreateDomainRequest];
    /// Dedup domains.
    "key.domains" => domains;
    /// Which host dials which, on what port and why.
    "ports.plan" => port_plan;
    /// Every enrolled host: reached or not, its clock, its names.
    "ports.hosts" => check_hosts;
    /// Tries every way of the plan, each from the host that dials it.
    "ports.probe" => probe_ports [ProbeRequest];
    /// What was found last of each way that was tried.
    "ports.last" => probes_kept;
    /// Rows of the audit log.
    "audit.list" => audit [AuditListRequest];
    /// Follows the chain of the audit log.
    "audit.verify" => verify_audit;
    /// Makes saveset rows again from the manifests.
    "catalog.rebuild" => rebuild_catalog [CatalogRebuildRequest];
    /// Who asks, and what that allows.
    "who" => who;
    /// How the last days went: outcomes, and what backups added.
    "trends" => trends [TrendsRequest];
    /// A link for the first user.
    "user.welcome" => welcome;
    /// Adds a user.
    "user.add" => add_user [UserRequest];
    /// All users.
    "user.list" => list_users [UserListRequest];
    /// One user.
    "user.show" => user [UserNameRequest];
    /// Gives a user other grants, or lets the user in no more.
    "user.change" => change_user [UserRequest];
    /// Gives a user another password.
    "user.password" => set_password [PasswordRequest];
    /// Gives whoever asks another password.
    "me.password" => set_own_password [OwnPasswordRequest];
    /// Gives whoever asks a new secret for one-time passwords, or takes it away.
    "me.one-time" => set_own_one_time [OwnOneTimeRequest];
    /// Gives a user a new secret for one-time passwords, or takes it away.
    "user.one-time" => set_one_time [OneTimeRequest];
    /// Browsers in which users are logged in: one's own, with the right `people` all.
    "session.list" => sessions;
    /// Ends a session.
    "session.end" => end_session [ConsoleSessionRequest];
    /// Ends every session of a user.
    "user.log-out" => log_out_user [UserNameRequest];
    /// Removes a user, with the user's tokens and sessions.
    "user.remove" => delete_user [UserNameRequest];
    /// Adds an identity provider.
    "identity-provider.add" => add_identity_provider [IdentityProviderRequest];
    /// Changes an identity provider.
    "identity-provider.change" => change_identity_provider [IdentityProviderRequest];
    /// All identity providers.
    "identity-provider.list" => identity_providers;
    /// One identity provider.
    "identity-provider.show" => identity_provider [NameRequest];
    /// Asks an identity provider what it says of itself, now.
    "identity-provider.test" => test_identity_provider [NameRequest];
    /// Removes an identity provider.
    "identity-provider.remove" => delete_identity_provider [NameRequest];
    /// Roles, with the rights that they give.
    "role.list" => roles;
    /// Makes an API token.
    "api-token.create" => create_api_token [CreateApiTokenRequest];
    /// API tokens, without their secrets.
    "api-token.list" => list_api_tokens [ApiTokenListRequest];
    /// One API token, without its secret.
    "api-token.show" => api_token [ApiTokenNameRequest];
    /// Changes what an API token may, or until when it is good.
    "api-token.change" => change_api_token [ChangeApiTokenRequest];
    /// Takes an API token's right, now.
    "api-token.revoke" => revoke_api_token [ApiTokenNameRequest];
}

/// The body of a verb that takes none.
#[derive(serde::Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

fn read<T: DeserializeOwned + Serialize>(verb: &str, body: Value) -> Result<T, ServerError> {
    let body = if body.is_null() { json!({}) } else { body };
    let refuse = |why: String| ServerError::invalid(format!("the request '{verb}': {why}"));
    let given = body.clone();
    let request: T = serde_json::from_value(body).map_err(|error| refuse(error.to_string()))?;
    match list_for_fields(&given, &write(&request)?) {
        None => Ok(request),
        Some(at) => Err(refuse(format!("{at} has fields with names, and no list of values"))),
    }
}

/// Where a list stands in the place of named fields: the reader of JSON takes their values in order, which
/// nobody means, and no document says.
fn list_for_fields(given: &Value, read: &Value) -> Option<String> {
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => Some("it".to_owned()),
        (Value::Array(given), Value::Array(read)) => {
            given.iter().zip(read).find_map(|(given, read)| list_for_fields(given, read))
        }
        (Value::Object(given), Value::Object(read)) => given.iter().find_map(|(name, value)| {
            let found = list_for_fields(value, read.get(name)?)?;
            Some(if found == "it" { format!("'{name}'") } else { found })
        }),
        _ => None,
    }
}

fn write<T: Serialize>(reply: T) -> Result<Value, ServerError> {
    serde_json::to_value(reply).map_err(|error| ServerError::Lost(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_the_place_of_named_fields_is_refused_wherever_it_stands() {
        let task = json!({ "name": "a", "client": "b", "sources": ["/x"] });
        assert!(check_request("task.add", &task).is_ok());
        let mut listed = task.clone();
        listed["options"] = json!([true]);
        let error = check_request("task.add", &listed).unwrap_err().to_string();
        assert!(error.contains("'options' has fields with names"), "{error}");
        assert!(check_request("task.show", &json!(["a"])).is_err());
    }
}
