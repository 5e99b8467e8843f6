//! The chain of the audit log against somebody with a database tool.

use simsim_catalog::{AuditBreak, AuditEntry, AuditHead, Catalog};

use super::on;
use crate::fixture::{AUDIT_KEY, On, Place, Raw};

fn act(at: u64) -> AuditEntry {
    AuditEntry {
        principal: "local:root".to_owned(),
        verb: "client.revoke".to_owned(),
        object: format!("client-{at}"),
        allowed: !at.is_multiple_of(3),
        detail: "a \"quoted\" word, and another\u{1}".to_owned(),
    }
}

fn with_acts(on: &On, count: u64) -> (Place, Catalog) {
    let place = Place::new(on);
    let catalog = place.open();
    for at in 1..=count {
        assert_eq!(catalog.add_audit(&act(at), at as i64).unwrap(), at);
    }
    (place, catalog)
}

/// Ten acts, then `tamper` on the raw database, then the verdict.
fn verdict(on: &On, tamper: impl FnOnce(&mut Raw)) -> Option<AuditBreak> {
    let (place, catalog) = with_acts(on, 10);
    assert_eq!(catalog.verify_audit(None).unwrap(), None);
    tamper(&mut place.raw());
    catalog.verify_audit(None).unwrap()
}

fn run(sql: &'static str) -> impl FnOnce(&mut Raw) {
    move |raw| raw.run(sql).unwrap()
}

#[test]
fn a_chain_holds_across_restarts_and_reads_back() {
    let Some(on) = on() else { return };
    let (place, catalog) = with_acts(&on, 5);
    drop(catalog);
    let catalog = place.open();
    catalog.add_audit(&act(6), 6).unwrap();
    assert_eq!(catalog.verify_audit(None).unwrap(), None);
    let rows = catalog.audit(3, 2).unwrap();
    assert_eq!(rows.iter().map(|row| row.position).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(rows[0].entry, act(4));
    assert_eq!(Place::new(&on).open().verify_audit(None).unwrap(), None, "an empty chain holds");
}

#[test]
fn every_changed_field_of_every_row_is_named() {
    let Some(on) = on() else { return };
    for position in 1..=10u64 {
        for change in [
            "at_unix_ms = at_unix_ms + 1",
            "principal = 'local:other'",
            "verb = 'client.list'",
            "object = object || ' '",
            "allowed = 1 - allowed",
            "detail = ''",
            "previous_hash = (ONE BYTE)",
            "row_hash = (ZEROS)",
            "at_unix_ms = 'soon'",
        ] {
            if change.contains("soon") && !on.is_sqlite() {
                // There a number cannot become a word.
                continue;
            }
            let found = verdict(&on, |raw| {
                let change = change
                    .replace("(ONE BYTE)", &raw.literal(&[0]))
                    .replace("(ZEROS)", &raw.literal(&[0; 32]));
                raw.run(&format!("UPDATE audit SET {change} WHERE position = {position}")).unwrap();
            });
            assert_eq!(found, Some(AuditBreak::Changed(position)), "{change} at {position}");
        }
    }
}

#[test]
fn text_that_moves_between_fields_is_a_change() {
    let Some(on) = on() else { return };
    let found =
        verdict(&on, run("UPDATE audit SET verb = verb || object, object = '' WHERE position = 4"));
    assert_eq!(found, Some(AuditBreak::Changed(4)));
}

#[test]
fn removed_rows_are_named_at_the_beginning_the_middle_and_the_end() {
    let Some(on) = on() else { return };
    assert_eq!(
        verdict(&on, run("DELETE FROM audit WHERE position = 1")),
        Some(AuditBreak::Removed(1))
    );
    assert_eq!(
        verdict(&on, run("DELETE FROM audit WHERE position = 6")),
        Some(AuditBreak::Removed(6))
    );
    assert_eq!(
        verdict(&on, run("DELETE FROM audit WHERE position > 8")),
        Some(AuditBreak::Removed(9))
    );
    assert_eq!(verdict(&on, run("DELETE FROM audit")), Some(AuditBreak::Removed(1)));
}

#[test]
fn a_removed_row_is_named_although_the_rest_was_renumbered() {
    let Some(on) = on() else { return };
    let found = verdict(
        &on,
        run("DELETE FROM audit WHERE position = 6;
         UPDATE audit SET position = -position WHERE position > 6;
         UPDATE audit SET position = -position - 1 WHERE position < 0;
         UPDATE audit_head SET position = 9"),
    );
    assert_eq!(found, Some(AuditBreak::Removed(6)));
}

#[test]
fn moved_rows_are_named() {
    let Some(on) = on() else { return };
    let swapped = verdict(
        &on,
        run("UPDATE audit SET position = -1 WHERE position = 4;
         UPDATE audit SET position = 4 WHERE position = 7;
         UPDATE audit SET position = 7 WHERE position = -1"),
    );
    assert_eq!(swapped, Some(AuditBreak::Moved(4)));
    let to_front = verdict(&on, run("UPDATE audit SET position = 0 WHERE position = 5"));
    assert_eq!(to_front, Some(AuditBreak::Moved(0)));
    let stretched = verdict(&on, run("UPDATE audit SET position = 12 WHERE position = 10"));
    assert_eq!(stretched, Some(AuditBreak::Moved(12)));
}

#[test]
fn a_chain_made_without_the_key_does_not_hold() {
    let Some(on) = on() else { return };
    let found = verdict(&on, |raw| {
        let of = act(10);
        let text =
            serde_json::to_string(&(10, of.principal, of.verb, "nobody", true, of.detail)).unwrap();
        let previous = raw.bytes("SELECT previous_hash FROM audit WHERE position = 10");
        let wrong_key = [AUDIT_KEY[0] ^ 1; 32];
        let mut hasher = blake3::Hasher::new_keyed(&wrong_key);
        hasher.update(&previous);
        hasher.update(text.as_bytes());
        let hash = *hasher.finalize().as_bytes();
        let hash = raw.literal(&hash);
        raw.run(&format!(
            "UPDATE audit SET object = 'nobody', allowed = 1, row_hash = {hash} WHERE position = 10;
             UPDATE audit_head SET row_hash = {hash}"
        ))
        .unwrap();
    });
    assert_eq!(found, Some(AuditBreak::Changed(10)));
}

#[test]
fn a_head_kept_elsewhere_catches_an_end_that_was_cut_off_with_care() {
    let Some(on) = on() else { return };
    let (place, catalog) = with_acts(&on, 10);
    let kept = catalog.audit_head().unwrap();
    assert_eq!(kept.position, 10);
    assert_eq!(catalog.verify_audit(Some(&kept)).unwrap(), None);
    place
        .raw()
        .run(
            "UPDATE audit_head SET position = 8,
                 row_hash = (SELECT row_hash FROM audit WHERE position = 8);
             DELETE FROM audit WHERE position > 8",
        )
        .unwrap();
    assert_eq!(catalog.verify_audit(None).unwrap(), None, "the chain alone cannot tell");
    assert_eq!(catalog.verify_audit(Some(&kept)).unwrap(), Some(AuditBreak::Removed(9)));
    for at in 9..=11 {
        catalog.add_audit(&act(at + 100), 1).unwrap();
    }
    assert_eq!(catalog.verify_audit(Some(&kept)).unwrap(), Some(AuditBreak::Changed(10)));
    let elsewhere = AuditHead { position: 3, hash: [1; 32] };
    assert_eq!(catalog.verify_audit(Some(&elsewhere)).unwrap(), Some(AuditBreak::Changed(3)));
}

#[test]
fn another_key_does_not_verify() {
    let Some(on) = on() else { return };
    let (place, catalog) = with_acts(&on, 2);
    drop(catalog);
    let mut other = place.options();
    other.audit_key = [8; 32];
    let catalog = Catalog::open(&other).unwrap();
    assert_eq!(catalog.verify_audit(None).unwrap(), Some(AuditBreak::Changed(1)));
}
