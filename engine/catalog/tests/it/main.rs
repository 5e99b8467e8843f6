//! The catalog on real databases: one binary, a room per promise.
//!
//! What the catalog promises is one suite, and stands in `suite`. It is run twice: on SQLite with a
//! real disk, and on a real server of PostgreSQL, where there is one. What only one of them can do
//! or suffer stands beside it.

mod fixture;
mod on_postgres;
mod on_sqlite;
