//! Counts tests from what a runner prints.
//!
//! The runner says which tests passed; the tests themselves say which of these only skipped, by a
//! line that begins with `skipped:`. Output of passing tests is swallowed, skip reasons are not.

use std::collections::BTreeSet;
use std::fmt;

/// Which program's output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// `cargo nextest run` with the output of passing tests shown.
    Nextest,
    /// `cargo test` with `--show-output`.
    Libtest,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

pub struct Tally {
    runner: Runner,
    passed: usize,
    failed: usize,
    /// Tests that did not pass, by name, whatever ended them.
    failures: BTreeSet<String>,
    /// Not run by the runner: filtered out or switched off.
    left_out: usize,
    /// Passing tests that printed a skip line, by the binary's number and their name.
    skips: BTreeSet<(usize, String)>,
    /// The passing test whose output is being read.
    inside: Option<String>,
    /// libtest only: binaries seen, and tests announced by the last one without a result so far.
    binaries: usize,
    announced: usize,
}

impl Tally {
    pub fn new(runner: Runner) -> Self {
        Self {
            runner,
            passed: 0,
            failed: 0,
            failures: BTreeSet::new(),
            left_out: 0,
            skips: BTreeSet::new(),
            inside: None,
            binaries: 0,
            announced: 0,
        }
    }

    /// Reads one line; answers with what a person should see of it.
    pub fn line(&mut self, line: &str) -> Option<String> {
        match self.runner {
            Runner::Nextest => self.nextest(line),
            Runner::Libtest => self.libtest(line),
        }
    }

    /// The counts so far. `everything`: tests that the runner left out count as skipped, because
    /// nobody asked for a selection.
    pub fn counts(&self, everything: bool) -> Counts {
        let skips = self.skips.len();
        Counts {
            passed: self.passed.saturating_sub(skips),
            // A binary that announced tests and gave no result has died.
            failed: self.failed + self.announced,
            skipped: skips + if everything { self.left_out } else { 0 },
        }
    }

    /// The tests that did not pass, for the end of a long output.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().map(String::as_str)
    }

    fn nextest(&mut self, line: &str) -> Option<String> {
        if line.starts_with("────") {
            self.inside = None;
        } else if let Some((status, rest)) = status_line(line) {
            self.inside = None;
            match status {
                "Summary" => self.nextest_summary(rest),
                "PASS" | "LEAK" => self.inside = Some(name_of(rest).to_owned()),
                // Words that are no result.
                "Starting" | "Nextest run" | "SLOW" | "START" | "TERMINATING" => {}
                // FAIL, TIMEOUT, LEAK-FAIL, the name of a signal.
                _ => {
                    self.failures.insert(name_of(rest).to_owned());
                }
            }
        } else if let Some(name) = &self.inside {
            let name = name.clone();
            return self.output_of_passing(line, name);
        }
        Some(line.to_owned())
    }

    /// `4 tests run: 2 passed (1 slow), 1 failed, 1 timed out, 1 skipped`
    fn nextest_summary(&mut self, rest: &str) {
        let Some((_, counts)) = rest.split_once("run:") else { return };
        let mut plain = String::new();
        let mut depth = 0u32;
        for c in counts.chars() {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ if depth == 0 => plain.push(c),
                _ => {}
            }
        }
        for part in plain.split(',') {
            let Some((number, word)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match word.trim() {
                "passed" => self.passed += number,
                "skipped" => self.left_out += number,
                _ => self.failed += number,
            }
        }
    }

    fn libtest(&mut self, line: &str) -> Option<String> {
        let failed = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        self.failures.extend(failed.map(str::to_owned));
        if self.inside.is_none() && says_nothing(line) {
            return None;
        }
        if let Some(number) = announced_tests(line) {
            self.inside = None;
            self.binaries += 1;
            // A binary before this one that gave no result has died with these tests.
            self.failed += std::mem::replace(&mut self.announced, number);
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            self.inside = None;
            self.announced = 0;
            for part in counts.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (Some(number), Some(word)) = (words.next(), words.next()) else { continue };
                let Ok(number) = number.parse::<usize>() else { continue };
                match word {
                    "passed" => self.passed += number,
                    "failed" => self.failed += number,
                    "ignored" | "filtered" => self.left_out += number,
                    _ => {}
                }
            }
        } else if line == "successes:" {
            self.inside = Some(String::new());
            return None;
        } else if line == "failures:" {
            self.inside = None;
        } else if let Some(name) = &self.inside {
            let head =
                line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
            if let Some(head) = head {
                self.inside = Some(head.to_owned());
                return None;
            }
            let name = name.clone();
            return self.output_of_passing(line, name);
        }
        Some(line.to_owned())
    }

    fn output_of_passing(&mut self, line: &str, name: String) -> Option<String> {
        let reason = line.trim_start().strip_prefix("skipped:")?;
        let shown = format!("     skipped: {name}:{reason}");
        self.skips.insert((self.binaries, name));
        Some(shown)
    }
}

/// `        PASS [   0.006s] (1/4) crate module::test`: a word that ends in column 12.
fn status_line(line: &str) -> Option<(&str, &str)> {
    let (status, rest) = line.split_at_checked(12)?;
    let word = status.trim_start();
    let is_word = !word.is_empty()
        && word.chars().all(|c| c.is_ascii_alphanumeric() || "+- ".contains(c))
        && word.starts_with(|c: char| c.is_ascii_uppercase());
    (is_word && rest.starts_with(" [")).then_some((word, rest))
}

/// `[   0.006s] (1/4) crate module::test`
fn name_of(rest: &str) -> &str {
    rest.rsplit_once(") ").map_or(rest, |(_, name)| name)
}

/// A crate without tests of this kind takes six lines to say so: they would hide what is above.
fn says_nothing(line: &str) -> bool {
    line.is_empty()
        || line == "running 0 tests"
        || line
            .starts_with("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered")
        || line.trim_start().starts_with("Doc-tests ")
}

/// `running 5 tests`
fn announced_tests(line: &str) -> Option<usize> {
    let rest = line.strip_prefix("running ")?;
    rest.strip_suffix(" tests").or_else(|| rest.strip_suffix(" test"))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(runner: Runner, text: &str) -> (Tally, String) {
        let mut tally = Tally::new(runner);
        let shown: Vec<String> = text.lines().filter_map(|line| tally.line(line)).collect();
        (tally, shown.join("\n"))
    }

    const NEXTEST: &str = "
    Starting 4 tests across 1 binary (1 test skipped)
        PASS [   0.006s] (1/4) nt t::b_skip
  stdout ───

    running 1 test
    skipped: no root
    test t::b_skip ... ok

  stderr ───
    skipped: twice

        PASS [   0.008s] (2/4) nt t::a_ok
  stdout ───
    hello
     SIGABRT [   0.010s] (3/4) nt t::d_abort
  stdout ───
    skipped: and died
        FAIL [   0.142s] (4/4) nt t::c_fail
  stdout ───
    said
────────────
     Summary [   0.150s] 4 tests run: 2 passed (1 slow, 1 leaky), 1 failed, 1 timed out, 1 skipped
        FAIL [   0.142s] (4/4) nt t::c_fail
error: test run failed";

    #[test]
    fn nextest_skips_are_counted_once_and_never_as_passed() {
        let (tally, shown) = read(Runner::Nextest, NEXTEST);
        assert_eq!(tally.counts(false), Counts { passed: 1, failed: 2, skipped: 1 });
        assert_eq!(tally.counts(true), Counts { passed: 1, failed: 2, skipped: 2 });
        assert!(shown.contains("skipped: nt t::b_skip: no root"), "{shown}");
        assert!(!shown.contains("hello"), "{shown}");
        assert!(shown.contains("said"), "{shown}");
        let failures: Vec<&str> = tally.failures().collect();
        assert_eq!(failures, ["nt t::c_fail", "nt t::d_abort"]);
    }

    #[test]
    fn a_crate_without_tests_says_nothing() {
        let nothing = "   Doc-tests some_crate\n\nrunning 0 tests\n\ntest result: ok. 0 passed; \
                       0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let (tally, shown) = read(Runner::Libtest, nothing);
        assert_eq!((tally.counts(true), shown.as_str()), (Counts::default(), ""));
    }

    const LIBTEST: &str = "
running 3 tests
test t::a ... ok
test t::b ... ok
test t::c ... FAILED

successes:

---- t::a stdout ----
skipped: no ssh
---- t::b stdout ----
hello

successes:
    t::a
    t::b

failures:

---- t::c stdout ----
skipped: but failed

failures:
    t::c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test

successes:

---- t::a stdout ----
skipped: no ssh

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn libtest_skips_are_counted_per_binary() {
        let (tally, shown) = read(Runner::Libtest, LIBTEST);
        assert_eq!(tally.counts(false), Counts { passed: 1, failed: 1, skipped: 2 });
        assert_eq!(tally.counts(true), Counts { passed: 1, failed: 1, skipped: 3 });
        assert_eq!(tally.failures().collect::<Vec<_>>(), ["t::c"]);
        assert!(shown.contains("skipped: t::a: no ssh") && !shown.contains("hello"), "{shown}");
    }

    #[test]
    fn a_binary_that_dies_counts_its_tests_as_failed() {
        let dead = "running 5 tests\ntest t::a ... ok\nerror: test failed\n";
        let (tally, _) = read(Runner::Libtest, dead);
        assert_eq!(tally.counts(false).failed, 5);
        let (tally, _) = read(Runner::Libtest, &format!("{dead}{LIBTEST}"));
        assert_eq!(tally.counts(false).failed, 6);
    }
}
