//! The policy that the client's owner writes: what a server may ask for.
//!
//! ```toml
//! [read]
//! paths = ["/home", "/etc"]           # absent: everything
//!
//! [restore]
//! targets = ["/srv/restored"]         # absent: anywhere; empty: nowhere
//!
//! [commands.inventory]                # absent: no commands
//! run = ["/usr/bin/pg_dump", "-Fc", "inventory"]
//! timeout_s = 600                     # before and after backups, and by itself
//! ```
//!
//! A server names a command by its local name and never sends a command line. A path is allowed
//! when it lies beneath an allowed one both as written and with its symbolic links resolved, before
//! the job and again when it is opened: a link may have been turned in between. A policy that cannot
//! be read, or that others may write, allows nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use simsim_model::escape_path;

use crate::ClientError;

/// A policy file is read by people and small.
const POLICY_BYTES_MAX: u64 = 1 << 20;

/// What the client's owner allows. The default allows to read everything and to restore
/// anywhere, and has no commands.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    read: Read,
    restore: Restore,
    commands: BTreeMap<String, PolicyCommand>,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Read {
    paths: Option<Vec<PathBuf>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Restore {
    targets: Option<Vec<PathBuf>>,
}

/// A command that may be run: for its output, before or after a backup, or by itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyCommand {
    /// Program (an absolute path) and its arguments. No shell reads them.
    pub run: Vec<String>,
    /// So long it may run, whatever the server says; streams have no limit.
    #[serde(default)]
    pub timeout_s: Option<u32>,
}

impl Policy {
    /// Reads the policy; a file that does not exist is the default.
    pub fn load(file: &Path) -> Result<Self, ClientError> {
        let refuse = |why: String| ClientError::Policy { path: file.to_owned(), why };
        let text = match std::fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(refuse(error.to_string())),
            Ok(metadata) => {
                if metadata.mode() & 0o002 != 0 {
                    return Err(refuse("everybody may write it; take that right away".into()));
                }
                if metadata.len() > POLICY_BYTES_MAX {
                    return Err(refuse(format!("it is larger than {POLICY_BYTES_MAX} bytes")));
                }
                std::fs::read_to_string(file).map_err(|error| refuse(error.to_string()))?
            }
        };
        let mut policy: Policy =
            toml::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        policy.file = file.to_owned();
        let paths = policy.read.paths.iter().chain(&policy.restore.targets).flatten();
        if let Some(path) = paths.clone().find(|path| !is_plain(path)) {
            return Err(refuse(format!("{} is not an absolute path without '..'", path.display())));
        }
        for (name, command) in &policy.commands {
            if !command.run.first().is_some_and(|program| program.starts_with('/')) {
                return Err(refuse(format!(
                    "[commands.{name}] run must begin with the absolute path of a program"
                )));
            }
            if command.timeout_s == Some(0) {
                return Err(refuse(format!("[commands.{name}] timeout_s is a second or more")));
            }
        }
        Ok(policy)
    }

    /// May this path be read?
    pub fn may_read(&self, path: &[u8]) -> Result<(), ClientError> {
        let path = plain(path)?;
        if allows(self.read.paths.as_deref(), path) {
            return Ok(());
        }
        let path = escape_path(path.as_os_str().as_bytes());
        Err(ClientError::ReadDenied { path, policy: self.file.clone() })
    }

    /// May this be read, whose path leads through no link? What a path led to when it was asked for, and
    /// where it leads when it is opened, may be two places.
    pub fn may_read_place(&self, place: &[u8]) -> Result<(), ClientError> {
        let place = Path::new(OsStr::from_bytes(place));
        if allows_place(self.read.paths.as_deref(), place) {
            return Ok(());
        }
        let path = escape_path(place.as_os_str().as_bytes());
        Err(ClientError::ReadDenied { path, policy: self.file.clone() })
    }

    /// Whether some places may be restored into and others not.
    pub fn limits_restores(&self) -> bool {
        self.restore.targets.is_some()
    }

    /// As [`Policy::may_read_place`], for a directory that is restored into.
    pub fn may_restore_at(&self, place: &[u8]) -> Result<(), ClientError> {
        let place = Path::new(OsStr::from_bytes(place));
        if allows_place(self.restore.targets.as_deref(), place) {
            return Ok(());
        }
        let path = escape_path(place.as_os_str().as_bytes());
        Err(ClientError::RestoreDenied { path, policy: self.file.clone() })
    }

    /// May be restored into this directory?
    pub fn may_restore_into(&self, target: &[u8]) -> Result<(), ClientError> {
        let target = plain(target)?;
        if allows(self.restore.targets.as_deref(), target) {
            return Ok(());
        }
        let path = escape_path(target.as_os_str().as_bytes());
        Err(ClientError::RestoreDenied { path, policy: self.file.clone() })
    }

    /// The command with this local name.
    pub fn command(&self, name: &str) -> Result<&PolicyCommand, ClientError> {
        self.commands.get(name).ok_or_else(|| ClientError::NoCommand {
            name: name.to_owned(),
            policy: self.file.clone(),
        })
    }
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == Component::ParentDir)
}

fn plain(path: &[u8]) -> Result<&Path, ClientError> {
    let text = || escape_path(path);
    let path = Path::new(OsStr::from_bytes(path));
    if is_plain(path) { Ok(path) } else { Err(ClientError::Path { path: text() }) }
}

fn allows(allowed: Option<&[PathBuf]>, path: &Path) -> bool {
    let Some(allowed) = allowed else { return true };
    let written = allowed.iter().any(|allowed| path.starts_with(allowed));
    written && is_beneath(allowed, &resolved(path))
}

fn allows_place(allowed: Option<&[PathBuf]>, real: &Path) -> bool {
    allowed.is_none_or(|allowed| is_beneath(allowed, real))
}

fn is_beneath(allowed: &[PathBuf], real: &Path) -> bool {
    allowed.iter().any(|allowed| real.starts_with(allowed) || real.starts_with(resolved(allowed)))
}

/// The path with the links of its existing part followed.
fn resolved(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            return match path.strip_prefix(ancestor) {
                Ok(rest) if rest.as_os_str().is_empty() => real,
                Ok(rest) => real.join(rest),
                Err(_) => real,
            };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use simsim_model::Kind;

    use super::*;

    fn policy(folder: &Path, text: &str) -> Result<Policy, ClientError> {
        let file = folder.join("policy.toml");
        std::fs::write(&file, text).unwrap();
        Policy::load(&file)
    }

    #[test]
    fn no_file_allows_files_and_no_commands() {
        let policy = Policy::load(Path::new("/nonexistent/policy.toml")).unwrap();
        policy.may_read(b"/etc").unwrap();
        policy.may_restore_into(b"/").unwrap();
        assert_eq!(policy.command("dump").err().unwrap().kind(), Kind::Denied);
        assert_eq!(policy.may_read(b"etc").err().unwrap().kind(), Kind::Invalid);
        assert_eq!(policy.may_read(b"/a/../etc").err().unwrap().kind(), Kind::Invalid);
    }

    #[test]
    fn only_what_is_beneath_an_allowed_path_is_read_also_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("in/deep")).unwrap();
        std::fs::create_dir_all(root.join("inner")).unwrap();
        std::os::unix::fs::symlink(root.join("inner"), root.join("in/out")).unwrap();
        std::os::unix::fs::symlink(root.join("in"), root.join("alias")).unwrap();
        let allowed = root.join("in").display().to_string();
        let policy = policy(&root, &format!("[read]\npaths = [\"{allowed}\"]\n")).unwrap();
        let may = |path: &str| policy.may_read(root.join(path).as_os_str().as_bytes()).is_ok();
        assert!(may("in") && may("in/deep") && may("in/not-there/yet"));
        assert!(!may("inner") && !may("") && !may("other"));
        assert!(!may("in/out/file"), "a link leads out");
        assert!(!may("alias/deep"), "not beneath as written");
        policy.may_restore_into(b"/anywhere").unwrap();
    }

    #[test]
    fn an_allowed_path_may_itself_be_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("alias")).unwrap();
        let allowed = root.join("alias").display().to_string();
        let policy = policy(&root, &format!("[restore]\ntargets = [\"{allowed}\"]\n")).unwrap();
        policy.may_restore_into(root.join("alias/new").as_os_str().as_bytes()).unwrap();
        assert!(policy.may_restore_into(b"/").is_err());
    }

    #[test]
    fn a_policy_that_is_wrong_or_open_to_all_refuses_everything() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "[reed]\npaths = []\n",
            "[read]\npaths = [\"relative\"]\n",
            "[read]\npaths = [\"/a/../b\"]\n",
            "[commands.x]\nrun = []\n",
            "[commands.x]\nrun = [\"/bin/true\"]\ntimeout_s = 0\n",
            "[commands.x]\nrun = [\"sh\", \"-c\", \"true\"]\n",
            "not toml",
        ] {
            assert_eq!(policy(folder.path(), text).err().unwrap().kind(), Kind::Denied, "{text}");
        }
        let file = folder.path().join("policy.toml");
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(Policy::load(&file).err().unwrap().kind(), Kind::Denied);
    }

    #[test]
    fn an_empty_list_allows_nothing_and_commands_go_by_local_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[restore]\ntargets = []\n[commands.dump]\nrun = [\"/bin/echo\", \"a b\"]\n";
        let policy = policy(folder.path(), text).unwrap();
        assert!(policy.may_restore_into(b"/tmp").is_err());
        assert_eq!(policy.command("dump").unwrap().run, ["/bin/echo", "a b"]);
    }

    #[test]
    fn fuzz_policies() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        let policy = "[read]\npaths = [\"/home\", \"/etc\"]\n[restore]\ntargets = [\"/tmp\"]\n[commands.dump]\nrun = [\"/bin/sh\", \"-c\", \"date\"]\n";
        simsim_testkit::fuzz("policy", &[policy.as_bytes().to_vec()], |bytes| {
            std::fs::write(&file, bytes).unwrap();
            if let Ok(policy) = Policy::load(&file) {
                assert!(policy.commands.values().all(|command| command.run[0].starts_with('/')));
                let _ = policy.may_read(b"/home/../etc/shadow");
            }
        });
    }
}
