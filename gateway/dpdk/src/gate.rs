//! Who is in a port's queues: the workers in their bursts, or a thread that changes what the queues stand on.
//!
//! For drivers that do not keep the two apart themselves (see [`interrupts`](super::interrupts)). A worker says that it is
//! in a burst and then looks whether the gate is closed; who closes the gate says so and then looks who is in a burst.
//! All four are sequentially consistent, so one of the two sees the other.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The gate in front of the queues of one port.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// How many hold it closed.
    closed: AtomicU32,
    queues: Mutex<Vec<Arc<InBurst>>>,
}

/// Whether somebody is in a burst of one queue; on a cache line of its own, as its worker writes it at every burst.
#[derive(Debug, Default)]
#[repr(align(64))]
struct InBurst(AtomicBool);

/// What a queue has of its port's gate.
#[derive(Debug)]
pub(super) struct Entrance {
    gate: Arc<Gate>,
    burst: Arc<InBurst>,
}

/// A burst that the gate has let in. Until this is dropped, who closes the gate waits.
pub(super) struct Inside<'a>(&'a AtomicBool);

impl Gate {
    /// The entrance of one more queue.
    pub(super) fn entrance(self: &Arc<Gate>) -> Entrance {
        let burst = Arc::<InBurst>::default();
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&burst));
        Entrance { gate: Arc::clone(self), burst }
    }

    /// Lets no burst in until [`open`](Gate::open), and waits for those that are in. A worker never waits for anybody in
    /// a burst, so this ends as soon as the worker's thread has had the CPU.
    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
        for queue in self.queues.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let mut looks = 0;
            while queue.0.load(Ordering::SeqCst) {
                looks += 1;
                if looks < LOOKS_MAX { std::hint::spin_loop() } else { std::thread::sleep(LOOK_AGAIN) }
            }
        }
    }

    /// Takes one [`close`](Gate::close) back.
    pub(super) fn open(&self) {
        let before = self.closed.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "opened more often than closed");
    }
}

impl Entrance {
    /// For one burst; `None` while the gate is closed.
    #[inline]
    pub(super) fn enter(&self) -> Option<Inside<'_>> {
        self.burst.0.store(true, Ordering::SeqCst);
        let inside = Inside(&self.burst.0);
        (self.gate.closed.load(Ordering::SeqCst) == 0).then_some(inside)
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Looks at a burst before the CPU is left to its worker, which may have to share it.
const LOOKS_MAX: u32 = 200;
const LOOK_AGAIN: Duration = Duration::from_micros(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_gate_lets_no_burst_in() {
        let gate = Arc::new(Gate::default());
        let entrance = gate.entrance();
        assert!(entrance.enter().is_some());
        gate.close();
        gate.close();
        assert!(entrance.enter().is_none());
        gate.open();
        assert!(entrance.enter().is_none());
        gate.open();
        assert!(entrance.enter().is_some());
    }

    #[test]
    fn nothing_changes_under_a_burst() {
        let gate = Arc::new(Gate::default());
        let stands = AtomicBool::new(true);
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            for _ in 0..2 {
                let entrance = gate.entrance();
                threads.spawn(|| {
                    let entrance = entrance;
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(_inside) = entrance.enter() {
                            assert!(stands.load(Ordering::Relaxed));
                            std::hint::spin_loop();
                            assert!(stands.load(Ordering::Relaxed));
                        }
                    }
                });
            }
            for _ in 0..2000 {
                gate.close();
                stands.store(false, Ordering::Relaxed);
                std::hint::spin_loop();
                stands.store(true, Ordering::Relaxed);
                gate.open();
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
