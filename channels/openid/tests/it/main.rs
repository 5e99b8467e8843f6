//! Providers that mean harm, or answer what nobody should: a TLS server of the tests that says whatever a test wants. That good
//! answers of a real provider are taken, the suite's tests with a browser show.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod hostile;
mod idp;
