//! The mover against a datastore in memory that refuses what a device would refuse.

mod changes;
mod choosing;
mod hostile;
mod links;
mod listing;
mod looking;
mod memory;
mod round_trip;
mod twins;
