//! Making the catalog's savesets, and a datastore's index, again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::RebuildReport;

/// Makes saveset rows again from the manifests in datastores.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CatalogRebuildRequest {
    /// `None`: every datastore.
    pub datastore: Option<String>,
    /// The recovery kit, for domains whose key this Server does not have.
    pub kit: Option<String>,
}

impl std::fmt::Debug for CatalogRebuildRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatalogRebuildRequest")
            .field("datastore", &self.datastore)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogRebuildReply {
    pub datastores: Vec<RebuiltDatastore>,
}

/// What became of one datastore's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RebuiltDatastore {
    pub datastore: String,
    #[serde(flatten)]
    pub rows: RebuildReport,
    /// Domains that were not known before.
    pub domains_found: u64,
    /// Manifests that could not be read, with the reason.
    pub damaged: Vec<String>,
}

/// Makes a datastore's index again from its packs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RebuildIndexRequest {
    /// `None`: the only one there is.
    pub datastore: Option<String>,
}

/// Removes what no saveset of a datastore needs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollectGarbageRequest {
    /// `None`: the only one there is.
    pub datastore: Option<String>,
    /// Leave to remove more than one collection may by itself.
    pub over_budget: bool,
}
