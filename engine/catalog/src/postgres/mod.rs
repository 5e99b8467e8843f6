//! The catalog on a server of PostgreSQL.
//!
//! | what | held by |
//! |---|---|
//! | where it lies, and how the way there is protected | [`PostgresPlace`] |
//! | one Server per catalog | a lock of the writing session, and a count of takings: `fence` |
//! | one writer | a mutex, and a lock on the fence's row in each transaction: `connections` |
//! | readers beside it | a few reading connections; each read sees one moment |
//! | an acknowledged write is durable | `synchronous_commit` is never off: `fence` |

mod connections;
mod fence;
mod password;
mod place;

pub(crate) use connections::PgConnections;
pub use place::PostgresPlace;
