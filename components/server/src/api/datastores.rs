//! Datastores and their drives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::{CutParameters, SavesetId, StoreId};

/// Makes a datastore on a device host, with its first drive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDatastoreRequest {
    pub name: String,
    /// The device host; `None`: the Server's own.
    #[serde(default)]
    pub node: Option<String>,
    /// An empty or absent folder on that host, absolute.
    pub path: String,
    /// Number of its drive; `None`: the next one never used.
    #[serde(default)]
    pub drive: Option<u32>,
    /// Jobs that its drive takes at once; `None`: as configured.
    #[serde(default)]
    pub jobs_max: Option<u32>,
    /// Bounds and mean of chunk sizes, fixed for good; `None`: as is best for mixed files.
    #[serde(default)]
    pub cut: Option<CutParameters>,
}

/// Takes a datastore into service that exists: of another server, of a copy, or moved.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachDatastoreRequest {
    /// The device host; `None`: the Server's own.
    #[serde(default)]
    pub node: Option<String>,
    pub path: String,
}

/// Names a datastore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatastoreRequest {
    pub name: String,
}

/// Adds a drive to a datastore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDriveRequest {
    pub datastore: String,
    #[serde(default)]
    pub number: Option<u32>,
    #[serde(default)]
    pub jobs_max: Option<u32>,
}

/// Changes how many jobs a drive takes at once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeDriveRequest {
    pub number: u32,
    /// 1 to 1000.
    pub jobs_max: u32,
}

/// Names a drive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriveRequest {
    pub number: u32,
}

/// One datastore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DatastoreView {
    pub name: String,
    pub store: StoreId,
    pub node: String,
    pub path: String,
    /// `active` or `detached`.
    pub state: String,
    pub created_unix_ms: i64,
    pub drives: Vec<DriveView>,
    pub savesets: u64,
    /// What the device says; `None` while it is not reached.
    pub device: Option<DeviceView>,
    /// Why the device does not say anything.
    pub trouble: Option<String>,
}

/// Answer to taking a datastore out of service.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DetachReply {
    #[serde(flatten)]
    pub datastore: DatastoreView,
    /// What goes to it or acts on it and fails until it is there again, such as `task 'home'`.
    pub used_by: Vec<String>,
}

/// One drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriveView {
    pub number: u32,
    /// The datastore that it leads to.
    pub datastore: String,
    pub jobs_max: u32,
    /// The drive group that it is in.
    pub group: Option<String>,
}

/// A datastore as its device sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceView {
    /// Of the file system that holds it.
    pub capacity_bytes: u64,
    pub free_bytes: u64,
    pub packs_bytes: u64,
    pub savesets: u64,
    pub chunks: u64,
    /// Its condition in words.
    pub condition: String,
    pub packs: u64,
    /// Packs that no check has seen yet.
    pub packs_never_checked: u64,
    /// Everything else was checked since then.
    pub checked_since_unix_ms: Option<i64>,
}

/// Asks which savesets are known to be damaged.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DamageRequest {
    /// In this datastore; none: in any.
    pub datastore: Option<String>,
}

/// A saveset that is known to be damaged in a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DamageView {
    pub datastore: String,
    pub saveset: SavesetId,
    pub client: String,
    pub task: String,
    /// By the device's clock.
    pub committed_unix_ms: i64,
    /// What is damaged is a copy.
    pub is_copy: bool,
    /// When the check began that found it.
    pub found_unix_ms: i64,
    /// Datastores in which it lies too, not known to be damaged there.
    pub sound_in: Vec<String>,
    /// Replications that can bring what is lost from one of those.
    pub healed_by: Vec<String>,
}
