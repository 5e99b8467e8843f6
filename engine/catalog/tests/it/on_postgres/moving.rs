//! A catalog moves from SQLite to PostgreSQL and back, and is the same.

use simsim_catalog::{AuditEntry, Catalog, CatalogError, JobEnd, JobStart, Severity, TableDump};
use simsim_model::{Kind, Outcome, Problem, ProblemKind, ProgressSnapshot, failpoint};

use super::on;
use crate::fixture::{
    On, Place, backup_job, furnish, furnished, new_client, open, options_of, saveset,
    task_settings, test_name,
};

/// Rows in many tables, with what is awkward in one database or the other.
fn live(catalog: &Catalog, jobs: u64) {
    let client = furnish(catalog);
    catalog.enrol_self(&new_client("Ärger \"quoted\""), 2).unwrap();
    catalog.add_task(&task_settings("home"), 3).unwrap();
    catalog.set_setting("bytes", &(0..=255).collect::<Vec<u8>>()).unwrap();
    for number in 1..=jobs {
        catalog.queue_job(&backup_job(&client), 1).unwrap();
        let start =
            JobStart { drive: None, transfer: None, domain: None, saveset: None, level: None };
        catalog.start_job(number, &start, 2).unwrap();
        catalog.add_log_line(number, Severity::Warning, "nul \0 and \u{10FFFE}1", 2).unwrap();
        let problem = Problem::new(b"/\xff\n".to_vec(), ProblemKind::Unreadable, "no\0");
        let end = JobEnd {
            checked: None,
            outcome: Outcome::FinishedWithErrors,
            error: None,
            progress: ProgressSnapshot::default(),
            problems: vec![problem; 3],
            problems_total: 3,
            saveset: Some(saveset(number)),
        };
        catalog.end_job(number, &end, 3).unwrap();
        let entry = AuditEntry {
            principal: "local:root".to_owned(),
            verb: "backup".to_owned(),
            object: format!("job {number}\0"),
            allowed: number % 2 == 0,
            detail: String::new(),
        };
        catalog.add_audit(&entry, 4).unwrap();
    }
}

fn rows(dump: &[TableDump], table: &str) -> u64 {
    dump.iter().find(|one| one.table == table).unwrap().rows
}

#[test]
fn a_catalog_moves_there_and_back_and_nothing_of_it_differs() {
    let Some(on) = on() else { return };
    let (here, there, back) = (Place::new(&On::Sqlite), Place::new(&on), Place::new(&On::Sqlite));
    let first = here.open();
    live(&first, 450);
    let (tables, savesets) = (first.dump_tables().unwrap(), first.dump_savesets().unwrap());
    let head = first.audit_head().unwrap();

    let moved = first.move_to(&there.options()).unwrap();
    assert_eq!(moved, tables);
    assert_eq!((rows(&moved, "jobs"), rows(&moved, "job_problems")), (450, 1350));
    drop(first);
    let second = there.open();
    assert_eq!(second.dump_tables().unwrap(), tables);
    assert_eq!(second.dump_savesets().unwrap(), savesets);
    assert_eq!(second.verify_audit(Some(&head)).unwrap(), None);

    assert_eq!(second.move_to(&back.options()).unwrap(), tables);
    drop(second);
    let third = back.open();
    assert_eq!(third.dump_tables().unwrap(), tables);
    assert_eq!(third.verify_audit(Some(&head)).unwrap(), None);
    // And it goes on: counters went along.
    let client = third.client("alpha").unwrap();
    assert_eq!(third.queue_job(&backup_job(&client), 5).unwrap().number, 451);
}

#[test]
fn a_catalog_that_was_moved_is_not_opened_again_by_mistake() {
    let Some(on) = on() else { return };
    let (here, there) = (Place::new(&On::Sqlite), Place::new(&on));
    let catalog = here.open();
    live(&catalog, 2);
    catalog.move_to(&there.options()).unwrap();
    drop(catalog);
    let error = Catalog::open(&here.options()).unwrap_err();
    assert!(matches!(error, CatalogError::Moved { .. }), "{error:?}");
    assert!(error.to_string().contains("postgresql://"), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
    there.open();
}

#[test]
fn a_target_that_is_not_empty_or_in_use_is_refused_and_the_source_stays() {
    let Some(on) = on() else { return };
    let source = Place::new(&On::Sqlite);
    let catalog = source.open();
    live(&catalog, 2);
    let (full, other, _) = furnished(&on);
    let in_use = catalog.move_to(&full.options()).unwrap_err();
    assert!(matches!(in_use, CatalogError::InUse { .. }), "{in_use:?}");
    let before = other.dump_tables().unwrap();
    drop(other);
    let refused = catalog.move_to(&full.options()).unwrap_err();
    assert!(refused.to_string().contains("holds a catalog already"), "{refused}");
    assert_eq!(refused.kind(), Kind::Invalid);
    assert_eq!(full.open().dump_tables().unwrap(), before);
    drop(catalog);
    assert_eq!(source.open().clients().unwrap().len(), 2);
}

#[test]
fn pwr04_a_move_that_is_killed_leaves_the_source_as_it_was_and_the_target_empty_or_whole() {
    // The same test is its own victim, told apart by the variable.
    if let Ok(places) = std::env::var("SIMSIM_TEST_CATALOG") {
        let (from, to) = places.split_once('\n').unwrap();
        let catalog = open(from);
        failpoint::arm(&std::env::var("SIMSIM_TEST_FAILPOINT").unwrap()).unwrap();
        let _ = catalog.move_to(&options_of(to));
        return;
    }
    let Some(on) = on() else { return };
    let test = test_name(
        module_path!(),
        "pwr04_a_move_that_is_killed_leaves_the_source_as_it_was_and_the_target_empty_or_whole",
    );
    // Just before the copy is durable, and just before the source is marked.
    for (skip, is_whole) in [(0, false), (1, true)] {
        for to_postgres in [true, false] {
            let file = Place::new(&On::Sqlite);
            let schema = Place::new(&on);
            let (source, target) = if to_postgres { (file, schema) } else { (schema, file) };
            let catalog = source.open();
            live(&catalog, 3);
            let before = catalog.dump_tables().unwrap();
            drop(catalog);
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &test, "--nocapture"])
                .env("SIMSIM_TEST_CATALOG", format!("{}\n{}", source.text(), target.text()))
                .env("SIMSIM_TEST_FAILPOINT", format!("catalog.before_commit=kill:{skip}"))
                .output()
                .unwrap();
            assert!(!status.status.success(), "the child was to die");
            let catalog = source.open();
            assert_eq!(catalog.dump_tables().unwrap(), before);
            let there = target.open();
            assert_eq!(!there.clients().unwrap().is_empty(), is_whole);
            drop(there);
            match catalog.move_to(&target.options()) {
                Ok(moved) => assert!(!is_whole && moved == before),
                Err(error) => assert!(is_whole, "{error:?}"),
            }
        }
    }
}

#[test]
fn every_table_of_the_schema_is_moved() {
    let Some(on) = on() else { return };
    let (place, catalog, _) = furnished(&on);
    let dumped: Vec<&str> = catalog.dump_tables().unwrap().iter().map(|one| one.table).collect();
    let names: Vec<String> = dumped.iter().map(|table| format!("'{table}'")).collect();
    let others = place.raw().number(&format!(
        "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()
             AND tablename NOT IN ('schema_version', 'catalog_fence', {})",
        names.join(", ")
    ));
    assert_eq!(others, 0, "a table is not in the list of those that are moved");
}

#[test]
fn a_dump_tells_every_change_and_no_order() {
    let Some(on) = on() else { return };
    for on in [&On::Sqlite, &on] {
        let (place, catalog, _) = furnished(on);
        catalog.rebuild_savesets(crate::fixture::STORE, &[saveset(1), saveset(2)]).unwrap();
        let before = catalog.dump_tables().unwrap();
        let mut raw = place.raw();
        for change in [
            "UPDATE savesets SET bytes = bytes + 1 WHERE sequence = 1",
            "UPDATE savesets SET base = saveset WHERE sequence = 2",
            "UPDATE clients SET platform = 'x'",
            "DELETE FROM savesets WHERE sequence = 1",
        ] {
            let earlier = catalog.dump_tables().unwrap();
            raw.run(change).unwrap();
            let now = catalog.dump_tables().unwrap();
            let changed = now.iter().zip(&earlier).filter(|(now, earlier)| now != earlier).count();
            assert_eq!(changed, 1, "{change}");
        }
        // Written anew in the other order it is the same.
        raw.run("DELETE FROM savesets; UPDATE clients SET platform = ''").unwrap();
        catalog.rebuild_savesets(crate::fixture::STORE, &[saveset(2), saveset(1)]).unwrap();
        assert_eq!(catalog.dump_tables().unwrap(), before);
    }
}
