//! Cutting: content-defined chunk borders by a gear hash with a keyed table.
//!
//! The hash rolls over 64 bytes. Below the mean size a border needs two more zero bits than above
//! it, so that sizes crowd around the mean. The table comes from the domain key: chunk sizes tell
//! a reader of the wire or the disk nothing about known files.

use simsim_model::CutParameters;

/// Finds borders. Built once a job; the table is 2 KiB.
#[derive(Clone)]
pub struct Cutter {
    table: Box<[u64; 256]>,
    min: usize,
    mean: usize,
    max: usize,
    /// A border below the mean has a hash below this; above it below `loose`.
    strict: u64,
    loose: u64,
}

/// Stretches that are looked at side by side, and their length in bytes.
const LANES: usize = 4;
const STRETCH: usize = 1024;

impl Cutter {
    pub fn new(parameters: CutParameters, seed: &[u8; 32]) -> Self {
        let mut table = Box::new([0u64; 256]);
        let mut reader = blake3::Hasher::new_keyed(seed).finalize_xof();
        for slot in table.iter_mut() {
            let mut bytes = [0; 8];
            reader.fill(&mut bytes);
            *slot = u64::from_le_bytes(bytes);
        }
        // High bits of the hash depend on all of the last 64 bytes.
        let bits = parameters.mean.max(64).ilog2();
        let below = |bits: u32| 1u64 << (64 - bits);
        Self {
            table,
            min: parameters.min as usize,
            mean: parameters.mean as usize,
            max: parameters.max as usize,
            strict: below(bits + 1),
            loose: below(bits - 1),
        }
    }

    pub fn max(&self) -> usize {
        self.max
    }

    /// Length of the chunk at the start of `data`, which holds at least [`Self::max`] bytes or
    /// everything up to the end. 0 only for no data.
    pub fn next(&self, data: &[u8]) -> usize {
        if data.len() <= self.min {
            return data.len();
        }
        let end = data.len().min(self.max);
        let middle = end.min(self.mean).max(self.min);
        self.border(data, self.min, middle, self.strict)
            .or_else(|| self.border(data, middle, end, self.loose))
            .map_or(end, |last| last + 1)
    }

    /// The first byte in `from..to` at which the hash is below `limit`. The hash at a byte comes
    /// from it and the 63 before it alone, so stretches are looked at side by side: one chain of
    /// shifts and additions leaves most of a core idle.
    fn border(&self, data: &[u8], from: usize, to: usize, limit: u64) -> Option<usize> {
        let mut at = from;
        while to - at >= LANES * STRETCH {
            let lane = |number: usize| {
                let start = at + number * STRETCH;
                (self.warm(data, start), data.get(start..start + STRETCH).unwrap_or_default())
            };
            let [(mut a, one), (mut b, two), (mut c, three), (mut d, four)] =
                [lane(0), lane(1), lane(2), lane(3)];
            let bytes = one.iter().zip(two).zip(three).zip(four);
            for (place, (((one, two), three), four)) in bytes.enumerate() {
                a = self.roll(a, *one);
                b = self.roll(b, *two);
                c = self.roll(c, *three);
                d = self.roll(d, *four);
                if a.min(b).min(c.min(d)) < limit {
                    return self.first_of([a, b, c, d], data, at, place, limit);
                }
            }
            at += LANES * STRETCH;
        }
        self.plain(data, at, to, self.warm(data, at), limit)
    }

    /// One lane at least has a border at `place`; an earlier lane may have one further on.
    fn first_of(
        &self,
        lanes: [u64; LANES],
        data: &[u8],
        at: usize,
        place: usize,
        limit: u64,
    ) -> Option<usize> {
        lanes.into_iter().enumerate().find_map(|(number, hash)| {
            let start = at + number * STRETCH;
            if hash < limit {
                return Some(start + place);
            }
            self.plain(data, start + place + 1, start + STRETCH, hash, limit)
        })
    }

    fn plain(
        &self,
        data: &[u8],
        from: usize,
        to: usize,
        mut hash: u64,
        limit: u64,
    ) -> Option<usize> {
        let place = data.get(from..to)?.iter().position(|byte| {
            hash = self.roll(hash, *byte);
            hash < limit
        });
        place.map(|place| from + place)
    }

    /// The hash before the byte at `at`.
    fn warm(&self, data: &[u8], at: usize) -> u64 {
        let before = data.get(at.saturating_sub(63)..at).unwrap_or_default();
        before.iter().fold(0, |hash, byte| self.roll(hash, *byte))
    }

    #[inline(always)]
    fn roll(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(cutter: &Cutter, mut data: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        while !data.is_empty() {
            let (head, tail) = data.split_at(cutter.next(data));
            chunks.push(head.to_vec());
            data = tail;
        }
        chunks
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new_derive_key("noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn chunks_join_to_the_input_within_bounds_and_near_the_mean() {
        let parameters = CutParameters { min: 1024, mean: 4096, max: 16384 };
        let cutter = Cutter::new(parameters, &[7; 32]);
        let data = noise(4 << 20);
        let chunks = cuts(&cutter, &data);
        assert_eq!(chunks.concat(), data);
        for chunk in &chunks[..chunks.len() - 1] {
            assert!(chunk.len() > 1024 && chunk.len() <= 16384);
        }
        let mean = data.len() / chunks.len();
        assert!((3000..7000).contains(&mean), "mean {mean}");
    }

    /// The rule, byte by byte.
    fn slow(cutter: &Cutter, data: &[u8]) -> usize {
        let end = data.len().min(cutter.max);
        for at in cutter.min..end {
            let hash = data[at - 63..=at].iter().fold(0, |hash, byte| cutter.roll(hash, *byte));
            let limit = if at < cutter.mean { cutter.strict } else { cutter.loose };
            if hash < limit {
                return at + 1;
            }
        }
        end
    }

    #[test]
    fn side_by_side_finds_what_byte_by_byte_finds() {
        for (min, mean, max) in [(64, 128, 400), (1024, 4096, 16384), (4096, 32768, 131072)] {
            let cutter = Cutter::new(CutParameters { min, mean, max }, &[7; 32]);
            let data = noise(3 << 19);
            let mut at = 0;
            while at < data.len() {
                let length = cutter.next(&data[at..]);
                assert_eq!(length, slow(&cutter, &data[at..]), "{mean} at {at}");
                at += length;
            }
        }
    }

    #[test]
    fn an_insertion_changes_few_chunks() {
        let parameters = CutParameters { min: 1024, mean: 4096, max: 16384 };
        let cutter = Cutter::new(parameters, &[7; 32]);
        let data = noise(1 << 20);
        let mut edited = data.clone();
        edited.splice(300_000..300_000, *b"thirty-seven bytes in the middle here");
        let before: std::collections::HashSet<_> = cuts(&cutter, &data).into_iter().collect();
        let new = cuts(&cutter, &edited).into_iter().filter(|c| !before.contains(c)).count();
        assert!((1..=4).contains(&new), "{new} new chunks");
    }

    #[test]
    fn another_key_cuts_elsewhere() {
        let parameters = CutParameters { min: 1024, mean: 4096, max: 16384 };
        let data = noise(1 << 18);
        let one = cuts(&Cutter::new(parameters, &[1; 32]), &data);
        let two = cuts(&Cutter::new(parameters, &[2; 32]), &data);
        assert_ne!(one, two);
    }
}
