//! When the long response of a connection, a capture, ends at the latest: its handler sets the time, the connection keeps it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// One connection's.
#[derive(Clone, Debug)]
pub(super) struct StreamDeadline {
    until: Arc<Mutex<Instant>>,
    stopped: watch::Receiver<()>,
}

impl StreamDeadline {
    /// The server stops when the sender of `stopped` is gone.
    pub(super) fn new(stopped: watch::Receiver<()>) -> StreamDeadline {
        StreamDeadline { until: Arc::new(Mutex::new(Instant::now())), stopped }
    }

    /// A response begins that may take so long.
    pub(super) fn begin(&self, time: Duration) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + time;
    }

    /// When the response that was begun last is over at the latest.
    pub(super) fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether responses are to end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopped.has_changed().is_err()
    }
}
