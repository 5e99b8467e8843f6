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
    strict: u64,
    loose: u64,
}

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
        let mask = |bits: u32| !0u64 << (64 - bits);
        Self {
            table,
            min: parameters.min as usize,
            mean: parameters.mean as usize,
            max: parameters.max as usize,
            strict: mask(bits + 1),
            loose: mask(bits - 1),
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
        let middle = end.min(self.mean);
        let mut hash = 0u64;
        // The hash needs 64 bytes to be independent of what lies before.
        let warm = self.min.saturating_sub(64);
        for byte in &data[warm..self.min] {
            hash = (hash << 1).wrapping_add(self.table[usize::from(*byte)]);
        }
        for (at, byte) in data[self.min..middle].iter().enumerate() {
            hash = (hash << 1).wrapping_add(self.table[usize::from(*byte)]);
            if hash & self.strict == 0 {
                return self.min + at + 1;
            }
        }
        for (at, byte) in data[middle.max(self.min)..end].iter().enumerate() {
            hash = (hash << 1).wrapping_add(self.table[usize::from(*byte)]);
            if hash & self.loose == 0 {
                return middle.max(self.min) + at + 1;
            }
        }
        end
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
