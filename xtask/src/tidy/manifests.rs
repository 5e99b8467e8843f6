//! Every crate takes the workspace's lints and licence, has one integration test binary, and
//! `lib.rs` begins with its story; the lock file names one registry.

use super::Finding;
use crate::workspace::{File, Metadata};

const RULE: &str = "manifests";
const LICENCE: &str = "Apache-2.0 OR MIT";
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub fn check(files: &[File], metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for member in metadata.members() {
        let manifest = member.manifest_path.to_string_lossy();
        // The listing is relative to the root, the metadata is absolute.
        let Some(file) = files
            .iter()
            .filter(|file| file.path.ends_with("/Cargo.toml"))
            .find(|file| manifest.ends_with(&format!("/{}", file.path)))
        else {
            let message = "not in the repository (not added to git?)";
            findings.push(Finding::new(RULE, &manifest, 0, message));
            continue;
        };
        let folder = file.path.trim_end_matches("Cargo.toml");
        findings.extend(manifest_text(file));
        if member.license.as_deref() != Some(LICENCE) {
            let message = format!("licence must be '{LICENCE}', is {:?}", member.license);
            findings.push(Finding::new(RULE, &file.path, 0, message));
        }
        let tests: Vec<_> =
            member.targets.iter().filter(|t| t.kind.iter().any(|kind| kind == "test")).collect();
        for target in &tests {
            let place = target.src_path.to_string_lossy();
            if tests.len() > 1 || !place.ends_with(&format!("{folder}tests/it/main.rs")) {
                let message =
                    format!("test binary '{}': a crate has one, tests/it/main.rs", target.name);
                findings.push(Finding::new(RULE, &file.path, 0, message));
            }
        }
    }
    findings.extend(files.iter().filter(|f| is_crate_root(&f.path)).filter_map(crate_story));
    findings.extend(files.iter().filter(|f| f.path == "Cargo.lock").flat_map(lock_sources));
    findings
}

fn manifest_text(file: &File) -> Vec<Finding> {
    let Ok(manifest) = file.text().parse::<toml::Table>() else {
        return vec![Finding::new(RULE, &file.path, 0, "is not TOML")];
    };
    let inherits = |table: &str, key: &str| {
        let value = manifest.get(table).and_then(|table| table.get(key));
        value.and_then(|v| v.get("workspace").or(Some(v))).and_then(|v| v.as_bool()) == Some(true)
    };
    let mut findings = Vec::new();
    if !inherits("lints", "workspace") {
        let message = "needs `[lints] workspace = true`";
        findings.push(Finding::new(RULE, &file.path, 0, message));
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !inherits("package", key) {
            let message = format!("needs `{key}.workspace = true`");
            findings.push(Finding::new(RULE, &file.path, 0, message));
        }
    }
    findings
}

fn is_crate_root(path: &str) -> bool {
    path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs")
}

fn crate_story(file: &File) -> Option<Finding> {
    let has_story = file.text().trim_start().starts_with("//!");
    (!has_story).then(|| Finding::new(RULE, &file.path, 1, "a crate begins with its story (`//!`)"))
}

fn lock_sources(file: &File) -> Vec<Finding> {
    file.text()
        .lines()
        .enumerate()
        .filter(|(_, line)| line.starts_with("source = ") && !line.contains(REGISTRY))
        .map(|(at, line)| Finding::new(RULE, &file.path, at + 1, format!("foreign {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
[package]
name = \"a\"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
publish.workspace = true
[lints]
workspace = true
";

    fn metadata(licence: &str, tests: &[&str]) -> Metadata {
        let targets: Vec<_> = tests
            .iter()
            .map(|path| serde_json::json!({ "name": "t", "kind": ["test"], "src_path": path }))
            .collect();
        serde_json::from_value(serde_json::json!({
            "packages": [{
                "id": "a", "name": "a", "version": "0.1.0", "license": licence,
                "license_file": null, "manifest_path": "/r/x/a/Cargo.toml",
                "dependencies": [], "targets": targets,
            }],
            "workspace_members": ["a"], "resolve": null,
        }))
        .unwrap()
    }

    #[test]
    fn a_good_crate_passes() {
        let files =
            [File::sample("x/a/Cargo.toml", MANIFEST), File::sample("x/a/src/lib.rs", "//! Story")];
        assert_eq!(check(&files, &metadata(LICENCE, &["/r/x/a/tests/it/main.rs"])), []);
    }

    #[test]
    fn each_missing_inheritance_is_found() {
        for line in MANIFEST.lines().filter(|line| line.contains("workspace")) {
            let file = File::sample("x/a/Cargo.toml", &MANIFEST.replace(line, ""));
            assert_eq!(check(&[file], &metadata(LICENCE, &[])).len(), 1, "{line}");
        }
    }

    #[test]
    fn another_licence_and_other_test_binaries_are_found() {
        let files = [File::sample("x/a/Cargo.toml", MANIFEST)];
        assert_eq!(check(&files, &metadata("GPL-3.0", &[])).len(), 1);
        assert_eq!(check(&files, &metadata(LICENCE, &["/r/x/a/tests/b.rs"])).len(), 1);
        let two = ["/r/x/a/tests/it/main.rs", "/r/x/a/tests/b.rs"];
        assert_eq!(check(&files, &metadata(LICENCE, &two)).len(), 2);
        assert_eq!(check(&[], &metadata(LICENCE, &[])).len(), 1);
    }

    #[test]
    fn a_crate_without_a_story_and_a_foreign_registry_are_found() {
        let none = metadata(LICENCE, &[]);
        let files = [
            File::sample("x/a/Cargo.toml", MANIFEST),
            File::sample("x/a/src/lib.rs", "mod a;"),
            File::sample("Cargo.lock", "source = \"registry+https://mirror.example/index\""),
        ];
        assert_eq!(check(&files, &none).len(), 2);
    }
}
