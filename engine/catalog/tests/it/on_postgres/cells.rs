//! What lies in cells is the same on both databases, also where PostgreSQL would have it otherwise.

use simsim_catalog::{AuditEntry, Catalog, Severity, TaskSettings};
use simsim_model::TargetKind;

use super::on;
use crate::fixture::{On, STORE, backup_job, furnished, task_settings};

/// Runs the same on both, and holds the answers equal.
fn same<T: PartialEq + std::fmt::Debug>(ask: impl Fn(&Catalog) -> T) -> Option<T> {
    let on = on()?;
    let (_here, here, _) = furnished(&On::Sqlite);
    let (_there, there, _) = furnished(&on);
    let answer = ask(&here);
    assert_eq!(ask(&there), answer);
    Some(answer)
}

#[test]
fn text_with_nul_and_every_other_character_comes_back_and_keeps_the_audit_chain() {
    let texts = ["a\0b", "\0", "\u{10FFFE}0", "\u{10FFFE}", "é\u{1F512}\r\n\\'\"$1?1", ""];
    same(|catalog| {
        let client = catalog.client("alpha").unwrap();
        let job = catalog.queue_job(&backup_job(&client), 1).unwrap().number;
        for text in texts {
            catalog.add_log_line(job, Severity::Info, text, 1).unwrap();
            let entry = AuditEntry {
                principal: text.to_owned(),
                verb: "test".to_owned(),
                object: text.to_owned(),
                allowed: true,
                detail: text.to_owned(),
            };
            catalog.add_audit(&entry, 1).unwrap();
        }
        assert_eq!(catalog.verify_audit(None).unwrap(), None);
        let lines = catalog.job_log(job, 0, 100).unwrap();
        let lines: Vec<String> = lines.into_iter().map(|line| line.line).collect();
        assert_eq!(lines, texts);
        (lines, catalog.audit(0, 100).unwrap(), catalog.audit_head().unwrap().hash)
    });
}

#[test]
fn numbers_keep_their_whole_width() {
    same(|catalog| {
        let wide = TaskSettings { eol_days: u32::MAX, ..task_settings("wide") };
        assert_eq!(catalog.add_task(&wide, i64::MAX).unwrap().settings.eol_days, u32::MAX);
        catalog.task("wide").unwrap()
    });
}

#[test]
fn names_are_ordered_and_told_apart_by_their_bytes() {
    let names = ["b", "B", "a", "Ä", "ä", "a b", "a-b", "ab", "_", "z", "10", "9"];
    let listed = same(|catalog| {
        for name in names {
            let task = TaskSettings { kind: TargetKind::Path, store: STORE, ..task_settings(name) };
            catalog.add_task(&task, 1).unwrap();
        }
        let listed = catalog.tasks().unwrap();
        listed.into_iter().map(|task| task.settings.name).collect::<Vec<_>>()
    });
    let mut ordered: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    ordered.sort_unstable();
    assert!(listed.is_none_or(|listed| listed == ordered));
}

#[test]
fn what_is_not_set_comes_first() {
    let names = same(|catalog| {
        for (at, name) in [Some("beta"), None, Some("alpha2")].into_iter().enumerate() {
            let code = simsim_catalog::JoinCode {
                hash: [at as u8; 32],
                sealed_secret: vec![1],
                client_name: name.map(str::to_owned),
                outbound: false,
                created_unix_ms: 1,
                expires_unix_ms: 100,
                used_unix_ms: None,
                wrong_attempts: 0,
            };
            catalog.add_join_code(&code).unwrap();
        }
        catalog.names_joining(2).unwrap()
    });
    assert!(names.is_none_or(|names| names[0].0.is_none() && names.len() == 3));
}

#[test]
fn a_long_answer_comes_in_parts_and_whole() {
    let Some(on) = on() else { return };
    let (_place, catalog, _) = furnished(&on);
    for at in 0..1_203 {
        let entry = AuditEntry {
            principal: "server".to_owned(),
            verb: "test".to_owned(),
            object: at.to_string(),
            allowed: true,
            detail: String::new(),
        };
        catalog.add_audit(&entry, at).unwrap();
    }
    assert_eq!(catalog.verify_audit(None).unwrap(), None);
    assert_eq!(catalog.audit(0, u32::MAX).unwrap().len(), 1_203);
    assert_eq!(catalog.audit_head().unwrap().position, 1_203);
}
