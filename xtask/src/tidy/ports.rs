//! A port number of the registry stands nowhere else in the code.
//!
//! Comments may name ports; code and literals may not, in tests neither: `port_registry` has them
//! all. Three numbers of other systems are also everyday numbers and count only where the line
//! speaks of a port.

use std::collections::BTreeSet;

use simsim_model::port_registry::{DIAL, LISTEN, PortSet};

use super::Finding;
use crate::rust_text;
use crate::workspace::File;

const RULE: &str = "ports";
const HOMES: [&str; 2] = ["ground/model/src/port_registry.rs", "ground/model/tests/"];

pub fn check(files: &[File]) -> Vec<Finding> {
    let registry = registry();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        if HOMES.iter().any(|home| file.path.starts_with(home)) {
            continue;
        }
        let code = rust_text::without_comments(file.text());
        for (at, line) in code.lines().enumerate() {
            for (column, number) in numbers(line) {
                if registry.contains(&number) && is_port(line, column, number) {
                    let message =
                        format!("{number} is a port of the registry: take it from port_registry");
                    findings.push(Finding::new(RULE, &file.path, at + 1, message));
                }
            }
        }
    }
    findings
}

fn registry() -> BTreeSet<u64> {
    let listen = LISTEN.iter().flat_map(|row| match row.ports {
        PortSet::One(port) | PortSet::PerDrive(port) => port..=port,
        PortSet::Range(first, last) => first..=last,
    });
    listen.chain(DIAL.iter().map(|row| row.port)).map(u64::from).collect()
}

/// Numbers on a line with their columns; `11_322` and `11322u16` count as 11322.
fn numbers(line: &str) -> Vec<(usize, u64)> {
    let bytes = line.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let word_before =
            at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || b"_.".contains(&bytes[at - 1]));
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let length = bytes[at..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
        let digits: String = line[at..at + length].chars().filter(|c| *c != '_').collect();
        if let (false, Ok(number)) = (word_before, digits.parse()) {
            found.push((at, number));
        }
        at += length;
    }
    found
}

fn is_port(line: &str, column: usize, number: u64) -> bool {
    let everyday = number < 1024 || number.is_multiple_of(1000);
    !everyday || line[..column].ends_with(':') || line.to_ascii_lowercase().contains("port")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> usize {
        check(&[File::sample("a/src/b.rs", line)]).len()
    }

    #[test]
    fn literals_are_found_in_every_spelling() {
        let smssh = simsim_model::port_registry::SMSSH.ports.first();
        let http = simsim_model::port_registry::HTTP.ports.first();
        assert_eq!(found(&format!("let port = {smssh};")), 1);
        assert_eq!(found(&format!("let port = {}_{:03}u16;", smssh / 1000, smssh % 1000)), 1);
        assert_eq!(found(&format!("dial(\"host:{smssh}\")")), 1);
        assert_eq!(found(&format!("dial(\"http://host:{http}\")")), 1);
        assert_eq!(found(&format!("let port = {http};")), 1);
    }

    #[test]
    fn the_middle_of_a_range_is_found() {
        let PortSet::Range(first, _) = simsim_model::port_registry::FTP_DATA.ports else {
            panic!("the FTP data ports are a range");
        };
        assert_eq!(found(&format!("bind({})", first + 2)), 1);
    }

    #[test]
    fn comments_and_everyday_numbers_pass() {
        let smssh = simsim_model::port_registry::SMSSH.ports.first();
        let ndmp = DIAL.iter().find(|row| row.module == "ndmp").unwrap().port;
        assert_eq!(found(&format!("// port {smssh}")), 0);
        assert_eq!(found(&format!("/* port {smssh} */ let x = 1;")), 0);
        assert_eq!(found(&format!("const TIMEOUT_MS: u64 = {ndmp};")), 0);
        assert_eq!(found(&format!("let x{smssh} = y.{smssh};")), 0);
        assert_eq!(found(&format!("const PORT: u16 = {ndmp};")), 1);
    }

    #[test]
    fn the_registry_itself_passes() {
        let smssh = simsim_model::port_registry::SMSSH.ports.first();
        let file = File::sample("ground/model/src/port_registry.rs", &format!("One({smssh})"));
        assert_eq!(check(&[file]), []);
    }
}
