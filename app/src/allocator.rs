//! One heap for all threads.
//!
//! glibc gives threads heaps of their own, up to eight a core, so that they do not wait for one
//! another. Each of them keeps what its threads have freed: with the buffers of a backup that is
//! a third of a client's memory, for no gain in time, because threads pass large buffers on and
//! seldom allocate. Measured: docs/decisions/0005-one-heap.md.
#![allow(unsafe_code)]

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
