//! Locks of the control plane.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. What a thread that panicked has left behind is used all the same: each of these states is whole at every moment.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
