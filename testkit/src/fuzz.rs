//! Fuzzing on a stable toolchain: valid encodings, changed in the ways that decoders get wrong.
//!
//! A run of the tests takes a bounded number of rounds from a fixed seed, so it is the same each
//! time. `SIMSIM_FUZZ_SECONDS=600 cargo nextest run fuzz_` goes on for so long per decoder, from
//! a new seed each time, which a failure names.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Rng;

/// Rounds of one decoder in a run of the tests.
const ROUNDS: u64 = 4000;
const SECONDS: &str = "SIMSIM_FUZZ_SECONDS";

/// Numbers at which sizes go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// Gives `decode` changed samples, round after round. Panics with the decoder, seed and input when
/// it panics. `decode` returns nothing: what it must hold besides, it asserts itself.
pub fn fuzz(decoder: &str, samples: &[Vec<u8>], decode: impl Fn(&[u8])) {
    assert!(!samples.is_empty(), "{decoder}: no sample");
    for sample in samples {
        decode(sample);
    }
    let seconds = std::env::var(SECONDS).ok().and_then(|text| text.parse::<u64>().ok());
    let first = match seconds {
        None => 1,
        Some(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_secs() << 20),
    };
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let mut seed = first;
    while seed - first < ROUNDS || (seconds.is_some() && Instant::now() < until) {
        let mut rng = Rng::new(seed);
        let input = mutate(&mut rng, samples);
        if catch_unwind(AssertUnwindSafe(|| decode(&input))).is_err() {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("{decoder}: seed {seed} breaks it with {hex}");
        }
        seed += 1;
    }
}

/// One to six changes of one of the samples.
pub fn mutate(rng: &mut Rng, samples: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.pick(samples).cloned().unwrap_or_default();
    for _ in 0..=rng.below(6) {
        change(rng, &mut bytes, samples);
    }
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
    let length = bytes.len() as u64;
    let at = rng.below(length.max(1)) as usize;
    let part = (rng.below(32) as usize + 1).min(bytes.len() - at.min(bytes.len()));
    match rng.below(10) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.below(256) as u8;
            }
        }
        3 => bytes.truncate(at),
        4 => {
            let more = rng.below(40) as usize;
            bytes.extend(rng.bytes(more));
        }
        5 => drop(bytes.drain(at..at + part)),
        6 => {
            let twice = bytes[at..at + part].to_vec();
            bytes.splice(at..at, twice);
        }
        // A length or a count at an edge, in each width and order.
        7 | 8 => {
            let edge = EDGES[rng.below(EDGES.len() as u64) as usize];
            let edge = edge.wrapping_add(rng.below(3)).wrapping_sub(1);
            let width = [1, 2, 4, 8][rng.below(4) as usize];
            let little = edge.to_le_bytes();
            let big = edge.to_be_bytes();
            let number = if rng.one_in(3) { &big[8 - width..] } else { &little[..width] };
            for (to, from) in bytes.iter_mut().skip(at).zip(number) {
                *to = *from;
            }
        }
        _ => {
            let Some(other) = rng.pick(samples) else { return };
            if other.is_empty() {
                return;
            }
            let from = rng.below(other.len() as u64) as usize;
            let length = (rng.below(64) as usize + 1).min(other.len() - from);
            let end = (at + length).min(bytes.len());
            bytes.splice(at.min(end)..end, other[from..from + length].iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_is_found_and_its_input_named() {
        let sample = vec![vec![3, b'a', b'b', b'c']];
        let careless = |bytes: &[u8]| {
            if let Some((length, rest)) = bytes.split_first() {
                let _ = &rest[..usize::from(*length)];
            }
        };
        let found = catch_unwind(AssertUnwindSafe(|| fuzz("careless", &sample, careless)));
        let text = *found.expect_err("it panics").downcast::<String>().expect("a text");
        assert!(text.contains("careless: seed"), "{text}");
        fuzz("careful", &sample, |bytes| {
            let length = bytes.first().copied().unwrap_or(0);
            let _ = bytes.get(1..1 + usize::from(length));
        });
    }

    #[test]
    fn changes_reach_many_inputs() {
        let samples = vec![b"a sample of some length".to_vec(), vec![0; 40]];
        let inputs: std::collections::BTreeSet<Vec<u8>> =
            (0..500).map(|seed| mutate(&mut Rng::new(seed), &samples)).collect();
        assert!(inputs.len() > 400, "{}", inputs.len());
        assert!(inputs.iter().any(|input| input.len() > 60));
        assert!(inputs.iter().any(Vec::is_empty) || inputs.iter().any(|input| input.len() < 5));
    }
}
