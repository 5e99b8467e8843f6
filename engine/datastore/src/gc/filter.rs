//! Names in bounded memory, of chunks that live or that were met before: a Bloom filter.
//!
//! It errs on one side only: a dead chunk in about a hundred counts as alive and stays until the next
//! collection, which draws another seed. A live one never counts as dead.

use simsim_format::random_bytes;
use simsim_model::{DomainId, Name};
use twox_hash::XxHash3_64;

use crate::DatastoreError;

/// Bits for each name that the index holds; with six of them set, one name in 120 passes wrongly.
const BITS_PER_NAME: u64 = 10;
const BLOCK_WORDS: usize = 8;
const BITS_SET: u32 = 6;

pub(crate) struct NameFilter {
    seed: u64,
    blocks: Vec<[u64; BLOCK_WORDS]>,
}

impl NameFilter {
    /// For so many names, in at most so many bytes.
    pub(crate) fn new(names: u64, bytes_max: usize) -> Result<Self, DatastoreError> {
        let seed: [u8; 8] = random_bytes().map_err(|why| DatastoreError::format("a seed", why))?;
        let most = (bytes_max / size_of::<[u64; BLOCK_WORDS]>()).max(1);
        let wanted = names.saturating_mul(BITS_PER_NAME).div_ceil(64 * BLOCK_WORDS as u64).max(1);
        let blocks = usize::try_from(wanted).unwrap_or(usize::MAX).min(most);
        Ok(Self { seed: u64::from_le_bytes(seed), blocks: vec![[0; BLOCK_WORDS]; blocks] })
    }

    /// The block of a name, and the positions of its bits there.
    fn place(
        &self,
        domain: DomainId,
        name: Name,
    ) -> (usize, impl Iterator<Item = (usize, u64)> + use<>) {
        let seed = self.seed ^ XxHash3_64::oneshot(&domain.0);
        let first = XxHash3_64::oneshot_with_seed(seed, &name.0);
        let block = (u128::from(first) * self.blocks.len() as u128) >> 64;
        let mut rest = XxHash3_64::oneshot_with_seed(!seed, &name.0);
        let bits = (0..BITS_SET).map(move |_| {
            let bit = rest & 511;
            rest >>= 9;
            ((bit / 64) as usize, 1 << (bit % 64))
        });
        (block as usize, bits)
    }

    pub(crate) fn add(&mut self, domain: DomainId, name: Name) {
        let (block, bits) = self.place(domain, name);
        if let Some(block) = self.blocks.get_mut(block) {
            for (word, bit) in bits {
                if let Some(word) = block.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// False for no name that was added.
    pub(crate) fn may_hold(&self, domain: DomainId, name: Name) -> bool {
        let (block, mut bits) = self.place(domain, name);
        self.blocks.get(block).is_none_or(|block| {
            bits.all(|(word, bit)| block.get(word).is_none_or(|word| word & bit != 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_lost_and_few_pass_that_were_not_added() {
        let name = |number: u64| Name(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let (mine, other) = (DomainId([1; 16]), DomainId([2; 16]));
        let mut live = NameFilter::new(100_000, 1 << 30).unwrap();
        for number in 0..100_000 {
            live.add(mine, name(number));
        }
        assert!((0..100_000).all(|number| live.may_hold(mine, name(number))));
        let passed = (100_000..200_000).filter(|number| live.may_hold(mine, name(*number))).count();
        assert!(passed < 2_500, "{passed}");
        let passed = (0..100_000).filter(|number| live.may_hold(other, name(*number))).count();
        assert!(passed < 2_500, "{passed} of another owner");
        // Too little memory keeps more than is needed, and loses nothing.
        let mut small = NameFilter::new(100_000, 4096).unwrap();
        (0..100_000).for_each(|number| small.add(mine, name(number)));
        assert!((0..100_000).all(|number| small.may_hold(mine, name(number))));
    }
}
