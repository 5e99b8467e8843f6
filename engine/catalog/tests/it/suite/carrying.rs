//! A catalog goes out as pieces and comes in elsewhere, whole or not at all.

use simsim_catalog::{AuditEntry, Catalog, CatalogError, CatalogPiece, JobEnd, JobStart, Severity};
use simsim_model::{Kind, Outcome, Problem, ProblemKind, ProgressSnapshot};

use super::on;
use crate::fixture::{On, Place, backup_job, furnish, new_client, saveset, task_settings};

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
        let line = format!("nul \0 and {}", "x".repeat(4000));
        catalog.add_log_line(number, Severity::Warning, &line, 2).unwrap();
        let problem = Problem::new(b"/\xff\n".to_vec(), ProblemKind::Unreadable, "no\0");
        let end = JobEnd {
            checked: None,
            outcome: Outcome::FinishedWithErrors,
            error: None,
            progress: ProgressSnapshot::default(),
            problems: vec![problem; 2],
            problems_total: 2,
            saveset: Some(saveset(number)),
        };
        catalog.end_job(number, &end, 3).unwrap();
        let entry = AuditEntry {
            principal: "local:root".to_owned(),
            verb: "backup".to_owned(),
            object: format!("job {number}\0"),
            allowed: true,
            detail: String::new(),
        };
        catalog.add_audit(&entry, 4).unwrap();
    }
}

fn pieces_of(catalog: &Catalog) -> Vec<CatalogPiece> {
    let mut pieces = Vec::new();
    let give = &mut |piece| {
        pieces.push(piece);
        Ok(())
    };
    catalog.carry_out(give).unwrap();
    pieces
}

fn carry_in(place: &Place, pieces: &[CatalogPiece]) -> Result<(Catalog, u64), CatalogError> {
    let mut pieces = pieces.iter().cloned();
    let settings = [("mark", b"here".to_vec())];
    let step = Catalog::schema_step();
    Catalog::carry_in(&place.options(), step, &settings, &mut || Ok(pieces.next()))
}

#[test]
fn a_catalog_goes_out_and_comes_in_elsewhere_and_only_the_mark_is_new() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let first = place.open();
    live(&first, 200);
    let head = first.audit_head().unwrap();
    let pieces = pieces_of(&first);
    // As many as there is, and none that memory could not hold.
    let large = |piece: &CatalogPiece| match piece {
        CatalogPiece::Table(bytes) | CatalogPiece::Rows(bytes) => bytes.len() > 300 << 10,
    };
    assert!(pieces.len() > 38 && !pieces.iter().any(large), "{}", pieces.len());
    for target in [&on, &On::Sqlite] {
        let there = Place::new(target);
        let (second, rows) = carry_in(&there, &pieces).unwrap();
        assert_eq!(second.setting("mark").unwrap().as_deref(), Some(b"here".as_slice()));
        assert!(rows > 1_000, "{rows}");
        assert_eq!(second.verify_audit(Some(&head)).unwrap(), None);
        assert_eq!(second.dump_savesets().unwrap(), first.dump_savesets().unwrap());
        for (one, other) in first.dump_tables().unwrap().iter().zip(second.dump_tables().unwrap()) {
            assert!(*one == other || one.table == "settings", "{one:?} {other:?}");
        }
        // And it goes on: counters came along. A second one does not come on top of it.
        let client = second.client("alpha").unwrap();
        assert_eq!(second.queue_job(&backup_job(&client), 5).unwrap().number, 201);
        drop(second);
        let error = carry_in(&there, &pieces).map(drop).unwrap_err();
        assert!(error.to_string().contains("holds a catalog already"), "{error}");
    }
}

#[test]
fn a_stream_that_breaks_off_anywhere_leaves_no_row_and_the_next_try_is_whole() {
    let Some(on) = on() else { return };
    let place = Place::new(&on);
    let first = place.open();
    live(&first, 3);
    let pieces = pieces_of(&first);
    let there = Place::new(&on);
    for good in (0..pieces.len()).step_by(7).chain([pieces.len()]) {
        let mut given = pieces.iter().take(good).cloned();
        let step = Catalog::schema_step();
        let broken = Catalog::carry_in(&there.options(), step, &[], &mut || match given.next() {
            Some(piece) => Ok(Some(piece)),
            None => Err(CatalogError::Invalid { message: "the end does not fit".to_owned() }),
        });
        assert!(broken.map(drop).unwrap_err().to_string().contains("the end does not fit"));
        let empty = there.open();
        let rows: u64 = empty.dump_tables().unwrap().iter().map(|table| table.rows).sum();
        assert_eq!(rows, 0, "after {good} pieces");
    }
    carry_in(&there, &pieces).unwrap();
}

#[test]
fn pieces_that_are_of_no_catalog_are_refused_and_no_name_becomes_a_statement() {
    let Some(on) = on() else { return };
    let table = |text: &str| CatalogPiece::Table(text.as_bytes().to_vec());
    let counters = || table(r#"{"table":"counters","columns":["last_value","name"]}"#);
    let mut row = vec![1; 9];
    row.extend_from_slice(&[3, 1, 0, 0, 0, b'n']);
    let rows = |bytes: &[u8]| CatalogPiece::Rows(bytes.to_vec());
    let hostile = [
        vec![rows(&row)],
        vec![table("{")],
        vec![table(r#"{"table":"schema_version","columns":["step"]}"#)],
        vec![table(r#"{"table":"counters; DROP TABLE jobs","columns":["name"]}"#)],
        vec![table(r#"{"table":"counters","columns":["last_value","name) VALUES (1, 2); --"]}"#)],
        vec![table(r#"{"table":"counters","columns":["name"]}"#)],
        vec![counters(), counters()],
        vec![counters(), rows(&row[..row.len() - 1])],
        vec![counters(), rows(&[9])],
        vec![counters(), rows(&[3, 0xff, 0xff, 0xff, 0xff, 0])],
    ];
    let there = Place::new(&on);
    for pieces in &hostile {
        let error = carry_in(&there, pieces).map(drop).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{pieces:?}: {error}");
    }
    // The same in order is taken.
    assert_eq!(carry_in(&there, &[counters(), rows(&row)]).unwrap().1, 1);
    let later = Catalog::schema_step() + 1;
    let error = Catalog::carry_in(&Place::new(&on).options(), later, &[], &mut || Ok(None));
    assert!(matches!(error.map(drop), Err(CatalogError::Newer { .. })));
}
