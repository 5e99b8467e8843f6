//! A real folder, seen through a file system of our own that may lie, fail, hang or fold names.
//!
//! The kernel asks by FUSE, so whoever looks at it sees what a bad disk, a network share or a foreign
//! file system would show: nothing of it is played in the process that is tested. What is there lies in
//! a plain folder ([`FuseFolder::truth`]), where a test looks past the lies.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};
use rustix::mount::UnmountFlags;

use crate::Scratch;
use crate::fuse_passthrough::Passthrough;

/// What such a file system does other than a good one would. Paths are relative to its root.
pub trait Temper: Send + Sync + 'static {
    /// Called before every answer, with the name of the call as FUSE knows it (`lookup`, `read`, …).
    /// An error is answered with its number; while this waits, the whole file system hangs.
    fn before(&self, _call: &'static str, _path: &Path) -> std::io::Result<()> {
        Ok(())
    }

    /// How often a name stands in the listing of its folder.
    fn listed(&self, _path: &Path) -> usize {
        1
    }

    /// The size that is told of a file.
    fn told_size(&self, _path: &Path, size: u64) -> u64 {
        size
    }

    /// What is read at an offset, or why nothing is.
    fn read(&self, _path: &Path, _offset: u64, right: Vec<u8>) -> std::io::Result<Vec<u8>> {
        Ok(right)
    }

    /// Names that give the same are one name here.
    fn fold(&self, name: &OsStr) -> OsString {
        name.to_owned()
    }
}

/// A mounted one; unmounted when dropped.
pub struct FuseFolder {
    path: PathBuf,
    truth: PathBuf,
    session: Option<BackgroundSession>,
    onlooker: Child,
    _scratch: Scratch,
}

/// A process that is killed while one of its threads waits for an answer of its own file system never
/// ends: nobody is left to answer. Somebody outside unmounts it then.
const ONLOOKER: &str = r#"
while sleep 2 && [ -e "/proc/$1" ]; do
    if grep -q "^State:.*Z" "/proc/$1/status"; then umount -f "$2"; fi
done"#;

impl FuseFolder {
    /// Mounts an empty one. The error says why this process cannot: hand it to [`crate::skip`].
    pub fn mount(temper: Arc<dyn Temper>) -> Result<Self, String> {
        if !crate::is_root() {
            return Err("mounting a file system of the test's own needs root".to_owned());
        }
        if !Path::new("/dev/fuse").exists() {
            return Err("this system has no /dev/fuse".to_owned());
        }
        let scratch = Scratch::new();
        let (path, truth) = (scratch.folder("seen"), scratch.folder("truth"));
        let session = session(&path, &truth, temper)?;
        let mut onlooker = Command::new("sh");
        onlooker.args(["-c", ONLOOKER, "onlooker"]).arg(std::process::id().to_string()).arg(&path);
        let nothing = Stdio::null;
        onlooker.stdin(nothing()).stdout(nothing()).stderr(nothing());
        let onlooker = onlooker.spawn().map_err(|error| format!("cannot run sh: {error}"))?;
        Ok(Self { path, truth, session: Some(session), onlooker, _scratch: scratch })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The plain folder behind it.
    pub fn truth(&self) -> &Path {
        &self.truth
    }

    /// Goes away as a share does whose server is lost, whoever uses it, and comes back with another
    /// temper.
    pub fn remount(&mut self, temper: Arc<dyn Temper>) -> Result<(), String> {
        self.unmount();
        self.session = Some(session(&self.path, &self.truth, temper)?);
        Ok(())
    }

    fn unmount(&mut self) {
        let Some(session) = self.session.take() else { return };
        // At once, and whoever still waits for an answer gets an error.
        let force = UnmountFlags::FORCE | UnmountFlags::DETACH;
        if let Err(error) = rustix::mount::unmount(&self.path, force) {
            eprintln!("left mounted: {}: {error}", self.path.display());
        }
        drop(session);
    }
}

impl Drop for FuseFolder {
    fn drop(&mut self) {
        self.unmount();
        let _ = self.onlooker.kill().and_then(|()| self.onlooker.wait());
    }
}

fn session(
    path: &Path,
    truth: &Path,
    temper: Arc<dyn Temper>,
) -> Result<BackgroundSession, String> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("simsim-test".to_owned()), MountOption::DefaultPermissions];
    let files = Passthrough::new(truth, temper);
    fuser::spawn_mount(files, path, &config)
        .map_err(|error| format!("cannot mount by FUSE: {error}"))
}
