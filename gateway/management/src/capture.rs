//! Captures that run.

use std::time::Duration;

/// Captures at once.
pub const CAPTURES_MAX: usize = 4;

/// A capture that runs. It ends when it is dropped.
pub trait Capture: Send {
    /// What comes next of a pcapng file, in whole blocks. Returns after `patience` at the latest, with nothing where nothing
    /// has come; `None` at the end.
    fn next(&mut self, patience: Duration) -> Option<Vec<u8>>;
}
