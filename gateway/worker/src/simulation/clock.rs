//! Time that passes when the program says so.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::super::io;
use super::Simulation;

/// A counter of nanoseconds. A clone is the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Rc<Cell<u64>>);

impl Clock {
    /// A clock that has run for a while, as that of a machine has.
    pub fn new() -> Clock {
        Clock(Rc::new(Cell::new(START_NS)))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.0.set(self.0.get() + by.as_nanos() as u64);
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

impl io::Clock<Simulation> for Clock {
    fn tsc(&self) -> u64 {
        self.0.get()
    }

    fn hz(&self) -> u64 {
        1_000_000_000
    }
}

const START_NS: u64 = 1_000_000_000_000;
