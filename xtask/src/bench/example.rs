//! `bench index`, `bench listing` and `bench gc`: parts of a datastore at any size, by the datastore crate's own
//! examples.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

/// The verbs, the example that each of them runs, and for how many millions where nothing is said.
const EXAMPLES: [(&str, &str, u64); 3] = [
    ("index", "index_synthetic", 100),
    ("listing", "listing_synthetic", 100),
    ("gc", "gc_synthetic", 10),
];

/// Runs the example that a verb asks for, if it is one of these. `arguments`: the verb, millions of what
/// it makes, `--place DIR`.
pub fn run(arguments: &[String]) -> Option<Result<()>> {
    let (verb, rest) = arguments.split_first()?;
    let (_, example, millions) = EXAMPLES.into_iter().find(|(name, ..)| name == verb)?;
    Some(run_example(verb, example, millions, rest))
}

fn run_example(verb: &str, example: &str, mut millions: u64, arguments: &[String]) -> Result<()> {
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
        bail!("a datastore of nothing says nothing");
    }
    let folder = place.join(format!("simsim-bench-{verb}-{}", std::process::id()));
    let mut cargo = step::cargo();
    cargo.args(["run", "--release", "--locked", "-p", "simsim-datastore"]);
    cargo.args(["--example", example, "--"]).arg(&folder).arg(millions.to_string());
    let result = step::run(cargo.current_dir(workspace::root()));
    simsim_testkit::remove_tree(&folder)?;
    result
}
