//! Help texts, pages and scripts that are made from the declarations.

use std::path::Path;

use super::house::{simsim, text};

fn shown(arguments: &[&str]) -> String {
    let output = simsim(Path::new("/nowhere")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn help_texts() {
    for verb in ["", "backup", "restore", "ls", "task add", "rescue", "key kit new"] {
        let mut arguments: Vec<&str> = verb.split_whitespace().collect();
        arguments.push("-h");
        let name = format!("help {verb}").trim().replace(' ', "-");
        insta::assert_snapshot!(name, shown(&arguments));
    }
}

#[test]
fn every_shell_and_every_verb_has_its_script_and_page() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shown(&["completions", shell]);
        assert!(script.contains("savesets") && script.contains("rescue"), "{shell}");
    }
    let folder = tempfile::tempdir().unwrap();
    let names = shown(&["man", "--folder", folder.path().to_str().unwrap()]);
    assert!(names.lines().any(|name| name == "simsim-key-kit-new.1"), "{names}");
    for name in names.lines() {
        let page = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(page.contains(".SH NAME") && page.len() > 200, "{name}");
    }
    assert!(shown(&["man"]).contains("simsim"));
    assert!(shown(&["man", "task", "add"]).contains("gitignore"));
    assert_eq!(shown(&["man", "task add"]), shown(&["man", "task", "add"]));
}

#[test]
fn the_reference_page_is_as_the_binary_is() {
    let page = include_str!("../../../../docs/reference/cli.md");
    assert!(shown(&["reference"]) == page, "run `cargo xtask docs`");
}
