//! A copy of a datastore, opened without writing to it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use simsim_datastore::{Datastore, DatastoreError, OpenOptions};
use simsim_format::{DomainKey, Manifest, ManifestDetails, RecoveryKit};
use simsim_model::{DomainId, Kind, RestoreSession, SavesetId, StoreId};
use simsim_mover::tree::Tree;
use simsim_mover::{MoverError, StreamFile, StreamReader};
use simsim_server::SELF_BACKUP_SOURCE;
use simsim_storage::{LocalStorage, OverlayStorage, StorageError};

use super::{RescueList, Rescued};
use crate::cli::text::{Text, plain};
use crate::cli::words::{counted, when};
use crate::exit::{Failure, from_error};

from_error!(DatastoreError, StorageError, MoverError);

/// A datastore whose keys are not known yet.
pub struct Locked {
    datastore: Datastore,
    scratch: tempfile::TempDir,
}

/// A datastore with the keys that the kit opens.
pub struct Copy {
    datastore: Datastore,
    keys: HashMap<DomainId, DomainKey>,
    savesets: Vec<Rescued>,
    domains: HashMap<SavesetId, DomainId>,
    /// Those that are backups of a server itself.
    servers: HashSet<SavesetId>,
    sealed: u64,
    /// Removed when this is dropped, after the datastore.
    _scratch: tempfile::TempDir,
}

impl Copy {
    pub fn open(folder: &Path, scratch: Option<&Path>) -> Result<Locked, Failure> {
        let shown = plain(&folder.to_string_lossy()).into_owned();
        let scratch = scratch.map_or_else(std::env::temp_dir, Path::to_owned);
        let scratch = tempfile::Builder::new().prefix("simsim-rescue-").tempdir_in(&scratch);
        let scratch = scratch.map_err(|error| {
            Failure::new(Kind::of_io(&error), format!("a scratch folder cannot be made: {error}"))
                .next("name a folder that can be written to: --scratch FOLDER")
        })?;
        let below = LocalStorage::to_read(folder).map_err(|error| {
            Failure::from(error).next("name the folder of a datastore, or of a copy of it")
        })?;
        let above = LocalStorage::open(scratch.path())?;
        let storage = OverlayStorage::new(Arc::new(below), Arc::new(above));
        let options = OpenOptions { reserve_bytes: Some(0), ..OpenOptions::default() };
        let datastore = Datastore::open(Arc::new(storage), options).map_err(|error| {
            let failure = Failure::from(error);
            if failure.kind == Kind::NotFound {
                Failure::new(Kind::NotFound, format!("{shown} is not the folder of a datastore"))
                    .next("such a folder holds 'packs', 'manifests' and 'domains'")
            } else {
                failure
            }
        })?;
        // Lost manifests come back from their copies, in the scratch folder.
        if datastore.manifests(0, 1)?.is_empty() || !datastore.state().damaged_manifests.is_empty()
        {
            datastore.rebuild_manifests_from_packs()?;
        }
        Ok(Locked { datastore, scratch })
    }

    pub fn list(&self) -> RescueList {
        RescueList {
            datastore: self.datastore.name().to_owned(),
            store: self.datastore.store(),
            savesets: self.savesets.clone(),
            sealed: self.sealed,
        }
    }

    /// The saveset that is meant, by the rules of every other verb.
    pub fn meant(&self, reference: &str) -> Result<SavesetId, Failure> {
        let newest = |task: Option<&str>| {
            self.savesets.iter().find(|saveset| task.is_none_or(|task| saveset.task == task))
        };
        let found: Vec<&Rescued> = if reference == "latest" {
            newest(None).into_iter().collect()
        } else if let Some(task) = reference.strip_prefix("latest:") {
            newest(Some(task)).into_iter().collect()
        } else {
            let beginning = reference.to_ascii_lowercase();
            let by_id = self.savesets.iter().filter(|saveset| {
                beginning.len() >= 4 && saveset.saveset.to_string().starts_with(&beginning)
            });
            by_id.chain(newest(Some(reference))).collect()
        };
        match found.as_slice() {
            [only] => Ok(only.saveset),
            [] => {
                let text = format!(
                    "there is no saveset or task '{}' that this kit opens",
                    plain(reference)
                );
                Err(Failure::new(Kind::NotFound, text)
                    .next("all of them: simsim rescue FOLDER list"))
            }
            several => {
                let text = format!("'{}' may mean several savesets", plain(reference));
                let failure = Failure::new(Kind::Invalid, text);
                Err(several.iter().fold(failure, |failure, saveset| {
                    failure.detail(Text::from(saveset.saveset.to_string()).plain(format!(
                        "  {}  {}",
                        saveset.task,
                        when(saveset.committed_unix_ms)
                    )))
                }))
            }
        }
    }

    pub fn name(&self) -> &str {
        self.datastore.name()
    }

    pub fn store(&self) -> StoreId {
        self.datastore.store()
    }

    /// Backups of a server itself, as their names say, the newest first. Whether they are, and of which
    /// server, their content says.
    pub fn self_backups(&self) -> impl Iterator<Item = &Rescued> {
        self.savesets.iter().filter(|saveset| self.servers.contains(&saveset.saveset))
    }

    /// The one file of a saveset that was a stream.
    pub fn stream(&self, saveset: SavesetId) -> Result<StreamReader, Failure> {
        let (session, key) = self.reader(saveset)?;
        Ok(StreamFile::open(session, key, saveset)?.reader(0)?)
    }

    pub fn savesets(&self) -> impl Iterator<Item = SavesetId> + '_ {
        self.savesets.iter().map(|saveset| saveset.saveset)
    }

    /// What a reader of one saveset needs.
    pub fn reader(
        &self,
        saveset: SavesetId,
    ) -> Result<(Arc<dyn RestoreSession>, DomainKey), Failure> {
        let domain = self.domains.get(&saveset);
        let (Some(domain), Some(key)) = (domain, domain.and_then(|domain| self.keys.get(domain)))
        else {
            return Err(Failure::new(
                Kind::Denied,
                format!("this kit does not open saveset {saveset}"),
            ));
        };
        Ok((Arc::new(self.datastore.read_session(*domain)), key.clone()))
    }

    /// The tree of one saveset.
    pub fn tree(&self, saveset: SavesetId) -> Result<Tree, Failure> {
        let (session, key) = self.reader(saveset)?;
        Ok(Tree::open(session, key, saveset)?)
    }
}

impl Locked {
    /// Opens the domain keys that the kit has a slot for.
    pub fn unlock(self, kit: &RecoveryKit) -> Result<Copy, Failure> {
        let Self { datastore, scratch } = self;
        let wrapping = kit.wrapping_key();
        let mut keys = HashMap::new();
        let all = datastore.domains()?;
        for domain in &all {
            // Slots that are damaged in all copies must not hide other domains.
            let slots = match datastore.slots(*domain) {
                Ok(slots) => slots,
                Err(error) => {
                    tracing::error!(%domain, %error, "the key slots of a domain cannot be read");
                    continue;
                }
            };
            if let Some(key) = slots.and_then(|slots| slots.open(&wrapping).ok()) {
                keys.insert(*domain, DomainKey::new(&key));
            }
        }
        if keys.is_empty() && !all.is_empty() {
            let text = format!(
                "this recovery kit opens nothing in datastore '{}' ({})",
                plain(datastore.name()),
                counted(all.len() as u64, "domain")
            );
            return Err(Failure::new(Kind::Denied, text)
                .next("it is the kit of another server, or one that was replaced by a newer one")
                .next("data whose key only a client holds is opened by that client's own kit"));
        }
        if all.is_empty() {
            let text = format!(
                "datastore '{}' has no key slots: nothing was saved in it, or 'domains' was not copied",
                plain(datastore.name())
            );
            return Err(Failure::new(Kind::NotFound, text).next("copy the whole folder"));
        }
        let (mut savesets, mut domains, mut sealed) = (Vec::new(), HashMap::new(), 0);
        let mut servers = HashSet::new();
        for manifest in datastore.manifests(0, usize::MAX)? {
            let Some(key) = keys.get(&manifest.domain) else {
                sealed += 1;
                continue;
            };
            domains.insert(manifest.saveset, manifest.domain);
            let (saveset, sources) = rescued(&manifest, key);
            if sources == [SELF_BACKUP_SOURCE.as_bytes()] {
                servers.insert(manifest.saveset);
            }
            savesets.push(saveset);
        }
        savesets.sort_by_key(|saveset: &Rescued| std::cmp::Reverse(saveset.sequence));
        Ok(Copy { datastore, keys, savesets, domains, servers, sealed, _scratch: scratch })
    }
}

/// A saveset, and what it is of.
fn rescued(manifest: &Manifest, key: &DomainKey) -> (Rescued, Vec<Vec<u8>>) {
    let opened =
        ManifestDetails::open(key, manifest.domain, manifest.saveset, &manifest.sealed_details);
    let details = opened.unwrap_or_else(|error| {
        tracing::error!(saveset = %manifest.saveset, %error, "a saveset's names cannot be read");
        ManifestDetails::default()
    });
    let saveset = Rescued {
        saveset: manifest.saveset,
        client: details.client,
        task: details.task,
        level: manifest.level,
        sequence: manifest.sequence,
        committed_unix_ms: manifest.committed_unix_ns.div_euclid(1_000_000),
        files: manifest.files,
        dirs: manifest.dirs,
        bytes: manifest.bytes,
        problems: manifest.problems,
    };
    (saveset, details.sources)
}
