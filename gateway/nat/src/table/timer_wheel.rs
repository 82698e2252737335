//! A hierarchical timer wheel over ids (one timer an id), moved on by a budget.
//!
//! Three levels of 256 slots; a tick is 128 ms, so the levels reach 33 s, 2.3 h and 25 days. Starting and
//! stopping a timer touches its own links and its neighbours'. Time that the budget did not cover is made up at the
//! next call: a timer may ring late, never early, and none is lost.

use std::io;

use arrayvec::ArrayVec;

use crate::table::cpu::prefetch;
use crate::table::free_list::NIL;
use crate::table::memory::{Pages, Region, Slab};
use crate::table::time::Time;

/// Milliseconds a tick, as a power of two.
const TICK_BITS: u32 = 7;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 3;
/// In a `prev` link: the rest is the slot whose list starts here.
const HEAD: u32 = 1 << 31;
/// In a `prev` link: not in the wheel.
const STOPPED: u32 = NIL;

/// Timers that ring soon, the first first.
pub(crate) type Upcoming = ArrayVec<u32, UPCOMING_MAX>;
/// How many are worked on together.
pub(crate) const UPCOMING_MAX: usize = 16;

/// See the module.
pub(crate) struct Wheel {
    /// `[next, prev]`; `prev` may name the slot instead ([`HEAD`]).
    links: Slab<[u32; 2]>,
    heads: Box<[[u32; SLOTS]; LEVELS]>,
    /// The tick whose slot is being emptied.
    tick: u64,
}

impl Wheel {
    /// Timers for the ids `0..capacity`, none started (ids must be below 2^31).
    pub(crate) fn new(capacity: u32, now: Time, pages: Pages) -> io::Result<Wheel> {
        Ok(Wheel {
            links: Slab::new(capacity as usize, pages)?,
            heads: Box::new([[NIL; SLOTS]; LEVELS]),
            tick: now.0 >> TICK_BITS,
        })
    }

    /// Memory of the links of so many, octets.
    pub(crate) const fn bytes(capacity: u32) -> u64 {
        Slab::<[u32; 2]>::bytes(capacity as usize)
    }

    /// The memory of the links.
    pub(crate) fn region(&self) -> &Region {
        self.links.region()
    }

    /// Asks for the links of `id`.
    pub(crate) fn prefetch(&self, id: u32) {
        prefetch(&self.links[id]);
    }

    /// Starts the timer of `id`, which is not running, to ring at `due`.
    pub(crate) fn start(&mut self, id: u32, due: Time) {
        let (level, slot) = self.place(due);
        let head = &mut self.heads[level][slot];
        let links = self.links.as_mut_slice();
        links[id as usize] = [*head, HEAD | (level as u32) << SLOT_BITS | slot as u32];
        if *head != NIL {
            links[*head as usize][1] = id;
        }
        *head = id;
    }

    /// Stops the timer of `id`, which is running.
    pub(crate) fn stop(&mut self, id: u32) {
        let links = self.links.as_mut_slice();
        let [next, prev] = links[id as usize];
        debug_assert_ne!(prev, STOPPED, "stopped a timer that does not run");
        if prev & HEAD != 0 {
            let at = prev & !HEAD;
            self.heads[(at >> SLOT_BITS) as usize][at as usize & (SLOTS - 1)] = next;
        } else {
            links[prev as usize][0] = next;
        }
        if next != NIL {
            links[next as usize][1] = prev;
        }
        links[id as usize][1] = STOPPED;
    }

    /// The next timer that rings at `now`; it is stopped. `due` tells when the timer of an id is due by now: one that
    /// was put off since it started is started again. `None` when no timer rings, or when `budget`, from which each
    /// timer looked at and each tick passed takes one, is used up.
    pub(crate) fn next_due(&mut self, now: Time, budget: &mut u32, due: impl Fn(u32) -> Time) -> Option<u32> {
        let target = now.0 >> TICK_BITS;
        while *budget > 0 {
            *budget -= 1;
            if let Some(id) = self.first_at_tick() {
                self.stop(id);
                let due = due(id);
                if due <= now {
                    return Some(id);
                }
                self.start(id, due);
            } else if self.tick < target {
                self.tick += 1;
            } else {
                return None;
            }
        }
        None
    }

    /// The timers that [`Wheel::next_due`] will look at first, as far as they stand in one slot, `most` of them at most.
    pub(crate) fn upcoming(&self, most: u32) -> Upcoming {
        let mut upcoming = Upcoming::new();
        let mut id = self.first_at_tick().unwrap_or(NIL);
        while id != NIL && !upcoming.is_full() && upcoming.len() < most as usize {
            upcoming.push(id);
            id = self.links[id][0];
        }
        upcoming
    }

    /// A timer in a slot whose span starts at this tick. The higher levels come first: what they hold moves down.
    fn first_at_tick(&self) -> Option<u32> {
        (0..LEVELS).rev().find_map(|level| {
            let shift = SLOT_BITS * level as u32;
            let starts = self.tick & ((1 << shift) - 1) == 0;
            let id = self.heads[level][(self.tick >> shift) as usize & (SLOTS - 1)];
            (starts && id != NIL).then_some(id)
        })
    }

    /// Level and slot for a timer due at `due`: never the slot being emptied, never further than the wheel reaches.
    fn place(&self, due: Time) -> (usize, usize) {
        let reach = (1u64 << (SLOT_BITS * LEVELS as u32)) - (1 << (SLOT_BITS * (LEVELS as u32 - 1)));
        // Rounded up: never early.
        let due = ((due.0 + (1 << TICK_BITS) - 1) >> TICK_BITS).clamp(self.tick + 1, self.tick + reach - 1);
        let distance = due - self.tick;
        let level = match distance {
            0..0x100 => 0,
            0x100..0x1_0000 => 1,
            _ => 2,
        };
        (level, (due >> (SLOT_BITS * level as u32)) as usize & (SLOTS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPACITY: u32 = 32;

    proptest! {
        /// Against a list of due times: rings in time (at most a tick late), never early, never twice, none lost.
        #[test]
        fn rings_when_due(
            steps in proptest::collection::vec((0..CAPACITY, 0u64..3_000_000, 0u64..400_000, any::<bool>()), 1..120),
        ) {
            let mut now = Time(123_456);
            let mut wheel = Wheel::new(CAPACITY, now, Pages::Ordinary).unwrap();
            let mut due = [None::<Time>; CAPACITY as usize];
            for (id, delay, pass, stop) in steps {
                match due[id as usize] {
                    Some(_) if stop => { wheel.stop(id); due[id as usize] = None; }
                    // Put off without telling the wheel, as a refreshed session is.
                    Some(at) => due[id as usize] = Some(at.plus_ms(delay)),
                    None => { due[id as usize] = Some(now.plus_ms(delay)); wheel.start(id, now.plus_ms(delay)); }
                }
                now = now.plus_ms(pass);
                let mut budget = u32::MAX;
                while let Some(rung) = wheel.next_due(now, &mut budget, |id| due[id as usize].unwrap()) {
                    prop_assert!(due[rung as usize].take().unwrap() <= now);
                }
                let late = due.iter().flatten().filter(|at| at.plus_ms(1 << TICK_BITS) < now).count();
                prop_assert_eq!(late, 0);
            }
        }
    }

    #[test]
    fn a_small_budget_only_delays() {
        let mut wheel = Wheel::new(1000, Time(0), Pages::Ordinary).unwrap();
        (0..1000).for_each(|id| wheel.start(id, Time(40_000)));
        let mut rung = 0;
        for _ in 0..1000 {
            let mut budget = 8;
            while wheel.next_due(Time(40_128), &mut budget, |_| Time(40_000)).is_some() {
                rung += 1;
            }
        }
        assert_eq!(rung, 1000);
    }

    #[test]
    fn reaches_beyond_its_span() {
        let far = Time(40 * 24 * 3_600_000);
        let mut wheel = Wheel::new(1, Time(0), Pages::Ordinary).unwrap();
        wheel.start(0, far);
        let mut budget = u32::MAX;
        assert_eq!(wheel.next_due(Time(far.0 - 1), &mut budget, |_| far), None);
        assert_eq!(wheel.next_due(far.plus_ms(128), &mut budget, |_| far), Some(0));
    }
}
