//! The command line against a server that runs: real processes, real sockets.

pub mod documents;
mod failures;
mod help;
mod house;
mod jobs;
mod lists;
mod ports;
mod pty;
mod rescue;
mod terminal;
