//! `docs/reference/cli.md`: the binary knows its own verbs, and prints the page.

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

pub fn page() -> Result<String> {
    let mut ask = step::cargo();
    ask.args(["run", "--quiet", "--package", "simsim", "--bin", "simsim", "--", "reference"]);
    let output = ask.current_dir(workspace::root()).output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!(
            "the binary does not print its reference: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).context("the reference is no text")
}
