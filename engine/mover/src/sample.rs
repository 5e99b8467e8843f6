//! Which files of a saveset a restore drill takes.
//!
//! By chance, and the same for the same seed: the files whose keyed hash of their path is lowest, up to a
//! number and to so many bytes. Always among them are the largest one and the one that was changed last.
//! Memory goes with the size of the sample, not of the saveset.

use std::collections::BTreeMap;

use simsim_format::{Content, Entry, EntryKind};
use simsim_model::Timestamp;

/// Files that a sample has at most, so that the choice stays a small list.
pub const SAMPLE_FILES_MAX: u32 = 10_000;

/// Chooses while a walk goes by.
pub struct Sampler {
    key: [u8; 32],
    files_max: usize,
    bytes_max: u64,
    lowest: BTreeMap<([u8; 32], Vec<u8>), u64>,
    largest: Option<(u64, Vec<u8>)>,
    newest: Option<(Timestamp, Vec<u8>, u64)>,
    files: u64,
    bytes: u64,
}

/// What was chosen, and of how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// In the order of the saveset.
    pub paths: Vec<Vec<u8>>,
    /// Everything that can be restored into a scratch place, and its bytes.
    pub files_of: u64,
    pub bytes_of: u64,
}

/// What a drill can restore and compare: no directory by itself, no device, nothing whose content is not in the
/// saveset.
pub fn can_be_drilled(entry: &Entry) -> bool {
    let kind = match entry.kind {
        EntryKind::Directory(_) | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => {
            false
        }
        EntryKind::File | EntryKind::Symlink(_) | EntryKind::Fifo | EntryKind::Socket => true,
    };
    kind && entry.content != Content::Missing
}

impl Sampler {
    /// `files_max` 0 and `bytes_max` 0: no limit but [`SAMPLE_FILES_MAX`].
    pub fn new(seed: u64, files_max: u32, bytes_max: u64) -> Self {
        let files_max = match files_max {
            0 => SAMPLE_FILES_MAX,
            some => some.min(SAMPLE_FILES_MAX),
        };
        let key =
            blake3::derive_key("simsim 2026 sample of a restore drill v1", &seed.to_le_bytes());
        Self {
            key,
            files_max: files_max as usize,
            bytes_max,
            lowest: BTreeMap::new(),
            largest: None,
            newest: None,
            files: 0,
            bytes: 0,
        }
    }

    /// Takes a file into account.
    pub fn see(&mut self, path: &[u8], entry: &Entry) {
        if !can_be_drilled(entry) {
            return;
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.largest.as_ref().is_none_or(|(size, _)| entry.size > *size) {
            self.largest = Some((entry.size, path.to_vec()));
        }
        let changed = entry.mtime.max(entry.ctime);
        if self.newest.as_ref().is_none_or(|(newest, ..)| changed > *newest) {
            self.newest = Some((changed, path.to_vec(), entry.size));
        }
        let hash = *blake3::keyed_hash(&self.key, path).as_bytes();
        let full = self.lowest.len() >= self.files_max;
        if full && self.lowest.last_key_value().is_some_and(|((last, _), _)| hash >= *last) {
            return;
        }
        self.lowest.insert((hash, path.to_vec()), entry.size);
        if self.lowest.len() > self.files_max {
            self.lowest.pop_last();
        }
    }

    /// What was chosen of all that was seen.
    pub fn chosen(self) -> Sample {
        let mut paths: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0u64;
        let largest = self.largest.map(|(size, path)| (path, size));
        let newest = self.newest.map(|(_, path, size)| (path, size));
        for (path, size) in largest.into_iter().chain(newest) {
            if !paths.contains(&path) {
                bytes = bytes.saturating_add(size);
                paths.push(path);
            }
        }
        for ((_, path), size) in self.lowest {
            let sum = bytes.saturating_add(size);
            let fits = self.bytes_max == 0 || sum <= self.bytes_max;
            if paths.len() < self.files_max.max(2) && fits && !paths.contains(&path) {
                bytes = sum;
                paths.push(path);
            }
        }
        // Names below a folder stand behind it, as a walk meets them.
        paths.sort_by(|a, b| a.split(|byte| *byte == b'/').cmp(b.split(|byte| *byte == b'/')));
        Sample { paths, files_of: self.files, bytes_of: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, changed: i64) -> Entry {
        Entry {
            name: b"x".to_vec(),
            kind: EntryKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp::new(changed, 0),
            ctime: Timestamp::new(changed, 0),
            ino: 1,
            dev: 0,
            nlink: 1,
            size,
            flags: 0,
            xattrs: Vec::new(),
            content: Content::None,
        }
    }

    fn chosen(seed: u64, files_max: u32, bytes_max: u64) -> Sample {
        let mut sampler = Sampler::new(seed, files_max, bytes_max);
        for number in 0..1000u64 {
            let (size, changed) = match number {
                500 => (1 << 30, 5),
                700 => (10, 99),
                _ => (100, 5),
            };
            sampler.see(format!("/d/{number:04}").as_bytes(), &file(size, changed));
        }
        sampler.chosen()
    }

    #[test]
    fn the_same_seed_takes_the_same_files_and_always_the_largest_and_the_newest() {
        let one = chosen(7, 20, 0);
        assert_eq!(one.paths.len(), 20);
        assert_eq!((one.files_of, one.bytes_of), (1000, 998 * 100 + 10 + (1 << 30)));
        assert_eq!(one, chosen(7, 20, 0));
        let other = chosen(8, 20, 0);
        assert_ne!(one, other);
        for sample in [&one, &other] {
            for always in ["/d/0500", "/d/0700"] {
                assert!(sample.paths.iter().any(|path| path == always.as_bytes()), "{always}");
            }
            assert!(sample.paths.is_sorted());
        }
    }

    #[test]
    fn a_sample_holds_its_limits_but_for_the_two() {
        let few = chosen(7, 1, 0);
        assert_eq!(few.paths, [b"/d/0500".to_vec(), b"/d/0700".to_vec()]);
        let small = chosen(7, 100, 1 << 20);
        assert_eq!(small.paths.len(), 2, "the largest alone is over the limit");
        let mut none = Sampler::new(1, 10, 0);
        none.see(
            b"/dev/null",
            &Entry { kind: EntryKind::CharDevice { major: 1, minor: 3 }, ..file(0, 0) },
        );
        none.see(b"/gone", &Entry { content: Content::Missing, ..file(5, 0) });
        assert!(none.chosen().paths.is_empty());
    }
}
