//! A check with a budget: so many bytes or so long a run, and always what was seen longest ago first. Run by run
//! everything comes round.
//!
//! When each pack was checked last stands in the object `checked`, beside the index:
//!
//! ```text
//! magic "SIMSIMCK" 8 · entries u64 · per entry: pack 32 · turn u64 · checked, seconds since 1970, u64 · BLAKE3 of
//! all before, 32
//! ```
//! Turns are counted, so that a clock that is wrong changes no order. Losing it costs reading again what was read lately. A pack in which damage was found keeps its former date until the
//! run has ended and was told of; what is known to be damaged is written down before any date, so that a run that
//! is killed forgets nothing that it found. Memory: 48 bytes a pack, as long as the datastore is open.

use std::collections::{HashMap, HashSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use simsim_format::Cursor;
use simsim_model::{Kind, Name, failpoint};
use simsim_storage::Storage;

use crate::sync::Mutex;
use crate::verify::{Found, SegmentCheck, VerifyProgress, VerifyReport};
use crate::{Datastore, DatastoreError, quarantine};

const KEY: &str = "checked";
const MAGIC: [u8; 8] = *b"SIMSIMCK";
/// Packs between two looks at the budget.
const BATCH: usize = 4;
/// Packs between two writings of the dates.
const SAVE_AFTER: usize = 16;

/// How much one run reads. It always looks at some packs, so that each run comes further.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScrubBudget {
    /// Bytes of packs; `None`: no limit.
    pub bytes: Option<u64>,
    /// It ends after that; `None`: no limit.
    pub until: Option<Instant>,
}

/// How far the checks of a datastore are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckedUntil {
    pub packs: u64,
    /// Packs that no check has seen whole.
    pub never: u64,
    /// Everything else was checked after this; seconds since 1970. `None`: nothing was.
    pub oldest_unix_s: Option<u64>,
}

/// When each pack was checked last, once it was read from the storage.
#[derive(Default)]
pub(crate) struct Dates {
    read: Mutex<Option<HashMap<Name, Seen>>>,
}

/// When one pack was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    /// Which one of all checks, counted from 1.
    turn: u64,
    unix_s: u64,
}

impl Datastore {
    /// Checks packs as [`Datastore::verify`] does, those first that no check has seen for the longest time, until the
    /// budget is used up. `progress` ends it by answering `false`; what was checked by then is checked.
    pub fn scrub(
        &self,
        budget: &ScrubBudget,
        threads: usize,
        check: SegmentCheck<'_>,
        progress: &(dyn Fn(VerifyProgress) -> bool + Sync),
    ) -> Result<VerifyReport, DatastoreError> {
        let order = self.by_date();
        let found = Found::default();
        let (mut bytes, mut unsaved, mut damages) = (0u64, Vec::new(), 0);
        let mut damaged: HashSet<Name> = HashSet::new();
        let mut checked: Vec<(Name, u64)> = Vec::new();
        for batch in order.chunks(BATCH) {
            let is_over = budget.bytes.is_some_and(|most| bytes >= most)
                || budget.until.is_some_and(|until| Instant::now() >= until);
            if is_over && !checked.is_empty() {
                break;
            }
            // Of a batch only as much as the budget still holds, and at least one.
            let mut taken = Vec::new();
            for pack in batch {
                let fits = budget.bytes.is_none_or(|most| bytes.saturating_add(pack.1) <= most);
                let is_first = checked.is_empty() && taken.is_empty();
                if !(fits || is_first) {
                    break;
                }
                bytes = bytes.saturating_add(pack.1);
                taken.push(*pack);
            }
            if taken.is_empty() {
                break;
            }
            // What did not fit comes first the next time; nothing behind it is taken in its place.
            let is_last = taken.len() < batch.len();
            let went_on = self.look_at(&taken, threads, check, progress, &found)?;
            let report = found.report.lock();
            if report.damages > damages {
                damages = report.damages;
                damaged.extend(report.damaged.iter().filter_map(|one| one.pack));
            }
            drop(report);
            if !went_on {
                break;
            }
            failpoint::hit("datastore.scrubbed");
            checked.extend(&taken);
            unsaved.extend(taken);
            if unsaved.len() >= SAVE_AFTER {
                self.save_seen(&unsaved, &damaged)?;
                unsaved.clear();
            }
            if is_last {
                break;
            }
        }
        let report = self.conclude(found, None)?;
        self.save_seen(&checked, &HashSet::new())?;
        Ok(report)
    }

    /// How far the checks are: since when everything has been checked.
    pub fn checked_until(&self) -> CheckedUntil {
        let packs = self.inner.index.packs();
        self.with_dates(|dates| {
            let found: Vec<Option<u64>> =
                packs.iter().map(|(pack, _)| dates.get(pack).map(|seen| seen.unix_s)).collect();
            CheckedUntil {
                packs: packs.len() as u64,
                never: found.iter().filter(|date| date.is_none()).count() as u64,
                oldest_unix_s: found.iter().flatten().min().copied(),
            }
        })
    }

    /// Every pack, the one that was checked longest ago first.
    fn by_date(&self) -> Vec<(Name, u64)> {
        let mut packs = self.inner.index.packs();
        self.with_dates(|dates| {
            packs.sort_by_key(|(pack, _)| (dates.get(pack).map_or(0, |seen| seen.turn), *pack));
        });
        packs
    }

    fn save_seen(&self, packs: &[(Name, u64)], but: &HashSet<Name>) -> Result<(), DatastoreError> {
        if !but.is_empty() {
            quarantine::write(&self.inner)?;
        }
        self.note_checked(packs, but)
    }

    /// These packs were checked now.
    pub(crate) fn note_checked(
        &self,
        packs: &[(Name, u64)],
        but: &HashSet<Name>,
    ) -> Result<(), DatastoreError> {
        let now = failpoint::shifted(SystemTime::now()).duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        let there: HashSet<Name> = self.inner.index.packs().iter().map(|(pack, _)| *pack).collect();
        let bytes = self.with_dates(|dates| {
            dates.retain(|pack, _| there.contains(pack));
            let turn = dates.values().map(|seen| seen.turn).max().unwrap_or(0) + 1;
            let seen = packs.iter().filter(|(pack, _)| !but.contains(pack) && there.contains(pack));
            dates.extend(seen.map(|(pack, _)| (*pack, Seen { turn, unix_s: now })));
            encode(dates)
        });
        // What cannot be written now is checked again; that is no reason to fail.
        if self.inner.check_writable().is_ok()
            && let Err(error) = self.inner.storage.replace(KEY, &bytes)
        {
            tracing::warn!(%error, "when packs were checked could not be written down");
        }
        Ok(())
    }

    fn with_dates<T>(&self, look: impl FnOnce(&mut HashMap<Name, Seen>) -> T) -> T {
        let mut read = self.inner.dates.read.lock();
        look(read.get_or_insert_with(|| read_dates(&*self.inner.storage)))
    }
}

fn read_dates(storage: &dyn Storage) -> HashMap<Name, Seen> {
    match storage.get(KEY) {
        Ok(bytes) => decode(&bytes).unwrap_or_else(|| {
            tracing::warn!("when packs were checked cannot be read: all count as never checked");
            HashMap::new()
        }),
        Err(error) => {
            if error.kind() != Kind::NotFound {
                tracing::warn!(%error, "when packs were checked cannot be read");
            }
            HashMap::new()
        }
    }
}

fn encode(dates: &HashMap<Name, Seen>) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(dates.len() as u64).to_le_bytes());
    let mut sorted: Vec<_> = dates.iter().collect();
    sorted.sort_unstable();
    for (pack, seen) in sorted {
        out.extend_from_slice(&pack.0);
        out.extend_from_slice(&seen.turn.to_le_bytes());
        out.extend_from_slice(&seen.unix_s.to_le_bytes());
    }
    let checksum = blake3::hash(&out);
    out.extend_from_slice(checksum.as_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<HashMap<Name, Seen>> {
    let (body, checksum) = bytes.split_last_chunk::<32>()?;
    if blake3::hash(body).as_bytes() != checksum {
        return None;
    }
    let mut cursor = Cursor::new(body, "dates of checks");
    if cursor.array::<8>().ok()? != MAGIC {
        return None;
    }
    let count = cursor.u64().ok()?;
    let mut dates = HashMap::new();
    for _ in 0..count {
        let pack = Name(cursor.array().ok()?);
        dates.insert(pack, Seen { turn: cursor.u64().ok()?, unix_s: cursor.u64().ok()? });
    }
    cursor.finish().ok()?;
    Some(dates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_dates_of_checks() {
        let dates =
            HashMap::from([1, 2].map(|at| (Name([at; 32]), Seen { turn: at.into(), unix_s: 5 })));
        let list = encode(&dates);
        assert_eq!(decode(&list), Some(dates));
        let body = list[..list.len() - 32].to_vec();
        simsim_testkit::fuzz("dates of checks", &[body], |body| {
            let _ = decode(body);
            if let Some(dates) = decode(&[body, blake3::hash(body).as_bytes()].concat()) {
                assert!(dates.len() * 48 <= body.len());
            }
        });
    }
}
