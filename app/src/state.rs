//! The state folder: one process's memory on this host, readable by its owner only.
//!
//! ```text
//! lock               held while a process works here; says which, and where it listens
//! simsim.toml        settings, written by the owner
//! identity           this host's key (rds, client)
//! enrolment.json     the server that this host obeys (rds, client)
//! console.sock       the server's verbs for the command line; at a client those of its owner
//! console.crt, .key  of the web port
//! server/            catalog, master key, identity, end of the audit chain
//! device/            the list of datastores that are served here
//! client/            the owner's policy, keys that only this client holds
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use simsim_console::LocalClient;
use simsim_model::Kind;

use crate::exit::Failure;

/// Where root's state lies, unless told otherwise.
const HOST_STATE: &str = "/var/lib/simsim";
/// A lock file is small; a host may have thousands of drives.
const LOCK_BYTES_MAX: u64 = 1 << 20;

/// A state folder by its path; nothing is made or opened by having one.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

/// What the process that holds the lock says about itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// `server`, `rds`, `client`, `quickstart`.
    pub role: String,
    /// Port of the control listener; 0 before it is open.
    #[serde(default)]
    pub control_port: u16,
    /// Every open listener.
    #[serde(default)]
    pub listening: Vec<HeldPort>,
}

/// A listener of the process that holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPort {
    /// Row of the port registry.
    pub row: String,
    /// As bound.
    pub address: String,
}

impl State {
    /// The folder that was named, else the default: [`HOST_STATE`] for root, else `simsim` below
    /// `$XDG_STATE_HOME` or `~/.local/state`.
    pub fn named_or_default(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(named) = named {
            return Ok(Self { folder: std::path::absolute(named)? });
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Self { folder: PathBuf::from(HOST_STATE) });
        }
        Ok(Self { folder: user_states()? })
    }

    /// The folder that was named, else `name` below the user's own states, for root as well.
    pub fn named_or_below_home(named: Option<&Path>, name: &str) -> Result<Self, Failure> {
        match named {
            Some(named) => Ok(Self { folder: std::path::absolute(named)? }),
            None => Ok(Self { folder: user_states()?.join(name) }),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether this is the host's own installation, whose settings may lie in `/etc/simsim`.
    pub fn is_of_host(&self) -> bool {
        self.folder == Path::new(HOST_STATE)
    }

    /// Whether a server keeps its catalog here.
    pub fn is_of_server(&self) -> bool {
        self.file("server").is_dir()
    }

    pub fn socket(&self) -> PathBuf {
        self.file("console.sock")
    }

    /// The way to the server that works on this state: what the command line asks through.
    pub fn console(&self) -> LocalClient {
        LocalClient::new(self.socket())
    }

    /// Makes the folder, for its owner only. One that others may enter is closed to them; one
    /// that belongs to somebody else is refused.
    pub fn make(&self) -> Result<(), Failure> {
        let metadata = self.made()?;
        let me = rustix::process::geteuid();
        if metadata.uid() != me.as_raw() {
            let text = format!(
                "the state folder {} belongs to the user with id {} and not to you ({}): name \
                 another with --state",
                self.folder.display(),
                metadata.uid(),
                me.as_raw()
            );
            return Err(Failure::new(Kind::Denied, text));
        }
        if metadata.mode() & 0o077 != 0 {
            tracing::warn!(folder = %self.folder.display(), "others could enter the state folder; it is closed to them");
            let closed = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&self.folder, closed).map_err(|error| self.fail(&error))?;
        }
        Ok(())
    }

    /// [`State::make`], where root may also prepare the state of a service's user. What it writes
    /// there it must [give](State::give_to_owner) to that user.
    pub fn make_for_service(&self) -> Result<(), Failure> {
        let foreign = self.made()?.uid() != rustix::process::geteuid().as_raw();
        if foreign && rustix::process::geteuid().is_root() {
            return Ok(());
        }
        self.make()
    }

    /// A file that root wrote becomes the property of whom the folder belongs to.
    pub fn give_to_owner(&self, file: &Path) -> Result<(), Failure> {
        let metadata = self.made()?;
        if metadata.uid() == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        std::os::unix::fs::lchown(file, Some(metadata.uid()), Some(metadata.gid())).map_err(
            |error| Failure::new(Kind::of_io(&error), format!("{}: {error}", file.display())),
        )
    }

    fn made(&self) -> Result<std::fs::Metadata, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| std::fs::metadata(&self.folder))
            .map_err(|error| self.fail(&error))
    }

    fn fail(&self, error: &std::io::Error) -> Failure {
        let text = format!("the state folder {}: {error}", self.folder.display());
        Failure::new(Kind::of_io(error), text)
    }

    /// Takes the folder for this process until the lock is dropped. `Busy` names who has it.
    pub fn lock(&self, role: &str) -> Result<Lock, Failure> {
        let path = self.file("lock");
        let fail = |error: std::io::Error| {
            Failure::new(Kind::of_io(&error), format!("{}: {error}", path.display()))
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = read_holder(&file).unwrap_or_default();
                let who = match holder.role.as_str() {
                    "" => "another process".to_owned(),
                    role => format!("simsim {role} (process {})", holder.pid),
                };
                let text = format!(
                    "{who} works with the state folder {}: stop it, or name another folder with \
                     --state",
                    self.folder.display()
                );
                return Err(Failure::new(Kind::Busy, text));
            }
            Err(TryLockError::Error(error)) => return Err(fail(error)),
        }
        let (pid, role) = (std::process::id(), role.to_owned());
        let holder = Holder { pid, role, ..Holder::default() };
        file.set_len(0)?;
        let (listening, drives) = (Vec::new(), Vec::new());
        let mut held = Held { file, bytes: 0, holder, listening, drives };
        held.write()?;
        Ok(Lock(Arc::new(Mutex::new(held))))
    }

    /// Who works with this folder now; `None` when nobody does.
    pub fn holder(&self) -> Option<Holder> {
        let file = File::open(self.file("lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read_holder(&file),
            _ => None,
        }
    }
}

fn user_states() -> Result<PathBuf, Failure> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
        .ok_or_else(|| {
            let text = "there is no home folder: name a folder with --state";
            Failure::new(Kind::NotFound, text)
        })?;
    Ok(base.join("simsim"))
}

/// The folder is this process's own while this lives; the kernel lets go of it in any case.
pub struct Lock(Arc<Mutex<Held>>);

/// For whoever opens and closes ports while the process runs. It holds nothing by itself.
#[derive(Clone)]
pub struct LockHandle(Weak<Mutex<Held>>);

/// The file, and what stands in it.
struct Held {
    file: File,
    bytes: usize,
    holder: Holder,
    listening: Vec<HeldPort>,
    drives: Vec<HeldPort>,
}

impl Lock {
    /// Says where this process waits for its server, and on what else it listens.
    pub fn set_ports(&self, control: u16, listening: Vec<HeldPort>) -> Result<(), Failure> {
        let mut held = self.0.lock();
        held.holder.control_port = control;
        held.listening = listening;
        held.write()
    }

    pub fn handle(&self) -> LockHandle {
        LockHandle(Arc::downgrade(&self.0))
    }
}

impl LockHandle {
    /// The ports of drives that are open now.
    pub fn set_drives(&self, drives: Vec<HeldPort>) {
        let Some(held) = self.0.upgrade() else { return };
        let mut held = held.lock();
        if held.drives == drives {
            return;
        }
        held.drives = drives;
        if let Err(failure) = held.write() {
            tracing::warn!(
                why = failure.message,
                "open ports of drives could not be written into the lock file"
            );
        }
    }
}

impl Held {
    /// Whoever reads meanwhile finds something whole: the old text is written over, and cut off where
    /// it was longer by blanks first.
    fn write(&mut self) -> Result<(), Failure> {
        self.holder.listening = [self.listening.as_slice(), self.drives.as_slice()].concat();
        let mut text = serde_json::to_vec(&self.holder)
            .map_err(|error| Failure::new(Kind::Internal, error.to_string()))?;
        let bytes = text.len();
        text.resize(bytes.max(self.bytes), b' ');
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.set_len(bytes as u64)?;
        self.bytes = bytes;
        Ok(())
    }
}

fn read_holder(mut file: &File) -> Option<Holder> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(LOCK_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Writes a whole file that only its owner reads: under another name, synced, then renamed.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let scratch = tempfile::tempdir().unwrap();
        let state = State { folder: scratch.path().join("a/state") };
        state.make().unwrap();
        (scratch, state)
    }

    #[test]
    fn the_folder_is_for_its_owner_only_also_when_it_was_open_before() {
        let (_scratch, state) = state();
        let mode = || std::fs::metadata(state.folder()).unwrap().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(state.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
        state.make().unwrap();
        assert_eq!(mode(), 0o700);
    }

    #[test]
    fn one_process_has_it_and_the_next_one_is_told_which() {
        let (_scratch, state) = state();
        assert!(state.holder().is_none());
        let lock = state.lock("client").unwrap();
        let http = HeldPort { row: "http".to_owned(), address: "[::]:8".to_owned() };
        lock.set_ports(7, vec![http.clone()]).unwrap();
        let holder = state.holder().unwrap();
        assert_eq!((holder.pid, holder.control_port), (std::process::id(), 7));
        assert_eq!(holder.listening, std::slice::from_ref(&http));
        // Ports of drives come and go beside the others.
        let drive =
            |port: u16| HeldPort { row: "drive".to_owned(), address: format!("[::]:{port}") };
        let handle = lock.handle();
        handle.set_drives(vec![drive(1), drive(2)]);
        assert_eq!(state.holder().unwrap().listening, [http.clone(), drive(1), drive(2)]);
        handle.set_drives(vec![drive(2)]);
        assert_eq!(state.holder().unwrap().listening, [http, drive(2)]);
        let error = state.lock("server").err().unwrap();
        assert_eq!(error.kind, Kind::Busy);
        let said = format!("simsim client (process {})", std::process::id());
        assert!(error.message.contains(&said), "{error}");
        drop(lock);
        handle.set_drives(Vec::new());
        assert!(state.holder().is_none(), "a handle holds nothing");
        state.lock("server").unwrap();
    }
}
