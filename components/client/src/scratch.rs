//! Scratch places of restore drills: made empty, and gone afterwards, also when this client was killed.
//!
//! A scratch place is a folder `simsim-drill-JOB` of mode 0700. What was made is written down, with its inode, in
//! `drills/JOB.toml` of the client's folder; a client that starts removes what it finds there. A folder that it
//! did not make is never removed.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use simsim_model::failpoint;
use simsim_source::Beneath;

use crate::{ClientError, Policy};

/// Where scratch places of this client are noted, and made where nobody says where.
pub(crate) struct Scratches {
    folder: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Note {
    /// Raw bytes of the path.
    path: Vec<u8>,
    dev: u64,
    ino: u64,
}

/// One that is in use. Dropped, it is removed as far as it can be.
pub(crate) struct Scratch {
    pub path: PathBuf,
    note: PathBuf,
    gone: bool,
}

impl Scratches {
    pub(crate) fn new(state_folder: &Path) -> Self {
        Self { folder: state_folder.join("drills") }
    }

    /// Makes the scratch place of a job, in the folder `beneath`, or in this client's own.
    ///
    /// # Errors
    /// `Denied` by the policy; `Invalid` where something lies there.
    pub(crate) fn make(
        &self,
        job: u64,
        beneath: &[u8],
        policy: &Policy,
    ) -> Result<Scratch, ClientError> {
        let parent = match beneath {
            [] => self.folder.clone(),
            path => PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())),
        };
        let path = parent.join(format!("simsim-drill-{job}"));
        policy.may_restore_into(path.as_os_str().as_bytes())?;
        let folders = || DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        folders().map_err(ClientError::file("make", &self.folder))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&parent)
            .map_err(ClientError::file("make", &parent))?;
        // Where the path has led, links followed; from here on it is asked for as such.
        let real = parent.canonicalize().map_err(ClientError::file("find", &parent))?;
        let path = real.join(format!("simsim-drill-{job}"));
        if policy.limits_restores() {
            policy.may_restore_at(path.as_os_str().as_bytes())?;
        }
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ClientError::ScratchInUse { path });
            }
            Err(error) => return Err(ClientError::file("make", &path)(error)),
        }
        let note = self.folder.join(format!("{job}.toml"));
        let scratch = Scratch { path, note, gone: false };
        scratch.write_down().map_err(ClientError::file("write", &scratch.note))?;
        failpoint::hit("client.scratch_made");
        Ok(scratch)
    }

    /// Removes what drills left that this client was killed in.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for note in entries.flatten().map(|entry| entry.path()) {
            if note.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&note).unwrap_or_default();
            let Ok(Note { path, dev, ino }) = toml::from_str(&text) else {
                // Cut off while it was written: the folder was not used yet.
                let _ = std::fs::remove_file(&note);
                continue;
            };
            let path = PathBuf::from(std::ffi::OsString::from_vec(path));
            let ours = path.symlink_metadata().is_ok_and(|it| (it.dev(), it.ino()) == (dev, ino));
            let done = match ours {
                true => remove(&path),
                false => Ok(()),
            };
            match done.and_then(|()| std::fs::remove_file(&note)) {
                Ok(()) => {
                    tracing::info!(path = %path.display(), "removed what a restore drill left")
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "what a restore drill left cannot be removed");
                }
            }
        }
    }
}

impl Scratch {
    fn write_down(&self) -> io::Result<()> {
        let it = self.path.symlink_metadata()?;
        let path = self.path.as_os_str().as_bytes().to_vec();
        let note = Note { path, dev: it.dev(), ino: it.ino() };
        let text = toml::to_string(&note).map_err(io::Error::other)?;
        let new = self.note.with_extension("new");
        std::fs::write(&new, text)?;
        File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &self.note)
    }

    /// Removes it with everything in it.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.gone = true;
        remove(&self.path)?;
        std::fs::remove_file(&self.note)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        if let Err(error) = remove(&self.path).and_then(|()| std::fs::remove_file(&self.note)) {
            let path = self.path.display();
            tracing::warn!(%path, %error, "a scratch place cannot be removed; it is tried again at the next start");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    Beneath::open(path)?.clear()?;
    std::fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use simsim_model::Kind;

    use super::*;

    #[test]
    fn a_scratch_place_is_new_and_what_was_left_is_swept_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join("state");
        let scratches = Scratches::new(&state);
        let place = home.path().join("place");
        let beneath = place.as_os_str().as_bytes();
        let policy = Policy::default();
        let one = scratches.make(7, beneath, &policy).unwrap();
        std::fs::create_dir(one.path.join("a")).unwrap();
        std::fs::write(one.path.join("a/file"), "text").unwrap();
        let second = scratches.make(7, beneath, &policy).map(drop).map_err(|error| error.kind());
        assert_eq!(second, Err(Kind::Invalid));
        assert!(one.path.join("a/file").exists(), "and what lies there is left alone");
        one.remove().unwrap();
        assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);

        // As after a kill: the note is there, and so is the folder.
        let two = scratches.make(8, beneath, &policy).unwrap();
        std::fs::write(two.path.join("file"), "text").unwrap();
        let left = two.path.clone();
        std::mem::forget(two);
        // Somebody else's folder in the place of another one.
        let three = scratches.make(9, beneath, &policy).unwrap();
        let theirs = three.path.clone();
        std::mem::forget(three);
        // Moved away, so that its inode stays in use.
        std::fs::rename(&theirs, place.join("moved")).unwrap();
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("kept"), "kept").unwrap();
        std::fs::write(state.join("drills/10.toml"), "path = [").unwrap();
        scratches.sweep();
        assert!(!left.exists() && std::fs::read_dir(state.join("drills")).unwrap().count() == 0);
        assert!(theirs.join("kept").exists() && place.join("moved").exists());
    }
}
