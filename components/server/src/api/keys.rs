//! The recovery kit, and who holds domain keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use simsim_model::DomainId;

/// A new recovery kit, shown once.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct KitReply {
    /// `server` or `client`: whose keys it opens.
    pub of: String,
    /// That host's name, and the fingerprint of a server's key.
    pub name: String,
    #[serde(default)]
    pub fingerprint: Option<String>,
    /// Eleven groups of letters and digits.
    pub groups: Vec<String>,
    /// Numbers (from 1) of the groups that `kit prove` asks for.
    pub asked: Vec<usize>,
    /// Domains whose keys it opens.
    pub domains: u64,
    /// Datastores that could not be reached: their copy follows when they are.
    pub pending: Vec<String>,
}

impl std::fmt::Debug for KitReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KitReply").field("domains", &self.domains).finish_non_exhaustive()
    }
}

/// Shows that the kit was kept: the groups that were asked for, as typed.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KitProofRequest {
    pub groups: Vec<String>,
}

impl std::fmt::Debug for KitProofRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KitProofRequest(…)")
    }
}

/// Answer to a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KitProofReply {
    pub proven: bool,
    /// After a wrong answer: the groups that are asked for now.
    pub asked: Vec<usize>,
}

/// Decides, before the first backup, who holds the key of a client's domain in a datastore.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDomainRequest {
    pub client: String,
    #[serde(default)]
    pub datastore: Option<String>,
    /// The client alone holds the key: the Server never has it, and cannot list or restore to
    /// others.
    #[serde(default)]
    pub held_by_client: bool,
}

/// One dedup domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DomainView {
    pub domain: DomainId,
    pub datastore: String,
    pub owner: Option<String>,
    /// `server`, `client` or `nobody`.
    pub key_held_by: String,
    pub created_unix_ms: i64,
    /// Only of a key that the client holds, once the Server has looked at it there.
    #[serde(default)]
    pub held: Option<HeldKeyView>,
}

/// A key that a client holds alone, as it was seen there last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeldKeyView {
    /// The client does not hold it any more.
    pub lost: bool,
    /// When the client's recovery kit was shown to be kept; `None`: not yet.
    pub kit_proven_unix_ms: Option<i64>,
    /// Where the kit's pages lie on the client's host.
    pub kit_pages: Vec<String>,
}

/// Brings keys back to a client that lost them.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRecoverRequest {
    /// The client's recovery kit: its groups.
    pub kit: String,
}

impl std::fmt::Debug for KeyRecoverRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRecoverRequest(…)")
    }
}

/// What a kit brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRecoverReply {
    pub brought: u64,
    /// Keys that were held all the time.
    pub held: u64,
    /// Domains that this kit does not open.
    pub sealed: u64,
}
