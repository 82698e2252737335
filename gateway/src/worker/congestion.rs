//! A worker that receives faster than others can take what it hands over.
//!
//! Whatever it receives then is received to be dropped, and its CPU is missing where the packets are waited for. So
//! after a round in which more than a quarter of what came was refused by full rings, it leaves its queues unread, where the NIC
//! drops if it must, until every one of these rings has room for a burst; but no longer than [`PAUSE`], so that a
//! worker that stands still costs the others' packets little. Where less is refused, packets for one busy worker
//! are dropped, counted, and nobody else's wait for them.

use std::time::Duration;

use crate::dpdk::{BURST, Producer};

/// The longest pause.
const PAUSE: Duration = Duration::from_micros(20);

/// Whether to receive.
#[derive(Debug)]
pub(super) struct Congestion {
    refused: usize,
    /// Until when, in TSC cycles, there is a pause.
    until: Option<u64>,
    pause_cycles: u64,
}

impl Congestion {
    pub(super) fn new(cycles_per_ms: u64) -> Congestion {
        Congestion { refused: 0, until: None, pause_cycles: cycles_per_ms * PAUSE.as_micros() as u64 / 1000 }
    }

    /// A ring had no room for so many packets.
    pub(super) fn refused(&mut self, packets: usize) {
        self.refused += packets;
    }

    /// At a round's end, which began at `now` and received `packets`.
    pub(super) fn round(&mut self, packets: usize, now: u64) {
        if self.refused * 4 > packets {
            self.until = Some(now + self.pause_cycles);
        }
        self.refused = 0;
    }

    /// Whether the queues are to be read in the round that begins at `now`.
    pub(super) fn may_receive<'a>(&mut self, now: u64, rings: impl Iterator<Item = &'a Producer>) -> bool {
        let Some(until) = self.until else { return true };
        let over = now >= until || rings.into_iter().all(|ring| ring.capacity() - ring.len() >= BURST);
        if over {
            self.until = None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 2_600_000;

    #[test]
    fn pauses_while_much_is_refused_and_not_for_long() {
        let mut congestion = Congestion::new(MS);
        let none = || std::iter::empty::<&Producer>();
        congestion.refused(16);
        congestion.round(64, 1000);
        assert_eq!(congestion.until, None, "a quarter of it");
        congestion.refused(17);
        congestion.round(64, 1000);
        assert_eq!(congestion.until, Some(1000 + MS / 50));
        assert!(congestion.may_receive(2000, none()), "all of no rings have room");
        assert_eq!(congestion.until, None);
    }
}
