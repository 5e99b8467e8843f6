//! Layers and walls: which crate may use which, and which outside parts a floor may not touch.
//!
//! ARCHITECTURE.md holds two fenced blocks. `layers`: one line per crate, `FLOOR CRATE: CRATE …`,
//! lowest first. `walls`: `FLOOR: NAME …`, where a NAME with `::` must not stand in that floor's
//! code and any other must not be among its dependencies, but of the one crate in brackets behind it
//! (`NAME[CRATE]`) if there is one. The edges that `cargo metadata` reports
//! must be exactly among the allowed ones; and the list itself is held against the idea of the
//! house, so that it cannot drift: nothing upward, engine and channels never see each other, no
//! component sees another.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, fenced, has_word};
use crate::rust_text;
use crate::workspace::{File, Metadata};

const RULE: &str = "layers";
const PAGE: &str = "ARCHITECTURE.md";

/// Floors from the ground up. Engine and channels stand side by side, and so do the three tools.
const FLOORS: [(&str, u32); 7] = [
    ("ground", 1),
    ("engine", 2),
    ("channels", 2),
    ("components", 3),
    ("roof", 4),
    ("testkit", 3),
    ("xtask", 5),
];

struct Room<'a> {
    floor: &'a str,
    line: usize,
    uses: BTreeSet<&'a str>,
}

pub fn check(architecture: &str, files: &[File], metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut rooms: BTreeMap<&str, Room> = BTreeMap::new();
    for (line, text) in fenced(architecture, "layers") {
        let Some((head, uses)) = text.split_once(':') else {
            findings.push(Finding::new(RULE, PAGE, line, "expected `FLOOR CRATE: CRATE …`"));
            continue;
        };
        let mut head = head.split_whitespace();
        let (Some(floor), Some(name), None) = (head.next(), head.next(), head.next()) else {
            findings.push(Finding::new(RULE, PAGE, line, "expected `FLOOR CRATE: CRATE …`"));
            continue;
        };
        rooms.insert(name, Room { floor, line, uses: uses.split_whitespace().collect() });
    }
    if rooms.is_empty() {
        findings.push(Finding::new(RULE, PAGE, 0, "no ```layers block: the layering is unchecked"));
        return findings;
    }
    findings.extend(list_follows_the_idea(&rooms));
    findings.extend(edges_are_listed(&rooms, metadata));
    findings.extend(walls_hold(architecture, &rooms, files, metadata));
    findings
}

fn list_follows_the_idea(rooms: &BTreeMap<&str, Room>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut bad = |line, message| findings.push(Finding::new(RULE, PAGE, line, message));
    for (name, room) in rooms {
        if height(room.floor).is_none() {
            bad(room.line, format!("'{}' is no floor", room.floor));
        }
        for used in &room.uses {
            match rooms.get(used) {
                None => bad(room.line, format!("{name} uses {used}, which has no line")),
                Some(other) if !may_stand_on(room.floor, other.floor, false) => bad(
                    room.line,
                    format!("{name} ({}) must not use {used} ({})", room.floor, other.floor),
                ),
                Some(other) if other.line >= room.line => {
                    bad(room.line, format!("{used} stands below {name} but is listed after it"))
                }
                Some(_) => {}
            }
        }
    }
    findings
}

fn edges_are_listed(rooms: &BTreeMap<&str, Room>, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    let members: BTreeSet<&str> = metadata.members().map(|member| member.name.as_str()).collect();
    for name in rooms.keys().filter(|name| !members.contains(*name)) {
        findings.push(Finding::new(RULE, PAGE, rooms[name].line, format!("no crate {name}")));
    }
    for member in metadata.members() {
        let manifest = member.manifest_path.display().to_string();
        let Some(room) = rooms.get(member.name.as_str()) else {
            let message = format!("{} has no line in the layer list of {PAGE}", member.name);
            findings.push(Finding::new(RULE, &manifest, 0, message));
            continue;
        };
        for edge in member.dependencies.iter().filter(|edge| members.contains(edge.name.as_str())) {
            let tests_only = edge.kind.as_deref() == Some("dev");
            let listed = room.uses.contains(edge.name.as_str());
            let allowed = match rooms.get(edge.name.as_str()) {
                Some(other) if tests_only => may_stand_on(room.floor, other.floor, true),
                Some(_) => listed,
                None => false,
            };
            if !allowed {
                let message = if tests_only {
                    format!("tests of {} must not use {}", member.name, edge.name)
                } else {
                    format!("{} uses {}, which {PAGE} does not allow", member.name, edge.name)
                };
                findings.push(Finding::new(RULE, &manifest, 0, message));
            }
        }
    }
    findings
}

fn walls_hold(
    architecture: &str,
    rooms: &BTreeMap<&str, Room>,
    files: &[File],
    metadata: &Metadata,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in fenced(architecture, "walls") {
        let Some((floor, banned)) = text.split_once(':') else {
            findings.push(Finding::new(RULE, PAGE, line, "expected `FLOOR: NAME …`"));
            continue;
        };
        let (patterns, crates): (Vec<&str>, Vec<&str>) =
            banned.split_whitespace().partition(|name| name.contains("::"));
        let residents = metadata
            .members()
            .filter(|member| rooms.get(member.name.as_str()).is_some_and(|r| r.floor == floor));
        for member in residents {
            for edge in &member.dependencies {
                let own = format!("{}[{}]", edge.name, member.name);
                let banned = |name: &&str| {
                    let (name, exempt) = (name.split('[').next(), **name == own);
                    name == Some(edge.name.as_str()) && !exempt
                };
                if edge.kind.as_deref() != Some("dev") && crates.iter().any(banned) {
                    let message = format!("{floor}: {} must not use {}", member.name, edge.name);
                    let manifest = member.manifest_path.display().to_string();
                    findings.push(Finding::new(RULE, &manifest, 0, message));
                }
            }
        }
        let folder = format!("{floor}/");
        for file in files.iter().filter(|f| f.is_rust() && f.path.starts_with(&folder)) {
            if file.path.contains("/tests/") {
                continue;
            }
            let code = rust_text::code_only(rust_text::before_tests(file.text()));
            for (at, code_line) in code.lines().enumerate() {
                for pattern in patterns.iter().filter(|pattern| has_word(code_line, pattern)) {
                    let message = format!("{floor}: no {pattern} on this floor");
                    findings.push(Finding::new(RULE, &file.path, at + 1, message));
                }
            }
        }
    }
    findings
}

fn height(floor: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == floor).map(|(_, height)| *height)
}

/// May a crate on `floor` use one on `other`? Tests may also use the testkit and the same floor.
fn may_stand_on(floor: &str, other: &str, in_tests: bool) -> bool {
    let (Some(own), Some(below)) = (height(floor), height(other)) else { return false };
    if in_tests && other == "testkit" {
        return true;
    }
    match (floor, other) {
        ("engine", "channels") | ("channels", "engine") => false,
        ("components", "components") => in_tests,
        ("xtask", "testkit") => true,
        (_, "testkit" | "xtask") => false,
        _ => below < own || floor == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
```layers
ground simsim-model:
engine simsim-storage: simsim-model
channels simsim-net: simsim-model
components simsim-client: simsim-model simsim-net simsim-storage
components simsim-device: simsim-model
```
```walls
ground: rustix std::fs
engine: tokio std::net
```
";

    fn metadata(edges: &[(&str, &str, Option<&str>)]) -> Metadata {
        let names =
            ["simsim-model", "simsim-storage", "simsim-net", "simsim-client", "simsim-device"];
        let packages: Vec<_> = names
            .iter()
            .map(|name| {
                let dependencies: Vec<_> = edges
                    .iter()
                    .filter(|(from, ..)| from == name)
                    .map(|(_, to, kind)| serde_json::json!({ "name": to, "kind": kind }))
                    .collect();
                serde_json::json!({
                    "id": name, "name": name, "version": "0.1.0", "license": null,
                    "license_file": null, "manifest_path": format!("{name}/Cargo.toml"),
                    "dependencies": dependencies, "targets": [],
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "packages": packages, "workspace_members": names, "resolve": null,
        }))
        .unwrap()
    }

    fn messages(page: &str, files: &[File], edges: &[(&str, &str, Option<&str>)]) -> String {
        let found = check(page, files, &metadata(edges));
        found.iter().map(|finding| format!("{finding}\n")).collect()
    }

    #[test]
    fn listed_edges_pass() {
        let edges = [
            ("simsim-storage", "simsim-model", None),
            ("simsim-client", "simsim-storage", None),
            ("simsim-client", "simsim-device", Some("dev")),
        ];
        assert_eq!(messages(GOOD, &[], &edges), "");
    }

    #[test]
    fn an_edge_that_is_not_listed_is_found() {
        let found = messages(GOOD, &[], &[("simsim-device", "simsim-net", None)]);
        assert!(found.contains("simsim-device uses simsim-net"), "{found}");
    }

    #[test]
    fn a_test_may_not_cross_the_wall_either() {
        let found = messages(GOOD, &[], &[("simsim-net", "simsim-storage", Some("dev"))]);
        assert!(found.contains("tests of simsim-net must not use simsim-storage"), "{found}");
    }

    #[test]
    fn a_list_that_breaks_the_idea_is_found() {
        for (good, bad, word) in [
            ("simsim-net: simsim-model", "simsim-net: simsim-storage", "must not use"),
            ("simsim-device: simsim-model", "simsim-device: simsim-client", "must not use"),
            ("ground simsim-model:", "ground simsim-model: simsim-storage", "must not use"),
            ("ground simsim-model:", "cellar simsim-model:", "is no floor"),
            ("simsim-device: simsim-model", "simsim-device: simsim-gone", "has no line"),
        ] {
            let found = messages(&GOOD.replace(good, bad), &[], &[]);
            assert!(found.contains(word), "{bad}: {found}");
        }
    }

    #[test]
    fn a_missing_list_or_line_is_found() {
        assert!(messages("", &[], &[]).contains("unchecked"));
        let page = GOOD.replace("components simsim-device: simsim-model\n", "");
        assert!(messages(&page, &[], &[]).contains("simsim-device has no line"));
        let page = GOOD.replace("simsim-device", "simsim-gone");
        assert!(messages(&page, &[], &[]).contains("no crate simsim-gone"));
    }

    #[test]
    fn a_wall_keeps_crates_and_paths_out() {
        let found = messages(GOOD, &[], &[("simsim-storage", "tokio", None)]);
        assert!(found.contains("must not use tokio"), "{found}");
        let file = File::sample(
            "engine/storage/src/a.rs",
            "// std::net::X\nuse std::net::TcpStream;\n#[cfg(test)]\nmod tests { use std::net::X; }",
        );
        let found = messages(GOOD, &[file], &[]);
        assert_eq!(found.lines().count(), 1, "{found}");
        assert!(found.starts_with("engine/storage/src/a.rs:2:"), "{found}");
    }
    #[test]
    fn a_crate_in_brackets_passes_a_wall_and_no_other_does() {
        let page =
            GOOD.replace("engine: tokio", "engine: rusqlite[simsim-storage] tokio[simsim-net]");
        let found = |edge| messages(&page, &[], &[edge]);
        assert_eq!(found(("simsim-storage", "rusqlite", None)), "");
        let other = found(("simsim-storage", "tokio", None));
        assert!(other.contains("must not use tokio"), "{other}");
    }
}
