//! The second person: acts that wait, and the word that is given.

use serde_json::Value;
use simsim_catalog::{Approval, ApprovalState};

use crate::api::{ApprovalListRequest, ApprovalRequest, ApprovalView, ApprovalWordRequest};
use crate::clock::now_unix_ms;
use crate::retention::{self, carry_out};
use crate::rights::{Object, Principal, Right, person_of};
use crate::{Server, ServerError};

/// A note of a second person.
const NOTE_BYTES_MAX: usize = 4096;

impl Server {
    /// Acts that wait for a second person, the newest first; or all that ever did.
    pub async fn approvals(
        &self,
        who: &Principal,
        request: ApprovalListRequest,
    ) -> Result<Vec<ApprovalView>, ServerError> {
        self.may_see(who, Right::View, "list approvals", Object::Suite).await?;
        let open = !request.all;
        let found = self.house.books.run(move |catalog| catalog.approvals(open)).await?;
        let now = now_unix_ms();
        let views = found.into_iter().map(|one| view(one, now));
        Ok(views.filter(|one| request.all || one.state == "open").collect())
    }

    /// One of them, with its exact content.
    pub async fn approval(
        &self,
        who: &Principal,
        request: ApprovalRequest,
    ) -> Result<ApprovalView, ServerError> {
        self.may_see(who, Right::View, "see an approval", Object::Suite).await?;
        self.approval_view(request.approval).await
    }

    /// Approves an act that another principal asked for, and does it, in one step.
    ///
    /// Errors: `Denied` for the one who asked, for another digest and after its end; those of the act,
    /// which is weighed anew.
    pub async fn approve(
        &self,
        who: &Principal,
        request: ApprovalWordRequest,
    ) -> Result<ApprovalView, ServerError> {
        let number = request.approval;
        let verb = "approval.approve";
        self.may_see(who, Right::Approve, verb, Object::Suite).await?;
        let there = self.approval_view(number).await?;
        let detail = detail(&there);
        self.may_do(who, Right::Approve, verb, Object::Suite, detail).await?;
        let ApprovalWordRequest { digest, note, .. } = request;
        check_note(&note)?;
        let done = retention::keep(&self.house, who, number, digest, note, true).await?;
        let mut stores: Vec<_> = done.deletions.iter().map(|(_, store)| *store).collect();
        stores.sort_unstable();
        stores.dedup();
        for store in stores {
            if let Err(error) = carry_out(&self.house, store).await {
                let error = error.full_message();
                tracing::warn!(%error, "what was approved is deleted as soon as the device is told");
            }
        }
        self.approval_view(number).await
    }

    /// Rejects an act. Whoever asked for it may do so too.
    pub async fn reject(
        &self,
        who: &Principal,
        request: ApprovalWordRequest,
    ) -> Result<ApprovalView, ServerError> {
        let number = request.approval;
        let verb = "approval.reject";
        let found = self.approval_view(number).await;
        match &found {
            Ok(own) if person_of(&own.asked_by) == person_of(who.name()) => {}
            _ => self.may_see(who, Right::Approve, verb, Object::Suite).await?,
        }
        let detail = detail(&found?);
        self.write_down(who, verb, Object::Suite.to_string(), true, detail).await?;
        let ApprovalWordRequest { digest, note, .. } = request;
        check_note(&note)?;
        retention::keep(&self.house, who, number, digest, note, false).await?;
        self.approval_view(number).await
    }

    pub(crate) async fn approval_view(&self, number: u64) -> Result<ApprovalView, ServerError> {
        let found = self.house.books.run(move |catalog| catalog.approval(number)).await?;
        Ok(view(found, now_unix_ms()))
    }
}

fn detail(approval: &ApprovalView) -> String {
    let digest: String = approval.digest.chars().take(16).collect();
    format!(
        "approval {}, asked by {}, digest {digest}: {}",
        approval.approval, approval.asked_by, approval.about
    )
}

fn check_note(note: &str) -> Result<(), ServerError> {
    match note.len() <= NOTE_BYTES_MAX {
        true => Ok(()),
        false => Err(ServerError::invalid(format!("a note has at most {NOTE_BYTES_MAX} bytes"))),
    }
}

fn view(approval: Approval, now_unix_ms: i64) -> ApprovalView {
    let expired = approval.state == ApprovalState::Open && approval.expires_unix_ms <= now_unix_ms;
    ApprovalView {
        approval: approval.number,
        verb: approval.verb,
        about: approval.about,
        act: serde_json::from_str(&approval.request).unwrap_or(Value::String(approval.request)),
        digest: approval.digest,
        asked_by: approval.asked_by,
        asked_unix_ms: approval.asked_unix_ms,
        expires_unix_ms: approval.expires_unix_ms,
        state: if expired { "expired" } else { approval.state.as_str() }.to_owned(),
        decided_by: approval.decided_by,
        decided_unix_ms: approval.decided_unix_ms,
        note: approval.note,
    }
}
