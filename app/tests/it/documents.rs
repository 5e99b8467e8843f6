//! Pages that say what the binary does.

use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Whether a literal is the name of an environment variable.
fn is_variable(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_uppercase() || c == '_';
    // What the compiler is asked is no setting.
    text.len() > 5 && text.contains('_') && text.chars().all(plain) && !text.starts_with("CARGO_")
}

#[test]
fn every_environment_variable_is_on_the_settings_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/reference/settings.md")).unwrap();
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    let mut variables = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        // Wherever such a name stands between quotes; escaped quotes do no harm.
        variables.extend(text.split('"').filter(|part| is_variable(part)).map(str::to_owned));
    }
    variables.push("NOTIFY_SOCKET".to_owned());
    assert!(variables.iter().any(|name| name == "SIMSIM_LOG"), "{variables:?}");
    for name in variables {
        assert!(page.contains(&format!("| `{name}` | ")), "{name} is not on the page");
    }
}
