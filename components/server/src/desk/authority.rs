//! The certificate authority: shown, rotated, its rotation ended.

use std::sync::Arc;
use std::time::Duration;

use crate::api::{AuthorityRequest, AuthorityTransition, AuthorityView};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError, authority, certificates};

/// So long an answer waits for hosts to take their new certificates; the others get them all the same.
const HOSTS_PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// What others' tools must trust, and whether all hosts show it.
    pub async fn authority(&self, who: &Principal) -> Result<AuthorityView, ServerError> {
        self.may_see(who, Right::View, "see the authority of", Object::Suite).await?;
        self.authority_view().await
    }

    /// Makes another authority. Hosts that are reached show its certificates when this returns, or soon
    /// after; unless `now` is said, tools that trust the one before go on.
    ///
    /// Errors: `Denied` when a transition is under way and `now` is not said.
    pub async fn rotate_authority(
        &self,
        who: &Principal,
        request: AuthorityRequest,
    ) -> Result<AuthorityView, ServerError> {
        let how = if request.now { "without a transition" } else { "with a transition" };
        let (right, verb) = (Right::Administer, "authority.rotate");
        self.may_do(who, right, verb, Object::Suite, how).await?;
        authority::rotate(&self.house, request.now).await?;
        self.renew_certificates().await;
        self.authority_view().await
    }

    /// Ends the transition: tools that trust only the authority before are refused from now on.
    ///
    /// Errors: `Denied` when hosts are behind and `now` is not said, and when there is no transition.
    pub async fn finish_authority(
        &self,
        who: &Principal,
        request: AuthorityRequest,
    ) -> Result<AuthorityView, ServerError> {
        let (right, verb) = (Right::Administer, "authority.finish");
        let how = if request.now { "whoever is behind" } else { "" };
        self.may_do(who, right, verb, Object::Suite, how).await?;
        let behind = certificates::behind(&self.house).await?;
        if !behind.is_empty() && !request.now {
            return Err(ServerError::Refused(format!(
                "not reached since the rotation, and still with certificates of the former authority: {}; \
                 they get new ones when they are reached, or say --now",
                behind.join(", ")
            )));
        }
        authority::finish(&self.house).await?;
        self.renew_certificates().await;
        self.authority_view().await
    }

    async fn authority_view(&self) -> Result<AuthorityView, ServerError> {
        let signing = authority::signing(&self.house).await?;
        let transition = signing.transition().map(|transition| {
            Ok::<_, ServerError>(AuthorityTransition {
                former_fingerprint: authority::fingerprint(&transition.former)?,
                begun_unix_ms: transition.begun_unix_ms,
                ends_unix_ms: transition.ends_unix_ms,
            })
        });
        Ok(AuthorityView {
            certificate: signing.bundle(),
            fingerprint: authority::fingerprint(signing.certificate())?,
            transition: transition.transpose()?,
            behind: certificates::behind(&self.house).await?,
        })
    }

    /// Gives every host that is reached a certificate of the authority that signs now.
    async fn renew_certificates(&self) {
        let (house, stop) = (Arc::clone(&self.house), self.house.stop.clone());
        let renewing = self.house.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                looked = certificates::look_after_all(&house) => {
                    if let Err(error) = looked {
                        let error = error.full_message();
                        tracing::warn!(%error, "certificates could not be looked after");
                    }
                }
            }
        });
        // It goes on where it takes longer.
        let _ = tokio::time::timeout(HOSTS_PATIENCE, renewing).await;
    }
}
