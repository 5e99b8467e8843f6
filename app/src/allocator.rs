//! One heap for all threads, and what many sessions leave free in it given back.
//!
//! glibc gives threads heaps of their own, up to eight a core, so that they do not wait for one
//! another. Each of them keeps what its threads have freed: with the buffers of a backup that is
//! a third of a client's memory, for no gain in time, because threads pass large buffers on and
//! seldom allocate. Measured: docs/decisions/0005-one-heap.md.
//!
//! Hundreds of sessions at once leave holes all over that heap, which stay resident. So a device looks
//! at its size now and then, and gives the free pages back when it is large. A block that is given
//! back each time it is freed costs a quarter of a backup's speed:
//! docs/decisions/0018-sessions-share-memory.md.
#![allow(unsafe_code)]

use std::time::Duration;

/// To be called before the first thread starts. Elsewhere than on glibc nothing is to be done.
pub fn share_one_heap() -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two integers and touches nothing of ours; no other thread runs.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    true
}

/// A process that has no more resident is left alone.
const LARGE_KIB: u64 = 64 << 10;
/// Freed by less, the heap is in use as it is.
const WORTH_KIB: u64 = 2 << 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LEAVE_ALONE: Duration = Duration::from_millis(500);

/// Gives free memory back for as long as the process lives, from a thread of its own.
pub fn give_back_what_is_free() -> std::io::Result<()> {
    let look = || {
        loop {
            std::thread::sleep(pause(resident_kib(), give_back));
        }
    };
    std::thread::Builder::new().name("heap".to_owned()).spawn(look).map(drop)
}

/// Looks once, and says how long until the next time.
fn pause(before: Option<u64>, give_back: impl Fn() -> Option<u64>) -> Duration {
    match before {
        None => LEAVE_ALONE,
        Some(before) if before <= LARGE_KIB => LOOK_INTERVAL,
        Some(before) => match give_back() {
            Some(after) if after.saturating_add(WORTH_KIB) <= before => LOOK_INTERVAL,
            _ => LEAVE_ALONE,
        },
    }
}

/// What is resident afterwards.
fn give_back() -> Option<u64> {
    // SAFETY: `malloc_trim` takes the heap's own lock and returns free pages; nothing of ours moves.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    resident_kib()
}

fn resident_kib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_large_heap_is_looked_through_and_not_again_at_once_in_vain() {
        let never = || -> Option<u64> { unreachable!("a small one is left alone") };
        assert_eq!(pause(Some(LARGE_KIB), never), LOOK_INTERVAL);
        assert_eq!(pause(None, never), LEAVE_ALONE);
        let large = LARGE_KIB + WORTH_KIB;
        assert_eq!(pause(Some(large), || Some(LARGE_KIB)), LOOK_INTERVAL);
        assert_eq!(pause(Some(large), || Some(LARGE_KIB + 1)), LEAVE_ALONE);
        assert_eq!(pause(Some(large), || None), LEAVE_ALONE);
    }

    #[test]
    fn what_is_freed_between_what_stays_goes_back_to_the_system() {
        assert!(share_one_heap());
        // Small enough for the heap, large enough to hold whole pages.
        let mut blocks: Vec<Option<Vec<u8>>> = (0..2000).map(|_| Some(vec![1; 60_000])).collect();
        let full = resident_kib().expect("status");
        blocks.iter_mut().step_by(2).for_each(|block| *block = None);
        let after = give_back().expect("status");
        assert!(after + (40 << 10) < full, "{full} KiB before, {after} KiB after");
        assert_eq!(blocks.iter().flatten().count(), 1000);
    }
}
