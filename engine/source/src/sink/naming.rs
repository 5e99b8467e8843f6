//! The names that entries get in a target whose file system may take two of them for one.
//!
//! Some file systems do not tell letter case apart, or the Unicode forms of a letter, or drop an ending.
//! Two entries of a saveset that fall together there are **twins**: the first one gets the name, the
//! second one is written as `NAME.twin` (`NAME.twin.2`, …), and the report says so. No table of letters
//! is asked which names those are, for each file system has its own: a name that turns out to be taken,
//! although the directory did not list it when the restore came to it, is a twin's. So nothing that came
//! into a directory after that is ever replaced, and the overwrite policy speaks of what was there
//! before only.
//!
//! About 16 bytes of memory for each name that was there, in the directories that are open.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use parking_lot::Mutex;
use simsim_model::limits::PATH_COMPONENT_BYTES_MAX;

/// More entries than this fall together under one name: the next one is refused.
const TWINS_MAX: u32 = 1000;

/// The name of an entry, and those that it gets instead where that is taken by a twin.
pub(super) fn candidates(name: &[u8]) -> impl Iterator<Item = Cow<'_, [u8]>> {
    let twins = (1..=TWINS_MAX).map(move |number| {
        Cow::Owned(match number {
            1 => with_ending(name, ".twin"),
            _ => with_ending(name, &format!(".twin.{number}")),
        })
    });
    std::iter::once(Cow::Borrowed(name)).chain(twins)
}

/// A name with an ending, cut to what a name may have; no letter is cut through.
pub(super) fn with_ending(name: &[u8], ending: &str) -> Vec<u8> {
    let room = PATH_COMPONENT_BYTES_MAX.saturating_sub(ending.len());
    let mut stem = name.get(..room).unwrap_or(name);
    if let (Ok(_), Err(cut)) = (std::str::from_utf8(name), std::str::from_utf8(stem)) {
        stem = stem.get(..cut.valid_up_to()).unwrap_or(stem);
    }
    [stem, ending.as_bytes()].concat()
}

/// Names that were in a directory when a restore came to it, and that it has not dealt with yet.
#[derive(Default)]
pub(super) struct Before {
    hasher: RandomState,
    names: Mutex<HashSet<u64>>,
}

impl Before {
    pub(super) fn add(&self, name: &[u8]) {
        self.names.lock().insert(self.hasher.hash_one(name));
    }

    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.names.lock().contains(&self.hasher.hash_one(name))
    }

    /// From now on the name is that of something restored.
    pub(super) fn done(&self, name: &[u8]) {
        self.names.lock().remove(&self.hasher.hash_one(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_twins_are_clear_and_never_too_long() {
        let first = |name: &[u8]| -> Vec<Vec<u8>> {
            candidates(name).take(3).map(Cow::into_owned).collect()
        };
        assert_eq!(first(b"a"), [&b"a"[..], b"a.twin", b"a.twin.2"]);
        let long = "\u{e9}".repeat(127);
        let cut = first(long.as_bytes());
        assert_eq!(cut[1], format!("{}.twin", "\u{e9}".repeat(125)).into_bytes());
        assert!(cut.iter().all(|name| name.len() <= 255 && std::str::from_utf8(name).is_ok()));
        assert_eq!(first(&[0xff; 255])[1].len(), 255);
        assert_eq!(candidates(b"a").count() as u32, TWINS_MAX + 1);
    }
}
