//! The mover against a datastore in memory that refuses what a device would refuse.

mod changes;
mod choosing;
mod failover;
mod hostile;
mod killed;
mod lies;
mod limits;
mod links;
mod listing;
mod looking;
mod memory;
mod names;
mod proofs;
mod round_trip;
mod twins;
