//! `check`: everything that must hold before a change is taken, the quick parts first. All parts
//! run, so that one look shows all that is wrong.

use anyhow::{Result, bail};

use crate::{docs, licences, step, tidy, workspace};

pub fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("check takes no argument, got '{argument}'");
    }
    let root = workspace::root();
    let parts: [(&str, &dyn Fn() -> Result<()>); 5] = [
        ("fmt", &|| {
            step::run(step::cargo().args(["fmt", "--all", "--", "--check"]).current_dir(&root))
        }),
        ("tidy", &|| tidy::run(&[])),
        ("docs", &|| docs::run(&["--check".to_owned()])),
        ("licences", &|| licences::run(&[])),
        ("clippy", &|| {
            let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--quiet"];
            step::run(
                step::cargo().args(arguments).args(["--", "-D", "warnings"]).current_dir(&root),
            )
        }),
    ];
    let failed: Vec<&str> = parts
        .iter()
        .filter(|(name, part)| step::named(name, part).is_err())
        .map(|(name, _)| *name)
        .collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
