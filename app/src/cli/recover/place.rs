//! From a folder of its own into the state folder.
//!
//! ```text
//! recovering/…        everything, built and flushed
//! its other files     renamed to their places, where nothing or the same lies there
//! recovering/server   renamed to 'server': from then on a server is here
//! recovering          removed
//! ```
//! Whoever is interrupted runs it again: before the third step everything is built anew, after it nothing is
//! left to do.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use simsim_model::{Kind, failpoint};

use crate::exit::Failure;
use crate::state::{Lock, State};

const FOLDER: &str = "recovering";
const SETTINGS: &str = "simsim.toml";

/// The folder in which a server is built.
pub struct Staging {
    folder: PathBuf,
    _lock: Lock,
}

/// Whether a server is here. What a run left behind that was interrupted at its very end is removed.
pub fn was_done(state: &State) -> Result<bool, Failure> {
    if !state.is_of_server() {
        return Ok(false);
    }
    let left = state.file(FOLDER);
    if left.is_dir() {
        std::fs::remove_dir_all(&left).map_err(|error| failed(&left, &error))?;
    }
    Ok(true)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::of_io(error), format!("{}: {error}", path.display()))
        .next("nothing is lost: put it right, and run the same again")
}

impl Staging {
    /// Takes the state folder, and begins anew in it.
    pub fn begin(state: &State) -> Result<Self, Failure> {
        state.make_for_service()?;
        let lock = state.lock("recover")?;
        let folder = state.file(FOLDER);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(&folder, &error));
            }
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&folder).map_err(|error| failed(&folder, &error))?;
        Ok(Self { folder, _lock: lock })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Another backup is tried, or none: what was built goes.
    pub fn give_up(self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(folder = %self.folder.display(), %error, "left-overs could not be removed");
        }
    }

    /// Brings everything to its place. Answers files that lie beside what was there already.
    pub fn place(self, state: &State, files: &[String]) -> Result<Vec<PathBuf>, Failure> {
        failpoint::hit("recovery.built");
        give(state, &self.folder)?;
        sync_all(&self.folder)?;
        let others: Vec<&String> =
            files.iter().filter(|name| !name.starts_with("server/")).collect();
        for name in &others {
            let (built, there) = (self.folder.join(name), state.file(name));
            if name.as_str() != SETTINGS && there.exists() && !same(&built, &there)? {
                let text = format!(
                    "{} is there already, and is not the lost server's: a server comes back into an empty \
                     state folder",
                    there.display()
                );
                return Err(Failure::new(Kind::Invalid, text)
                    .next("name another folder with --state DIR, or move that file away"));
            }
        }
        let mut beside = Vec::new();
        for name in others {
            let (built, mut there) = (self.folder.join(name), state.file(name));
            if there.exists() && !same(&built, &there)? {
                there = there.with_extension("toml.recovered");
                beside.push(there.clone());
            }
            let parent = there.parent().unwrap_or(state.folder());
            if !parent.is_dir() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
                made.map_err(|error| failed(parent, &error))?;
                state.give_to_owner(parent)?;
            }
            std::fs::rename(&built, &there).map_err(|error| failed(&there, &error))?;
            sync(parent)?;
        }
        failpoint::hit("recovery.files_placed");
        let server = state.file("server");
        std::fs::rename(self.folder.join("server"), &server)
            .map_err(|error| failed(&server, &error))?;
        sync(state.folder())?;
        failpoint::hit("recovery.server_placed");
        std::fs::remove_dir_all(&self.folder).map_err(|error| failed(&self.folder, &error))?;
        Ok(beside)
    }
}

fn same(one: &Path, other: &Path) -> Result<bool, Failure> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| failed(path, &error));
    Ok(read(one)? == read(other)?)
}

/// What root built becomes the property of whom the state folder belongs to.
fn give(state: &State, at: &Path) -> Result<(), Failure> {
    state.give_to_owner(at)?;
    if at.is_dir() {
        for entry in std::fs::read_dir(at).map_err(|error| failed(at, &error))? {
            give(state, &entry.map_err(|error| failed(at, &error))?.path())?;
        }
    }
    Ok(())
}

fn sync_all(at: &Path) -> Result<(), Failure> {
    if at.is_dir() {
        for entry in std::fs::read_dir(at).map_err(|error| failed(at, &error))? {
            sync_all(&entry.map_err(|error| failed(at, &error))?.path())?;
        }
    }
    sync(at)
}

fn sync(path: &Path) -> Result<(), Failure> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| failed(path, &error))
}
