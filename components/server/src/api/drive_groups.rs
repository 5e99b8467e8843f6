//! Drive groups: names for drives, of which jobs use whichever is free.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adds a group, or gives one these drives and no others.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriveGroupRequest {
    pub name: String,
    /// Numbers of drives, of any datastores; at least one. A drive is in one group at most.
    pub drives: Vec<u32>,
}

/// Names a drive group.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriveGroupNameRequest {
    pub name: String,
}

/// One drive group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriveGroupView {
    pub name: String,
    /// By number.
    pub drives: Vec<GroupDriveView>,
    /// Names of the tasks that use it.
    pub tasks: Vec<String>,
    pub created_unix_ms: i64,
}

/// A drive as a member of its group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupDriveView {
    pub number: u32,
    pub datastore: String,
    /// The host of the datastore.
    pub node: String,
    /// Jobs that it takes at once.
    pub jobs_max: u32,
}
