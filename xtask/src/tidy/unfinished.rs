//! Nothing unfinished and no test that is switched off.

use super::Finding;
use crate::workspace::File;

const RULE: &str = "unfinished";

/// Spelled in two halves, so that this file does not find itself.
const MARKS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("#[ig", "nore"),
];

const ENDINGS: [&str; 7] = [".rs", ".md", ".toml", ".sh", ".sql", ".py", ".service"];

pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|f| ENDINGS.iter().any(|ending| f.path.ends_with(ending))) {
        for (at, line) in file.text().lines().enumerate() {
            for mark in MARKS.iter().filter(|mark| line.contains(**mark)) {
                let message = format!("'{mark}': finish it, or name it in an issue");
                findings.push(Finding::new(RULE, &file.path, at + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_found() {
        for mark in MARKS {
            let file = File::sample("a.rs", &format!("fn a() {{\n    {mark}\n}}"));
            let found = check(&[file]);
            assert_eq!(found.len(), 1, "{mark}");
            assert_eq!(found[0].line, 2);
        }
        assert_eq!(check(&[File::sample("a.rs", "finished")]), []);
    }
}
