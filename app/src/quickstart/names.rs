//! Names that are made: of a task after its folder, of this program and of paths for a shell.

use std::path::Path;

/// A name for the task of a folder: the letters and digits of its path.
pub fn task_name(folder: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let text: String = folder.to_string_lossy().chars().map(plain).collect();
    let words: Vec<&str> = text.split('-').filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-");
    name.truncate(48);
    if name.is_empty() { "root".to_owned() } else { name }
}

/// How this program is called from a shell: by its name where that is found, else by its path.
pub fn program() -> String {
    let named = std::env::var_os("PATH").is_some_and(|folders| {
        std::env::split_paths(&folders).any(|folder| folder.join("simsim").is_file())
    });
    match std::env::current_exe() {
        Ok(path) if !named => shell_word(&path),
        _ => "simsim".to_owned(),
    }
}

/// A path as a shell reads it back.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_after_its_folder_and_words_survive_a_shell() {
        assert_eq!(task_name(Path::new("/usr/share/doc")), "usr-share-doc");
        assert_eq!(task_name(Path::new("/")), "root");
        assert_eq!(task_name(Path::new("/a b/ä")), "a-b");
        assert_eq!(shell_word(Path::new("/a/b")), "/a/b");
        assert_eq!(shell_word(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
