//! Which right each verb needs, whatever it is about: who does not hold it for anything at all is refused
//! before the verb is looked at. For what exactly it is needed, the verb itself says.

use simsim_catalog::AuditEntry;

use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

/// The right that a verb needs; `None`: everybody who is known may ask it. A verb that does not stand here
/// needs the widest one, until somebody writes down which.
pub fn right_needed(verb: &str) -> Option<Right> {
    Some(match verb {
        "who" | "me.password" | "me.one-time" | "session.list" | "session.end" | "user.log-out" => {
            return None;
        }
        "status"
        | "trends"
        | "report.show"
        | "client.list"
        | "client.show"
        | "interface.list"
        | "interface.show"
        | "interface.authority"
        | "rate.list"
        | "datastore.list"
        | "datastore.damage"
        | "drive.list"
        | "drive.show"
        | "drive-group.list"
        | "drive-group.show"
        | "location.list"
        | "location.show"
        | "command.list"
        | "notification.list"
        | "notification.show"
        | "notification.messages"
        | "identity-provider.list"
        | "identity-provider.show"
        | "command.show"
        | "drill.list"
        | "drill.show"
        | "drill.evidence"
        | "drill.verify"
        | "task.health"
        | "calendar.list"
        | "calendar.show"
        | "schedule.list"
        | "schedule.show"
        | "schedule.try"
        | "schedule.preview"
        | "event.list"
        | "event.show"
        | "run.list"
        | "task-group.list"
        | "task-group.show"
        | "queue.show"
        | "task.list"
        | "task.show"
        | "token.list"
        | "token.show"
        | "job.list"
        | "job.show"
        | "job.log"
        | "job.follow"
        | "saveset.list"
        | "saveset.show"
        | "saveset.resolve"
        | "saveset.why"
        | "pool.list"
        | "pool.show"
        | "approval.list"
        | "approval.show"
        | "replication.list"
        | "replication.show"
        | "migration.list"
        | "migration.show"
        | "key.domains"
        | "ports.plan"
        | "ports.hosts"
        | "ports.last"
        | "role.list" => Right::View,
        "saveset.ls" | "saveset.find" | "saveset.diff" | "search" | "search.history" => {
            Right::Browse
        }
        "task.run" | "stream.start" | "backup" | "job.cancel" | "job.hold" | "event.run"
        | "command.run" | "client.wake" | "replication.run" | "migration.run" => Right::Backup,
        "restore" | "drill.run" => Right::Restore,
        "datastore.verify"
        | "datastore.rebuild-index"
        | "datastore.collect"
        | "datastore.scrub"
        | "replication.heal"
        | "ports.probe"
        | "queue.pause"
        | "queue.resume"
        | "search.rebuild"
        | "catalog.rebuild" => Right::Maintain,
        "client.join-code"
        | "client.revoke"
        | "client.addresses"
        | "client.set"
        | "client.rotate-key"
        | "authority.rotate"
        | "authority.finish"
        | "interface.set"
        | "interface.choose"
        | "rate.add"
        | "rate.remove"
        | "datastore.create"
        | "datastore.attach"
        | "datastore.detach"
        | "datastore.remove"
        | "drive.add"
        | "drive.change"
        | "drive.remove"
        | "drive-group.add"
        | "location.add"
        | "location.change"
        | "location.remove"
        | "client.place"
        | "client.set-wake"
        | "command.add"
        | "notification.add"
        | "notification.change"
        | "notification.remove"
        | "notification.test"
        | "command.change"
        | "command.remove"
        | "calendar.add"
        | "calendar.change"
        | "calendar.remove"
        | "schedule.add"
        | "schedule.change"
        | "schedule.remove"
        | "event.add"
        | "event.change"
        | "event.remove"
        | "task-group.add"
        | "task-group.change"
        | "task-group.remove"
        | "queue.limit"
        | "drive-group.change"
        | "drive-group.remove"
        | "task.add"
        | "task.change"
        | "task.delete"
        | "token.create"
        | "token.change"
        | "token.revoke"
        | "replication.add"
        | "replication.change"
        | "replication.remove"
        | "migration.add"
        | "migration.change"
        | "migration.remove"
        | "pool.add"
        | "pool.change"
        | "pool.remove"
        | "saveset.keep"
        | "saveset.hold"
        | "saveset.lock"
        | "retention.confirm-clock" => Right::Administer,
        "saveset.delete" => Right::Delete,
        "approval.approve" => Right::Approve,
        // Whoever asked for an act may take it back, and whoever sees may ask what would go; the verbs
        // themselves say the rest.
        "approval.reject" | "retention.simulate" | "retention.run" => Right::View,
        "key.kit" | "key.question" | "key.prove" | "key.domain" => Right::Keys,
        "audit.list" | "audit.verify" => Right::Audit,
        "user.welcome"
        | "user.add"
        | "user.list"
        | "user.show"
        | "user.change"
        | "user.password"
        | "user.one-time"
        | "user.remove"
        | "identity-provider.add"
        | "identity-provider.change"
        | "identity-provider.test"
        | "identity-provider.remove"
        | "api-token.create"
        | "api-token.change"
        | "api-token.list"
        | "api-token.show"
        | "api-token.revoke" => Right::People,
        _ => Right::Administer,
    })
}

impl Server {
    /// Refuses who does not hold the right that a verb needs, for anything, and writes that down.
    pub(crate) async fn may_ask(&self, who: &Principal, verb: &str) -> Result<(), ServerError> {
        let Some(right) = right_needed(verb) else { return Ok(()) };
        if who.holds(right) || !super::VERBS.iter().any(|(known, _)| *known == verb) {
            return Ok(());
        }
        let refusal = ServerError::NotHeld {
            who: who.name().to_owned(),
            verb: verb.to_owned(),
            right: right.as_str(),
        };
        let entry = AuditEntry {
            principal: who.name().to_owned(),
            verb: verb.to_owned(),
            object: Object::Suite.to_string(),
            allowed: false,
            detail: refusal.to_string(),
        };
        self.house.books.audit(entry).await?;
        Err(refusal)
    }
}
