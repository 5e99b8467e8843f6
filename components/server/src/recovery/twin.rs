//! Another server of this identity: a lost one that was not lost, or one that came back somewhere else.
//!
//! Hosts cannot tell the two apart by their key. So each is told when its server came back last, and
//! remembers the newest; the server that was replaced hears that, takes its hands off, and says so.

use simsim_catalog::{Catalog, CatalogError};
use simsim_control::verbs::ServerRecovered;
use simsim_model::Kind;

use super::after::Mark;
use crate::ServerError;
use crate::books::Books;
use crate::clock::now_unix_ms;
use crate::jobs::{Paused, QueueRules};
use crate::nodes::Line;

/// Asks the host at the other end whether it heard of a later server of this identity.
///
/// # Errors
/// `Denied` where it did; then the queue is paused, too. `Unreachable`.
pub(crate) async fn ask_witness(books: &Books, line: &Line) -> Result<(), ServerError> {
    let own = books.run(Mark::read).await?.map_or(0, |mark| mark.recovered_unix_ms);
    let own = u64::try_from(own).unwrap_or(0);
    let newest = match line.call(ServerRecovered { recovered_unix_ms: own }).await {
        Ok(reply) => reply.newest_unix_ms,
        Err(error) if error.kind() == Kind::Unreachable => return Err(error),
        // A host of an earlier version, or one with a full disk, bears no witness.
        Err(error) => {
            tracing::debug!(%error, "no witness");
            return Ok(());
        }
    };
    if newest <= own {
        return Ok(());
    }
    let paused = books.run(pause).await?;
    if paused {
        tracing::error!(
            "another server of this identity came back from a backup: this one is paused"
        );
    }
    let at = crate::retention::instant(i64::try_from(newest).unwrap_or(i64::MAX));
    Err(line.refused(format!(
        "another server of this identity came back from a backup at {at:.0} and has taken the place of this one: \
         stop this one for good (docs/reference/recover.md)"
    )))
}

/// Nothing that waits here shall run. Whether it was not paused before.
fn pause(catalog: &Catalog) -> Result<bool, CatalogError> {
    let mut rules = QueueRules::read(catalog)?;
    if rules.paused.is_some() {
        return Ok(false);
    }
    rules.paused = Some(Paused {
        by: "server".to_owned(),
        since_unix_ms: now_unix_ms(),
        why: "another server of this identity has taken its place".to_owned(),
    });
    rules.keep(catalog)?;
    Ok(true)
}
