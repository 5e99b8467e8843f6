//! The house's own tools, run as `cargo xtask VERB`.
//!
//! `check` is what must hold before a change is taken: formatting, tidy, generated pages, licences,
//! lints. `test` brings what the tests need and runs them all. `tidy`, `docs` and `licences` are
//! parts of `check` that can run alone. `bench` measures the release binary beside other systems.

mod bench;
mod check;
mod docs;
mod licences;
mod rust_text;
mod step;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask VERB

  check               fmt, tidy, docs --check, licences, clippy
  test [ARGS]         install what the tests need, run all of them; ARGS go to the test runner
  tidy                layers, port literals, names, lengths, unfinished work
  docs [--check]      write (or compare) the generated pages, follow links inside the repository
  licences            licences and the one crypto provider of everything the binary is built from
  bench [OPTIONS]     measure simsim beside the installed peers; `bench --help` lists the options
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let result = match verb.as_str() {
        "check" => check::run(&rest),
        "test" => test::run(&rest),
        "tidy" => tidy::run(&rest),
        "docs" => docs::run(&rest),
        "licences" => licences::run(&rest),
        "bench" => bench::run(&rest),
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => {
            eprint!("xtask: no verb '{other}'\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {verb}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
