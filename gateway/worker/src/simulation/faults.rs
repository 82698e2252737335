//! What goes wrong, and how often.

use std::time::Duration;

/// How many times in a thousand something goes wrong. By default nothing does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Frames that a wire loses.
    pub lost: u16,
    /// Frames that a wire delivers twice.
    pub doubled: u16,
    /// Frames that a wire delivers up to [`Faults::LATE_ROUNDS`] rounds late, and so behind others.
    pub late: u16,
    /// Rounds in which a transmit queue or a ring takes only a part of each burst, or nothing.
    pub throttled: u16,
    /// Rounds that a worker misses.
    pub stalled: u16,
    /// Rounds before which the clock jumps.
    pub jumps: u16,
    /// The longest jump.
    pub jump_max: Duration,
}

impl Faults {
    /// How late a frame may be.
    pub const LATE_ROUNDS: u64 = 32;
}

/// Numbers that follow from a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number below `limit`; 0 where there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31).checked_rem(limit).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, per_mille: u16) -> bool {
        self.below(1000) < per_mille.into()
    }
}
