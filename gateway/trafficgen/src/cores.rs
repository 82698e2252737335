//! How far two CPUs are from each other: what a cache line takes to go and return.
//!
//! Rings between processes are made of such lines. On a virtual machine the host decides which cores its CPUs run on,
//! and may move one from behind the same cache to the other end of the machine between two runs; figures taken then
//! differ by a factor of two and more, so a benchmark asks first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::Error;
use natgw_dpdk::{Clock, Eal, launch, pause};

const PARTS: u32 = 101;
const ROUNDS: u32 = 1000;

/// A line of its own, and its neighbour, which the CPU may fetch along.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU32);

/// Nanoseconds from this lcore to the EAL's first worker and back: the median of short parts, so that one in which
/// another program had a CPU does not matter.
pub fn round_trip_ns(eal: &Eal) -> Result<f64, Error> {
    let lines = Arc::new([Line::default(), Line::default()]);
    let theirs = lines.clone();
    let lcore = eal.worker(0).ok_or_else(|| Error::Argument("there is no second CPU".into()))?;
    let worker = launch(eal, lcore, move || {
        (1..=(1 + PARTS * ROUNDS)).for_each(|round| {
            await_value(&theirs[0], round);
            theirs[1].0.store(round, Ordering::Release);
        });
    })?;
    // The worker is awake once it has answered.
    go_and_return(&lines, 1);
    let mut parts: Vec<u64> = (0..PARTS)
        .map(|part| {
            let start = Clock::tsc();
            (0..ROUNDS).for_each(|round| go_and_return(&lines, 2 + part * ROUNDS + round));
            Clock::tsc() - start
        })
        .collect();
    worker.join()?;
    parts.sort_unstable();
    Ok(parts[parts.len() / 2] as f64 * 1e9 / Clock::hz() as f64 / f64::from(ROUNDS))
}

fn go_and_return(lines: &[Line; 2], round: u32) {
    lines[0].0.store(round, Ordering::Release);
    await_value(&lines[1], round);
}

fn await_value(line: &Line, value: u32) {
    while line.0.load(Ordering::Acquire) != value {
        pause();
    }
}
