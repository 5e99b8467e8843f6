//! The protocol's page and the code say the same.

use std::collections::BTreeSet;

use simsim_control::verbs::Request;

#[test]
fn the_page_lists_every_verb_with_its_number_and_no_other() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol/control.md");
    let page = std::fs::read_to_string(page).unwrap();
    let listed: BTreeSet<(u16, String)> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let number = cells.next()?.parse().ok()?;
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((number, name.to_owned()))
        })
        .collect();
    let known: BTreeSet<(u16, String)> =
        Request::ALL.iter().map(|(number, name)| (*number, (*name).to_owned())).collect();
    assert_eq!(known.len(), Request::ALL.len(), "numbers and names are used once");
    assert_eq!(listed, known);
}
