//! Each verb of the command line has its row among the JSON documents.

use std::collections::BTreeSet;

use super::Finding;
use crate::workspace::File;

const RULE: &str = "documents";
/// Made from the declarations of the command line, so it has all verbs.
const VERBS: &str = "docs/reference/cli.md";
const PAGE: &str = "docs/reference/json.md";
/// Verbs that print no document, as the page says too.
const WITHOUT: [&str; 4] = ["server", "rds", "completions", "man"];

pub fn check(files: &[File]) -> Vec<Finding> {
    let text = |path: &str| files.iter().find(|file| file.path == path).map(File::text);
    let (Some(verbs), Some(page)) = (text(VERBS), text(PAGE)) else {
        return vec![Finding::new(RULE, PAGE, 0, format!("it or {VERBS} is missing"))];
    };
    let all: BTreeSet<&str> =
        verbs.lines().filter_map(|line| line.strip_prefix("## simsim ")).collect();
    // `client` is a daemon, and begins the names of other verbs.
    let begins = |verb: &str| {
        all.iter().any(|other| other.strip_prefix(verb).is_some_and(|rest| rest.starts_with(' ')))
    };
    let mut missing: BTreeSet<&str> =
        all.iter().copied().filter(|verb| !begins(verb) && !WITHOUT.contains(verb)).collect();
    let rows = page.lines().skip_while(|line| *line != "## Verbs");
    for line in rows.take_while(|line| *line != "## Types") {
        let Some(cell) = line.strip_prefix("| `").and_then(|rest| rest.split('|').next()) else {
            continue;
        };
        // `datastore create`, `attach`: the second one is a verb of datastores.
        let mut group = "";
        for name in cell.trim().trim_end_matches('`').split("`, `") {
            let name = name.split(" --").next().unwrap_or(name);
            let longer = format!("{group} {name}");
            missing.remove(longer.as_str());
            missing.remove(name);
            if let Some((before, _)) = name.rsplit_once(' ') {
                group = if begins(name) { name } else { before };
            }
        }
    }
    let message = |verb| format!("'simsim {verb}' has no row: which document does it print?");
    missing.into_iter().map(|verb| Finding::new(RULE, PAGE, 0, message(verb))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(verbs: &[&str], rows: &str) -> Vec<String> {
        let verbs: String = verbs.iter().map(|verb| format!("## simsim {verb}\n")).collect();
        let page =
            format!("## Verbs\n\n| verb | document |\n|---|---|\n{rows}\n## Types\n| `x` | |\n");
        let files = [File::sample(VERBS, &verbs), File::sample(PAGE, &page)];
        check(&files).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_verb_without_a_row_is_found() {
        let verbs = ["client", "client join", "backup", "task run", "task add", "task show", "man"];
        let all = "| `client join` | |\n| `task add`, `show` | |\n| `backup`, `task run` | |\n";
        assert_eq!(found(&verbs, all), Vec::<String>::new());
        let less = "| `client join` | |\n| `task add` | |\n| `backup --external`, `task run` | |\n";
        let none = "'simsim task show' has no row: which document does it print?";
        assert_eq!(found(&verbs, less), [none]);
    }
}
