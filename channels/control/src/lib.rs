//! The control channel: how a server tells clients and devices what to do.

pub mod verbs;
mod wire;
