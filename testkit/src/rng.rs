//! Small numbers from a seed: the same on every machine and in every release.

/// SplitMix64. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.next_u64() % end }
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of the items; nothing of an empty slice.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Words with spaces and line ends: compresses about as well as prose.
    pub fn text(&mut self, length: usize) -> Vec<u8> {
        const SYLLABLES: [&str; 16] = [
            "an", "ber", "co", "du", "el", "fra", "gon", "hi", "is", "jo", "ka", "lum", "mi", "no",
            "or", "pa",
        ];
        let mut text = Vec::with_capacity(length + 16);
        while text.len() < length {
            for _ in 0..=self.below(3) {
                if let Some(syllable) = self.pick(&SYLLABLES) {
                    text.extend_from_slice(syllable.as_bytes());
                }
            }
            text.push(if self.one_in(12) { b'\n' } else { b' ' });
        }
        text.truncate(length);
        text
    }
}
