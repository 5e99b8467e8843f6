//! The audit log.

use crate::api::{AuditListReply, AuditListRequest, AuditVerifyReply};
use crate::audit_head;
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// Rows of the log, oldest first.
    pub async fn audit(
        &self,
        who: &Principal,
        request: AuditListRequest,
    ) -> Result<AuditListReply, ServerError> {
        self.may_see(who, Right::Audit, "read the audit log of", Object::Suite).await?;
        let limit = if request.limit == 0 { 1000 } else { request.limit };
        let rows = self
            .house
            .books
            .run(move |catalog| {
                let mut after = request.after;
                if request.newest {
                    // Positions have no gaps.
                    let end = catalog.audit_head()?.position;
                    after = after.max(end.saturating_sub(u64::from(limit)));
                }
                catalog.audit(after, limit)
            })
            .await?;
        Ok(AuditListReply { rows })
    }

    /// Follows the chain, and holds it against the end that was kept beside the catalog.
    pub async fn verify_audit(&self, who: &Principal) -> Result<AuditVerifyReply, ServerError> {
        self.may_see(who, Right::Audit, "verify the audit log of", Object::Suite).await?;
        let kept = audit_head::kept(&self.house).await?;
        let (finding, head) = self
            .house
            .books
            .run(move |catalog| {
                // The end first: what is added meanwhile does not matter.
                let head = catalog.audit_head()?;
                Ok((catalog.verify_audit(kept.as_ref())?, head))
            })
            .await?;
        Ok(AuditVerifyReply {
            holds: finding.is_none(),
            rows: head.position,
            finding: finding.map(|finding| finding.to_string()),
        })
    }
}
