//! The network's room, with real sockets.

mod dialling;
mod listening;
mod mux;
mod patient;
