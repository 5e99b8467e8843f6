//! The restored tree, and its removal.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Removes the restored tree when dropped; folders without write permission are opened first.
pub struct Scratch(pub PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        match remove(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let text = format!("simsim: {} stays behind: {error}\n", self.0.display());
                let _ = std::io::stderr().write_all(text.as_bytes());
            }
            _ => {}
        }
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::symlink_metadata(path)?.is_dir() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(path)? {
            remove(&entry?.path())?;
        }
        std::fs::remove_dir(path)
    } else {
        std::fs::remove_file(path)
    }
}
