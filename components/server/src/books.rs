//! The catalog for asynchronous callers: each call runs on a thread for blocking work.

use simsim_catalog::{AuditEntry, Catalog, CatalogError};

use crate::ServerError;
use crate::clock::now_unix_ms;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    catalog: Catalog,
}

impl Books {
    pub(crate) fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }

    /// The catalog itself, for callers that may block.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Runs `ask` where it may block. Once begun, it ends even if the caller goes away.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Catalog) -> Result<T, CatalogError> + Send + 'static,
    ) -> Result<T, ServerError> {
        let catalog = self.catalog.clone();
        match tokio::task::spawn_blocking(move || ask(&catalog)).await {
            Ok(answer) => answer.map_err(ServerError::from),
            Err(error) => Err(ServerError::Lost(error.to_string())),
        }
    }

    /// Writes an act into the audit log. An act that cannot be written down is not done: callers
    /// write first.
    pub(crate) async fn audit(&self, entry: AuditEntry) -> Result<(), ServerError> {
        self.run(move |catalog| catalog.add_audit(&entry, now_unix_ms())).await.map(drop)
    }
}
