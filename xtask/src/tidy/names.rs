//! File names are nouns of the field, and a file tells one story of bearable length.

use super::Finding;
use crate::workspace::File;

const RULE: &str = "names";
const LINES_MAX: usize = 600;
const NOT_NOUNS: [&str; 9] =
    ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "stuff"];

/// Files that may be longer, with the reason.
const LONG: [(&str, &str); 0] = [];

pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for part in file.path.split('/') {
            let stem = part.split('.').next().unwrap_or(part).to_ascii_lowercase();
            if stem.split(['_', '-']).any(|word| NOT_NOUNS.contains(&word)) {
                let message = format!("'{part}' says nothing: find the noun");
                findings.push(Finding::new(RULE, &file.path, 0, message));
            }
        }
        if file.is_rust() {
            let lines = file.text().lines().count();
            let listed = LONG.iter().any(|(path, _)| *path == file.path);
            if lines > LINES_MAX && !listed {
                let message = format!("{lines} lines, the most is {LINES_MAX}: tell two stories");
                findings.push(Finding::new(RULE, &file.path, 0, message));
            }
            if lines <= LINES_MAX && listed {
                let message = "short enough again: take it off the list of long files";
                findings.push(Finding::new(RULE, &file.path, 0, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_without_a_noun_are_found() {
        for path in ["a/src/utils.rs", "a/src/helpers/x.rs", "common/y.rs", "a/job_manager.rs"] {
            assert_eq!(check(&[File::sample(path, "")]).len(), 1, "{path}");
        }
        for path in ["a/src/commons_tree.rs", "a/src/management.rs", "a/src/node.rs"] {
            assert_eq!(check(&[File::sample(path, "")]), [], "{path}");
        }
    }

    #[test]
    fn long_files_are_found() {
        let line = "x\n";
        assert_eq!(check(&[File::sample("a.rs", &line.repeat(LINES_MAX))]), []);
        assert_eq!(check(&[File::sample("a.rs", &line.repeat(LINES_MAX + 1))]).len(), 1);
        assert_eq!(check(&[File::sample("a.txt", &line.repeat(LINES_MAX + 1))]), []);
    }
}
