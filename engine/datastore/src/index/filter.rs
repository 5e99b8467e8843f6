//! A blocked Bloom filter, in memory as far as there is room and asked on disk beyond it: six bits
//! a name, all in one block of 60 bytes, 40 names a block on average; about one unknown name in
//! 130 passes. Names are hashes already, so their bytes are the probes.
//!
//! A block carries a check of its own, so that one lookup reads 64 bytes and no page. Two of the
//! six bits are in its first 13 bytes, the *brief*: where the whole filter is too large for memory,
//! the briefs (2.6 bits a name) still stop seven unknown names of ten.

use std::ops::Range;

use simsim_model::Name;
use twox_hash::XxHash3_64;

use super::page::{PAYLOAD_BYTES, Record};

pub(crate) const NAMES_PER_BLOCK: u64 = 40;
pub(crate) const BLOCK_BYTES: usize = 64;
const BITS_PER_BLOCK: u64 = 480;
/// The part of a block that two of the six bits are in.
pub(crate) const BRIEF_BYTES: usize = 13;
const BRIEF_BITS: u64 = BRIEF_BYTES as u64 * 8;
const BRIEF_PROBES: u32 = 2;
const PROBES: u32 = 6;

/// 480 bits and a check of 32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) [u8; BLOCK_BYTES]);

impl Record for Block {
    const BYTES: usize = BLOCK_BYTES;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

pub(crate) const BLOCKS_PER_PAGE: u64 = (PAYLOAD_BYTES / BLOCK_BYTES) as u64;

impl Block {
    pub(crate) fn empty() -> Self {
        Self([0; BLOCK_BYTES])
    }

    pub(crate) fn add(&mut self, probe: &Probe) {
        for (byte, bit) in probe.bits(0..PROBES) {
            if let Some(byte) = self.0.get_mut(byte) {
                *byte |= bit;
            }
        }
    }

    /// `false` only for names that were never added.
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        probe.hit(0..PROBES, &self.0)
    }

    pub(crate) fn brief(&self) -> [u8; BRIEF_BYTES] {
        self.0.first_chunk().copied().unwrap_or_default()
    }

    fn check(&self, nonce: u64, number: u64) -> [u8; 4] {
        let bits = self.0.get(..BLOCK_BYTES - 4).unwrap_or_default();
        let hash = XxHash3_64::oneshot_with_seed(nonce.wrapping_add(number), bits);
        (hash as u32).to_le_bytes()
    }

    /// Writes the check of block `number` of a run.
    pub(crate) fn seal(&mut self, nonce: u64, number: u64) {
        let check = self.check(nonce, number);
        self.0[BLOCK_BYTES - 4..].copy_from_slice(&check);
    }

    pub(crate) fn is_whole(&self, nonce: u64, number: u64) -> bool {
        self.0[BLOCK_BYTES - 4..] == self.check(nonce, number)
    }
}

/// What a filter wants to know about a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    block: u64,
    bits: u64,
}

impl Probe {
    pub(crate) fn of(name: &Name) -> Self {
        let word = |at: usize| {
            name.0.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
        };
        Self { block: word(8), bits: word(16) }
    }

    /// The block of the name, of so many.
    pub(crate) fn block(&self, blocks: u64) -> u64 {
        ((u128::from(self.block) * u128::from(blocks)) >> 64) as u64
    }

    /// As [`Block::may_hold`], of a block's brief.
    pub(crate) fn may_be_in(&self, brief: &[u8]) -> bool {
        self.hit(0..BRIEF_PROBES, brief)
    }

    fn hit(&self, probes: Range<u32>, bytes: &[u8]) -> bool {
        self.bits(probes).all(|(byte, bit)| bytes.get(byte).is_none_or(|byte| byte & bit != 0))
    }

    fn bits(&self, probes: Range<u32>) -> impl Iterator<Item = (usize, u8)> + use<> {
        let bits = self.bits;
        probes.map(move |probe| {
            let value = (bits >> (probe * 10)) & 1023;
            let bit = if probe < BRIEF_PROBES {
                (value * BRIEF_BITS) >> 10
            } else {
                BRIEF_BITS + ((value * (BITS_PER_BLOCK - BRIEF_BITS)) >> 10)
            };
            ((bit / 8) as usize, 1u8 << (bit % 8))
        })
    }
}

/// How much of a run's filter is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    OnDisk,
    Brief,
    Whole,
}

impl Level {
    /// Bytes of memory for so many blocks.
    pub(crate) fn bytes(self, blocks: u64) -> u64 {
        blocks.saturating_mul(match self {
            Level::OnDisk => 0,
            Level::Brief => BRIEF_BYTES as u64,
            Level::Whole => BLOCK_BYTES as u64,
        })
    }

    /// What each of several filters, given by their numbers of blocks, keeps in memory so that all
    /// take at most `bytes_max`: the largest ones step back first, as they are asked least often
    /// for their size.
    pub(crate) fn fit(blocks: &[u64], bytes_max: u64) -> Vec<Level> {
        let mut levels = vec![Level::Whole; blocks.len()];
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(blocks.get(*at).copied()));
        let mut sum = blocks.iter().fold(0u64, |sum, b| sum.saturating_add(Level::Whole.bytes(*b)));
        for (from, to) in [(Level::Whole, Level::Brief), (Level::Brief, Level::OnDisk)] {
            for at in &order {
                if sum <= bytes_max {
                    return levels;
                }
                let (Some(level), Some(blocks)) = (levels.get_mut(*at), blocks.get(*at)) else {
                    continue;
                };
                sum = sum.saturating_sub(from.bytes(*blocks) - to.bytes(*blocks));
                *level = to;
            }
        }
        levels
    }
}

/// The part of a filter that is in memory.
#[derive(Debug)]
pub(crate) enum Resident {
    Nothing,
    Briefs(Vec<u8>),
    Whole(Vec<Block>),
}

impl Resident {
    pub(crate) fn level(&self) -> Level {
        match self {
            Resident::Nothing => Level::OnDisk,
            Resident::Briefs(_) => Level::Brief,
            Resident::Whole(_) => Level::Whole,
        }
    }

    /// Gives memory back.
    pub(crate) fn step_back(&mut self, level: Level) {
        if level >= self.level() {
            return;
        }
        *self = match (level, &*self) {
            (Level::Brief, Resident::Whole(blocks)) => {
                Resident::Briefs(blocks.iter().flat_map(Block::brief).collect())
            }
            _ => Resident::Nothing,
        };
    }

    /// Whether block `number` may hold a name, as far as memory can tell.
    pub(crate) fn may_hold(&self, number: u64, probe: &Probe) -> bool {
        let number = number as usize;
        match self {
            Resident::Nothing => true,
            Resident::Briefs(bytes) => bytes
                .get(number.saturating_mul(BRIEF_BYTES)..)
                .is_none_or(|brief| probe.may_be_in(brief)),
            Resident::Whole(blocks) => blocks.get(number).is_none_or(|block| block.may_hold(probe)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u32) -> Name {
        Name(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[test]
    fn known_names_pass_and_most_others_do_not() {
        let blocks = 1000u64;
        let mut filter = vec![Block::empty(); blocks as usize];
        for number in 0..40_000 {
            let probe = Probe::of(&name(number));
            filter[probe.block(blocks) as usize].add(&probe);
        }
        let mut resident = Resident::Whole(filter);
        for (level, passing) in [(Level::Whole, 0.0..0.011), (Level::Brief, 0.2..0.33)] {
            resident.step_back(level);
            assert_eq!(resident.level(), level);
            let passes = |number: &u32| {
                let probe = Probe::of(&name(*number));
                resident.may_hold(probe.block(blocks), &probe)
            };
            assert!((0..40_000).all(|number| passes(&number)), "a known name is stopped");
            let passed = (1_000_000..1_100_000).filter(passes).count() as f64 / 100_000.0;
            assert!(passing.contains(&passed), "{level:?}: {passed}");
        }
        resident.step_back(Level::OnDisk);
        assert!(resident.may_hold(3, &Probe::of(&name(7))));
    }

    #[test]
    fn a_flipped_bit_or_a_block_in_a_wrong_place_is_found() {
        let mut block = Block::empty();
        block.add(&Probe::of(&name(1)));
        block.seal(77, 5);
        assert!(block.is_whole(77, 5) && !block.is_whole(77, 6) && !block.is_whole(78, 5));
        for bit in 0..512 {
            let mut damaged = block;
            damaged.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!damaged.is_whole(77, 5), "bit {bit}");
        }
    }

    #[test]
    fn memory_goes_to_small_filters_first() {
        use Level::{Brief, OnDisk, Whole};
        let blocks = [100, 10, 1000];
        assert_eq!(Level::fit(&blocks, 1110 * 64), [Whole, Whole, Whole]);
        assert_eq!(Level::fit(&blocks, 1110 * 64 - 1), [Whole, Whole, Brief]);
        assert_eq!(Level::fit(&blocks, 110 * 64 + 1000 * 13 - 1), [Brief, Whole, Brief]);
        assert_eq!(Level::fit(&blocks, 1110 * 13 - 1), [Brief, Brief, OnDisk]);
        assert_eq!(Level::fit(&blocks, 0), [OnDisk, OnDisk, OnDisk]);
    }
}
