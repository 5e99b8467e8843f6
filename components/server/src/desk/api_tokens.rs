//! API tokens one by one.

use simsim_catalog::Catalog;

use super::people::token_view;
use crate::api::{ApiTokenNameRequest, ApiTokenView};
use crate::rights::{Object, Principal, Right};
use crate::{Server, ServerError};

impl Server {
    /// One API token.
    pub async fn api_token(
        &self,
        who: &Principal,
        request: ApiTokenNameRequest,
    ) -> Result<ApiTokenView, ServerError> {
        self.may_see(who, Right::People, "see API tokens of", Object::Suite).await?;
        let read = move |catalog: &Catalog| {
            Ok((catalog.api_token(&request.name)?, catalog.approvals(true)?))
        };
        let (token, approvals) = self.house.books.run(read).await?;
        token_view(token, &approvals)
    }
}
