//! One heap for all threads.
//!
//! glibc gives threads heaps of their own, up to eight a core, so that they do not wait for one
//! another. Each of them keeps what its threads have freed: with the buffers of a backup that is
//! a third of a client's memory, for no gain in time, because threads pass large buffers on and
//! seldom allocate. Measured: docs/decisions/0005-one-heap.md.
//!
//! Large blocks are the system's own and go back to it. By itself glibc takes them into the heap as soon
//! as the first one was freed, and hundreds of bodies of a megabyte or two then leave holes that nothing
//! else fits into: measured in docs/decisions/0018-sessions-share-memory.md.
#![allow(unsafe_code)]

/// A block of so many bytes and more is the system's own.
#[cfg(target_env = "gnu")]
const LARGE_BYTES: libc::c_int = 128 << 10;

/// To be called before the first thread starts. Elsewhere than on glibc nothing is to be done.
pub fn share_one_heap() -> bool {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two integers and touches nothing of ours; no other thread runs.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1) == 1
                && libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) == 1
                && libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE_BYTES) == 1
        }
    }
    #[cfg(not(target_env = "gnu"))]
    true
}
