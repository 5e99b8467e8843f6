//! Habits of the house that neither the compiler nor clippy holds.
//!
//! Each rule reads the same files and answers with findings; each has a unit test with a bad sample
//! that it must find. What a rule allows stands in ARCHITECTURE.md (layers, walls, unsafe files) or
//! beside the rule, with its reason.

mod documents;
mod guards;
mod layers;
mod manifests;
mod names;
mod places;
mod ports;
mod unfinished;
mod unsafe_files;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::{self, File, Metadata};

/// One broken rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: &'static str,
    pub path: String,
    /// Counted from 1; 0 for the whole file.
    pub line: usize,
    pub message: String,
}

impl Finding {
    fn new(rule: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { rule, path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": [{}] {}", self.rule, self.message)
    }
}

pub fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("tidy takes no argument, got '{argument}'");
    }
    let root = workspace::root();
    let files = workspace::files(&root)?;
    let metadata = workspace::metadata_of_members(&root)?;
    let findings = all(&files, &metadata);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings in {} files", findings.len(), files.len());
    }
    println!("{} files, {} crates, no finding", files.len(), metadata.members().count());
    Ok(())
}

fn all(files: &[File], metadata: &Metadata) -> Vec<Finding> {
    let architecture =
        files.iter().find(|file| file.path == "ARCHITECTURE.md").map_or("", |file| file.text());
    let mut findings = Vec::new();
    findings.extend(layers::check(architecture, files, metadata));
    findings.extend(unsafe_files::check(architecture, files));
    findings.extend(manifests::check(files, metadata));
    findings.extend(names::check(files));
    findings.extend(ports::check(files));
    findings.extend(unfinished::check(files));
    findings.extend(places::check(files));
    findings.extend(guards::check(files));
    findings.extend(documents::check(files));
    findings
}

/// The lines of the first fenced block with this info string, with their line numbers; comments
/// (`#`) and empty lines are left out.
fn fenced<'a>(markdown: &'a str, info: &str) -> Vec<(usize, &'a str)> {
    let fence = format!("```{info}");
    markdown
        .lines()
        .enumerate()
        .skip_while(|(_, line)| line.trim_end() != fence)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("```"))
        .map(|(at, line)| (at + 1, line.split('#').next().unwrap_or("").trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// Does `text` hold `word` with no letter, digit or `_` on either side?
fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        !text[..at].chars().next_back().is_some_and(part_of_word)
            && !text[at + word.len()..].chars().next().is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_block_is_read_with_its_line_numbers() {
        let text = "# x\n```layers\na b # why\n\n# only a comment\nc\n```\nd\n";
        assert_eq!(fenced(text, "layers"), [(3, "a b"), (6, "c")]);
        assert!(fenced(text, "unsafe").is_empty());
    }

    #[test]
    fn words_have_edges() {
        assert!(has_word("a unsafe {", "unsafe"));
        assert!(!has_word("deny(unsafe_code)", "unsafe"));
    }
}
