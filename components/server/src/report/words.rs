//! A report as text.

use std::fmt::Write;

use crate::api::{Report, ReportKind, ReportTask};
use crate::retention::instant;

/// The whole report, lines that end with a line feed.
pub(crate) fn words(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Report of the simsim server '{}'", report.server);
    let _ = writeln!(text, "{} to {}", when(report.from_unix_ms), when(report.until_unix_ms));
    let _ = writeln!(text, "\n{}", report.headline);
    if !report.kinds.is_empty() {
        let _ = writeln!(text, "\nWhat ran");
        let head = ["", "finished", "errors", "failed", "other", "read", "new"].map(str::to_owned);
        for row in std::iter::once(head).chain(report.kinds.iter().map(kind_row)) {
            let [kind, finished, errors, failed, other, read, new] = row;
            let _ = writeln!(
                text,
                "  {kind:<10} {finished:>9} {errors:>7} {failed:>7} {other:>6} {read:>10} {new:>10}"
            );
        }
    }
    for section in sections(report) {
        let _ = writeln!(text, "\n{}", section.title);
        for line in &section.lines {
            let _ = writeln!(text, "  - {line}");
        }
    }
    text
}

pub(super) fn kind_row(kind: &ReportKind) -> [String; 7] {
    [
        kind.kind.clone(),
        kind.finished.to_string(),
        kind.finished_with_errors.to_string(),
        kind.failed.to_string(),
        (kind.cancelled + kind.interrupted).to_string(),
        bytes(kind.bytes),
        bytes(kind.bytes_new),
    ]
}

/// A list of the report, in words.
pub(super) struct Section {
    pub title: String,
    pub lines: Vec<String>,
}

/// All lists that have something in them.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let bad = report.bad.iter().map(|job| {
        let of = match job.task.as_str() {
            "" => String::new(),
            name => format!(" of '{name}'"),
        };
        let why = job.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
        let problems = match job.problems {
            0 => String::new(),
            1 => ", 1 problem".to_owned(),
            many => format!(", {many} problems"),
        };
        format!(
            "{}{of} on '{}' (job {}), {}: {}{problems}{why}",
            job.kind,
            job.client,
            job.job,
            when(job.ended_unix_ms),
            job.outcome
        )
    });
    let late = report.late.iter().map(|run| {
        format!(
            "event '{}' for '{}', {}: {}",
            run.event,
            run.subject,
            when(run.at_unix_ms),
            run.why
        )
    });
    let red = report.tasks - report.tasks_green;
    let approvals = report.approvals.iter().map(|one| {
        format!(
            "approval {}: {} (asked by {}, until {})",
            one.approval,
            one.about,
            one.asked_by,
            when(one.expires_unix_ms)
        )
    });
    let mut sections = Vec::new();
    let mut add = |title: &str, total: Option<u64>, lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        let mut lines = lines;
        let more = total.unwrap_or(0).saturating_sub(lines.len() as u64);
        if more > 0 {
            lines.push(format!("and {more} more"));
        }
        let title = total.map_or(title.to_owned(), |total| format!("{title} ({total})"));
        sections.push(Section { title, lines });
    };
    add("Not well", Some(report.bad_total), bad.collect());
    add("Did not come", Some(report.late_total), late.collect());
    add("Not green", Some(red), tasks(&report.not_green));
    add("Never tested", Some(report.untested_total), tasks(&report.untested));
    add("Capacity", None, capacity(report));
    add("Expires", None, expires(report));
    add("Waits for a second person", None, approvals.collect());
    add("To look at", None, report.warnings.clone());
    sections
}

fn tasks(tasks: &[ReportTask]) -> Vec<String> {
    let mark = |one: &ReportTask| if one.overdue { " (overdue)" } else { "" };
    tasks
        .iter()
        .map(|one| format!("'{}' on '{}'{}: {}", one.task, one.client, mark(one), one.words))
        .collect()
}

fn capacity(report: &Report) -> Vec<String> {
    let line = |store: &crate::api::ReportStore| {
        let name = &store.datastore;
        let (Some(capacity), Some(free)) = (store.capacity_bytes, store.free_bytes) else {
            let why = store.trouble.as_deref().unwrap_or("its device did not answer");
            return format!("'{name}': not known: {why}");
        };
        let percent = u128::from(free) * 100 / u128::from(capacity.max(1));
        let full = store.full_in_days.map_or(String::new(), |days| match days {
            0..=3650 => format!(", full in {days} days"),
            _ => String::new(),
        });
        format!(
            "'{name}': {} of {} free ({percent} %), holds {} of data in {}; {} in the last 7 days{full}",
            bytes(free),
            bytes(capacity),
            bytes(store.saved_bytes),
            bytes(store.stored_bytes.unwrap_or(0)),
            bytes(store.put_in_week_bytes)
        )
    };
    report.datastores.iter().map(line).collect()
}

fn expires(report: &Report) -> Vec<String> {
    let frozen = report.frozen.iter().map(|why| format!("nothing expires now: {why}"));
    let pools = report.expires.iter().map(|pool| {
        format!(
            "pool '{}': {} savesets are expired ({}), {} more will be within 7 days ({})",
            pool.pool,
            pool.expired,
            bytes(pool.expired_bytes),
            pool.soon,
            bytes(pool.soon_bytes)
        )
    });
    frozen.chain(pools).collect()
}

pub(super) fn when(unix_ms: i64) -> String {
    instant(unix_ms).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `12.3 GiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut size = 1_u128;
    while unit + 1 < units.len() && u128::from(bytes) >= size * 1024 {
        size *= 1024;
        unit += 1;
    }
    let word = units.get(unit).copied().unwrap_or("EiB");
    if unit == 0 {
        return format!("{bytes} {word}");
    }
    let tenths = u128::from(bytes) * 10 / size;
    format!("{}.{} {word}", tenths / 10, tenths % 10)
}
