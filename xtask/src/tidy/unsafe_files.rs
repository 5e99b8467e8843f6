//! `unsafe` stands only in the files that ARCHITECTURE.md names (fenced block `unsafe`), and each
//! of these says why it is sound.

use super::{Finding, fenced, has_word};
use crate::rust_text;
use crate::workspace::File;

const RULE: &str = "unsafe";

pub fn check(architecture: &str, files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let listed: Vec<(usize, &str)> = fenced(architecture, "unsafe")
        .into_iter()
        .filter_map(|(line, text)| Some((line, text.split_whitespace().next()?)))
        .collect();
    for (line, path) in &listed {
        match files.iter().find(|file| file.path == *path) {
            None => {
                let message = format!("{path} does not exist");
                findings.push(Finding::new(RULE, "ARCHITECTURE.md", *line, message));
            }
            Some(file) if !uses_unsafe(file) => {
                let message = format!("{path} has no unsafe code any more: take it off the list");
                findings.push(Finding::new(RULE, "ARCHITECTURE.md", *line, message));
            }
            Some(file) if !file.text().contains("SAFETY:") => {
                let message = "unsafe code without a `SAFETY:` comment";
                findings.push(Finding::new(RULE, path, 0, message));
            }
            Some(_) => {}
        }
    }
    for file in files.iter().filter(|file| file.is_rust()) {
        if listed.iter().any(|(_, path)| *path == file.path) {
            continue;
        }
        let code = rust_text::code_only(file.text());
        for (at, line) in code.lines().enumerate() {
            if has_word(line, "unsafe") || allows_unsafe(line) {
                let message = "unsafe code outside the files that ARCHITECTURE.md names";
                findings.push(Finding::new(RULE, &file.path, at + 1, message));
            }
        }
    }
    findings
}

fn uses_unsafe(file: &File) -> bool {
    has_word(&rust_text::code_only(file.text()), "unsafe")
}

/// An `allow` at a `mod` line lifts the ban for a listed file; anywhere else it is a finding.
fn allows_unsafe(line: &str) -> bool {
    line.contains("#![allow(unsafe_code)]")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "```unsafe\na/src/map.rs  maps a file\n```\n";

    #[test]
    fn unsafe_outside_the_list_is_found() {
        let good = File::sample("a/src/map.rs", "// SAFETY: sound\nunsafe { x() }");
        let bad = File::sample("a/src/b.rs", "// unsafe\nlet s = \"unsafe\";\nunsafe { y() }");
        let found = check(LIST, &[good, bad]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].line), ("a/src/b.rs", 3));
    }

    #[test]
    fn a_whole_crate_cannot_lift_the_ban() {
        let good = File::sample("a/src/map.rs", "// SAFETY: sound\nunsafe { x() }");
        let bad = File::sample("a/src/lib.rs", "#![allow(unsafe_code)]");
        assert_eq!(check(LIST, &[good, bad]).len(), 1);
    }

    #[test]
    fn a_stale_or_unexplained_entry_is_found() {
        assert_eq!(check(LIST, &[]).len(), 1);
        assert_eq!(check(LIST, &[File::sample("a/src/map.rs", "fn safe() {}")]).len(), 1);
        assert_eq!(check(LIST, &[File::sample("a/src/map.rs", "unsafe { x() }")]).len(), 1);
    }
}
