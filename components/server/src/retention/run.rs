//! One run: the verdict on every saveset, and the decision to delete what is expired.

use simsim_catalog::{Life, LifeBooks, LifeChange, NewDeletion};
use simsim_model::Kind;
use simsim_retention::{Decision, Verdict};

use super::judge::{Judged, label};
use crate::ServerError;
use crate::api::{ExpiredView, RetentionRunReply};
use crate::clock::now_unix_ms;
use crate::house::House;

/// A run lets so many savesets go without asking how many that is of all.
const FREE: usize = 20;

/// Decides on everything, in one transaction. A dry run writes nothing.
///
/// Errors: `Denied` where more than half of all savesets would go, and more than a few (RET03).
pub(crate) async fn decide_all(
    house: &House,
    by: String,
    dry_run: bool,
    over_budget: bool,
) -> Result<RetentionRunReply, ServerError> {
    let decide = move |books: &LifeBooks| {
        let decided = || -> Result<_, ServerError> {
            let judged = Judged::of(books, now_unix_ms())?;
            let decision = judged.verdicts()?;
            let expired = expired(&judged, &decision);
            if !over_budget && !dry_run && is_over_budget(expired.len(), judged.lives.len()) {
                return Err(over(expired.len(), judged.lives.len()));
            }
            let changes = match dry_run {
                true => Vec::new(),
                false => expired.iter().map(|(life, _)| deletion(life, &by)).collect(),
            };
            Ok((reply(&judged, &decision, &expired, dry_run), changes))
        };
        match decided() {
            Ok((reply, changes)) => (Ok(reply), changes),
            Err(error) => (Err(error), Vec::new()),
        }
    };
    let books = &house.books;
    let (mut reply, _) =
        books.run(move |catalog| catalog.change_lives(now_unix_ms(), decide)).await?;
    if let Ok(reply) = &mut reply {
        let names = books.run(|catalog| catalog.datastore_names()).await?;
        for one in &mut reply.expired {
            if let Some(name) = one.datastore.parse().ok().and_then(|store| names.get(&store)) {
                one.datastore.clone_from(name);
            }
        }
    }
    simsim_model::failpoint::hit("server.deletions_decided");
    reply
}

fn is_over_budget(expired: usize, all: usize) -> bool {
    expired > FREE && expired * 2 > all
}

fn over(expired: usize, all: usize) -> ServerError {
    let error = ServerError::Refused(format!(
        "{expired} of {all} savesets would be deleted, more than a run does by itself: look with \
         'simsim retention run --dry-run' whether so many were meant, then run it with --over-budget"
    ));
    debug_assert_eq!(error.kind(), Kind::Denied);
    error
}

fn expired<'b>(judged: &Judged<'b>, decision: &Decision) -> Vec<(&'b Life, i64)> {
    let verdicts = judged.lives.iter().zip(&decision.verdicts);
    verdicts
        .filter_map(|(life, (_, verdict))| match verdict {
            Verdict::Expire { since } => Some((*life, since.as_millisecond())),
            Verdict::Keep { .. } => None,
        })
        .collect()
}

fn deletion(life: &Life, by: &str) -> LifeChange {
    LifeChange::Delete(NewDeletion {
        saveset: life.saveset.saveset,
        store: life.store,
        why: format!("expired by the policy of pool '{}'", life.pool),
        asked_by: by.to_owned(),
        approval: None,
        copy_in: None,
    })
}

fn reply(
    judged: &Judged<'_>,
    decision: &Decision,
    expired: &[(&Life, i64)],
    dry_run: bool,
) -> RetentionRunReply {
    RetentionRunReply {
        dry_run,
        judged: judged.lives.len() as u64,
        bytes: expired.iter().map(|(life, _)| life.saveset.bytes_stored).sum(),
        expired: expired
            .iter()
            .map(|(life, since)| ExpiredView {
                saveset: life.saveset.saveset,
                task: label(life),
                pool: life.pool.clone(),
                datastore: life.store.to_string(),
                stamped_unix_ms: life.stamped_unix_ms,
                since_unix_ms: *since,
                bytes: life.saveset.bytes_stored,
            })
            .collect(),
        frozen: decision.frozen.map(|doubt| doubt.to_string()),
        last_of: decision.last_of.clone(),
        deleted: 0,
        waiting: 0,
        taken_back: 0,
        trouble: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ret03_a_run_that_would_delete_most_of_many_stops() {
        assert!(!is_over_budget(20, 20), "a few");
        assert!(is_over_budget(21, 21));
        assert!(is_over_budget(51, 100));
        assert!(!is_over_budget(50, 100));
        assert_eq!(over(21, 21).kind(), Kind::Denied);
    }
}
