//! The locks of this crate. In its unit tests each is one more thing: a point at which the model of locks
//! (`model`) may let another thread go on, so that it can try orders that a machine hardly ever shows.
//! The locks themselves are the same.

#[cfg(not(test))]
pub(crate) use parking_lot::{Condvar, Mutex, RwLock};

#[cfg(test)]
pub(crate) use stepping::{Condvar, Mutex, RwLock, in_model, step};

#[cfg(test)]
mod stepping {
    use std::cell::Cell;
    use std::time::Duration;

    use parking_lot::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult};

    thread_local! {
        /// The model's threads are one thread of the system: all of them, and no other, see this.
        static MODEL: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `work` with locks that let the model's other threads go on.
    pub(crate) fn in_model<T>(work: impl FnOnce() -> T) -> T {
        struct Over;
        impl Drop for Over {
            fn drop(&mut self) {
                MODEL.set(false);
            }
        }
        MODEL.set(true);
        let _over = Over;
        work()
    }

    /// Another thread of the model may go on here. Whether there is a model.
    pub(crate) fn step() -> bool {
        let is_model = MODEL.get() && !std::thread::panicking();
        if is_model {
            shuttle::thread::yield_now();
        }
        is_model
    }

    /// Takes a lock as soon as it is free. Between two attempts the others go on.
    fn taken<G>(try_take: impl Fn() -> Option<G>, take: impl FnOnce() -> G) -> G {
        while step() {
            if let Some(guard) = try_take() {
                return guard;
            }
        }
        take()
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut()
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            taken(|| self.0.try_lock(), || self.0.lock())
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            step();
            self.0.try_lock()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct RwLock<T: ?Sized>(parking_lot::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::RwLock::new(value))
        }

        pub(crate) fn into_inner(self) -> T {
            self.0.into_inner()
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            taken(|| self.0.try_read(), || self.0.read())
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            taken(|| self.0.try_write(), || self.0.write())
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        /// In the model each wait ends by itself after others went on: callers look again.
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            if !Self::let_go(guard) {
                self.0.wait(guard);
            }
        }

        pub(crate) fn wait_for<T>(
            &self,
            guard: &mut MutexGuard<'_, T>,
            timeout: Duration,
        ) -> Option<WaitTimeoutResult> {
            (!Self::let_go(guard)).then(|| self.0.wait_for(guard, timeout))
        }

        pub(crate) fn notify_all(&self) -> usize {
            self.0.notify_all()
        }

        fn let_go<T>(guard: &mut MutexGuard<'_, T>) -> bool {
            if !MODEL.get() || std::thread::panicking() {
                return false;
            }
            let mutex = MutexGuard::mutex(guard);
            // Nobody comes in between the last look and the lock.
            MutexGuard::unlocked(guard, || {
                step();
                while mutex.is_locked() && step() {}
            });
            true
        }
    }
}
