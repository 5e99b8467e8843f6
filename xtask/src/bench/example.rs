//! `bench index`, `bench listing`, `bench gc` and `bench search`: parts of the engine at any size, by examples of
//! their own crates.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{step, workspace};

/// The verbs, the crate and the example that each of them runs, and for how many millions where nothing
/// is said.
const EXAMPLES: [(&str, [&str; 2], u64); 4] = [
    ("index", ["simsim-datastore", "index_synthetic"], 100),
    ("listing", ["simsim-datastore", "listing_synthetic"], 100),
    ("gc", ["simsim-datastore", "gc_synthetic"], 10),
    ("search", ["simsim-search", "search_synthetic"], 50),
];

/// Runs the example that a verb asks for, if it is one of these. `arguments`: the verb, millions of what
/// it makes, `--place DIR`.
pub fn run(arguments: &[String]) -> Option<Result<()>> {
    let (verb, rest) = arguments.split_first()?;
    let (_, example, millions) = EXAMPLES.into_iter().find(|(name, ..)| name == verb)?;
    Some(run_example(verb, example, millions, rest))
}

fn run_example(
    verb: &str,
    [room, example]: [&str; 2],
    mut millions: u64,
    arguments: &[String],
) -> Result<()> {
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
        bail!("a bench of nothing says nothing");
    }
    let folder = place.join(format!("simsim-bench-{verb}-{}", std::process::id()));
    let mut cargo = step::cargo();
    cargo.args(["run", "--release", "--locked", "-p", room]);
    cargo.args(["--example", example, "--"]).arg(&folder).arg(millions.to_string());
    let result = step::run(cargo.current_dir(workspace::root()));
    simsim_testkit::remove_tree(&folder)?;
    result
}
