//! Pages that are made from the code, and links that lead somewhere.

mod cli_page;
mod links;
mod ports_page;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// A generated page: where it lies, and how it is made.
type Page = (&'static str, fn() -> Result<String>);

const PAGES: [Page; 2] = [
    ("docs/reference/ports.md", || Ok(ports_page::page())),
    ("docs/reference/cli.md", cli_page::page),
];

/// `docs` writes the generated pages; `docs --check` only compares. Both follow the links.
pub fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        other => bail!("expected nothing or --check, got '{}'", other.join(" ")),
    };
    let root = workspace::root();
    let mut stale = Vec::new();
    for (path, make) in PAGES {
        let place = root.join(path);
        let text = make().with_context(|| format!("cannot make {path}"))?;
        if std::fs::read_to_string(&place).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(path);
        } else {
            std::fs::create_dir_all(place.parent().context("a page lies in a folder")?)?;
            std::fs::write(&place, text).with_context(|| format!("cannot write {path}"))?;
            println!("wrote {path}");
        }
    }
    let files = workspace::files(&root)?;
    let mut broken = links::broken(&root, &files);
    broken.extend(links::unreachable(&files));
    for link in &broken {
        println!("{link}");
    }
    if !stale.is_empty() {
        bail!("not as generated, run `cargo xtask docs`: {}", stale.join(", "));
    }
    if !broken.is_empty() {
        bail!("{} broken links or lost pages", broken.len());
    }
    Ok(())
}
