//! Captures that run.

use std::time::Duration;

/// Captures at once.
pub const CAPTURES_MAX: usize = 4;

/// A capture that runs. It ends when it is dropped.
pub trait Capture: Send {
    /// The next blocks of the pcapng file, each whole. Returns after `patience` at the latest, empty where no frame was captured;
    /// `None` at the end.
    fn next(&mut self, patience: Duration) -> Option<Vec<u8>>;
}
