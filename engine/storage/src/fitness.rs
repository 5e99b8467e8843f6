//! Is a place fit to hold a store? Tried out before it is trusted (PWR11).
//!
//! Some network file systems rename over what is there, grant one lock to everybody, or list a
//! folder as it was a while ago. Only an answer that contradicts the contract of [`Storage`] makes a
//! place unfit; a call that fails says so itself, since a full volume or a bad disk is neither fit
//! nor unfit.

use crate::StorageError;
use crate::storage::Storage;

const CONTENT: &[u8] = b"self test";

/// Tries what stores rely on with objects of its own, which are gone afterwards. Errors: `Unfit`,
/// and those of the calls.
pub(crate) fn try_out(storage: &dyn Storage) -> Result<(), StorageError> {
    let key = format!("selftest-{}-{:x}", std::process::id(), token());
    let lock_key = format!("{key}-lock");
    let verdict = contradiction(storage, &key, &lock_key);
    let remove = |key: &str| match storage.delete(key) {
        Err(error) if error.kind() == simsim_model::Kind::NotFound => Ok(()),
        removed => removed,
    };
    let removed = remove(&lock_key).and(remove(&key));
    match verdict? {
        Some(why) => Err(StorageError::Unfit { place: storage.place(), why: why.to_owned() }),
        None => removed,
    }
}

fn contradiction(
    storage: &dyn Storage,
    key: &str,
    lock_key: &str,
) -> Result<Option<&'static str>, StorageError> {
    storage.put(key, CONTENT)?;
    match storage.put(key, b"other") {
        Err(StorageError::Exists { .. }) => {}
        Err(error) => return Err(error),
        Ok(()) => return Ok(Some("a rename replaces an existing file although told not to")),
    }
    if *storage.get(key)? != *CONTENT {
        return Ok(Some("what was written does not read back"));
    }
    let (mut listed, mut failed) = (false, None);
    for object in storage.list("")? {
        match object {
            Ok(object) => listed |= object.key == key,
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        _ if listed => {}
        Some(error) => return Err(error),
        None => return Ok(Some("a new file does not show in a listing")),
    }
    let _first = storage.lock(lock_key, "self test")?;
    match storage.lock(lock_key, "self test") {
        Err(StorageError::Locked { .. }) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some("locks do not exclude one another")),
    }
}

fn token() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use simsim_model::Kind;

    use super::*;
    use crate::fault::{FailingStorage, Fault, PowerCutStorage};
    use crate::storage::{Lock, ObjectWriter, Objects};

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Lie {
        Replaces,
        ReadsOtherwise,
        ListsLate,
        LocksTwice,
    }

    /// A disk that keeps its word in all but one thing.
    struct Lying {
        disk: PowerCutStorage,
        lie: Lie,
    }

    struct NoLock;
    impl Lock for NoLock {}

    impl Storage for Lying {
        fn create(&self) -> Result<Box<dyn ObjectWriter>, StorageError> {
            self.disk.create()
        }
        fn put(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
            match self.lie {
                Lie::Replaces => self.disk.replace(key, bytes),
                _ => self.disk.put(key, bytes),
            }
        }
        fn replace(&self, key: &str, bytes: &[u8]) -> Result<(), StorageError> {
            self.disk.replace(key, bytes)
        }
        fn get(&self, key: &str) -> Result<Bytes, StorageError> {
            match self.lie {
                Lie::ReadsOtherwise => Ok(Bytes::new()),
                _ => self.disk.get(key),
            }
        }
        fn get_range(&self, key: &str, offset: u64, length: usize) -> Result<Bytes, StorageError> {
            self.disk.get_range(key, offset, length)
        }
        fn size(&self, key: &str) -> Result<u64, StorageError> {
            self.disk.size(key)
        }
        fn list(&self, prefix: &str) -> Result<Objects, StorageError> {
            match self.lie {
                Lie::ListsLate => Ok(Box::new(std::iter::empty())),
                _ => self.disk.list(prefix),
            }
        }
        fn delete(&self, key: &str) -> Result<(), StorageError> {
            self.disk.delete(key)
        }
        fn allocate(&self, key: &str, bytes: u64) -> Result<(), StorageError> {
            self.disk.allocate(key, bytes)
        }
        fn free_bytes(&self) -> Result<u64, StorageError> {
            self.disk.free_bytes()
        }
        fn total_bytes(&self) -> Result<u64, StorageError> {
            self.disk.total_bytes()
        }
        fn lock(&self, key: &str, holder: &str) -> Result<Box<dyn Lock>, StorageError> {
            match self.lie {
                Lie::LocksTwice => Ok(Box::new(NoLock)),
                _ => self.disk.lock(key, holder),
            }
        }
        fn clear_temporary(&self) -> Result<u64, StorageError> {
            self.disk.clear_temporary()
        }
        fn place(&self) -> String {
            "/lying".to_owned()
        }
    }

    fn objects(disk: &PowerCutStorage) -> usize {
        disk.list("").unwrap().count()
    }

    #[test]
    fn pwr11_a_place_that_does_not_keep_its_word_is_refused_and_left_clean() {
        let disk = PowerCutStorage::new();
        try_out(&disk).unwrap();
        assert_eq!(objects(&disk), 0);
        for (lie, why) in [
            (Lie::Replaces, "rename replaces"),
            (Lie::ReadsOtherwise, "does not read back"),
            (Lie::ListsLate, "does not show in a listing"),
            (Lie::LocksTwice, "do not exclude"),
        ] {
            let lying = Lying { disk: PowerCutStorage::new(), lie };
            let error = try_out(&lying).unwrap_err();
            let told = error.to_string();
            assert!(matches!(error, StorageError::Unfit { .. }), "{lie:?}: {told}");
            assert!(told.contains("/lying") && told.contains(why), "{lie:?}: {told}");
            assert_eq!(objects(&lying.disk), 0, "{lie:?}");
        }
    }

    #[test]
    fn pwr11_a_call_that_fails_is_told_as_it_is_and_never_as_unfit() {
        let broken = Kind::of_io(&rustix::io::Errno::IO.into());
        for (fault, kind) in [(Fault::Full, Kind::Full), (Fault::Io, broken)] {
            let failed = (0..20)
                .filter_map(|call| {
                    let disk = FailingStorage::new(PowerCutStorage::new(), call, fault);
                    try_out(&disk).err()
                })
                .map(|error| assert_eq!(error.kind(), kind, "{error}"))
                .count();
            assert!(failed >= 6, "{fault:?}: only {failed} calls");
        }
    }
}
