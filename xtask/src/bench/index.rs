//! `bench index`: the index of a datastore at any size, by the datastore crate's own example.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

/// `arguments`: millions of chunks, `--place DIR`.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut millions: u64 = 100;
    // A real disk, so that cold reads are cold.
    let mut place = PathBuf::from("/var/tmp");
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--place" => place = arguments.next().context("--place needs a folder")?.into(),
            number => {
                millions = number.parse().with_context(|| {
                    format!("'{number}' is no number of millions; try `bench --help`")
                })?;
            }
        }
    }
    if millions == 0 {
        bail!("an index of no chunks says nothing");
    }
    let folder = place.join(format!("simsim-bench-index-{}", std::process::id()));
    let mut cargo = step::cargo();
    cargo.args(["run", "--release", "--locked", "-p", "simsim-datastore"]);
    cargo.args(["--example", "index_synthetic", "--"]).arg(&folder).arg(millions.to_string());
    let result = step::run(cargo.current_dir(workspace::root()));
    simsim_testkit::remove_tree(&folder)?;
    result
}
