//! Keys: the master key in its files, the domain keys sealed by it, and the recovery kit.
//!
//! ```text
//! master key ──► seals domain keys, join secrets and the kit in the catalog
//!            ──► keys the audit chain
//!            ──► has a slot at every domain key that the Server holds   ┐ in the datastore,
//! kit        ──► has a slot there too                                   ┘ beside the data
//! ```
//! So a lost catalog comes back from the datastores and the master key, and a lost Server from
//! a datastore and the kit. A key that a client holds alone passes none of these hands; `held` looks
//! whether it is still there, and whether its own kit was shown to be kept.

mod domain_keys;
mod held;
mod kit;
mod master;

pub(crate) use domain_keys::{DomainKeys, bring_slots, wrap_for_kits};
pub(crate) use held::{
    HeldKeysSeen, look_after_held, seen as held_keys_seen, seen_in as held_keys_seen_in,
};
pub(crate) use kit::KitStore;
pub(crate) use master::{MasterKey, is_master_key};
