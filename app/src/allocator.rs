//! One heap for all threads, and what many sessions leave free in it given back.
//!
//! glibc gives threads heaps of their own, up to eight a core, so that they do not wait for one
//! another. Each of them keeps what its threads have freed: with the buffers of a backup that is
//! a third of a client's memory, for no gain in time, because threads pass large buffers on and
//! seldom allocate. Measured: docs/decisions/0005-one-heap.md.
//!
//! Hundreds of sessions at once leave holes all over that heap, which stay resident. So a device with many
//! of them looks at its size now and then, and gives the free pages back when it is large. A block that is given
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

/// With no more sessions than this the heap is left alone: their buffers are used again, and a lock of
/// the whole heap ten times a second cost a restore of large files a third of its speed.
const FEW_SESSIONS: usize = 8;
/// A process that has no more resident is left alone.
const LARGE_KIB: u64 = 64 << 10;
/// Freed by less, the heap is in use as it is.
const WORTH_KIB: u64 = 2 << 10;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LEAVE_ALONE: Duration = Duration::from_millis(500);

/// Gives free memory back while there are many `sessions`, and after that until little is resident.
/// From a thread of its own, which ends when `sessions` answers nothing.
pub fn give_back_what_is_free(
    sessions: impl Fn() -> Option<usize> + Send + 'static,
) -> std::io::Result<()> {
    let look = move || {
        let mut crowded = false;
        while let Some(open) = sessions() {
            std::thread::sleep(round(&mut crowded, open, resident_kib(), give_back));
        }
    };
    std::thread::Builder::new().name("heap".to_owned()).spawn(look).map(drop)
}

/// Looks once, and says how long until the next time. `crowded`: many sessions were open, and what they
/// left is not given back yet.
fn round(
    crowded: &mut bool,
    open: usize,
    before: Option<u64>,
    give_back: impl Fn() -> Option<u64>,
) -> Duration {
    *crowded |= open > FEW_SESSIONS;
    let Some(before) = before.filter(|_| *crowded) else { return LEAVE_ALONE };
    let after = if before > LARGE_KIB { give_back() } else { Some(before) };
    let helped = after.is_some_and(|after| after.saturating_add(WORTH_KIB) <= before);
    if open <= FEW_SESSIONS && !helped {
        *crowded = false;
    }
    if helped || before <= LARGE_KIB { LOOK_INTERVAL } else { LEAVE_ALONE }
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
    fn the_heap_is_left_alone_with_few_sessions_and_looked_through_while_large_with_many() {
        let never = || -> Option<u64> { unreachable!("it is left alone") };
        let (large, mut crowded) = (LARGE_KIB + WORTH_KIB, false);
        assert_eq!(round(&mut crowded, FEW_SESSIONS, Some(large), never), LEAVE_ALONE);
        let many = FEW_SESSIONS + 1;
        assert_eq!(round(&mut crowded, many, Some(LARGE_KIB), never), LOOK_INTERVAL);
        assert_eq!(round(&mut crowded, many, None, never), LEAVE_ALONE);
        assert_eq!(round(&mut crowded, many, Some(large), || Some(LARGE_KIB)), LOOK_INTERVAL);
        // In vain, it is not tried again at once.
        assert_eq!(round(&mut crowded, many, Some(large), || Some(LARGE_KIB + 1)), LEAVE_ALONE);
        assert_eq!(round(&mut crowded, many, Some(large), || None), LEAVE_ALONE);
        // What they left behind goes back too, and then there is quiet.
        assert_eq!(round(&mut crowded, 0, Some(large), || Some(LARGE_KIB)), LOOK_INTERVAL);
        assert_eq!(round(&mut crowded, 0, Some(LARGE_KIB), never), LOOK_INTERVAL);
        assert!(!crowded);
        assert_eq!(round(&mut crowded, 0, Some(large), never), LEAVE_ALONE);
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
