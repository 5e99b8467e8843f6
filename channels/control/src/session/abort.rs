//! A task that must not outlive whoever waits for it.

use tokio::task::AbortHandle;

/// Aborts a task when dropped.
pub(super) struct AbortOnDrop(pub(super) AbortHandle);

impl AbortOnDrop {
    /// The task goes on.
    pub(super) fn disarm(self) -> AbortHandle {
        let handle = self.0.clone();
        std::mem::forget(self);
        handle
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
