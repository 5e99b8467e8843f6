//! The client: reads what is to be backed up, and writes what is to be restored.
//!
//! A server asks over the control channel; the client's owner has the last word. [`Policy`] is a
//! file that the owner writes: what may be read, where may be restored, which commands may run.
//! It is read anew for every job and looked at before anything else is opened. A job runs on
//! threads of its own and outlives the session that asked for it; its data goes straight to the
//! device, never through the server.
//!
//! `commands` runs what the policy allows to run, `around` what goes before and after a backup. `client` answers the verbs; `backup`, `restore`, `plan` (a restore that
//! writes nothing), `drill` (one into a `scratch` place, compared there) and `stream` are the jobs; `held_keys` keeps
//! the domain keys that only this host has. What the owner asks of the server goes through `asks`;
//! `own` looks into savesets whose key is held here.

mod addresses;
mod around;
mod asks;
mod backup;
mod client;
mod commands;
mod drill;
mod error;
mod held_keys;
mod own;
mod plan;
mod policy;
mod probe;
mod reading;
mod restore;
mod scratch;
mod stream;

pub use client::{Client, ClientOptions};
pub use error::ClientError;
pub use held_keys::{HeldKeys, KitMade, OwnSlots, Recovered};
pub use plan::run as plan_restore;
pub use policy::{Policy, PolicyCommand};
