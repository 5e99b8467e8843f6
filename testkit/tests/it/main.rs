//! The testkit held to its word: a tool that misses a difference hides a loss.

mod children;
mod compare;
mod faults;
mod nasty;
mod network;
mod random;
