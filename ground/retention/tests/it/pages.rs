//! What the page says is so.

use simsim_retention::Policy;

use crate::sample::{decided, kept, nightly, policies};

const PAGE: &str = include_str!("../../../../docs/reference/retention.md");

fn fenced(name: &str) -> Vec<&'static str> {
    let fence = format!("```{name}\n");
    let blocks = PAGE.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let lines: Vec<&str> = blocks.flat_map(str::lines).filter(|line| !line.is_empty()).collect();
    assert!(!lines.is_empty(), "no block '{name}'");
    lines
}

#[test]
fn every_policy_of_the_page_is_read() {
    for line in fenced("policy") {
        let text = line.split("  #").next().unwrap().trim_end();
        let read: Policy = text.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(read.to_string(), text, "{line}");
    }
    for line in fenced("refused") {
        let (text, message) = line.split_once(" => ").unwrap_or_else(|| panic!("{line}"));
        assert_eq!(text.trim().parse::<Policy>().unwrap_err().to_string(), message.trim());
    }
}

/// `POLICY => DAY, DAY`: of a backup each night at 22:00 UTC from 2026-01-01 to 2026-03-01, the days
/// that are left on the next noon.
#[test]
fn every_verdict_of_the_page_is_so() {
    let all = nightly(60);
    for line in fenced("kept") {
        let (policy, days) = line.split_once(" => ").unwrap_or_else(|| panic!("{line}"));
        let numbers = kept(&decided(&all, &policies(policy.trim()), "2026-03-02 12:00"));
        let left: Vec<String> = numbers
            .iter()
            .map(|number| all[*number as usize - 1].stamped.strftime("%m-%d").to_string())
            .collect();
        assert_eq!(left.join(", "), days.trim(), "{line}");
    }
}
