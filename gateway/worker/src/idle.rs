//! What a worker does when there is nothing to do.

use std::hint;
use std::thread;
use std::time::Duration;

/// How a worker waits for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It polls: the CPU is its own.
    Poll,
    /// It yields, then sleeps for longer and longer, up to 50 us: the CPU is shared.
    Backoff,
}

/// The longest sleep. It bounds the delay of the first packet after a silence.
pub(super) const SLEEP_MAX: Duration = Duration::from_micros(50);

/// Empty rounds after which a worker stops polling and yields, and stops yielding and sleeps.
const POLLS: u32 = 64;
const SLEEPS: u32 = 128;

/// The state of an [`Idle`] worker.
pub(super) struct Backoff {
    idle: Idle,
    empty: u32,
}

impl Backoff {
    pub(super) fn new(idle: Idle) -> Backoff {
        Backoff { idle, empty: 0 }
    }

    pub(super) fn busy(&mut self) {
        self.empty = 0;
    }

    /// After an empty round.
    pub(super) fn rest(&mut self) {
        if self.idle == Idle::Poll {
            return;
        }
        self.empty = self.empty.saturating_add(1);
        match self.empty {
            0..POLLS => hint::spin_loop(),
            POLLS..SLEEPS => thread::yield_now(),
            empty => thread::sleep(Duration::from_micros(u64::from(empty - SLEEPS)).min(SLEEP_MAX)),
        }
    }
}
