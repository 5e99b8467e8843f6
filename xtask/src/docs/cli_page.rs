//! `docs/reference/cli.md`: the binary knows its own verbs, and prints the page.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

pub fn page() -> Result<String> {
    let root = workspace::root();
    // As the tests are built: by itself the binary would have other features of its libraries, and all of them would be
    // built twice.
    let mut build = step::cargo();
    build.args(["build", "--quiet", "--workspace", "--all-targets", "--locked"]);
    step::run(build.current_dir(&root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let binary = root.join(target).join("debug/simsim");
    let output = Command::new(&binary)
        .arg("reference")
        .output()
        .with_context(|| format!("{} cannot be started", binary.display()))?;
    if !output.status.success() {
        bail!(
            "the binary does not print its reference: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).context("the reference is no text")
}
