//! Locks that were made later than their manifests say, and what is known of the time: three copies of
//! one object, `locks.1` to `.3`.
//!
//! A manifest is written once, so a lock that is extended stands here. It only ever grows, and no
//! request takes it away; with its saveset it goes. Copies that differ are read together: of each lock
//! the latest date of them all, so that no copy of an older state shortens one.
//!
//! ```text
//! magic "SIMSIMLK" 8 · version u16 = 1 · zero 6
//! known u64: unix s, as late as this datastore has believed the clock to be
//! locks u64 · per lock, in order of the ids: saveset 16 · until u64, unix s
//! BLAKE3 of all before, 32
//! ```
//! **The time.** Whoever deletes says what its own clock is, and may lie; the clock here may jump. A lock
//! ends when both say so, and the one here is believed no further than [`AHEAD_MAX_S`] beyond *known*
//! and the time that has passed since this opening. So one jump, however far, ends no lock before its
//! time by more than that; a host that was off for longer believes its clock at the second or third start.

use std::collections::BTreeMap;
use std::time::Instant;

use simsim_format::{Cursor, FormatError};
use simsim_model::{Kind, SavesetId};
use simsim_storage::Storage;

use crate::open::{Inner, unix_s};
use crate::root::write_copies;
use crate::set_aside::set_aside;
use crate::sync::Mutex;
use crate::{Datastore, DatastoreError};

const BASE: &str = "locks";
const MAGIC: [u8; 8] = *b"SIMSIMLK";
const VERSION: u16 = 1;
const WHAT: &str = "list of locks";
/// A clock that is ahead of what was known of it by more is not believed: 30 days.
pub(crate) const AHEAD_MAX_S: u64 = 30 * 86_400;
/// What is known of the time is written down when it is older than this.
const KNOWN_AGE_S: u64 = 86_400;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Locks {
    known_unix_s: u64,
    until: BTreeMap<SavesetId, u64>,
}

impl Locks {
    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&self.known_unix_s.to_le_bytes());
        out.extend_from_slice(&(self.until.len() as u64).to_le_bytes());
        for (saveset, until) in &self.until {
            out.extend_from_slice(saveset.as_bytes());
            out.extend_from_slice(&until.to_le_bytes());
        }
        let checksum = blake3::hash(&out);
        out.extend_from_slice(checksum.as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (body, checksum) =
            bytes.split_last_chunk::<32>().ok_or(FormatError::Truncated { what: WHAT })?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut cursor = Cursor::new(body, WHAT);
        if cursor.array::<8>()? != MAGIC {
            return Err(cursor.malformed("it does not begin as one"));
        }
        let version = cursor.u16()?;
        if version != VERSION {
            let (found, known) = (version.into(), VERSION.into());
            return Err(FormatError::Version { what: WHAT, found, known });
        }
        cursor.bytes(6)?;
        let mut found = Self { known_unix_s: cursor.u64()?, until: BTreeMap::new() };
        let locks = cursor.u64()?;
        for _ in 0..locks {
            found.until.insert(SavesetId(cursor.array()?), cursor.u64()?);
        }
        cursor.finish()?;
        Ok(found)
    }

    /// Of everything the later.
    fn join(&mut self, other: &Self) {
        self.known_unix_s = self.known_unix_s.max(other.known_unix_s);
        for (saveset, until) in &other.until {
            let here = self.until.entry(*saveset).or_default();
            *here = (*here).max(*until);
        }
    }

    /// What the storage holds, and whether all three copies say the same; `None` where there never
    /// was one.
    fn read(storage: &dyn Storage) -> Result<Option<(Self, bool)>, DatastoreError> {
        let mut found: Vec<Self> = Vec::new();
        let mut trouble = None;
        for copy in 1..=3 {
            let key = format!("{BASE}.{copy}");
            match storage.get(&key) {
                Ok(bytes) => match Self::decode(&bytes) {
                    Ok(locks) => found.push(locks),
                    Err(source) => {
                        trouble.get_or_insert(DatastoreError::format(key, source));
                    }
                },
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => {
                    trouble.get_or_insert(error.into());
                }
            }
        }
        let Some(mut joined) = found.first().cloned() else {
            return trouble.map_or(Ok(None), Err);
        };
        found.iter().for_each(|one| joined.join(one));
        let alike = found.len() == 3 && found.iter().all(|one| *one == joined);
        Ok(Some((joined, alike)))
    }
}

/// The locks of an open datastore, and its clock.
pub(crate) struct LockBook {
    /// `Err`: they cannot be read, and why; nothing is deleted then.
    locks: Mutex<Result<Locks, String>>,
    /// As late as the clock may be by what was known at the opening, and when that was.
    at_most_unix_s: u64,
    opened: Instant,
    /// What is on the medium is not what is known here.
    stale: bool,
}

impl LockBook {
    pub(crate) fn open(storage: &dyn Storage) -> Self {
        let now = unix_s();
        let (locks, known, stale) = match Locks::read(storage) {
            // The clock is believed where nothing is known of it yet.
            Ok(None) => (Ok(Locks { known_unix_s: now, until: BTreeMap::new() }), now, true),
            Ok(Some((locks, alike))) => {
                let known = locks.known_unix_s;
                (Ok(locks), known, !alike)
            }
            Err(error) => {
                tracing::error!(%error, "the list of locks cannot be read: nothing is deleted");
                (Err(error.to_string()), 0, false)
            }
        };
        Self {
            locks: Mutex::new(locks),
            at_most_unix_s: known.saturating_add(AHEAD_MAX_S),
            opened: Instant::now(),
            stale,
        }
    }

    /// The clock here, as far as it is believed, in seconds since 1970.
    fn believed_unix_s(&self) -> u64 {
        unix_s().min(self.at_most_unix_s.saturating_add(self.opened.elapsed().as_secs()))
    }
}

impl Inner {
    /// Writes down what is known of the time, if that is old, and copies that differ. A reason that
    /// stands against it is no reason not to open.
    pub(crate) fn note_the_time(&self) {
        let due = {
            let locks = self.locks.locks.lock();
            let known = locks.as_ref().map(|locks| locks.known_unix_s);
            let older =
                |known: u64| self.locks.believed_unix_s() > known.saturating_add(KNOWN_AGE_S);
            known.is_ok_and(|known| self.locks.stale || older(known))
        };
        if due && let Err(error) = self.set_aside_damaged().and_then(|()| self.change_locks(|_| {}))
        {
            tracing::warn!(%error, "what is known of the time could not be written down");
        }
    }

    /// What a copy that cannot be read holds may be worth a look.
    fn set_aside_damaged(&self) -> Result<(), DatastoreError> {
        let keys = (1..=3).map(|copy| format!("{BASE}.{copy}")).filter(|_| self.locks.stale);
        for key in keys {
            match self.storage.get(&key) {
                Ok(bytes) if Locks::decode(&bytes).is_err() => {
                    set_aside(&*self.storage, &key, 0, &bytes)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Until when nobody deletes a saveset whose manifest says `manifest_until`; 0: no lock. Errors
    /// when the locks cannot be read.
    pub(crate) fn locked_until(
        &self,
        saveset: SavesetId,
        manifest_until: u64,
    ) -> Result<u64, DatastoreError> {
        let locks = self.locks.locks.lock();
        let locks = locks.as_ref().map_err(|why| unreadable(why))?;
        Ok(locks.until.get(&saveset).copied().unwrap_or(0).max(manifest_until))
    }

    /// Refuses what is locked by the clock here, as far as it is believed, or by that of who asks.
    pub(crate) fn check_lock(
        &self,
        saveset: SavesetId,
        manifest_until: u64,
        asked_unix_s: u64,
    ) -> Result<(), DatastoreError> {
        let until_unix_s = self.locked_until(saveset, manifest_until)?;
        if until_unix_s > unix_s().min(asked_unix_s) {
            return Err(DatastoreError::SavesetLocked { saveset, until_unix_s });
        }
        let believed = self.locks.believed_unix_s();
        if until_unix_s > believed {
            let ours = unix_s();
            return Err(DatastoreError::ClockAhead { saveset, until_unix_s, ours, believed });
        }
        Ok(())
    }

    /// Forgets the locks of savesets that are not here any more.
    pub(crate) fn forget_locks(&self, savesets: &[SavesetId]) {
        let any = match &*self.locks.locks.lock() {
            Ok(locks) => savesets.iter().any(|saveset| locks.until.contains_key(saveset)),
            Err(_) => false,
        };
        let forget = |locks: &mut Locks| {
            locks.until.retain(|saveset, _| !savesets.contains(saveset));
        };
        if any && let Err(error) = self.change_locks(forget) {
            tracing::warn!(%error, "locks of deleted savesets stay in the list");
        }
    }

    /// Writes the list anew, durably, then makes it known here.
    fn change_locks(&self, change: impl FnOnce(&mut Locks)) -> Result<(), DatastoreError> {
        let mut locks = self.locks.locks.lock();
        let mut changed = locks.as_ref().map_err(|why| unreadable(why))?.clone();
        change(&mut changed);
        let believed = self.locks.believed_unix_s();
        if believed > changed.known_unix_s.saturating_add(KNOWN_AGE_S) {
            changed.known_unix_s = believed;
        }
        let bytes = changed.encode();
        match write_copies(&*self.storage, BASE, &bytes) {
            // What is kept back for this is given up (PWR06).
            Err(error) if error.kind() == Kind::Full => {
                self.release_reserve()?;
                write_copies(&*self.storage, BASE, &bytes)?;
            }
            written => written?,
        }
        *locks = Ok(changed);
        Ok(())
    }
}

impl Datastore {
    /// Locks savesets until these instants (unix seconds), durably when it answers. Answers each one's
    /// lock of now, which is the later one where it had one already; `None`: there is no such saveset.
    pub fn extend_locks(
        &self,
        wanted: &[(SavesetId, u64)],
    ) -> Result<Vec<(SavesetId, Option<u64>)>, DatastoreError> {
        let inner = &self.inner;
        inner.check_writable()?;
        // None of them is deleted meanwhile.
        let _commit = inner.commit.lock();
        let mut held = Vec::with_capacity(wanted.len());
        let mut later = Vec::new();
        for (saveset, until) in wanted {
            let manifest_until = match self.manifest(*saveset) {
                Ok(manifest) => manifest.lock_until_unix_s,
                Err(DatastoreError::NoSaveset { .. }) => {
                    held.push((*saveset, None));
                    continue;
                }
                // A lock is good for one that cannot be read now, too.
                Err(error) if error.kind() == Kind::Corrupt => 0,
                Err(error) => return Err(error),
            };
            let now = inner.locked_until(*saveset, manifest_until)?;
            if *until > now {
                later.push((*saveset, *until));
            }
            held.push((*saveset, Some(now.max(*until))));
        }
        if !later.is_empty() {
            inner.change_locks(|locks| {
                for (saveset, until) in later {
                    let here = locks.until.entry(saveset).or_default();
                    *here = (*here).max(until);
                }
            })?;
        }
        Ok(held)
    }

    /// Locks that were extended here, in order of the savesets' ids, of those after `after`.
    pub fn extended_locks(
        &self,
        after: Option<SavesetId>,
        limit: usize,
    ) -> Result<Vec<(SavesetId, u64)>, DatastoreError> {
        let locks = self.inner.locks.locks.lock();
        let locks = locks.as_ref().map_err(|why| unreadable(why))?;
        let above = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let found = locks.until.range((above, std::ops::Bound::Unbounded));
        Ok(found.take(limit).map(|(saveset, until)| (*saveset, *until)).collect())
    }
}

fn unreadable(why: &str) -> DatastoreError {
    DatastoreError::LocksUnknown { why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_fields() -> Locks {
        let until = [(SavesetId([1; 16]), 1_800_000_000), (SavesetId([2; 16]), u64::MAX)];
        Locks { known_unix_s: 1_796_000_000, until: until.into() }
    }

    #[test]
    fn golden_locks() {
        let golden = include_bytes!("../../../testdata/format/locks-v1/all-fields.bin");
        assert_eq!(Locks::decode(golden).unwrap(), all_fields());
        assert_eq!(all_fields().encode(), golden);
    }

    #[test]
    fn copies_that_differ_are_read_as_the_latest_of_each() {
        let mut joined = all_fields();
        let other = [(SavesetId([1; 16]), 7), (SavesetId([3; 16]), 9)];
        joined.join(&Locks { known_unix_s: 5, until: other.into() });
        let mut expected = all_fields();
        expected.until.insert(SavesetId([3; 16]), 9);
        assert_eq!(joined, expected);
    }

    #[test]
    fn fuzz_lists_of_locks() {
        let summed = |body: &[u8]| [body, blake3::hash(body).as_bytes()].concat();
        let mut body = all_fields().encode();
        body.truncate(body.len() - 32);
        assert!(Locks::decode(&summed(&body)).is_ok());
        simsim_testkit::fuzz("list of locks", &[body], |body| {
            let _ = Locks::decode(body);
            if let Ok(found) = Locks::decode(&summed(body)) {
                assert!(found.until.len() * 24 <= body.len());
            }
        });
    }
}
