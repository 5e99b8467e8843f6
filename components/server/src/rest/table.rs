//! The routes. Each row says which method of which path asks which verb, by which method of the server, and
//! what becomes of the answer; some say also how the thing is seen that the path names.
//!
//! A verb that is not in this table is asked at `/v1/<verb>` only; a test names those.

use simsim_console::api::Method::{Delete, Get, Post, Put};

use super::route::Does::{Act, Document, Events, Job, One, Pick, Put as Make, Set};
use super::route::{Does, Find, More, Next, Page, Route, Turn};
use super::shapes::Shape;
use crate::Server;
use crate::api::JobRequest;
use crate::jobs::JobEvent;

/// A list that the verb answers whole.
const fn whole(items: &'static str, key: &'static str, filters: &'static [&'static str]) -> Does {
    Does::List(Page { items, turn: Turn::Whole { key }, filters })
}

/// A list that the verb answers in pages.
const fn turned(
    items: &'static str,
    (field, key, next): (&'static str, &'static str, Next),
    limit: usize,
    more: More,
) -> Does {
    Does::List(Page { items, turn: Turn::ByVerb { field, limit, key, next, more }, filters: &[] })
}

/// What a verb shows.
const fn by(verb: &'static str) -> Find {
    Find { verb, by: None }
}

/// What stands in a list.
const fn among(verb: &'static str, items: &'static str, key: &'static str) -> Find {
    Find { verb, by: Some((items, key)) }
}

macro_rules! routes {
    ($($tag:literal: $($method:ident $path:literal $verb:literal $kind:ident $name:ident
        => $does:expr $(, $find:expr)?;)*)*) => {
        pub(super) static ROUTES: &[Route] = &[$($(Route {
            method: $method,
            path: $path,
            tag: $tag,
            verb: $verb,
            shape: Shape {
                #[cfg(test)]
                method: stringify!($name),
                make: routes!(@shape $kind $name),
            },
            does: $does,
            find: routes!(@find $($find)?),
        },)*)*];
    };
    (@shape takes $name:ident) => { |shapes| shapes.with(Server::$name) };
    (@shape plain $name:ident) => { |shapes| shapes.plain(Server::$name) };
    (@shape tells $name:ident) => { |shapes| shapes.typed::<JobRequest, JobEvent>() };
    (@find) => { None };
    (@find $find:expr) => { Some($find) };
}

routes! {
    "Suite":
    Get "/status" "status" plain status => One;
    Get "/trends" "trends" takes trends => One;
    Get "/report" "report.show" takes report => One;
    Get "/me" "who" plain who => One;
    Post "/me/password" "me.password" takes set_own_password => Act { makes: None };
    Post "/me/one-time" "me.one-time" takes set_own_one_time => Act { makes: None };
    Get "/openapi.json" "who" plain who => Document;
    "Clients":
    Get "/clients" "client.list" takes list_clients => whole("", "name", &[]);
    Get "/clients/{name}" "client.show" takes client => One;
    Put "/clients/{name}/addresses" "client.addresses" takes set_client_addresses
        => Set, by("client.show");
    Put "/clients/{name}/access" "client.set" takes set_client => Set, by("client.show");
    Put "/clients/{client}/interfaces" "interface.choose" takes choose_interfaces => Set;
    Post "/clients/{name}/rotate-key" "client.rotate-key" takes rotate_client_key => Act { makes: None };
    Delete "/clients/{name}" "client.revoke" takes revoke_client
        => Does::Delete, by("client.show");
    Post "/join-codes" "client.join-code" takes create_join_code => Act { makes: None };
    "Interfaces":
    Get "/interfaces" "interface.list" plain interfaces => whole("", "host", &[]);
    Get "/interfaces/{host}" "interface.show" takes host_interfaces => One;
    Put "/interfaces/{host}" "interface.set" takes set_interfaces => Set, by("interface.show");
    Get "/authority" "interface.authority" plain authority => One;
    Post "/authority/rotate" "authority.rotate" takes rotate_authority => Act { makes: None };
    Post "/authority/finish" "authority.finish" takes finish_authority => Act { makes: None };
    "Rates":
    Get "/rates" "rate.list" plain rates => whole("rates", "number", &["counts_for"]);
    Get "/rates/{number}" "rate.list" plain rates => Pick, among("rate.list", "rates", "number");
    Post "/rates" "rate.add" takes add_rate => Act { makes: Some("/rates/{number}") };
    Delete "/rates/{number}" "rate.remove" takes remove_rate
        => Does::Delete, among("rate.list", "rates", "number");
    "Datastores":
    Get "/datastores" "datastore.list" takes list_datastores => whole("", "name", &["state"]);
    Get "/damage" "datastore.damage" takes damage => One;
    Get "/datastores/{name}" "datastore.list" takes list_datastores
        => Pick, among("datastore.list", "", "name");
    Put "/datastores/{name}" "datastore.create" takes create_datastore
        => Make { change: None }, among("datastore.list", "", "name");
    Post "/datastores/attach" "datastore.attach" takes attach_datastore
        => Act { makes: Some("/datastores/{name}") };
    Delete "/datastores/{name}" "datastore.detach" takes detach_datastore
        => Does::Delete, among("datastore.list", "", "name");
    Post "/datastores/{name}/remove" "datastore.remove" takes delete_datastore => Act { makes: None };
    Post "/datastores/{datastore}/drives" "drive.add" takes add_drive => Act { makes: Some("/drives/{number}") };
    Post "/datastores/{datastore}/verify" "datastore.verify" takes verify => Job;
    Post "/datastores/{datastore}/rebuild-index" "datastore.rebuild-index" takes rebuild_index => Job;
    Post "/datastores/{datastore}/collect" "datastore.collect" takes collect_garbage => Job;
    Post "/datastores/{datastore}/scrub" "datastore.scrub" takes scrub => Job;
    "Drives":
    Get "/drives" "drive.list" plain drives => whole("", "number", &["datastore"]);
    Get "/drives/{number}" "drive.show" takes drive => One;
    Put "/drives/{number}" "drive.change" takes change_drive => Set, among("drive.list", "", "number");
    Delete "/drives/{number}" "drive.remove" takes delete_drive
        => Does::Delete, among("drive.list", "", "number");
    "Drive groups":
    Get "/drive-groups" "drive-group.list" plain drive_groups => whole("", "name", &[]);
    Get "/drive-groups/{name}" "drive-group.show" takes drive_group => One;
    Put "/drive-groups/{name}" "drive-group.add" takes add_drive_group
        => Make { change: Some("drive-group.change") }, by("drive-group.show");
    Delete "/drive-groups/{name}" "drive-group.remove" takes delete_drive_group
        => Does::Delete, by("drive-group.show");
    Put "/clients/{name}/place" "client.place" takes place_client
        => Set, by("client.show");
    Put "/clients/{name}/wake" "client.set-wake" takes set_client_wake
        => Set, by("client.show");
    Post "/clients/{name}/wake" "client.wake" takes wake_client => Act { makes: None };
    "Locations":
    Get "/locations" "location.list" takes list_locations => whole("", "name", &[]);
    Get "/locations/{name}" "location.show" takes location => One;
    Put "/locations/{name}" "location.add" takes add_location
        => Make { change: Some("location.change") }, by("location.show");
    Delete "/locations/{name}" "location.remove" takes delete_location
        => Does::Delete, by("location.show");
    "Commands":
    Get "/commands" "command.list" takes list_commands => whole("", "name", &[]);
    Get "/commands/{name}" "command.show" takes command => One;
    Put "/commands/{name}" "command.add" takes add_command
        => Make { change: Some("command.change") }, by("command.show");
    Delete "/commands/{name}" "command.remove" takes delete_command
        => Does::Delete, by("command.show");
    Post "/commands/{name}/run" "command.run" takes run_command => Job;
    "Notifications":
    Get "/notifications" "notification.list" takes list_notifications => whole("", "name", &[]);
    Get "/notifications/{name}" "notification.show" takes notification => One;
    Put "/notifications/{name}" "notification.add" takes add_notification
        => Make { change: Some("notification.change") }, by("notification.show");
    Delete "/notifications/{name}" "notification.remove" takes delete_notification
        => Does::Delete, by("notification.show");
    Post "/notifications/{name}/test" "notification.test" takes test_notification => Act { makes: None };
    Get "/notification-messages" "notification.messages" takes messages => One;
    "Events":
    Get "/calendars" "calendar.list" takes list_calendars => whole("", "name", &[]);
    Get "/calendars/{name}" "calendar.show" takes calendar => One;
    Put "/calendars/{name}" "calendar.add" takes add_calendar
        => Make { change: Some("calendar.change") }, by("calendar.show");
    Delete "/calendars/{name}" "calendar.remove" takes delete_calendar
        => Does::Delete, by("calendar.show");
    Get "/schedules" "schedule.list" takes list_schedules => whole("", "name", &[]);
    Get "/schedules/{name}" "schedule.show" takes schedule => One;
    Put "/schedules/{name}" "schedule.add" takes add_schedule
        => Make { change: Some("schedule.change") }, by("schedule.show");
    Post "/schedule-trials" "schedule.try" takes try_schedule => Act { makes: None };
    Delete "/schedules/{name}" "schedule.remove" takes delete_schedule
        => Does::Delete, by("schedule.show");
    Get "/plan" "schedule.preview" takes preview => One;
    Get "/events" "event.list" takes list_events => whole("", "name", &[]);
    Get "/events/{name}" "event.show" takes event => One;
    Put "/events/{name}" "event.add" takes add_event
        => Make { change: Some("event.change") }, by("event.show");
    Delete "/events/{name}" "event.remove" takes delete_event => Does::Delete, by("event.show");
    Post "/events/{name}/run" "event.run" takes run_event => Act { makes: None };
    Get "/runs" "run.list" takes runs => turned("", ("before", "run", Next::Same), 100, More::Full);
    "Task groups":
    Get "/task-groups" "task-group.list" takes list_task_groups => whole("", "name", &[]);
    Get "/task-groups/{name}" "task-group.show" takes task_group => One;
    Put "/task-groups/{name}" "task-group.add" takes add_task_group
        => Make { change: Some("task-group.change") }, by("task-group.show");
    Delete "/task-groups/{name}" "task-group.remove" takes delete_task_group
        => Does::Delete, by("task-group.show");
    "Tasks":
    Get "/tasks" "task.list" takes list_tasks => whole("", "name", &["last_state"]);
    Get "/tasks/{name}" "task.show" takes task => One;
    Put "/tasks/{name}" "task.add" takes add_task => Make { change: Some("task.change") }, by("task.show");
    Delete "/tasks/{name}" "task.delete" takes delete_task => Does::Delete, by("task.show");
    Post "/tasks/{task}/run" "task.run" takes run_task => Job;
    Post "/tasks/{task}/drill" "drill.run" takes run_drill => Job;
    Get "/task-health" "task.health" takes task_health => One;
    Post "/tasks/{task}/stream" "stream.start" takes start_stream => Job;
    Post "/backups" "backup" takes backup_paths => Job;
    "Restore drills":
    Get "/drills" "drill.list" takes drills => turned("", ("before", "drill", Next::Same), 100, More::Full);
    Get "/drills/{drill}" "drill.show" takes drill => One;
    Get "/drills/{drill}/evidence" "drill.evidence" takes drill_evidence => One;
    Post "/drill-verifications" "drill.verify" takes verify_drill => Act { makes: None };
    "Stream tokens":
    Get "/stream-tokens" "token.list" takes list_tokens => whole("", "name", &[]);
    Get "/stream-tokens/{name}" "token.show" takes token => One;
    Post "/stream-tokens" "token.create" takes create_token => Act { makes: Some("/stream-tokens/{name}") };
    Put "/stream-tokens/{name}" "token.change" takes change_token => Set, by("token.show");
    Delete "/stream-tokens/{name}" "token.revoke" takes revoke_token
        => Does::Delete, by("token.show");
    "Jobs":
    Get "/jobs" "job.list" takes jobs => turned("", ("before", "job", Next::Same), 100, More::Full);
    Get "/jobs/{job}" "job.show" takes job => One;
    Get "/jobs/{job}/log" "job.log" takes job_log
        => turned("lines", ("from", "position", Next::Following), 1000, More::Full);
    Get "/jobs/{job}/events" "job.follow" tells follow_job => Events;
    Put "/jobs/{job}/hold" "job.hold" takes hold_job => Set;
    Get "/queue" "queue.show" plain queue_view => One;
    Put "/queue/limits" "queue.limit" takes limit_queue => Set;
    Post "/queue/pause" "queue.pause" takes pause_queue => Act { makes: None };
    Post "/queue/resume" "queue.resume" plain resume_queue => Act { makes: None };
    Post "/jobs/{job}/cancel" "job.cancel" takes cancel_job => Act { makes: None };
    "Savesets":
    Get "/savesets" "saveset.list" takes savesets => whole("", "saveset", &["level", "outcome", "state"]);
    Get "/savesets/{saveset}" "saveset.show" takes saveset => One;
    Get "/savesets/{saveset}/entries" "saveset.ls" takes ls
        => turned("entries", ("after", "path", Next::Name), 10000, More::Field("more"));
    Get "/savesets/{saveset}/find" "saveset.find" takes find
        => turned("entries", ("after", "path", Next::Same), 1000, More::Field("more"));
    Get "/savesets/{from}/changes/{to}" "saveset.diff" takes diff
        => turned("changes", ("after", "path", Next::Same), 10000, More::Field("more"));
    Post "/savesets/{saveset}/restore" "restore" takes restore => Job;
    Post "/savesets/{saveset}/verify" "datastore.verify" takes verify => Job;
    Get "/saveset-references/{reference}" "saveset.resolve" takes resolve_saveset => One;
    Get "/search" "search" takes search => One;
    Get "/history" "search.history" takes file_history => One;
    Post "/search/rebuild" "search.rebuild" plain rebuild_search => Act { makes: None };
    Get "/savesets/{saveset}/why" "saveset.why" takes why_saveset => One;
    Put "/savesets/{saveset}/keep" "saveset.keep" takes keep_saveset => Set;
    Put "/savesets/{saveset}/hold" "saveset.hold" takes hold_saveset => Set;
    Put "/savesets/{saveset}/lock" "saveset.lock" takes lock_saveset => Set;
    Post "/deletions" "saveset.delete" takes delete_savesets => Act { makes: None };
    "Retention":
    Get "/pools" "pool.list" takes list_pools => whole("", "name", &[]);
    Get "/pools/{name}" "pool.show" takes pool => One;
    Put "/pools/{name}" "pool.add" takes add_pool => Make { change: Some("pool.change") }, by("pool.show");
    Delete "/pools/{name}" "pool.remove" takes delete_pool => Does::Delete, by("pool.show");
    Get "/pools/{pool}/simulation" "retention.simulate" takes simulate_retention => One;
    Post "/retention/run" "retention.run" takes run_retention => Act { makes: None };
    Post "/retention/clock" "retention.confirm-clock" plain confirm_clock => Act { makes: None };
    Get "/approvals" "approval.list" takes approvals => One;
    Get "/approvals/{approval}" "approval.show" takes approval => One;
    Post "/approvals/{approval}/approve" "approval.approve" takes approve => Act { makes: None };
    Post "/approvals/{approval}/reject" "approval.reject" takes reject => Act { makes: None };
    "Replications":
    Get "/replications" "replication.list" plain replications => whole("", "name", &["source", "target"]);
    Get "/replications/{name}" "replication.show" takes replication => One;
    Put "/replications/{name}" "replication.add" takes add_replication
        => Make { change: Some("replication.change") }, by("replication.show");
    Delete "/replications/{name}" "replication.remove" takes delete_replication
        => Does::Delete, by("replication.show");
    Post "/replications/{name}/run" "replication.run" takes run_replication => Job;
    Post "/replications/{name}/heal" "replication.heal" takes heal => Job;
    Get "/migrations" "migration.list" plain migrations => whole("", "name", &["source", "target"]);
    Get "/migrations/{name}" "migration.show" takes migration => One;
    Put "/migrations/{name}" "migration.add" takes add_migration
        => Make { change: Some("migration.change") }, by("migration.show");
    Delete "/migrations/{name}" "migration.remove" takes delete_migration
        => Does::Delete, by("migration.show");
    Post "/migrations/{name}/run" "migration.run" takes run_migration => Job;
    "Keys":
    Get "/keys/domains" "key.domains" plain domains
        => whole("", "domain", &["datastore", "owner", "key_held_by"]);
    Post "/keys/domains" "key.domain" takes create_domain => Act { makes: None };
    Post "/keys/kit" "key.kit" plain create_kit => Act { makes: None };
    Get "/keys/kit/question" "key.question" plain kit_question => One;
    Post "/keys/kit/proof" "key.prove" takes prove_kit => Act { makes: None };
    "Users":
    Post "/welcome" "user.welcome" plain welcome => Act { makes: None };
    Get "/users" "user.list" takes list_users => whole("", "name", &[]);
    Get "/users/{name}" "user.show" takes user => One;
    Put "/users/{name}" "user.add" takes add_user => Make { change: Some("user.change") }, by("user.show");
    Put "/users/{name}/password" "user.password" takes set_password => Set;
    Put "/users/{name}/one-time" "user.one-time" takes set_one_time => Set;
    Post "/users/{name}/log-out" "user.log-out" takes log_out_user => Act { makes: None };
    Get "/sessions" "session.list" plain sessions => whole("", "session", &["user"]);
    Get "/sessions/{session}" "session.list" plain sessions => Pick, among("session.list", "", "session");
    Delete "/sessions/{session}" "session.end" takes end_session
        => Does::Delete, among("session.list", "", "session");
    Delete "/users/{name}" "user.remove" takes delete_user => Does::Delete, by("user.show");
    Get "/identity-providers" "identity-provider.list" plain identity_providers => whole("", "name", &["enabled"]);
    Get "/identity-providers/{name}" "identity-provider.show" takes identity_provider => One;
    Put "/identity-providers/{name}" "identity-provider.add" takes add_identity_provider
        => Make { change: Some("identity-provider.change") }, by("identity-provider.show");
    Delete "/identity-providers/{name}" "identity-provider.remove" takes delete_identity_provider
        => Does::Delete, by("identity-provider.show");
    Post "/identity-providers/{name}/test" "identity-provider.test" takes test_identity_provider => Act { makes: None };
    Get "/roles" "role.list" plain roles => whole("", "role", &[]);
    Get "/roles/{role}" "role.list" plain roles => Pick, among("role.list", "", "role");
    Get "/api-tokens" "api-token.list" takes list_api_tokens => whole("", "name", &[]);
    Get "/api-tokens/{name}" "api-token.show" takes api_token => One;
    Post "/api-tokens" "api-token.create" takes create_api_token => Act { makes: Some("/api-tokens/{name}") };
    Put "/api-tokens/{name}" "api-token.change" takes change_api_token => Set, by("api-token.show");
    Delete "/api-tokens/{name}" "api-token.revoke" takes revoke_api_token
        => Does::Delete, by("api-token.show");
    "Ports":
    Get "/ports/plan" "ports.plan" plain port_plan => One;
    Get "/ports/hosts" "ports.hosts" plain check_hosts => whole("", "name", &[]);
    Get "/ports/last" "ports.last" plain probes_kept => One;
    Post "/ports/probe" "ports.probe" takes probe_ports => Act { makes: None };
    "Audit and catalog":
    Get "/audit" "audit.list" takes audit
        => turned("rows", ("after", "position", Next::Same), 1000, More::Full);
    Get "/audit/verification" "audit.verify" plain verify_audit => One;
    Post "/catalog/rebuild" "catalog.rebuild" takes rebuild_catalog => Act { makes: None };
}
