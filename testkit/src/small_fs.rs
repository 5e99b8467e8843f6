//! A file system that fills up: a tmpfs of a few mebibytes or a few files.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Scratch;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallFs {
    path: PathBuf,
    _scratch: Scratch,
}

impl SmallFs {
    /// Mounts one with room for `bytes` and, where given, `inodes` files and folders. The error
    /// says why this process cannot: hand it to [`crate::skip`].
    pub fn tmpfs(bytes: u64, inodes: Option<u64>) -> Result<Self, String> {
        if !crate::is_root() {
            return Err("mounting a small file system needs root".to_owned());
        }
        let scratch = Scratch::new();
        let path = scratch.folder("full");
        let mut options = format!("size={bytes},mode=0755");
        if let Some(inodes) = inodes {
            options.push_str(&format!(",nr_inodes={inodes}"));
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "simsim-test"]).arg(&path);
        let output = mount.output().map_err(|error| format!("cannot run mount: {error}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cannot mount a tmpfs: {}", why.trim()));
        }
        Ok(Self { path, _scratch: scratch })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on nothing can be written to it, not even by root.
    pub fn make_read_only(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(&self.path);
        let output = mount.output().map_err(|error| format!("cannot run mount: {error}"))?;
        let why = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("cannot remount: {}", why.trim()))
        }
    }

    /// Takes all free bytes with one file of this name, until it is removed.
    pub fn fill(&self, name: &str) -> std::io::Result<PathBuf> {
        use std::io::Write;
        let path = self.path.join(name);
        let mut file = std::fs::File::create(&path)?;
        for block in [1 << 20, 4096, 1] {
            let zeros = vec![0u8; block];
            loop {
                match file.write(&zeros) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        // Lazily: a child that still has a file open must not keep the mount in the tree.
        let done = Command::new("umount").arg("--lazy").arg(&self.path).status();
        if !done.is_ok_and(|status| status.success()) {
            eprintln!("left mounted: {}", self.path.display());
        }
    }
}
