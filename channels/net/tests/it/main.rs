//! The network's room, with real sockets.

mod defaults;
mod dialling;
mod listening;
mod mux;
mod patient;
