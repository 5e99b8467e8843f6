//! A device and a client in one process, with a real data port between them.

mod bench;
mod checks;
mod datastores;
mod golden;
mod healing;
mod hostile;
mod keys;
mod round_trip;
mod silent;
mod streams;
mod transfers;
