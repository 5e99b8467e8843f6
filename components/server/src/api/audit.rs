//! The audit log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_catalog::AuditRow;

/// Reads the log, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuditListRequest {
    /// Only rows after this position.
    pub after: u64,
    /// 0: 1000.
    pub limit: u32,
    /// Where more rows than `limit` come after `after`: the newest of them, and not the oldest.
    pub newest: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditListReply {
    pub rows: Vec<AuditRow>,
}

/// Whether the chain holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditVerifyReply {
    pub holds: bool,
    /// Rows in the chain.
    pub rows: u64,
    /// The first row that was removed, changed or moved.
    pub finding: Option<String>,
}
