//! A worker that receives faster than others can take what it hands over.
//!
//! Two workers that hand each other everything do not share the work evenly by themselves: one whose ring is empty has
//! nothing to do but receive, so it fills the other's ring, and the other, busy with that, hands over little. So
//! after a round in which more than a quarter of what came went to rings that are filling up, a worker leaves its queues
//! unread, where the NIC drops if it must, until all rings are low again; but no longer than [`PAUSE`], so that a worker
//! that stands still costs the others' packets little. Where less is handed over, packets for one busy worker are
//! dropped as its ring is full, counted, and nobody else's wait for them.

use std::time::Duration;

/// The longest pause.
const PAUSE: Duration = Duration::from_micros(20);

/// A ring is filling up when more than one in so many of its places is taken.
const LOW: usize = 4;

/// Whether to receive.
#[derive(Debug)]
pub(super) struct Backpressure {
    /// Packets of this round that went to rings that are filling up, or were refused by them.
    waiting: usize,
    /// Until when, in TSC cycles, there is a pause.
    until: Option<u64>,
    pause_cycles: u64,
}

impl Backpressure {
    pub(super) fn new(cycles_per_ms: u64) -> Backpressure {
        Backpressure {
            waiting: 0,
            until: None,
            pause_cycles: cycles_per_ms * PAUSE.as_micros() as u64 / 1000,
        }
    }

    /// So many packets went to a ring that is low, or is filling up.
    pub(super) fn handed_over(&mut self, packets: usize, low: bool) {
        self.waiting += if low { 0 } else { packets };
    }

    /// At a round's end, which began at `now` and received `packets`.
    pub(super) fn round(&mut self, packets: usize, now: u64) {
        if self.waiting * 4 > packets {
            self.until = Some(now + self.pause_cycles);
        }
        self.waiting = 0;
    }

    /// Whether the queues are to be read in the round that begins at `now`.
    pub(super) fn may_receive(&mut self, now: u64, all_low: impl FnOnce() -> bool) -> bool {
        let Some(until) = self.until else { return true };
        let over = now >= until || all_low();
        if over {
            self.until = None;
        }
        over
    }
}

/// Whether a ring for `capacity` packets that has `len` is not filling up.
pub(super) fn is_low(len: usize, capacity: usize) -> bool {
    len <= capacity / LOW
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 2_600_000;

    #[test]
    fn pauses_while_rings_fill_up_and_not_for_long() {
        let mut backpressure = Backpressure::new(MS);
        backpressure.handed_over(48, true);
        backpressure.handed_over(16, false);
        backpressure.round(64, 1000);
        assert!(backpressure.may_receive(1000, || false), "a quarter of it");
        backpressure.handed_over(17, false);
        backpressure.round(64, 1000);
        assert!(!backpressure.may_receive(2000, || false));
        assert!(backpressure.may_receive(2100, || true), "the rings are low");
        assert!(backpressure.may_receive(2200, || false), "until the next round that hands over too much");
        backpressure.handed_over(17, false);
        backpressure.round(64, 3000);
        assert!(!backpressure.may_receive(3000 + MS / 50 - 1, || false));
        assert!(backpressure.may_receive(3000 + MS / 50, || false), "20 microseconds have passed");
    }
}
