//! Where a burst's time goes: a stopwatch that the stages press.
//!
//! The engine has no clock. A caller that measures passes a [`Stopwatch`]; all others pass [`Unwatched`], of which
//! nothing is left in the program.

/// A part of a burst's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Headers checked, flow hashed, bucket asked for.
    Parse = 0,
    /// Bucket read, session asked for.
    Probe = 1,
    /// Session compared and refreshed, packet rewritten.
    Translate = 2,
    /// Packets that do not just pass: new sessions, drops, errors, packets without a session.
    Slow = 3,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// All of them, in index order.
    pub const ALL: [Stage; Self::COUNT] = [Stage::Parse, Stage::Probe, Stage::Translate, Stage::Slow];

    /// The label in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Parse => "parse",
            Stage::Probe => "probe",
            Stage::Translate => "translate",
            Stage::Slow => "slow",
        }
    }
}

/// Is told where a burst has come.
pub trait Stopwatch {
    /// A burst of that many packets begins.
    fn begin(&mut self, packets: usize);

    /// What has passed since the last call went into `stage`.
    fn lap(&mut self, stage: Stage);
}

/// Nobody looks.
pub(crate) struct Unwatched;

impl Stopwatch for Unwatched {
    #[inline(always)]
    fn begin(&mut self, _packets: usize) {}

    #[inline(always)]
    fn lap(&mut self, _stage: Stage) {}
}

/// What each stage took altogether, in the units of the clock `C`.
#[derive(Clone, Debug)]
pub struct StageCounters<C> {
    clock: C,
    last: u64,
    /// Packets seen.
    pub packets: u64,
    /// Spent, by [`Stage`].
    pub spent: [u64; Stage::COUNT],
    /// Laps, by [`Stage`]: bursts, or for [`Stage::Slow`] packets.
    pub laps: [u64; Stage::COUNT],
}

impl<C: FnMut() -> u64> StageCounters<C> {
    /// Nothing counted yet.
    pub fn new(clock: C) -> StageCounters<C> {
        StageCounters { clock, last: 0, packets: 0, spent: [0; Stage::COUNT], laps: [0; Stage::COUNT] }
    }
}

impl<C: FnMut() -> u64> Stopwatch for StageCounters<C> {
    #[inline(always)]
    fn begin(&mut self, packets: usize) {
        self.packets += packets as u64;
        self.last = (self.clock)();
    }

    #[inline(always)]
    fn lap(&mut self, stage: Stage) {
        let now = (self.clock)();
        self.spent[stage as usize] += now.wrapping_sub(self.last);
        self.laps[stage as usize] += 1;
        self.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tick_goes_into_one_stage() {
        let mut time = 0;
        let mut counters = StageCounters::new(|| {
            time += 10;
            time
        });
        counters.begin(32);
        Stage::ALL.into_iter().chain([Stage::Translate]).for_each(|stage| counters.lap(stage));
        assert_eq!((counters.packets, counters.spent, counters.laps), (32, [10, 10, 20, 10], [1, 1, 2, 1]));
    }
}
