//! The outbox: each end of a job is in it once, messages that were begun stay as they are, and what is missing is known.

use serde_json::json;
use simsim_catalog::{
    Absence, Catalog, JobEnd, MessageState, NOTICES_MAX, NewNotification, NewSecret, NoticeRound,
    NoticeTold, Put,
};
use simsim_model::{Kind, Outcome};

use super::on;
use crate::fixture::{backup_job, furnished};

fn add(catalog: &Catalog, name: &str) {
    let new = NewNotification {
        name: name.to_owned(),
        document: "{}".to_owned(),
        secret: NewSecret::Sealed(vec![1, 2]),
    };
    catalog.put_notification(Put::Add, &new, 5).unwrap();
}

fn round(name: &str, count: usize, jobs: &[u64]) -> NoticeRound {
    let told = NoticeTold {
        notification: name.to_owned(),
        notices: (0..count).map(|at| json!({ "at": at })).collect(),
        ..NoticeTold::default()
    };
    NoticeRound { told: vec![told], jobs: jobs.to_vec(), not_before_unix_ms: 50 }
}

#[test]
fn an_end_is_noticed_once_and_messages_gather_until_they_are_begun() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    add(&catalog, "ops");
    assert_eq!(catalog.unnoticed_jobs(9).unwrap(), []);
    catalog.queue_job(&backup_job(&client), 10).unwrap();
    assert_eq!(catalog.unnoticed_jobs(9).unwrap(), [], "it has not ended");
    let end = JobEnd::because(Outcome::Failed, Kind::Internal, "no");
    catalog.end_job(1, &end, 20).unwrap();
    assert_eq!(catalog.unnoticed_jobs(9).unwrap().len(), 1);
    catalog.keep_notices(&round("ops", 1, &[1]), 30).unwrap();
    assert_eq!(catalog.unnoticed_jobs(9).unwrap(), []);

    catalog.keep_notices(&round("ops", 2, &[]), 31).unwrap();
    catalog.keep_notices(&round("gone", 2, &[]), 31).unwrap();
    let waiting = catalog.waiting_messages().unwrap();
    assert_eq!((waiting.len(), waiting[0].notices.len(), waiting[0].made_unix_ms), (1, 3, 30));
    let begun = catalog.message_begun(waiting[0].number).unwrap().unwrap();
    assert_eq!((begun.attempts, begun.notices.len()), (1, 3));
    catalog.keep_notices(&round("ops", NOTICES_MAX + 7, &[]), 32).unwrap();
    catalog.message_ended(begun.number, Some(("away", Some(99))), 40).unwrap();
    let next = catalog.next_messages().unwrap();
    assert_eq!(next.len(), 1, "the oldest only");
    assert_eq!((next[0].number, next[0].not_before_unix_ms), (begun.number, 99));
    assert_eq!(next[0].last_error.as_deref(), Some("away"));
    catalog.message_ended(begun.number, None, 41).unwrap();
    let next = catalog.next_messages().unwrap();
    assert_eq!((next[0].notices.len(), next[0].left_out), (NOTICES_MAX, 7));
    catalog.message_ended(next[0].number, Some(("away", None)), 42).unwrap();
    assert_eq!(catalog.message_begun(next[0].number).unwrap(), None, "given up");
    let states: Vec<_> =
        catalog.messages(Some("ops"), 0).unwrap().iter().map(|one| one.state).collect();
    assert_eq!(states, [MessageState::GivenUp, MessageState::Sent]);
}

#[test]
fn what_is_missing_is_kept_until_it_is_back_and_goes_with_its_notification() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    add(&catalog, "ops");
    let absence = |told_unix_ms| Absence {
        subject: "backup home".to_owned(),
        text: "none".to_owned(),
        since_unix_ms: 1,
        told_unix_ms,
    };
    let mut told = round("ops", 1, &[]);
    for at in [10, 20] {
        told.told[0].absent = vec![absence(at)];
        catalog.keep_notices(&told, at).unwrap();
        assert_eq!(catalog.absences("ops").unwrap(), [absence(at)]);
    }
    told.told[0].absent.clear();
    told.told[0].back = vec!["backup home".to_owned()];
    catalog.keep_notices(&told, 30).unwrap();
    assert_eq!(catalog.absences("ops").unwrap(), []);
    assert_eq!(catalog.last_good("backup", 99).unwrap(), []);
    assert_eq!(catalog.last_verified(99).unwrap(), []);
    assert_eq!(catalog.not_run().unwrap(), []);

    let keep = NewNotification {
        name: "ops".to_owned(),
        document: "{\"a\":1}".to_owned(),
        secret: NewSecret::Keep,
    };
    assert_eq!(catalog.put_notification(Put::Change, &keep, 5).unwrap().secret, Some(vec![1, 2]));
    assert_eq!(catalog.put_notification(Put::Add, &keep, 5).err().unwrap().kind(), Kind::Invalid);
    catalog.delete_notification("ops").unwrap();
    assert_eq!(catalog.messages(None, 0).unwrap(), []);
    assert_eq!(catalog.delete_notification("ops").unwrap_err().kind(), Kind::NotFound);
}
