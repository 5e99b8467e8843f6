//! Licences of everything the binary is built from, and the one crypto provider.
//!
//! Reads the packages that building the app compiles on this platform (`cargo tree`, normal and
//! build edges: `cargo metadata` would also name optional parts that nothing switches on),
//! evaluates each licence expression against the permissive list, and refuses crates that would
//! bring a second crypto provider or link the system's OpenSSL. The SSH library brings pure Rust
//! ciphers for its own packets; our own crates may not seal with them. Where `cargo deny` is
//! installed it runs too, with the same rules in `deny.toml`.

use anyhow::{Context, Result, bail};

use crate::workspace::Metadata;
use crate::{step, workspace};

/// Licences that ask for no more than a notice.
const PERMISSIVE: [&str; 14] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "MIT-0",
    "ISC",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "Zlib",
    "Unlicense",
    "CC0-1.0",
    "0BSD",
    "Unicode-3.0",
    "BlueOak-1.0.0",
];

/// Crates that must not be in the binary, with the reason.
const BANNED: [(&str, &str); 4] = [
    ("ring", "a second crypto provider; aws-lc-rs is the one"),
    ("openssl", "links the system's OpenSSL; aws-lc-rs is the one crypto provider"),
    ("openssl-sys", "links the system's OpenSSL; aws-lc-rs is the one crypto provider"),
    ("native-tls", "another TLS stack; rustls is the one"),
];

/// Crates that none of ours may use itself: aws-lc-rs seals, and eight times faster.
const BANNED_IN_OURS: [&str; 5] = ["aes", "aes-gcm", "chacha20", "chacha20poly1305", "sha1"];

const APP: &str = "simsim";

/// A package that the app is built from.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Built {
    name: String,
    version: String,
    licence: String,
}

pub fn run(arguments: &[String]) -> Result<()> {
    if let Some(argument) = arguments.first() {
        bail!("licences takes no argument, got '{argument}'");
    }
    let root = workspace::root();
    let mut tree = step::cargo();
    tree.args(["tree", "--locked", "--package", APP, "--edges", "normal,build"]);
    tree.args(["--prefix", "none", "--format", "{p}|{l}", "--color", "never"]).current_dir(&root);
    let built = packages(&String::from_utf8(step::output(&mut tree)?)?)?;
    let mut complaints = complaints(&built);
    complaints.extend(own_ciphers(&workspace::metadata_of_members(&root)?));
    for complaint in &complaints {
        println!("{complaint}");
    }
    if step::on_path("cargo-deny") {
        // Advisories need a download: they are asked for by hand, not here.
        let mut deny = step::cargo();
        deny.args(["deny", "--offline", "check", "licenses", "bans", "sources"]).current_dir(&root);
        step::run(&mut deny)?;
    }
    if !complaints.is_empty() {
        bail!("{} complaints about {} packages", complaints.len(), built.len());
    }
    println!("{} packages are built into {APP}, all permissive, one crypto provider", built.len());
    Ok(())
}

/// Lines of `name v1.2.3 (proc-macro)|LICENCE (*)`; a package may stand on several.
fn packages(tree: &str) -> Result<Vec<Built>> {
    let mut built = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) =
            line.split_once('|').with_context(|| format!("cargo tree printed '{line}'"))?;
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else {
            bail!("cargo tree printed '{line}'");
        };
        built.push(Built {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: licence.trim_end_matches("(*)").trim().to_owned(),
        });
    }
    built.sort();
    built.dedup();
    if !built.iter().any(|package| package.name == APP) {
        bail!("cargo tree does not name {APP}");
    }
    Ok(built)
}

fn complaints(packages: &[Built]) -> Vec<String> {
    let mut complaints = Vec::new();
    for Built { name, version, licence } in packages {
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            complaints.push(format!("{name} {version}: {why}"));
        }
        match permits(licence) {
            Ok(true) => {}
            Ok(false) => {
                complaints.push(format!("{name} {version}: '{licence}' is not permissive"));
            }
            Err(error) => complaints.push(format!("{name} {version}: '{licence}': {error}")),
        }
    }
    complaints
}

fn own_ciphers(metadata: &Metadata) -> Vec<String> {
    let mut complaints = Vec::new();
    for member in metadata.members() {
        for edge in &member.dependencies {
            let tests_only = edge.kind.as_deref() == Some("dev");
            if !tests_only && BANNED_IN_OURS.contains(&edge.name.as_str()) {
                complaints.push(format!("{} uses {}: aws-lc-rs seals", member.name, edge.name));
            }
        }
    }
    complaints
}

/// Can the expression be met with permissive licences alone? `AND` needs both sides, `OR` one;
/// `AND` binds tighter; `/` is the old spelling of `OR`.
fn permits(expression: &str) -> Result<bool> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let value = either(&tokens, &mut at)?;
    if at != tokens.len() {
        bail!("'{}' is unexpected", tokens[at]);
    }
    Ok(value)
}

fn either(tokens: &[&str], at: &mut usize) -> Result<bool> {
    let mut value = both(tokens, at)?;
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        value |= both(tokens, at)?;
    }
    Ok(value)
}

fn both(tokens: &[&str], at: &mut usize) -> Result<bool> {
    let mut value = one(tokens, at)?;
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        value &= one(tokens, at)?;
    }
    Ok(value)
}

fn one(tokens: &[&str], at: &mut usize) -> Result<bool> {
    let token = *tokens.get(*at).context("the expression ends too early")?;
    *at += 1;
    if token == "(" {
        let value = either(tokens, at)?;
        if tokens.get(*at) != Some(&")") {
            bail!("a ')' is missing");
        }
        *at += 1;
        return Ok(value);
    }
    if ["AND", "OR", "WITH", ")"].contains(&token) {
        bail!("'{token}' is unexpected");
    }
    let mut licence = token.to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        let exception = tokens.get(*at + 1).context("WITH names no exception")?;
        licence = format!("{licence} WITH {exception}");
        *at += 2;
    }
    Ok(PERMISSIVE.contains(&licence.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, licence: &str) -> usize {
        let tree = format!("{APP} v0.1.0 (a/place)|MIT\n{name} v1.0.0|{licence} (*)\n");
        complaints(&packages(&tree).unwrap()).len()
    }

    #[test]
    fn expressions_follow_their_operators() {
        for good in [
            "MIT",
            "MIT/GPL-3.0",
            "GPL-3.0 OR (MIT AND ISC)",
            "Apache-2.0 WITH LLVM-exception",
            "MIT OR GPL-2.0 AND GPL-3.0",
            "ISC AND (Apache-2.0 OR ISC) AND OpenSSL OR MIT",
        ] {
            assert!(permits(good).unwrap(), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND OpenSSL", "MPL-2.0"] {
            assert!(!permits(bad).unwrap(), "{bad}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "MIT WITH"] {
            assert!(permits(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_foreign_licence_in_the_binary_is_found() {
        assert_eq!(count("x", "MIT OR GPL-3.0"), 0);
        assert_eq!(count("x", "GPL-3.0"), 1);
        assert_eq!(count("x", ""), 1);
    }

    #[test]
    fn the_tree_is_read_or_refused() {
        let tree = format!("{APP} v0.1.0 (a/place)|MIT\n\nx v1.0.0 (proc-macro)|MIT (*)\n");
        assert_eq!(packages(&tree).unwrap().len(), 2);
        assert_eq!(packages(&format!("{tree}{tree}")).unwrap().len(), 2);
        assert!(packages("").is_err());
        assert!(packages("x v1.0.0|MIT").is_err());
        assert!(packages(&format!("{tree}x v1.0.0 MIT")).is_err());
    }

    #[test]
    fn own_crates_seal_with_the_one_provider() {
        let metadata = |name: &str, kind: Option<&str>| -> Metadata {
            serde_json::from_value(serde_json::json!({
                "packages": [{
                    "id": "a", "name": "a", "license": "MIT", "manifest_path": "x",
                    "dependencies": [{ "name": name, "kind": kind }], "targets": [],
                }],
                "workspace_members": ["a"],
            }))
            .unwrap()
        };
        for name in BANNED_IN_OURS {
            assert_eq!(own_ciphers(&metadata(name, None)).len(), 1, "{name}");
            assert_eq!(own_ciphers(&metadata(name, Some("dev"))), [""; 0], "{name}");
        }
        assert_eq!(own_ciphers(&metadata("aws-lc-rs", None)), [""; 0]);
    }

    #[test]
    fn cargo_deny_is_told_the_same_rules() {
        let text = std::fs::read_to_string(workspace::root().join("deny.toml")).unwrap();
        let deny: toml::Table = text.parse().unwrap();
        let allowed: Vec<&str> =
            deny["licenses"]["allow"].as_array().unwrap().iter().flat_map(|l| l.as_str()).collect();
        assert_eq!(allowed, PERMISSIVE);
        let banned: Vec<&str> = deny["bans"]["deny"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|entry| entry["crate"].as_str())
            .collect();
        assert_eq!(banned, BANNED.map(|(name, _)| name));
    }

    #[test]
    fn a_second_crypto_provider_is_found() {
        for (name, _) in BANNED {
            assert_eq!(count(name, "MIT"), 1, "{name}");
        }
    }
}
