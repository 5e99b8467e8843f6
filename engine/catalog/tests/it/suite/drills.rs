//! Restore drills and their evidence.

use simsim_catalog::{AuditEntry, Catalog, Client, Drill, DrillFilter, JobKind, NewJob};
use simsim_model::Kind;

use super::on;
use crate::fixture::{STORE, backup_job, furnished, saveset};

fn drill(catalog: &Catalog, client: &Client, passed: bool, ended_unix_ms: i64) -> Drill {
    let new =
        NewJob { kind: JobKind::Drill, saveset: Some(saveset(1).saveset), ..backup_job(client) };
    let job = catalog.queue_job(&new, 1).unwrap();
    assert_eq!(catalog.job(job.number).unwrap().kind, JobKind::Drill);
    Drill {
        job: job.number,
        task_name: "home".to_owned(),
        client_name: "alpha".to_owned(),
        saveset: saveset(1).saveset,
        store: STORE,
        passed,
        ended_unix_ms,
        document: format!("{{\"drill\":{}}}", job.number),
        signature: "00ff".to_owned(),
        audit: 0,
    }
}

fn entry(drill: &Drill) -> AuditEntry {
    AuditEntry {
        principal: "server".to_owned(),
        verb: "drill.evidence".to_owned(),
        object: format!("drill {}", drill.job),
        allowed: true,
        detail: "a hash".to_owned(),
    }
}

#[test]
fn evidence_is_kept_once_with_its_row_of_the_audit_log() {
    let Some(on) = on() else { return };
    let (place, catalog, client) = furnished(&on);
    let one = drill(&catalog, &client, true, 10);
    let before = catalog.audit_head().unwrap().position;
    let kept = catalog.keep_drill(&one, &entry(&one), 20).unwrap();
    assert_eq!(kept, Drill { audit: before + 1, ..one.clone() });
    let other = Drill { document: "another".to_owned(), passed: false, ..one.clone() };
    assert_eq!(catalog.keep_drill(&other, &entry(&other), 30).unwrap(), kept, "the first stays");
    assert_eq!(catalog.audit_head().unwrap().position, before + 1, "and its row alone");
    assert_eq!(catalog.verify_audit(None).unwrap(), None);
    assert_eq!(catalog.audit(before, 9).unwrap()[0].entry, entry(&one));
    drop(catalog);
    let catalog = place.open();
    assert_eq!(catalog.drill(one.job).unwrap(), kept);
    assert_eq!(catalog.drill(999).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn drills_are_listed_newest_first_and_the_last_of_each_kind_is_known() {
    let Some(on) = on() else { return };
    let (_place, catalog, client) = furnished(&on);
    let mut jobs = Vec::new();
    for (passed, ended) in [(true, 10), (false, 20), (true, 30), (false, 40)] {
        let one = drill(&catalog, &client, passed, ended);
        catalog.keep_drill(&one, &entry(&one), ended).unwrap();
        jobs.push(one.job);
    }
    let listed = |filter: DrillFilter| {
        catalog.drills(&filter).unwrap().into_iter().map(|one| one.job).collect::<Vec<_>>()
    };
    jobs.reverse();
    assert_eq!(listed(DrillFilter::default()), jobs);
    assert_eq!(listed(DrillFilter { limit: 2, ..DrillFilter::default() }), jobs[..2]);
    let before = DrillFilter { before: Some(jobs[1]), ..DrillFilter::default() };
    assert_eq!(listed(before), jobs[2..]);
    let passed = DrillFilter { passed: Some(true), ..DrillFilter::default() };
    assert_eq!(listed(passed), [jobs[1], jobs[3]]);
    let named =
        |task: &str| DrillFilter { task_name: Some(task.to_owned()), ..DrillFilter::default() };
    assert_eq!((listed(named("home")).len(), listed(named("other")).len()), (4, 0));
    let mut last = catalog.last_drills().unwrap();
    last.sort();
    let of = |passed, ended| ("alpha".to_owned(), "home".to_owned(), passed, ended);
    assert_eq!(last, [of(false, 40), of(true, 30)]);
}
