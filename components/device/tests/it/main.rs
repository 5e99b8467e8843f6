//! A device and a client in one process, with a real data port between them.

mod bench;
mod checks;
mod copies;
mod datastores;
mod deletions;
mod golden;
mod healing;
mod hostile;
mod keys;
mod lying_copies;
mod pair;
mod round_trip;
mod silent;
mod streams;
mod transfers;
