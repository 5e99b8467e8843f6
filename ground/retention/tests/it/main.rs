//! Savesets and policies as a server uses them.

mod clock;
mod decide;
mod pages;
mod policy;
mod properties;
mod ret;
mod sample;
mod zones;
