//! Links inside the repository: every `[text](path#heading)` of a Markdown page must lead to a file
//! that is there, and to a heading that the page has; and every page in `docs/` can be reached.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::workspace::File;

/// Says which links lead nowhere, one line each.
pub fn broken(root: &Path, files: &[File]) -> Vec<String> {
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(file.text()) {
            if let Err(why) = follow(root, files, &file.path, &target) {
                broken.push(format!("{}:{line}: ({target}) {why}", file.path));
            }
        }
    }
    broken
}

/// Pages in `docs/` to which no row of links leads from the README.
pub fn unreachable(files: &[File]) -> Vec<String> {
    let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
    let mut queue = vec![PathBuf::from("README.md")];
    while let Some(place) = queue.pop() {
        let Some(page) = files.iter().find(|file| Path::new(&file.path) == place) else { continue };
        if !reached.insert(place.clone()) {
            continue;
        }
        let folder = place.parent().unwrap_or(Path::new(""));
        for (_, target) in links(page.text()) {
            let path = target.split('#').next().unwrap_or("");
            queue.extend(normal(&folder.join(path)));
        }
    }
    let pages = files.iter().filter(|f| f.path.starts_with("docs/") && f.path.ends_with(".md"));
    pages
        .filter(|page| !reached.contains(Path::new(&page.path)))
        .map(|page| format!("{}: no link leads here: name it in docs/README.md", page.path))
        .collect()
}

fn follow(root: &Path, files: &[File], from: &str, target: &str) -> Result<(), String> {
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let place = if path.is_empty() {
        PathBuf::from(from)
    } else {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        normal(&folder.join(path)).ok_or("leaves the repository")?
    };
    if !root.join(&place).exists() && !files.iter().any(|file| Path::new(&file.path) == place) {
        return Err("is not there".to_owned());
    }
    if heading.is_empty() {
        return Ok(());
    }
    let page = files.iter().find(|file| Path::new(&file.path) == place);
    let headings = page.map(|page| anchors(page.text())).unwrap_or_default();
    if headings.iter().any(|anchor| anchor == heading) {
        Ok(())
    } else {
        Err("has no such heading".to_owned())
    }
}

/// `a/../b` becomes `b`; nothing where the path climbs out of the root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// Targets of links outside of code, with their line; addresses with a scheme are left out.
fn links(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in prose(markdown) {
        let mut rest = line.as_str();
        while let Some(open) = rest.find("](") {
            rest = &rest[open + 2..];
            let Some(close) = rest.find(')') else { break };
            let target = rest[..close].split_whitespace().next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((at, target.to_owned()));
            }
            rest = &rest[close..];
        }
    }
    found
}

/// Lines outside of fenced blocks, with code spans blanked.
fn prose(markdown: &str) -> Vec<(usize, String)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (at, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            let parts = line.split('`').enumerate();
            let text = parts.filter(|(n, _)| n % 2 == 0).map(|(_, part)| part);
            lines.push((at + 1, text.collect::<Vec<_>>().join(" ")));
        }
    }
    lines
}

/// Anchors of a page's headings, as the common renderers make them.
fn anchors(markdown: &str) -> Vec<String> {
    let mut inside = false;
    let mut found: Vec<String> = Vec::new();
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        }
        if inside || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let anchor: String = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let earlier = found.iter().filter(|other| **other == anchor).count();
        found.push(if earlier == 0 { anchor } else { format!("{anchor}-{earlier}") });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        let files = [
            File::sample("docs/a.md", text),
            File::sample("docs/b.md", "# One heading: here\n"),
            File::sample("c.md", ""),
        ];
        broken(Path::new("/nowhere/at/all"), &files).len()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        assert_eq!(count("[x](b.md) [y](../c.md) [z](b.md#one-heading-here) [w](http://x/y)"), 0);
        assert_eq!(count("# Own\n[x](#own)"), 0);
        assert_eq!(count("`[x](no.md)`\n```\n[x](no.md)\n```\n"), 0);
    }

    #[test]
    fn a_page_that_nobody_finds_is_found() {
        let files = [
            File::sample("README.md", "[docs](docs/README.md)"),
            File::sample("docs/README.md", "[a](sub/a.md)"),
            File::sample("docs/sub/a.md", "[up](../README.md)"),
            File::sample("docs/sub/lost.md", "[a](a.md)"),
        ];
        let found = unreachable(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("docs/sub/lost.md:"), "{found:?}");
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in
            ["[x](no.md)", "[x](../../c.md)", "[x](b.md#two)", "[x](#none)", "[x](/etc/passwd)"]
        {
            assert_eq!(count(text), 1, "{text}");
        }
        assert_eq!(count("[x](no.md) and [y](neither.md)"), 2);
    }
}
