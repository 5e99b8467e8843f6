//! A file system that fills up, a tmpfs of a few mebibytes or a few files; and one of any other kind,
//! in an image on a loop device.

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
        run(&mut mount)?;
        Ok(Self { path, _scratch: scratch })
    }

    /// Makes and mounts a file system of a kind such as `vfat` in an image of `bytes`. The error says
    /// why this process cannot, be it that the kernel does not know the kind.
    pub fn image(kind: &str, make_options: &[&str], bytes: u64) -> Result<Self, String> {
        if !crate::is_root() {
            return Err("mounting an image needs root".to_owned());
        }
        let scratch = Scratch::new();
        let (path, image) = (scratch.folder("mounted"), scratch.path().join("image"));
        let made = std::fs::File::create(&image).and_then(|file| file.set_len(bytes));
        made.map_err(|error| format!("cannot make an image: {error}"))?;
        let mut mkfs = Command::new(format!("mkfs.{kind}"));
        mkfs.args(make_options).arg(&image);
        run(&mut mkfs)?;
        let mut mount = Command::new("mount");
        run(mount.args(["-t", kind, "-o", "loop"]).arg(&image).arg(&path))?;
        Ok(Self { path, _scratch: scratch })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// From now on nothing can be written to it, not even by root.
    pub fn make_read_only(&self) -> Result<(), String> {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(&self.path);
        run(&mut mount)
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

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("cannot run {program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} says: {}", why.trim()))
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
