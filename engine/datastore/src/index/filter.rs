//! A blocked Bloom filter: 12 bits a name in 64-byte blocks, six probes in one cache line; about
//! one percent of unknown names pass. Names are hashes already, so their bytes are the probes.

use simsim_model::Name;

const WORDS_PER_BLOCK: u64 = 8;
const BITS_PER_NAME: u64 = 12;

#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    words: Vec<u64>,
}

impl Filter {
    /// Bytes of a filter for so many names.
    pub(crate) fn bytes_for(names: u64) -> u64 {
        Self::words_for(names) * 8
    }

    pub(crate) fn words_for(names: u64) -> u64 {
        names.saturating_mul(BITS_PER_NAME).div_ceil(512).max(1) * WORDS_PER_BLOCK
    }

    pub(crate) fn new(names: u64) -> Self {
        Self { words: vec![0; Self::words_for(names) as usize] }
    }

    pub(crate) fn from_words(words: Vec<u64>) -> Self {
        Self { words }
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    fn probes(&self, name: &Name) -> (usize, impl Iterator<Item = (usize, u64)> + use<>) {
        let word = |at: usize| {
            name.0.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        let blocks = self.words.len() as u64 / WORDS_PER_BLOCK;
        let block = ((u128::from(word(8)) * u128::from(blocks)) >> 64) as usize;
        let bits = word(16);
        let probes = (0..6).map(move |probe| {
            let bit = (bits >> (probe * 9)) & 511;
            ((bit / 64) as usize, 1u64 << (bit % 64))
        });
        (block * WORDS_PER_BLOCK as usize, probes)
    }

    pub(crate) fn add(&mut self, name: &Name) {
        let (block, probes) = self.probes(name);
        for (word, bit) in probes {
            if let Some(word) = self.words.get_mut(block + word) {
                *word |= bit;
            }
        }
    }

    /// `false` only for names that were never added.
    pub(crate) fn may_hold(&self, name: &Name) -> bool {
        let (block, mut probes) = self.probes(name);
        probes.all(|(word, bit)| self.words.get(block + word).is_none_or(|word| word & bit != 0))
    }
}
