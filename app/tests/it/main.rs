//! The binary as a user runs it.

mod certificates;
mod cli;
mod ctrl;
mod daemons;
mod documents;
mod families;
mod flushes;
mod ftp;
mod hosts;
mod identity;
mod interfaces;
mod memory;
mod outbound;
mod own_keys;
mod ports;
mod quickstart;
mod recovery;
mod refusals;
mod replications;
mod restarts;
mod scenarios;
mod services;
mod sessions;
mod streams;
mod tls_keys;
mod trees;
