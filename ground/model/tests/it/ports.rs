//! The port registry agrees row by row with the port contract.
//!
//! The contract is kept beside the repository; `testdata/ports.toml` is the copy that every clone
//! has, and it must be equal to the original where that is at hand.

use std::path::{Path, PathBuf};

use simsim_model::port_registry::{DIAL, Host, LISTEN, PortSet, RULES};
use toml::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn contract(path: &Path) -> toml::Table {
    let text = std::fs::read_to_string(path).expect("the contract can be read");
    text.parse().expect("the contract is TOML")
}

fn rows<'a>(contract: &'a toml::Table, kind: &str) -> Vec<&'a toml::Table> {
    let rows = contract.get(kind).and_then(Value::as_array).expect("the contract has rows");
    rows.iter().map(|row| row.as_table().expect("a row is a table")).collect()
}

/// A row of the registry in the contract's words, so that whole rows can be compared: a key that
/// one side does not know shows as a difference.
fn row(fields: impl IntoIterator<Item = (&'static str, Value)>) -> toml::Table {
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn words(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|word| Value::from(*word)).collect())
}

fn listen_rows() -> Vec<toml::Table> {
    LISTEN
        .iter()
        .map(|listen| {
            let on: Vec<&str> = listen.on.iter().map(|host| host.as_str()).collect();
            let mut table = row([
                ("id", listen.id.into()),
                ("protocol", listen.protocol.into()),
                ("on", words(&on)),
                ("dialed_by", words(listen.dialed_by)),
                ("select", listen.select.into()),
                ("default", listen.default.into()),
            ]);
            match listen.ports {
                PortSet::One(port) => table.extend(row([("port", i64::from(port).into())])),
                PortSet::Range(first, last) => table.extend(row([(
                    "port_range",
                    Value::Array(vec![i64::from(first).into(), i64::from(last).into()]),
                )])),
                PortSet::PerDrive(base) => table.extend(row([
                    ("port_base", i64::from(base).into()),
                    ("port_rule", "port_base + drive number".into()),
                ])),
            }
            table
        })
        .collect()
}

fn dial_rows() -> Vec<toml::Table> {
    DIAL.iter()
        .map(|dial| {
            row([
                ("module", dial.module.into()),
                ("from", words(dial.from)),
                ("to", dial.to.into()),
                ("port", i64::from(dial.port).into()),
                ("protocol", dial.protocol.into()),
            ])
        })
        .collect()
}

fn rule_rows() -> Vec<toml::Table> {
    RULES
        .iter()
        .map(|rule| {
            row([
                ("id", rule.id.into()),
                ("from", words(rule.from)),
                ("to", words(rule.to)),
                ("listen", words(rule.listen)),
            ])
        })
        .collect()
}

fn assert_agrees(contract: &toml::Table) {
    for (kind, ours) in [("listen", listen_rows()), ("dial", dial_rows()), ("rule", rule_rows())] {
        let theirs = rows(contract, kind);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, *theirs, "a row of [[{kind}]]");
        }
        assert_eq!(ours.len(), theirs.len(), "number of [[{kind}]] rows");
    }
    let kinds: Vec<&String> = contract.keys().collect();
    assert_eq!(kinds.len(), 3, "kinds of rows: {kinds:?}");
}

#[test]
fn the_registry_agrees_with_the_copy_of_the_contract() {
    assert_agrees(&contract(&root().join("testdata/ports.toml")));
}

#[test]
fn the_registry_agrees_with_the_contract_beside_the_repository() {
    let path = root().join("../shared/ports.toml");
    if !path.exists() {
        println!("skipped: no ../shared/ports.toml beside the repository");
        return;
    }
    let original = contract(&path);
    assert_agrees(&original);
    assert_eq!(original, contract(&root().join("testdata/ports.toml")), "the copy is stale");
}

#[test]
fn listening_ports_do_not_collide() {
    let mut taken: Vec<(u16, &str)> = Vec::new();
    for listen in &LISTEN {
        let ports = match listen.ports {
            PortSet::One(port) => port..=port,
            PortSet::Range(first, last) => first..=last,
            // The first hundred drives.
            PortSet::PerDrive(base) => base..=base + 100,
        };
        for port in ports {
            assert!(!taken.iter().any(|(other, _)| *other == port), "{port} of {}", listen.id);
            taken.push((port, listen.id));
        }
    }
}

#[test]
fn a_drive_has_a_port_while_there_are_ports() {
    let drives = LISTEN.iter().find(|row| row.id == "drive").expect("drives listen").ports;
    let base = drives.first();
    assert_eq!(drives.for_drive(0), Some(base));
    assert_eq!(drives.for_drive(7), Some(base + 7));
    assert_eq!(drives.for_drive(u32::from(u16::MAX - base)), Some(u16::MAX));
    assert_eq!(drives.for_drive(u32::from(u16::MAX - base) + 1), None);
    assert_eq!(drives.for_drive(u32::MAX), None);
}

#[test]
fn an_rds_and_a_client_have_no_console_port() {
    let console = LISTEN.iter().find(|row| row.id == "console").expect("there is a console");
    assert_eq!(console.on, [Host::Server]);
}
