//! Domain keys that only this client holds, and the recovery kit that opens them.
//!
//! ```text
//! keys/STORE-DOMAIN.key     a key: 32 bytes
//! keys/kit                  the kit, and whether it was shown to be kept elsewhere
//! keys/recovery-kit.txt     the kit for its owner, to be printed
//! keys/recovery-kit.html    and taken away
//! ```
//!
//! All of it is readable for its owner only. What leaves the client are slots: a key wrapped for the
//! kit. The kit is made with the first key. It stays beside the keys, which are as secret as it is, so
//! that later keys are wrapped for the same page; a page that was mislaid is replaced by a new kit,
//! for which every held key is wrapped anew.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use simsim_format::{KeySlots, KitOwner, KitPage, KitProof, RecoveryKit, random_bytes};
use simsim_model::{DomainId, Secret, StoreId};
use zeroize::Zeroizing;

use crate::ClientError;

const KIT: &str = "kit";
const KEY_ENDING: &str = "key";

/// The folder of held keys.
pub struct HeldKeys {
    folder: PathBuf,
    /// This host's name, for the page.
    host: Mutex<String>,
    /// One maker at a time.
    making: Mutex<()>,
}

/// A kit that was just made.
pub struct KitMade {
    /// Eleven groups of letters and digits: a secret.
    pub groups: Zeroizing<Vec<String>>,
    /// Groups (from 1) that a proof asks for.
    pub asked: Vec<usize>,
    /// Keys that it opens.
    pub keys: u64,
}

/// Wrapped keys of one domain, as they lie in a datastore.
#[derive(Debug, Clone)]
pub struct OwnSlots {
    pub store: StoreId,
    pub domain: DomainId,
    pub slots: Vec<u8>,
}

/// What a kit brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Keys that were lost here and are held again.
    pub brought: u64,
    /// Keys that were held all the time.
    pub held: u64,
    /// Domains that this kit does not open.
    pub sealed: u64,
}

struct Kit {
    kit: RecoveryKit,
    proof: KitProof,
}

impl HeldKeys {
    /// Keys are kept in `folder`, which is made with the first key.
    pub fn new(folder: impl Into<PathBuf>, host: impl Into<String>) -> Self {
        Self { folder: folder.into(), host: Mutex::new(host.into()), making: Mutex::new(()) }
    }

    /// The name under which this host is known from now on.
    pub fn set_host(&self, name: &str) {
        name.clone_into(&mut self.host.lock());
    }

    /// This host's name.
    pub fn host(&self) -> String {
        self.host.lock().clone()
    }

    /// The pages to print: text and HTML.
    pub fn pages(&self) -> [PathBuf; 2] {
        ["recovery-kit.txt", "recovery-kit.html"].map(|name| self.folder.join(name))
    }

    fn key_file(&self, store: StoreId, domain: DomainId) -> PathBuf {
        self.folder.join(format!("{store}-{domain}.{KEY_ENDING}"))
    }

    /// The key, if this client holds it.
    ///
    /// # Errors
    /// A key file that others may read, or that is damaged.
    pub fn get(&self, store: StoreId, domain: DomainId) -> Result<Option<Secret>, ClientError> {
        let path = self.key_file(store, domain);
        let bytes = match read_secret(&path)? {
            Some(bytes) => bytes,
            None => return Ok(None),
        };
        match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Some(Secret(key))),
            Err(_) => Err(ClientError::Damaged { path, why: "a key has 32 bytes" }),
        }
    }

    /// The key of a domain, whatever datastore it was made for: a copy of a saveset lies in another
    /// one, under the same key.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn of_domain(&self, domain: DomainId) -> Result<Option<Secret>, ClientError> {
        let ending = format!("-{domain}.{KEY_ENDING}");
        for path in self.held()? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let store = name.strip_suffix(&ending).and_then(|store| store.parse().ok());
            if let Some(store) = store {
                return self.get(store, domain);
            }
        }
        Ok(None)
    }

    /// Makes the key unless it is held already, durably, and returns its slots.
    pub fn create(&self, store: StoreId, domain: DomainId) -> Result<Vec<u8>, ClientError> {
        let _one = self.making.lock();
        let kit = match self.kit()? {
            Some(kit) => kit.kit,
            // The owner's page would be useless for the new key, and nobody would know.
            None if !self.held()?.is_empty() => return Err(self.no_kit_file()),
            None => self.make_kit()?.kit,
        };
        let key = match self.get(store, domain)? {
            Some(key) => key,
            None => {
                let key = Secret(random_bytes()?);
                self.write_new(&self.key_file(store, domain), &key.0)?;
                key
            }
        };
        wrapped(domain, &key, &kit)
    }

    /// A held key wrapped for the kit as it is now; `None` when the key is not held.
    pub fn slots(&self, store: StoreId, domain: DomainId) -> Result<Option<Vec<u8>>, ClientError> {
        let Some(key) = self.get(store, domain)? else { return Ok(None) };
        let Some(kit) = self.kit()? else { return Err(self.no_kit_file()) };
        wrapped(domain, &key, &kit.kit).map(Some)
    }

    /// How the proof stands that the kit is kept elsewhere; `None` without a kit.
    pub fn proof(&self) -> Result<Option<KitProof>, ClientError> {
        Ok(self.kit()?.map(|kit| kit.proof))
    }

    /// Holds typed groups against the kit. How the proof stands then is kept, durably.
    ///
    /// # Errors
    /// `NotFound` without a kit.
    pub fn prove(&self, typed: &[String], now_unix_ms: i64) -> Result<KitProof, ClientError> {
        let _one = self.making.lock();
        let Some(Kit { kit, proof }) = self.kit()? else { return Err(ClientError::NoKit) };
        let proof = proof.answer(&kit, typed, now_unix_ms)?;
        self.keep(&Kit { kit, proof: proof.clone() })?;
        Ok(proof)
    }

    /// Makes a kit in place of the one before. Slots for it must reach the datastores before the old
    /// one may be forgotten.
    ///
    /// # Errors
    /// `NotFound` where no key is held.
    pub fn renew_kit(&self) -> Result<KitMade, ClientError> {
        let _one = self.making.lock();
        let keys = self.held()?.len() as u64;
        if keys == 0 {
            return Err(ClientError::NoKit);
        }
        let Kit { kit, proof } = self.make_kit()?;
        let groups = Zeroizing::new(kit.groups());
        Ok(KitMade { groups, asked: proof.asked().to_vec(), keys })
    }

    /// Brings keys back that were lost here, out of slots and the kit. Whoever has the whole kit at
    /// hand has kept it: it is this client's kit from then on, and proven.
    pub fn recover(
        &self,
        kit: RecoveryKit,
        all: &[OwnSlots],
        now_unix_ms: i64,
    ) -> Result<Recovered, ClientError> {
        let _one = self.making.lock();
        let wrapping = kit.wrapping_key();
        let mut done = Recovered::default();
        for OwnSlots { store, domain, slots } in all {
            let slots = KeySlots::decode(slots).ok().filter(|slots| slots.domain == *domain);
            let Some(key) = slots.and_then(|slots| slots.open(&wrapping).ok()) else {
                done.sealed += 1;
                continue;
            };
            match self.get(*store, *domain)? {
                Some(_) => done.held += 1,
                None => {
                    self.make_folder()?;
                    self.write_new(&self.key_file(*store, *domain), &key.0)?;
                    done.brought += 1;
                }
            }
        }
        if done.brought > 0 && self.kit()?.is_none() {
            self.keep(&Kit { kit, proof: KitProof::Proven { unix_ms: now_unix_ms } })?;
        }
        Ok(done)
    }

    fn held(&self) -> Result<Vec<PathBuf>, ClientError> {
        let listed = match fs::read_dir(&self.folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ClientError::file("list", &self.folder)(error)),
        };
        let paths = listed.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        Ok(paths.filter(|path| path.extension().is_some_and(|end| end == KEY_ENDING)).collect())
    }

    fn no_kit_file(&self) -> ClientError {
        let path = self.folder.join(KIT);
        ClientError::Damaged { path, why: "it is gone; make a new kit here: simsim key kit new" }
    }

    /// A new kit, on its pages and durable. The pages come first: a kit that nobody could print is
    /// not used.
    fn make_kit(&self) -> Result<Kit, ClientError> {
        self.make_folder()?;
        let kit = RecoveryKit::generate()?;
        let groups = Zeroizing::new(kit.groups());
        let owner = KitOwner::Client { name: self.host() };
        let page = KitPage { owner: &owner, groups: &groups };
        let [text, html] = self.pages();
        self.replace(&text, page.text().as_bytes())?;
        self.replace(&html, page.html().as_bytes())?;
        let proof = KitProof::ask(&kit)?;
        let kit = Kit { kit, proof };
        self.keep(&kit)?;
        tracing::warn!(page = %text.display(), "recovery kit made: print it, keep it elsewhere, and show that it is kept with 'simsim key kit prove' here");
        Ok(kit)
    }

    fn kit(&self) -> Result<Option<Kit>, ClientError> {
        let path = self.folder.join(KIT);
        let Some(bytes) = read_secret(&path)? else { return Ok(None) };
        let damaged =
            ClientError::Damaged { path, why: "a kit and its proof are two lines of text" };
        let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
        let mut lines = text.lines();
        let kit = lines.next().and_then(|groups| RecoveryKit::parse(groups).ok());
        let proof = lines.next().and_then(KitProof::parse);
        match (kit, proof) {
            (Some(kit), Some(proof)) => Ok(Some(Kit { kit, proof })),
            _ => Err(damaged),
        }
    }

    fn keep(&self, Kit { kit, proof }: &Kit) -> Result<(), ClientError> {
        let groups = Zeroizing::new(kit.groups().join("-"));
        let text = Zeroizing::new(format!("{}\n{}\n", groups.as_str(), proof.text()));
        self.replace(&self.folder.join(KIT), text.as_bytes())
    }

    fn make_folder(&self) -> Result<(), ClientError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(ClientError::file("make", &self.folder))
    }

    /// Complete and durable, or not there; never over another file.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
        self.write(path, bytes, |temporary| {
            fs::hard_link(temporary, path)?;
            fs::remove_file(temporary)
        })
    }

    /// Complete and durable in place of what was there, or that stays.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
        self.write(path, bytes, |temporary| fs::rename(temporary, path))
    }

    fn write(
        &self,
        path: &Path,
        bytes: &[u8],
        name: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        // Left behind by an interrupted attempt, never in use.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ClientError::file("remove", temporary)(error));
            }
            _ => {}
        }
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            name(&temporary)?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(ClientError::file("write", path))
    }
}

fn wrapped(domain: DomainId, key: &Secret, kit: &RecoveryKit) -> Result<Vec<u8>, ClientError> {
    let mut slots = KeySlots::new(domain);
    slots.add(&kit.wrapping_key(), key)?;
    Ok(slots.encode())
}

/// A secret file's bytes; `None` when it is not there.
fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, ClientError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ClientError::file("read", path)(error)),
    };
    let damaged = |why| ClientError::Damaged { path: path.to_owned(), why };
    if !metadata.is_file() || metadata.len() > 4096 {
        return Err(damaged("it is no small regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(damaged("others may read it: set its mode to 0600 and consider the key known"));
    }
    fs::read(path).map(Zeroizing::new).map(Some).map_err(ClientError::file("read", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use simsim_model::Kind;

    use super::*;

    const STORE: StoreId = StoreId([1; 16]);

    fn domain(number: u8) -> DomainId {
        DomainId([number; 16])
    }

    /// The kit, from the page that its owner prints.
    fn printed(keys: &HeldKeys) -> RecoveryKit {
        let [text, html] = keys.pages();
        for page in [&text, &html] {
            assert_eq!(fs::metadata(page).unwrap().mode() & 0o777, 0o600);
        }
        let text = fs::read_to_string(text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("In one line: ")).unwrap();
        assert!(line.split('-').all(|group| fs::read_to_string(&html).unwrap().contains(group)));
        RecoveryKit::parse(line).unwrap()
    }

    fn opens(slots: &[u8], kit: &RecoveryKit) -> Option<Secret> {
        KeySlots::decode(slots).unwrap().open(&kit.wrapping_key()).ok()
    }

    #[test]
    fn a_held_key_is_private_stays_and_opens_with_the_kit() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HeldKeys::new(folder.path().join("keys"), "web");
        assert!(keys.get(STORE, domain(2)).unwrap().is_none());
        let slots = keys.create(STORE, domain(2)).unwrap();
        let key = keys.get(STORE, domain(2)).unwrap().unwrap();
        let mode = fs::metadata(keys.key_file(STORE, domain(2))).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!slots.windows(32).any(|window| window == key.0));

        let kit = printed(&keys);
        assert!(opens(&slots, &kit) == Some(key.clone()));
        let again = keys.create(STORE, domain(2)).unwrap();
        assert!(opens(&again, &kit) == Some(key.clone()), "a repeated request makes no other key");
        // The owner took the pages away: later keys are wrapped for them all the same.
        keys.pages().iter().for_each(|page| fs::remove_file(page).unwrap());
        let other = keys.create(STORE, domain(3)).unwrap();
        assert!(opens(&other, &kit).is_some_and(|other| other != key));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_no_second_kit_is_made_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HeldKeys::new(folder.path(), "web");
        keys.create(STORE, domain(2)).unwrap();
        fs::remove_file(folder.path().join(KIT)).unwrap();
        let error = keys.create(STORE, domain(3)).unwrap_err();
        assert!(error.to_string().contains("simsim key kit new"), "{error}");
        assert!(keys.get(STORE, domain(2)).unwrap().is_some());
        let file = keys.key_file(STORE, domain(2));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(keys.get(STORE, domain(2)).is_err());
    }

    #[test]
    fn the_kit_is_proven_by_its_groups_and_a_new_one_must_be_proven_again() {
        let folder = tempfile::tempdir().unwrap();
        let keys = HeldKeys::new(folder.path(), "web");
        assert_eq!(keys.proof().unwrap(), None);
        assert_eq!(keys.prove(&[], 1).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(keys.renew_kit().err().unwrap().kind(), Kind::NotFound, "nothing to open");
        keys.create(STORE, domain(2)).unwrap();
        let groups = printed(&keys).groups();
        let wrong = vec!["AAAAAA".to_owned(); 2];
        assert!(matches!(keys.prove(&wrong, 1).unwrap(), KitProof::Open { .. }));
        let asked = keys.proof().unwrap().unwrap().asked().to_vec();
        let typed: Vec<String> = asked.iter().map(|place| groups[place - 1].clone()).collect();
        let proven = KitProof::Proven { unix_ms: 7 };
        assert_eq!(keys.prove(&typed, 7).unwrap(), proven);
        let reopened = HeldKeys::new(folder.path(), "web");
        assert_eq!(reopened.proof().unwrap(), Some(proven), "it is remembered");

        let old = printed(&keys);
        let made = keys.renew_kit().unwrap();
        assert_eq!((made.keys, made.asked.len()), (1, 2));
        let new = printed(&keys);
        assert!(new.groups() == *made.groups && new != old);
        assert!(matches!(keys.proof().unwrap(), Some(KitProof::Open { .. })));
        let slots = keys.slots(STORE, domain(2)).unwrap().unwrap();
        assert!(opens(&slots, &new) == keys.get(STORE, domain(2)).unwrap());
        assert!(opens(&slots, &old).is_none());
    }

    #[test]
    fn keys_that_were_lost_come_back_with_the_kit_and_with_no_other() {
        let before = tempfile::tempdir().unwrap();
        let keys = HeldKeys::new(before.path(), "web");
        let all: Vec<OwnSlots> = [2, 3]
            .map(|number| {
                let (store, domain) = (STORE, domain(number));
                OwnSlots { store, domain, slots: keys.create(store, domain).unwrap() }
            })
            .to_vec();
        let kit = printed(&keys);
        let after = tempfile::tempdir().unwrap();
        let anew = HeldKeys::new(after.path().join("keys"), "web");
        let other = RecoveryKit::generate().unwrap();
        let none = anew.recover(other, &all, 5).unwrap();
        assert_eq!(none, Recovered { sealed: 2, ..Recovered::default() });
        assert_eq!(anew.proof().unwrap(), None);
        let some = anew.recover(kit.clone(), &all[..1], 5).unwrap();
        assert_eq!(some, Recovered { brought: 1, ..Recovered::default() });
        let rest = anew.recover(kit, &all, 6).unwrap();
        assert_eq!(rest, Recovered { brought: 1, held: 1, sealed: 0 });
        for number in [2, 3] {
            let (one, two) = (keys.get(STORE, domain(number)), anew.get(STORE, domain(number)));
            assert!(one.unwrap().unwrap() == two.unwrap().unwrap());
        }
        assert_eq!(anew.proof().unwrap(), Some(KitProof::Proven { unix_ms: 5 }));
    }
}
