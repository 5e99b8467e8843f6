//! What `docs/internals/failures.md` promises: each failure has its test, each decoder its fuzz.
//!
//! A test that is named there and is gone, a failure ID that is left out, and a file that decodes
//! what strangers wrote without a line there are findings. So is a gap in the tables of tests that
//! other pages have: an empty cell, a test that is gone.

use std::collections::BTreeSet;

use super::{Finding, fenced};
use crate::rust_text::{before_tests, code_only};
use crate::workspace::File;

const RULE: &str = "guards";
const PAGE: &str = "docs/internals/failures.md";

/// Pages of tables whose backticked words are tests, and whose cells are never empty.
const TABLES: [&str; 2] = ["docs/internals/conformance.md", "docs/internals/limits.md"];

/// Classes of failures that touch what exists, and how many there are of each.
const CLASSES: [(&str, u32); 5] = [("IDX", 12), ("PWR", 12), ("ROT", 7), ("FID", 18), ("NET", 1)];
/// Single ones of other classes.
const SINGLE: [&str; 8] = ["RET01", "RET02", "RET05", "RET06", "GC07", "GC11", "GC13", "GC15"];

/// Rooms whose decoders read what strangers wrote, and functions that read.
const ROOMS: [&str; 7] = [
    "ground/format/src/",
    "engine/datastore/src/",
    "channels/control/src/",
    "channels/transfer/src/",
    "channels/console/src/",
    "components/client/src/",
    "components/server/src/keys/",
];
const READERS: [&str; 5] =
    ["fn decode(", "fn decode<", "fn parse(", "fn from_str(text: &str)", "fn decode_"];
/// Files with such functions that read nothing of strangers, each with its reason.
const OWN: [(&str, &str); 3] = [
    ("channels/control/src/identity.rs", "this host's own key file"),
    ("engine/datastore/src/write_session.rs", "hands on to the segment's decoder"),
    ("ground/format/src/cursor.rs", "what the decoders are made of; fuzzed with each of them"),
];

pub fn check(files: &[File]) -> Vec<Finding> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else {
        return vec![Finding::new(RULE, PAGE, 0, "is missing")];
    };
    let tests = tests(files);
    let mut findings = Vec::new();
    let mut seen = BTreeSet::new();
    for (at, line) in page.text().lines().enumerate() {
        let Some((id, guards)) = row(line) else { continue };
        seen.insert(id.to_owned());
        let named: Vec<&str> = guards.split('`').skip(1).step_by(2).collect();
        if named.is_empty() && !guards.contains("does not apply yet") {
            let message = format!("{id} names no test and no reason");
            findings.push(Finding::new(RULE, PAGE, at + 1, message));
        }
        findings.extend(unknown(PAGE, &named, &tests, at + 1));
    }
    for table in TABLES {
        match files.iter().find(|file| file.path == table) {
            Some(page) => findings.extend(gaps(table, page.text(), &tests)),
            None => findings.push(Finding::new(RULE, table, 0, "is missing")),
        }
    }
    let classes = CLASSES
        .iter()
        .flat_map(|(class, last)| (1..=*last).map(move |number| format!("{class}{number:02}")));
    for id in classes.chain(SINGLE.map(str::to_owned)).filter(|id| !seen.contains(id)) {
        findings.push(Finding::new(RULE, PAGE, 0, format!("{id} is left out")));
    }
    let mut fuzzed = BTreeSet::new();
    for (at, line) in fenced(page.text(), "decoders") {
        let mut words = line.split_whitespace();
        fuzzed.insert(words.next().unwrap_or_default());
        let named: Vec<&str> = words.collect();
        if named.is_empty() {
            findings.push(Finding::new(RULE, PAGE, at, "a decoder without a test"));
        }
        findings.extend(unknown(PAGE, &named, &tests, at));
    }
    for file in files.iter().filter(|file| is_decoder(file)) {
        if !fuzzed.contains(file.path.as_str()) && !OWN.iter().any(|own| own.0 == file.path) {
            let message = format!("reads what strangers wrote and has no line in {PAGE}");
            findings.push(Finding::new(RULE, &file.path, 0, message));
        }
    }
    findings
}

/// `| GC07 some words | guards |`
fn row(line: &str) -> Option<(&str, &str)> {
    let (first, guards) = line.strip_prefix("| ")?.split_once(" | ")?;
    let id = first.split(' ').next()?;
    let letters = id.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_id = id.len() == letters.len() + 2
        && (2..=3).contains(&letters.len())
        && letters.chars().all(|c| c.is_ascii_uppercase());
    is_id.then_some((id, guards))
}

fn unknown(page: &str, named: &[&str], tests: &BTreeSet<String>, at: usize) -> Vec<Finding> {
    let gone = named.iter().filter(|name| !tests.contains(**name));
    gone.map(|name| Finding::new(RULE, page, at, format!("there is no test '{name}'"))).collect()
}

/// Empty cells of a page's tables, and tests in them that are gone.
fn gaps(page: &str, text: &str, tests: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            continue;
        };
        if cells.split('|').any(|cell| cell.trim().is_empty()) {
            findings.push(Finding::new(RULE, page, at + 1, "a cell without a test and a reason"));
        }
        let named: Vec<&str> = cells.split('`').skip(1).step_by(2).collect();
        findings.extend(unknown(page, &named, tests, at + 1));
    }
    findings
}

/// Names of all functions: a test is one of them.
fn tests(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for part in code_only(file.text()).split("fn ").skip(1) {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            names.insert(part[..end.unwrap_or(part.len())].to_owned());
        }
    }
    names
}

fn is_decoder(file: &File) -> bool {
    let inside = ROOMS.iter().any(|room| file.path.starts_with(room)) && file.is_rust();
    let tests = file.path.contains("/tests/") || file.path.ends_with("tests.rs");
    inside && !tests && {
        let code = code_only(before_tests(file.text()));
        READERS.iter().any(|reader| code.contains(reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(rows: &str, decoders: &str) -> File {
        File::sample(
            PAGE,
            &format!("| ID | by |\n|---|---|\n{rows}\n```decoders\n{decoders}\n```\n"),
        )
    }

    fn rows() -> String {
        let classes = CLASSES
            .iter()
            .flat_map(|(class, last)| (1..=*last).map(move |number| format!("{class}{number:02}")));
        let ids = classes.chain(SINGLE.map(str::to_owned));
        ids.map(|id| format!("| {id} words | does not apply yet: why |\n")).collect()
    }

    /// The pages of tables, without a gap.
    fn check(files: &[File]) -> Vec<Finding> {
        let tables = TABLES.map(|path| File::sample(path, "| case | test |\n|---|---|\n"));
        let copies = files.iter().map(|file| File::sample(&file.path, file.text()));
        super::check(&copies.chain(tables).collect::<Vec<_>>())
    }

    #[test]
    fn a_gap_in_a_table_of_tests_is_found() {
        let page =
            |cell: &str| format!("`words` and | words\n\n| a | b |\n|---|---|\n| x |{cell}|\n");
        let tests = BTreeSet::from(["there".to_owned()]);
        let found = |cell: &str| gaps("p.md", &page(cell), &tests);
        assert_eq!(found(" `there` "), []);
        assert_eq!(found(" a reason "), []);
        assert!(found("  ")[0].message.contains("without a test"));
        assert!(found(" `there` `gone` ")[0].message.contains("'gone'"));
        let missing = super::check(&[super::tests::page(&rows(), "")]);
        assert_eq!(missing[0].message, "is missing");
    }

    #[test]
    fn what_is_left_out_or_gone_is_found() {
        assert_eq!(check(&[page(&rows(), "")]), []);
        let less = rows().replace("| FID07 words | does not apply yet: why |\n", "");
        assert!(check(&[page(&less, "")])[0].message.contains("FID07 is left out"));
        let gone =
            rows().replace("| GC15 words | does not apply yet: why |", "| GC15 w | `gc15_a` |");
        assert!(check(&[page(&gone, "")])[0].message.contains("'gc15_a'"));
        let there = File::sample("a.rs", "#[test]\nfn gc15_a() {}");
        assert_eq!(check(&[page(&gone, ""), there]), []);
        let bare = rows().replace("| GC15 words | does not apply yet: why |", "| GC15 w | later |");
        assert!(check(&[page(&bare, "")])[0].message.contains("no test and no reason"));
        assert_eq!(check(&[])[0].message, "is missing");
    }

    #[test]
    fn a_decoder_without_fuzz_is_found() {
        let decoder = || {
            File::sample("ground/format/src/new.rs", "pub fn decode(bytes: &[u8]) -> Option<()> {}")
        };
        assert!(check(&[page(&rows(), ""), decoder()])[0].message.contains("strangers"));
        let test = || File::sample("t.rs", "fn fuzz_new() {}");
        let listed = page(&rows(), "ground/format/src/new.rs fuzz_new");
        assert_eq!(check(&[listed, decoder(), test()]), []);
        let listed = page(&rows(), "ground/format/src/new.rs fuzz_old");
        assert!(check(&[listed, decoder(), test()])[0].message.contains("'fuzz_old'"));
    }
}
