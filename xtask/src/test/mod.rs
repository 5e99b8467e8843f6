//! `test`: brings what the tests need, runs every test of the workspace, and counts honestly.
//!
//! The last line is `N passed, N failed, N skipped`; above it stand the names of the tests that
//! failed. A test that cannot run here prints a line that begins with `skipped:` and returns; it
//! counts as skipped and never as passed, and its reason is shown. The verb fails when a test
//! failed, when something did not build, and when no test ran at all.

mod needs;
mod tally;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tally::{Counts, Runner, Tally};

use crate::{step, workspace};

pub fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|argument| argument == "--help") {
        println!("cargo xtask test [ARGS]: ARGS go to the test runner, such as `-p simsim-model`");
        return Ok(());
    }
    needs::bring();
    let everything = arguments.is_empty();
    let mut counts = Counts::default();
    let mut failures = Vec::new();
    let mut all_ended_well = true;
    for (runner, mut command) in commands(arguments) {
        println!("== {}", step::describe(&command));
        let (tally, ended_well) = watch(runner, &mut command)?;
        counts.add(&tally.counts(everything));
        failures.extend(tally.failures().map(str::to_owned));
        all_ended_well &= ended_well;
    }
    if counts.passed + counts.failed + counts.skipped == 0 {
        println!("{counts}");
        bail!("no test ran");
    }
    if !all_ended_well && counts.failed == 0 {
        // It did not build, or the runner itself broke: that must not look like a green line.
        counts.failed = 1;
        eprintln!("the test runner ended with an error that is no test's");
    }
    for name in failures {
        println!("failed: {name}");
    }
    println!("{counts}");
    if counts.failed > 0 {
        // The counts are the last line by contract: no message after them.
        std::process::exit(1);
    }
    Ok(())
}

/// What to run, and how to read its output. nextest runs no documentation tests.
fn commands(arguments: &[String]) -> Vec<(Runner, Command)> {
    let whole: &[&str] = if arguments.iter().any(|a| a == "-p" || a.starts_with("--package")) {
        &[]
    } else {
        &["--workspace"]
    };
    let prepared = |first: &[&str]| {
        let mut command = step::cargo();
        command.args(first).args(whole).arg("--locked").current_dir(workspace::root());
        // Colours would hide the words that are counted; tests speak without them as well.
        command.env("CARGO_TERM_COLOR", "never").env("NO_COLOR", "1");
        command
    };
    let mut commands = Vec::new();
    if step::on_path("cargo-nextest") {
        let mut command = prepared(&["nextest", "run", "--no-fail-fast", "--color", "never"]);
        command.args(["--success-output", "immediate", "--failure-output", "immediate-final"]);
        command.args(["--no-tests", "pass"]);
        if !arguments.iter().any(|a| a == "-j" || a.starts_with("--test-threads")) {
            // What `.config/nextest.toml` says of threads is in thirds of a core, and six wait.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            command.arg("--test-threads").arg((3 * cores + 6).to_string());
        }
        command.args(arguments);
        commands.push((Runner::Nextest, command));
        if arguments.is_empty() {
            commands.push((Runner::Libtest, prepared(&["test", "--doc", "--no-fail-fast"])));
        }
    } else {
        let mut command = prepared(&["test", "--no-fail-fast"]);
        command.args(arguments).args(["--", "--show-output"]);
        commands.push((Runner::Libtest, command));
    }
    commands
}

/// Runs a test runner, passes on what people want to see, counts the rest.
fn watch(runner: Runner, command: &mut Command) -> Result<(Tally, bool)> {
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", step::describe(command)))?;
    // The command holds the pipe's write ends: only without them does the reading end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tally = Tally::new(runner);
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(shown) = tally.line(text.trim_end_matches(['\n', '\r'])) {
            println!("{shown}");
        }
    }
    let status = child.wait()?;
    Ok((tally, status.success()))
}
