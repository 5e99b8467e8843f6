//! The repository as the tools see it: its root, its files, and cargo's account of its crates.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::step;

/// The repository's root folder: the parent of this crate's folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// One file of the repository. `text` is absent where the content is not UTF-8.
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    pub text: Option<String>,
}

impl File {
    #[cfg(test)]
    pub fn sample(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: Some(text.to_owned()) }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Content, or nothing where it is not text.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or("")
    }
}

/// Every file that git knows or would add, with its content. Files above 1 MiB count as data.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let listing = step::output(
        Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root),
    )
    .context("tidy needs the git checkout")?;
    let mut files = Vec::new();
    for path in listing.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
        let path = String::from_utf8_lossy(path).into_owned();
        let place = root.join(&path);
        // Deleted but not yet committed, or a symlink: nothing to read.
        let Ok(metadata) = place.symlink_metadata() else { continue };
        let text = if metadata.is_file() && metadata.len() <= 1 << 20 {
            String::from_utf8(std::fs::read(&place).with_context(|| path.clone())?).ok()
        } else {
            None
        };
        files.push(File { path, text });
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

/// The part of `cargo metadata` that the tools read.
#[derive(Debug, Deserialize)]
pub struct Metadata {
    pub packages: Vec<Package>,
    pub workspace_members: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Package {
    pub id: String,
    pub name: String,
    pub license: Option<String>,
    pub manifest_path: PathBuf,
    pub dependencies: Vec<Dependency>,
    pub targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
pub struct Dependency {
    pub name: String,
    /// `null` for a normal dependency, else `dev` or `build`.
    pub kind: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
    pub src_path: PathBuf,
}

impl Metadata {
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }
}

/// The workspace's crates only: fast, no resolution.
pub fn metadata_of_members(root: &Path) -> Result<Metadata> {
    let json = step::output(
        step::cargo()
            .args(["metadata", "--format-version", "1", "--locked", "--no-deps"])
            .current_dir(root),
    )?;
    serde_json::from_slice(&json).context("cargo metadata printed something else than its format 1")
}
