//! The evidence of restore drills: a document, signed with the server's key, whose hash stands in the audit log.

use data_encoding::HEXLOWER;
use simsim_catalog::{AuditEntry, AuditRow, Drill, Job, JobEnd};
use simsim_control::{Identity, PublicKey};
use simsim_model::{Drilled, Outcome};

use crate::api::{DrillDocument, DrillEvidence, DrillVerified};
use crate::clock::now_unix_ms;
use crate::house::House;
use crate::jobs::{DrillWish, Wish};
use crate::{ServerError, audit_head};

const FORMAT: &str = "simsim restore drill 1";
const PURPOSE: &str = "simsim restore drill evidence 1\n";
const VERB: &str = "drill.evidence";

/// Signs what became of a drill and keeps it, once: a server that died after it and asks what became of the job
/// again finds it kept. One that somebody ended proves nothing, and has no evidence.
pub(crate) async fn keep(
    house: &House,
    job: &Job,
    end: &JobEnd,
    drilled: Option<Drilled>,
) -> Result<Option<Drill>, ServerError> {
    let Ok(Wish::Drill(wish)) = Wish::of(job) else { return Ok(None) };
    if matches!(end.outcome, Outcome::Cancelled | Outcome::Interrupted) {
        return Ok(None);
    }
    let Some(saveset) = job.saveset else { return Ok(None) };
    let (number, store) = (job.number, job.store);
    let (datastore, job_now, home) = house
        .books
        .run(move |catalog| {
            let home = catalog.saveset(saveset).ok().map(|row| row.store);
            Ok((catalog.datastore_with_id(store)?.name, catalog.job(number)?, home))
        })
        .await?;
    let document =
        document_of(house, &job_now, &wish, end, drilled, datastore, home != Some(store));
    let passed = document.passed;
    let text = serde_json::to_string(&document).map_err(lost)?;
    let signature = sign(&house.identity, &text)
        .ok_or_else(|| ServerError::Key("the server's key signs nothing".to_owned()))?;
    let entry = AuditEntry {
        principal: "server".to_owned(),
        verb: VERB.to_owned(),
        object: format!("drill {number}"),
        allowed: true,
        detail: audit_detail(passed, &text),
    };
    let drill = Drill {
        job: number,
        task_name: job.task_name.clone(),
        client_name: wish.of_client.clone(),
        saveset,
        store,
        passed,
        ended_unix_ms: document.ended_unix_ms,
        document: text,
        signature,
        audit: 0,
    };
    let now = now_unix_ms();
    let kept = house.books.run(move |catalog| catalog.keep_drill(&drill, &entry, now)).await?;
    if let Err(error) = audit_head::keep(house).await {
        tracing::warn!(error = %error.full_message(), "the end of the audit log could not be kept");
    }
    Ok(Some(kept))
}

fn lost(error: serde_json::Error) -> ServerError {
    ServerError::Lost(error.to_string())
}

#[allow(clippy::too_many_arguments, reason = "each is a line of the document")]
fn document_of(
    house: &House,
    job: &Job,
    wish: &DrillWish,
    end: &JobEnd,
    drilled: Option<Drilled>,
    datastore: String,
    is_copy: bool,
) -> DrillDocument {
    let whole = drilled.as_ref().is_some_and(|drilled| drilled.differences_total == 0);
    DrillDocument {
        format: FORMAT.to_owned(),
        drill: job.number,
        server: house.name.clone(),
        suite_version: env!("CARGO_PKG_VERSION").to_owned(),
        task: job.task_name.clone(),
        client: wish.of_client.clone(),
        saveset: job.saveset.map(|id| id.to_string()).unwrap_or_default(),
        datastore,
        store: job.store.to_string(),
        is_copy,
        restored_on: job.client_name.clone(),
        requested_by: job.requested_by.clone(),
        event: job.waiting.event.clone(),
        seed: wish.seed,
        files_max: wish.files_max,
        bytes_max: wish.bytes_max,
        all: wish.is_all(),
        compared_source: wish.compare_source,
        started_unix_ms: job.started_unix_ms,
        ended_unix_ms: now_unix_ms(),
        outcome: end.outcome,
        passed: whole && end.outcome == Outcome::Finished,
        error: end.error.as_ref().map(|error| error.message.clone()),
        restore_all_ms: drilled.as_ref().and_then(restore_all_ms),
        result: drilled,
    }
}

/// How long a restore of everything takes, by the measure of a part: as much longer as there are more bytes, or
/// more files, whichever is more. `None`: nothing was restored that could be measured.
pub(crate) fn restore_all_ms(drilled: &Drilled) -> Option<u64> {
    if drilled.files == 0 {
        return None;
    }
    // In 128 bits nothing is lost on the way.
    let scaled = |all: u64, part: u64| {
        let part = u128::from(part);
        (part > 0).then(|| u128::from(drilled.restore_ms) * u128::from(all) / part)
    };
    let by_files = scaled(drilled.files_of, drilled.files);
    let by_bytes = scaled(drilled.bytes_of, drilled.bytes);
    let ms = by_files.into_iter().chain(by_bytes).max()?;
    Some(u64::try_from(ms).unwrap_or(u64::MAX).max(drilled.restore_ms))
}

fn sign(identity: &Identity, document: &str) -> Option<String> {
    let signature = identity.sign(&[PURPOSE.as_bytes(), document.as_bytes()].concat())?;
    Some(HEXLOWER.encode(&signature))
}

fn signed_by(key: &PublicKey, document: &str, signature: &str) -> bool {
    let message = [PURPOSE.as_bytes(), document.as_bytes()].concat();
    let bytes = HEXLOWER.decode(signature.as_bytes());
    bytes.is_ok_and(|signature| key.has_signed(&message, &signature))
}

fn audit_detail(passed: bool, document: &str) -> String {
    let word = if passed { "passed" } else { "failed" };
    format!("{word}, blake3 {}", blake3::hash(document.as_bytes()).to_hex())
}

/// Checks evidence: the signature is this server's, and the audit log, whose chain holds, has the hash.
pub(crate) fn verify(
    key: &PublicKey,
    evidence: &DrillEvidence,
    row: Option<&AuditRow>,
    chain_holds: bool,
) -> DrillVerified {
    let document: Option<DrillDocument> = serde_json::from_str(&evidence.document).ok();
    let mut findings = Vec::new();
    let signed = signed_by(key, &evidence.document, &evidence.signature);
    if !signed {
        findings
            .push("the signature is not one of this server's key over this document".to_owned());
    }
    if evidence.key != key.to_string() {
        findings.push("it names another key than this server's".to_owned());
    }
    let in_audit_log = document.as_ref().zip(row).is_some_and(|(document, row)| {
        row.position == evidence.audit_position
            && row.entry.verb == VERB
            && row.entry.object == format!("drill {}", document.drill)
            && row.entry.detail == audit_detail(document.passed, &evidence.document)
    });
    if !in_audit_log {
        findings.push(format!(
            "row {} of the audit log does not hold the hash of this document",
            evidence.audit_position
        ));
    }
    if !chain_holds {
        findings.push("the chain of the audit log does not hold: simsim audit verify".to_owned());
    }
    if document.is_none() {
        findings.push("the document cannot be read".to_owned());
    }
    DrillVerified {
        drill: document.as_ref().map_or(0, |document| document.drill),
        holds: findings.is_empty(),
        signed,
        in_audit_log,
        chain_holds,
        findings,
        document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_of_everything_is_worked_out_of_what_was_measured() {
        let drilled = Drilled {
            files: 10,
            bytes: 1_000,
            files_of: 100,
            bytes_of: 50_000,
            restore_ms: 20,
            ..Drilled::default()
        };
        assert_eq!(restore_all_ms(&drilled), Some(1_000), "fifty times the bytes");
        let small = Drilled { files_of: 1_000, ..drilled.clone() };
        assert_eq!(restore_all_ms(&small), Some(2_000), "a hundred times the files");
        assert_eq!(restore_all_ms(&Drilled { files: 0, ..drilled.clone() }), None);
        let links = Drilled { bytes: 0, bytes_of: 0, ..drilled.clone() };
        assert_eq!(restore_all_ms(&links), Some(200));
        let huge = Drilled { bytes: 1, bytes_of: u64::MAX, restore_ms: u64::MAX, ..drilled };
        assert_eq!(restore_all_ms(&huge), Some(u64::MAX));
    }

    #[test]
    fn any_other_byte_of_document_signature_or_audit_row_is_found() {
        let identity = Identity::generate();
        let key = identity.public();
        let text = sample();
        let evidence = DrillEvidence {
            signature: sign(&identity, &text).unwrap(),
            key: key.to_string(),
            document: text.clone(),
            audit_position: 9,
        };
        let row = AuditRow {
            position: 9,
            at_unix_ms: 1,
            entry: AuditEntry {
                principal: "server".to_owned(),
                verb: VERB.to_owned(),
                object: "drill 7".to_owned(),
                allowed: true,
                detail: audit_detail(true, &text),
            },
        };
        let holds = |evidence: &DrillEvidence, row: Option<&AuditRow>, chain: bool| {
            verify(&key, evidence, row, chain).holds
        };
        assert!(holds(&evidence, Some(&row), true));
        assert!(!holds(&evidence, None, true) && !holds(&evidence, Some(&row), false));
        let other = text.replace("\"passed\":true", "\"passed\":false");
        assert_ne!(other, text);
        assert!(!holds(&DrillEvidence { document: other, ..evidence.clone() }, Some(&row), true));
        let digit = if evidence.signature.starts_with('0') { "1" } else { "0" };
        let signature = format!("{digit}{}", &evidence.signature[1..]);
        let forged = DrillEvidence { signature, ..evidence.clone() };
        assert!(!verify(&key, &forged, Some(&row), true).signed);
        let moved = AuditRow { position: 10, ..row.clone() };
        assert!(!holds(&evidence, Some(&moved), true));
        let stranger = Identity::generate().public();
        assert!(!verify(&stranger, &evidence, Some(&row), true).holds);
        let nonsense = DrillEvidence { document: "{".to_owned(), ..evidence };
        assert!(!holds(&nonsense, Some(&row), true));
    }

    fn sample() -> String {
        let document = DrillDocument {
            format: FORMAT.to_owned(),
            drill: 7,
            server: "s".to_owned(),
            suite_version: "0".to_owned(),
            task: "home".to_owned(),
            client: "web".to_owned(),
            saveset: "00".to_owned(),
            datastore: "main".to_owned(),
            store: "00".to_owned(),
            is_copy: false,
            restored_on: "web".to_owned(),
            requested_by: "local:root".to_owned(),
            event: String::new(),
            seed: 1,
            files_max: 1,
            bytes_max: 1,
            all: false,
            compared_source: false,
            started_unix_ms: None,
            ended_unix_ms: 1,
            outcome: Outcome::Finished,
            passed: true,
            error: None,
            result: Some(Drilled::default()),
            restore_all_ms: None,
        };
        serde_json::to_string(&document).unwrap()
    }
}
