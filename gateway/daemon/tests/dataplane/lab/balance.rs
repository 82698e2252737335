//! What must hold whenever the workers are at rest, and when they are gone.

use std::thread;
use std::time::{Duration, Instant};

use natgw_counters::WorkerCounters;
use natgw_nat::DropReason;

use super::{Lab, PATIENCE};
use crate::allocations;

impl Lab {
    /// Waits until nothing moves and all of it is published; then every worker's counters balance, and agree with what
    /// the test has sent and seen.
    pub fn rest(&mut self) -> Vec<WorkerCounters> {
        let counters = self.settle();
        for (worker, counters) in counters.iter().enumerate() {
            assert_balanced(worker, counters);
        }
        let total = |count: fn(&WorkerCounters) -> u64| counters.iter().map(count).sum::<u64>();
        assert_eq!(total(received), self.tally[0], "received by all workers");
        assert_eq!(total(transmitted), self.tally[1] + self.on_the_wires(), "transmitted by all workers");
        if self.stopped.is_empty() {
            assert_eq!(total(|it| it.handoff.sent), total(|it| it.handoff.received), "handed over");
        }
        counters
    }

    /// Takes the data plane down. Whatever was held, in rings or on its way: every buffer comes back, the last
    /// counters balance too, and the workers have allocated nothing.
    pub fn take_down(mut self) {
        let dataplane = self.dataplane.take().expect("it runs");
        let published: Vec<_> = dataplane.workers().iter().map(|worker| worker.counters.clone()).collect();
        let buffers = dataplane.buffers.clone();
        drop(dataplane);
        for (worker, counters) in published.iter().enumerate() {
            let counters = counters.read();
            assert_eq!(counters.held, 0, "worker {worker} holds nothing at the end");
            assert_balanced(worker, &counters);
        }
        self.look();
        drop(self.wires);
        assert_eq!(self.frames.in_use(), 0, "frames of the test's that are still somewhere");
        assert_eq!(buffers.in_use(), 0, "buffers of the gateway's that are still somewhere");
        assert_eq!(allocations::on_workers() - self.allocated, 0, "allocations on workers");
    }

    /// Frames that the gateway has sent and the test has not looked at.
    fn on_the_wires(&self) -> u64 {
        self.wires.iter().flat_map(|wire| &wire.from_gateway).map(|end| end.len() as u64).sum()
    }

    fn settle(&self) -> Vec<WorkerCounters> {
        let start = Instant::now();
        let mut before = self.counters();
        let mut quiet = 0;
        while quiet < 3 {
            assert!(start.elapsed() < PATIENCE, "the workers find no rest");
            thread::sleep(Duration::from_millis(3));
            let now = self.counters();
            let polled = |(now, before): (&WorkerCounters, &WorkerCounters)| now.polls > before.polls;
            if !now
                .iter()
                .zip(&before)
                .enumerate()
                .all(|(id, pair)| self.stopped.contains(&id) || polled(pair))
            {
                continue;
            }
            let still = now.iter().zip(&before).all(|(now, before)| moved(now) == moved(before));
            quiet = if still { quiet + 1 } else { 0 };
            before = now;
        }
        before
    }
}

/// Asserts that what came to a worker is what went from it.
fn assert_balanced(worker: usize, it: &WorkerCounters) {
    let came = received(it) + it.handoff.received + it.generated;
    let went = transmitted(it) + drops(it).iter().map(|(_, count)| count).sum::<u64>();
    let went = went + it.consumed + it.handoff.sent + it.held;
    assert_eq!(came, went, "worker {worker}: {it:?}");
    let full: u64 = it.nat.dropped[DropReason::HandoffFull as usize].iter().sum();
    assert_eq!(it.handoff.full, full, "worker {worker} counts a full ring in two places");
}

fn received(it: &WorkerCounters) -> u64 {
    it.interfaces.iter().map(|interface| interface.rx_packets).sum()
}

fn transmitted(it: &WorkerCounters) -> u64 {
    it.interfaces.iter().map(|interface| interface.tx_packets).sum()
}

/// The reasons counted, each with its number.
pub fn drops(it: &WorkerCounters) -> Vec<(&'static str, u64)> {
    let counted = DropReason::ALL.iter().zip(&it.nat.dropped);
    let summed = counted.map(|(reason, counts)| (reason.name(), counts.iter().sum()));
    summed.filter(|&(_, count)| count > 0).collect()
}

/// Everything that only moves when packets do.
fn moved(it: &WorkerCounters) -> WorkerCounters {
    WorkerCounters { polls: 0, empty_polls: 0, busy_cycles: 0, ..*it }
}
