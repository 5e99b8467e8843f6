//! The device: holds datastores, and takes and gives backup data.
//!
//! A server tells it over the control channel which datastores to serve and which transfers to
//! expect; a client then comes with the ticket to a data port. [`Device`] stands behind both: it
//! answers the verbs, and it is the handler behind every data listener. Only the server deletes
//! savesets, by a verb; no transfer can, and none sees more than the domain of its ticket.
//!
//! `shelf` keeps the datastores and their list; `grants` the tickets; `session` is a transfer at
//! work; `streams` cuts, seals and opens plain streams here; `manifests` and
//! `check` answer the longer verbs; `copies` dials another device and copies savesets from one
//! datastore to the other, as fast as `pace` lets it. `deletion` deletes savesets; `prove` checks them one by one. `rates` takes in how fast all transfers may go.

mod check;
mod copies;
mod deletion;
mod device;
mod error;
mod grants;
mod manifests;
mod pace;
mod prove;
mod rates;
mod session;
mod shelf;
mod streams;
mod transfers;

pub use device::{Device, DeviceOptions};
pub use error::DeviceError;
pub use shelf::listed_drives;
